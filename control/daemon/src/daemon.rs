//! What the rest of the daemon (the API first of all) may ask of this node: become part of a cluster, leave
//! it, tell how it stands, and hand out the parts that serve reads.

mod admission;
mod founding;
mod keeping;
mod leaving;
mod request;
mod returning;
mod telling;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mesh_core::id::NodeId;
use mesh_dataplane::Dataplane;
use mesh_identity::LockError;
use mesh_raft::Raft;
use tokio::task::JoinHandle;

use self::founding::Founding;
pub use self::request::{InitRequest, JoinRequest, JoinTokens, LocalState, NodeInfo};
use crate::addresses::{self, Addresses, Asked};
use crate::agent::session::SessionState;
use crate::api::forward::RemoteApi;
use crate::config::Config;
use crate::error::DaemonError;
use crate::keys::{Keys, LockedKeys, Stored};
use crate::member::{self, Member};
use crate::office::{self, FIRST_MANAGER, ManagerStart, Post, Serving};
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

/// Waits until a manager serves this node, but not for ever: it is a member in any case.
async fn served(member: &Member, patience: Duration) {
    let mut session = member.session();
    let opened = session.wait_for(SessionState::is_open);
    if tokio::time::timeout(patience, opened).await.is_err() {
        tracing::warn!("no manager serves this node yet");
    }
}
