//! Flows that the programs remember, read from the maps.

use std::io;
use std::os::fd::AsFd;

use aya::maps::{HashMap, IterableMap, MapData};
use mesh_abi::conntrack::{Flow, FlowKey, Role, idle_limit};
use mesh_abi::map;

use super::{FlowPath, LiveFlow};
use crate::apply::pins::{Pins, TableError};
use crate::kernel::{Batch, Cursor};
use crate::plan::ServiceNumbers;

/// Entries read in one go; the kernel's buckets are far smaller.
pub(super) const BATCH: usize = 1024;

/// At most `limit` flows, in the order in which they lie in the maps.
pub fn live_flows(
    pins: &Pins,
    services: &ServiceNumbers,
    now: u64,
    limit: usize,
) -> Result<Vec<LiveFlow>, TableError> {
    let mut flows = Vec::new();
    for name in [map::FLOWS, map::FLOWS_OPENING] {
        let table: HashMap<MapData, FlowKey, Flow> = pins.hash(name)?;
        walk(&table, |key, flow| {
            if flows.len() < limit {
                flows.extend(read(&key, &flow, services, now));
            }
            flows.len() < limit
        })
        .map_err(|error| TableError::new("read", name)(aya::maps::MapError::IoError(error)))?;
    }
    Ok(flows)
}

/// Shows each entry to `visit` until it answers `false`.
pub(super) fn walk<V: aya::Pod>(
    table: &HashMap<MapData, FlowKey, V>,
    mut visit: impl FnMut(FlowKey, V) -> bool,
) -> io::Result<()> {
    let mut batch = Batch::new(BATCH);
    let mut cursor = Cursor::default();
    loop {
        let more = batch.look(table.map().fd().as_fd(), &mut cursor)?;
        for (key, value) in batch.iter() {
            if !visit(key, value) {
                return Ok(());
            }
        }
        if !more {
            return Ok(());
        }
    }
}

/// The flow of a forward entry; `None` for a reverse one, and for one that is over but not yet collected.
fn read(key: &FlowKey, flow: &Flow, services: &ServiceNumbers, now: u64) -> Option<LiveFlow> {
    let idle = now.saturating_sub(flow.seen);
    if flow.role != Role::Forward as u8 || idle > idle_limit(key.protocol, flow.state, flow.fins) {
        return None;
    }
    let path = FlowPath {
        protocol: super::protocol(key.protocol)?,
        kind: super::kind(flow.kind)?,
        network: super::network(key.vni),
        client: super::source(&key.tuple),
        frontend: super::destination(&key.tuple),
        backend: super::destination(&flow.rewrite),
        endpoint: flow.backend,
        service: services.name(flow.service).map(str::to_owned),
        ingress_node: super::node(flow.node),
    };
    Some(LiveFlow { path, state: super::state(flow.state)?, age: now.saturating_sub(flow.created), idle })
}
