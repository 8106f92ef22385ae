//! `lab up`: everything made, in order, or nothing left.

use std::fs;

use crate::cluster;
use crate::daemon;
use crate::down;
use crate::error::LabError;
use crate::fabric;
use crate::layout::{Layout, MAX_NODES, Member, NodeName};
use crate::space::{NodeMounts, Space, mount_private_tmpfs};
use crate::state::{Fault, LabState, NodeRecord, Setting};
use crate::{Terminal, cgroup, fault};

/// What a lab is to be like.
#[derive(Debug, Clone)]
pub struct Options {
    /// Number of nodes.
    pub nodes: u8,
    /// Of them managers, the first ones.
    pub managers: u8,
    /// MTU of the fabric.
    pub mtu: u16,
    /// Runtime of the nodes.
    pub runtime: String,
}

impl Options {
    fn check(&self) -> Result<(), LabError> {
        let refused = |flag, value: String, rule| Err(LabError::Option { flag, value, rule });
        if !(1..=MAX_NODES).contains(&self.nodes) {
            return refused("nodes", self.nodes.to_string(), "1 to 100");
        }
        if self.managers == 0 || self.managers > self.nodes {
            return refused("managers", self.managers.to_string(), "1 to the number of nodes");
        }
        if !(1_280..=9_216).contains(&self.mtu) {
            return refused("mtu", self.mtu.to_string(), "1280 to 9216 bytes");
        }
        Ok(())
    }
}

/// Brings a lab up and forms its cluster. When a step fails, what was made before it is removed.
pub async fn run(layout: &Layout, options: &Options, terminal: &mut dyn Terminal) -> Result<(), LabError> {
    options.check()?;
    let setting = Setting { program: daemon::program()?, mtu: options.mtu, runtime: options.runtime.clone() };
    if layout.state().exists() {
        return Err(LabError::AlreadyUp { name: layout.name.clone() });
    }
    // An interrupted `up` or `down` leaves no state file, but perhaps namespaces.
    down::sweep(layout)?;
    match make(layout, options, setting, terminal).await {
        Ok(()) => Ok(()),
        Err(error) => {
            if let Err(left) = down::sweep(layout) {
                terminal.progress(&left.to_string());
            }
            Err(error)
        }
    }
}

async fn make(
    layout: &Layout,
    options: &Options,
    setting: Setting,
    terminal: &mut dyn Terminal,
) -> Result<(), LabError> {
    let run = layout.run();
    fs::create_dir_all(&run).map_err(LabError::file("make", &run))?;
    mount_private_tmpfs(&run)?;
    let ns = run.join("ns");
    fs::create_dir_all(&ns).map_err(LabError::file("make", ns))?;
    cgroup::create(&layout.cgroup())?;

    terminal.progress("fabric and client");
    fabric::create(layout).await?;
    Space::at(layout.space(Member::Client)).create("client", None)?;
    fabric::connect(layout, Member::Client, options.mtu).await?;

    let mut state = LabState { setting, nodes: Vec::new(), rules: Vec::new() };
    for name in (1..=options.nodes).filter_map(NodeName::numbered) {
        let manager = state.nodes.len() < usize::from(options.managers);
        let mut record = fresh(name, manager);
        terminal.progress(&format!("{name}: namespaces and meshd"));
        boot(layout, &mut record, &state.setting).await?;
        state.nodes.push(record);
    }
    cluster::form(layout, &state, |step| terminal.progress(step))?;
    state.save(layout)
}

/// Adds the next node to a lab that is up and lets it join the cluster. When that fails, nothing is left of it.
pub async fn add(layout: &Layout, manager: bool, terminal: &mut dyn Terminal) -> Result<NodeName, LabError> {
    let mut state = LabState::load(layout)?;
    let last = state.nodes.iter().map(|record| record.name.number()).max().unwrap_or(0);
    let name =
        NodeName::numbered(last + 1).ok_or(LabError::Full { name: layout.name.clone(), most: MAX_NODES })?;
    let mut record = fresh(name, manager);
    terminal.progress(&format!("{name}: namespaces and meshd"));
    let mut added = boot(layout, &mut record, &state.setting).await;
    if added.is_ok() {
        terminal.progress(&format!("{name}: swarm join as {}", if manager { "manager" } else { "worker" }));
        added = cluster::enlarge(layout, &state, &record);
    }
    if let Err(error) = added {
        for left in [fault::cut_power(layout, name).await, fault::erase(layout, name)] {
            if let Err(left) = left {
                terminal.progress(&left.to_string());
            }
        }
        return Err(error);
    }
    state.nodes.push(record);
    state.save(layout)?;
    Ok(name)
}

fn fresh(name: NodeName, manager: bool) -> NodeRecord {
    NodeRecord { name, manager, fault: Fault::None, pid: 0, started: 0 }
}

/// Makes the namespaces of a node, plugs it in and starts its meshd.
pub async fn boot(layout: &Layout, record: &mut NodeRecord, setting: &Setting) -> Result<(), LabError> {
    let (node, member) = (record.name, Member::Node(record.name));
    let disk = layout.disk(node);
    fs::create_dir_all(&disk).map_err(LabError::file("make", &disk))?;
    let resolv_conf = disk.join("resolv.conf");
    if !resolv_conf.exists() {
        // Upstream servers of the host cannot be reached from in here.
        fs::write(&resolv_conf, "# no upstream servers in this lab\n")
            .map_err(LabError::file("write", &resolv_conf))?;
    }
    let mounts = NodeMounts { run: layout.run(), resolv_conf };
    Space::at(layout.space(member)).create(&node.to_string(), Some(&mounts))?;
    fabric::connect(layout, member, setting.mtu).await?;
    cgroup::create(&layout.node_cgroup(node))?;
    daemon::start(layout, record, setting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_out_of_range_are_refused_by_their_flag() {
        let good = Options { nodes: 3, managers: 1, mtu: 1500, runtime: "native".to_owned() };
        assert!(good.check().is_ok());
        let cases = [
            ("nodes", Options { nodes: 0, ..good.clone() }),
            ("nodes", Options { nodes: 101, ..good.clone() }),
            ("managers", Options { managers: 0, ..good.clone() }),
            ("managers", Options { managers: 4, ..good.clone() }),
            ("mtu", Options { mtu: 1000, ..good.clone() }),
        ];
        for (expected, options) in cases {
            match options.check() {
                Err(LabError::Option { flag, .. }) => assert_eq!(flag, expected),
                other => panic!("{options:?} gave {other:?}"),
            }
        }
    }
}
