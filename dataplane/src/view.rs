//! What people and metrics are shown: virtual addresses, counters, the report of a change.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mesh_abi::counter::{Count, Path};
use mesh_abi::drop::DropReason;
use mesh_abi::map;
use serde::Serialize;

use crate::apply::pins::{Pins, TableError};
use crate::desired::{DesiredState, EndpointId, Location, Protocol, Vni};

/// What an `apply` or `resync` did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Steps on devices and programs, as text, in their order.
    pub devices: Vec<String>,
    /// Steps on the maps, as text, in their order.
    pub tables: Vec<String>,
    /// Steps that put right what somebody else had changed or deleted; only a resync knows.
    pub healed: u64,
}

impl Report {
    /// Nothing had to be done.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty() && self.tables.is_empty()
    }
}

/// An address that people use, and who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VipView {
    /// Network, by VNI; none for a published port.
    pub network: Option<Vni>,
    /// Virtual address; none for a published port, which answers on every address of the uplinks.
    pub address: Option<IpAddr>,
    /// Published port.
    pub port: Option<(u16, Protocol)>,
    /// Service.
    pub service: String,
    /// Who takes new flows.
    pub backends: Vec<BackendView>,
}

/// One who takes new flows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackendView {
    /// Its number.
    pub endpoint: EndpointId,
    /// Its address.
    pub address: IpAddr,
    /// Tunnel address of its node; none for this one.
    pub node: Option<IpAddr>,
}

/// Virtual addresses and published ports of a state, with their backends.
pub fn vips(state: &DesiredState) -> Vec<VipView> {
    let backends = |ids: &std::collections::BTreeSet<EndpointId>| -> Vec<BackendView> {
        ids.iter().filter_map(|id| backend(state, *id)).collect()
    };
    let vips = state.vips.iter().map(|vip| VipView {
        network: Some(vip.vni),
        address: Some(vip.address),
        port: None,
        service: vip.service.clone(),
        backends: backends(&vip.backends),
    });
    let published = state.published.iter().map(|port| VipView {
        network: None,
        address: None,
        port: Some((port.published.get(), port.protocol)),
        service: port.service.clone(),
        backends: backends(&port.backends),
    });
    vips.chain(published).collect()
}

fn backend(state: &DesiredState, id: EndpointId) -> Option<BackendView> {
    let endpoint = state.endpoints.get(&id)?;
    let node = match endpoint.location {
        Location::Local(_) => None,
        Location::Remote(node) => Some(node),
    };
    Some(BackendView { endpoint: id, address: endpoint.address, node })
}

/// Packets and bytes that took one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Packets; a GSO packet counts once.
    pub packets: u64,
    /// Bytes with the Ethernet header.
    pub bytes: u64,
}

/// Counters since the maps were made; they outlive the daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Traffic by the name of its way (`mesh_abi::counter::Path`); ways that were taken.
    pub paths: BTreeMap<&'static str, Traffic>,
    /// Dropped packets by the name of the reason (`mesh_abi::drop::DropReason`); reasons that occurred.
    pub drops: BTreeMap<&'static str, u64>,
    /// Steps that put right what somebody else had changed, since this daemon started.
    pub healed: u64,
    /// Flow entries that were taken out for their age, since this daemon started.
    pub flows_expired: u64,
}

/// Sums the counters of the programs over the CPUs.
pub(crate) fn read_counters(pins: &Pins) -> Result<Counters, TableError> {
    let mut counters = Counters::default();
    let paths = pins.per_cpu::<Count>(map::COUNTERS)?;
    for path in Path::ALL {
        let values = paths.get(&(*path as u32), 0).map_err(TableError::new("read", map::COUNTERS))?;
        let sum = values.iter().fold(Traffic::default(), |sum, count| Traffic {
            packets: sum.packets.wrapping_add(count.packets),
            bytes: sum.bytes.wrapping_add(count.bytes),
        });
        if sum != Traffic::default() {
            counters.paths.insert(path.name(), sum);
        }
    }
    let drops = pins.per_cpu::<u64>(map::DROPS)?;
    for reason in DropReason::ALL {
        let values = drops.get(&(*reason as u32), 0).map_err(TableError::new("read", map::DROPS))?;
        let sum = values.iter().fold(0_u64, |sum, count| sum.wrapping_add(*count));
        if sum != 0 {
            counters.drops.insert(reason.name(), sum);
        }
    }
    Ok(counters)
}
