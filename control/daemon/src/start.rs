//! From the command line to a serving daemon, and back down on a signal.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use mesh_dataplane::check_kernel;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::api;
use crate::config::{Config, ConfigError};
use crate::daemon::Daemon;
use crate::error::DaemonError;
use crate::state::StateDir;
use crate::stop::raised;

/// Why meshd did not start. Each is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log filter.
    #[error("--log-level {filter:?}: give error, warn, info, debug, trace, or a filter such as meshd=debug")]
    LogLevel {
        /// What was given.
        filter: String,
    },
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] mesh_dataplane::HostError),
    /// Not root.
    #[error("meshd must run as root: it makes network namespaces and loads BPF programs")]
    NotRoot,
    /// Another daemon.
    #[error("another meshd runs on {data_dir}: stop it, or choose another --data-dir")]
    Running {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// The lock could not be taken.
    #[error("cannot lock {path}: {source}")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The API's socket.
    #[error(transparent)]
    Socket(#[from] api::socket::SocketError),
    /// The node's state, or a part that is needed.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The asynchronous runtime, or signals.
    #[error("the system refused what meshd needs to run: {0}")]
    System(#[from] io::Error),
}

/// Runs the daemon until a signal ends it.
pub fn run(config: Config) -> Result<(), StartError> {
    start_log(&config.log_level)?;
    check_kernel()?;
    if !nix::unistd::geteuid().is_root() {
        return Err(StartError::NotRoot);
    }
    StateDir::new(config.data_dir.clone()).create()?;
    let lock = lock(&config)?;
    mesh_identity::tls::install_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(config));
    runtime.shutdown_background();
    drop(lock);
    served
}

fn start_log(filter: &str) -> Result<(), StartError> {
    let refused = || StartError::LogLevel { filter: filter.to_owned() };
    let parsed = EnvFilter::try_new(filter).map_err(|_| refused())?;
    tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(io::stderr)
        .with_ansi(false)
        .try_init()
        .map_err(|_| refused())
}

/// One daemon for a data directory: the lock goes with the process, however it ends.
fn lock(config: &Config) -> Result<Flock<File>, StartError> {
    let path = config.data_dir.join("meshd.lock");
    let failed = |source| StartError::Lock { path: path.clone(), source };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => StartError::Running { data_dir: config.data_dir.clone() },
        errno => StartError::Lock { path: path.clone(), source: errno.into() },
    })
}

async fn serve(config: Config) -> Result<(), StartError> {
    let mut ends = Ends::new()?;
    // The socket first: while the node comes up, clients wait instead of being refused.
    let listener = api::socket::bind(&config.socket).await?;
    let socket = config.socket.clone();
    let daemon = Daemon::open(config).await?;
    let (stop, mut stopping) = tokio::sync::watch::channel(false);
    let stopped = async move { raised(&mut stopping).await };
    let mut server = tokio::spawn(api::serve(daemon.clone(), listener, stopped));
    tracing::info!(socket = %socket.display(), "meshd is ready");
    notify(sd_notify::NotifyState::Ready);
    let ended = tokio::select! {
        () = ends.next() => Ok(()),
        ended = &mut server => ended.unwrap_or_else(|error| Err(io::Error::other(error))),
    };
    notify(sd_notify::NotifyState::Stopping);
    tracing::info!("meshd stops; tasks and traffic go on");
    stop.send_replace(true);
    daemon.stop().await;
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), server).await;
    // Only this daemon's own socket is removed: it has held the lock all the time.
    let _ = std::fs::remove_file(&socket);
    Ok(ended?)
}

/// Tells systemd, where it is there.
fn notify(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "systemd was not told");
    }
}

/// The signals that end a daemon.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
