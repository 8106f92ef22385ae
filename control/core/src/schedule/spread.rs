//! Which of the suitable nodes gets the next task.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::filter;
use super::load::{Load, Loads};
use crate::id::{NodeId, ServiceId};
use crate::object::Task;
use crate::spec::SpreadPreference;
use crate::time::Timestamp;

/// What nodes are compared by; the least gets the task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Tasks of the service in the node's branch, preference by preference.
    branches: Vec<u32>,
    /// Whether the service failed too often there.
    troubled: bool,
    /// Tasks of the service on the node.
    of_service: u32,
    /// Tasks on the node.
    active: u32,
    /// Settles what is equal.
    node: NodeId,
}

/// The suitable nodes of one group of tasks, the best one on top.
pub(super) struct Ranking {
    heap: BinaryHeap<Reverse<Rank>>,
    branches: Branches,
    service: ServiceId,
    now: Timestamp,
}

/// Tasks of the service by the values of the preferred labels: the tree that preferences make, each branch
/// named by the values on the way to it.
struct Branches {
    preferences: Vec<SpreadPreference>,
    counts: BTreeMap<Vec<String>, u32>,
}

impl Ranking {
    pub(super) fn new(loads: &Loads, task: &Task, now: Timestamp) -> Self {
        let branches = Branches::new(loads, task);
        let mut ranking = Self { heap: BinaryHeap::new(), branches, service: task.service, now };
        let ranks = loads
            .iter()
            .filter(|load| filter::admits(load, task))
            .map(|load| Reverse(ranking.rank(loads, load)));
        ranking.heap = ranks.collect();
        ranking
    }

    /// The best node that still takes the task; it leaves the ranking.
    pub(super) fn take_best(&mut self, loads: &Loads, task: &Task) -> Option<NodeId> {
        while let Some(Reverse(rank)) = self.heap.pop() {
            let Some(load) = loads.get(rank.node).filter(|load| filter::admits(load, task)) else { continue };
            // Tasks placed since this rank was taken only make it worse; then it goes back in its new place.
            let now = self.rank(loads, load);
            if now == rank {
                return Some(rank.node);
            }
            self.heap.push(Reverse(now));
        }
        None
    }

    /// Puts a node back after it got a task.
    pub(super) fn put_back(&mut self, loads: &Loads, node: NodeId) {
        if let Some(load) = loads.get(node) {
            self.branches.add(load, 1);
            self.heap.push(Reverse(self.rank(loads, load)));
        }
    }

    fn rank(&self, loads: &Loads, load: &Load) -> Rank {
        Rank {
            branches: self.branches.counts(load),
            troubled: loads.is_troubled(load.node.id, self.service, self.now),
            of_service: load.of_service(self.service),
            active: load.active,
            node: load.node.id,
        }
    }
}

impl Branches {
    fn new(loads: &Loads, task: &Task) -> Self {
        let preferences = task.spec.placement.preferences.clone();
        let mut branches = Self { preferences, counts: BTreeMap::new() };
        if !branches.preferences.is_empty() {
            loads.iter().for_each(|load| branches.add(load, load.of_service(task.service)));
        }
        branches
    }

    fn path(&self, load: &Load) -> Vec<String> {
        self.preferences
            .iter()
            .map(|preference| preference.descriptor.value_of(&load.node).into_owned())
            .collect()
    }

    fn add(&mut self, load: &Load, tasks: u32) {
        let path = self.path(load);
        for depth in 1..=path.len() {
            *self.counts.entry(path[..depth].to_vec()).or_default() += tasks;
        }
    }

    fn counts(&self, load: &Load) -> Vec<u32> {
        let path = self.path(load);
        (1..=path.len()).map(|depth| self.counts.get(&path[..depth]).copied().unwrap_or(0)).collect()
    }
}
