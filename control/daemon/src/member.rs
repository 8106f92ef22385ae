//! Everything a node runs while it is in a cluster, put together and taken apart in the right order.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use mesh_core::spec::Role;
use mesh_dataplane::Dataplane;
use mesh_identity::LiveTls;
use mesh_identity::files::IdentityDir;
use mesh_runtime::native::{NativeConfig, NativeRuntime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::acquaintance::Acquaintance;
use crate::addresses::{local_addresses, path_mtu, uplinks};
use crate::agent::facts::NodeFacts;
use crate::agent::network::{Network, dns_socket, end_dns, forget_dns};
use crate::agent::saved::{Saved, SavedFile};
use crate::agent::session::{self, Farewell, SessionSettings, SessionState};
use crate::agent::ways::{AgentHandle, Inbox, ways};
use crate::agent::worker;
use crate::api::forward::RemoteApi;
use crate::config::Config;
use crate::error::DaemonError;
use crate::guiding::Listening;
use crate::joining::Admission;
use crate::keys::Keys;
use crate::office::{ManagerStart, Office, Place};
use crate::record::Record;
use crate::renewing::{Renewing, system_clock};
use crate::state::{Membership, StateDir};
use crate::stop::Stop;
use crate::{describe, upstreams};

/// How long a leaving node tries to be the only one that holds its dataplane.
const RELEASE: std::time::Duration = std::time::Duration::from_secs(2);

/// A node that is in a cluster.
pub struct Member {
    record: Record,
    keys: Keys,
    files: IdentityDir,
    tls: LiveTls,
    office: Office,
    dataplane: Arc<Dataplane>,
    network: Network,
    agent: AgentHandle,
    session: watch::Receiver<SessionState>,
    running: Mutex<Option<Running>>,
}

/// What ends with the member.
struct Running {
    session: JoinHandle<()>,
    end_session: watch::Sender<Option<Farewell>>,
    stop_agent: watch::Sender<bool>,
}

impl Running {
    async fn end(self, farewell: Farewell) {
        self.end_session.send_replace(Some(farewell));
        if let Err(error) = self.session.await {
            tracing::error!(%error, "the session did not end well");
        }
        self.stop_agent.send_replace(true);
    }
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

/// How the dataplane is opened.
pub fn dataplane_config(config: &Config) -> mesh_dataplane::Config {
    mesh_dataplane::Config { run_dir: config.run_dir.clone(), ..mesh_dataplane::Config::default() }
}

impl Member {
    /// Starts everything. What an earlier daemon left (tasks, dataplane, names) is taken over and goes on.
    pub async fn start(
        config: &Config,
        state: &StateDir,
        membership: Membership,
        keys: Keys,
        manager: ManagerStart,
        api: &RemoteApi,
    ) -> Result<Self, DaemonError> {
        let tls = LiveTls::new(&keys.identity(), state.identity().load_trust()?)?;
        let saved = SavedFile::new(state.view()).load()?;
        let record = Record::new(state.clone(), membership.clone());
        let managers = Acquaintance::new(membership.managers.clone());
        // Managers and session first: a restarted node is missed after three heartbeats, and all that follows
        // takes its time.
        let place = Place {
            state: state.clone(),
            record: record.clone(),
            tls: tls.clone(),
            keys: keys.clone(),
            managers: managers.clone(),
            api: api.clone(),
        };
        let office = Office::open(place, manager).await?;
        let (agent, inbox) = ways();
        let (session_state, session, end_session) =
            hold_session(&membership, &tls, managers.clone(), &agent, saved);
        tokio::spawn(record.clone().remember(managers.watch()));
        tokio::spawn(record.clone().follow(agent.standing.clone()));
        let (stop_agent, agent_stops) = watch::channel(false);
        let listening = Listening { record: record.clone(), tls: tls.clone(), managers: managers.clone() };
        tokio::spawn(listening.run(session_state.clone(), agent_stops.clone()));
        let files = state.identity();
        let renewing = Renewing {
            keys: keys.clone(),
            files: files.clone(),
            tls: tls.clone(),
            managers: managers.watch(),
            standing: agent.standing.clone(),
            post: office.post(),
            clock: system_clock(),
            told: None,
        };
        tokio::spawn(renewing.run(agent_stops.clone()));
        let running = Running { session, end_session, stop_agent };
        match start_agent(config, state, &membership, inbox, agent_stops).await {
            Ok((dataplane, network)) => Ok(Self {
                record,
                keys,
                files,
                tls,
                office,
                dataplane,
                network,
                agent,
                session: session_state,
                running: Mutex::new(Some(running)),
            }),
            Err(error) => {
                running.end(Farewell::Restart).await;
                office.end().await;
                Err(error)
            }
        }
    }

    /// This node's membership.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Whether this node is a manager, or is to become one.
    pub fn is_manager(&self) -> bool {
        let membership = self.record.now();
        membership.role == Role::Manager || membership.raft_id.is_some()
    }

    /// Where its keys are kept.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// What it shows and trusts.
    pub fn tls(&self) -> &LiveTls {
        &self.tls
    }

    /// Goes on with what a manager gave when this node came back.
    pub fn take_back(&self, admission: &Admission) -> Result<(), DaemonError> {
        self.files.save_trust(&admission.trust)?;
        self.tls.trust(admission.trust.clone())?;
        self.keys.renew(admission.identity.clone())?;
        self.tls.present(&admission.identity);
        Ok(())
    }

    /// This node's part as a manager.
    pub fn office(&self) -> &Office {
        &self.office
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
        running.end(farewell).await;
        self.office.end().await;
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

/// Takes up the node's network and its tasks.
async fn start_agent(
    config: &Config,
    state: &StateDir,
    membership: &Membership,
    inbox: Inbox,
    stop: Stop,
) -> Result<(Arc<Dataplane>, Network), DaemonError> {
    let dataplane = Dataplane::open(dataplane_config(config))
        .await
        .map_err(|error| DaemonError::part("dataplane", &error))?;
    let dataplane = Arc::new(dataplane);
    let network = Network::new(Arc::clone(&dataplane), &config.run_dir);
    let runtime = NativeRuntime::open(runtime_config(config))
        .await
        .map_err(|error| DaemonError::part("runtime", &error))?;
    let facts = node_facts(config, membership).await;
    let file = SavedFile::new(state.view());
    worker::start(facts, runtime, network.clone(), file, inbox, stop).await?;
    Ok((dataplane, network))
}
type HeldSession = (watch::Receiver<SessionState>, JoinHandle<()>, watch::Sender<Option<Farewell>>);

fn hold_session(
    membership: &Membership,
    tls: &LiveTls,
    managers: Acquaintance,
    agent: &AgentHandle,
    saved: Saved,
) -> HeldSession {
    let settings = SessionSettings {
        node: membership.node,
        tls: tls.clone(),
        advertise_addr: membership.advertise_addr,
        data_path_addr: membership.data_path_addr,
        outbox: agent.outbox.clone(),
        events: agent.events.clone(),
    };
    let (state, state_of) = watch::channel(SessionState::Lost { error: "no session yet".to_owned() });
    let (end, ends) = watch::channel(None);
    let session = tokio::spawn(async move { session::keep(settings, &saved, managers, state, ends).await });
    (state_of, session, end)
}
