//! The server process: answers questions, outlives the daemon that feeds it, and is replaced without a gap.
//!
//! Invariants: it listens in the DNS namespace and asks upstreams from the node's; it ends on SIGTERM or when
//! a successor says so, on nothing else; what it answers from is the last table published or, before one was,
//! the last one saved.

mod batch;
mod control;
mod listen;
mod saver;
mod shared;
mod takeover;
mod tcp;
mod udp;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc, watch};
use tracing_subscriber::EnvFilter;

use crate::frame::{Identity, PROTOCOL};
use crate::state::{self, StateError};
use control::{Control, ControlFile};
pub use listen::{ListenError, Sockets, netns_inode};
use saver::Saver;
use shared::Shared;
use takeover::Predecessor;

/// What the server writes to standard output when it answers.
pub const READY: &str = "ready";

/// Threads for upstreams, connections and control, beside the one that answers datagrams.
const THREADS: usize = 2;
/// Time for what is under way when the server ends: one round of asking upstreams.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Answers DNS questions of the tasks on this node.
#[derive(Debug, Clone, Parser)]
#[command(name = "dns-server", no_binary_name = true)]
pub struct Args {
    /// Network namespace to listen in; the process' own when not given.
    #[arg(long)]
    pub netns: Option<PathBuf>,
    /// Address to listen on, UDP and TCP.
    #[arg(long, default_value = "169.254.53.53:53")]
    pub listen: SocketAddr,
    /// Unix socket to be controlled through.
    #[arg(long)]
    pub control: PathBuf,
    /// File that the last table is kept in.
    #[arg(long)]
    pub state: PathBuf,
}

/// Why the server does not start, or stops.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// It cannot listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The operating system said no.
    #[error("{doing}: {error}")]
    Io {
        /// What was tried.
        doing: String,
        /// What came of it.
        error: io::Error,
    },
}

fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> ServerError {
    move |error| ServerError::Io { doing: doing.into(), error }
}

/// Why the server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// SIGTERM.
    Terminated,
    /// Another server has the sockets.
    Replaced,
}

/// Entry point of the process. `args` are those after the subcommand; they must be handled before any
/// runtime or thread is started, because the process makes a session of its own.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            drop(error.print());
            return ExitCode::from(64);
        }
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).with_env_filter(filter).init();
    if let Err(error) = nix::unistd::setsid() {
        tracing::debug!(%error, "this process leads a session already");
    }
    match start(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the DNS server ends");
            ExitCode::FAILURE
        }
    }
}

fn start(args: &Args) -> Result<(), ServerError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
    let runtime = runtime.map_err(io("start the runtime"))?;
    let done = runtime.block_on(run(args));
    runtime.shutdown_background();
    done
}

async fn run(args: &Args) -> Result<(), ServerError> {
    // From here on a hangup of the terminal that the daemon was started from is nothing to us.
    let mut hangup = signal(SignalKind::hangup()).map_err(io("handle SIGHUP"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(io("handle SIGTERM"))?;
    let control = args.control.display();
    let lock = takeover::lock(&args.control).map_err(io(format!("lock {control}")))?;
    let found = Predecessor::find(&args.control).await;
    let mut predecessor = found.map_err(io("end the running server"))?;
    let sockets = sockets(args, predecessor.as_mut()).await?;
    let server = Server::start(sockets, &args.control, &args.state)?;
    if let Some(predecessor) = predecessor {
        predecessor.end().await.map_err(io("end the running server"))?;
    }
    drop(lock);
    say_ready();
    loop {
        tokio::select! {
            _ = hangup.recv() => tracing::debug!("SIGHUP is ignored"),
            _ = terminate.recv() => { server.end.send_replace(Some(End::Terminated)); }
            end = server.ended() => {
                server.finish(end).await;
                return Ok(());
            }
        }
    }
}

async fn sockets(args: &Args, predecessor: Option<&mut Predecessor>) -> Result<Sockets, ListenError> {
    if let Some(predecessor) = predecessor {
        let netns = netns_inode(args.netns.as_deref())?;
        if let Some(sockets) = predecessor.sockets(args.listen, netns).await {
            tracing::info!(listen = %args.listen, "took over from the running server");
            return Ok(sockets);
        }
    }
    Sockets::open(args.netns.as_deref(), args.listen)
}

/// Whoever started the process waits for this line. Nobody may be there any more to read it.
fn say_ready() {
    let mut stdout = io::stdout().lock();
    drop(writeln!(stdout, "{READY}").and_then(|()| stdout.flush()));
}

/// A server that answers.
struct Server {
    end: watch::Sender<Option<End>>,
    datagrams: udp::Stop,
    stop: watch::Sender<bool>,
    under_way: mpsc::Receiver<()>,
    saver: Arc<Saver>,
    control: tokio::task::JoinHandle<()>,
    file: ControlFile,
}

impl Server {
    /// Starts answering. Has to be called on the runtime.
    fn start(sockets: Sockets, control: &Path, state: &Path) -> Result<Self, ServerError> {
        let shared = Arc::new(Shared::default());
        restore(&shared, state)?;
        let listen = sockets.address().map_err(io("read the listening address"))?;
        let identity = Identity { protocol: PROTOCOL, pid: std::process::id(), listen, netns: sockets.netns };
        let udp = Arc::new(sockets.udp);
        let tcp = TcpListener::from_std(sockets.tcp).map_err(io("use the TCP socket"))?;
        let second = control::second_descriptor(&tcp).map_err(io("duplicate the TCP socket"))?;
        let (stop, stopping) = watch::channel(false);
        let (alive, under_way) = mpsc::channel(1);
        let datagrams = udp::start(Arc::clone(&shared), Arc::clone(&udp), alive.clone());
        let datagrams = datagrams.map_err(io("start the thread that answers datagrams"))?;
        tokio::spawn(tcp::serve(Arc::clone(&shared), tcp, stopping, alive));
        let saver = Arc::new(Saver::new(state.to_owned()));
        let (end, _) = watch::channel(None);
        let name = control.display().to_string();
        let (listener, file) =
            ControlFile::bind(control).map_err(io(format!("open control socket {name}")))?;
        let control = Control {
            shared,
            identity,
            udp,
            tcp: second,
            saver: Arc::clone(&saver),
            end: end.clone(),
            publishing: Mutex::default(),
        };
        let control = tokio::spawn(control::serve(Arc::new(control), listener));
        tracing::info!(%listen, control = name, "the DNS server answers");
        Ok(Self { end, datagrams, stop, under_way, saver, control, file })
    }

    async fn ended(&self) -> End {
        let mut end = self.end.subscribe();
        match end.wait_for(Option::is_some).await {
            Ok(end) => end.unwrap_or(End::Terminated),
            Err(_) => End::Terminated,
        }
    }

    /// Takes no more questions, answers those that are under way, and saves what is to be saved.
    async fn finish(mut self, end: End) {
        tracing::info!(?end, "the DNS server ends");
        self.datagrams.stop();
        self.stop.send_replace(true);
        let last = tokio::time::timeout(LAST_ANSWERS, self.under_way.recv());
        if last.await.is_err() {
            tracing::info!("some questions are left unanswered");
        }
        self.control.abort();
        drop(self.control.await);
        if let Err(error) = self.file.remove() {
            tracing::warn!(%error, "the control socket is left behind");
        }
        if end == End::Terminated {
            self.saver.flush().await;
        }
    }
}

/// Answers from the saved table until another is published. A file that cannot be trusted is kept aside.
fn restore(shared: &Shared, path: &Path) -> Result<(), ServerError> {
    match state::load(path) {
        Ok(Some(table)) => {
            tracing::info!(version = table.version, "answering from the saved table");
            shared.publish(&table);
        }
        Ok(None) => {}
        Err(error @ StateError::Corrupt { .. }) => {
            let aside =
                state::set_aside(path).map_err(|error| io("use the state file")(io::Error::other(error)))?;
            tracing::error!(%error, kept = %aside.display(), "starting without a table");
        }
        Err(error) => return Err(io("use the state file")(io::Error::other(error))),
    }
    Ok(())
}
