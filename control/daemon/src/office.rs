//! The node's part as a manager: taken up when the cluster wants it of the node, held, and laid down again,
//! while everything else of the node goes on.
//!
//! What is under way is in the node's [`Record`]: the role that it goes for, and its number in raft from before
//! raft's state is made until after it is gone. So each step may be repeated, and a restarted daemon goes on
//! where the last one was.

mod alone;
mod calls;
mod departure;
mod keeper;
mod seating;
mod start;
mod waiting;

use std::sync::{Mutex, PoisonError};

use mesh_identity::LiveTls;
use mesh_raft::{Forced, Raft};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use self::calls::Calls;
pub use self::departure::Loss;
use self::keeper::Keeper;
use crate::acquaintance::Acquaintance;
use crate::api::forward::RemoteApi;
use crate::error::DaemonError;
use crate::keys::Keys;
use crate::manager::Manager;
use crate::record::Record;
use crate::rpc::forward::ToLeader;
use crate::settling::Settling;
use crate::state::StateDir;
use crate::transport::PeerTransport;

pub use self::start::{FIRST_MANAGER, listen, raft_config};

/// How a node stands as a manager.
#[derive(Clone)]
pub enum Post {
    /// It is none.
    Vacant,
    /// It is to become one.
    Entering {
        /// What went wrong at the last try, empty when nothing did.
        error: String,
    },
    /// It is one.
    Held(Serving),
    /// It is one and cannot go on with the state that it has.
    Closed {
        /// Why, and the way out.
        error: String,
    },
}

/// What a manager serves users with.
#[derive(Clone)]
pub struct Serving {
    /// The replicated store.
    pub raft: Raft,
    /// What tells whether the nodes have what the store says.
    pub settling: Settling,
    /// The way to the manager that leads.
    pub to_leader: ToLeader,
}

/// What a node begins with as a manager.
pub enum ManagerStart {
    /// Nothing.
    None,
    /// A cluster that was made here.
    Found {
        /// Its store.
        raft: Raft,
        /// What will carry raft's messages.
        transport: PeerTransport,
        /// The endpoint's socket.
        listener: TcpListener,
    },
    /// The state that an earlier daemon left.
    Open,
    /// Nothing yet: it was let in to become one.
    Enter {
        /// The endpoint's socket.
        listener: TcpListener,
    },
}

/// What the office needs of the node.
#[derive(Clone)]
pub struct Place {
    /// The node's files.
    pub state: StateDir,
    /// Its membership.
    pub record: Record,
    /// What it shows and trusts.
    pub tls: LiveTls,
    /// Where its keys are kept.
    pub keys: Keys,
    /// Managers that it knows.
    pub managers: Acquaintance,
    /// The API, for other managers.
    pub api: RemoteApi,
}

impl Place {
    /// The way to the other managers.
    fn calls(&self) -> Calls {
        Calls {
            managers: self.managers.watch(),
            own: self.record.now().manager_addr(),
            tls: self.tls.clone(),
        }
    }
}

/// What is asked of whoever keeps the office.
enum Order {
    /// Go on alone.
    Force(oneshot::Sender<Result<Forced, DaemonError>>),
    /// Tell what going on alone would keep and drop.
    Survey(oneshot::Sender<Result<Forced, DaemonError>>),
}

/// The running part.
pub struct Office {
    place: Place,
    post: watch::Receiver<Post>,
    orders: mpsc::Sender<Order>,
    stop: watch::Sender<bool>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl Office {
    /// Takes up what `start` says; the rest comes by itself. A manager's state that cannot be used is no error
    /// here: it is told by [`Post::Closed`].
    pub async fn open(place: Place, start: ManagerStart) -> Result<Self, DaemonError> {
        let (stop, stopping) = watch::channel(false);
        let (post, posts) = watch::channel(Post::Vacant);
        let (orders, ordered) = mpsc::channel(1);
        let mut keeper = Keeper::new(place.clone(), post);
        keeper.begin(start).await?;
        let keeper = Mutex::new(Some(tokio::spawn(keeper.run(ordered, stopping))));
        Ok(Self { place, post: posts, orders, stop, keeper })
    }

    /// How the node stands as a manager.
    pub fn post(&self) -> watch::Receiver<Post> {
        self.post.clone()
    }

    /// What a manager serves users with; `None` unless it is one.
    pub fn serving(&self) -> Option<Serving> {
        match &*self.post.borrow() {
            Post::Held(serving) => Some(serving.clone()),
            Post::Vacant | Post::Entering { .. } | Post::Closed { .. } => None,
        }
    }

    /// Goes on alone with the state that this manager has.
    pub async fn force_new_cluster(&self) -> Result<Forced, DaemonError> {
        self.order(Order::Force).await
    }

    /// What going on alone would keep and drop. Nothing is changed; this manager pauses meanwhile.
    pub async fn survey_new_cluster(&self) -> Result<Forced, DaemonError> {
        self.order(Order::Survey).await
    }

    async fn order<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, DaemonError>>) -> Order,
    ) -> Result<T, DaemonError> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(order(reply)).await.map_err(|_| DaemonError::Busy)?;
        answer.await.map_err(|_| DaemonError::Busy)?
    }

    /// Ends the manager, if there is one: another leads by then, if any can. What is on disk is complete on
    /// return.
    pub async fn end(&self) {
        self.stop.send_replace(true);
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper
            && let Err(error) = keeper.await
        {
            tracing::error!(%error, "the manager did not end well");
        }
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl From<&Manager> for Serving {
    fn from(manager: &Manager) -> Self {
        Self {
            raft: manager.raft().clone(),
            settling: manager.settling().clone(),
            to_leader: manager.to_leader().clone(),
        }
    }
}
