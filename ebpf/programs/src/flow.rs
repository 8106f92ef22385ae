//! Records of flows for userspace.

use mesh_abi::{
    conntrack::{Flow, FlowKey, Role},
    counter::Path,
    record::{Event, FlowRecord},
};

use crate::{maps::FLOW_RECORDS, skb::Skb, verdict::count};

/// Tells that something happened to the flow of this entry. A full buffer loses the record, counted.
#[inline(never)]
pub fn record(skb: Skb, event: Event, key: &FlowKey, flow: &Flow, now: u64) {
    let Some(mut entry) = FLOW_RECORDS.reserve::<FlowRecord>(0) else {
        count(skb, Path::RecordLost);
        return;
    };
    let forward = flow.role == Role::Forward as u8;
    let (original, translated, vni) = if forward {
        (key.tuple, flow.rewrite, key.vni)
    } else {
        (flow.rewrite.turned(), key.tuple.turned(), flow.partner_vni)
    };
    entry.write(FlowRecord {
        at: now,
        original,
        translated,
        vni,
        backend: flow.backend,
        service: flow.service,
        node: flow.node,
        protocol: key.protocol,
        event: event as u8,
        kind: flow.kind,
        reserved: [0; 5],
    });
    entry.submit(0);
}
