//! Managers that are raft, its transport and its service over real TLS, and nothing else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::select_all;
use mesh_core::id::{ClusterId, NodeId};
use mesh_core::object::{ManagerStatus, Meta, Node, NodeDescription, NodeState, NodeStatus};
use mesh_core::spec::{NodeSpec, Role};
use mesh_core::store::{Expect, Object, Transaction, Write};
use mesh_core::time::Timestamp;
use mesh_identity::tls::NodeIdentity;
use mesh_identity::{Authority, CertificateRequest, LiveTls, NODE_CERTIFICATE_LIFE, TrustBundle};
use mesh_raft::{ChangeError, ChangeRefused, MemberChange, ProposeError, Raft, RaftConfig, RoleState};
use meshd::entropy::SystemEntropy;
use meshd::rpc::client::connect;
use meshd::rpc::listener;
use meshd::rpc::proto::raft_client::RaftClient;
use meshd::rpc::proto::raft_server::{Raft as RaftRpc, RaftServer};
use meshd::rpc::proto::{RaftMessages, RaftPart, Received};
use meshd::rpc::raft::RaftService;
use meshd::transport::{Carrying, Own, PeerTransport};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};

/// Nothing here takes this long unless it is broken.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// All managers of one cluster, running or not.
pub struct Group {
    authority: Authority,
    cluster: ClusterId,
    nodes: BTreeMap<u64, Seat>,
}

/// What a manager keeps while it does not run.
struct Seat {
    node: NodeId,
    identity: NodeIdentity,
    addr: SocketAddr,
    dir: TempDir,
    running: Option<Running>,
}

struct Running {
    raft: Raft,
    carrying: Carrying,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Group {
    /// So many managers that all vote, numbered from 1.
    pub async fn start(count: u64) -> Self {
        let cluster = ClusterId::new(&mut SystemEntropy);
        let authority = Authority::create(cluster, SystemTime::now()).unwrap();
        let mut group = Self { authority, cluster, nodes: BTreeMap::new() };
        let mut listeners = Vec::new();
        for id in 1..=count {
            listeners.push((id, group.seat(id).await));
        }
        let first = transaction(group.nodes.iter().map(|(id, seat)| {
            let manager = Some(ManagerStatus { raft_id: *id, addr: seat.addr });
            node(seat.node, Role::Manager, manager, String::new())
        }));
        for (id, listener) in listeners {
            let transport = PeerTransport::default();
            let config = group.config(id, &transport);
            let raft = Raft::bootstrap(config, first.clone()).await.unwrap();
            group.serve(id, raft, transport, listener);
        }
        group
    }

    /// Adds one that runs and knows the members, but is none yet.
    pub async fn enter(&mut self, id: u64) {
        let listener = self.seat(id).await;
        let transport = PeerTransport::default();
        let mut config = self.config(id, &transport);
        config.voters.retain(|voter| *voter != id);
        let raft = Raft::join(config).await.unwrap();
        self.serve(id, raft, transport, listener);
    }

    async fn seat(&mut self, id: u64) -> TcpListener {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = NodeId::new(&mut SystemEntropy);
        let seat = Seat {
            node,
            identity: self.issue(node, Role::Manager),
            addr: listener.local_addr().unwrap(),
            dir: tempfile::tempdir().unwrap(),
            running: None,
        };
        self.nodes.insert(id, seat);
        listener
    }

    fn issue(&self, node: NodeId, role: Role) -> NodeIdentity {
        let csr = CertificateRequest::create().unwrap();
        let subject = (node, role, self.cluster);
        let issued = self
            .authority
            .issue(&csr.request_pem, subject, SystemTime::now(), NODE_CERTIFICATE_LIFE)
            .unwrap();
        NodeIdentity::new(&issued, &csr.key_pem).unwrap()
    }

    fn tls(&self, identity: &NodeIdentity) -> LiveTls {
        LiveTls::new(identity, TrustBundle::of(self.authority.root().clone())).unwrap()
    }

    fn config(&self, id: u64, transport: &PeerTransport) -> RaftConfig {
        let mut config = RaftConfig::new(self.nodes[&id].dir.path().join("state.redb"), id, id);
        config.voters = self.nodes.keys().copied().collect();
        config.addrs = self.nodes.iter().map(|(id, seat)| (*id, seat.addr)).collect();
        config.settings.compaction.keep = 2;
        config.settings.compaction.bytes = 1 << 20;
        config.propose_deadline = PATIENCE;
        config.transport = Arc::new(transport.clone());
        config
    }

    fn serve(&mut self, id: u64, raft: Raft, transport: PeerTransport, listener: TcpListener) {
        let tls = self.tls(&self.nodes[&id].identity);
        let (stop, stopping) = watch::channel(false);
        let seat = self.nodes.get_mut(&id).unwrap();
        let own = Own { raft_id: id, addr: seat.addr };
        let carrying = transport.start(raft.clone(), own, Arc::new(tls.client_config().unwrap()));
        let service = RaftService::new(id, self.cluster, raft.clone(), transport, stopping).into_server();
        let incoming = listener::incoming(listener, tls.server_config().unwrap());
        let serving = Server::builder().add_service(service);
        let server = tokio::spawn(async move {
            serving.serve_with_incoming(ReceiverStream::new(incoming)).await.unwrap();
        });
        seat.running = Some(Running { raft, carrying, stop, server });
    }

    /// Ends one as a crash does for the others: nobody is told, and nobody answers at its address.
    pub async fn kill(&mut self, id: u64) {
        let Running { raft, carrying, stop, server } =
            self.nodes.get_mut(&id).unwrap().running.take().unwrap();
        drop((carrying, stop));
        server.abort();
        let _ = server.await;
        raft.shutdown().await;
    }

    /// Kills one that does not lead; its number.
    pub async fn kill_follower(&mut self) -> u64 {
        let leader = self.leader().await;
        let follower = *self.nodes.keys().find(|id| **id != leader).unwrap();
        self.kill(follower).await;
        follower
    }

    /// Puts somebody in the place of one that was killed who takes streams and never reads them.
    pub async fn serve_deaf(&self, id: u64) -> Deaf {
        let seat = &self.nodes[&id];
        let listener = bind(seat.addr).await.into_std().unwrap();
        let config = self.tls(&seat.identity).server_config().unwrap();
        let (count, streams) = watch::channel(0);
        let serving = Server::builder().add_service(RaftServer::new(DeafService(count)));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let incoming = listener::incoming(TcpListener::from_std(listener).unwrap(), config);
            serving.serve_with_incoming(ReceiverStream::new(incoming)).await.unwrap();
        });
        Deaf { streams, runtime }
    }

    /// Starts one again where it was.
    pub async fn restart(&mut self, id: u64) {
        let listener = bind(self.addr(id)).await;
        self.open(id, listener).await;
    }

    /// Starts one again at another address, which is returned.
    pub async fn restart_elsewhere(&mut self, id: u64) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        self.nodes.get_mut(&id).unwrap().addr = addr;
        self.open(id, listener).await;
        addr
    }

    async fn open(&mut self, id: u64, listener: TcpListener) {
        let transport = PeerTransport::default();
        let raft = Raft::open(self.config(id, &transport)).await.unwrap();
        self.serve(id, raft, transport, listener);
    }

    pub fn raft(&self, id: u64) -> Raft {
        self.nodes[&id].running.as_ref().unwrap().raft.clone()
    }

    pub fn addr(&self, id: u64) -> SocketAddr {
        self.nodes[&id].addr
    }

    /// The one that leads in the eyes of all members that run.
    pub async fn leader(&self) -> u64 {
        let running = self.nodes.iter().filter(|(_, seat)| seat.running.is_some());
        let mut roles: Vec<_> = running.map(|(id, _)| (*id, self.raft(*id).role())).collect();
        loop {
            let seen = roles.iter_mut().map(|(id, role)| (*id, role.borrow_and_update().clone()));
            let seen: Vec<_> = seen.collect();
            let leads = seen.iter().find(|(id, state)| {
                let agreed =
                    |(_, other): &(u64, RoleState)| (other.leader, other.term) == (Some(*id), state.term);
                // One that is not let in yet hears of no leader.
                let members = self.raft(*id).members();
                let members = members.borrow();
                let mut inside = seen.iter().filter(|(other, _)| members.get(*other).is_some());
                state.is_leader() && inside.all(agreed)
            });
            if let Some((leader, _)) = leads {
                return *leader;
            }
            let wait = roles.iter_mut().map(|(_, role)| Box::pin(role.changed()));
            let changed = tokio::time::timeout(PATIENCE, select_all(wait)).await;
            changed.unwrap_or_else(|_| panic!("no leader: {seen:?}")).0.unwrap();
        }
    }

    /// Puts a node object of about `bytes` into the store, at whoever leads.
    pub async fn put(&self, bytes: usize) -> NodeId {
        loop {
            let id = NodeId::new(&mut SystemEntropy);
            let transaction = transaction([node(id, Role::Worker, None, "x".repeat(bytes))]);
            match self.raft(self.leader().await).propose(transaction).await {
                Ok(_) => return id,
                Err(ProposeError::NotLeader { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits until the store of manager `id` has this node object.
    pub async fn has(&self, id: u64, node: NodeId) {
        let raft = self.raft(id);
        let mut changes = raft.changes();
        let seen = async {
            while raft.store().node(node).is_none() {
                let _ = changes.recv().await;
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("manager {id} lacks an entry"));
    }

    /// Makes a change of the members at whoever leads.
    pub async fn change(&self, change: MemberChange) {
        loop {
            match self.raft(self.leader().await).change(change).await {
                Ok(_) => return,
                Err(ChangeError::Lost | ChangeError::Refused(ChangeRefused::NotLeader { .. })) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Who calls as manager `id`, with its certificate.
    pub async fn as_manager(&self, id: u64, to: u64) -> RaftClient<Channel> {
        self.call(&self.nodes[&id].identity, to).await
    }

    /// Who calls as a node with this role that no store knows.
    pub async fn as_stranger(&self, role: Role, to: u64) -> RaftClient<Channel> {
        self.call(&self.issue(NodeId::new(&mut SystemEntropy), role), to).await
    }

    async fn call(&self, identity: &NodeIdentity, to: u64) -> RaftClient<Channel> {
        let tls = Arc::new(self.tls(identity).client_config().unwrap());
        RaftClient::new(connect(self.addr(to).to_string(), tls).await.unwrap())
    }
}

/// Listens where somebody else did a moment ago: a listener that was dropped is closed a little later.
async fn bind(addr: SocketAddr) -> TcpListener {
    let begun = tokio::time::Instant::now();
    loop {
        match TcpListener::bind(addr).await {
            Ok(listener) => return listener,
            Err(error) if begun.elapsed() > PATIENCE => panic!("{addr}: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Somebody who takes streams and never reads them, until it is ended with all its connections.
pub struct Deaf {
    /// How many it has taken.
    pub streams: watch::Receiver<usize>,
    runtime: tokio::runtime::Runtime,
}

impl Deaf {
    pub fn end(self) {
        self.runtime.shutdown_background();
    }
}

struct DeafService(watch::Sender<usize>);

#[tonic::async_trait]
impl RaftRpc for DeafService {
    async fn messages(
        &self,
        request: Request<Streaming<RaftMessages>>,
    ) -> Result<Response<Received>, Status> {
        let _held = request;
        self.0.send_modify(|streams| *streams += 1);
        std::future::pending().await
    }

    async fn snapshot(&self, request: Request<Streaming<RaftPart>>) -> Result<Response<Received>, Status> {
        let _held = request;
        std::future::pending().await
    }
}

fn transaction(nodes: impl IntoIterator<Item = Node>) -> Transaction {
    let put = |node| Write::Put { object: Object::Node(Arc::new(node)), expect: Expect::New };
    Transaction { at: Timestamp(1), writes: nodes.into_iter().map(put).collect() }
}

fn node(id: NodeId, role: Role, manager: Option<ManagerStatus>, ballast: String) -> Node {
    let addr = std::net::Ipv4Addr::LOCALHOST.into();
    Node {
        id,
        meta: Meta::default(),
        spec: NodeSpec { role, ..NodeSpec::default() },
        description: NodeDescription { hostname: ballast, ..NodeDescription::default() },
        status: NodeStatus { state: NodeState::Unknown, message: String::new(), addr, data_path_addr: addr },
        manager,
        issuer: [0; 32],
    }
}
