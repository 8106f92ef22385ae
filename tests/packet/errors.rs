//! ICMP errors: about flows that were rewritten, and about packets that are too big.

use mesh_abi::counter::Path;
use mesh_abi::drop::DropReason;
use mesh_abi::program;
use mesh_abi::tunnel::{INGRESS_VNI, request_mac};

use crate::packet::{ACK, Packet, error, mac, tcp, udp};
use crate::run::Context;
use crate::world::{ANN_IF, BLUE, BOB, BOB_IF, CLIENT, GATEWAY, NODE, PEER, RIA, UPLINK, VIP, World};

const UDP: u8 = 17;
const ANN_PORT: &str = "10.0.1.10:40000";
const VIP_PORT: &str = "10.0.1.100:80";
const BOB_PORT: &str = "10.0.1.11:80";
const RIA_PORT: &str = "10.0.1.20:80";
const FROM: &str = "192.0.2.200:40000";
const PUBLISHED: &str = "192.0.2.11:5353";

#[test]
fn backend_here_says_port_unreachable() {
    let mut world = World::new();
    world.vip(&[BOB]);
    world.task(ANN_IF, &udp(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, udp(ANN_PORT, BOB_PORT));
    let told = error("10.0.1.11", "10.0.1.10", 3, 3, 0, &udp(ANN_PORT, BOB_PORT));
    // The client sees an error of the VIP, about the very packet that it sent.
    let expected = error(VIP, "10.0.1.10", 3, 3, 0, &udp(ANN_PORT, VIP_PORT));
    world.task(BOB_IF, &told).reaches_task(ANN_IF, expected);
}

#[test]
fn backend_elsewhere_says_port_unreachable() {
    let mut world = World::new();
    world.vip(&[RIA]);
    world.task(ANN_IF, &udp(ANN_PORT, VIP_PORT)).enters_tunnel(BLUE, PEER, udp(ANN_PORT, RIA_PORT));
    let told = error("10.0.1.20", "10.0.1.10", 3, 3, 0, &udp(ANN_PORT, RIA_PORT));
    let expected = error(VIP, "10.0.1.10", 3, 3, 0, &udp(ANN_PORT, VIP_PORT));
    world.tunnel(BLUE, PEER, &told).reaches_task(ANN_IF, expected);
}

#[test]
fn client_tells_the_backend_of_a_size() {
    let mut world = World::new();
    world.vip(&[BOB]);
    world.task(ANN_IF, &udp(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, udp(ANN_PORT, BOB_PORT));
    let told = error("10.0.1.10", VIP, 3, 4, 1400, &udp(VIP_PORT, ANN_PORT));
    let expected = error("10.0.1.10", "10.0.1.11", 3, 4, 1400, &udp(BOB_PORT, ANN_PORT));
    world.task(ANN_IF, &told).reaches_task(BOB_IF, expected);
}

#[test]
fn error_about_a_packet_without_checksum() {
    let mut world = World::new();
    world.vip(&[BOB]);
    world.task(ANN_IF, &udp(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, udp(ANN_PORT, BOB_PORT));
    let told = error("10.0.1.11", "10.0.1.10", 3, 3, 0, &udp(ANN_PORT, BOB_PORT).no_checksum());
    let expected = error(VIP, "10.0.1.10", 3, 3, 0, &udp(ANN_PORT, VIP_PORT).no_checksum());
    world.task(BOB_IF, &told).reaches_task(ANN_IF, expected);
}

#[test]
fn error_about_a_segment() {
    let mut world = World::new();
    world.vip(&[BOB]);
    let syn = crate::packet::syn;
    world.task(ANN_IF, &syn(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, syn(ANN_PORT, BOB_PORT));
    let told = error("10.0.1.11", "10.0.1.10", 3, 13, 0, &syn(ANN_PORT, BOB_PORT));
    let expected = error(VIP, "10.0.1.10", 3, 13, 0, &syn(ANN_PORT, VIP_PORT));
    world.task(BOB_IF, &told).reaches_task(ANN_IF, expected);
}

#[test]
fn error_of_a_task_of_no_flow_goes_by_address() {
    let mut world = World::new();
    let told = error("10.0.1.11", "10.0.1.10", 3, 3, 0, &udp(ANN_PORT, BOB_PORT));
    world.task(BOB_IF, &told).reaches_task(ANN_IF, &told);
}

#[test]
fn error_to_a_vip_of_no_flow() {
    let mut world = World::new();
    world.vip(&[BOB]);
    let told = error("10.0.1.10", VIP, 3, 3, 0, &udp(VIP_PORT, ANN_PORT));
    world.task(ANN_IF, &told).dropped(DropReason::NoFlow);
}

#[test]
fn client_outside_tells_a_backend_here() {
    let mut world = World::new();
    world.publish(5353, 53, UDP, &[BOB]);
    world.uplink(&udp(FROM, PUBLISHED)).reaches_task(BOB_IF, udp(FROM, "10.0.1.11:53"));
    let told = error(CLIENT, NODE, 3, 3, 0, &udp(PUBLISHED, FROM));
    let expected = error(CLIENT, "10.0.1.11", 3, 3, 0, &udp("10.0.1.11:53", FROM));
    world.uplink(&told).reaches_task(BOB_IF, expected);
}

#[test]
fn router_on_the_way_keeps_its_address() {
    let mut world = World::new();
    world.publish(5353, 53, UDP, &[BOB]);
    world.uplink(&udp(FROM, PUBLISHED)).reaches_task(BOB_IF, udp(FROM, "10.0.1.11:53"));
    let told = error("192.0.2.254", NODE, 3, 4, 1400, &udp(PUBLISHED, FROM));
    let expected = error("192.0.2.254", "10.0.1.11", 3, 4, 1400, &udp("10.0.1.11:53", FROM));
    world.uplink(&told).reaches_task(BOB_IF, expected);
}

#[test]
fn error_for_a_backend_elsewhere_is_passed_on_with_its_flow() {
    let mut world = World::new();
    world.publish(5353, 53, UDP, &[RIA]);
    world.uplink(&udp(FROM, PUBLISHED)).way();
    let told = error("192.0.2.254", NODE, 3, 4, 1400, &udp(PUBLISHED, FROM));
    let expected = told.clone().smac(mac(NODE.parse().unwrap())).dmac(request_mac(RIA));
    world.uplink(&told).enters_tunnel(INGRESS_VNI, PEER, expected);
}

#[test]
fn passed_on_error_reaches_the_backend() {
    let mut world = World::new();
    world.publish(5353, 53, UDP, &[]);
    let asked = udp(FROM, "192.0.2.12:5353").dmac(request_mac(BOB));
    world.tunnel(INGRESS_VNI, PEER, &asked).reaches_task(BOB_IF, udp(FROM, "10.0.1.11:53"));
    let told = error("192.0.2.254", PEER, 3, 4, 1400, &udp("192.0.2.12:5353", FROM)).dmac(request_mac(BOB));
    let expected = error("192.0.2.254", "10.0.1.11", 3, 4, 1400, &udp("10.0.1.11:53", FROM));
    world.tunnel(INGRESS_VNI, PEER, &told).reaches_task(BOB_IF, expected);
}

#[test]
fn backend_of_a_published_port_says_port_unreachable() {
    let mut world = World::new();
    world.publish(5353, 53, UDP, &[BOB]);
    world.uplink(&udp(FROM, PUBLISHED)).reaches_task(BOB_IF, udp(FROM, "10.0.1.11:53"));
    let told = error("10.0.1.11", CLIENT, 3, 3, 0, &udp(FROM, "10.0.1.11:53"));
    world.task(BOB_IF, &told).leaves_by(UPLINK, error(NODE, CLIENT, 3, 3, 0, &udp(FROM, PUBLISHED)));
}

fn large(packet: Packet, total: usize) -> Packet {
    packet.payload(&vec![7; total - 28])
}

#[test]
fn too_big_for_the_tunnel_tells_the_task_the_size() {
    let mut world = World::new();
    let sent = large(udp(ANN_PORT, RIA_PORT), 1451);
    let told = error(GATEWAY, "10.0.1.10", 3, 4, 1450, &sent).made().smac(sent.dmac);
    world.task(ANN_IF, &sent).refused(DropReason::TooBig, ANN_IF, told);
    let fits = large(udp(ANN_PORT, RIA_PORT), 1450);
    world.task(ANN_IF, &fits).enters_tunnel(BLUE, PEER, &fits);
}

#[test]
fn too_big_through_a_vip_quotes_what_the_task_sent() {
    let mut world = World::new();
    world.vip(&[RIA]);
    let sent = large(udp(ANN_PORT, VIP_PORT), 1451);
    let told = error(GATEWAY, "10.0.1.10", 3, 4, 1450, &sent).made().smac(sent.dmac);
    world.task(ANN_IF, &sent).refused(DropReason::TooBig, ANN_IF, told);
}

#[test]
fn large_packet_that_may_be_fragmented_goes() {
    let mut world = World::new();
    let sent = large(udp(ANN_PORT, RIA_PORT), 1460).may_fragment();
    world.task(ANN_IF, &sent).enters_tunnel(BLUE, PEER, &sent);
}

#[test]
fn too_big_for_the_tunnel_tells_the_client() {
    let mut world = World::new();
    world.publish(5353, 53, UDP, &[RIA]);
    let sent = large(udp(FROM, PUBLISHED), 1500);
    let told = error(NODE, CLIENT, 3, 4, 1450, &sent).made();
    world.uplink(&sent).refused_to_uplink(DropReason::TooBig, told);
}

#[test]
fn segments_of_a_large_packet_count_and_not_the_packet() {
    let mut world = World::new();
    let sent = tcp(ANN_PORT, RIA_PORT, ACK).payload(&[7; 3000]);
    let gso = |gso_size| Context { ifindex: ANN_IF, gso_size, ..Context::default() };
    // 20 bytes of IP, 20 of TCP and 1,410 of payload make 1,450.
    world.with(program::TASK_EGRESS, gso(1410), &sent.bytes()).enters_tunnel(BLUE, PEER, &sent);
    let told = error(GATEWAY, "10.0.1.10", 3, 4, 1450, &sent).made().smac(sent.dmac);
    world.with(program::TASK_EGRESS, gso(1411), &sent.bytes()).refused(DropReason::TooBig, ANN_IF, told);
    world.counted(Path::OverlayOut, 1);
}
