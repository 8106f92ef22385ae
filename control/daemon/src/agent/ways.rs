//! The ways to and from an agent: what may happen to it, and what others may know of it.

use std::collections::BTreeSet;

use mesh_core::assignment::{AssignmentUpdate, Held, Standing};
use mesh_core::id::TaskId;
use mesh_core::object::Health;
use mesh_runtime::task::RuntimeEvent;
use tokio::sync::{mpsc, oneshot, watch};

use super::outbox::Outbox;
use super::task::Failure;

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// A manager told something.
    Update(AssignmentUpdate),
    /// The runtime told something.
    Runtime(RuntimeEvent),
    /// An operation is over.
    Done {
        /// Of this task.
        task: TaskId,
        /// With this result.
        outcome: Outcome,
    },
    /// A task's probe says something else than before.
    Health {
        /// The task.
        task: TaskId,
        /// How it is now.
        health: Health,
        /// What the probe said when it failed.
        complaint: Option<String>,
    },
    /// A task that is to leave has waited long enough for word that no node sends to it.
    Unheard {
        /// The task.
        task: TaskId,
    },
    /// Tasks are to be looked at again, with what is known already.
    Again,
    /// Somebody asks what the agent has of its assignments; nothing, before the first.
    Recall(oneshot::Sender<Option<Held>>),
    /// The network is as the view of this number says.
    Applied {
        /// Number of the view.
        generation: u64,
        /// Endpoints that could not be made.
        failed: BTreeSet<u32>,
        /// Nothing at all is missing, names included.
        whole: bool,
    },
    /// The network could not be made as the view of this number says, not for the first time; it is tried again.
    Unmade {
        /// Number of the view.
        generation: u64,
        /// What went wrong.
        reason: String,
    },
}

/// What came of an operation.
#[derive(Debug)]
pub enum Outcome {
    /// Namespace and file system are there.
    Prepared(mesh_runtime::task::Prepared),
    /// The process runs.
    Started(u32),
    /// Its connections had their time.
    Drained,
    /// The process is gone.
    Stopped(Option<i32>),
    /// What it said last has arrived.
    Flushed,
    /// Nothing is left.
    Removed,
    /// It failed.
    Failed(Failure),
}

/// What others may know of the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentState {
    /// Tasks that run.
    pub running: usize,
    /// Tasks that still have something on this node.
    pub present: usize,
}

/// The ways to and from an agent. They are there before the agent is, so that a session can be held while it
/// comes up: what the managers tell meanwhile waits in the inbox.
#[derive(Debug, Clone)]
pub struct AgentHandle {
    /// Where to put what happens.
    pub events: mpsc::UnboundedSender<Event>,
    /// What the managers have to hear.
    pub outbox: Outbox,
    /// What others may know.
    pub state: watch::Receiver<AgentState>,
    /// What the managers told last of what the node is to be; `None` until this daemon has heard from one.
    pub standing: watch::Receiver<Option<Standing>>,
}

/// The agent's end of those ways.
#[derive(Debug)]
pub struct Inbox {
    pub(super) handle: AgentHandle,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    pub(super) state: watch::Sender<AgentState>,
    pub(super) standing: watch::Sender<Option<Standing>>,
}

/// Makes the ways to and from an agent.
pub fn ways() -> (AgentHandle, Inbox) {
    let (sender, events) = mpsc::unbounded_channel();
    let (state, state_of) = watch::channel(AgentState::default());
    let (standing, standing_of) = watch::channel(None);
    let handle =
        AgentHandle { events: sender, outbox: Outbox::default(), state: state_of, standing: standing_of };
    (handle.clone(), Inbox { handle, events, state, standing })
}
