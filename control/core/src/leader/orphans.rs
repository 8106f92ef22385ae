//! Tasks whose node cannot be asked any more: it left, was removed, or has been down for a day. They end as
//! orphaned, so that their addresses are free again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::draft::{Draft, managed};
use crate::id::NodeId;
use crate::object::{Node, NodeState, TaskState};
use crate::store::{Change, Delta, Store};
use crate::time::Timestamp;

/// Time after which the tasks of a node that is down are given up.
pub(super) const ORPHAN_AFTER: Duration = Duration::from_hours(24);

/// Nodes whose tasks are to be given up, and when.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    due: BTreeMap<NodeId, Timestamp>,
}

impl Orphans {
    pub(super) fn new(store: &Store) -> Self {
        let mut orphans = Self::default();
        store.nodes().for_each(|node| orphans.note(node));
        let gone: BTreeSet<_> = store.tasks().filter_map(|task| task.node).collect();
        let gone = gone.into_iter().filter(|node| store.node(*node).is_none());
        orphans.due.extend(gone.map(|node| (node, Timestamp::ZERO)));
        orphans
    }

    /// Takes in a committed change.
    pub(super) fn observe(&mut self, change: &Change) {
        match change {
            Change::Node(Delta { new: Some(node), .. }) => self.note(node),
            Change::Node(Delta { old: Some(node), new: None }) => {
                self.due.insert(node.id, Timestamp::ZERO);
            }
            _ => {}
        }
    }

    fn note(&mut self, node: &Node) {
        match node.status.state {
            NodeState::Down => {
                self.due.entry(node.id).or_insert(node.meta.updated_at + ORPHAN_AFTER);
            }
            NodeState::Disconnected => {
                self.due.insert(node.id, Timestamp::ZERO);
            }
            NodeState::Unknown | NodeState::Ready => {
                self.due.remove(&node.id);
            }
        }
    }

    /// When the next node's tasks are given up.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        self.due.values().min().copied()
    }

    /// Gives up the tasks of every node whose time has come.
    pub(super) fn plan(&mut self, draft: &mut Draft<'_>) {
        let due: Vec<_> =
            self.due.iter().filter(|(_, at)| **at <= draft.now()).map(|(node, _)| *node).collect();
        for node in due {
            let held = |store: &Store| -> Vec<_> {
                store.node_tasks(node).filter(|task| !task.status.state.is_final()).cloned().collect()
            };
            // It is done with a node only when the store says so, not when a batch that does it is on its way.
            if held(draft.base()).is_empty() {
                self.due.remove(&node);
            }
            for task in held(draft.store()) {
                if draft.is_full() {
                    return;
                }
                let err = "its node is gone";
                draft.put_task(managed(&task, TaskState::Orphaned, "orphaned", err, draft.now()));
            }
        }
    }
}
