//! ARP (RFC 826) answered in the name of everybody: MAC addresses are derived, nobody has to be asked.

use mesh_abi::{
    Be32,
    counter::Path,
    drop::DropReason,
    net::TaskPort,
    tunnel::{DNS_CLIENT_MASK, DNS_CLIENT_NET, DNS_SERVER, mac_of},
};

use crate::{
    nat,
    parse::{ETH_LEN, address},
    skb::Skb,
    verdict::{Refusal, Verdict, count},
};

/// Ethernet over IPv4 request, as the first eight bytes.
const REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
/// Likewise the answer.
const REPLY: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 2];

/// A question for an address.
struct Question {
    sender_mac: [u8; 6],
    sender: Be32,
    target: Be32,
}

/// From a task: the gateway, every other address of its network, and the name server are answered for.
#[inline(always)]
pub fn from_task(skb: Skb, port: &TaskPort) -> Result<Verdict, Refusal> {
    let question = read(skb)?;
    let probing = question.sender == Be32::ZERO;
    if question.sender_mac != mac_of(port.address) || (question.sender != port.address && !probing) {
        return Err(DropReason::SpoofedArp.into());
    }
    let inside = question.target.raw() & port.mask.raw() == port.address.raw() & port.mask.raw();
    let other = inside && question.target != port.address;
    if other || question.target == DNS_SERVER {
        answer(skb, &question)
    } else {
        Err(DropReason::ArpUnanswered.into())
    }
}

/// From the DNS server: every client is answered for.
#[inline(always)]
pub fn from_dns(skb: Skb) -> Result<Verdict, Refusal> {
    let question = read(skb)?;
    if question.target.raw() & DNS_CLIENT_MASK.raw() == DNS_CLIENT_NET.raw() {
        answer(skb, &question)
    } else {
        Err(DropReason::ArpUnanswered.into())
    }
}

#[inline(always)]
fn read(skb: Skb) -> Result<Question, DropReason> {
    let arp: [u8; 28] = skb.load(ETH_LEN).ok_or(DropReason::Runt)?;
    let [h0, h1, h2, h3, h4, h5, h6, h7, m0, m1, m2, m3, m4, m5, s0, s1, s2, s3, .., t0, t1, t2, t3] = arp;
    if [h0, h1, h2, h3, h4, h5, h6, h7] != REQUEST {
        return Err(DropReason::ArpUnanswered);
    }
    Ok(Question {
        sender_mac: [m0, m1, m2, m3, m4, m5],
        sender: address([s0, s1, s2, s3]),
        target: address([t0, t1, t2, t3]),
    })
}

#[inline(always)]
fn answer(skb: Skb, question: &Question) -> Result<Verdict, Refusal> {
    write(skb, question)?;
    count(skb, Path::Arp);
    Ok(Verdict::task(skb.ifindex()))
}

#[inline(never)]
fn write(skb: Skb, question: &Question) -> Result<(), DropReason> {
    let mut arp = [0u8; 28];
    let mac = mac_of(question.target);
    arp[0..8].copy_from_slice(&REPLY);
    arp[8..14].copy_from_slice(&mac);
    arp[14..18].copy_from_slice(&question.target.bytes());
    arp[18..24].copy_from_slice(&question.sender_mac);
    arp[24..28].copy_from_slice(&question.sender.bytes());
    skb.overwrite(ETH_LEN, &arp)?;
    nat::set_macs(skb, mac, question.sender_mac)
}
