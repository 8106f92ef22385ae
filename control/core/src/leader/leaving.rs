//! Tasks on their way out: one that has served is stopped only when every node that sends to it has taken it out
//! of its balancers and names. The nodes say which version of their assignments their networks hold; once all
//! have come to the entry that retired a task, it is marked as cleared, and its agent goes on.
//!
//! What is known here is not in the store and need not be: a new leader waits until every node has said anew
//! how far it is. Tasks that were retired by one entry and are in the same networks wait together, so the end of
//! a thousand costs no more than that of one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::draft::Draft;
use crate::dispatch::Dispatcher;
use crate::id::{NetworkId, NodeId, TaskId};
use crate::object::{Leaving, Node, NodeState, Task};
use crate::store::{Change, Delta, Store};
use crate::time::Timestamp;

/// How long a node that is there may take. After that its network is not what the managers say anyway, and
/// nobody waits for it until it says something.
pub(super) const CLEAR_WITHIN: Duration = Duration::from_secs(10);

/// A log entry, and a number that tells apart what it began.
type Key = (u64, u64);

/// What tasks on their way out wait for.
#[derive(Debug, Default)]
pub(super) struct Clearing {
    /// Version that a node's network holds at least, as it said in its present session.
    applied: BTreeMap<NodeId, u64>,
    waits: BTreeMap<Key, Wait>,
    /// What waits for each node.
    behind: BTreeMap<NodeId, BTreeSet<Key>>,
    /// Nodes that were waited for in vain and have said nothing since.
    hung: BTreeSet<NodeId>,
    /// Tasks that no node sends to, and of which the store does not say so yet.
    cleared: BTreeSet<TaskId>,
    begun: u64,
}

/// Tasks that leave together.
#[derive(Debug)]
struct Wait {
    tasks: Vec<TaskId>,
    nodes: BTreeSet<NodeId>,
    until: Timestamp,
}

impl Clearing {
    /// Takes over: every node has to say anew how far it is.
    pub(super) fn new(store: &Store, dispatcher: &Dispatcher, now: Timestamp) -> Self {
        let mut clearing = Self::default();
        let leaving = store.tasks().filter(|task| is_leaving(task));
        clearing.wait_for(store, dispatcher, by_networks(leaving), now);
        clearing
    }

    /// A node's agent opened a session, and will say in it how far it is.
    pub(super) fn open(&mut self, node: NodeId) {
        self.applied.remove(&node);
        self.hung.remove(&node);
    }

    /// A node's network is as the assignments of `version` say.
    pub(super) fn applied(&mut self, store: &Store, dispatcher: &Dispatcher, node: NodeId, version: u64) {
        let applied = self.applied.entry(node).or_default();
        *applied = version.max(*applied);
        self.hung.remove(&node);
        let Some(waiting) = self.behind.get(&node) else { return };
        // With all that it was sent, it has all that entries after that mean for it.
        let all = dispatcher.sent(node).is_some_and(|sent| *applied >= sent);
        let last = if all { u64::MAX } else { *applied };
        let done: Vec<Key> = waiting.range(..=(last, u64::MAX)).copied().collect();
        for key in done {
            self.excuse(store, node, key);
        }
    }

    /// Takes in what a log entry did, after the nodes were told of it.
    pub(super) fn committed(
        &mut self,
        store: &Store,
        dispatcher: &Dispatcher,
        changes: &[Change],
        now: Timestamp,
    ) {
        let mut begun = Vec::new();
        for change in changes {
            match change {
                Change::Task(Delta { old, new: Some(new) }) if is_leaving(new) => {
                    let goes_on = old.as_ref().is_some_and(|old| is_leaving(old));
                    begun.extend((!goes_on).then_some(new));
                }
                Change::Task(Delta { old: Some(task), .. }) => drop(self.cleared.remove(&task.id)),
                Change::Node(Delta { old: Some(old), new }) => self.node(store, old, new.as_deref()),
                _ => {}
            }
        }
        self.wait_for(store, dispatcher, by_networks(begun), now);
    }

    /// Nobody waits for a node that went.
    fn node(&mut self, store: &Store, old: &Node, new: Option<&Node>) {
        if is_there(old) && !new.is_some_and(is_there) {
            let waiting = self.behind.get(&old.id).cloned().unwrap_or_default();
            for key in waiting {
                self.excuse(store, old.id, key);
            }
        }
        if new.is_none() {
            self.open(old.id);
        }
    }

    /// Begins to wait for tasks that leave, by the networks that they are in.
    fn wait_for(
        &mut self,
        store: &Store,
        dispatcher: &Dispatcher,
        leaving: BTreeMap<Vec<NetworkId>, Vec<TaskId>>,
        now: Timestamp,
    ) {
        for (networks, tasks) in leaving {
            let key = (store.index(), self.begun);
            self.begun += 1;
            let sends = |node: NodeId| networks.iter().any(|it| dispatcher.sees(store, node, *it));
            let late = |node: &&Arc<Node>| self.is_late(dispatcher, node, key.0) && sends(node.id);
            let nodes: BTreeSet<NodeId> = store.nodes().filter(late).map(|node| node.id).collect();
            for node in &nodes {
                self.behind.entry(*node).or_default().insert(key);
            }
            self.waits.insert(key, Wait { tasks, nodes, until: now + CLEAR_WITHIN });
            self.finish(store, key);
        }
    }

    /// Whether a node that has to be waited for has not come to a log entry yet.
    fn is_late(&self, dispatcher: &Dispatcher, node: &Node, index: u64) -> bool {
        let sent = dispatcher.sent(node.id);
        let applied = self.applied.get(&node.id).copied().unwrap_or(0);
        let has = sent.is_some_and(|sent| applied >= sent.min(index));
        (is_there(node) || sent.is_some()) && !has && !self.hung.contains(&node.id)
    }

    /// Waits no longer for this node.
    fn excuse(&mut self, store: &Store, node: NodeId, key: Key) {
        if let Some(waiting) = self.behind.get_mut(&node) {
            waiting.remove(&key);
            if waiting.is_empty() {
                self.behind.remove(&node);
            }
        }
        if let Some(wait) = self.waits.get_mut(&key) {
            wait.nodes.remove(&node);
            self.finish(store, key);
        }
    }

    /// Clears the tasks that wait for nobody any more.
    fn finish(&mut self, store: &Store, key: Key) {
        if self.waits.get(&key).is_some_and(|wait| wait.nodes.is_empty())
            && let Some(wait) = self.waits.remove(&key)
        {
            let leaving = |id: &TaskId| store.task(*id).is_some_and(|task| is_leaving(task));
            self.cleared.extend(wait.tasks.into_iter().filter(leaving));
        }
    }

    /// Gives up waiting where the time is over; gives back the nodes that were waited for in vain.
    pub(super) fn expire(&mut self, store: &Store, now: Timestamp) -> Vec<NodeId> {
        let mut overdue = BTreeSet::new();
        while let Some((key, wait)) = self.waits.first_key_value().filter(|(_, wait)| wait.until <= now) {
            let (key, nodes) = (*key, wait.nodes.clone());
            for node in nodes {
                self.hung.insert(node);
                overdue.insert(node);
                self.excuse(store, node, key);
            }
        }
        overdue.into_iter().collect()
    }

    /// When waiting is over at the latest.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        self.waits.first_key_value().map(|(_, wait)| wait.until)
    }

    pub(super) fn has_work(&self) -> bool {
        !self.cleared.is_empty()
    }

    /// Writes which tasks no node sends to, as far as the batch has room.
    pub(super) fn plan(&self, draft: &mut Draft<'_>) {
        for id in &self.cleared {
            if draft.is_full() {
                return;
            }
            if let Some(task) = draft.store().task(*id).cloned()
                && let Some(leaving) = task.leaving
            {
                draft.put_task(Task {
                    leaving: Some(Leaving { cleared: true, ..leaving }),
                    ..Task::clone(&task)
                });
            }
        }
    }
}

/// Whether a task waits to be taken out of the balancers.
fn is_leaving(task: &Task) -> bool {
    !task.status.state.is_final() && task.leaving.is_some_and(|leaving| !leaving.cleared)
}

fn is_there(node: &Node) -> bool {
    node.status.state == NodeState::Ready
}

/// Tasks by the networks that they are in: those in the same wait together.
fn by_networks<'a>(tasks: impl IntoIterator<Item = &'a Arc<Task>>) -> BTreeMap<Vec<NetworkId>, Vec<TaskId>> {
    let mut groups: BTreeMap<_, Vec<TaskId>> = BTreeMap::new();
    for task in tasks {
        let networks = task.endpoints.iter().map(|endpoint| endpoint.network).collect();
        groups.entry(networks).or_default().push(task.id);
    }
    groups
}
