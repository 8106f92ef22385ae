//! Everything a node runs while it is in a cluster, put together and taken apart in the right order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use mesh_core::id::Entropy;
use mesh_core::spec::Role;
use mesh_dataplane::Dataplane;
use mesh_identity::tls::NodeIdentity;
use mesh_raft::{Raft, RaftConfig};
use mesh_runtime::native::{NativeConfig, NativeRuntime};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::addresses::{local_addresses, path_mtu, uplinks};
use crate::agent::facts::NodeFacts;
use crate::agent::network::{Network, dns_socket, end_dns, forget_dns};
use crate::agent::saved::SavedFile;
use crate::agent::session::{self, Farewell, SessionSettings, SessionState};
use crate::agent::ways::{AgentHandle, ways};
use crate::agent::worker;
use crate::config::Config;
use crate::entropy::SystemEntropy;
use crate::error::DaemonError;
use crate::manager::{Manager, Parts};
use crate::settling::Settling;
use crate::state::{Membership, StateDir};
use crate::{describe, upstreams};

/// Raft's number of the first manager.
pub const FIRST_MANAGER: u64 = 1;

/// How long a leaving node tries to be the only one that holds its dataplane.
const RELEASE: std::time::Duration = std::time::Duration::from_secs(2);

/// A node that is in a cluster.
pub struct Member {
    membership: Mutex<Membership>,
    dataplane: Arc<Dataplane>,
    network: Network,
    agent: AgentHandle,
    session: watch::Receiver<SessionState>,
    managers: watch::Receiver<Vec<SocketAddr>>,
    raft: Option<Raft>,
    settling: Option<Settling>,
    running: Mutex<Option<Running>>,
}

/// What ends with the member.
struct Running {
    manager: Option<Manager>,
    session: JoinHandle<()>,
    end_session: watch::Sender<Option<Farewell>>,
    stop_agent: watch::Sender<bool>,
}

/// Where the runtime keeps things.
pub fn runtime_config(config: &Config) -> NativeConfig {
    NativeConfig {
        run_dir: config.run_dir.clone(),
        data_dir: config.data_dir.join("native"),
        cgroup_prefix: config.cgroup_parent.clone(),
        exe: PathBuf::from("/proc/self/exe"),
    }
}

/// How raft is opened or made.
pub fn raft_config(state: &StateDir) -> Result<RaftConfig, DaemonError> {
    let dir = state.raft();
    mesh_identity::files::create_private_dir(&dir)
        .map_err(|source| DaemonError::File { path: dir.clone(), source })?;
    let seed = SystemEntropy.below(u64::MAX);
    Ok(RaftConfig::new(dir.join("state.redb"), FIRST_MANAGER, seed))
}

/// How the dataplane is opened.
pub fn dataplane_config(config: &Config) -> mesh_dataplane::Config {
    mesh_dataplane::Config { run_dir: config.run_dir.clone(), ..mesh_dataplane::Config::default() }
}

/// What only a manager has.
pub struct ManagerStart {
    /// Its store.
    pub raft: Raft,
    /// Its endpoint's socket.
    pub listener: TcpListener,
}

impl ManagerStart {
    /// Takes up the manager that this node was.
    pub async fn open(state: &StateDir, membership: &Membership) -> Result<Self, DaemonError> {
        let listener = listen(membership.listen_addr).await?;
        let raft =
            Raft::open(raft_config(state)?).await.map_err(|error| DaemonError::part("raft", &error))?;
        Ok(Self { raft, listener })
    }
}

/// Opens the socket for other nodes.
pub async fn listen(addr: SocketAddr) -> Result<TcpListener, DaemonError> {
    TcpListener::bind(addr).await.map_err(|source| DaemonError::Listen { addr: addr.to_string(), source })
}

impl Member {
    /// Starts everything. What an earlier daemon left (tasks, dataplane, names) is taken over and goes on.
    pub async fn start(
        config: &Config,
        state: &StateDir,
        membership: Membership,
        manager: Option<ManagerStart>,
    ) -> Result<Self, DaemonError> {
        let identity = state.identity().load_node()?;
        // Managers and session first: a restarted node is missed after three heartbeats, and all that follows
        // takes its time.
        let raft = manager.as_ref().map(|manager| manager.raft.clone());
        let manager = manager.map(|start| start_manager(start, state, &membership, &identity)).transpose()?;
        let settling = manager.as_ref().map(|manager| manager.settling().clone());
        let (agent, inbox) = ways();
        let (managers, session_state, session, end_session) = hold_session(&membership, &identity, &agent)?;
        tokio::spawn(remember_managers(state.clone(), membership.clone(), managers.clone()));
        let dataplane = Dataplane::open(dataplane_config(config))
            .await
            .map_err(|error| DaemonError::part("dataplane", &error))?;
        let dataplane = Arc::new(dataplane);
        let network = Network::new(Arc::clone(&dataplane), &config.run_dir);
        let runtime = NativeRuntime::open(runtime_config(config))
            .await
            .map_err(|error| DaemonError::part("runtime", &error))?;
        let facts = node_facts(config, &membership).await;
        let file = SavedFile::new(state.view());
        let (stop_agent, agent_stops) = watch::channel(false);
        worker::start(facts, runtime, network.clone(), file, inbox, agent_stops).await?;
        let running = Running { manager, session, end_session, stop_agent };
        Ok(Self {
            membership: Mutex::new(membership),
            dataplane,
            network,
            agent,
            session: session_state,
            managers,
            raft,
            settling,
            running: Mutex::new(Some(running)),
        })
    }

    /// This node's membership.
    pub fn membership(&self) -> Membership {
        let mut membership = self.membership.lock().unwrap_or_else(PoisonError::into_inner).clone();
        membership.managers.clone_from(&self.managers.borrow());
        membership
    }

    /// The replicated store, on a manager.
    pub fn raft(&self) -> Option<&Raft> {
        self.raft.as_ref()
    }

    /// What tells whether the nodes have what the store says, on a manager.
    pub fn settling(&self) -> Option<&Settling> {
        self.settling.as_ref()
    }

    /// The node's dataplane.
    pub fn dataplane(&self) -> Arc<Dataplane> {
        Arc::clone(&self.dataplane)
    }

    /// The agent.
    pub fn agent(&self) -> &AgentHandle {
        &self.agent
    }

    /// How the node stands with its managers.
    pub fn session(&self) -> watch::Receiver<SessionState> {
        self.session.clone()
    }

    /// Ends everything of this daemon and announces that it comes back. Tasks, dataplane and names go on.
    pub async fn stop(&self) {
        self.end(Farewell::Restart).await;
    }

    async fn end(&self, farewell: Farewell) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(running) = running else { return };
        // The session first: it has something to say, maybe to this very manager.
        running.end_session.send_replace(Some(farewell));
        if let Err(error) = running.session.await {
            tracing::error!(%error, "the session did not end well");
        }
        running.stop_agent.send_replace(true);
        if let Some(manager) = running.manager {
            manager.stop().await;
        }
    }

    /// Ends everything, and everything of the cluster on this node with it.
    pub async fn leave(self: Arc<Self>, config: &Config) {
        self.end(Farewell::Leave).await;
        if let Err(error) = self.network.end_names().await {
            tracing::warn!(%error, "the DNS server did not end");
        }
        let dataplane = self.dataplane();
        drop(self);
        clear(config, Some(dataplane)).await;
    }
}

/// Stops and removes every task, and clears the dataplane. Goes on after errors; they are logged.
pub async fn clear(config: &Config, dataplane: Option<Arc<Dataplane>>) {
    match NativeRuntime::open(runtime_config(config)).await {
        Ok(runtime) => remove_tasks(&runtime).await,
        Err(error) => tracing::error!(%error, "tasks were not removed"),
    }
    if let Err(error) = end_dns(&dns_socket(&config.run_dir)).await {
        tracing::warn!(%error, "the DNS server did not end");
    }
    forget_dns(&config.run_dir);
    let dataplane = match dataplane {
        Some(dataplane) => release(dataplane).await,
        None => None,
    };
    let dataplane = match dataplane {
        Some(dataplane) => Ok(dataplane),
        None => Dataplane::open(dataplane_config(config)).await,
    };
    match dataplane {
        Ok(dataplane) => {
            if let Err(errors) = dataplane.leave().await {
                tracing::error!(%errors, "the dataplane was not removed whole");
            }
        }
        Err(error) => tracing::error!(%error, "the dataplane was not removed"),
    }
}

/// Waits until requests that still look at the dataplane are answered; `None` when one does not end.
async fn release(mut dataplane: Arc<Dataplane>) -> Option<Dataplane> {
    let deadline = tokio::time::Instant::now() + RELEASE;
    loop {
        match Arc::try_unwrap(dataplane) {
            Ok(only) => return Some(only),
            Err(shared) => dataplane = shared,
        }
        if tokio::time::Instant::now() > deadline {
            return None;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

async fn remove_tasks(runtime: &NativeRuntime) {
    let found = runtime.adopt().await;
    let removals = found.into_iter().map(|found| async move {
        let task = found.launch.id;
        // A task that does not stop is killed by its removal.
        let stopped = runtime.stop(&task).await.map(drop);
        let removed = runtime.remove(&task).await;
        for error in [stopped.err(), removed.err()].into_iter().flatten() {
            tracing::warn!(%task, %error, "a task was not removed whole");
        }
    });
    join_all(removals).await;
}

async fn node_facts(config: &Config, membership: &Membership) -> NodeFacts {
    let uplinks = uplinks(&config.uplinks, membership.data_path_addr, &local_addresses());
    NodeFacts {
        id: membership.node,
        hostname: describe::describe().hostname,
        data_path_addr: membership.data_path_addr,
        path_mtu: path_mtu(&uplinks).await,
        uplinks,
        upstreams: upstreams::upstreams(),
    }
}

fn start_manager(
    start: ManagerStart,
    state: &StateDir,
    membership: &Membership,
    identity: &NodeIdentity,
) -> Result<Manager, DaemonError> {
    if identity.peer().role != Role::Manager {
        return Err(DaemonError::NotManager);
    }
    Manager::start(Parts {
        raft: start.raft,
        authority: state.identity().load_authority()?,
        identity: identity.clone(),
        listener: start.listener,
        cluster: membership.cluster,
    })
}

type HeldSession = (
    watch::Receiver<Vec<SocketAddr>>,
    watch::Receiver<SessionState>,
    JoinHandle<()>,
    watch::Sender<Option<Farewell>>,
);

fn hold_session(
    membership: &Membership,
    identity: &NodeIdentity,
    agent: &AgentHandle,
) -> Result<HeldSession, DaemonError> {
    let settings = SessionSettings {
        tls: Arc::new(identity.client_config()?),
        advertise_addr: membership.advertise_addr,
        data_path_addr: membership.data_path_addr,
        outbox: agent.outbox.clone(),
        events: agent.events.clone(),
    };
    let (managers, known) = watch::channel(membership.managers.clone());
    let (state, state_of) = watch::channel(SessionState::Lost { error: "no session yet".to_owned() });
    let (end, ends) = watch::channel(None);
    let session = tokio::spawn(session::keep(settings, managers, state, ends));
    Ok((known, state_of, session, end))
}

/// Writes down the managers whenever they change.
async fn remember_managers(
    state: StateDir,
    membership: Membership,
    mut managers: watch::Receiver<Vec<SocketAddr>>,
) {
    while managers.changed().await.is_ok() {
        let membership = Membership { managers: managers.borrow_and_update().clone(), ..membership.clone() };
        let state = state.clone();
        match tokio::task::spawn_blocking(move || state.save(&membership)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the managers' addresses were not saved"),
            Err(error) => tracing::error!(%error, "the managers' addresses were not saved"),
        }
    }
}
