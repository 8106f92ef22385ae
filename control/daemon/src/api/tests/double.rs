//! A daemon that is a store behind a lock, and a client of the API in front of it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use mesh_api::mesh::{Counters, Flow, Vip};
use mesh_core::command::{InitCluster, JoinNode, init_cluster};
use mesh_core::id::{ClusterId, Entropy, NodeId};
use mesh_core::object::{ManagerStatus, NodeDescription};
use mesh_core::secret::Secret;
use mesh_core::spec::{ClusterSpec, NodeSpec, Role};
use mesh_core::store::{Store, Transaction};
use mesh_core::time::Timestamp;
use mesh_identity::{Authority, LockError, UnlockKey};
use mesh_raft::{Committed, Forced, Position};
use serde_json::Value;
use tokio::sync::{broadcast, watch};
use tokio_stream::wrappers::{BroadcastStream, WatchStream};
use tower::ServiceExt;

use super::super::Api;
use super::super::backend::{Backend, Feed, Ledger, LedgerError, Peers};
use super::super::error::ApiError;
use super::super::router;
use crate::daemon::{InitRequest, JoinRequest, JoinTokens, LocalState, NodeInfo};
use crate::error::DaemonError;
use crate::rpc::forward::ToLeader;
use crate::settling::Settlement;

/// A daemon that is as far as a test wants it to be.
pub struct Double {
    pub ledger: Arc<MemoryLedger>,
    pub standing: Standing,
    /// How often the root was to be changed.
    pub rotations: Arc<AtomicUsize>,
}

/// How the double stands to a cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Outside,
    Worker,
    Manager,
    /// A manager whose keys are sealed.
    Locked,
}

/// The key that opens a locked double.
pub const UNLOCK_KEY: &str = "SWMKEY-1-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A log of one member that forgets.
pub struct MemoryLedger {
    store: Mutex<Store>,
    news: broadcast::Sender<Arc<Committed>>,
    /// Proposals that are answered with a conflict before one is taken.
    pub conflicts: Mutex<usize>,
    /// What is applied at a manager that is behind; `None`: everything.
    pub behind: Mutex<Option<Store>>,
    /// What keeps it from writing.
    pub alarm: Mutex<Option<String>>,
    /// The managers as the double sees them; it leads at first.
    pub peers: watch::Sender<Peers>,
}

/// Counts up, so that a test can foresee it.
pub struct Counter(pub u128);

impl Entropy for Counter {
    fn next_u128(&mut self) -> u128 {
        self.0 += 1;
        self.0
    }
}

impl MemoryLedger {
    /// Applies a transaction made by the test.
    pub fn apply(&self, transaction: &Transaction) -> Result<u64, LedgerError> {
        let mut store = self.store.lock().unwrap();
        let index = store.index() + 1;
        let changes = store.apply(index, transaction)?;
        // Nobody may listen.
        let _ = self.news.send(Arc::new(Committed { index, changes, replaced: false }));
        Ok(index)
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn read(&self) -> Result<Store, LedgerError> {
        Ok(self.store.lock().unwrap().clone())
    }

    fn store(&self) -> Store {
        let behind = self.behind.lock().unwrap().clone();
        behind.unwrap_or_else(|| self.store.lock().unwrap().clone())
    }

    async fn propose(&self, transaction: Transaction) -> Result<u64, LedgerError> {
        let mut conflicts = self.conflicts.lock().unwrap();
        if *conflicts > 0 {
            *conflicts -= 1;
            return Err(mesh_core::store::Conflict::ClusterDeleted.into());
        }
        self.apply(&transaction)
    }

    fn feed(&self) -> BoxStream<'static, Feed> {
        BroadcastStream::new(self.news.subscribe())
            .map(|news| news.map_or(Feed::Lagged, Feed::Applied))
            .boxed()
    }

    fn alarm(&self) -> Option<String> {
        self.alarm.lock().unwrap().clone()
    }

    fn peers(&self) -> Peers {
        self.peers.borrow().clone()
    }

    async fn answering(&self) -> BTreeSet<u64> {
        let peers = self.peers.borrow().clone();
        peers.heard.into_iter().chain(peers.leader).collect()
    }

    fn follow_peers(&self) -> BoxStream<'static, Peers> {
        WatchStream::new(self.peers.subscribe()).boxed()
    }
}

#[async_trait]
impl Backend for Double {
    async fn init(&self, request: InitRequest) -> Result<NodeId, DaemonError> {
        match self.standing {
            Standing::Manager if request.force_new_cluster => Ok(NodeId::from_bits(1)),
            Standing::Outside => Ok(NodeId::from_bits(1)),
            Standing::Worker | Standing::Manager | Standing::Locked => Err(DaemonError::AlreadyMember),
        }
    }

    async fn survey_new_cluster(&self) -> Result<Forced, DaemonError> {
        let store = self.manager()?.store();
        let last = Position { index: store.index(), term: 3 };
        let dropped = [(2, Some(([192, 0, 2, 12], 2377).into())), (3, None)].into();
        Ok(Forced { node: 1, dropped, uncertain: 2, last, store })
    }

    async fn unlock(&self, key: &str) -> Result<(), DaemonError> {
        match self.standing {
            Standing::Outside => Err(DaemonError::NoCluster),
            Standing::Worker => Err(DaemonError::NotManager),
            Standing::Manager => Err(LockError::NotLocked.into()),
            Standing::Locked => {
                let key: UnlockKey = key.parse().map_err(DaemonError::Lock)?;
                let right = UNLOCK_KEY.parse().is_ok_and(|right| key.matches(&right));
                if right { Ok(()) } else { Err(LockError::WrongKey.into()) }
            }
        }
    }

    async fn rotate_root(&self) -> Result<(), DaemonError> {
        self.rotations.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn join(&self, _request: JoinRequest) -> Result<(), DaemonError> {
        Err(DaemonError::JoinTimeout)
    }

    async fn leave(&self, force: bool) -> Result<(), DaemonError> {
        if force { Ok(()) } else { Err(DaemonError::LastManager) }
    }

    fn manager(&self) -> Result<Arc<dyn Ledger>, DaemonError> {
        match self.standing {
            Standing::Outside => Err(DaemonError::NoCluster),
            Standing::Worker => Err(DaemonError::NotManager),
            Standing::Manager => Ok(self.ledger.clone()),
            Standing::Locked => Err(LockError::Locked.into()),
        }
    }

    fn to_leader(&self) -> Option<ToLeader> {
        None
    }

    async fn settled(&self, known: u64, index: u64, _: Duration) -> Result<Settlement, DaemonError> {
        let waiting = if index > known { vec![NodeId::from_bits(1)] } else { Vec::new() };
        Ok(Settlement { settled: waiting.is_empty(), waiting })
    }

    fn info(&self) -> NodeInfo {
        let member = self.standing != Standing::Outside;
        NodeInfo {
            state: match self.standing {
                Standing::Outside => LocalState::Inactive,
                Standing::Locked => LocalState::Locked,
                Standing::Worker | Standing::Manager => LocalState::Active,
            },
            node: member.then(|| NodeId::from_bits(1)),
            cluster: member.then(|| ClusterId::from_bits(9)),
            role: match self.standing {
                Standing::Outside => None,
                Standing::Worker => Some(Role::Worker),
                Standing::Manager | Standing::Locked => Some(Role::Manager),
            },
            addr: member.then(|| [192, 0, 2, 11].into()),
            managers: vec![([192, 0, 2, 11], 2377).into()],
            description: description(),
            running_tasks: 0,
        }
    }

    fn join_tokens(&self) -> Result<JoinTokens, DaemonError> {
        Ok(JoinTokens {
            worker: "SWMTKN-1-root-worker".to_owned(),
            manager: "SWMTKN-1-root-manager".to_owned(),
        })
    }

    async fn vips(&self) -> Result<Vec<Vip>, ApiError> {
        Ok(Vec::new())
    }

    async fn flows(&self) -> Result<Vec<Flow>, ApiError> {
        Ok(vec![Flow { state: "established".to_owned(), ..Flow::default() }])
    }

    async fn follow_flows(&self) -> Result<BoxStream<'static, Flow>, ApiError> {
        let told = futures_util::stream::iter([Flow { event: "new".to_owned(), ..Flow::default() }]);
        Ok(told.chain(futures_util::stream::pending()).boxed())
    }

    async fn counters(&self) -> Result<Counters, ApiError> {
        Ok(Counters { healed: 1, ..Counters::default() })
    }
}

fn description() -> NodeDescription {
    NodeDescription {
        hostname: "n1".to_owned(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        engine_version: "0.1.0".to_owned(),
        routes: vec!["192.0.2.0/24".parse().unwrap()],
        listening: vec![(22.try_into().unwrap(), mesh_core::port::Protocol::Tcp)],
        ..NodeDescription::default()
    }
}

fn first_entry() -> Transaction {
    let authority = Authority::create(ClusterId::from_bits(9), SystemTime::now()).unwrap();
    let root = authority.root();
    let node = JoinNode {
        id: NodeId::from_bits(1),
        spec: NodeSpec { role: Role::Manager, ..NodeSpec::default() },
        description: description(),
        addr: [192, 0, 2, 11].into(),
        data_path_addr: [192, 0, 2, 11].into(),
        manager: Some(ManagerStatus { raft_id: 1, addr: ([192, 0, 2, 11], 2377).into() }),
        issuer: root.digest().0,
    };
    let request = InitCluster {
        id: ClusterId::from_bits(9),
        spec: ClusterSpec::default(),
        trust: root.pem().to_owned(),
        signer: root.digest().0,
        signing_key: Secret::new(authority.key_pem()),
        worker_token: Secret::new("w".repeat(25)),
        manager_token: Secret::new("m".repeat(25)),
        unlock_key: Secret::default(),
        node,
    };
    init_cluster(&Store::default(), request, Timestamp(1_700_000_000_000_000_000), &mut Counter(100)).unwrap()
}

/// An API in front of a double.
pub struct Client {
    pub ledger: Arc<MemoryLedger>,
    /// How often the root was to be changed.
    pub rotations: Arc<AtomicUsize>,
    service: router::Service,
    pub close: watch::Sender<bool>,
}

impl Client {
    /// A manager whose cluster was just made.
    pub fn manager() -> Self {
        Self::new(Standing::Manager)
    }

    pub fn new(standing: Standing) -> Self {
        let news = broadcast::channel(16).0;
        let peers = watch::Sender::new(Peers { leader: Some(1), leads: true, heard: BTreeSet::new() });
        let ledger = MemoryLedger {
            store: Mutex::default(),
            news,
            conflicts: Mutex::new(0),
            behind: Mutex::default(),
            alarm: Mutex::default(),
            peers,
        };
        if standing == Standing::Manager {
            ledger.apply(&first_entry()).unwrap();
        }
        let ledger = Arc::new(ledger);
        let rotations = Arc::<AtomicUsize>::default();
        let backend = Arc::new(Double { ledger: ledger.clone(), standing, rotations: rotations.clone() });
        let (close, closing) = watch::channel(false);
        Self { ledger, rotations, service: router::service(Api { backend, closing }), close }
    }

    pub async fn send(&self, method: &str, path: &str, body: &str) -> axum::response::Response {
        let request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
        self.service.clone().oneshot(request).await.unwrap()
    }

    /// Status and body; a body that is no JSON is given as text.
    pub async fn ask(&self, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
        let answer = self.send(method, path, body).await;
        let status = answer.status();
        let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, value) = self.ask("GET", path, "").await;
        assert_eq!(status, StatusCode::OK, "{path}: {value}");
        value
    }

    pub async fn post(&self, path: &str, body: &str) -> Value {
        let (status, value) = self.ask("POST", path, body).await;
        assert!(status.is_success(), "{path}: {status} {value}");
        value
    }

    /// The `message` of a refusal, and its status.
    pub async fn refusal(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let (status, value) = self.ask(method, path, body).await;
        assert!(!status.is_success(), "{method} {path} was not refused: {value}");
        (
            status.as_u16(),
            value["message"].as_str().unwrap_or_else(|| panic!("no message: {value}")).to_owned(),
        )
    }
}
