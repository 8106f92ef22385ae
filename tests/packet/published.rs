//! Published ports at the node that receives the request, and replies of its own backends.

use mesh_abi::conntrack::{Affinity, Flow, Kind, State};
use mesh_abi::counter::Path;
use mesh_abi::drop::DropReason;
use mesh_abi::net::REPLY_DIRECT;
use mesh_abi::tunnel::{INGRESS_VNI, reply_mac, request_mac};
use mesh_abi::{map, program};

use crate::packet::{ACK, FIN, Packet, RST, SYN, arp, error, mac, ping, syn, tcp, udp};
use crate::world::{
    BLUE, BOB, BOB_IF, CLIENT, NODE, PEER, RIA, UPLINK, UPLINK_MAC, World, ip, request_key, tuple,
};

const TCP: u8 = 6;
const UDP: u8 = 17;
pub const FROM: &str = "192.0.2.200:40000";
pub const PUBLISHED: &str = "192.0.2.11:8080";
pub const BOB_PORT: &str = "10.0.1.11:80";

/// A request as the tunnel carries it.
fn request(packet: &Packet, backend: u32) -> Packet {
    packet.clone().smac(mac(NODE.parse().unwrap())).dmac(request_mac(backend))
}

/// A reply as the tunnel carries it.
fn reply(packet: &Packet, node: &str) -> Packet {
    packet.clone().smac(mac(NODE.parse().unwrap())).dmac(reply_mac(ip(node)))
}

/// A SYN that announces segments which fit the tunnel to the peer.
fn clamped(from: &str, to: &str) -> Packet {
    syn(from, to).tcp_options(&[2, 4, 0x05, 0x82])
}

#[test]
fn syn_goes_to_a_backend_here_with_the_clients_address() {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[BOB]);
    world.uplink(&syn(FROM, PUBLISHED)).reaches_task(BOB_IF, syn(FROM, BOB_PORT));
    world.counted(Path::IngressLocal, 1);
    let flow: Flow = world.get(map::FLOWS_OPENING, &request_key(FROM, PUBLISHED, TCP)).unwrap();
    assert_eq!((flow.node, flow.partner_vni, flow.kind), (ip(NODE), BLUE, Kind::Published as u8));
}

#[test]
fn its_reply_leaves_by_the_uplink() {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[BOB]);
    world.uplink(&syn(FROM, PUBLISHED)).reaches_task(BOB_IF, syn(FROM, BOB_PORT));
    // Nothing goes through a tunnel, so the segment size stays.
    let answer = tcp(BOB_PORT, FROM, SYN | ACK).tcp_options(&[2, 4, 0x05, 0xb4]);
    let sent = tcp(PUBLISHED, FROM, SYN | ACK).tcp_options(&[2, 4, 0x05, 0xb4]);
    world.task(BOB_IF, &answer).leaves_by(UPLINK, sent);
    world.counted(Path::ReplyLocal, 1);
}

#[test]
fn datagram_goes_to_a_backend_here_and_back() {
    let mut world = World::new();
    world.publish(5353, 53, UDP, &[BOB]);
    let asked = udp(FROM, "192.0.2.11:5353");
    world.uplink(&asked).reaches_task(BOB_IF, udp(FROM, "10.0.1.11:53"));
    world.task(BOB_IF, &udp("10.0.1.11:53", FROM)).leaves_by(UPLINK, udp("192.0.2.11:5353", FROM));
}

#[test]
fn request_for_a_backend_elsewhere_is_tunnelled_unmodified() {
    let mut world = World::new();
    world.publish(5353, 53, UDP, &[RIA]);
    let asked = udp(FROM, "192.0.2.11:5353");
    world.uplink(&asked).enters_tunnel(INGRESS_VNI, PEER, request(&asked, RIA));
    world.counted(Path::IngressOut, 1);
    assert_eq!(world.flows(), (0, 0));
}

#[test]
fn tunnelled_syn_offers_segments_that_fit() {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[RIA]);
    let expected = request(&clamped(FROM, PUBLISHED), RIA);
    world.uplink(&syn(FROM, PUBLISHED)).enters_tunnel(INGRESS_VNI, PEER, expected);
    world.counted(Path::MssClamped, 1);
}

#[test]
fn segment_size_is_found_behind_other_options_and_at_odd_places() {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[RIA]);
    for (port, before) in
        [(1, &[1, 1][..]), (2, &[1, 3, 3, 7]), (3, &[1]), (4, &[4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8])]
    {
        let from = format!("192.0.2.200:{port}");
        let options = |size: [u8; 2]| {
            let mut bytes = [before, &[2, 4], &size].concat();
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let sent = syn(&from, PUBLISHED).tcp_options(&options([0x05, 0xb4]));
        let expected = syn(&from, PUBLISHED).tcp_options(&options([0x05, 0x82]));
        world.uplink(&sent).enters_tunnel(INGRESS_VNI, PEER, request(&expected, RIA));
    }
}

#[test]
fn segment_size_that_fits_and_odd_options_stay() {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[RIA]);
    for (port, options) in [(1, [2, 4, 0x02, 0x18]), (2, [3, 0, 2, 4]), (3, [0, 2, 4, 9]), (4, [2, 3, 9, 9])]
    {
        let sent = syn(&format!("192.0.2.200:{port}"), PUBLISHED).tcp_options(&options);
        world.uplink(&sent).enters_tunnel(INGRESS_VNI, PEER, request(&sent, RIA));
    }
    world.counted(Path::MssClamped, 0);
}

#[test]
fn flow_to_another_node_is_remembered() {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[RIA]);
    world.uplink(&syn(FROM, PUBLISHED)).enters_tunnel(
        INGRESS_VNI,
        PEER,
        request(&clamped(FROM, PUBLISHED), RIA),
    );
    // New flows go to BOB from now on; this one does not.
    world.publish(8080, 80, TCP, &[BOB]);
    let next = tcp(FROM, PUBLISHED, ACK);
    world.uplink(&next).enters_tunnel(INGRESS_VNI, PEER, request(&next, RIA));
    let entry: Affinity = world.get(map::AFFINITY, &request_key(FROM, PUBLISHED, TCP)).unwrap();
    assert_eq!((entry.backend, entry.state), (RIA, State::Established as u8));
}

#[test]
fn requests_take_turns() {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[BOB, RIA]);
    let mut ways = vec![];
    for port in 1..5 {
        ways.push(world.uplink(&syn(&format!("192.0.2.200:{port}"), PUBLISHED)).way());
    }
    assert_eq!((ways[0], ways[1]), (ways[2], ways[3]));
    assert_ne!(ways[0], ways[1]);
}

#[test]
fn segment_in_mid_stream_is_left_to_the_backends_node() {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[RIA]);
    let sent = tcp(FROM, PUBLISHED, ACK);
    world.uplink(&sent).enters_tunnel(INGRESS_VNI, PEER, request(&sent, RIA));
    assert!(world.get::<_, Affinity>(map::AFFINITY, &request_key(FROM, PUBLISHED, TCP)).is_none());
}

#[test]
fn segment_in_mid_stream_for_a_backend_here_is_reset() {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[BOB]);
    let sent = tcp(FROM, PUBLISHED, ACK).seq(5, 77);
    let reset = tcp(PUBLISHED, FROM, RST).no_payload().seq(77, 0).made();
    world.uplink(&sent).refused_to_uplink(DropReason::NoFlow, reset);
}

#[test]
fn port_without_backends_refuses() {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[]);
    world.publish(5353, 53, UDP, &[]);
    let sent = syn(FROM, PUBLISHED).seq(41, 0);
    let reset = tcp(PUBLISHED, FROM, RST | ACK).no_payload().seq(0, 42).made();
    world.uplink(&sent).refused_to_uplink(DropReason::NoBackend, reset);
    let sent = udp(FROM, "192.0.2.11:5353");
    let unreachable = error(NODE, CLIENT, 3, 3, 0, &sent).made();
    world.uplink(&sent).refused_to_uplink(DropReason::NoBackend, unreachable);
}

#[test]
fn everything_else_is_the_hosts() {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[BOB]);
    world.uplink(&syn(FROM, "192.0.2.11:22")).passed();
    world.uplink(&udp(FROM, PUBLISHED)).passed();
    world.uplink(&syn(FROM, "192.0.2.12:8080")).passed();
    world.uplink(&ping(CLIENT, NODE)).passed();
    world.uplink(&error(CLIENT, NODE, 3, 3, 0, &udp("192.0.2.11:9", FROM))).passed();
    let question = arp([2; 6], CLIENT, NODE);
    world.frame(program::UPLINK_INGRESS, UPLINK, &question).passed();
    let mut malformed = syn(FROM, PUBLISHED).bytes();
    malformed[14] = 0x44;
    world.frame(program::UPLINK_INGRESS, UPLINK, &malformed).passed();
    world.counted(Path::Pass, 7);
}

#[test]
fn ip_options_to_a_published_port() {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[BOB]);
    world.uplink(&syn(FROM, PUBLISHED).ip_options()).dropped(DropReason::IpOptions);
    world.uplink(&syn(FROM, "192.0.2.11:22").ip_options()).passed();
}

/// BOB has a flow from the client that the peer received.
fn receive_from_peer(world: &mut World) {
    world.publish(8080, 80, TCP, &[RIA]);
    let asked = syn(FROM, "192.0.2.12:8080").dmac(request_mac(BOB));
    world.tunnel(INGRESS_VNI, PEER, &asked).reaches_task(BOB_IF, syn(FROM, BOB_PORT));
}

#[test]
fn reply_goes_through_the_node_that_received_the_request() {
    let mut world = World::new();
    receive_from_peer(&mut world);
    let answer = tcp(BOB_PORT, FROM, ACK);
    let sent = reply(&tcp("192.0.2.12:8080", FROM, ACK), PEER);
    world.task(BOB_IF, &answer).enters_tunnel(INGRESS_VNI, PEER, sent);
    world.counted(Path::ReplyOut, 1);
}

#[test]
fn tunnelled_syn_ack_offers_segments_that_fit() {
    let mut world = World::new();
    receive_from_peer(&mut world);
    let answer = tcp(BOB_PORT, FROM, SYN | ACK).tcp_options(&[2, 4, 0x05, 0xb4]);
    let sent = tcp("192.0.2.12:8080", FROM, SYN | ACK).tcp_options(&[2, 4, 0x05, 0x82]);
    world.task(BOB_IF, &answer).enters_tunnel(INGRESS_VNI, PEER, reply(&sent, PEER));
}

#[test]
fn direct_reply_leaves_by_the_uplink_in_the_others_name() {
    let mut world = World::new();
    world.configure(REPLY_DIRECT);
    receive_from_peer(&mut world);
    world.task(BOB_IF, &tcp(BOB_PORT, FROM, ACK)).leaves_by(UPLINK, tcp("192.0.2.12:8080", FROM, ACK));
    world.counted(Path::ReplyDirect, 1);
}

#[test]
fn direct_reply_to_this_node_itself_is_injected() {
    let mut world = World::new();
    world.configure(REPLY_DIRECT);
    world.publish(8080, 80, TCP, &[RIA]);
    let asked = syn("192.0.2.11:40000", "192.0.2.12:8080").dmac(request_mac(BOB));
    world.tunnel(INGRESS_VNI, PEER, &asked).reaches_task(BOB_IF, syn("192.0.2.11:40000", BOB_PORT));
    let answer = tcp(BOB_PORT, "192.0.2.11:40000", ACK);
    let sent = tcp("192.0.2.12:8080", "192.0.2.11:40000", ACK).dmac(UPLINK_MAC);
    world.task(BOB_IF, &answer).injected(UPLINK, sent);
    world.counted(Path::ReplyInject, 1);
}

#[test]
fn removed_backend_here_resets_its_flows() {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[BOB]);
    world.uplink(&syn(FROM, PUBLISHED)).reaches_task(BOB_IF, syn(FROM, BOB_PORT));
    world.remove_endpoint(BOB);
    let sent = tcp(FROM, PUBLISHED, ACK | FIN).seq(5, 77);
    let reset = tcp(PUBLISHED, FROM, RST).no_payload().seq(77, 0).made();
    world.uplink(&sent).refused_to_uplink(DropReason::BackendGone, reset);
}

#[test]
fn records_tell_the_client() {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[BOB]);
    world.uplink(&syn(FROM, PUBLISHED)).reaches_task(BOB_IF, syn(FROM, BOB_PORT));
    let record = world.records()[0];
    assert_eq!((record.vni, record.node, record.service), (INGRESS_VNI, ip(NODE), 7));
    assert_eq!((record.original, record.translated), (tuple(FROM, PUBLISHED), tuple(FROM, BOB_PORT)));
}
