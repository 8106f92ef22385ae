//! Faults that people and tests try on a lab, and the way back from each.

use std::fs;
use std::io;
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
    cut_power(layout, node).await
}

/// Ends everything on a node and takes its namespaces.
pub async fn cut_power(layout: &Layout, node: NodeName) -> Result<(), LabError> {
    let member = Member::Node(node);
    fabric::set_cable(layout, member, false).await?;
    cgroup::kill(&layout.node_cgroup(node))?;
    fabric::disconnect(layout, member).await?;
    let mut left = Space::at(layout.space(member)).remove();
    left.extend(cgroup::remove(&layout.node_cgroup(node)));
    if left.is_empty() { Ok(()) } else { Err(LabError::Leftovers(left)) }
}

/// Deletes the disk of a crashed node: it starts again as a machine that was never in a cluster.
pub fn wipe(layout: &Layout, node: NodeName) -> Result<(), LabError> {
    match LabState::load(layout)?.node(layout, node)?.state() {
        NodeState::Crashed => erase(layout, node),
        state => Err(LabError::NotCrashed { node, state }),
    }
}

/// Deletes a node's disk.
pub fn erase(layout: &Layout, node: NodeName) -> Result<(), LabError> {
    let disk = layout.disk(node);
    match fs::remove_dir_all(&disk) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LabError::file("remove", disk)(error)),
        _ => Ok(()),
    }
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
    let setting = state.setting.clone();
    let record = state.node(layout, node)?;
    match record.state() {
        NodeState::Running => return Ok(()),
        NodeState::Stopped => return daemon::signal(record, Signal::SIGCONT),
        NodeState::Frozen => {
            cgroup::freeze(&layout.node_cgroup(node), false)?;
            fabric::set_cable(layout, Member::Node(node), true).await?;
        }
        NodeState::Dead => daemon::start(layout, record, &setting)?,
        NodeState::Crashed => up::boot(layout, record, &setting).await?,
    }
    record.fault = Fault::None;
    state.save(layout)?;
    // A node that was crashed has a new port, which the rules do not know yet.
    if state.rules.is_empty() { Ok(()) } else { filter::sync(layout, &state.rules).await }
}

/// Cuts `cut` off from `from`, or from every other member.
pub async fn partition(layout: &Layout, cut: NodeName, from: Option<&[NodeName]>) -> Result<(), LabError> {
    let state = LabState::load(layout)?;
    let others = match from {
        Some(nodes) => nodes.iter().map(|node| Member::Node(*node)).collect(),
        None => everybody(&state),
    };
    lose(layout, state, cut, &others, mesh_abi::net::FABRIC_CUT).await
}

/// Loses this share of the packets to and from a node.
pub async fn loss(layout: &Layout, node: NodeName, permille: u32) -> Result<(), LabError> {
    let state = LabState::load(layout)?;
    let others = everybody(&state);
    lose(layout, state, node, &others, permille).await
}

/// Undoes every isolation, partition and loss.
pub async fn heal(layout: &Layout) -> Result<(), LabError> {
    let mut state = LabState::load(layout)?;
    state.rules.clear();
    filter::sync(layout, &state.rules).await?;
    state.save(layout)
}

fn everybody(state: &LabState) -> Vec<Member> {
    state.nodes.iter().map(|record| Member::Node(record.name)).chain([Member::Client]).collect()
}

/// Adds the rules between `node` and `others`, both ways; a later rule replaces an earlier one.
async fn lose(
    layout: &Layout,
    mut state: LabState,
    node: NodeName,
    others: &[Member],
    loss_permille: u32,
) -> Result<(), LabError> {
    state.node(layout, node)?;
    let own = Member::Node(node);
    for other in others.iter().copied().filter(|other| *other != own) {
        if let Member::Node(name) = other {
            state.node(layout, name)?;
        }
        for (from, to) in [(own, other), (other, own)] {
            state.rules.retain(|rule| (rule.from, rule.to) != (from, to));
            state.rules.push(filter::Rule { from, to, loss_permille });
        }
    }
    filter::sync(layout, &state.rules).await?;
    state.save(layout)
}
