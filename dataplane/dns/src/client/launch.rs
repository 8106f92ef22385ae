//! How the server is started: a re-execution of the daemon's own binary that outlives it.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::frame::Identity;
use crate::server::{READY, netns_inode};

/// A server that is not ready by then does not start.
const START: Duration = Duration::from_secs(15);

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The binary, `/proc/self/exe` in the daemon.
    pub exe: PathBuf,
    /// What comes before the server's own arguments: the hidden subcommand.
    pub subcommand: Vec<OsString>,
    /// Network namespace that it listens in; its own when not given.
    pub netns: Option<PathBuf>,
    /// Address that it listens on.
    pub listen: SocketAddr,
    /// Its control socket.
    pub control: PathBuf,
    /// Where it keeps the last table.
    pub state: PathBuf,
    /// Where it writes what it has to say.
    pub log: PathBuf,
}

impl Launch {
    /// Whether a running server listens where this one would.
    pub fn is(&self, running: &Identity) -> bool {
        running.listen == self.listen
            && netns_inode(self.netns.as_deref()).is_ok_and(|netns| netns == running.netns)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.exe);
        command.args(&self.subcommand).arg("--listen").arg(self.listen.to_string());
        command.arg("--control").arg(&self.control).arg("--state").arg(&self.state);
        if let Some(netns) = &self.netns {
            command.arg("--netns").arg(netns);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(false);
        command
    }
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// A file or process could not be made.
    #[error("{doing} {}: {error}", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What came of it.
        error: io::Error,
    },
    /// It ended before it was ready.
    #[error("the DNS server ended at once ({status}); see {}", .log.display())]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// Where it says why.
        log: PathBuf,
    },
    /// It is not ready in time.
    #[error("the DNS server is not ready after {} s; see {}", START.as_secs(), .log.display())]
    TimedOut {
        /// Where it says why.
        log: PathBuf,
    },
}

/// Starts the server and waits until it answers questions and its control socket. Returns its process number;
/// whoever runs this is its parent and reaps it when it ends.
pub async fn spawn_server(launch: &Launch) -> Result<u32, SpawnError> {
    let fail = |doing, path: &PathBuf| {
        let path = path.clone();
        move |error| SpawnError::Io { doing, path, error }
    };
    let log = File::options().create(true).append(true).open(&launch.log);
    let log = log.map_err(fail("open log file", &launch.log))?;
    let mut child =
        launch.command().stderr(log).spawn().map_err(fail("start the DNS server with", &launch.exe))?;
    let pid = child.id().unwrap_or_default();
    match timeout(START, ready(&mut child)).await {
        Ok(Ok(true)) => {
            tokio::spawn(reap(child));
            Ok(pid)
        }
        Ok(Ok(false)) => {
            let status = child.wait().await.map_err(fail("wait for", &launch.exe))?;
            Err(SpawnError::Ended { status, log: launch.log.clone() })
        }
        Ok(Err(error)) => Err(fail("hear from", &launch.exe)(error)),
        Err(_) => {
            child.kill().await.map_err(fail("kill", &launch.exe))?;
            Err(SpawnError::TimedOut { log: launch.log.clone() })
        }
    }
}

/// Whether the child said that it is ready, before it closed its output.
async fn ready(child: &mut Child) -> io::Result<bool> {
    let Some(stdout) = child.stdout.take() else { return Ok(false) };
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).await?;
    Ok(line.trim_end() == READY)
}

async fn reap(mut child: Child) {
    match child.wait().await {
        Ok(status) => tracing::info!(%status, "the DNS server ended"),
        Err(error) => tracing::warn!(%error, "waiting for the DNS server failed"),
    }
}
