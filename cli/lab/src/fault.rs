//! Faults that people and tests try on a lab, and the way back from each.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::error::LabError;
use crate::fabric;
use crate::filter;
use crate::layout::{Layout, Member, NodeName};
use crate::space::Space;
use crate::state::{Fault, LabState, NodeRecord, NodeState};
use crate::{cgroup, daemon, up};

/// How long SIGTERM may take to end a meshd.
const TERM_LIMIT: Duration = Duration::from_secs(15);

/// SIGKILL to the meshd alone; tasks and BPF programs live on.
pub fn kill(layout: &Layout, node: NodeName) -> Result<(), LabError> {
    end(layout, node, Signal::SIGKILL)
}

/// SIGTERM to the meshd alone, which announces a restart.
pub fn term(layout: &Layout, node: NodeName) -> Result<(), LabError> {
    end(layout, node, Signal::SIGTERM)
}

fn end(layout: &Layout, node: NodeName, signal: Signal) -> Result<(), LabError> {
    let record = running(layout, node)?;
    daemon::signal(&record, signal)?;
    if daemon::wait_gone(&record, TERM_LIMIT) {
        return Ok(());
    }
    Err(LabError::Daemon {
        node,
        what: "does not end",
        last: format!("{signal} was sent"),
        log: layout.log(node),
    })
}

/// SIGSTOP to the meshd alone.
pub fn stop(layout: &Layout, node: NodeName) -> Result<(), LabError> {
    daemon::signal(&running(layout, node)?, Signal::SIGSTOP)
}

fn running(layout: &Layout, node: NodeName) -> Result<NodeRecord, LabError> {
    let record = LabState::load(layout)?.node(layout, node)?.clone();
    match record.state() {
        NodeState::Running => Ok(record),
        state => Err(LabError::NotRunning { node, state }),
    }
}

/// A power cut: the uplink goes first, then the daemon, shims, tasks, links and pins at once. The disk stays.
pub async fn crash(layout: &Layout, node: NodeName) -> Result<(), LabError> {
    let mut state = LabState::load(layout)?;
    let record = state.node(layout, node)?;
    if record.state() == NodeState::Crashed {
        return Err(LabError::NotRunning { node, state: NodeState::Crashed });
    }
    record.fault = Fault::Crashed;
    state.save(layout)?;
    let member = Member::Node(node);
    fabric::set_cable(layout, member, false).await?;
    cgroup::kill(&layout.node_cgroup(node))?;
    fabric::disconnect(layout, member).await?;
    let mut left = Space::at(layout.space(member)).remove();
    left.extend(cgroup::remove(&layout.node_cgroup(node)));
    if left.is_empty() { Ok(()) } else { Err(LabError::Leftovers(left)) }
}

/// Everything on the node stops and its uplink is down.
pub async fn freeze(layout: &Layout, node: NodeName) -> Result<(), LabError> {
    let mut state = LabState::load(layout)?;
    let record = state.node(layout, node)?;
    match record.state() {
        NodeState::Crashed | NodeState::Frozen => {
            return Err(LabError::NotRunning { node, state: record.state() });
        }
        NodeState::Running | NodeState::Stopped | NodeState::Dead => record.fault = Fault::Frozen,
    }
    state.save(layout)?;
    fabric::set_cable(layout, Member::Node(node), false).await?;
    cgroup::freeze(&layout.node_cgroup(node), true)
}

/// Brings a node back, whatever was done to it. A node that runs is left alone.
pub async fn start(layout: &Layout, node: NodeName) -> Result<(), LabError> {
    let mut state = LabState::load(layout)?;
    let (mtu, runtime) = (state.mtu, state.runtime.clone());
    let record = state.node(layout, node)?;
    match record.state() {
        NodeState::Running => return Ok(()),
        NodeState::Stopped => return daemon::signal(record, Signal::SIGCONT),
        NodeState::Frozen => {
            cgroup::freeze(&layout.node_cgroup(node), false)?;
            fabric::set_cable(layout, Member::Node(node), true).await?;
        }
        NodeState::Dead => daemon::start(layout, record, &runtime)?,
        NodeState::Crashed => up::boot(layout, record, mtu, &runtime).await?,
    }
    record.fault = Fault::None;
    state.save(layout)
}

/// Cuts `cut` off from every member that is not in it: from the others of `from`, or from everybody.
pub async fn partition(layout: &Layout, cut: &[NodeName], from: Option<&[NodeName]>) -> Result<(), LabError> {
    let members = members(&LabState::load(layout)?);
    check_nodes(layout, cut.iter().chain(from.unwrap_or_default()))?;
    let is_cut = |member: &Member| cut.iter().any(|node| Member::Node(*node) == *member);
    let others: Vec<Member> = match from {
        Some(nodes) => nodes.iter().map(|node| Member::Node(*node)).collect(),
        None => members.iter().copied().filter(|member| !is_cut(member)).collect(),
    };
    let mut rules = Vec::new();
    for node in cut {
        for other in others.iter().filter(|member| !is_cut(member)) {
            rules.push(filter::Rule { from: Member::Node(*node), to: *other, loss_permille: 1000 });
            rules.push(filter::Rule { from: *other, to: Member::Node(*node), loss_permille: 1000 });
        }
    }
    filter::add(layout, &members, &rules).await
}

/// Loses this share of the packets to and from a node.
pub async fn loss(layout: &Layout, node: NodeName, permille: u32) -> Result<(), LabError> {
    let members = members(&LabState::load(layout)?);
    check_nodes(layout, std::iter::once(&node))?;
    let own = Member::Node(node);
    let rules: Vec<filter::Rule> = members
        .iter()
        .filter(|other| **other != own)
        .flat_map(|other| {
            [(own, *other), (*other, own)].map(|(from, to)| filter::Rule {
                from,
                to,
                loss_permille: permille,
            })
        })
        .collect();
    filter::add(layout, &members, &rules).await
}

/// Undoes every isolation, partition and loss.
pub fn heal(layout: &Layout) -> Result<(), LabError> {
    LabState::load(layout)?;
    filter::remove(layout)
}

fn members(state: &LabState) -> Vec<Member> {
    let crashed = |record: &&NodeRecord| record.state() != NodeState::Crashed;
    state
        .nodes
        .iter()
        .filter(crashed)
        .map(|record| Member::Node(record.name))
        .chain([Member::Client])
        .collect()
}

fn check_nodes<'a>(layout: &Layout, nodes: impl Iterator<Item = &'a NodeName>) -> Result<(), LabError> {
    let mut state = LabState::load(layout)?;
    for node in nodes {
        state.node(layout, *node)?;
    }
    Ok(())
}
