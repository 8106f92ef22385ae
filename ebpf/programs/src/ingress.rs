//! Published ports, with the client's address kept.
//!
//! The node that receives a request picks the backend and, when that is on another node, sends the packet
//! unmodified through the tunnel. The backend's node rewrites it, remembers whose request it was, and answers
//! through that node, or straight to the client in its name.

use mesh_abi::{
    Be32,
    conntrack::{Flow, FlowKey, Kind, Role, State, Tuple},
    counter::Path,
    drop::DropReason,
    net::{Endpoint, Frontend, NodeConfig, PublishedKey, REPLY_DIRECT},
    tunnel::{INGRESS_VNI, REPLY_MARK, REQUEST_MARK, mac_number, mac_of, reply_mac, request_mac},
};

use crate::{
    answer, conntrack,
    maps::{LOCALS, PUBLISHED},
    nat, overlay,
    parse::{ETH_IPV4, Frame, Packet, Shape},
    service::{self, By},
    skb::{Skb, now},
    task,
    verdict::{Refusal, Verdict, count},
};

/// On an uplink. What is no request for a published port is the host's.
#[inline(always)]
pub fn from_uplink(skb: Skb) -> Result<Verdict, Refusal> {
    let mut packet = Packet::new(skb, INGRESS_VNI);
    let Some(frontend) = requested(&mut packet) else {
        count(skb, Path::Pass);
        return Ok(Verdict::PASS);
    };
    if packet.has_options() {
        return Err(DropReason::IpOptions.into());
    }
    request(&mut packet, frontend, task::config()?)
}

/// The published port that the packet asks for, or that an error about a reply is for.
#[inline(always)]
fn requested(packet: &mut Packet) -> Option<&'static Frontend> {
    let frame = Frame::read(packet.skb).ok()?;
    if frame.kind != ETH_IPV4 {
        return None;
    }
    packet.read_ip().ok()?;
    packet.read_transport().ok()?;
    let flow = matches!(packet.shape, Shape::Transport | Shape::Fragment | Shape::Error);
    if flow && packet.dst == packet.tuple.dst { published(packet, packet.dst) } else { None }
}

/// The published port that the packet is for, as this node has it on `address`.
#[inline(always)]
fn published(packet: &Packet, address: Be32) -> Option<&'static Frontend> {
    let key = PublishedKey { address, port: packet.tuple.dport, protocol: packet.protocol, reserved: 0 };
    // SAFETY: map memory outlives the run; entries are replaced as a whole.
    unsafe { PUBLISHED.get(key) }
}

/// A request that a client sent to this node: refusals go back out of the uplink.
#[inline(always)]
fn request(packet: &mut Packet, frontend: &Frontend, config: &NodeConfig) -> Result<Verdict, Refusal> {
    let uplink = packet.skb.ifindex();
    match receive(packet, frontend, config) {
        Ok(verdict) => Ok(verdict),
        Err(refusal) => {
            let speaker = packet.dst;
            let made = answer::refuse(packet, &refusal, speaker);
            Ok(if made { Verdict::uplink(uplink) } else { Verdict::GONE })
        }
    }
}

#[inline(always)]
fn receive(packet: &mut Packet, frontend: &Frontend, config: &NodeConfig) -> Result<Verdict, Refusal> {
    let now = now();
    let key = packet.key();
    if let Some(flow) = conntrack::find(&key)
        && let Some(backend) = service::backend_of(packet, &key, flow, now)?
    {
        return follow(packet, &key, flow, backend, Path::IngressLocal, now);
    }
    let remembered = conntrack::affinity(packet, &key, now).and_then(service::endpoint);
    let backend = match remembered {
        Some(backend) if !service::moves_on(packet, backend) => backend,
        _ => {
            let by = if packet.starts() { By::Turn } else { By::Hash };
            let chosen = service::choose(frontend, &key, by);
            let backend = chosen.ok_or(Refusal::reset(DropReason::NoBackend))?;
            if packet.starts() && backend.ifindex == 0 {
                conntrack::set_affinity(&key, backend.id, now);
            }
            backend
        }
    };
    if backend.ifindex == 0 {
        return pass_on(packet, backend, config);
    }
    start(packet, &key, backend, frontend, config.data_path_addr, Path::IngressLocal, now)
}

/// Sends a request on to its backend's node, unmodified but for the segment size that it offers.
#[inline(always)]
fn pass_on(packet: &Packet, backend: &Endpoint, config: &NodeConfig) -> Result<Verdict, Refusal> {
    let mtu = overlay::tunnel_mtu(backend.node, config);
    overlay::fits(packet, mtu)?;
    nat::clamp_segments(packet, mtu)?;
    count(packet.skb, Path::IngressOut);
    nat::set_macs(packet.skb, mac_of(config.data_path_addr), request_mac(backend.id))?;
    overlay::encapsulate(packet.skb, INGRESS_VNI, backend.node, config)
}

/// A packet of a known flow, to its backend here.
#[inline(always)]
fn follow(
    packet: &mut Packet,
    key: &FlowKey,
    flow: &mut Flow,
    backend: &Endpoint,
    path: Path,
    now: u64,
) -> Result<Verdict, Refusal> {
    conntrack::touch(packet, key, flow, now);
    to_backend(packet, &flow.rewrite, backend, path)
}

/// A new flow, to a backend here; `node` received its request.
#[inline(always)]
fn start(
    packet: &mut Packet,
    key: &FlowKey,
    backend: &Endpoint,
    frontend: &Frontend,
    node: Be32,
    path: Path,
    now: u64,
) -> Result<Verdict, Refusal> {
    if !packet.starts() {
        return Err(Refusal::reset(DropReason::NoFlow));
    }
    let mut flow = Flow {
        rewrite: Tuple { dst: backend.address, dport: frontend.target, ..packet.tuple },
        partner_vni: backend.vni,
        backend: backend.id,
        service: frontend.service,
        node,
        state: State::Opening as u8,
        role: Role::Forward as u8,
        kind: Kind::Published as u8,
        fins: 0,
        seen: now,
        created: now,
    };
    conntrack::open(packet.skb, key, &mut flow, now)?;
    to_backend(packet, &flow.rewrite, backend, path)
}

#[inline(always)]
fn to_backend(packet: &mut Packet, new: &Tuple, backend: &Endpoint, path: Path) -> Result<Verdict, Refusal> {
    if backend.ifindex == 0 {
        return Err(Refusal::reset(DropReason::NotLocal));
    }
    count(packet.skb, path);
    nat::rewrite(packet, new)?;
    overlay::deliver(packet, backend)
}

/// Out of the tunnel with the reserved VNI: a request that `node` received, or a reply to one of ours.
#[inline(always)]
pub fn from_tunnel(packet: &mut Packet, node: Be32, config: &NodeConfig) -> Result<Verdict, Refusal> {
    let marked = marked(packet.skb);
    match (marked >> 32) as u8 {
        REQUEST_MARK => tunnelled_request(packet, marked as u32, node, config),
        REPLY_MARK => tunnelled_reply(packet),
        _ => Err(DropReason::TunnelMark.into()),
    }
}

/// What the inner destination MAC says: the mark in the upper half, the number in the lower; 0 is neither.
#[inline(never)]
fn marked(skb: Skb) -> u64 {
    match Frame::read(skb) {
        Ok(frame) => u64::from(frame.dmac[1]) << 32 | u64::from(mac_number(frame.dmac)),
        Err(_) => 0,
    }
}

/// Refusals go back the way that replies go.
#[inline(always)]
fn tunnelled_request(
    packet: &mut Packet,
    id: u32,
    node: Be32,
    config: &NodeConfig,
) -> Result<Verdict, Refusal> {
    if packet.shape == Shape::LostFragment {
        return Err(DropReason::FragmentUnknown.into());
    }
    let refusal = match accept(packet, id, node, config) {
        Ok(verdict) => return Ok(verdict),
        Err(refusal) => refusal,
    };
    let speaker = packet.dst;
    if answer::refuse(packet, &refusal, speaker) { reply(packet, node, config) } else { Ok(Verdict::GONE) }
}

#[inline(always)]
fn accept(packet: &mut Packet, id: u32, node: Be32, config: &NodeConfig) -> Result<Verdict, Refusal> {
    if matches!(packet.shape, Shape::Echo | Shape::Plain) {
        return Err(DropReason::Protocol.into());
    }
    let now = now();
    let key = packet.key();
    if let Some(flow) = conntrack::find(&key)
        && let Some(backend) = service::backend_of(packet, &key, flow, now)?
    {
        return follow(packet, &key, flow, backend, Path::IngressIn, now);
    }
    let backend = service::endpoint(id).ok_or(Refusal::reset(DropReason::UnknownBackend))?;
    let frontend =
        published(packet, config.data_path_addr).ok_or(Refusal::reset(DropReason::UnknownPublished))?;
    if backend.ifindex == 0 {
        return Err(Refusal::reset(DropReason::NotLocal));
    }
    start(packet, &key, backend, frontend, node, Path::IngressIn, now)
}

/// A reply on its way through this node, which received the request.
#[inline(always)]
fn tunnelled_reply(packet: &Packet) -> Result<Verdict, Refusal> {
    // SAFETY: as in `published`.
    let local = unsafe { LOCALS.get(packet.src) }.ok_or(DropReason::TunnelReply)?;
    if packet.shape == Shape::Transport {
        let key = FlowKey::new(INGRESS_VNI, packet.tuple.turned(), packet.protocol);
        conntrack::affinity_reply(packet, &key);
    }
    count(packet.skb, Path::ReplyIn);
    Ok(Verdict::uplink(local.ifindex))
}

/// A reply in the name of `node`, already rewritten.
#[inline(always)]
pub fn reply(packet: &Packet, node: Be32, config: &NodeConfig) -> Result<Verdict, Refusal> {
    if node == config.data_path_addr {
        count(packet.skb, Path::ReplyLocal);
        // SAFETY: as in `published`.
        let local = unsafe { LOCALS.get(packet.src) };
        return Ok(Verdict::uplink(local.map_or(config.uplink_ifindex, |local| local.ifindex)));
    }
    let mtu = overlay::tunnel_mtu(node, config);
    nat::clamp_segments(packet, mtu)?;
    if config.flags & REPLY_DIRECT != 0 {
        return direct(packet, config);
    }
    count(packet.skb, Path::ReplyOut);
    nat::set_macs(packet.skb, mac_of(config.data_path_addr), reply_mac(node))?;
    overlay::encapsulate(packet.skb, INGRESS_VNI, node, config)
}

/// Straight to the client; when that is this node itself, into its stack as if it came from outside.
#[inline(always)]
fn direct(packet: &Packet, config: &NodeConfig) -> Result<Verdict, Refusal> {
    // SAFETY: as in `published`.
    let Some(own) = (unsafe { LOCALS.get(packet.dst) }) else {
        count(packet.skb, Path::ReplyDirect);
        return Ok(Verdict::uplink(config.uplink_ifindex));
    };
    count(packet.skb, Path::ReplyInject);
    nat::set_macs(packet.skb, mac_of(packet.src), own.mac)?;
    Ok(Verdict::inject(own.ifindex))
}
