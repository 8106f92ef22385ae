//! Packets that come with the sum over all of them, as devices compute it: it must stay right whatever is
//! rewritten. The kernel fails the run otherwise.

use mesh_abi::program;
use mesh_abi::tunnel::INGRESS_VNI;

use crate::packet::{ACK, SYN, arp, arp_reply, error, mac, ping, pong, syn, tcp, udp};
use crate::world::{ANN_IF, BOB, BOB_IF, DNS_IF, GATEWAY, RIA, UPLINK, VIP, World};

const ANN_PORT: &str = "10.0.1.10:40000";
const VIP_PORT: &str = "10.0.1.100:80";
const BOB_PORT: &str = "10.0.1.11:80";
const FROM: &str = "192.0.2.200:40000";

fn world() -> World {
    let mut world = World::new();
    world.summed = true;
    world
}

#[test]
fn of_a_connection_through_a_vip() {
    let mut world = world();
    world.vip(&[BOB]);
    world.task(ANN_IF, &syn(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, syn(ANN_PORT, BOB_PORT));
    let answer = tcp(BOB_PORT, ANN_PORT, SYN | ACK);
    world.task(BOB_IF, &answer).reaches_task(ANN_IF, tcp(VIP_PORT, ANN_PORT, SYN | ACK));
}

#[test]
fn of_datagrams_through_a_published_port() {
    let mut world = world();
    world.publish(5353, 53, 17, &[BOB]);
    world.uplink(&udp(FROM, "192.0.2.11:5353")).reaches_task(BOB_IF, udp(FROM, "10.0.1.11:53"));
    world.task(BOB_IF, &udp("10.0.1.11:53", FROM)).leaves_by(UPLINK, udp("192.0.2.11:5353", FROM));
}

#[test]
fn of_a_clamped_syn() {
    let mut world = world();
    world.publish(8080, 80, 6, &[RIA]);
    assert_eq!(world.uplink(&syn(FROM, "192.0.2.11:8080")).way()[2], INGRESS_VNI);
    let odd = syn("192.0.2.200:2", "192.0.2.11:8080").tcp_options(&[1, 2, 4, 0x05, 0xb4, 0, 0, 0]);
    assert_eq!(world.uplink(&odd).way()[2], INGRESS_VNI);
}

#[test]
fn of_an_icmp_error() {
    let mut world = world();
    world.vip(&[BOB]);
    world.task(ANN_IF, &udp(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, udp(ANN_PORT, BOB_PORT));
    let told = error("10.0.1.11", "10.0.1.10", 3, 3, 0, &udp(ANN_PORT, BOB_PORT));
    world
        .task(BOB_IF, &told)
        .reaches_task(ANN_IF, error(VIP, "10.0.1.10", 3, 3, 0, &udp(ANN_PORT, VIP_PORT)));
}

#[test]
fn of_an_answered_ping_and_arp() {
    let mut world = world();
    world.task(ANN_IF, &ping("10.0.1.10", GATEWAY)).reaches_task(ANN_IF, pong(GATEWAY, "10.0.1.10"));
    let own = mac("10.0.1.10".parse().unwrap());
    let answer = arp_reply(own, "10.0.1.10", GATEWAY);
    world.frame(program::TASK_EGRESS, ANN_IF, &arp(own, "10.0.1.10", GATEWAY)).reaches_task(ANN_IF, answer);
}

#[test]
fn of_a_question_and_its_answer() {
    let mut world = world();
    let (server, client) = ("169.254.53.53:53", "198.18.0.1:40000");
    world.task(ANN_IF, &udp(ANN_PORT, server)).reaches_task(DNS_IF, udp(client, server));
    let answer = udp(server, client).bytes();
    world.frame(program::DNS_REPLY, DNS_IF, &answer).reaches_task(ANN_IF, udp(server, ANN_PORT));
}
