//! Flows that are remembered. `mesh_abi::conntrack` tells how entries pair up and move between the maps.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::bpf_get_prandom_u32,
};
use mesh_abi::{
    Be16,
    conntrack::{
        Affinity, FIN_FORWARD, FIN_REVERSE, Flow, FlowKey, REOPEN_AFTER, Role, SECOND, State, TCP, idle_limit,
    },
    counter::Path,
    drop::DropReason,
    record::Event,
};

use crate::{
    flow::record,
    maps::{AFFINITY, FLOWS, FLOWS_OPENING},
    parse::{FIN, Packet, RST, SYN, Shape},
    skb::Skb,
    verdict::count,
};

/// `-EEXIST`.
const EXISTS: i32 = -17;
/// Source ports tried for a flow that collides, the flow's own included.
const TRIES: u32 = 12;
/// First of the ports that colliding flows get: beyond what Linux hands out by default,
const PORTS_FROM: u32 = 61_000;
/// but for the later tries: clients that come quickly have used all of these within a minute or two.
const MORE_PORTS_FROM: u32 = 1024;
/// The first try that takes ports from there,
const MORE_FROM: u32 = 3;
/// and the first that takes one of a connection that both sides have ended: a SYN that is a second late, because a
/// socket in TIME-WAIT is in its way, is better than none.
const CLOSED_FROM: u32 = 9;

/// The entry of the key.
#[inline(always)]
pub fn find(key: &FlowKey) -> Option<&'static mut Flow> {
    let entry = FLOWS.get_ptr_mut(key).or_else(|| FLOWS_OPENING.get_ptr_mut(key))?;
    // SAFETY: map memory outlives the run. Fields are plain data; two CPUs that write at once leave one
    // of two valid states.
    Some(unsafe { &mut *entry })
}

/// Whether the packet ends what the entry remembers, so that its flow is balanced anew: a SYN when the flow
/// is over, or was not answered for a second; any first packet when the flow has been idle for too long.
#[inline(never)]
pub fn reopens(packet: &Packet, key: &FlowKey, flow: &Flow, now: u64) -> bool {
    let opening = flow.state < State::Established as u8;
    let over = flow.state == State::Closing as u8;
    if packet.is_syn() && (over || (opening && since(flow.created, now) > REOPEN_AFTER)) {
        return true;
    }
    packet.starts() && is_idle(key, flow, now)
}

/// Whether neither direction was seen for as long as the protocol allows.
#[inline(always)]
fn is_idle(key: &FlowKey, flow: &Flow, now: u64) -> bool {
    let limit = idle_limit(key.protocol, flow.state, flow.fins);
    since(flow.seen, now) > limit
        && find(&flow.partner(key.protocol)).is_none_or(|other| since(other.seen, now) > limit)
}

#[inline(always)]
fn since(then: u64, now: u64) -> u64 {
    now.saturating_sub(then)
}

/// Notes a packet of a flow: when it came, and what it says about the flow's state.
#[inline(never)]
pub fn touch(packet: &Packet, key: &FlowKey, flow: &mut Flow, now: u64) {
    if packet.shape == Shape::Error {
        return;
    }
    if since(flow.seen, now) >= SECOND {
        flow.seen = now;
    }
    let forward = flow.role == Role::Forward as u8;
    if packet.flags & (FIN | RST) != 0 {
        finish(packet, key, flow, forward, now);
    } else if flow.state == State::Opening as u8 && !forward {
        flow.state = State::Replied as u8;
        if let Some(other) = find(&flow.partner(key.protocol)) {
            other.state = State::Replied as u8;
        }
    } else if flow.state == State::Replied as u8 && forward && packet.flags & SYN == 0 {
        establish(key, flow);
    }
}

/// Notes FIN or RST on both entries.
#[inline(never)]
fn finish(packet: &Packet, key: &FlowKey, flow: &mut Flow, forward: bool, now: u64) {
    if packet.flags & FIN != 0 {
        flow.fins |= if forward { FIN_FORWARD } else { FIN_REVERSE };
    }
    let over = packet.flags & RST != 0 || flow.fins == FIN_FORWARD | FIN_REVERSE;
    if over && flow.state != State::Closing as u8 {
        flow.state = State::Closing as u8;
        record(packet.skb, Event::Closed, key, flow, now);
    }
    if let Some(other) = find(&flow.partner(key.protocol)) {
        other.fins = flow.fins;
        other.state = flow.state;
    }
}

/// Moves both entries to the map of flows that are not forgotten. When there is no room they stay.
#[inline(never)]
fn establish(key: &FlowKey, flow: &mut Flow) {
    let partner = flow.partner(key.protocol);
    flow.state = State::Established as u8;
    if FLOWS.insert(partner, mirror(key, flow), u64::from(BPF_NOEXIST)).is_err() {
        flow.state = State::Replied as u8;
        return;
    }
    if FLOWS.insert(key, &*flow, u64::from(BPF_NOEXIST)).is_err() {
        let _ = FLOWS.remove(partner);
        flow.state = State::Replied as u8;
        return;
    }
    let _ = FLOWS_OPENING.remove(key);
    let _ = FLOWS_OPENING.remove(partner);
}

/// The other direction's entry.
#[inline(always)]
fn mirror(key: &FlowKey, flow: &Flow) -> Flow {
    Flow { rewrite: key.tuple.turned(), partner_vni: key.vni, role: Role::Reverse as u8, ..*flow }
}

/// Forgets both entries.
#[inline(never)]
pub fn forget(key: &FlowKey, flow: &Flow) {
    remove_pair(key, flow);
}

#[inline(always)]
fn remove_pair(key: &FlowKey, flow: &Flow) {
    let partner = flow.partner(key.protocol);
    let _ = FLOWS.remove(key);
    let _ = FLOWS_OPENING.remove(key);
    let _ = FLOWS.remove(partner);
    let _ = FLOWS_OPENING.remove(partner);
}

/// What came of asking for the reverse key.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Claim {
    /// The entry is made.
    Made = 0,
    /// A living flow of another opener has it.
    Taken = 1,
    /// An entry has it that nobody needs any more.
    Over = 2,
    /// There is no memory.
    Full = 3,
}

/// Remembers a new flow, both directions together. The reverse key may belong to another flow, because
/// frontends share backends; then the source port that the backend sees is changed. A flow that finds no
/// memory is forwarded without.
#[inline(never)]
pub fn open(skb: Skb, key: &FlowKey, flow: &mut Flow, now: u64) -> Result<(), DropReason> {
    flow.seen = now;
    flow.created = now;
    for attempt in 0..TRIES {
        let mut claimed = claim(key, flow, now, attempt);
        if claimed == Claim::Over {
            forget_other(key, flow);
            claimed = claim(key, flow, now, attempt);
        }
        match claimed {
            Claim::Made => {
                if attempt > 0 {
                    count(skb, Path::Remapped);
                }
                return remember(skb, key, flow, now);
            }
            Claim::Full => {
                count(skb, Path::Stateless);
                return Ok(());
            }
            Claim::Taken | Claim::Over => flow.rewrite.sport = other_port(attempt + 1),
        }
    }
    Err(DropReason::NoSourcePort)
}

#[inline(always)]
fn other_port(attempt: u32) -> Be16 {
    // SAFETY: plain helper call.
    let random = unsafe { bpf_get_prandom_u32() };
    let from = if attempt < MORE_FROM { PORTS_FROM } else { MORE_PORTS_FROM };
    Be16::new((from + random % (0x1_0000 - from)) as u16)
}

/// Whether the flow was reset. One that both sides ended with FIN leaves a socket in TIME-WAIT: the SYN of
/// another frontend's flow would be taken for an old duplicate there (an opener's timestamps run apart for
/// each address it talks to; RFC 7323 section 5) and answered a second late.
#[inline(always)]
fn was_reset(flow: &Flow) -> bool {
    flow.state == State::Closing as u8 && flow.fins != FIN_FORWARD | FIN_REVERSE
}

/// Makes the reverse entry, unless a living flow of another opener has its key.
#[inline(never)]
fn claim(key: &FlowKey, flow: &Flow, now: u64, attempt: u32) -> Claim {
    let partner = flow.partner(key.protocol);
    if let Some(other) = find(&partner) {
        let own = other.rewrite == key.tuple.turned() && other.partner_vni == key.vni;
        let spare = attempt >= CLOSED_FROM && other.state == State::Closing as u8;
        let over = own || spare || was_reset(other) || is_idle(&partner, other, now);
        return if over { Claim::Over } else { Claim::Taken };
    }
    match FLOWS_OPENING.insert(partner, mirror(key, flow), u64::from(BPF_NOEXIST)) {
        Ok(()) => Claim::Made,
        Err(EXISTS) => Claim::Taken,
        Err(_) => Claim::Full,
    }
}

/// Forgets the flow whose entry has the reverse key.
#[inline(never)]
fn forget_other(key: &FlowKey, flow: &Flow) {
    let partner = flow.partner(key.protocol);
    if let Some(other) = find(&partner) {
        remove_pair(&partner, other);
    }
}

/// Makes the forward entry of a claimed flow.
#[inline(always)]
fn remember(skb: Skb, key: &FlowKey, flow: &Flow, now: u64) -> Result<(), DropReason> {
    if FLOWS_OPENING.insert(key, flow, u64::from(BPF_ANY)).is_err() {
        let _ = FLOWS_OPENING.remove(flow.partner(key.protocol));
        count(skb, Path::Stateless);
        return Ok(());
    }
    record(skb, Event::New, key, flow, now);
    Ok(())
}

/// The backend on another node that the client's flow goes to, unless the packet ends what is remembered.
#[inline(always)]
pub fn affinity(packet: &Packet, key: &FlowKey, now: u64) -> Option<u32> {
    let entry = AFFINITY.get_ptr_mut(key)?;
    // SAFETY: as in `find`.
    let entry = unsafe { &mut *entry };
    let opening = entry.state == State::Opening as u8;
    let over = entry.state == State::Closing as u8;
    let idle = since(entry.seen, now) > idle_limit(key.protocol, entry.state, entry.fins);
    let unanswered = opening && since(entry.created, now) > REOPEN_AFTER;
    if (packet.is_syn() && (over || unanswered)) || (packet.starts() && idle) {
        count(packet.skb, Path::Reopened);
        return None;
    }
    if packet.shape != Shape::Error {
        note(packet, entry, FIN_FORWARD, now);
        if opening && (key.protocol != TCP || packet.flags & (SYN | RST) == 0) {
            entry.state = State::Established as u8;
        }
    }
    Some(entry.backend)
}

/// Notes a reply that passes through this node to the client. `key` is that of the request.
#[inline(always)]
pub fn affinity_reply(packet: &Packet, key: &FlowKey) {
    if packet.flags & (FIN | RST) == 0 {
        return;
    }
    if let Some(entry) = AFFINITY.get_ptr_mut(key) {
        // SAFETY: as in `find`.
        let entry = unsafe { &mut *entry };
        note(packet, entry, FIN_REVERSE, entry.seen);
    }
}

#[inline(always)]
fn note(packet: &Packet, entry: &mut Affinity, fin: u8, now: u64) {
    if since(entry.seen, now) >= SECOND {
        entry.seen = now;
    }
    if packet.flags & FIN != 0 {
        entry.fins |= fin;
    }
    if packet.flags & RST != 0 || entry.fins == FIN_FORWARD | FIN_REVERSE {
        entry.state = State::Closing as u8;
    }
}

/// Remembers where the client's flow goes. Without memory the next packet is balanced by its hash.
#[inline(always)]
pub fn set_affinity(key: &FlowKey, backend: u32, now: u64) {
    let entry =
        Affinity { backend, state: State::Opening as u8, fins: 0, reserved: 0, seen: now, created: now };
    let _ = AFFINITY.insert(key, entry, u64::from(BPF_ANY));
}
