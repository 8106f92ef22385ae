//! One server at a time: a starting server takes the sockets of a running one, and the running one ends after
//! the new one answers. Questions that arrive in between wait in the sockets that both hold.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{PidfdFlags, pidfd_open};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::listen::Sockets;
use crate::descriptors;
use crate::frame::{Identity, Lifecycle, LifecycleReply};
use crate::lifecycle;

/// A running server that does not answer for so long is taken for dead.
const ANSWER: Duration = Duration::from_secs(2);
/// Time for a killed process to be gone.
const DEATH: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Lets one server start at a time. The lock ends with the value, or the process.
pub fn lock(control: &Path) -> io::Result<Flock<std::fs::File>> {
    let mut path = control.to_owned().into_os_string();
    path.push(".lock");
    let file = std::fs::File::create(PathBuf::from(path))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
}

/// A running server that is to be replaced.
#[derive(Debug)]
pub struct Predecessor {
    stream: UnixStream,
    identity: Identity,
}

impl Predecessor {
    /// The server that runs, if one does. One that holds the socket and says nothing is killed, because
    /// nobody else could listen.
    pub async fn find(control: &Path) -> io::Result<Option<Self>> {
        let Ok(mut stream) = UnixStream::connect(control).await else { return Ok(None) };
        match timeout(ANSWER, lifecycle::hello(&mut stream)).await {
            Ok(Ok(identity)) => Ok(Some(Self { stream, identity })),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the running server speaks no known language: killing it");
                kill_peer(&stream).map(|()| None)
            }
            Err(_) => {
                tracing::warn!("the running server does not answer: killing it");
                kill_peer(&stream).map(|()| None)
            }
        }
    }

    /// Its sockets, if they are what is wanted. They are asked for in any case: the server writes its table to
    /// the file before, and the successor begins with that.
    pub async fn sockets(&mut self, listen: SocketAddr, netns: u64) -> Option<Sockets> {
        match timeout(ANSWER, self.hand_over()).await {
            Ok(Ok(sockets)) => {
                sockets.filter(|_| self.identity.listen == listen && self.identity.netns == netns)
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the running server does not hand over its sockets");
                None
            }
            Err(_) => None,
        }
    }

    async fn hand_over(&mut self) -> Result<Option<Sockets>, lifecycle::LifecycleError> {
        match lifecycle::say(&mut self.stream, &Lifecycle::HandOver).await? {
            LifecycleReply::Sockets => {}
            other => return Err(lifecycle::LifecycleError::Unexpected(other)),
        }
        let received = descriptors::receive(&self.stream).await.map_err(crate::frame::FrameError::from)?;
        Ok(received.map(|[udp, tcp]| Sockets::from_descriptors(udp, tcp, self.identity.netns)))
    }

    /// Asks it to end, and waits until it has.
    pub async fn end(mut self) -> io::Result<()> {
        let pid = self.identity.pid;
        match timeout(ANSWER, lifecycle::say(&mut self.stream, &Lifecycle::Exit)).await {
            Ok(Ok(LifecycleReply::Exiting)) => {
                tracing::info!(pid, "the former server ends");
                Ok(())
            }
            _ => kill_peer(&self.stream),
        }
    }
}

/// Kills the process that listens at the other end, and waits until its sockets are closed.
fn kill_peer(stream: &UnixStream) -> io::Result<()> {
    let Some(pid) = stream.peer_cred()?.pid().filter(|pid| *pid > 1) else { return Ok(()) };
    let Some(target) = rustix::process::Pid::from_raw(pid) else { return Ok(()) };
    let Ok(process) = pidfd_open(target, PidfdFlags::empty()) else { return Ok(()) };
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    rustix::event::poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&DEATH))?;
    Ok(())
}
