//! Filters in their order: each node is refused by the first that it does not pass.

use std::fmt;

use super::load::{Load, Loads};
use crate::object::{NodeState, Task};
use crate::spec::Availability;

/// What a node can fail at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Filter {
    Ready,
    Resources,
    Constraints,
    HostPort,
    MaxReplicas,
}

/// Every filter, in order.
const FILTERS: [Filter; 5] =
    [Filter::Ready, Filter::Resources, Filter::Constraints, Filter::HostPort, Filter::MaxReplicas];

/// How many nodes failed at which filter; as text, why no node is suitable.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Explanation {
    failures: [u32; FILTERS.len()],
}

impl Filter {
    fn passes(self, load: &Load, task: &Task) -> bool {
        let node = &load.node;
        match self {
            Self::Ready => {
                node.status.state == NodeState::Ready && node.spec.availability == Availability::Active
            }
            Self::Resources => {
                let (has, used) = (node.description.resources, load.reserved);
                let wants = task.spec.resources.reservations;
                let fits = |has: u64, used: u64, wants: u64| wants == 0 || has.saturating_sub(used) >= wants;
                fits(has.nano_cpus, used.nano_cpus, wants.nano_cpus)
                    && fits(has.memory_bytes, used.memory_bytes, wants.memory_bytes)
            }
            Self::Constraints => {
                task.spec.placement.constraints.iter().all(|constraint| constraint.matches(node))
            }
            Self::HostPort => task.host_ports.iter().all(|port| {
                let key = (port.published, port.protocol);
                !load.ports.contains_key(&key) && !node.description.listening.contains(&key)
            }),
            Self::MaxReplicas => {
                let limit = task.spec.placement.max_replicas_per_node;
                limit == 0 || u64::from(load.of_service(task.service)) < limit
            }
        }
    }

    fn explain(self, nodes: u32) -> String {
        let on = |what: &str| match nodes {
            1 => format!("{what} on 1 node"),
            _ => format!("{what} on {nodes} nodes"),
        };
        match self {
            Self::Ready if nodes == 1 => "1 node not available for new tasks".to_owned(),
            Self::Ready => format!("{nodes} nodes not available for new tasks"),
            Self::Resources => on("insufficient resources"),
            Self::Constraints => on("scheduling constraints not satisfied"),
            Self::HostPort => on("host-mode port already in use"),
            Self::MaxReplicas => on("max replicas per node limit exceeded"),
        }
    }
}

/// Whether a node passes every filter.
pub(super) fn admits(load: &Load, task: &Task) -> bool {
    FILTERS.iter().all(|filter| filter.passes(load, task))
}

impl Explanation {
    /// Why none of the nodes is suitable.
    pub(super) fn of(loads: &Loads, task: &Task) -> Self {
        let mut explanation = Self::default();
        for load in loads.iter() {
            explanation.admits(load, task);
        }
        explanation
    }

    /// Whether a node passes every filter; if not, the one that it fails at is counted.
    pub(super) fn admits(&mut self, load: &Load, task: &Task) -> bool {
        let failed = FILTERS.iter().position(|filter| !filter.passes(load, task));
        if let Some(count) = failed.and_then(|at| self.failures.get_mut(at)) {
            *count += 1;
        }
        failed.is_none()
    }
}

impl fmt::Display for Explanation {
    /// `no suitable node (2 nodes not available for new tasks; …)`, what fails most first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut failed: Vec<_> =
            FILTERS.into_iter().zip(self.failures).filter(|(_, nodes)| *nodes > 0).collect();
        failed.sort_by_key(|(filter, nodes)| (std::cmp::Reverse(*nodes), *filter));
        let reasons: Vec<_> = failed.into_iter().map(|(filter, nodes)| filter.explain(nodes)).collect();
        match reasons.as_slice() {
            [] => f.write_str("no suitable node"),
            _ => write!(f, "no suitable node ({})", reasons.join("; ")),
        }
    }
}
