//! Between endpoints of a network: straight to a task of this node, through the tunnel to others.

use core::mem::size_of;

use aya_ebpf::{
    bindings::{BPF_F_ZERO_CSUM_TX, bpf_tunnel_key},
    helpers::{bpf_skb_get_tunnel_key, bpf_skb_set_tunnel_key},
};
use mesh_abi::{
    Be32,
    conntrack::{Kind, Role},
    counter::Path,
    drop::DropReason,
    net::{Endpoint, EndpointKey, NodeConfig},
    tunnel::{INGRESS_VNI, mac_of},
};

use crate::{
    conntrack, ingress,
    maps::{ENDPOINTS, PEERS},
    nat,
    parse::{ETH_IPV4, ETH_IPV6, ETH_LEN, Frame, Packet, Shape},
    skb::{Skb, now},
    task,
    verdict::{Refusal, Verdict, count},
};

/// Time to live of outer packets.
const TTL: u8 = 64;

/// The endpoint that has the address in the network.
#[inline(always)]
pub fn endpoint(vni: u32, address: Be32) -> Option<&'static Endpoint> {
    // SAFETY: map memory outlives the run; entries are replaced as a whole.
    unsafe { ENDPOINTS.get(EndpointKey { vni, address }) }
}

/// Hands the packet to a task of this node.
#[inline(always)]
pub fn deliver(packet: &Packet, endpoint: &Endpoint) -> Result<Verdict, Refusal> {
    nat::set_macs(packet.skb, mac_of(packet.src), mac_of(endpoint.address))?;
    Ok(Verdict::task(endpoint.ifindex))
}

/// Sends a task's packet to an endpoint of its network, here or elsewhere.
#[inline(always)]
pub fn forward(packet: &Packet, endpoint: &Endpoint, config: &NodeConfig) -> Result<Verdict, Refusal> {
    if endpoint.ifindex != 0 {
        count(packet.skb, Path::Local);
        return deliver(packet, endpoint);
    }
    fits(packet, tunnel_mtu(endpoint.node, config))?;
    count(packet.skb, Path::OverlayOut);
    nat::set_macs(packet.skb, mac_of(packet.src), mac_of(endpoint.address))?;
    encapsulate(packet.skb, endpoint.vni, endpoint.node, config)
}

/// Largest inner packet that fits the tunnel to the node.
#[inline(always)]
pub fn tunnel_mtu(node: Be32, config: &NodeConfig) -> u32 {
    // SAFETY: as in `endpoint`.
    match unsafe { PEERS.get(node) } {
        Some(peer) if peer.tunnel_mtu != 0 => peer.tunnel_mtu,
        _ => config.tunnel_mtu,
    }
}

/// Whether the packet, or each segment that it will be cut into, has at most `mtu` bytes. One that may be
/// fragmented passes: the outer packet is.
#[inline(always)]
pub fn fits(packet: &Packet, mtu: u32) -> Result<(), Refusal> {
    let segment = packet.skb.gso_size();
    let size = if segment == 0 {
        u32::from(packet.total)
    } else {
        let header = if packet.tcp_len == 0 { 8 } else { u32::from(packet.tcp_len) };
        packet.l4 - ETH_LEN + header + segment
    };
    if size > mtu && packet.dont_fragment() {
        return Err(Refusal::too_big(mtu));
    }
    Ok(())
}

/// Sends the packet into the tunnel.
#[inline(always)]
pub fn encapsulate(skb: Skb, vni: u32, node: Be32, config: &NodeConfig) -> Result<Verdict, Refusal> {
    set_tunnel_key(skb, vni, node, config.data_path_addr)?;
    Ok(Verdict::tunnel(config.vxlan_ifindex, vni, node))
}

#[inline(never)]
fn set_tunnel_key(skb: Skb, vni: u32, node: Be32, own: Be32) -> Result<(), DropReason> {
    // SAFETY: zero is a valid key.
    let mut key: bpf_tunnel_key = unsafe { core::mem::zeroed() };
    key.tunnel_id = vni;
    key.tunnel_ttl = TTL;
    key.__bindgen_anon_1.remote_ipv4 = node.get();
    key.__bindgen_anon_3.local_ipv4 = own.get();
    let size = size_of::<bpf_tunnel_key>() as u32;
    // SAFETY: the key has this size.
    let failed = unsafe { bpf_skb_set_tunnel_key(skb.0, &raw mut key, size, u64::from(BPF_F_ZERO_CSUM_TX)) };
    if failed == 0 { Ok(()) } else { Err(DropReason::Helper) }
}

/// Outer source (upper half) and network (lower half) of a packet out of the tunnel, both in host byte order;
/// 0 when there is no tunnel header. One number, because functions return no more.
#[inline(never)]
fn tunnel_key(skb: Skb) -> u64 {
    // SAFETY: zero is a valid key.
    let mut key: bpf_tunnel_key = unsafe { core::mem::zeroed() };
    let size = size_of::<bpf_tunnel_key>() as u32;
    // SAFETY: the key has this size.
    if unsafe { bpf_skb_get_tunnel_key(skb.0, &raw mut key, size, 0) } != 0 {
        return 0;
    }
    // SAFETY: without the IPv6 flag the kernel filled the IPv4 member.
    let source = unsafe { key.__bindgen_anon_1.remote_ipv4 };
    u64::from(source) << 32 | u64::from(key.tunnel_id)
}

/// Whatever comes out of the tunnel.
#[inline(always)]
pub fn from_tunnel(skb: Skb) -> Result<Verdict, Refusal> {
    let config = task::config()?;
    let key = tunnel_key(skb);
    if key == 0 {
        return Err(DropReason::NoTunnelKey.into());
    }
    let (vni, node) = (key as u32, Be32::new((key >> 32) as u32));
    // SAFETY: as in `endpoint`.
    if unsafe { PEERS.get(node) }.is_none() {
        return Err(DropReason::NotPeer.into());
    }
    match Frame::read(skb)?.kind {
        ETH_IPV4 => {}
        ETH_IPV6 => return Err(DropReason::Ipv6.into()),
        _ => return Err(DropReason::EtherType.into()),
    }
    let mut packet = Packet::new(skb, vni);
    packet.read_ip()?;
    if packet.has_options() {
        return Err(DropReason::IpOptions.into());
    }
    packet.read_transport()?;
    if vni == INGRESS_VNI { ingress::from_tunnel(&mut packet, node, config) } else { to_task(&mut packet) }
}

/// A packet of a network, for a task here: answers of VIPs get the VIP's address back.
#[inline(always)]
fn to_task(packet: &mut Packet) -> Result<Verdict, Refusal> {
    match packet.shape {
        Shape::LostFragment => return Err(DropReason::FragmentUnknown.into()),
        Shape::Echo | Shape::Plain => {}
        Shape::Transport | Shape::Fragment | Shape::Error => restore(packet)?,
    }
    match endpoint(packet.vni, packet.dst) {
        Some(endpoint) if endpoint.ifindex != 0 => {
            count(packet.skb, Path::OverlayIn);
            deliver(packet, endpoint)
        }
        _ => Err(DropReason::NotLocal.into()),
    }
}

/// Rewrites a packet that answers a flow of a task here.
#[inline(always)]
fn restore(packet: &mut Packet) -> Result<(), DropReason> {
    let key = packet.key();
    match conntrack::find(&key) {
        Some(flow) if flow.role == Role::Reverse as u8 && flow.kind != Kind::Published as u8 => {
            conntrack::touch(packet, &key, flow, now());
            count_reverse(packet.skb, flow.kind);
            nat::rewrite(packet, &flow.rewrite)
        }
        _ => Ok(()),
    }
}

/// Counts an answer that gets its VIP back.
#[inline(always)]
pub fn count_reverse(skb: Skb, kind: u8) {
    if kind == Kind::Vip as u8 {
        count(skb, Path::VipReverse);
    }
}
