//! The node's network in production: the dataplane, and the DNS server process beside it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use mesh_dataplane::desired::DNS_SERVER;
use mesh_dataplane::{ApplyErrors, Dataplane, DataplaneError};
use mesh_dns::client::{ControlError, DnsControl, Launch};
use mesh_dns::table::Table;
use tokio::sync::Mutex;

use super::seam::{NetworkError, NodeNetwork, View};

/// The hidden subcommand that is the DNS server.
pub const DNS_SUBCOMMAND: &str = "dns-server";

/// Wait before a DNS server that ended is started again.
const REVIVAL: Duration = Duration::from_millis(200);

/// The node's network; clones are the same.
#[derive(Clone)]
pub struct Network {
    dataplane: Arc<Dataplane>,
    dns: Arc<Dns>,
}

impl Network {
    /// The network of the node whose runtime things are in `run_dir`.
    pub fn new(dataplane: Arc<Dataplane>, run_dir: &Path) -> Self {
        let launch = dns_launch(run_dir, dataplane.dns_netns());
        Self { dataplane, dns: Arc::new(Dns { launch, state: Mutex::default() }) }
    }

    /// Ends the DNS server for good: the node leaves.
    pub async fn end_names(&self) -> Result<(), ControlError> {
        let mut state = self.dns.state.lock().await;
        // Without a table, nobody starts it again.
        state.told = None;
        state.server = None;
        end_dns(&self.dns.launch.control).await
    }
}

/// Ends the DNS server that listens at `control`, if there is one.
pub async fn end_dns(control: &Path) -> Result<(), ControlError> {
    match DnsControl::connect(control).await {
        Ok(server) => server.exit().await,
        Err(ControlError::Connect { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The DNS server's control socket.
pub fn dns_socket(run_dir: &Path) -> PathBuf {
    run_dir.join("dns.sock")
}

/// Removes what a DNS server leaves behind.
pub fn forget_dns(run_dir: &Path) {
    for name in ["dns.sock", "dns.sock.lock", "dns.table", "dns.log"] {
        let path = run_dir.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "a file of the DNS server was not removed");
            }
            _ => {}
        }
    }
}

fn dns_launch(run_dir: &Path, netns: PathBuf) -> Launch {
    Launch {
        exe: PathBuf::from("/proc/self/exe"),
        subcommand: vec![OsString::from(DNS_SUBCOMMAND)],
        netns: Some(netns),
        listen: SocketAddr::new(DNS_SERVER.into(), 53),
        control: dns_socket(run_dir),
        state: run_dir.join("dns.table"),
        log: run_dir.join("dns.log"),
    }
}

impl NodeNetwork for Network {
    async fn apply(&self, view: &View) -> Result<(), NetworkError> {
        let applied = self.dataplane.apply(view.state.clone()).await;
        let made = applied.map(drop).map_err(|errors| network_error(&errors));
        if let Err(NetworkError { endpoints: None, .. }) = &made {
            return made;
        }
        // Names may resolve to what could not be made, as they do to what has just died.
        let named = self.dns.publish(&view.names).await;
        match (made, named) {
            (made, Ok(())) => made,
            (Ok(()), Err(error)) => {
                Err(NetworkError { message: format!("names: {error}"), endpoints: Some(BTreeSet::new()) })
            }
            (Err(made), Err(error)) => {
                Err(NetworkError { message: format!("{made}; names: {error}"), ..made })
            }
        }
    }
}

fn network_error(errors: &ApplyErrors) -> NetworkError {
    let endpoint = |error: &DataplaneError| match error {
        DataplaneError::Endpoint { id, .. } => Some(*id),
        _ => None,
    };
    let endpoints = errors.errors.iter().map(endpoint).collect();
    NetworkError { message: errors.to_string(), endpoints }
}

struct Dns {
    launch: Launch,
    state: Mutex<DnsState>,
}

#[derive(Default)]
struct DnsState {
    server: Option<DnsControl>,
    /// What it was told last, whatever its number.
    told: Option<Table>,
    version: u64,
}

impl Dns {
    /// Hands the table to the server, unless it has it.
    async fn publish(self: &Arc<Self>, table: &Table) -> Result<(), ControlError> {
        let mut state = self.state.lock().await;
        if state.server.is_some() && state.told.as_ref() == Some(table) {
            return Ok(());
        }
        self.tell(&mut state, table).await
    }

    async fn tell(self: &Arc<Self>, state: &mut DnsState, table: &Table) -> Result<(), ControlError> {
        let server = match state.server.clone() {
            Some(server) => server,
            None => self.find(state).await?,
        };
        // Versions go on counting over restarts of the daemon.
        state.version = (state.version + 1).max(milliseconds());
        let numbered = Table { version: state.version, ..table.clone() };
        match server.publish(&numbered).await {
            Ok(_) => {
                state.told = Some(table.clone());
                Ok(())
            }
            Err(error) => {
                state.server = None;
                Err(error)
            }
        }
    }

    async fn find(self: &Arc<Self>, state: &mut DnsState) -> Result<DnsControl, ControlError> {
        let (server, origin) = DnsControl::adopt_or_spawn(&self.launch).await?;
        tracing::info!(pid = server.pid(), ?origin, "DNS server");
        state.server = Some(server.clone());
        tokio::spawn(revive(Arc::downgrade(self), server.clone()));
        Ok(server)
    }
}

/// Waits until the server is gone, then starts another with the same table; ends when the network does.
///
/// Boxed, because reviving may lead here again.
fn revive(dns: Weak<Dns>, server: DnsControl) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        server.gone().await;
        drop(server);
        start_again(dns).await;
    })
}

async fn start_again(dns: Weak<Dns>) {
    loop {
        tokio::time::sleep(REVIVAL).await;
        let Some(dns) = dns.upgrade() else { return };
        let mut state = dns.state.lock().await;
        state.server = None;
        let Some(table) = state.told.clone() else { return };
        match dns.tell(&mut state, &table).await {
            // The new server has a reviver of its own.
            Ok(()) => return,
            Err(error) if state.server.is_some() => {
                tracing::warn!(%error, "the DNS server does not take its table");
                return;
            }
            Err(error) => tracing::warn!(%error, "the DNS server is gone and cannot be started"),
        }
    }
}

fn milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
