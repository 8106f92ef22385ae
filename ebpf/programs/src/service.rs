//! Choice of a backend.

use mesh_abi::{
    conntrack::{Flow, FlowKey, UDP},
    counter::Path,
    drop::DropReason,
    net::{Endpoint, Frontend, RETIRED},
};

use crate::{
    conntrack,
    maps::{BACKENDS, SLICES, TURNS},
    parse::Packet,
    verdict::{Refusal, count},
};

/// Neighbours tried when a chosen backend was taken out meanwhile.
const TRIES: u32 = 3;

/// How a backend is chosen.
#[derive(Clone, Copy)]
pub enum By {
    /// One after the other: new flows.
    Turn,
    /// By the tuple, the same for each packet: flows in mid-stream that nothing is remembered of.
    Hash,
}

/// A backend of the frontend; nothing when it has none.
#[inline(always)]
pub fn choose(frontend: &Frontend, key: &FlowKey, by: By) -> Option<&'static Endpoint> {
    if frontend.count == 0 {
        return None;
    }
    let first = match by {
        By::Turn => next_turn(frontend.turn),
        By::Hash => hash(key),
    };
    for step in 0..TRIES {
        let place = frontend.offset + first.wrapping_add(step) % frontend.count;
        if let Some(backend) = SLICES.get(place).and_then(|id| endpoint(*id)) {
            return Some(backend);
        }
    }
    None
}

/// The backend of a flow that its opener's packet belongs to. Nothing when the packet starts the flow anew;
/// what was remembered of it is then forgotten.
#[inline(always)]
pub fn backend_of(
    packet: &Packet,
    key: &FlowKey,
    flow: &Flow,
    now: u64,
) -> Result<Option<&'static Endpoint>, Refusal> {
    match endpoint(flow.backend) {
        Some(backend) if flow.service != 0 && moves_on(packet, backend) => {}
        Some(backend) if !conntrack::reopens(packet, key, flow, now) => return Ok(Some(backend)),
        None if !packet.starts() => return Err(Refusal::reset(DropReason::BackendGone)),
        _ => {}
    }
    count(packet.skb, Path::Reopened);
    conntrack::forget(key, flow);
    Ok(None)
}

/// Whether a balanced flow leaves the backend that it has: a UDP flow does when that gets no new ones.
#[inline(always)]
pub fn moves_on(packet: &Packet, backend: &Endpoint) -> bool {
    backend.flags & RETIRED != 0 && packet.protocol == UDP && packet.starts()
}

/// The endpoint of this number.
#[inline(always)]
pub fn endpoint(id: u32) -> Option<&'static Endpoint> {
    // SAFETY: map memory outlives the run; entries are replaced as a whole.
    unsafe { BACKENDS.get(id) }
}

#[inline(always)]
fn next_turn(turn: u32) -> u32 {
    let Some(turn) = TURNS.get_ptr_mut(turn) else { return 0 };
    // SAFETY: per-CPU memory; tc programs do not interrupt each other on a CPU.
    unsafe {
        *turn = (*turn).wrapping_add(1);
        *turn
    }
}

/// Multiplicative mixing (Knuth's constant, murmur3's finish); equal on every node.
#[inline(always)]
fn hash(key: &FlowKey) -> u32 {
    let tuple = &key.tuple;
    let ports = u32::from(tuple.sport.get()) << 16 | u32::from(tuple.dport.get());
    let mut mixed = tuple.src.get().wrapping_mul(0x9e37_79b1) ^ tuple.dst.get().rotate_left(15) ^ ports;
    mixed ^= mixed >> 16;
    mixed = mixed.wrapping_mul(0x85eb_ca6b);
    mixed ^= mixed >> 13;
    mixed = mixed.wrapping_mul(0xc2b2_ae35);
    mixed ^ mixed >> 16
}
