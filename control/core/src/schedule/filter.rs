//! Filters in their order: each node is refused by the first that it does not pass.

use std::fmt;

use super::generic;
use super::load::{Load, Loads, takes_tasks};
use crate::object::{Node, Task};
use crate::spec::{Placement, Platform};

/// What a node can fail at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Filter {
    Ready,
    Resources,
    Platform,
    Constraints,
    HostPort,
    MaxReplicas,
}

/// Every filter, in order.
const FILTERS: [Filter; 6] = [
    Filter::Ready,
    Filter::Resources,
    Filter::Platform,
    Filter::Constraints,
    Filter::HostPort,
    Filter::MaxReplicas,
];

/// How many nodes failed at which filter; as text, why no node is suitable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Explanation {
    failures: [u32; FILTERS.len()],
}

impl Filter {
    fn passes(self, node: &Node, load: &Load, task: &Task) -> bool {
        let placement = &task.spec.placement;
        match self {
            Self::Ready => takes_tasks(node),
            Self::Resources => has_room(node, load, task),
            Self::Platform => is_supported(node, placement),
            Self::Constraints => is_constrained_to(node, placement),
            Self::HostPort => task.host_ports.iter().all(|port| {
                let key = (port.published, port.protocol);
                !load.holds_port(key) && !node.description.listening.contains(&key)
            }),
            Self::MaxReplicas => {
                let limit = placement.max_replicas_per_node;
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
            Self::Platform => on("unsupported platform"),
            Self::Constraints => on("scheduling constraints not satisfied"),
            Self::HostPort => on("host-mode port already in use"),
            Self::MaxReplicas => on("max replicas per node limit exceeded"),
        }
    }
}

/// The first filter that a node does not pass; `None`: it may have the task.
pub(super) fn refusal(node: &Node, load: &Load, task: &Task) -> Option<Filter> {
    FILTERS.into_iter().find(|filter| !filter.passes(node, load, task))
}

/// Whether a node takes tasks and is of the kind that they may be placed on, whatever it carries.
pub(crate) fn suits(node: &Node, placement: &Placement) -> bool {
    takes_tasks(node) && is_supported(node, placement) && is_constrained_to(node, placement)
}

fn is_supported(node: &Node, placement: &Placement) -> bool {
    placement.platforms.is_empty() || placement.platforms.iter().any(|platform| runs(node, platform))
}

fn is_constrained_to(node: &Node, placement: &Placement) -> bool {
    placement.constraints.iter().all(|constraint| constraint.matches(node))
}

/// Whether a node has free what the task reserves.
fn has_room(node: &Node, load: &Load, task: &Task) -> bool {
    let (has, used) = (node.description.resources, load.reserved);
    let wants = &task.spec.resources;
    let fits = |has: u64, used: u64, wants: u64| wants == 0 || has.saturating_sub(used) >= wants;
    fits(has.nano_cpus, used.nano_cpus, wants.reservations.nano_cpus)
        && fits(has.memory_bytes, used.memory_bytes, wants.reservations.memory_bytes)
        && (wants.generic.is_empty() || generic::claim(node, &load.generic, task).is_some())
}

/// Whether a node runs what is made for a platform.
fn runs(node: &Node, platform: &Platform) -> bool {
    let same = |wanted: &str, has: &str| wanted.is_empty() || architecture(wanted) == architecture(has);
    same(&platform.os, &node.description.os) && same(&platform.arch, &node.description.arch)
}

/// The name that images have for an architecture, for the one that the kernel has.
fn architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Explanation {
    /// Why none of the nodes is suitable.
    pub(super) fn of(loads: &Loads, task: &Task) -> Self {
        let mut explanation = Self::default();
        for (node, load) in loads.iter() {
            explanation.change(None, refusal(node, load, task));
        }
        explanation
    }

    /// Counts a node that is refused for one reason now, and no more for another.
    pub(super) fn change(&mut self, old: Option<Filter>, new: Option<Filter>) {
        if let Some(count) = self.count(old) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = self.count(new) {
            *count += 1;
        }
    }

    fn count(&mut self, refusal: Option<Filter>) -> Option<&mut u32> {
        let at = FILTERS.iter().position(|filter| Some(*filter) == refusal)?;
        self.failures.get_mut(at)
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
