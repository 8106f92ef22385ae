//! Everything that a task sends.

use mesh_abi::{
    Be32,
    conntrack::{Flow, FlowKey, Kind, Role, State, Tuple},
    counter::Path,
    drop::DropReason,
    net::{Endpoint, EndpointKey, Frontend, NodeConfig, TaskPort},
    tunnel::{DNS_SERVER, mac_of},
};

use crate::{
    answer, arp, conntrack, dns, ingress,
    maps::{CONFIG, PORTS, VIPS},
    nat, overlay,
    parse::{ETH_ARP, ETH_IPV4, ETH_IPV6, Frame, Packet, Shape},
    service::{self, By},
    skb::{Skb, now},
    verdict::{HOST, NET, PROTOCOL, Refusal, Verdict, count},
};

/// The node's configuration.
#[inline(always)]
pub fn config() -> Result<&'static NodeConfig, DropReason> {
    match CONFIG.get(0) {
        Some(config) if config.data_path_addr != Be32::ZERO => Ok(config),
        _ => Err(DropReason::NotConfigured.into()),
    }
}

/// At the host side of a task's veth.
#[inline(always)]
pub fn from_task(skb: Skb) -> Result<Verdict, Refusal> {
    let config = config()?;
    // SAFETY: map memory outlives the run; entries are replaced as a whole.
    let port = unsafe { PORTS.get(skb.ifindex()) }.ok_or(DropReason::UnknownPort)?;
    let frame = Frame::read(skb)?;
    if frame.smac != mac_of(port.address) {
        return Err(DropReason::SpoofedMac.into());
    }
    match frame.kind {
        ETH_ARP => arp::from_task(skb, port),
        ETH_IPV4 => from_address(skb, port, config),
        ETH_IPV6 => Err(DropReason::Ipv6.into()),
        _ => Err(DropReason::EtherType.into()),
    }
}

/// An IPv4 packet: checked, and sent or refused with an answer.
#[inline(always)]
fn from_address(skb: Skb, port: &TaskPort, config: &NodeConfig) -> Result<Verdict, Refusal> {
    let mut packet = Packet::new(skb, port.vni);
    packet.read_ip()?;
    if packet.src != port.address {
        return Err(DropReason::SpoofedAddress.into());
    }
    if packet.has_options() {
        return Err(DropReason::IpOptions.into());
    }
    packet.read_transport()?;
    if packet.shape == Shape::LostFragment {
        return Err(DropReason::FragmentUnknown.into());
    }
    let refusal = match send(&mut packet, port, config) {
        Ok(verdict) => return Ok(verdict),
        Err(refusal) => refusal,
    };
    if !answer::refuse(&mut packet, &refusal, port.gateway) {
        return Ok(Verdict::GONE);
    }
    nat::swap_macs(skb)?;
    Ok(Verdict::task(skb.ifindex()))
}

#[inline(always)]
fn send(packet: &mut Packet, port: &TaskPort, config: &NodeConfig) -> Result<Verdict, Refusal> {
    if packet.dst == DNS_SERVER {
        return dns::question(packet, port, config);
    }
    if !is_unicast(packet.dst, port) {
        return Err(DropReason::NotUnicast.into());
    }
    match packet.shape {
        Shape::Echo | Shape::Plain => send_plain(packet, port, config),
        _ => send_flow(packet, port, config),
    }
}

#[inline(always)]
fn is_unicast(address: Be32, port: &TaskPort) -> bool {
    let inside = address.raw() & port.mask.raw() == port.address.raw() & port.mask.raw();
    let broadcast = inside && address.raw() | port.mask.raw() == u32::MAX;
    address.get() < 0xe000_0000 && !broadcast
}

/// What has no ports goes by its addresses.
#[inline(always)]
fn send_plain(packet: &mut Packet, port: &TaskPort, config: &NodeConfig) -> Result<Verdict, Refusal> {
    let virtual_address = frontend(packet).is_some();
    if packet.dst == port.gateway || virtual_address {
        if packet.shape == Shape::Echo {
            answer::echo(packet)?;
            nat::set_macs(packet.skb, mac_of(packet.src), mac_of(packet.dst))?;
            return Ok(Verdict::task(packet.skb.ifindex()));
        }
        return Err(Refusal::unreachable(DropReason::Protocol, PROTOCOL));
    }
    match overlay::endpoint(packet.vni, packet.dst) {
        Some(endpoint) => overlay::forward(packet, endpoint, config),
        None => Err(nobody(packet, port)),
    }
}

/// Why an address leads nowhere.
#[inline(always)]
fn nobody(packet: &Packet, port: &TaskPort) -> Refusal {
    if packet.dst == port.gateway {
        return Refusal::reset(DropReason::NoEndpoint);
    }
    if packet.dst.raw() & port.mask.raw() == port.address.raw() & port.mask.raw() {
        return Refusal::unreachable(DropReason::NoEndpoint, HOST);
    }
    Refusal::unreachable(DropReason::NoRoute, NET)
}

#[inline(always)]
fn frontend(packet: &Packet) -> Option<&'static Frontend> {
    // SAFETY: as in `from_task`.
    unsafe { VIPS.get(EndpointKey { vni: packet.vni, address: packet.dst }) }
}

/// TCP, UDP, and errors about them: by the flow they belong to, or as a new one.
#[inline(always)]
fn send_flow(packet: &mut Packet, port: &TaskPort, config: &NodeConfig) -> Result<Verdict, Refusal> {
    let now = now();
    let key = packet.key();
    if let Some(flow) = conntrack::find(&key) {
        if flow.role == Role::Reverse as u8 {
            return reply(packet, &key, flow, config, now);
        }
        if let Some(backend) = service::backend_of(packet, &key, flow, now)? {
            conntrack::touch(packet, &key, flow, now);
            return follow(packet, &flow.rewrite, flow.kind, backend, config);
        }
    }
    start(packet, &key, port, config, now)
}

/// An answer to a flow that another opened.
#[inline(always)]
fn reply(
    packet: &mut Packet,
    key: &FlowKey,
    flow: &mut Flow,
    config: &NodeConfig,
    now: u64,
) -> Result<Verdict, Refusal> {
    conntrack::touch(packet, key, flow, now);
    let (node, kind) = (flow.node, flow.kind);
    nat::rewrite(packet, &flow.rewrite)?;
    if kind == Kind::Published as u8 {
        return ingress::reply(packet, node, config);
    }
    overlay::count_reverse(packet.skb, kind);
    match overlay::endpoint(packet.vni, packet.dst) {
        Some(client) => overlay::forward(packet, client, config),
        None => Err(DropReason::NoEndpoint.into()),
    }
}

/// A packet of a flow whose backend is known.
#[inline(always)]
fn follow(
    packet: &mut Packet,
    new: &Tuple,
    kind: u8,
    backend: &Endpoint,
    config: &NodeConfig,
) -> Result<Verdict, Refusal> {
    if kind == Kind::Vip as u8 {
        let own = packet.tuple.src == backend.address;
        count(packet.skb, if own { Path::Hairpin } else { Path::VipForward });
    }
    if backend.ifindex == 0 {
        // Before anything is rewritten: the answer quotes the packet as the task sent it.
        overlay::fits(packet, overlay::tunnel_mtu(backend.node, config))?;
    }
    nat::rewrite(packet, new)?;
    overlay::forward(packet, backend, config)
}

/// A packet of no known flow.
#[inline(always)]
fn start(
    packet: &mut Packet,
    key: &FlowKey,
    port: &TaskPort,
    config: &NodeConfig,
    now: u64,
) -> Result<Verdict, Refusal> {
    let (backend, kind, service) = match frontend(packet) {
        Some(_) if !packet.starts() => return Err(Refusal::reset(DropReason::NoFlow)),
        Some(frontend) => match service::choose(frontend, key, By::Turn) {
            Some(backend) => (backend, Kind::Vip, frontend.service),
            None => return Err(Refusal::reset(DropReason::NoBackend)),
        },
        None => match overlay::endpoint(packet.vni, packet.dst) {
            Some(endpoint) if packet.starts() => (endpoint, Kind::Direct, 0),
            Some(endpoint) => return overlay::forward(packet, endpoint, config),
            None => return Err(nobody(packet, port)),
        },
    };
    let mut rewrite = Tuple { dst: backend.address, ..packet.tuple };
    if backend.address == packet.tuple.src {
        rewrite.src = port.gateway;
    }
    let mut flow = Flow {
        rewrite,
        partner_vni: packet.vni,
        backend: backend.id,
        service,
        node: Be32::ZERO,
        state: State::Opening as u8,
        role: Role::Forward as u8,
        kind: kind as u8,
        fins: 0,
        seen: now,
        created: now,
    };
    conntrack::open(packet.skb, key, &mut flow, now)?;
    follow(packet, &flow.rewrite, kind as u8, backend, config)
}
