//! What comes out of the tunnel.

use mesh_abi::conntrack::{Affinity, State};
use mesh_abi::counter::Path;
use mesh_abi::drop::DropReason;
use mesh_abi::tunnel::{INGRESS_VNI, reply_mac, request_mac};
use mesh_abi::{map, program};

use crate::packet::{ACK, FIN, Packet, RST, SYN, mac, ping, syn, tcp, udp};
use crate::world::{
    ANN_IF, BLUE, BOB, BOB_IF, CID_IF, NODE, PEER, PEER2, RED, RIA, UPLINK, VXLAN, World, ip, request_key,
};

const TCP: u8 = 6;
const FROM: &str = "192.0.2.200:40000";
const THERE: &str = "192.0.2.12:8080";
const HERE: &str = "192.0.2.11:8080";
const BOB_PORT: &str = "10.0.1.11:80";

#[test]
fn segment_to_a_task_here() {
    let mut world = World::new();
    let sent = tcp("10.0.1.20:80", "10.0.1.10:40000", ACK);
    world.tunnel(BLUE, PEER, &sent).reaches_task(ANN_IF, &sent);
    world.counted(Path::OverlayIn, 1);
}

#[test]
fn ping_to_a_task_here() {
    let mut world = World::new();
    let sent = ping("10.0.1.20", "10.0.1.11");
    world.tunnel(BLUE, PEER, &sent).reaches_task(BOB_IF, &sent);
}

#[test]
fn network_decides_between_equal_addresses() {
    let mut world = World::new();
    let sent = udp("10.0.1.20:53", "10.0.1.11:40000");
    world.tunnel(BLUE, PEER, &sent).reaches_task(BOB_IF, &sent);
    world.tunnel(RED, PEER, &sent).reaches_task(CID_IF, &sent);
    world.tunnel(300, PEER, &sent).dropped(DropReason::NotLocal);
}

#[test]
fn packet_without_tunnel_header() {
    let mut world = World::new();
    let sent = udp("10.0.1.20:53", "10.0.1.10:40000");
    world.frame(program::OVERLAY_INGRESS, VXLAN, &sent.bytes()).dropped(DropReason::NoTunnelKey);
}

#[test]
fn stranger_encapsulates() {
    let mut world = World::new();
    let sent = udp("10.0.1.20:53", "10.0.1.10:40000");
    world.tunnel(BLUE, "192.0.2.66", &sent).dropped(DropReason::NotPeer);
}

#[test]
fn endpoint_that_is_not_here() {
    let mut world = World::new();
    world.tunnel(BLUE, PEER, &udp("10.0.1.20:53", "10.0.1.77:1")).dropped(DropReason::NotLocal);
    // RIA is on the peer: what comes from a tunnel never goes into one.
    world.tunnel(BLUE, PEER, &udp("10.0.1.21:53", "10.0.1.20:1")).dropped(DropReason::NotLocal);
}

#[test]
fn other_ether_types() {
    let mut world = World::new();
    let mut frame = udp("10.0.1.20:53", "10.0.1.10:40000").payload(&[0; 40]).bytes();
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    world.tunnel_frame(BLUE, PEER, &frame).dropped(DropReason::Ipv6);
    frame[12..14].copy_from_slice(&[8, 6]);
    world.tunnel_frame(BLUE, PEER, &frame).dropped(DropReason::EtherType);
}

#[test]
fn options_and_bad_headers() {
    let mut world = World::new();
    let sent = udp("10.0.1.20:53", "10.0.1.10:40000");
    world.tunnel(BLUE, PEER, &sent.clone().ip_options()).dropped(DropReason::IpOptions);
    let mut frame = sent.bytes();
    frame[14] = 0x65;
    world.tunnel_frame(BLUE, PEER, &frame).dropped(DropReason::BadIpHeader);
}

/// A request that the peer received and passes on.
fn request(packet: Packet, backend: u32) -> Packet {
    packet.dmac(request_mac(backend))
}

#[test]
fn request_goes_to_the_backend() {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[]);
    world
        .tunnel(INGRESS_VNI, PEER, &request(syn(FROM, THERE), BOB))
        .reaches_task(BOB_IF, syn(FROM, BOB_PORT));
    world.counted(Path::IngressIn, 1);
}

#[test]
fn request_in_a_flow_needs_no_published_port() {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[BOB]);
    world
        .tunnel(INGRESS_VNI, PEER, &request(syn(FROM, THERE), BOB))
        .reaches_task(BOB_IF, syn(FROM, BOB_PORT));
    world.unpublish(8080, TCP);
    let next = request(tcp(FROM, THERE, ACK), BOB);
    world.tunnel(INGRESS_VNI, PEER, &next).reaches_task(BOB_IF, tcp(FROM, BOB_PORT, ACK));
}

#[test]
fn request_for_an_unknown_backend_is_reset_through_the_sender() {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[]);
    let sent = request(syn(FROM, THERE).seq(41, 0), 99);
    let reset = reset_by_peer(42);
    world.tunnel(INGRESS_VNI, PEER, &sent).refused_to_tunnel(DropReason::UnknownBackend, PEER, reset);
}

/// The RST that travels back to the peer.
fn reset_by_peer(acknowledged: u32) -> Packet {
    let reset = tcp(THERE, FROM, RST | ACK).no_payload().seq(0, acknowledged).made();
    reset.smac(mac(NODE.parse().unwrap())).dmac(reply_mac(ip(PEER)))
}

#[test]
fn request_for_a_backend_elsewhere_is_not_tunnelled_on() {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[]);
    let sent = request(syn(FROM, THERE).seq(41, 0), RIA);
    world.tunnel(INGRESS_VNI, PEER, &sent).refused_to_tunnel(DropReason::NotLocal, PEER, reset_by_peer(42));
}

#[test]
fn request_for_an_unknown_port() {
    let mut world = World::new();
    let sent = request(syn(FROM, THERE).seq(41, 0), BOB);
    let reset = reset_by_peer(42);
    world.tunnel(INGRESS_VNI, PEER, &sent).refused_to_tunnel(DropReason::UnknownPublished, PEER, reset);
}

#[test]
fn request_in_mid_stream_of_no_flow() {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[]);
    let sent = request(tcp(FROM, THERE, ACK).seq(5, 77), BOB);
    let reset = tcp(THERE, FROM, RST).no_payload().seq(77, 0).made();
    let reset = reset.smac(mac(NODE.parse().unwrap())).dmac(reply_mac(ip(PEER)));
    world.tunnel(INGRESS_VNI, PEER, &sent).refused_to_tunnel(DropReason::NoFlow, PEER, reset);
}

#[test]
fn request_of_another_protocol() {
    let mut world = World::new();
    world
        .tunnel(INGRESS_VNI, PEER, &request(ping("192.0.2.200", "192.0.2.12"), BOB))
        .dropped(DropReason::Protocol);
}

#[test]
fn neither_request_nor_reply() {
    let mut world = World::new();
    world.tunnel(INGRESS_VNI, PEER, &syn(FROM, THERE)).dropped(DropReason::TunnelMark);
}

#[test]
fn reply_leaves_to_the_client_unmodified() {
    let mut world = World::new();
    let sent = tcp(HERE, FROM, SYN | ACK).dmac(reply_mac(ip(NODE)));
    world.tunnel(INGRESS_VNI, PEER2, &sent).leaves_by(UPLINK, &sent);
    world.counted(Path::ReplyIn, 1);
}

#[test]
fn reply_in_the_name_of_another_node() {
    let mut world = World::new();
    let sent = tcp("192.0.2.13:8080", FROM, ACK).dmac(reply_mac(ip(NODE)));
    world.tunnel(INGRESS_VNI, PEER2, &sent).dropped(DropReason::TunnelReply);
}

#[test]
fn fin_from_both_sides_closes_what_is_remembered_here() {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[RIA]);
    let state = |world: &mut World| {
        world.get::<_, Affinity>(map::AFFINITY, &request_key(FROM, HERE, TCP)).unwrap().state
    };
    world.uplink(&syn(FROM, HERE)).way();
    world.uplink(&tcp(FROM, HERE, FIN | ACK)).way();
    assert_eq!(state(&mut world), State::Established as u8);
    let fin = tcp(HERE, FROM, FIN | ACK).dmac(reply_mac(ip(NODE)));
    world.tunnel(INGRESS_VNI, PEER, &fin).leaves_by(UPLINK, &fin);
    assert_eq!(state(&mut world), State::Closing as u8);
}
