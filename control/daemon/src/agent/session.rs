//! The agent's session with a manager: opened again and again, with one manager or another, for as long as the
//! node is a member. What the manager says goes to the worker, what the outbox holds goes to the manager.
//!
//! [`Roster`] says whom to ask, [`Pulse`](super::pulse::Pulse) when one that is silent is given up,
//! [`Following`] how far the assignments are; one session after the other goes on from there.

mod talk;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mesh_core::assignment::{GapError, Held};
use mesh_core::id::NodeId;
use mesh_core::object::NodeDescription;
use mesh_core::port::{Port, Protocol};
use mesh_identity::{IdentityError, LiveTls};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tonic::Status;

use self::talk::Talk;
use super::following::Following;
use super::outbox::Outbox;
use super::roster::{Roster, Turn};
use super::saved::Saved;
use super::ways::Event;
use crate::acquaintance::Acquaintance;
use crate::describe::{describe, listening};
use crate::entropy::SystemEntropy;
use crate::rpc::envelope;

/// How long the agent may take to say what it has: while it comes up, and afterwards.
const RECALL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// A session that lasted this long was a good one.
const STEADY: Duration = Duration::from_secs(1);

/// What is said at the end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// The daemon comes back; its tasks run on.
    Restart,
    /// The node leaves the cluster.
    Leave,
}

/// Tells a session to end, and what to say.
pub type End = watch::Receiver<Option<Farewell>>;

/// Resolves when the session is to end; with nobody there to say so, it ends as for a restart.
async fn farewell(end: &mut End) -> Farewell {
    end.wait_for(Option::is_some).await.ok().and_then(|told| *told).unwrap_or(Farewell::Restart)
}

/// How the node stands with its managers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionState {
    /// No manager serves this node; with the last error.
    Lost {
        /// What went wrong.
        error: String,
    },
    /// A manager serves this node.
    Open {
        /// The manager.
        manager: SocketAddr,
        /// The session went on from what the node had; else it began with everything.
        resumed: bool,
    },
}

impl SessionState {
    /// Whether a manager serves this node.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

/// What a session needs.
#[derive(Clone)]
pub struct SessionSettings {
    /// This node.
    pub node: NodeId,
    /// What this node shows and trusts.
    pub tls: LiveTls,
    /// Address this node is reached at.
    pub advertise_addr: IpAddr,
    /// Address its tunnels end at.
    pub data_path_addr: IpAddr,
    /// What is to be told.
    pub outbox: Outbox,
    /// Where assignments go.
    pub events: mpsc::UnboundedSender<Event>,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("cannot reach the manager at {manager}: {error}")]
    Connect { manager: SocketAddr, error: String },
    #[error("the manager said: {}", .0.message())]
    Refused(#[from] Status),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Envelope(#[from] envelope::EnvelopeError),
    #[error("the manager did not answer within {} s", .after.as_secs_f32())]
    Silent { after: Duration },
    #[error("the manager ended the session: {reason}")]
    Closed { reason: String },
    #[error(transparent)]
    Gap(#[from] GapError),
    #[error("the agent has ended")]
    NoAgent,
}

/// Keeps a session with one of `managers` until `end` says so; then takes its leave. `saved` is what the agent
/// begins with.
pub async fn keep(
    settings: SessionSettings,
    saved: &Saved,
    managers: Acquaintance,
    state: watch::Sender<SessionState>,
    mut end: End,
) {
    let mut roster = Roster::new(settings.node);
    let mut keeper = Keeper {
        following: Following::after(saved),
        memory: Memory { events: settings.events.clone(), saved: saved.held(), up: false },
        settings,
        managers,
        state,
        end: end.clone(),
    };
    loop {
        let known = keeper.managers.now();
        match roster.next(&known, &mut SystemEntropy) {
            None => return,
            Some(Turn::Wait(wait)) => tokio::select! {
                _ = farewell(&mut end) => return,
                () = tokio::time::sleep(wait) => {}
            },
            Some(Turn::Ask(manager)) => {
                let mut talk = Talk::new(&mut keeper);
                let over = talk.run(manager, roster.patience()).await;
                let served = talk.lasted() >= STEADY;
                let Err(error) = over else { return };
                roster.over(manager, served);
                let lost = SessionState::Lost { error: error.to_string() };
                if *keeper.state.borrow() == lost {
                    tracing::debug!(%manager, %error, "no session");
                } else {
                    tracing::info!(%manager, %error, "no session");
                }
                keeper.state.send_replace(lost);
            }
        }
    }
}

/// What one session leaves to the next.
struct Keeper {
    settings: SessionSettings,
    managers: Acquaintance,
    state: watch::Sender<SessionState>,
    end: End,
    following: Following,
    memory: Memory,
}

impl Keeper {
    /// Writes down where managers answer.
    fn learn(&self) {
        self.managers.assign(self.following.managers());
    }
}

/// What the agent has, by its own word.
struct Memory {
    events: mpsc::UnboundedSender<Event>,
    /// What it begins with.
    saved: Option<Held>,
    /// It has answered.
    up: bool,
}

impl Memory {
    /// What the agent has. Before it is up, that is what it was left by the last daemon; whether that is still
    /// so, [`Following::open`] knows.
    async fn held(&mut self) -> Option<Held> {
        let patience = if self.up { RECALL.1 } else { RECALL.0 };
        match timeout(patience, self.ask()).await {
            Ok(Ok(held)) => {
                self.up = true;
                held
            }
            Ok(Err(_)) | Err(_) => self.saved.filter(|_| !self.up),
        }
    }

    /// Asks; the answer comes when the agent has taken in all that was handed to it before.
    fn ask(&self) -> oneshot::Receiver<Option<Held>> {
        let (reply, answer) = oneshot::channel();
        // An agent that has ended does not answer.
        let _ = self.events.send(Event::Recall(reply));
        answer
    }
}

async fn look_around() -> NodeDescription {
    tokio::task::spawn_blocking(describe).await.unwrap_or_default()
}

/// What the node's processes listen on; `None` when it could not be looked.
async fn look_at_ports() -> Option<Vec<(Port, Protocol)>> {
    tokio::task::spawn_blocking(listening::now).await.ok()
}
