//! When a SYN, or a first datagram, starts a flow anew, and when it does not.

use mesh_abi::conntrack::{Affinity, Flow};
use mesh_abi::counter::Path;
use mesh_abi::map;
use mesh_abi::tunnel::{INGRESS_VNI, request_mac};

use crate::packet::{ACK, FIN, RST, SYN, mac, syn, tcp, udp};
use crate::world::{ANN_IF, BLUE, BOB, BOB_IF, NODE, PEER, RIA, World, key, request_key};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ANN_PORT: &str = "10.0.1.10:40000";
const VIP_PORT: &str = "10.0.1.100:80";
const BOB_PORT: &str = "10.0.1.11:80";
const RIA_PORT: &str = "10.0.1.20:80";
const CLIENT: &str = "192.0.2.200:40000";
const PUBLISHED: &str = "192.0.2.11:8080";

/// A connection from ANN to BOB through the VIP, whose new flows go to RIA now.
fn connected() -> World {
    let mut world = World::new();
    world.vip(&[BOB]);
    world.task(ANN_IF, &syn(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, syn(ANN_PORT, BOB_PORT));
    let answer = tcp(BOB_PORT, ANN_PORT, SYN | ACK);
    world.task(BOB_IF, &answer).reaches_task(ANN_IF, tcp(VIP_PORT, ANN_PORT, SYN | ACK));
    let last = tcp(ANN_PORT, VIP_PORT, ACK);
    world.task(ANN_IF, &last).reaches_task(BOB_IF, tcp(ANN_PORT, BOB_PORT, ACK));
    world.vip(&[RIA]);
    world
}

fn goes_to_bob(world: &mut World) {
    world.task(ANN_IF, &syn(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, syn(ANN_PORT, BOB_PORT));
}

fn goes_to_ria(world: &mut World) {
    world.task(ANN_IF, &syn(ANN_PORT, VIP_PORT)).enters_tunnel(BLUE, PEER, syn(ANN_PORT, RIA_PORT));
}

#[test]
fn forged_syn_does_not_move_an_established_connection() {
    let mut world = connected();
    world.age(3600);
    goes_to_bob(&mut world);
    world.counted(Path::Reopened, 0);
}

#[test]
fn syn_after_a_reset_is_balanced_anew() {
    let mut world = connected();
    world.task(BOB_IF, &tcp(BOB_PORT, ANN_PORT, RST)).reaches_task(ANN_IF, tcp(VIP_PORT, ANN_PORT, RST));
    goes_to_ria(&mut world);
    world.counted(Path::Reopened, 1);
    // Nothing of the old flow is left.
    assert!(world.get::<_, Flow>(map::FLOWS, &key(BLUE, BOB_PORT, ANN_PORT, TCP)).is_none());
    assert_eq!(world.flows(), (2, 0));
}

#[test]
fn half_closed_connection_is_not_moved() {
    let mut world = connected();
    let fin = tcp(ANN_PORT, VIP_PORT, FIN | ACK);
    world.task(ANN_IF, &fin).reaches_task(BOB_IF, tcp(ANN_PORT, BOB_PORT, FIN | ACK));
    goes_to_bob(&mut world);
}

#[test]
fn repeated_syn_within_a_second_follows_the_first() {
    let mut world = World::new();
    world.vip(&[BOB]);
    goes_to_bob(&mut world);
    world.vip(&[RIA]);
    goes_to_bob(&mut world);
}

#[test]
fn syn_unanswered_for_a_second_is_balanced_anew() {
    let mut world = World::new();
    world.vip(&[BOB]);
    goes_to_bob(&mut world);
    world.vip(&[RIA]);
    world.age(1);
    goes_to_ria(&mut world);
}

#[test]
fn syn_to_a_removed_backend_is_balanced_anew() {
    let mut world = connected();
    world.remove_endpoint(BOB);
    goes_to_ria(&mut world);
}

#[test]
fn datagrams_are_balanced_anew_after_silence() {
    let mut world = World::new();
    world.vip(&[BOB]);
    let sent = udp(ANN_PORT, VIP_PORT);
    world.task(ANN_IF, &sent).reaches_task(BOB_IF, udp(ANN_PORT, BOB_PORT));
    world.vip(&[RIA]);
    world.age(29);
    world.task(ANN_IF, &sent).reaches_task(BOB_IF, udp(ANN_PORT, BOB_PORT));
    world.age(31);
    world.task(ANN_IF, &sent).enters_tunnel(BLUE, PEER, udp(ANN_PORT, RIA_PORT));
}

#[test]
fn answers_keep_a_flow_alive() {
    let mut world = World::new();
    world.vip(&[BOB]);
    let sent = udp(ANN_PORT, VIP_PORT);
    world.task(ANN_IF, &sent).reaches_task(BOB_IF, udp(ANN_PORT, BOB_PORT));
    world.age(40);
    world.task(BOB_IF, &udp(BOB_PORT, ANN_PORT)).reaches_task(ANN_IF, udp(VIP_PORT, ANN_PORT));
    world.vip(&[RIA]);
    world.task(ANN_IF, &sent).reaches_task(BOB_IF, udp(ANN_PORT, BOB_PORT));
}

#[test]
fn time_is_written_at_most_once_a_second() {
    let mut world = World::new();
    world.vip(&[BOB]);
    let seen = |world: &mut World| {
        world.get::<_, Flow>(map::FLOWS_OPENING, &key(BLUE, ANN_PORT, VIP_PORT, UDP)).unwrap().seen
    };
    let sent = udp(ANN_PORT, VIP_PORT);
    world.task(ANN_IF, &sent).reaches_task(BOB_IF, udp(ANN_PORT, BOB_PORT));
    let first = seen(&mut world);
    world.task(ANN_IF, &sent).reaches_task(BOB_IF, udp(ANN_PORT, BOB_PORT));
    assert_eq!(seen(&mut world), first);
    world.age(2);
    world.task(ANN_IF, &sent).reaches_task(BOB_IF, udp(ANN_PORT, BOB_PORT));
    assert!(seen(&mut world) >= first);
}

/// A client's connection to RIA by way of this node, whose new flows go to BOB now.
fn passed_on(established: bool) -> World {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[RIA]);
    world.uplink(&syn(CLIENT, PUBLISHED)).way();
    if established {
        world.uplink(&tcp(CLIENT, PUBLISHED, ACK)).way();
    }
    world.publish(8080, 80, TCP, &[BOB]);
    world
}

fn backend(world: &mut World) -> Option<u32> {
    world.get::<_, Affinity>(map::AFFINITY, &request_key(CLIENT, PUBLISHED, TCP)).map(|entry| entry.backend)
}

#[test]
fn published_syn_follows_an_established_connection() {
    let mut world = passed_on(true);
    world.age(3600);
    world.uplink(&syn(CLIENT, PUBLISHED)).way();
    assert_eq!(backend(&mut world), Some(RIA));
    world.counted(Path::IngressOut, 3);
}

#[test]
fn published_syn_after_a_reset_is_balanced_anew() {
    let mut world = passed_on(true);
    world.uplink(&tcp(CLIENT, PUBLISHED, RST)).way();
    world.uplink(&syn(CLIENT, PUBLISHED)).reaches_task(BOB_IF, syn(CLIENT, BOB_PORT));
}

#[test]
fn published_syn_unanswered_for_a_second_is_balanced_anew() {
    let mut world = passed_on(false);
    world.age(1);
    world.uplink(&syn(CLIENT, PUBLISHED)).reaches_task(BOB_IF, syn(CLIENT, BOB_PORT));
}

#[test]
fn published_flow_to_a_removed_backend_is_balanced_anew() {
    let mut world = passed_on(true);
    world.remove_endpoint(RIA);
    world.uplink(&syn(CLIENT, PUBLISHED)).reaches_task(BOB_IF, syn(CLIENT, BOB_PORT));
}

#[test]
fn datagrams_leave_a_backend_that_gets_no_new_flows_and_connections_stay() {
    let mut world = connected();
    world.vip(&[BOB]);
    world.task(ANN_IF, &udp(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, udp(ANN_PORT, BOB_PORT));
    world.task(BOB_IF, &udp(BOB_PORT, ANN_PORT)).reaches_task(ANN_IF, udp(VIP_PORT, ANN_PORT));
    world.task(ANN_IF, &udp(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, udp(ANN_PORT, BOB_PORT));
    world.vip(&[RIA]);
    world.retire(BOB);
    let sent = udp(ANN_PORT, VIP_PORT);
    world.task(ANN_IF, &sent).enters_tunnel(BLUE, PEER, udp(ANN_PORT, RIA_PORT));
    world.task(ANN_IF, &sent).enters_tunnel(BLUE, PEER, udp(ANN_PORT, RIA_PORT));
    world.counted(Path::Reopened, 1);
    let segment = tcp(ANN_PORT, VIP_PORT, ACK);
    world.task(ANN_IF, &segment).reaches_task(BOB_IF, tcp(ANN_PORT, BOB_PORT, ACK));
}

#[test]
fn datagrams_of_clients_leave_backends_on_any_node() {
    for (old, new) in [(BOB, RIA), (RIA, BOB)] {
        let mut world = World::new();
        world.publish(8080, 80, UDP, &[old]);
        let sent = udp(CLIENT, PUBLISHED);
        let to_bob = |world: &mut World, bob: bool| {
            let tunnelled = sent.clone().smac(mac(NODE.parse().unwrap())).dmac(request_mac(RIA));
            let outcome = world.uplink(&sent);
            if bob {
                outcome.reaches_task(BOB_IF, udp(CLIENT, BOB_PORT));
            } else {
                outcome.enters_tunnel(INGRESS_VNI, PEER, tunnelled);
            }
        };
        to_bob(&mut world, old == BOB);
        world.publish(8080, 80, UDP, &[new]);
        to_bob(&mut world, old == BOB);
        world.retire(old);
        to_bob(&mut world, new == BOB);
        to_bob(&mut world, new == BOB);
    }
}

#[test]
fn datagrams_straight_to_a_task_are_no_concern_of_balancing() {
    let mut world = World::new();
    world.retire(BOB);
    for _ in 0..3 {
        world.task(ANN_IF, &udp(ANN_PORT, BOB_PORT)).reaches_task(BOB_IF, udp(ANN_PORT, BOB_PORT));
    }
    world.counted(Path::Reopened, 0);
}
