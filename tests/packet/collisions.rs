//! Flows that look the same to the backend.

use mesh_abi::conntrack::{FIN_FORWARD, FIN_REVERSE, Flow, FlowKey, Kind, Role, State};
use mesh_abi::counter::Path;
use mesh_abi::drop::DropReason;
use mesh_abi::tunnel::{INGRESS_VNI, reply_mac, request_mac};
use mesh_abi::{Be16, map};

use crate::packet::{ACK, FIN, RST, SYN, mac, syn, tcp, udp};
use crate::world::{ANN_IF, BLUE, BOB, BOB_IF, FLOWS_ROOM, NODE, PEER, PEER2, UPLINK, World, ip, key, tuple};

const TCP: u8 = 6;
const ANN_PORT: &str = "10.0.1.10:40000";
const VIP_PORT: &str = "10.0.1.100:80";
const BOB_PORT: &str = "10.0.1.11:80";
const CLIENT: &str = "192.0.2.200:40000";

/// The source port of a rewritten packet.
fn source_port(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[34], bytes[35]])
}

#[test]
fn direct_connection_beside_one_through_the_vip() {
    let mut world = World::new();
    world.vip(&[BOB]);
    world.task(ANN_IF, &syn(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, syn(ANN_PORT, BOB_PORT));
    let direct = world.task(ANN_IF, &syn(ANN_PORT, BOB_PORT)).bytes_to(BOB_IF);
    let port = source_port(&direct);
    assert!(port >= 61_000, "remapped to {port}");
    let remapped = format!("10.0.1.10:{port}");
    assert_eq!(direct, syn(&remapped, BOB_PORT).bytes());
    world.counted(Path::Remapped, 1);
    // Each answer finds its own opener.
    let answer = tcp(BOB_PORT, ANN_PORT, SYN | ACK);
    world.task(BOB_IF, &answer).reaches_task(ANN_IF, tcp(VIP_PORT, ANN_PORT, SYN | ACK));
    let answer = tcp(BOB_PORT, &remapped, SYN | ACK);
    world.task(BOB_IF, &answer).reaches_task(ANN_IF, tcp(BOB_PORT, ANN_PORT, SYN | ACK));
}

#[test]
fn vip_connection_beside_a_direct_one() {
    let mut world = World::new();
    world.vip(&[BOB]);
    world.task(ANN_IF, &syn(ANN_PORT, BOB_PORT)).reaches_task(BOB_IF, syn(ANN_PORT, BOB_PORT));
    let through = world.task(ANN_IF, &syn(ANN_PORT, VIP_PORT)).bytes_to(BOB_IF);
    let remapped = format!("10.0.1.10:{}", source_port(&through));
    assert_ne!(remapped, ANN_PORT);
    assert_eq!(through, syn(&remapped, BOB_PORT).bytes());
    let answer = tcp(BOB_PORT, &remapped, SYN | ACK);
    world.task(BOB_IF, &answer).reaches_task(ANN_IF, tcp(VIP_PORT, ANN_PORT, SYN | ACK));
    let answer = tcp(BOB_PORT, ANN_PORT, SYN | ACK);
    world.task(BOB_IF, &answer).reaches_task(ANN_IF, tcp(BOB_PORT, ANN_PORT, SYN | ACK));
}

#[test]
fn datagrams_straight_and_through_the_vip() {
    let mut world = World::new();
    world.vip(&[BOB]);
    world.task(ANN_IF, &udp(ANN_PORT, BOB_PORT)).reaches_task(BOB_IF, udp(ANN_PORT, BOB_PORT));
    let through = world.task(ANN_IF, &udp(ANN_PORT, VIP_PORT)).bytes_to(BOB_IF);
    assert_ne!(source_port(&through), 40_000);
    world.task(BOB_IF, &udp(BOB_PORT, ANN_PORT)).reaches_task(ANN_IF, udp(BOB_PORT, ANN_PORT));
}

#[test]
fn closed_vip_connection_does_not_hijack_a_direct_one() {
    let mut world = World::new();
    world.vip(&[BOB]);
    world.task(ANN_IF, &syn(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, syn(ANN_PORT, BOB_PORT));
    world.task(BOB_IF, &tcp(BOB_PORT, ANN_PORT, RST)).reaches_task(ANN_IF, tcp(VIP_PORT, ANN_PORT, RST));
    world.task(ANN_IF, &syn(ANN_PORT, BOB_PORT)).reaches_task(BOB_IF, syn(ANN_PORT, BOB_PORT));
    let answer = tcp(BOB_PORT, ANN_PORT, SYN | ACK);
    world.task(BOB_IF, &answer).reaches_task(ANN_IF, tcp(BOB_PORT, ANN_PORT, SYN | ACK));
    assert!(world.get::<FlowKey, Flow>(map::FLOWS_OPENING, &key(BLUE, ANN_PORT, VIP_PORT, TCP)).is_none());
}

#[test]
fn connection_in_time_wait_keeps_its_port_for_as_long() {
    let mut world = World::new();
    world.vip(&[BOB]);
    world.task(ANN_IF, &syn(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, syn(ANN_PORT, BOB_PORT));
    world.task(BOB_IF, &tcp(BOB_PORT, ANN_PORT, SYN | ACK)).bytes_to(ANN_IF);
    world.task(ANN_IF, &tcp(ANN_PORT, VIP_PORT, FIN | ACK)).bytes_to(BOB_IF);
    world.task(BOB_IF, &tcp(BOB_PORT, ANN_PORT, FIN | ACK)).bytes_to(ANN_IF);
    // Bob's socket would take a SYN from the same port for an old duplicate.
    let direct = world.task(ANN_IF, &syn(ANN_PORT, BOB_PORT)).bytes_to(BOB_IF);
    assert_ne!(source_port(&direct), 40_000);
    world.counted(Path::Remapped, 1);
    world.task(ANN_IF, &tcp(ANN_PORT, BOB_PORT, RST)).bytes_to(BOB_IF);
    world.age(121);
    world.task(ANN_IF, &syn(ANN_PORT, BOB_PORT)).reaches_task(BOB_IF, syn(ANN_PORT, BOB_PORT));
}

#[test]
fn idle_vip_flow_does_not_hijack_a_direct_one() {
    let mut world = World::new();
    world.vip(&[BOB]);
    world.task(ANN_IF, &udp(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, udp(ANN_PORT, BOB_PORT));
    world.age(31);
    world.task(ANN_IF, &udp(ANN_PORT, BOB_PORT)).reaches_task(BOB_IF, udp(ANN_PORT, BOB_PORT));
    world.task(BOB_IF, &udp(BOB_PORT, ANN_PORT)).reaches_task(ANN_IF, udp(BOB_PORT, ANN_PORT));
}

#[test]
fn one_client_port_to_two_nodes_with_one_backend() {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[BOB]);
    let first = syn(CLIENT, "192.0.2.12:8080").dmac(request_mac(BOB));
    world.tunnel(INGRESS_VNI, PEER, &first).reaches_task(BOB_IF, syn(CLIENT, BOB_PORT));
    let second = syn(CLIENT, "192.0.2.11:8080");
    let bytes = world.uplink(&second).bytes_to(BOB_IF);
    let remapped = format!("192.0.2.200:{}", source_port(&bytes));
    assert_eq!(bytes, syn(&remapped, BOB_PORT).bytes());
    // Both connections live: each answer goes back the way its request came, to the client's one port.
    world.task(BOB_IF, &tcp(BOB_PORT, &remapped, ACK)).leaves_by(UPLINK, tcp("192.0.2.11:8080", CLIENT, ACK));
    let answer =
        tcp("192.0.2.12:8080", CLIENT, ACK).smac(mac(NODE.parse().unwrap())).dmac(reply_mac(ip(PEER)));
    world.task(BOB_IF, &tcp(BOB_PORT, CLIENT, ACK)).enters_tunnel(INGRESS_VNI, PEER, answer);
    // And so does the next segment of each.
    let next = tcp(CLIENT, "192.0.2.12:8080", ACK).dmac(request_mac(BOB));
    world.tunnel(INGRESS_VNI, PEER, &next).reaches_task(BOB_IF, tcp(CLIENT, BOB_PORT, ACK));
    let next = tcp(CLIENT, "192.0.2.11:8080", ACK);
    world.uplink(&next).reaches_task(BOB_IF, tcp(&remapped, BOB_PORT, ACK));
}

#[test]
fn same_request_over_another_node_is_another_flow() {
    let mut world = World::new();
    world.publish(8080, 80, TCP, &[BOB]);
    for (node, address) in [(PEER, "192.0.2.12:8080"), (PEER2, "192.0.2.13:8080")] {
        let sent = syn(CLIENT, address).dmac(request_mac(BOB));
        world.tunnel(INGRESS_VNI, node, &sent).bytes_to(BOB_IF);
    }
    assert_eq!(world.flows(), (4, 0));
}

#[test]
fn connection_lives_without_room_among_the_established() {
    let mut world = World::new();
    world.vip(&[BOB]);
    world.task(ANN_IF, &syn(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, syn(ANN_PORT, BOB_PORT));
    let answer = tcp(BOB_PORT, ANN_PORT, SYN | ACK);
    world.task(BOB_IF, &answer).reaches_task(ANN_IF, tcp(VIP_PORT, ANN_PORT, SYN | ACK));
    let mut other = tuple("10.0.1.99:80", "10.0.1.98:0");
    // Room for one entry is not enough for two.
    for number in 1..FLOWS_ROOM {
        let [high, low] = [number >> 16, number & 0xffff].map(|part| u16::try_from(part).unwrap());
        (other.sport, other.dport) = (Be16::new(high), Be16::new(low));
        world.put(map::FLOWS, FlowKey::new(BLUE, other, TCP), Flow::default());
    }
    let next = tcp(ANN_PORT, VIP_PORT, ACK);
    for _ in 0..2 {
        world.task(ANN_IF, &next).reaches_task(BOB_IF, tcp(ANN_PORT, BOB_PORT, ACK));
        let answer = tcp(BOB_PORT, ANN_PORT, ACK);
        world.task(BOB_IF, &answer).reaches_task(ANN_IF, tcp(VIP_PORT, ANN_PORT, ACK));
    }
    assert_eq!(world.flows(), (2, FLOWS_ROOM as usize - 1));
}

#[test]
fn full_buffer_loses_records_and_counts_them() {
    let mut world = World::new();
    world.vip(&[BOB]);
    // A record takes 64 bytes with its header, the buffer has 256 KiB.
    let room = 262_144 / 64;
    for flow in 0..room + 10 {
        let from = format!("10.0.1.10:{}", 1_000 + flow);
        world.task(ANN_IF, &udp(&from, VIP_PORT)).reaches_task(BOB_IF, udp(&from, BOB_PORT));
    }
    let lost = room + 10 - u64::try_from(world.records().len()).unwrap();
    assert!((10..20).contains(&lost), "{lost} lost");
    world.counted(Path::RecordLost, lost);
}

/// Every source port of ANN's at BOB belongs to another flow in this state.
fn take_every_port(world: &mut World, state: State, fins: u8) {
    let mut taken = tuple(BOB_PORT, ANN_PORT);
    let other = Flow {
        rewrite: tuple("10.0.1.99:80", ANN_PORT),
        partner_vni: BLUE,
        state: state as u8,
        role: Role::Reverse as u8,
        kind: Kind::Vip as u8,
        fins,
        seen: u64::MAX,
        ..Flow::default()
    };
    for port in 1024..=u16::MAX {
        taken.dport = Be16::new(port);
        world.put(map::FLOWS, FlowKey::new(BLUE, taken, TCP), other);
    }
}

#[test]
fn no_source_port_is_left() {
    let mut world = World::new();
    world.vip(&[BOB]);
    take_every_port(&mut world, State::Established, 0);
    world.task(ANN_IF, &syn(ANN_PORT, VIP_PORT)).dropped(DropReason::NoSourcePort);
}

#[test]
fn connections_that_are_over_do_not_use_up_the_ports() {
    let mut world = World::new();
    world.vip(&[BOB]);
    take_every_port(&mut world, State::Closing, FIN_FORWARD | FIN_REVERSE);
    let bytes = world.task(ANN_IF, &syn(ANN_PORT, VIP_PORT)).bytes_to(BOB_IF);
    let answer = tcp(BOB_PORT, &format!("10.0.1.10:{}", source_port(&bytes)), SYN | ACK);
    world.task(BOB_IF, &answer).reaches_task(ANN_IF, tcp(VIP_PORT, ANN_PORT, SYN | ACK));
}
