//! Between endpoints of one network, and what the network answers itself.

use mesh_abi::conntrack::Kind;
use mesh_abi::counter::Path;
use mesh_abi::drop::DropReason;
use mesh_abi::program;
use mesh_abi::record::Event;

use crate::packet::{ACK, RST, arp, arp_reply, error, mac, ping, pong, raw, syn, tcp, udp};
use crate::world::{ANN_IF, BLUE, BOB, BOB_IF, CID_IF, GATEWAY, PEER, UPLINK_MAC, VIP, World, tuple};

const ANN_MAC: [u8; 6] = [2, 0x42, 10, 0, 1, 10];

#[test]
fn segment_to_a_task_here() {
    let mut world = World::new();
    let sent = tcp("10.0.1.10:40000", "10.0.1.11:80", ACK).dmac(mac(GATEWAY.parse().unwrap()));
    world.task(ANN_IF, &sent).reaches_task(BOB_IF, tcp("10.0.1.10:40000", "10.0.1.11:80", ACK));
    world.counted(Path::Local, 1);
}

#[test]
fn datagram_to_a_task_elsewhere() {
    let mut world = World::new();
    let sent = udp("10.0.1.10:40000", "10.0.1.20:53");
    world.task(ANN_IF, &sent).enters_tunnel(BLUE, PEER, &sent);
    world.counted(Path::OverlayOut, 1);
}

#[test]
fn datagram_without_checksum_stays_so() {
    let mut world = World::new();
    let sent = udp("10.0.1.10:40000", "10.0.1.11:53").no_checksum();
    world.task(ANN_IF, &sent).reaches_task(BOB_IF, &sent);
}

#[test]
fn ping_to_a_task_elsewhere() {
    let mut world = World::new();
    let sent = ping("10.0.1.10", "10.0.1.20");
    world.task(ANN_IF, &sent).enters_tunnel(BLUE, PEER, &sent);
    assert_eq!(world.flows(), (0, 0));
}

#[test]
fn other_protocols_go_by_address() {
    let mut world = World::new();
    let sent = raw("10.0.1.10", "10.0.1.11", 47);
    world.task(ANN_IF, &sent).reaches_task(BOB_IF, &sent);
}

#[test]
fn gateway_answers_ping() {
    let mut world = World::new();
    let answer = pong(GATEWAY, "10.0.1.10");
    world.task(ANN_IF, &ping("10.0.1.10", GATEWAY)).reaches_task(ANN_IF, answer);
    world.counted(Path::Echo, 1);
}

#[test]
fn vip_answers_ping() {
    let mut world = World::new();
    world.vip(&[]);
    let answer = pong(VIP, "10.0.1.10");
    world.task(ANN_IF, &ping("10.0.1.10", VIP)).reaches_task(ANN_IF, answer);
}

#[test]
fn gateway_refuses_connections() {
    let mut world = World::new();
    let sent = syn("10.0.1.10:40000", "10.0.1.1:22").seq(7, 0);
    let answer = tcp("10.0.1.1:22", "10.0.1.10:40000", RST | ACK).no_payload().seq(0, 8).made();
    world.task(ANN_IF, &sent).refused(DropReason::NoEndpoint, ANN_IF, answer);
    world.counted(Path::Refused, 1);
}

#[test]
fn address_of_nobody_is_unreachable() {
    let mut world = World::new();
    for sent in [syn("10.0.1.10:40000", "10.0.1.77:80"), udp("10.0.1.10:40000", "10.0.1.77:80")] {
        let answer = error(GATEWAY, "10.0.1.10", 3, 1, 0, &sent).made().smac(sent.dmac);
        world.task(ANN_IF, &sent).refused(DropReason::NoEndpoint, ANN_IF, answer);
    }
}

#[test]
fn ping_of_nobody_is_unreachable() {
    let mut world = World::new();
    let sent = ping("10.0.1.10", "10.0.1.77");
    let answer = error(GATEWAY, "10.0.1.10", 3, 1, 0, &sent).made().smac(sent.dmac);
    world.task(ANN_IF, &sent).refused(DropReason::NoEndpoint, ANN_IF, answer);
}

#[test]
fn there_is_no_way_out() {
    let mut world = World::new();
    let sent = syn("10.0.1.10:40000", "1.1.1.1:443").dmac(mac(GATEWAY.parse().unwrap()));
    let answer = error(GATEWAY, "10.0.1.10", 3, 0, 0, &sent).made();
    world.task(ANN_IF, &sent).refused(DropReason::NoRoute, ANN_IF, answer);
}

#[test]
fn equal_addresses_of_another_network_are_not_met() {
    let mut world = World::new();
    // CID has BOB's address in the other network; ANN's address is nobody's there.
    let sent = udp("10.0.1.11:40000", "10.0.1.10:53");
    let answer = error(GATEWAY, "10.0.1.11", 3, 1, 0, &sent).made().smac(sent.dmac);
    world.task(CID_IF, &sent).refused(DropReason::NoEndpoint, CID_IF, answer);
}

#[test]
fn multicast_and_broadcast_are_dropped() {
    let mut world = World::new();
    for group in ["224.0.0.251:5353", "255.255.255.255:67", "10.0.1.255:137"] {
        world.task(ANN_IF, &udp("10.0.1.10:40000", group)).dropped(DropReason::NotUnicast);
    }
}

#[test]
fn arp_is_answered_for_gateway_peers_and_name_server() {
    let mut world = World::new();
    for target in [GATEWAY, "10.0.1.20", "10.0.1.77", "169.254.53.53"] {
        let asked = arp(ANN_MAC, "10.0.1.10", target);
        let answer = arp_reply(ANN_MAC, "10.0.1.10", target);
        world.frame(program::TASK_EGRESS, ANN_IF, &asked).reaches_task(ANN_IF, answer);
    }
    world.counted(Path::Arp, 4);
}

#[test]
fn arp_probe_is_answered() {
    let mut world = World::new();
    let asked = arp(ANN_MAC, "0.0.0.0", "10.0.1.20");
    let answer = arp_reply(ANN_MAC, "0.0.0.0", "10.0.1.20");
    world.frame(program::TASK_EGRESS, ANN_IF, &asked).reaches_task(ANN_IF, answer);
}

#[test]
fn arp_for_itself_and_strangers_is_not_answered() {
    let mut world = World::new();
    for target in ["10.0.1.10", "10.0.2.1"] {
        let asked = arp(ANN_MAC, "10.0.1.10", target);
        world.frame(program::TASK_EGRESS, ANN_IF, &asked).dropped(DropReason::ArpUnanswered);
    }
}

#[test]
fn arp_in_anothers_name_is_dropped() {
    let mut world = World::new();
    let asked = arp(ANN_MAC, "10.0.1.11", "10.0.1.1");
    world.frame(program::TASK_EGRESS, ANN_IF, &asked).dropped(DropReason::SpoofedArp);
    let mut forged = arp(ANN_MAC, "10.0.1.10", "10.0.1.1");
    forged[22..28].copy_from_slice(&UPLINK_MAC);
    world.frame(program::TASK_EGRESS, ANN_IF, &forged).dropped(DropReason::SpoofedArp);
}

#[test]
fn vip_takes_no_other_protocol() {
    let mut world = World::new();
    world.vip(&[2]);
    let sent = raw("10.0.1.10", VIP, 132);
    let answer = error(GATEWAY, "10.0.1.10", 3, 2, 0, &sent).made().smac(sent.dmac);
    world.task(ANN_IF, &sent).refused(DropReason::Protocol, ANN_IF, answer);
}

#[test]
fn packet_too_short_to_be_quoted_is_not_answered() {
    let mut world = World::new();
    let mut frame = raw("10.0.1.10", "10.0.1.77", 47).bytes();
    frame.truncate(34);
    frame[16..18].copy_from_slice(&[0, 20]);
    world.frame(program::TASK_EGRESS, ANN_IF, &frame).dropped(DropReason::Helper);
}

#[test]
fn direct_flows_are_told() {
    let mut world = World::new();
    let sent = syn("10.0.1.10:40000", "10.0.1.11:80");
    world.task(ANN_IF, &sent).reaches_task(BOB_IF, &sent);
    let records = world.records();
    assert_eq!(records.len(), 1);
    let told = (records[0].vni, records[0].backend, records[0].service);
    assert_eq!(told, (BLUE, BOB, 0));
    assert_eq!((records[0].kind, records[0].event), (Kind::Direct as u8, Event::New as u8));
    assert_eq!(records[0].original, tuple("10.0.1.10:40000", "10.0.1.11:80"));
}
