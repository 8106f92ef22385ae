//! The tree that preferences make of the nodes: a branch for each value of the first label, in it one for each
//! value of the second, and so on. Nodes without a label make a branch of their own. The branch with the fewest
//! tasks of the service comes first, whatever its nodes have besides; one that has no room is passed over.

use std::collections::{BTreeMap, BTreeSet};

use super::spread::{Ranked, Scale};
use crate::id::NodeId;

/// The nodes by preference.
pub(super) struct Tree {
    /// The root comes first.
    branches: Vec<Branch>,
    /// The way to the node that was taken last, from the root to the leaf.
    way: Vec<usize>,
}

#[derive(Default)]
struct Branch {
    /// Tasks of the service in the branch.
    tasks: u32,
    /// The branches in it that may have room, by their tasks.
    open: BTreeSet<(u32, usize)>,
    by_value: BTreeMap<String, usize>,
    /// The nodes, in a leaf.
    nodes: Ranked,
}

impl Tree {
    pub(super) fn new(scale: Scale<'_>) -> Self {
        let mut tree = Self { branches: vec![Branch::default()], way: Vec::new() };
        for (node, load) in scale.loads.iter() {
            let mut at = 0;
            tree.branches[at].tasks += load.of_service(scale.task.service);
            for preference in &scale.task.spec.placement.preferences {
                at = tree.enter(at, &preference.descriptor.value_of(node));
                tree.branches[at].tasks += load.of_service(scale.task.service);
            }
            tree.branches[at].nodes.put(scale, node.id);
        }
        for at in 0..tree.branches.len() {
            let open = tree.branches[at].by_value.values().map(|next| (tree.branches[*next].tasks, *next));
            tree.branches[at].open = open.collect();
        }
        tree
    }

    /// The branch of a value in another, made when it is not there.
    fn enter(&mut self, at: usize, value: &str) -> usize {
        if let Some(next) = self.branches[at].by_value.get(value) {
            return *next;
        }
        let next = self.branches.len();
        self.branches[at].by_value.insert(value.to_owned(), next);
        self.branches.push(Branch::default());
        next
    }

    /// The best node of the branch with the fewest tasks that has one.
    pub(super) fn take_best(&mut self, scale: Scale<'_>) -> Option<NodeId> {
        self.way.clear();
        self.take(scale, 0)
    }

    fn take(&mut self, scale: Scale<'_>, at: usize) -> Option<NodeId> {
        self.way.push(at);
        if self.branches[at].by_value.is_empty() {
            let found = self.branches[at].nodes.take_best(scale);
            if found.is_none() {
                self.way.pop();
            }
            return found;
        }
        while let Some((tasks, next)) = self.branches[at].open.first().copied() {
            if let Some(found) = self.take(scale, next) {
                return Some(found);
            }
            self.branches[at].open.remove(&(tasks, next));
        }
        self.way.pop();
        None
    }

    /// Puts the node back that was taken last, and counts its task in every branch on the way to it.
    pub(super) fn put_back(&mut self, scale: Scale<'_>, node: NodeId) {
        for pair in self.way.windows(2) {
            let (parent, next) = (pair[0], pair[1]);
            let tasks = self.branches[next].tasks;
            self.branches[next].tasks += 1;
            self.branches[parent].open.remove(&(tasks, next));
            self.branches[parent].open.insert((tasks + 1, next));
        }
        if let Some(leaf) = self.way.last() {
            self.branches[*leaf].nodes.put(scale, node);
        }
    }
}
