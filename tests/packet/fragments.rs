//! Fragments follow the first one of their packet.

use mesh_abi::conntrack::{FragmentKey, Ports};
use mesh_abi::drop::DropReason;
use mesh_abi::tunnel::{INGRESS_VNI, request_mac};
use mesh_abi::{map, program};

use crate::packet::{Packet, mac, ping, udp};
use crate::world::{ANN_IF, BLUE, BOB, BOB_IF, NODE, PEER, RIA, UPLINK, World};

const UDP: u8 = 17;
const ANN_PORT: &str = "10.0.1.10:40000";
const VIP_PORT: &str = "10.0.1.100:80";
const BOB_PORT: &str = "10.0.1.11:80";
const FROM: &str = "192.0.2.200:40000";

fn large(from: &str, to: &str) -> Packet {
    udp(from, to).payload(&(0..=255).cycle().take(2000).collect::<Vec<u8>>())
}

#[test]
fn both_go_to_the_backend_of_the_vip() {
    let mut world = World::new();
    world.vip(&[BOB]);
    let sent = large(ANN_PORT, VIP_PORT).fragments(1408);
    let expected = large(ANN_PORT, BOB_PORT).fragments(1408);
    for (frame, expected) in sent.iter().zip(&expected) {
        world.frame(program::TASK_EGRESS, ANN_IF, frame).reaches_task(BOB_IF, &expected[..]);
    }
    let known: Vec<(FragmentKey, Ports)> = world.all(map::FRAGMENTS);
    assert_eq!(known.len(), 1);
    assert_eq!((known[0].0.vni, known[0].0.protocol), (BLUE, UDP));
}

#[test]
fn later_fragment_alone_is_dropped() {
    let mut world = World::new();
    world.vip(&[BOB]);
    let [_, later] = large(ANN_PORT, VIP_PORT).fragments(1408);
    world.frame(program::TASK_EGRESS, ANN_IF, &later).dropped(DropReason::FragmentUnknown);
    world.tunnel_frame(BLUE, PEER, &later).dropped(DropReason::FragmentUnknown);
}

#[test]
fn answer_in_fragments_gets_the_vip() {
    let mut world = World::new();
    world.vip(&[BOB]);
    world.task(ANN_IF, &udp(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, udp(ANN_PORT, BOB_PORT));
    let sent = large(BOB_PORT, ANN_PORT).fragments(1408);
    let expected = large(VIP_PORT, ANN_PORT).fragments(1408);
    for (frame, expected) in sent.iter().zip(&expected) {
        world.frame(program::TASK_EGRESS, BOB_IF, frame).reaches_task(ANN_IF, &expected[..]);
    }
}

#[test]
fn request_in_fragments_goes_to_one_backend() {
    let mut world = World::new();
    world.publish(5353, 53, UDP, &[RIA]);
    let tunnelled = |packet: Packet| packet.smac(mac(NODE.parse().unwrap())).dmac(request_mac(RIA));
    let sent = large(FROM, "192.0.2.11:5353").fragments(1400);
    let expected = tunnelled(large(FROM, "192.0.2.11:5353")).fragments(1400);
    for (frame, expected) in sent.iter().zip(&expected) {
        world.frame(program::UPLINK_INGRESS, UPLINK, frame).enters_tunnel(INGRESS_VNI, PEER, &expected[..]);
    }
}

#[test]
fn fragment_on_the_uplink_that_nobody_knows_is_the_hosts() {
    let mut world = World::new();
    world.publish(5353, 53, UDP, &[BOB]);
    let [_, later] = large(FROM, "192.0.2.11:5353").fragments(1400);
    world.frame(program::UPLINK_INGRESS, UPLINK, &later).passed();
    let [_, later] = large(FROM, "192.0.2.12:5353").dmac(request_mac(BOB)).fragments(1400);
    world.tunnel_frame(INGRESS_VNI, PEER, &later).dropped(DropReason::FragmentUnknown);
}

#[test]
fn ping_in_fragments_goes_by_address() {
    let mut world = World::new();
    let sent = ping("10.0.1.10", "10.0.1.11").payload(&[1; 2000]).fragments(1408);
    for frame in &sent {
        world.frame(program::TASK_EGRESS, ANN_IF, frame).reaches_task(BOB_IF, &frame[..]);
    }
}
