//! Rewriting of addresses and ports, with every checksum that covers them.

use aya_ebpf::helpers::bpf_csum_diff;
use mesh_abi::{
    Be16, Be32, checksum,
    conntrack::{TCP, Tuple, UDP},
    counter::Path,
    drop::DropReason,
};

use crate::{
    parse::{ETH_LEN, Frame, Packet, SYN, Shape},
    skb::{Cover, Skb},
    verdict::count,
};

/// Offset of the IP header checksum.
const IP_CHECK: u32 = ETH_LEN + 10;
/// Offset of the IP source address.
const IP_SRC: u32 = ETH_LEN + 12;

/// Rewrites the packet's flow tuple to `new`. An ICMP error is rewritten inside too, so that whoever gets it
/// finds the packet that it sent.
#[inline(never)]
pub fn rewrite(packet: &mut Packet, new: &Tuple) -> Result<(), DropReason> {
    // The entry that `new` may lie in can be replaced meanwhile; the packet gets one state of it.
    let new = &{ *new };
    let old = packet.tuple;
    let mut outer = *new;
    if packet.shape == Shape::Error {
        rewrite_error(packet, new)?;
        // A router on the way keeps its own address.
        if packet.src != old.src {
            outer.src = packet.src;
        }
    }
    let addresses = difference(packet.src, outer.src) + difference(packet.dst, outer.dst);
    if addresses != 0 {
        packet.skb.store(IP_SRC, &pair(outer.src, outer.dst))?;
        packet.skb.fix_ip_checksum(IP_CHECK, addresses)?;
    }
    if packet.shape == Shape::Transport {
        rewrite_transport(packet, &old, new, addresses)?;
    }
    packet.src = outer.src;
    packet.dst = outer.dst;
    packet.tuple = *new;
    Ok(())
}

#[inline(always)]
fn rewrite_transport(packet: &Packet, old: &Tuple, new: &Tuple, addresses: u32) -> Result<(), DropReason> {
    let udp = packet.protocol == UDP;
    let check = packet.l4 + if udp { 6 } else { 16 };
    if addresses != 0 {
        packet.skb.fix_checksum(check, addresses, Cover::Pseudo, udp)?;
    }
    if old.sport != new.sport || old.dport != new.dport {
        let ports = difference16(old.sport, new.sport) + difference16(old.dport, new.dport);
        packet.skb.store(packet.l4, &ports_of(new))?;
        packet.skb.fix_checksum(check, ports, Cover::Body, udp)?;
    }
    Ok(())
}

/// Rewrites the packet inside of an ICMP error to what its sender sent: `new` turned around.
#[inline(always)]
fn rewrite_error(packet: &Packet, new: &Tuple) -> Result<(), DropReason> {
    let at = packet.l4 + 8;
    let mut before: [u8; 28] = packet.skb.load(at).ok_or(DropReason::BadTransport)?;
    let mut after = before;
    let about = new.turned();
    after[12..16].copy_from_slice(&about.src.bytes());
    after[16..20].copy_from_slice(&about.dst.bytes());
    after[20..22].copy_from_slice(&about.sport.bytes());
    after[22..24].copy_from_slice(&about.dport.bytes());
    let was = packet.tuple.turned();
    let addresses = difference(was.src, about.src) + difference(was.dst, about.dst);
    let ports = difference16(was.sport, about.sport) + difference16(was.dport, about.dport);
    let ip = amended([before[10], before[11]], addresses);
    after[10..12].copy_from_slice(&ip);
    if packet.protocol == UDP && (before[26], before[27]) != (0, 0) {
        let udp = amended([before[26], before[27]], addresses + ports);
        after[26..28].copy_from_slice(&udp);
    }
    // SAFETY: both buffers have 28 bytes.
    let change = unsafe { bpf_csum_diff(before.as_mut_ptr().cast(), 28, after.as_mut_ptr().cast(), 28, 0) };
    packet.skb.store(at, &after)?;
    packet.skb.fix_checksum(packet.l4 + 2, change as u32, Cover::Body, false)
}

/// Lowers the segment size that a SYN or SYN-ACK announces to what an IP packet of `mtu` bytes can carry.
#[inline(never)]
pub fn clamp_segments(packet: &Packet, mtu: u32) -> Result<(), DropReason> {
    if packet.shape != Shape::Transport || packet.protocol != TCP || packet.flags & SYN == 0 {
        return Ok(());
    }
    let limit = mtu.saturating_sub(40).min(0xffff) as u16;
    let end = packet.l4 + u32::from(packet.tcp_len);
    let mut at = packet.l4 + 20;
    // More options before the segment size than this are nobody's.
    for _ in 0..12 {
        if at + 4 > end {
            break;
        }
        let Some([kind, len, high, low]) = packet.skb.load::<4>(at) else { break };
        match (kind, len) {
            (0, _) | (2.., ..2) => break,
            (1, _) => at += 1,
            (2, 4) => return lower(packet, at + 2, u16::from_be_bytes([high, low]), limit),
            _ => at += u32::from(len),
        }
    }
    Ok(())
}

#[inline(always)]
fn lower(packet: &Packet, at: u32, announced: u16, limit: u16) -> Result<(), DropReason> {
    if announced <= limit {
        return Ok(());
    }
    packet.skb.store(at, &limit.to_be_bytes())?;
    let (mut from, mut to) = (announced.to_be(), limit.to_be());
    // At an odd place its bytes lie across two words of the sum.
    if (at - packet.l4) & 1 == 1 {
        (from, to) = (from.swap_bytes(), to.swap_bytes());
    }
    count(packet.skb, Path::MssClamped);
    packet.skb.fix_checksum(packet.l4 + 16, u32::from(!from) + u32::from(to), Cover::Body, false)
}

/// Sets source and destination MAC addresses.
#[inline(never)]
pub fn set_macs(skb: Skb, src: [u8; 6], dst: [u8; 6]) -> Result<(), DropReason> {
    let [s0, s1, s2, s3, s4, s5] = src;
    let [d0, d1, d2, d3, d4, d5] = dst;
    skb.store(0, &[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5])
}

/// Sends a frame back to where it came from.
#[inline(never)]
pub fn swap_macs(skb: Skb) -> Result<(), DropReason> {
    let frame = Frame::read(skb)?;
    set_macs(skb, frame.dmac, frame.smac)
}

/// What replacing the address adds to a sum.
#[inline(always)]
fn difference(from: Be32, to: Be32) -> u32 {
    if from == to { 0 } else { halves(!from.raw()) + halves(to.raw()) }
}

/// What replacing the port adds to a sum.
#[inline(always)]
fn difference16(from: Be16, to: Be16) -> u32 {
    if from == to { 0 } else { u32::from(!from.raw()) + u32::from(to.raw()) }
}

#[inline(always)]
fn halves(word: u32) -> u32 {
    (word & 0xffff) + (word >> 16)
}

/// A checksum after a change of its sum.
#[inline(always)]
fn amended(check: [u8; 2], change: u32) -> [u8; 2] {
    checksum::finish(u32::from(!u16::from_ne_bytes(check)) + change).to_ne_bytes()
}

#[inline(always)]
fn pair(src: Be32, dst: Be32) -> [u8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (src.bytes(), dst.bytes());
    [a, b, c, d, e, f, g, h]
}

#[inline(always)]
fn ports_of(tuple: &Tuple) -> [u8; 4] {
    let ([a, b], [c, d]) = (tuple.sport.bytes(), tuple.dport.bytes());
    [a, b, c, d]
}
