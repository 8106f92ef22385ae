//! Isolation, partition and loss: a BPF program at the fabric's ports that drops by the ports a packet comes
//! from and goes to. The rules stand in the lab's state; [`sync`] brings the fabric to them, and removes the
//! program when there are none.

use std::fs;
use std::path::Path;

use aya::EbpfLoader;
use aya::maps::{HashMap, Map};
use aya::programs::{SchedClassifier, TcAttachType};
use mesh_abi::net::FabricKey;
use mesh_abi::{map, program};
use mesh_dataplane::netlink::Netlink;
use mesh_dataplane::netns::Netns;
use mesh_dataplane::object::OBJECT;
use mesh_dataplane::tcx;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::{Deserialize, Serialize};

use crate::error::LabError;
use crate::fabric::failed;
use crate::layout::{Layout, Member};

/// Packets of one direction between two members, and the share of them that is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Sender.
    pub from: Member,
    /// Receiver.
    pub to: Member,
    /// Packets lost of 1,000.
    pub loss_permille: u32,
}

/// Brings the fabric to these rules. Members without a port (crashed) are passed over; their rules hold again
/// once they are back and this is called again.
pub async fn sync(layout: &Layout, rules: &[Rule]) -> Result<(), LabError> {
    let pins = layout.fabric_pins();
    if rules.is_empty() {
        return remove(&pins);
    }
    mount_bpffs(&pins)?;
    let fabric = Netns::open(&layout.fabric()).map_err(failed("open its namespace"))?;
    let ports = ports(&fabric).await?;
    let mut ebpf = EbpfLoader::new()
        .map_pin_path(map::FABRIC, pins.join(map::FABRIC))
        .load(OBJECT)
        .map_err(failed("load the filter"))?;
    let table = ebpf.map_mut(map::FABRIC).ok_or_else(|| failed("load the filter")("no such map"))?;
    write(table, rules, &ports)?;
    let program: &mut SchedClassifier = ebpf
        .program_mut(program::FABRIC)
        .ok_or_else(|| failed("load the filter")("no such program"))?
        .try_into()
        .map_err(failed("load the filter"))?;
    program.load().map_err(failed("load the filter"))?;
    for (name, _) in &ports {
        tcx::attach_pinned(program, &fabric, name, TcAttachType::Egress, &pins.join(format!("link-{name}")))
            .map_err(failed(format!("filter the port of {name}")))?;
    }
    Ok(())
}

/// Names and interface indexes of the bridge's ports.
async fn ports(fabric: &Netns) -> Result<Vec<(String, u32)>, LabError> {
    let netlink = Netlink::open(fabric).map_err(failed("open netlink"))?;
    let links = netlink.links().await.map_err(failed("list its ports"))?;
    Ok(links
        .into_iter()
        .filter(|link| link.controller.is_some())
        .map(|link| (link.name, link.index))
        .collect())
}

/// Replaces the rules in the map.
fn write(table: &mut Map, rules: &[Rule], ports: &[(String, u32)]) -> Result<(), LabError> {
    let mut table: HashMap<_, FabricKey, u32> =
        HashMap::try_from(table).map_err(failed("open the filter"))?;
    let old: Vec<FabricKey> = table.keys().filter_map(Result::ok).collect();
    for key in old {
        table.remove(&key).map_err(failed("clear the filter"))?;
    }
    let index = |member: Member| {
        let name = member.to_string();
        ports.iter().find(|(port, _)| *port == name).map(|(_, index)| *index)
    };
    for rule in rules {
        if let (Some(from), Some(to)) = (index(rule.from), index(rule.to)) {
            table
                .insert(FabricKey { from, to }, rule.loss_permille, 0)
                .map_err(failed("write the filter"))?;
        }
    }
    Ok(())
}

fn mount_bpffs(pins: &Path) -> Result<(), LabError> {
    if pins.exists() {
        return Ok(());
    }
    fs::create_dir_all(pins).map_err(LabError::file("make", pins))?;
    mount(Some("bpf"), pins, Some("bpf"), MsFlags::empty(), None::<&str>)
        .map_err(LabError::system(format!("mount a BPF file system at {}", pins.display())))
}

/// Removes the program with its pins.
fn remove(pins: &Path) -> Result<(), LabError> {
    if !pins.exists() {
        return Ok(());
    }
    umount2(pins, MntFlags::MNT_DETACH).map_err(LabError::system(format!("unmount {}", pins.display())))?;
    fs::remove_dir(pins).map_err(LabError::file("remove", pins))
}
