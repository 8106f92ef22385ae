//! A whole node but for its dataplane and its runtime: office, session and agent, on loopback.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use mesh_core::id::{ClusterId, NodeId};
use mesh_core::spec::{Availability, Role};
use mesh_core::store::Store;
use mesh_identity::{Authority, JoinToken, LiveTls, TrustBundle, UnlockKey};
use mesh_raft::{Raft, RoleState};
use meshd::acquaintance::Acquaintance;
use meshd::addresses::Addresses;
use meshd::agent::saved::SavedFile;
use meshd::agent::session::{self, Farewell, SessionSettings, SessionState};
use meshd::agent::ways::ways;
use meshd::agent::worker;
use meshd::api::forward::RemoteApi;
use meshd::entropy::SystemEntropy;
use meshd::error::DaemonError;
use meshd::guiding::Listening;
use meshd::joining::{Admission, Application};
use meshd::keys::{Keys, Stored};
use meshd::office::{self, ManagerStart, Office, Place, Post};
use meshd::record::Record;
use meshd::renewing::{Renewing, system_clock};
use meshd::rpc::forward::ToLeader;
use meshd::state::{Membership, StateDir};
use meshd::transport::Own;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::fakes::{FakeNetwork, FakeRuntime};
use super::{PATIENCE, first, issue};

/// A node that is in a cluster.
pub struct Node {
    dir: TempDir,
    pub office: Office,
    pub record: Record,
    pub keys: Keys,
    pub runtime: FakeRuntime,
    /// Its API, as other managers see it.
    pub api: RemoteApi,
    stop: watch::Sender<bool>,
    end: watch::Sender<Option<Farewell>>,
    session: JoinHandle<()>,
    state: watch::Receiver<SessionState>,
}

/// A node whose daemon has stopped.
pub struct Stopped {
    dir: TempDir,
    runtime: FakeRuntime,
}

impl Node {
    /// The first manager of a new cluster.
    pub async fn found() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().to_owned());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (cluster, node) = (ClusterId::new(&mut SystemEntropy), NodeId::new(&mut SystemEntropy));
        let authority = Authority::create(cluster, SystemTime::now()).unwrap();
        state.identity().save_trust(&TrustBundle::of(authority.root().clone())).unwrap();
        let identity = issue(&authority, node, cluster);
        let unlock = UnlockKey::new(&mut SystemEntropy);
        let keys = Keys::founded(state.identity(), identity, unlock, false).unwrap();
        let membership = Membership {
            node,
            cluster,
            role: Role::Manager,
            raft_id: Some(office::FIRST_MANAGER),
            listen_addr: addr,
            advertise_addr: addr.ip(),
            advertise_port: Some(addr.port()),
            data_path_addr: [192, 0, 2, 11].into(),
            managers: vec![addr],
            leaving: false,
            forcing: false,
        };
        let own = Own { raft_id: office::FIRST_MANAGER, addr };
        let (config, transport) = office::raft_config(&state, &keys, own).unwrap();
        let raft = Raft::bootstrap(config, first(&authority, cluster, node, addr)).await.unwrap();
        state.save(&membership).unwrap();
        let start = ManagerStart::Found { raft, transport, listener };
        Self::start(dir, FakeRuntime::default(), membership, keys, start).await
    }

    /// A node that joins by way of `by`, with the token of `role`.
    pub async fn join(by: &Self, role: Role) -> Self {
        Self::join_at(by, role, ([127, 0, 0, 1], 0).into()).await
    }

    /// As [`Self::join`], to be reached at `addr`.
    pub async fn join_at(by: &Self, role: Role, addr: SocketAddr) -> Self {
        let (dir, membership, keys, listener) = Self::admitted(by, role, addr).await;
        let start = match role {
            Role::Manager => ManagerStart::Enter { listener },
            Role::Worker => ManagerStart::None,
        };
        Self::start(dir, FakeRuntime::default(), membership, keys, start).await
    }

    /// A node that was let in, and whose daemon was killed at that moment.
    pub async fn let_in(by: &Self, role: Role) -> Stopped {
        let (dir, ..) = Self::admitted(by, role, ([127, 0, 0, 1], 0).into()).await;
        Stopped { dir, runtime: FakeRuntime::default() }
    }

    async fn admitted(by: &Self, role: Role, addr: SocketAddr) -> (TempDir, Membership, Keys, TcpListener) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().to_owned());
        let listener = TcpListener::bind(addr).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let Admission { membership, identity, trust, .. } = Self::apply(by, role, addr).await.unwrap();
        assert_eq!(membership.role, role);
        state.identity().save_trust(&trust).unwrap();
        let keys = Keys::joined(state.identity(), identity).unwrap();
        state.save(&membership).unwrap();
        (dir, membership, keys, listener)
    }

    /// Asks to be let in, to be reached at `addr` as a manager.
    pub async fn apply(by: &Self, role: Role, addr: SocketAddr) -> Result<Admission, DaemonError> {
        let number = u8::try_from(by.store().nodes().count()).unwrap();
        let application = Application {
            remotes: vec![by.record.now().manager_addr().to_string()],
            token: by.token(role),
            addresses: Addresses {
                listen: addr,
                advertise: addr.ip(),
                advertise_port: addr.port(),
                data_path: [192, 0, 2, 11 + number].into(),
            },
            unheard: None,
            availability: Availability::Active,
            back: None,
        };
        application.pursue(drop).await
    }

    async fn start(
        dir: TempDir,
        runtime: FakeRuntime,
        membership: Membership,
        keys: Keys,
        start: ManagerStart,
    ) -> Self {
        let state = StateDir::new(dir.path().to_owned());
        let tls = LiveTls::new(&keys.identity(), state.identity().load_trust().unwrap()).unwrap();
        let record = Record::new(state.clone(), membership.clone());
        let managers = Acquaintance::new(membership.managers.clone());
        let api = RemoteApi::default();
        let place = Place {
            state: state.clone(),
            record: record.clone(),
            tls: tls.clone(),
            keys: keys.clone(),
            managers: managers.clone(),
            api: api.clone(),
        };
        let office = Office::open(place, start).await.unwrap();
        let (agent, inbox) = ways();
        let (told, session_state) = watch::channel(SessionState::Lost { error: String::new() });
        let (end, ends) = watch::channel(None);
        let file = SavedFile::new(dir.path().join("view"));
        let saved = file.load().unwrap();
        let settings = SessionSettings {
            node: membership.node,
            tls: tls.clone(),
            advertise_addr: membership.advertise_addr,
            data_path_addr: membership.data_path_addr,
            outbox: agent.outbox.clone(),
            events: agent.events.clone(),
        };
        let known = managers.clone();
        let session = tokio::spawn(async move { session::keep(settings, &saved, known, told, ends).await });
        tokio::spawn(record.clone().remember(managers.watch()));
        tokio::spawn(record.clone().follow(agent.standing.clone()));
        let facts = super::facts(membership.node, "m", membership.data_path_addr);
        let network = FakeNetwork::new(runtime.journal());
        let (stop, stopping) = watch::channel(false);
        let listening = Listening { record: record.clone(), tls: tls.clone(), managers: managers.clone() };
        tokio::spawn(listening.run(session_state.clone(), stopping.clone()));
        let renewing = Renewing {
            keys: keys.clone(),
            files: state.identity(),
            tls,
            managers: managers.watch(),
            standing: agent.standing.clone(),
            post: office.post(),
            clock: system_clock(),
            told: None,
        };
        tokio::spawn(renewing.run(stopping.clone()));
        worker::start(facts, runtime.clone(), network, file, inbox, stopping).await.unwrap();
        Self { dir, office, record, keys, runtime, api, stop, end, session, state: session_state }
    }

    /// As after a SIGTERM.
    pub async fn stop(self) -> Stopped {
        let Self { dir, office, runtime, stop, end, session, .. } = self;
        end.send_replace(Some(Farewell::Restart));
        session.await.unwrap();
        stop.send_replace(true);
        office.end().await;
        Stopped { dir, runtime }
    }

    pub fn node(&self) -> NodeId {
        self.record.now().node
    }

    pub fn raft_file(&self) -> PathBuf {
        StateDir::new(self.dir.path().to_owned()).raft_file()
    }

    pub fn raft_id(&self) -> u64 {
        self.record.now().raft_id.unwrap()
    }

    /// Its store, which it has when it is a manager.
    pub fn raft(&self) -> Raft {
        self.office.serving().expect("a manager").raft
    }

    pub fn store(&self) -> Store {
        self.raft().store()
    }

    pub fn token(&self, role: Role) -> JoinToken {
        let store = self.store();
        let cluster = store.cluster().unwrap();
        let secret = match role {
            Role::Worker => &cluster.worker_token,
            Role::Manager => &cluster.manager_token,
        };
        let trust = TrustBundle::from_pem(&cluster.trust).unwrap();
        let root = trust.roots().next().unwrap().digest();
        JoinToken { root, secret: secret.expose().parse().unwrap() }
    }

    /// Waits until it is a manager.
    pub async fn seated(&self) {
        self.wait_post("the office", |post| matches!(post, Post::Held(_))).await;
    }

    /// Waits until it is none, with nothing left of it.
    pub async fn vacant(&self) {
        let mut record = self.record.watch();
        let laid_down = record.wait_for(|now| now.role == Role::Worker && now.raft_id.is_none());
        drop(timeout(PATIENCE, laid_down).await.expect("it is a manager still").unwrap());
        assert!(matches!(*self.office.post().borrow(), Post::Vacant));
        assert!(!self.raft_file().exists());
    }

    pub async fn wait_post(&self, what: &str, is: impl Fn(&Post) -> bool) {
        let mut post = self.office.post();
        let waited = timeout(PATIENCE, post.wait_for(|post| is(post))).await;
        drop(waited.unwrap_or_else(|_| panic!("no {what}")).unwrap());
    }

    /// Waits until its raft is so.
    pub async fn wait_role(&self, what: &str, is: impl Fn(&RoleState) -> bool) -> RoleState {
        let mut role = self.raft().role();
        let waited = timeout(PATIENCE, role.wait_for(|role| is(role))).await;
        waited.unwrap_or_else(|_| panic!("no {what}")).unwrap().clone()
    }

    pub async fn leads(&self) {
        self.wait_role("leader", RoleState::is_leader).await;
    }

    /// Waits until its store is so.
    pub async fn wait<T>(&self, what: &str, look: impl Fn(&Store) -> Option<T>) -> T {
        let raft = self.raft();
        let mut changes = raft.changes();
        let looked = timeout(PATIENCE, async {
            loop {
                if let Some(found) = look(&raft.store()) {
                    return found;
                }
                changes.recv().await.unwrap();
            }
        });
        let Ok(found) = looked.await else {
            panic!("no {what}: {:#?}", raft.store().nodes().collect::<Vec<_>>());
        };
        found
    }

    /// Waits until exactly these vote.
    pub async fn wait_voters(&self, voters: &[u64]) {
        let mut members = self.raft().members();
        let mut wanted = voters.to_vec();
        wanted.sort_unstable();
        let so = members.wait_for(|members| !members.is_joint() && members.voters().iter().eq(&wanted));
        let outcome = timeout(PATIENCE, so).await.map(drop);
        assert!(outcome.is_ok(), "{wanted:?} do not vote: {:?}", self.raft().members().borrow());
    }

    /// How it stands with its managers, as that changes.
    pub fn session(&self) -> watch::Receiver<SessionState> {
        self.state.clone()
    }

    /// The way to the manager that leads, which it has when it is a manager.
    pub fn to_leader(&self) -> ToLeader {
        self.office.serving().expect("a manager").to_leader
    }

    /// Where managers reach it.
    pub fn addr(&self) -> SocketAddr {
        self.record.now().manager_addr()
    }

    /// Waits until a manager serves it, and tells which and whether it went on from what it had.
    pub async fn open(&self) -> (SocketAddr, bool) {
        self.open_not_at(None).await
    }

    /// As [`Self::open`], for any manager but this one.
    pub async fn open_not_at(&self, left: Option<SocketAddr>) -> (SocketAddr, bool) {
        let mut state = self.state.clone();
        let open = |state: &SessionState| matches!(state, SessionState::Open { manager, .. } if Some(*manager) != left);
        match &*timeout(PATIENCE, state.wait_for(open)).await.expect("no session").unwrap() {
            SessionState::Open { manager, resumed } => (*manager, *resumed),
            SessionState::Lost { .. } => unreachable!(),
        }
    }

    pub async fn served(&self) {
        let mut state = self.state.clone();
        let open = state.wait_for(SessionState::is_open);
        drop(timeout(PATIENCE, open).await.unwrap().unwrap());
    }
}

impl Stopped {
    /// It will be reached at another port from now on.
    pub async fn move_away(&self) -> SocketAddr {
        let state = StateDir::new(self.dir.path().to_owned());
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = free.local_addr().unwrap();
        let membership = state.load().unwrap().unwrap();
        let moved = Membership { listen_addr: addr, advertise_port: Some(addr.port()), ..membership };
        state.save(&moved).unwrap();
        addr
    }

    /// It was assigned no other managers than these before it stopped.
    pub fn knows_only(&self, managers: &[SocketAddr]) {
        let state = StateDir::new(self.dir.path().to_owned());
        let membership = state.load().unwrap().unwrap();
        state.save(&Membership { managers: managers.to_vec(), ..membership }).unwrap();
    }

    pub fn addr(&self) -> SocketAddr {
        StateDir::new(self.dir.path().to_owned()).load().unwrap().unwrap().manager_addr()
    }

    pub fn raft_file(&self) -> PathBuf {
        StateDir::new(self.dir.path().to_owned()).raft_file()
    }

    pub fn node(&self) -> NodeId {
        StateDir::new(self.dir.path().to_owned()).load().unwrap().unwrap().node
    }

    pub async fn start(self) -> Node {
        let state = StateDir::new(self.dir.path().to_owned());
        let membership = state.load().unwrap().unwrap();
        let Stored::Open(keys) = Keys::load(state.identity()).unwrap() else { panic!("locked") };
        Node::start(self.dir, self.runtime, membership, keys, ManagerStart::Open).await
    }
}

/// The node that leads, of those that are managers.
pub async fn leader<'a>(nodes: &[&'a Node]) -> &'a Node {
    let found = timeout(PATIENCE, async {
        loop {
            if let Some(leader) = nodes.iter().find(|node| node.raft().role().borrow().is_leader()) {
                return *leader;
            }
            let mut roles: Vec<_> = nodes.iter().map(|node| node.raft().role()).collect();
            let changed = roles.iter_mut().map(|role| Box::pin(role.changed()));
            let (_, _, _) = futures_util::future::select_all(changed).await;
        }
    });
    found.await.expect("nobody leads")
}

/// Long enough for a step that must not happen.
pub const MOMENT: Duration = Duration::from_millis(500);

/// Three managers; the first leads.
pub async fn three() -> [Node; 3] {
    let first = Node::found().await;
    let second = Node::join(&first, Role::Manager).await;
    second.seated().await;
    let third = Node::join(&first, Role::Manager).await;
    third.seated().await;
    [first, second, third]
}
