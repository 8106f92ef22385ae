//! Which node forwards for which networks, kept by counting tasks. The ingress network is every node's and
//! is not counted.

use std::collections::{BTreeMap, BTreeSet};

use super::view;
use crate::id::{NetworkId, NodeId};
use crate::object::Task;
use crate::store::{Change, Store};

/// How many tasks each node has in each network.
#[derive(Debug, Default)]
pub(super) struct Members {
    counts: BTreeMap<NodeId, BTreeMap<NetworkId, u32>>,
    nodes: BTreeMap<NetworkId, BTreeSet<NodeId>>,
    ingress: Option<NetworkId>,
}

/// What changed for one node.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Networks that it got its first task in.
    pub gained: BTreeSet<NetworkId>,
    /// Networks that its last task left.
    pub lost: BTreeSet<NetworkId>,
}

impl Members {
    pub(super) fn new(store: &Store) -> Self {
        let ingress = store.ingress_network().map(|network| network.id);
        let mut members = Self { ingress, ..Self::default() };
        store.tasks().for_each(|task| members.count(task, 1));
        members
    }

    /// Whether a node has a task in a network.
    pub(super) fn has(&self, node: NodeId, network: NetworkId) -> bool {
        self.counts.get(&node).is_some_and(|networks| networks.contains_key(&network))
    }

    /// The nodes that have a task in a network; of the ingress network none are known.
    pub(super) fn nodes(&self, network: NetworkId) -> impl Iterator<Item = NodeId> {
        self.nodes.get(&network).into_iter().flatten().copied()
    }

    /// Takes in changes and says which nodes came into networks or left them.
    pub(super) fn observe(&mut self, changes: &[Change]) -> BTreeMap<NodeId, Turn> {
        let mut before: BTreeMap<(NodeId, NetworkId), bool> = BTreeMap::new();
        for change in changes {
            let Change::Task(delta) = change else { continue };
            let sides = [(delta.old.as_deref(), -1), (delta.new.as_deref(), 1)];
            for (task, step) in sides.into_iter().filter_map(|(task, step)| Some((task?, step))) {
                for key in self.places(task) {
                    let had = self.has(key.0, key.1);
                    before.entry(key).or_insert(had);
                }
                self.count(task, step);
            }
        }
        let mut turns: BTreeMap<NodeId, Turn> = BTreeMap::new();
        for ((node, network), had) in before {
            match (had, self.has(node, network)) {
                (false, true) => turns.entry(node).or_default().gained.insert(network),
                (true, false) => turns.entry(node).or_default().lost.insert(network),
                _ => false,
            };
        }
        turns
    }

    fn count(&mut self, task: &Task, step: i32) {
        for (node, network) in self.places(task) {
            let networks = self.counts.entry(node).or_default();
            let count = networks.entry(network).or_default();
            *count = count.saturating_add_signed(step);
            let here = self.nodes.entry(network).or_default();
            if *count > 0 {
                here.insert(node);
                continue;
            }
            networks.remove(&network);
            if networks.is_empty() {
                self.counts.remove(&node);
            }
            here.remove(&node);
            if here.is_empty() {
                self.nodes.remove(&network);
            }
        }
    }

    fn places(&self, task: &Task) -> Vec<(NodeId, NetworkId)> {
        let networks = task.endpoints.iter().map(|endpoint| endpoint.network);
        let counted = networks.filter(|network| Some(*network) != self.ingress);
        match task.node.filter(|_| view::is_told(task)) {
            Some(node) => counted.map(|network| (node, network)).collect(),
            None => Vec::new(),
        }
    }
}
