//! What the rest of the daemon (the API first of all) may ask of this node: become part of a cluster, leave
//! it, tell how it stands, and hand out the parts that serve reads.

mod founding;
mod keeping;
mod request;
mod returning;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use mesh_core::id::NodeId;
use mesh_core::spec::Role;
use mesh_dataplane::Dataplane;
use mesh_identity::{JoinToken, LockError, TrustBundle};
use mesh_raft::Raft;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use self::founding::Founding;
pub use self::request::{InitRequest, JoinRequest, JoinTokens, LocalState, NodeInfo};
use crate::addresses::{self, Addresses, Asked};
use crate::agent::session::SessionState;
use crate::api::forward::RemoteApi;
use crate::config::Config;
use crate::describe::describe;
use crate::error::DaemonError;
use crate::joining::{Admission, Application};
use crate::keys::{Keys, LockedKeys, Stored};
use crate::member::{self, Member};
use crate::office::{self, FIRST_MANAGER, Loss, ManagerStart, Post, Serving};
use crate::settling::Settling;
use crate::state::{Membership, StateDir};
use crate::transport::Own;

/// How long a join may take before it goes on in the background.
const JOIN_PATIENCE: Duration = Duration::from_secs(20);

/// How long init waits for this node's own agent.
const INIT_PATIENCE: Duration = Duration::from_secs(5);

/// The daemon's life cycle; a cheap handle.
#[derive(Clone)]
pub struct Daemon {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    state: StateDir,
    status: Mutex<Status>,
    /// Where other managers ask this one's API.
    api: RemoteApi,
}

/// How this node stands; every change of it goes through here.
enum Status {
    Inactive,
    /// An init, a leave, or the last part of a join is under way.
    Changing,
    /// A join is under way.
    Joining {
        error: String,
        attempt: JoinHandle<()>,
    },
    Active(Arc<Member>),
    /// A manager whose keys are sealed: nothing of it runs but its tasks, its dataplane and its names.
    Locked(Box<Locked>),
}

/// A manager that waits for the unlock key.
struct Locked {
    membership: Membership,
    keys: LockedKeys,
}

impl Daemon {
    /// Takes up the node where the last daemon left it.
    pub async fn open(config: Config) -> Result<Self, DaemonError> {
        let state = StateDir::new(config.data_dir.clone());
        let api = RemoteApi::default();
        let status = match state.load()? {
            Some(membership) if membership.leaving => {
                tracing::info!("this node was leaving its cluster: it goes on with that");
                member::clear(&config, None).await;
                state.forget()?;
                Status::Inactive
            }
            Some(membership) => match Keys::load(state.identity())? {
                Stored::Open(keys) => {
                    let member =
                        Member::start(&config, &state, membership, keys, ManagerStart::Open, &api).await?;
                    Status::Active(Arc::new(member))
                }
                Stored::Locked(keys) => {
                    tracing::warn!(
                        "this manager is locked: it waits for the unlock key; tasks and traffic go on"
                    );
                    Status::Locked(Box::new(Locked { membership, keys }))
                }
            },
            None => {
                state.clear_cluster()?;
                Status::Inactive
            }
        };
        Ok(Self { inner: Arc::new(Inner { config, state, status: Mutex::new(status), api }) })
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.inner.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, status: Status) {
        *self.status() = status;
    }

    /// Begins a change of a node that is in no cluster.
    fn begin(&self) -> Result<(), DaemonError> {
        let mut status = self.status();
        match &*status {
            Status::Inactive => {
                *status = Status::Changing;
                Ok(())
            }
            Status::Changing => Err(DaemonError::Busy),
            Status::Joining { .. } | Status::Active(_) => Err(DaemonError::AlreadyMember),
            Status::Locked(_) => Err(LockError::Locked.into()),
        }
    }

    /// Makes a cluster with this node as its first manager, or goes on alone with the one that it manages;
    /// returns when the cluster accepts writes.
    pub async fn init(&self, request: InitRequest) -> Result<NodeId, DaemonError> {
        if request.force_new_cluster {
            return self.force_new_cluster().await;
        }
        self.begin()?;
        // The change goes on when the caller stops waiting.
        let daemon = self.clone();
        let done = tokio::spawn(async move {
            let made = daemon.make_cluster(request).await;
            match made {
                Ok(member) => {
                    let node = member.record().now().node;
                    daemon.set(Status::Active(Arc::clone(&member)));
                    served(&member, INIT_PATIENCE).await;
                    Ok(node)
                }
                Err(error) => {
                    daemon.set(Status::Inactive);
                    Err(error)
                }
            }
        });
        done.await.map_err(|error| DaemonError::part("init", &error))?
    }

    async fn make_cluster(&self, request: InitRequest) -> Result<Arc<Member>, DaemonError> {
        let Inner { config, state, .. } = &*self.inner;
        let addresses =
            self.addresses(&[&request.listen_addr, &request.advertise_addr, &request.data_path_addr])?;
        let founding = Founding::new(config, request, &addresses)?;
        let listener = office::listen(addresses.listen).await?;
        state.clear_cluster()?;
        state.identity().save_trust(&founding.trust)?;
        let Founding { identity, unlock, autolock, .. } = founding;
        let keys = Keys::founded(state.identity(), identity, unlock, autolock)?;
        let own = Own { raft_id: FIRST_MANAGER, addr: founding.membership.manager_addr() };
        let (raft, transport) = office::raft_config(state, &keys, own)?;
        let raft =
            Raft::bootstrap(raft, founding.first).await.map_err(|error| DaemonError::part("raft", &error))?;
        let manager = ManagerStart::Found { raft: raft.clone(), transport, listener };
        state.save(&founding.membership)?;
        match Member::start(config, state, founding.membership, keys, manager, &self.inner.api).await {
            Ok(member) => Ok(Arc::new(member)),
            Err(error) => {
                raft.shutdown().await;
                member::clear(config, None).await;
                state.forget()?;
                Err(error)
            }
        }
    }

    /// Joins a cluster, or comes back to it after too long a time; returns when a manager serves this node, or with [`DaemonError::JoinTimeout`] after
    /// 20 s while the attempt goes on.
    pub async fn join(&self, request: JoinRequest) -> Result<(), DaemonError> {
        let token: JoinToken = request.token.parse()?;
        let addresses =
            self.addresses(&[&request.listen_addr, &request.advertise_addr, &request.data_path_addr])?;
        let remotes: Vec<String> =
            request.remotes.iter().map(|text| addresses::remote(text)).collect::<Result<_, _>>()?;
        if remotes.is_empty() {
            let reason = "name at least one manager, ADDR[:PORT]".to_owned();
            return Err(DaemonError::InvalidField { field: "RemoteAddrs", value: String::new(), reason });
        }
        let application = Application {
            remotes,
            token,
            addresses,
            unheard: None,
            availability: request.availability,
            back: None,
        };
        if let Some(member) = self.lapsed(SystemTime::now()) {
            return self.come_back(member, application).await;
        }
        self.begin()?;
        // A manager is to be reached before it is let in, and the token does not say what it makes of the node.
        let listener = office::listen(application.addresses.listen).await;
        let unheard = listener.as_ref().err().map(DaemonError::to_string);
        let application = Application { unheard, ..application };
        let (told, outcome) = tokio::sync::oneshot::channel();
        let daemon = self.clone();
        let (go, gone) = tokio::sync::oneshot::channel();
        let attempt = tokio::spawn(async move {
            // The status must say that a join is under way before the join can end it.
            let _ = gone.await;
            let joined = daemon.pursue(application, listener).await;
            match &joined {
                Ok(()) | Err(DaemonError::NotMember) => {}
                Err(error) => {
                    tracing::warn!(%error, "this node did not join");
                    daemon.set(Status::Inactive);
                }
            }
            // Nobody hears it when the request was answered already.
            let _ = told.send(joined);
        });
        self.set(Status::Joining { error: String::new(), attempt });
        let _ = go.send(());
        match tokio::time::timeout(JOIN_PATIENCE, outcome).await {
            Ok(Ok(joined)) => joined,
            Ok(Err(error)) => Err(DaemonError::part("join", &error)),
            Err(_) => Err(DaemonError::JoinTimeout),
        }
    }

    async fn pursue(
        &self,
        application: Application,
        listener: Result<TcpListener, DaemonError>,
    ) -> Result<(), DaemonError> {
        let daemon = self.clone();
        let admitted = application
            .pursue(move |words| {
                if let Status::Joining { error, .. } = &mut *daemon.status() {
                    *error = words;
                }
            })
            .await;
        let (Admission { membership, identity, trust }, manager) = match (admitted, listener) {
            (Ok(admission), _) if admission.membership.role == Role::Worker => {
                (admission, ManagerStart::None)
            }
            (Ok(admission), Ok(listener)) => (admission, ManagerStart::Enter { listener }),
            (Ok(_), Err(unheard)) => return Err(unheard),
            (Err(error), _) => return Err(error),
        };
        if !self.admitted() {
            // It was told to leave at the very moment it was let in.
            return Err(DaemonError::NotMember);
        }
        let Inner { config, state, .. } = &*self.inner;
        state.clear_cluster()?;
        state.identity().save_trust(&trust)?;
        let keys = Keys::joined(state.identity(), identity)?;
        state.save(&membership)?;
        match Member::start(config, state, membership, keys, manager, &self.inner.api).await {
            Ok(member) => {
                let member = Arc::new(member);
                self.set(Status::Active(Arc::clone(&member)));
                served(&member, JOIN_PATIENCE).await;
                seated(&member).await;
                Ok(())
            }
            Err(error) => {
                member::clear(config, None).await;
                state.forget()?;
                Err(error)
            }
        }
    }

    /// A join can no longer be taken back from here on; false when it was.
    fn admitted(&self) -> bool {
        let mut status = self.status();
        let joining = matches!(*status, Status::Joining { .. });
        if joining {
            *status = Status::Changing;
        }
        joining
    }

    /// Stops this node's tasks, clears its dataplane and forgets the cluster. A manager refuses without `force`;
    /// with it the other managers are told first, so that they do not count it any more.
    pub async fn leave(&self, force: bool) -> Result<(), DaemonError> {
        let member = {
            let mut status = self.status();
            match &*status {
                Status::Inactive => return Err(DaemonError::NotMember),
                Status::Changing => return Err(DaemonError::Busy),
                Status::Joining { attempt, .. } => {
                    attempt.abort();
                    *status = Status::Inactive;
                    return self.inner.state.forget();
                }
                Status::Locked(_) if !force => return Err(LockError::Locked.into()),
                Status::Locked(_) => {
                    *status = Status::Changing;
                    None
                }
                Status::Active(member) if member.is_manager() && !force => {
                    return Err(match member.office().loss() {
                        Loss::Cluster => DaemonError::LastManager,
                        Loss::Quorum { left, total } => DaemonError::LeaveLosesQuorum { left, total },
                        Loss::Spare => DaemonError::LeavesAsManager { warning: "" },
                        Loss::Unknown => DaemonError::LeavesAsManager {
                            warning: "Doing so may lose the consensus of your cluster. ",
                        },
                    });
                }
                Status::Active(member) => {
                    let member = Arc::clone(member);
                    *status = Status::Changing;
                    Some(member)
                }
            }
        };
        let Some(member) = member else { return self.forget_locked().await };
        let daemon = self.clone();
        let done = tokio::spawn(async move { daemon.forget(member).await });
        done.await.map_err(|error| DaemonError::part("leave", &error))?
    }

    async fn forget(&self, member: Arc<Member>) -> Result<(), DaemonError> {
        let Inner { config, state, .. } = &*self.inner;
        if let Err(error) = member.record().change(|membership| membership.leaving = true).await {
            self.set(Status::Active(member));
            return Err(error);
        }
        if member.is_manager() {
            member.office().depart().await;
        }
        member.record().close().await;
        member.leave(config).await;
        let forgotten = state.forget();
        self.set(Status::Inactive);
        forgotten
    }

    /// Ends this daemon's part; tasks, dataplane and names go on, and the managers are told that it comes
    /// back.
    pub async fn stop(&self) {
        let member = match &*self.status() {
            Status::Active(member) => Arc::clone(member),
            Status::Joining { attempt, .. } => return attempt.abort(),
            Status::Inactive | Status::Changing | Status::Locked(_) => return,
        };
        member.stop().await;
    }

    fn member(&self) -> Result<Arc<Member>, DaemonError> {
        match &*self.status() {
            Status::Active(member) => Ok(Arc::clone(member)),
            Status::Locked(_) => Err(LockError::Locked.into()),
            Status::Inactive | Status::Changing | Status::Joining { .. } => Err(DaemonError::NoCluster),
        }
    }

    /// The replicated store, when this node is a manager; else Swarm's words on why not.
    pub fn manager(&self) -> Result<Raft, DaemonError> {
        Ok(self.serving()?.raft)
    }

    /// What a manager serves users with; else Swarm's words on why this node does not.
    pub fn serving(&self) -> Result<Serving, DaemonError> {
        let member = self.member()?;
        let post = member.office().post();
        let post = post.borrow();
        match &*post {
            Post::Held(serving) => Ok(serving.clone()),
            Post::Vacant | Post::Entering { .. } => Err(DaemonError::NotManager),
            Post::Closed { error } => Err(DaemonError::ManagerClosed { error: error.clone() }),
        }
    }

    /// Where other managers ask this one's API.
    pub fn remote_api(&self) -> &RemoteApi {
        &self.inner.api
    }

    /// What tells whether the nodes have what the store says, when this node is a manager.
    pub fn settling(&self) -> Result<Settling, DaemonError> {
        Ok(self.serving()?.settling)
    }

    /// The node's dataplane (`vips()`, `flows()`, `counters()`), when it is in a cluster. It is to be let go
    /// of soon: a node that leaves waits for it.
    pub fn dataplane(&self) -> Result<Arc<Dataplane>, DaemonError> {
        Ok(self.member()?.dataplane())
    }

    /// This node, as it sees itself.
    pub fn info(&self) -> NodeInfo {
        let mut membership = None;
        let (state, member) = match &*self.status() {
            Status::Inactive | Status::Changing => (LocalState::Inactive, None),
            Status::Joining { error, .. } => (LocalState::Pending { error: error.clone() }, None),
            Status::Active(member) => (LocalState::Active, Some(Arc::clone(member))),
            Status::Locked(locked) => {
                membership = Some(locked.membership.clone());
                (LocalState::Locked, None)
            }
        };
        let state = member.as_deref().and_then(hindrance).map_or(state, |error| LocalState::Error { error });
        let membership = member.as_ref().map(|member| member.record().now()).or(membership);
        NodeInfo {
            state,
            node: membership.as_ref().map(|membership| membership.node),
            cluster: membership.as_ref().map(|membership| membership.cluster),
            role: member.as_deref().map(role_of),
            addr: membership.as_ref().map(|membership| membership.advertise_addr),
            managers: membership.map(|membership| membership.managers).unwrap_or_default(),
            description: describe(),
            running_tasks: member.map_or(0, |member| member.agent().state.borrow().running),
        }
    }

    /// Both join tokens, from the store.
    pub fn join_tokens(&self) -> Result<JoinTokens, DaemonError> {
        let store = self.manager()?.store();
        let cluster = store.cluster().ok_or(DaemonError::NoCluster)?;
        let root = TrustBundle::from_pem(&cluster.trust)?.named();
        let whole = |secret: &str| -> Result<String, DaemonError> {
            Ok(JoinToken { root, secret: secret.parse()? }.to_string())
        };
        Ok(JoinTokens {
            worker: whole(cluster.worker_token.expose())?,
            manager: whole(cluster.manager_token.expose())?,
        })
    }

    /// Settles the addresses of a request: listen, advertise, data path.
    fn addresses(&self, asked: &[&Option<String>; 3]) -> Result<Addresses, DaemonError> {
        let config = &self.inner.config;
        let [listen, advertise, data_path] =
            asked.map(|text| text.as_deref().filter(|text| !text.is_empty()));
        let asked = Asked {
            listen,
            advertise: advertise.or(config.advertise_addr.as_deref()),
            data_path: data_path.or(config.data_path_addr.as_deref()),
        };
        Addresses::settle(asked, config.listen_addr, &config.uplinks, &addresses::local_addresses())
    }
}

/// Manager as soon as it is one that can be asked, and as long as it is one.
fn role_of(member: &Member) -> Role {
    match &*member.office().post().borrow() {
        Post::Held(_) | Post::Closed { .. } => Role::Manager,
        Post::Vacant | Post::Entering { .. } => Role::Worker,
    }
}

/// What keeps a member from working.
fn hindrance(member: &Member) -> Option<String> {
    match &*member.office().post().borrow() {
        Post::Closed { error } => {
            return Some(DaemonError::ManagerClosed { error: error.clone() }.to_string());
        }
        Post::Entering { error } if !error.is_empty() => {
            return Some(format!("this node is to be a manager and is not one yet: {error}"));
        }
        Post::Held(Serving { raft, .. }) => {
            if let Some(alarm) = &raft.role().borrow().alarm {
                return Some(alarm.to_string());
            }
        }
        Post::Vacant | Post::Entering { .. } => {}
    }
    match &*member.session().borrow() {
        SessionState::Lost { error } => Some(error.clone()),
        SessionState::Open { .. } => None,
    }
}

/// Waits until a node that is to be a manager is one; the caller bounds it.
async fn seated(member: &Member) {
    let mut post = member.office().post();
    // An error says that the office has ended.
    drop(post.wait_for(|post| !matches!(post, Post::Entering { .. })).await);
}

/// Waits until a manager serves this node, but not for ever: it is a member in any case.
async fn served(member: &Member, patience: Duration) {
    let mut session = member.session();
    let opened = session.wait_for(SessionState::is_open);
    if tokio::time::timeout(patience, opened).await.is_err() {
        tracing::warn!("no manager serves this node yet");
    }
}
