//! The manager, the worker and the fakes.

pub mod fakes;
pub mod node;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_core::command::{
    InitCluster, JoinNode, Refusal, create_service, init_cluster, remove_node, remove_service, scale_service,
};
use mesh_core::id::{ClusterId, NodeId, ServiceId};
use mesh_core::label::DRAIN;
use mesh_core::object::{ManagerStatus, NodeDescription, Task, TaskState};
use mesh_core::secret::Secret;
use mesh_core::spec::{
    Availability, ClusterSpec, ContainerSpec, EndpointMode, EndpointSpec, NodeSpec, Placement, Resources,
    RestartPolicy, Role, ServiceMode, ServiceSpec, TaskSpec, UpdateConfig,
};
use mesh_core::store::{Store, Transaction};
use mesh_identity::tls::NodeIdentity;
use mesh_identity::{
    Authority, CertificateRequest, JoinToken, LiveTls, NODE_CERTIFICATE_LIFE, TokenSecret, TrustBundle,
    UnlockKey,
};
use mesh_raft::{Raft, RaftConfig};
use meshd::acquaintance::Acquaintance;
use meshd::addresses::Addresses;
use meshd::agent::facts::NodeFacts;
use meshd::agent::saved::SavedFile;
use meshd::agent::session::{self, Farewell, SessionSettings, SessionState};
use meshd::agent::ways::ways;
use meshd::agent::worker;
use meshd::amend::amend;
use meshd::api::forward::RemoteApi;
use meshd::clock::now;
use meshd::entropy::SystemEntropy;
use meshd::joining::{Admission, Application};
use meshd::manager::{Manager, Parts};
use meshd::rpc::certificates;
use meshd::settling::Settlement;
use meshd::transport::{Own, PeerTransport};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use fakes::{FakeNetwork, FakeRuntime};

/// Nothing here takes this long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster of one manager, which takes no tasks.
pub struct Cluster {
    dir: TempDir,
    addr: SocketAddr,
    identity: NodeIdentity,
    trust: TrustBundle,
    tls: LiveTls,
    manager: Option<Manager>,
}

/// Makes a change, decided anew when the managers were faster.
pub async fn amended(raft: &Raft, decide: impl Fn(&Store) -> Result<Transaction, Refusal>) {
    amend(raft, |store| decide(store).map(Some)).await.unwrap();
}

impl Cluster {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let cluster = ClusterId::new(&mut SystemEntropy);
        let authority = Authority::create(cluster, SystemTime::now()).unwrap();
        let node = NodeId::new(&mut SystemEntropy);
        let identity = issue(&authority, node, cluster);
        let first = first(&authority, cluster, node, addr);
        let raft = Raft::bootstrap(raft_config(&dir), first).await.unwrap();
        let trust = TrustBundle::of(authority.root().clone());
        let tls = LiveTls::new(&identity, trust.clone()).unwrap();
        let mut made = Self { dir, addr, identity, trust, tls, manager: None };
        made.serve(raft, listener);
        made
    }

    pub async fn stop_manager(&mut self) {
        self.manager.take().unwrap().stop().await;
    }

    pub async fn start_manager(&mut self) {
        let raft = Raft::open(raft_config(&self.dir)).await.unwrap();
        let listener = TcpListener::bind(self.addr).await.unwrap();
        self.serve(raft, listener);
    }

    fn serve(&mut self, raft: Raft, listener: TcpListener) {
        let cluster = self.identity.peer().cluster;
        self.manager = Some(
            Manager::start(Parts {
                raft,
                transport: PeerTransport::default(),
                own: Own { raft_id: 1, addr: self.addr },
                tls: self.tls.clone(),
                listener,
                api: RemoteApi::default(),
                cluster,
                managers: Acquaintance::new(Vec::new()),
            })
            .unwrap(),
        );
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn raft(&self) -> &Raft {
        self.manager.as_ref().unwrap().raft()
    }

    pub fn token(&self, role: Role) -> JoinToken {
        let store = self.raft().store();
        let cluster = store.cluster().unwrap();
        let secret = match role {
            Role::Worker => &cluster.worker_token,
            Role::Manager => &cluster.manager_token,
        };
        let root = TrustBundle::from_pem(&cluster.trust).unwrap().named();
        JoinToken { root, secret: secret.expose().parse().unwrap() }
    }

    pub fn node(&self) -> NodeId {
        self.identity.peer().node
    }

    pub fn id(&self) -> ClusterId {
        self.identity.peer().cluster
    }

    /// The manager's first certificate.
    pub fn identity(&self) -> &NodeIdentity {
        &self.identity
    }

    /// What the manager shows and trusts.
    pub fn tls(&self) -> &LiveTls {
        &self.tls
    }

    /// What the cluster began with.
    pub fn trust(&self) -> &TrustBundle {
        &self.trust
    }

    /// What signs its certificates.
    pub fn authority(&self) -> Authority {
        certificates::authority(self.raft().store().cluster().unwrap()).unwrap()
    }

    pub async fn remove_node(&self, id: NodeId) {
        amended(self.raft(), |store| remove_node(store, id, true, &BTreeSet::from([1]), now())).await;
    }

    pub fn application(&self, token: JoinToken) -> Application {
        let number = u8::try_from(self.raft().store().nodes().count()).unwrap();
        application(token, self.addr.to_string(), 11 + number)
    }

    pub async fn create_service(&self, name: &str, replicas: u32) -> ServiceId {
        let (id, transaction) =
            create_service(&self.raft().store(), service(name, replicas), now(), &mut SystemEntropy).unwrap();
        self.raft().propose(transaction).await.unwrap();
        id
    }

    pub async fn scale_service(&self, id: ServiceId, replicas: u32) {
        amended(self.raft(), |store| {
            let version = store.service(id).unwrap().meta.version;
            scale_service(store, id, version, replicas, now())
        })
        .await;
    }

    /// Proposes what the store refuses.
    pub async fn conflict(&self) {
        let create = || create_service(&self.raft().store(), service("twice", 0), now(), &mut SystemEntropy);
        let ((_, first), (_, second)) = (create().unwrap(), create().unwrap());
        self.raft().propose(first).await.unwrap();
        self.raft().propose(second).await.unwrap_err();
    }

    pub async fn remove_service(&self, id: ServiceId) {
        amended(self.raft(), |store| remove_service(store, id, now())).await;
    }

    /// Asks whether every node has what the store says.
    pub async fn settled(&self, patience: Duration) -> Settlement {
        let index = self.raft().read().await.unwrap().index();
        self.manager.as_ref().unwrap().settling().clone().wait(index, index, patience).await
    }

    /// Waits until `seen` finds something in the store; looks after every change.
    pub async fn wait<T>(&self, what: &str, seen: impl Fn(&Store) -> Option<T>) -> T {
        let mut changes = self.raft().changes();
        let looked = async {
            loop {
                if let Some(found) = seen(&self.raft().store()) {
                    return found;
                }
                changes.recv().await.unwrap();
            }
        };
        let Ok(found) = tokio::time::timeout(PATIENCE, looked).await else {
            panic!("no {what}: {:#?}", self.raft().store().tasks().collect::<Vec<_>>());
        };
        found
    }

    pub async fn wait_running(&self, count: usize) -> Vec<Arc<Task>> {
        self.wait("running tasks", |store| {
            let running: Vec<_> =
                store.tasks().filter(|task| task.status.state == TaskState::Running).cloned().collect();
            (running.len() == count).then_some(running)
        })
        .await
    }
}

/// Asks a manager to let a node with the last number of an address in.
pub fn application(token: JoinToken, remote: String, number: u8) -> Application {
    let addr = [192, 0, 2, number];
    Application {
        remotes: vec![remote],
        token,
        addresses: Addresses {
            listen: ([0, 0, 0, 0], 2377).into(),
            advertise: addr.into(),
            advertise_port: 2377,
            data_path: addr.into(),
        },
        unheard: Some("nothing listens here".into()),
        availability: Availability::Active,
        back: None,
    }
}

fn raft_config(dir: &TempDir) -> RaftConfig {
    RaftConfig::new(dir.path().join("state.redb"), 1, 1)
}

pub fn issue(authority: &Authority, node: NodeId, cluster: ClusterId) -> NodeIdentity {
    let csr = CertificateRequest::create().unwrap();
    let subject = (node, Role::Manager, cluster);
    let certificate =
        authority.issue(&csr.request_pem, subject, SystemTime::now(), NODE_CERTIFICATE_LIFE).unwrap();
    NodeIdentity::new(&certificate, &csr.key_pem).unwrap()
}

pub fn first(authority: &Authority, cluster: ClusterId, node: NodeId, addr: SocketAddr) -> Transaction {
    let description = NodeDescription { hostname: "m1".into(), ..NodeDescription::default() };
    let request = InitCluster {
        id: cluster,
        spec: ClusterSpec::default(),
        trust: authority.root().pem().to_owned(),
        signer: authority.root().digest().0,
        signing_key: Secret::new(authority.key_pem()),
        worker_token: Secret::new(TokenSecret::from_random(11).to_string()),
        manager_token: Secret::new(TokenSecret::from_random(12).to_string()),
        unlock_key: Secret::new(UnlockKey::new(&mut SystemEntropy).to_string()),
        node: JoinNode {
            id: node,
            spec: NodeSpec { availability: Availability::Drain, role: Role::Manager, ..NodeSpec::default() },
            description,
            addr: [192, 0, 2, 11].into(),
            data_path_addr: [192, 0, 2, 11].into(),
            manager: Some(ManagerStatus { raft_id: 1, addr }),
            issuer: authority.root().digest().0,
        },
    };
    init_cluster(&Store::default(), request, now(), &mut SystemEntropy).unwrap()
}

pub fn service(name: &str, replicas: u32) -> ServiceSpec {
    ServiceSpec {
        name: name.parse().unwrap(),
        // Connections that nobody ends outlast every test.
        labels: [(DRAIN.to_owned(), "1h".to_owned())].into(),
        mode: ServiceMode::Replicated { replicas },
        task: TaskSpec {
            container: ContainerSpec { image: "mesh/whoami:1".into(), ..ContainerSpec::default() },
            resources: Resources::default(),
            restart: RestartPolicy { delay: Duration::ZERO, ..RestartPolicy::default() },
            placement: Placement::default(),
            networks: Vec::new(),
            force_update: 0,
        },
        endpoint: EndpointSpec {
            mode: EndpointMode::Vip,
            ports: vec![mesh_core::port::PublishedPort {
                published: None,
                target: mesh_core::port::Port::new(80).unwrap(),
                protocol: mesh_core::port::Protocol::Tcp,
                mode: mesh_core::port::PublishMode::Ingress,
            }],
        },
        update: UpdateConfig::default(),
        rollback: UpdateConfig::default(),
    }
}

/// A node with one uplink.
pub fn facts(id: NodeId, hostname: &str, data_path_addr: IpAddr) -> NodeFacts {
    let (hostname, uplinks) = (hostname.to_owned(), vec!["eth0".to_owned()]);
    NodeFacts { id, hostname, data_path_addr, uplinks, path_mtu: 1500, upstreams: Vec::new() }
}

/// A worker whose daemon does not run; its tasks do.
pub struct Away {
    runtime: FakeRuntime,
    admission: Admission,
    dir: TempDir,
}

impl Away {
    /// What it knew of its assignments is lost.
    pub fn forget(&self) {
        std::fs::remove_file(self.dir.path().join("view")).unwrap();
    }

    pub async fn start(self) -> Worker {
        Worker::start(self.admission, self.dir, self.runtime).await
    }
}

/// A worker whose runtime and network are fakes.
pub struct Worker {
    pub runtime: FakeRuntime,
    pub network: FakeNetwork,
    admission: Admission,
    dir: TempDir,
    stop: watch::Sender<bool>,
    end: watch::Sender<Option<Farewell>>,
    session: JoinHandle<()>,
    state: watch::Receiver<SessionState>,
}

impl Worker {
    pub async fn join(cluster: &Cluster) -> Self {
        let application = cluster.application(cluster.token(Role::Worker));
        let admission = application.pursue(drop).await.unwrap();
        assert_eq!(admission.membership.role, Role::Worker);
        let dir = tempfile::tempdir().unwrap();
        Self::start(admission, dir, FakeRuntime::default()).await
    }

    async fn start(admission: Admission, dir: TempDir, runtime: FakeRuntime) -> Self {
        let (stop, stopping) = watch::channel(false);
        let network = FakeNetwork::new(runtime.journal());
        let (agent, inbox) = ways();
        let facts = facts(admission.membership.node, "w1", admission.membership.data_path_addr);
        let file = SavedFile::new(dir.path().join("view"));
        let saved = file.load().unwrap();
        worker::start(facts, runtime.clone(), network.clone(), file, inbox, stopping).await.unwrap();
        let tls = LiveTls::new(&admission.identity, admission.trust.clone()).unwrap();
        let settings = SessionSettings {
            node: admission.membership.node,
            tls,
            advertise_addr: admission.membership.advertise_addr,
            data_path_addr: admission.membership.data_path_addr,
            outbox: agent.outbox.clone(),
            events: agent.events.clone(),
        };
        let managers = Acquaintance::new(admission.membership.managers.clone());
        let (told, state) = watch::channel(SessionState::Lost { error: String::new() });
        let (end, ends) = watch::channel(None);
        let session =
            tokio::spawn(async move { session::keep(settings, &saved, managers, told, ends).await });
        Self { runtime, network, admission, dir, stop, end, session, state }
    }

    /// As after a SIGTERM and a start: the tasks were there all the time.
    pub async fn restart(self) -> Self {
        self.stop().await.start().await
    }

    /// As after a SIGTERM.
    pub async fn stop(self) -> Away {
        let Self { runtime, admission, dir, stop, end, session, .. } = self;
        end.send_replace(Some(Farewell::Restart));
        session.await.unwrap();
        stop.send_replace(true);
        Away { runtime, admission, dir }
    }

    /// Ends the session as a node that leaves does.
    pub async fn leave(self) {
        self.end.send_replace(Some(Farewell::Leave));
        self.session.await.unwrap();
        self.stop.send_replace(true);
    }

    /// Ends it as a crash does.
    pub fn crash(self) {
        self.session.abort();
    }

    pub fn node(&self) -> NodeId {
        self.admission.membership.node
    }

    /// Waits until the session is lost, and tells why.
    pub async fn lost(&self) -> String {
        let mut state = self.state.clone();
        let lost = state.wait_for(|state| matches!(state, SessionState::Lost { .. }));
        match &*tokio::time::timeout(PATIENCE, lost).await.unwrap().unwrap() {
            SessionState::Lost { error } => error.clone(),
            SessionState::Open { .. } => unreachable!(),
        }
    }

    pub async fn served(&self) {
        let mut state = self.state.clone();
        let open = state.wait_for(SessionState::is_open);
        drop(tokio::time::timeout(PATIENCE, open).await.unwrap().unwrap());
    }
}
