//! Answers made out of the packet that provoked them: echo replies, RST, ICMP errors.

use mesh_abi::{
    Be32, checksum,
    conntrack::{ICMP, TCP, Tuple},
    counter::Path,
    drop::DropReason,
};

use crate::{
    parse::{ACK, ETH_LEN, FIN, IP_LEN, Packet, RST, SYN, Shape},
    skb::{Cover, sum},
    verdict::{Answer, PORT, Refusal, TOO_BIG, count, count_drop},
};

/// Time to live of packets made here.
const TTL: u8 = 64;
/// Bytes of the offending packet that an ICMP error carries: its IP header and eight more (RFC 792).
const QUOTE: usize = 28;
/// ICMP type: destination unreachable.
const UNREACHABLE: u8 = 3;

/// Turns an echo request into its answer.
#[inline(never)]
pub fn echo(packet: &mut Packet) -> Result<(), DropReason> {
    turn(packet);
    let ([a, b, c, d], [e, f, g, h]) = (packet.src.bytes(), packet.dst.bytes());
    packet.skb.store(ETH_LEN + 12, &[a, b, c, d, e, f, g, h])?;
    packet.skb.store(packet.l4, &[0])?;
    // The type was 8 and is 0.
    packet.skb.fix_checksum(packet.l4 + 2, u32::from(!0x0800_u16.to_be()), Cover::Body, false)?;
    count(packet.skb, Path::Echo);
    Ok(())
}

/// Counts the drop and, where there is something to say, turns the packet into what its sender is told, with
/// `speaker` as the source of ICMP errors. Gives whether there is a packet to send.
#[inline(never)]
pub fn refuse(packet: &mut Packet, refusal: &Refusal, speaker: Be32) -> bool {
    let value = refusal.value;
    let made = match refusal.answer {
        _ if !deserves(packet) => Err(refusal.reason),
        Answer::Silence => Err(refusal.reason),
        Answer::Reset if packet.protocol == TCP => reset(packet),
        Answer::Reset => error(packet, speaker, PORT, 0),
        Answer::Unreachable => error(packet, speaker, value as u8, 0),
        Answer::TooBig => error(packet, speaker, TOO_BIG, value.min(0xffff) as u16),
    };
    if made == Err(DropReason::Helper) {
        count_drop(DropReason::Helper);
    } else {
        count_drop(refusal.reason);
    }
    if made.is_ok() {
        count(packet.skb, Path::Refused);
    }
    made.is_ok()
}

/// Errors are not answered, nor are resets and later fragments (RFC 1122 section 3.2.2, RFC 9293 3.5.2).
#[inline(always)]
fn deserves(packet: &Packet) -> bool {
    match packet.shape {
        Shape::Transport => packet.flags & RST == 0,
        Shape::Echo => true,
        Shape::Plain => packet.protocol != ICMP && !packet.is_fragment(),
        Shape::Fragment | Shape::LostFragment | Shape::Error => false,
    }
}

/// Turns a TCP segment into the RST that answers it (RFC 9293 section 3.10.7.1).
#[inline(never)]
fn reset(packet: &mut Packet) -> Result<(), DropReason> {
    let tcp: [u8; 20] = packet.skb.load(packet.l4).ok_or(DropReason::BadTransport)?;
    let payload =
        (u32::from(packet.total) + ETH_LEN).wrapping_sub(packet.l4).wrapping_sub(u32::from(packet.tcp_len));
    let phantom = u32::from(packet.flags & SYN != 0) + u32::from(packet.flags & FIN != 0);
    let theirs = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
    let (sequence, acknowledged, flags) = if packet.flags & ACK != 0 {
        ([tcp[8], tcp[9], tcp[10], tcp[11]], [0; 4], RST)
    } else {
        ([0; 4], theirs.wrapping_add(payload + phantom).to_be_bytes(), RST | ACK)
    };
    turn(packet);
    packet.skb.resize(ETH_LEN + IP_LEN + 20)?;
    put_ip(packet, TCP, 20)?;
    let ([s0, s1], [d0, d1]) = (packet.tuple.sport.bytes(), packet.tuple.dport.bytes());
    let ([q0, q1, q2, q3], [a0, a1, a2, a3]) = (sequence, acknowledged);
    let mut made = [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, 5 << 4, flags, 0, 0, 0, 0, 0, 0];
    let pseudo = checksum::pseudo(packet.src.bytes(), packet.dst.bytes(), TCP, 20);
    let check = checksum::finish(sum(&made, pseudo));
    made[16..18].copy_from_slice(&check.to_ne_bytes());
    packet.skb.overwrite(packet.l4, &made)?;
    packet.flags = flags;
    packet.tcp_len = 20;
    Ok(())
}

/// Turns a packet into an ICMP error about it.
#[inline(never)]
fn error(packet: &mut Packet, speaker: Be32, code: u8, mtu: u16) -> Result<(), DropReason> {
    let quote: [u8; QUOTE] = packet.skb.load(ETH_LEN).ok_or(DropReason::Helper)?;
    turn(packet);
    packet.src = speaker;
    packet.skb.resize(ETH_LEN + IP_LEN + 8 + QUOTE as u32)?;
    put_ip(packet, ICMP, 8 + QUOTE as u16)?;
    let mut icmp = [UNREACHABLE, code, 0, 0, 0, 0, 0, 0];
    icmp[6..8].copy_from_slice(&mtu.to_be_bytes());
    let check = checksum::finish(sum(&icmp, sum(&quote, 0)));
    icmp[2..4].copy_from_slice(&check.to_ne_bytes());
    packet.skb.overwrite(packet.l4, &icmp)?;
    packet.skb.overwrite(packet.l4 + 8, &quote)?;
    packet.shape = Shape::Plain;
    packet.flags = 0;
    Ok(())
}

/// Turns the packet's own idea of itself around; the bytes follow.
#[inline(always)]
fn turn(packet: &mut Packet) {
    let tuple = packet.tuple.turned();
    packet.tuple = Tuple { src: packet.dst, dst: packet.src, ..tuple };
    packet.src = packet.tuple.src;
    packet.dst = packet.tuple.dst;
}

/// Writes an IP header, between the packet's addresses, in front of `length` bytes.
#[inline(always)]
fn put_ip(packet: &mut Packet, protocol: u8, length: u16) -> Result<(), DropReason> {
    let total = IP_LEN as u16 + length;
    let [high, low] = total.to_be_bytes();
    let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (packet.src.bytes(), packet.dst.bytes());
    // Don't fragment (0x40), and so identification 0 (RFC 6864).
    let mut ip = [0x45, 0, high, low, 0, 0, 0x40, 0, TTL, protocol, 0, 0, s0, s1, s2, s3, d0, d1, d2, d3];
    let check = checksum::finish(sum(&ip, 0));
    ip[10..12].copy_from_slice(&check.to_ne_bytes());
    packet.l4 = ETH_LEN + IP_LEN;
    packet.total = total;
    packet.skb.overwrite(ETH_LEN, &ip)
}
