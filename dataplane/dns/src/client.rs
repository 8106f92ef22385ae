//! The daemon's side of the control socket: finds or starts the server, and feeds it.

mod launch;

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::frame::{
    CommandRef, CommandReply, Frame, FrameError, Identity, LIFECYCLE, Lifecycle, LifecycleReply, PROTOCOL,
    Published,
};
use crate::lifecycle::{self, LifecycleError};
use crate::stats::Stats;
use crate::table::Table;
pub use launch::{Launch, SpawnError, spawn_server};

/// A server that does not answer for so long hangs.
const ANSWER: Duration = Duration::from_secs(5);

/// Why the server cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens at the socket.
    #[error("connect to the DNS server at {path}: {error}")]
    Connect {
        /// The socket's path.
        path: String,
        /// What came of it.
        error: std::io::Error,
    },
    /// It does not say who it is.
    #[error("greet the DNS server: {0}")]
    Hello(#[from] LifecycleError),
    /// It is of a release that speaks another protocol.
    #[error("the DNS server (pid {pid}) speaks protocol {protocol}, not {PROTOCOL}")]
    Incompatible {
        /// What it speaks.
        protocol: u16,
        /// Its process.
        pid: u32,
    },
    /// A frame cannot be sent or understood.
    #[error("talk to the DNS server: {0}")]
    Frame(#[from] FrameError),
    /// It answered something else than was asked for.
    #[error("the DNS server answered something else than was asked for")]
    Unexpected,
    /// It does not answer.
    #[error("the DNS server does not answer within {} s", ANSWER.as_secs())]
    TimedOut,
    /// It is gone, or an earlier error has ended the connection: start again with [`DnsControl::adopt_or_spawn`].
    #[error("the DNS server is gone")]
    Gone,
    /// It cannot be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

/// Where a server came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was running.
    Adopted,
    /// It was started now, in the place of one that was running or not.
    Started,
}

/// A connection to the server. Clones share it.
#[derive(Debug, Clone)]
pub struct DnsControl {
    identity: Identity,
    requests: mpsc::Sender<Exchange>,
    gone: watch::Receiver<bool>,
}

type Answered = Result<Frame, ControlError>;

struct Exchange {
    frame: Vec<u8>,
    answer: oneshot::Sender<Answered>,
}

impl DnsControl {
    /// Connects to the server that listens at `control`.
    pub async fn connect(control: &Path) -> Result<Self, ControlError> {
        let connected = UnixStream::connect(control).await;
        let mut stream = connected
            .map_err(|error| ControlError::Connect { path: control.display().to_string(), error })?;
        let identity =
            timeout(ANSWER, lifecycle::hello(&mut stream)).await.map_err(|_| ControlError::TimedOut)??;
        if identity.protocol != PROTOCOL {
            return Err(ControlError::Incompatible { protocol: identity.protocol, pid: identity.pid });
        }
        let (requests, received) = mpsc::channel(16);
        let (gone, is_gone) = watch::channel(false);
        tokio::spawn(async move {
            Connection::new(stream).run(received).await;
            gone.send_replace(true);
        });
        Ok(Self { identity, requests, gone: is_gone })
    }

    /// The running server if it is the one that `launch` would start, else a new one, which takes over from
    /// whatever is running without leaving a question unanswered.
    pub async fn adopt_or_spawn(launch: &Launch) -> Result<(Self, Origin), ControlError> {
        match Self::connect(&launch.control).await {
            Ok(running) if launch.is(&running.identity) => return Ok((running, Origin::Adopted)),
            Ok(other) => tracing::info!(pid = other.pid(), "the running DNS server listens elsewhere"),
            Err(error) => tracing::info!(%error, "no DNS server to adopt"),
        }
        spawn_server(launch).await?;
        Ok((Self::connect(&launch.control).await?, Origin::Started))
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.identity.pid
    }

    /// Who the server is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Hands over a table; resolves when every question from now on is answered from it.
    pub async fn publish(&self, table: &Table) -> Result<Published, ControlError> {
        match self.command(&CommandRef::Publish(table)).await? {
            CommandReply::Published(published) if published.version == table.version => Ok(published),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// What the server has done.
    pub async fn stats(&self) -> Result<Stats, ControlError> {
        match self.command(&CommandRef::Stats).await? {
            CommandReply::Stats(stats) => Ok(stats),
            CommandReply::Published(_) => Err(ControlError::Unexpected),
        }
    }

    /// Ends the server, because the node leaves; resolves when its process is about to end.
    pub async fn exit(&self) -> Result<(), ControlError> {
        let frame = self.exchange(Frame::encode(LIFECYCLE, &Lifecycle::Exit)?).await?;
        match frame.decode()? {
            LifecycleReply::Exiting => Ok(()),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Resolves when the server is gone.
    pub async fn gone(&self) {
        // An error means that the connection's task has ended, which is the same.
        drop(self.gone.clone().wait_for(|gone| *gone).await);
    }

    async fn command(&self, command: &CommandRef<'_>) -> Result<CommandReply, ControlError> {
        let frame = self.exchange(Frame::encode(PROTOCOL, command)?).await?;
        if frame.protocol != PROTOCOL {
            return Err(ControlError::Unexpected);
        }
        Ok(frame.decode()?)
    }

    async fn exchange(&self, frame: Vec<u8>) -> Answered {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Exchange { frame, answer }).await.map_err(|_| ControlError::Gone)?;
        answered.await.map_err(|_| ControlError::Gone)?
    }
}

/// The connection's task: one exchange after the other, and between them an eye on the other side.
struct Connection {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
}

impl Connection {
    fn new(stream: UnixStream) -> Self {
        let (from, to) = stream.into_split();
        Self { from, to }
    }

    /// Runs until the server is gone, an exchange fails, or nobody asks any more.
    async fn run(mut self, mut requests: mpsc::Receiver<Exchange>) {
        loop {
            let exchange = tokio::select! {
                // The server never speaks first: a byte is as bad as the end.
                _ = self.from.read_u8() => return,
                exchange = requests.recv() => exchange,
            };
            let Some(Exchange { frame, answer }) = exchange else { return };
            let answered =
                timeout(ANSWER, self.exchange(&frame)).await.unwrap_or(Err(ControlError::TimedOut));
            let broken = answered.is_err();
            // Who asked may have stopped waiting.
            drop(answer.send(answered));
            if broken {
                return;
            }
        }
    }

    async fn exchange(&mut self, frame: &[u8]) -> Answered {
        self.to.write_all(frame).await.map_err(FrameError::from)?;
        Frame::read(&mut self.from).await?.ok_or(ControlError::Gone)
    }
}
