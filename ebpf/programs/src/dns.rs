//! Questions to the name server, and its answers: the source address tells the server who asks.

use mesh_abi::{
    Be32,
    conntrack::{TCP, Tuple, UDP},
    counter::Path,
    drop::DropReason,
    net::{NodeConfig, TaskPort},
    tunnel::{DNS_PORT, DNS_SERVER, mac_of},
};

use crate::{
    arp,
    maps::DNS_CLIENTS,
    nat,
    parse::{ETH_ARP, ETH_IPV4, Frame, Packet, Shape},
    skb::Skb,
    verdict::{Refusal, Verdict, count},
};

/// A task's packet to the name server.
#[inline(always)]
pub fn question(packet: &mut Packet, port: &TaskPort, config: &NodeConfig) -> Result<Verdict, Refusal> {
    let asked = matches!(packet.protocol, TCP | UDP) && packet.tuple.dport.get() == DNS_PORT;
    if !asked || port.dns_client == Be32::ZERO || config.dns_ifindex == 0 {
        return Err(Refusal::reset(DropReason::DnsRefused));
    }
    count(packet.skb, Path::DnsQuestion);
    let new = Tuple { src: port.dns_client, ..packet.tuple };
    nat::rewrite(packet, &new)?;
    nat::set_macs(packet.skb, mac_of(port.dns_client), mac_of(DNS_SERVER))?;
    Ok(Verdict::task(config.dns_ifindex))
}

/// Whatever comes out of the name server's namespace.
#[inline(always)]
pub fn from_server(skb: Skb) -> Result<Verdict, Refusal> {
    match Frame::read(skb)?.kind {
        ETH_ARP => arp::from_dns(skb),
        ETH_IPV4 => answer(&mut Packet::new(skb, 0)),
        _ => Err(DropReason::DnsForeign.into()),
    }
}

#[inline(always)]
fn answer(packet: &mut Packet) -> Result<Verdict, Refusal> {
    packet.read_ip()?;
    if packet.has_options() {
        return Err(DropReason::IpOptions.into());
    }
    packet.read_transport()?;
    if packet.shape == Shape::LostFragment {
        return Err(DropReason::FragmentUnknown.into());
    }
    let flow = matches!(packet.shape, Shape::Transport | Shape::Fragment | Shape::Error);
    if !flow || packet.src != DNS_SERVER || packet.tuple.sport.get() != DNS_PORT {
        return Err(DropReason::DnsForeign.into());
    }
    // SAFETY: map memory outlives the run; entries are replaced as a whole.
    let client = unsafe { DNS_CLIENTS.get(packet.dst) }.ok_or(DropReason::DnsUnknownClient)?;
    count(packet.skb, Path::DnsAnswer);
    let new = Tuple { dst: client.address, ..packet.tuple };
    nat::rewrite(packet, &new)?;
    nat::set_macs(packet.skb, mac_of(DNS_SERVER), mac_of(client.address))?;
    Ok(Verdict::task(client.ifindex))
}
