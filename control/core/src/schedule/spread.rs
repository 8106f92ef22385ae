//! Which of the suitable nodes gets the next of some tasks that are alike.
//!
//! Without preferences the nodes that have no task of the service come first, in the order in which nodes are
//! kept anyway, so that a few tasks cost no look at every node; then the others by rank. With preferences the
//! nodes make a tree.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::failures::Failures;
use super::filter;
use super::load::{Load, Loads, Order, Place};
use super::tree::Tree;
use crate::id::NodeId;
use crate::object::{Node, Task};
use crate::time::Timestamp;

/// What nodes are compared by; the least gets the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// How often the service failed there lately, if too often.
    trouble: usize,
    /// Tasks of the service on the node.
    of_service: u32,
    /// Tasks on the node, or the share of it that is reserved.
    fullness: (u32, u32),
    /// Settles what is equal.
    node: NodeId,
}

/// What ranks are made of.
#[derive(Clone, Copy)]
pub(super) struct Scale<'a> {
    pub loads: &'a Loads,
    pub failures: &'a Failures,
    pub task: &'a Task,
    pub now: Timestamp,
}

/// Nodes by rank, the best one on top.
#[derive(Debug, Default)]
pub(super) struct Ranked {
    heap: BinaryHeap<Reverse<Rank>>,
}

/// The suitable nodes for tasks that are alike.
pub(super) enum Ranking {
    /// Those without a task of the service, after the one that was looked at last.
    Fresh(Option<Place>),
    /// Those that are left.
    Rest(Ranked),
    /// All of them, by preference.
    Tree(Tree),
}

impl Scale<'_> {
    fn rank(&self, load: &Load, node: &Node) -> Rank {
        let fullness = load.fullness(node);
        Rank {
            trouble: self.failures.trouble(self.task, node.id, self.now),
            of_service: load.of_service(self.task.service),
            fullness: match self.order() {
                Order::Tasks => (fullness.active, fullness.share),
                Order::Reserved => (fullness.share, fullness.active),
            },
            node: node.id,
        }
    }

    fn order(&self) -> Order {
        let reserved = self.task.spec.resources.reservations;
        if reserved.nano_cpus > 0 || reserved.memory_bytes > 0 { Order::Reserved } else { Order::Tasks }
    }

    /// The node's rank, if it may have the task.
    fn admitted(&self, node: NodeId) -> Option<Rank> {
        let (node, load) = self.loads.get(node)?;
        filter::refusal(node, load, self.task).is_none().then(|| self.rank(load, node))
    }

    /// The node after `place` that may have the task and has none of its service, nor trouble with it.
    fn next_fresh(&self, place: Option<Place>) -> Option<Place> {
        let is_fresh = |rank: Rank| rank.of_service == 0 && rank.trouble == 0;
        self.loads.after(self.order(), place).find(|place| self.admitted(place.2).is_some_and(is_fresh))
    }
}

impl Ranking {
    pub(super) fn new(scale: Scale<'_>) -> Self {
        if scale.task.spec.placement.preferences.is_empty() {
            Self::Fresh(None)
        } else {
            Self::Tree(Tree::new(scale))
        }
    }

    /// The best node that still takes the task. It is out of the ranking until it is put back.
    pub(super) fn take_best(&mut self, scale: Scale<'_>) -> Option<NodeId> {
        if let Self::Fresh(last) = self {
            if let Some(place) = scale.next_fresh(*last) {
                *last = Some(place);
                return Some(place.2);
            }
            let hosts = scale.loads.hosts(scale.task.service);
            let rest = hosts.chain(scale.failures.troubled(scale.task, scale.now));
            let mut rest: Vec<_> = rest.collect();
            rest.sort_unstable();
            rest.dedup();
            *self = Self::Rest(rest.into_iter().filter_map(|node| scale.admitted(node)).collect());
        }
        match self {
            Self::Fresh(_) => None,
            Self::Rest(ranked) => ranked.take_best(scale),
            Self::Tree(tree) => tree.take_best(scale),
        }
    }

    /// Puts the node back that was taken last, after it got a task.
    pub(super) fn put_back(&mut self, scale: Scale<'_>, node: NodeId) {
        match self {
            // It has a task of the service now and is found among the others when their turn comes.
            Self::Fresh(_) => {}
            Self::Rest(ranked) => ranked.put(scale, node),
            Self::Tree(tree) => tree.put_back(scale, node),
        }
    }
}

impl Ranked {
    pub(super) fn take_best(&mut self, scale: Scale<'_>) -> Option<NodeId> {
        while let Some(Reverse(rank)) = self.heap.pop() {
            if scale.admitted(rank.node).is_some() {
                return Some(rank.node);
            }
        }
        None
    }

    /// Adds a node with its rank as it is now.
    pub(super) fn put(&mut self, scale: Scale<'_>, node: NodeId) {
        self.heap.extend(scale.admitted(node).map(Reverse));
    }
}

impl FromIterator<Rank> for Ranked {
    fn from_iter<T: IntoIterator<Item = Rank>>(ranks: T) -> Self {
        Self { heap: ranks.into_iter().map(Reverse).collect() }
    }
}
