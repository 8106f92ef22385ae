//! The server's side of the control socket.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{Mutex, watch};

use super::End;
use super::saver::Saver;
use super::shared::Shared;
use crate::descriptors;
use crate::frame::{
    Command, CommandReply, Frame, FrameError, Identity, LIFECYCLE, Lifecycle, LifecycleReply, PROTOCOL,
    Published,
};
use crate::table::Table;

/// Who may talk to the server: its user and group.
const MODE: u32 = 0o660;

/// What the control connections work with.
#[derive(Debug)]
pub struct Control {
    /// The server's state.
    pub shared: Arc<Shared>,
    /// Who the server is.
    pub identity: Identity,
    /// The socket that is handed over for datagrams.
    pub udp: Arc<UdpSocket>,
    /// A second descriptor of the listening TCP socket, to be handed over.
    pub tcp: std::net::TcpListener,
    /// Keeps the tables.
    pub saver: Arc<Saver>,
    /// Ends the server.
    pub end: watch::Sender<Option<End>>,
    /// Tables are published one after the other.
    pub publishing: Mutex<()>,
}

/// The control socket's file.
#[derive(Debug)]
pub struct ControlFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl ControlFile {
    /// Opens the socket beside its place and moves it there, so that there is always one that answers.
    pub fn bind(path: &Path) -> io::Result<(UnixListener, Self)> {
        let mut new = path.to_owned().into_os_string();
        new.push(format!(".{}", std::process::id()));
        let new = PathBuf::from(new);
        remove_if_there(&new)?;
        let listener = UnixListener::bind(&new)?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(MODE))?;
        let identity = file_identity(&new)?;
        std::fs::rename(&new, path)?;
        Ok((listener, Self { path: path.to_owned(), identity }))
    }

    /// Removes the file unless another server has put its own in its place.
    pub fn remove(&self) -> io::Result<()> {
        match file_identity(&self.path) {
            Ok(identity) if identity == self.identity => remove_if_there(&self.path),
            _ => Ok(()),
        }
    }
}

fn file_identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// A second descriptor of the TCP socket.
pub fn second_descriptor(listener: &TcpListener) -> io::Result<std::net::TcpListener> {
    listener.as_fd().try_clone_to_owned().map(std::net::TcpListener::from)
}

/// Accepts control connections for as long as the server runs.
pub async fn serve(control: Arc<Control>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let control = Arc::clone(&control);
                tokio::spawn(async move {
                    if let Err(error) = control.converse(stream).await {
                        tracing::warn!(%error, "a control connection ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a control connection failed");
                tokio::task::yield_now().await;
            }
        }
    }
}

impl Control {
    async fn converse(&self, mut stream: UnixStream) -> Result<(), FrameError> {
        while let Some(frame) = Frame::read(&mut stream).await? {
            match frame.protocol {
                LIFECYCLE => self.lifecycle(&mut stream, &frame).await?,
                PROTOCOL => self.command(&mut stream, &frame).await?,
                other => {
                    tracing::warn!(protocol = other, "a frame of a protocol that is not spoken");
                    reply(&mut stream, LIFECYCLE, &LifecycleReply::Unsupported).await?;
                }
            }
        }
        Ok(())
    }

    async fn lifecycle(&self, stream: &mut UnixStream, frame: &Frame) -> Result<(), FrameError> {
        match frame.decode() {
            Ok(Lifecycle::Hello) => {
                reply(stream, LIFECYCLE, &LifecycleReply::Hello(self.identity.clone())).await
            }
            Ok(Lifecycle::HandOver) => {
                // The successor begins with the file.
                self.saver.flush().await;
                reply(stream, LIFECYCLE, &LifecycleReply::Sockets).await?;
                Ok(descriptors::send(stream, [self.udp.as_fd(), self.tcp.as_fd()]).await?)
            }
            Ok(Lifecycle::Exit) => {
                let done = reply(stream, LIFECYCLE, &LifecycleReply::Exiting).await;
                self.end.send_replace(Some(End::Replaced));
                done
            }
            Err(error) => {
                tracing::warn!(%error, "a lifecycle message that is not understood");
                reply(stream, LIFECYCLE, &LifecycleReply::Unsupported).await
            }
        }
    }

    async fn command(&self, stream: &mut UnixStream, frame: &Frame) -> Result<(), FrameError> {
        let answer = match frame.decode()? {
            Command::Publish(table) => CommandReply::Published(self.publish(table).await),
            Command::Stats => CommandReply::Stats(self.shared.stats()),
        };
        reply(stream, PROTOCOL, &answer).await
    }

    /// Large tables take milliseconds to index: not on a thread that answers questions.
    async fn publish(&self, table: Table) -> Published {
        let _turn = self.publishing.lock().await;
        let table = Arc::new(table);
        let unusable = tokio::task::block_in_place(|| self.shared.publish(&table));
        for left_out in &unusable {
            tracing::warn!(zone = left_out.zone, name = ?left_out.name, "no DNS name: left out");
        }
        let version = table.version;
        self.saver.save(table);
        Published { version, unusable: u32::try_from(unusable.len()).unwrap_or(u32::MAX) }
    }
}

async fn reply<T: serde::Serialize>(
    stream: &mut UnixStream,
    protocol: u16,
    body: &T,
) -> Result<(), FrameError> {
    Ok(stream.write_all(&Frame::encode(protocol, body)?).await?)
}
