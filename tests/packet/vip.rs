//! Virtual addresses: forward, and back.

use mesh_abi::conntrack::{Flow, FlowKey, Kind, Role, State};
use mesh_abi::counter::Path;
use mesh_abi::drop::DropReason;
use mesh_abi::map;
use mesh_abi::record::Event;

use crate::packet::{ACK, FIN, RST, SYN, error, syn, tcp, udp};
use crate::world::{ANN, ANN_IF, BLUE, BOB, BOB_IF, GATEWAY, PEER, RIA, World, key, tuple};

const ANN_PORT: &str = "10.0.1.10:40000";
const VIP_PORT: &str = "10.0.1.100:80";
const BOB_PORT: &str = "10.0.1.11:80";
const RIA_PORT: &str = "10.0.1.20:80";
const TCP: u8 = 6;
const UDP: u8 = 17;

#[test]
fn syn_goes_to_a_backend_here() {
    let mut world = World::new();
    world.vip(&[BOB]);
    world.task(ANN_IF, &syn(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, syn(ANN_PORT, BOB_PORT));
    world.counted(Path::VipForward, 1);
    assert_eq!(world.flows(), (2, 0));
}

#[test]
fn syn_goes_to_a_backend_elsewhere() {
    let mut world = World::new();
    world.vip(&[RIA]);
    world.task(ANN_IF, &syn(ANN_PORT, VIP_PORT)).enters_tunnel(BLUE, PEER, syn(ANN_PORT, RIA_PORT));
}

#[test]
fn both_entries_say_what_was_done() {
    let mut world = World::new();
    world.vip(&[BOB]);
    world.task(ANN_IF, &syn(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, syn(ANN_PORT, BOB_PORT));
    let forward: Flow = world.get(map::FLOWS_OPENING, &key(BLUE, ANN_PORT, VIP_PORT, TCP)).unwrap();
    assert_eq!(forward.rewrite, tuple(ANN_PORT, BOB_PORT));
    assert_eq!((forward.backend, forward.service, forward.partner_vni), (BOB, 7, BLUE));
    assert_eq!((forward.role, forward.kind), (Role::Forward as u8, Kind::Vip as u8));
    let reverse: Flow = world.get(map::FLOWS_OPENING, &key(BLUE, BOB_PORT, ANN_PORT, TCP)).unwrap();
    assert_eq!(reverse.rewrite, tuple(VIP_PORT, ANN_PORT));
    assert_eq!((reverse.role, reverse.state), (Role::Reverse as u8, State::Opening as u8));
}

#[test]
fn answer_of_a_backend_here_gets_the_vip() {
    let mut world = World::new();
    world.vip(&[BOB]);
    world.task(ANN_IF, &syn(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, syn(ANN_PORT, BOB_PORT));
    let answer = tcp(BOB_PORT, ANN_PORT, SYN | ACK);
    world.task(BOB_IF, &answer).reaches_task(ANN_IF, tcp(VIP_PORT, ANN_PORT, SYN | ACK));
    world.counted(Path::VipReverse, 1);
}

#[test]
fn answer_of_a_backend_elsewhere_gets_the_vip() {
    let mut world = World::new();
    world.vip(&[RIA]);
    world.task(ANN_IF, &syn(ANN_PORT, VIP_PORT)).enters_tunnel(BLUE, PEER, syn(ANN_PORT, RIA_PORT));
    let answer = tcp(RIA_PORT, ANN_PORT, SYN | ACK);
    world.tunnel(BLUE, PEER, &answer).reaches_task(ANN_IF, tcp(VIP_PORT, ANN_PORT, SYN | ACK));
}

/// Opens a connection from ANN to the VIP with BOB behind it.
fn connect(world: &mut World) {
    world.task(ANN_IF, &syn(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, syn(ANN_PORT, BOB_PORT));
    let answer = tcp(BOB_PORT, ANN_PORT, SYN | ACK);
    world.task(BOB_IF, &answer).reaches_task(ANN_IF, tcp(VIP_PORT, ANN_PORT, SYN | ACK));
    let last = tcp(ANN_PORT, VIP_PORT, ACK);
    world.task(ANN_IF, &last).reaches_task(BOB_IF, tcp(ANN_PORT, BOB_PORT, ACK));
}

#[test]
fn connection_is_established_by_the_third_segment() {
    let mut world = World::new();
    world.vip(&[BOB]);
    connect(&mut world);
    assert_eq!(world.flows(), (0, 2));
    for (_, flow) in world.all::<FlowKey, Flow>(map::FLOWS) {
        assert_eq!(flow.state, State::Established as u8);
    }
    let data = tcp(ANN_PORT, VIP_PORT, ACK);
    world.task(ANN_IF, &data).reaches_task(BOB_IF, tcp(ANN_PORT, BOB_PORT, ACK));
    let answer = tcp(BOB_PORT, ANN_PORT, ACK);
    world.task(BOB_IF, &answer).reaches_task(ANN_IF, tcp(VIP_PORT, ANN_PORT, ACK));
}

#[test]
fn unanswered_syn_and_ack_establish_nothing() {
    let mut world = World::new();
    world.vip(&[BOB]);
    world.task(ANN_IF, &syn(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, syn(ANN_PORT, BOB_PORT));
    let forged = tcp(ANN_PORT, VIP_PORT, ACK);
    world.task(ANN_IF, &forged).reaches_task(BOB_IF, tcp(ANN_PORT, BOB_PORT, ACK));
    assert_eq!(world.flows(), (2, 0));
}

#[test]
fn fin_from_both_sides_closes_and_is_told_once() {
    let mut world = World::new();
    world.vip(&[BOB]);
    connect(&mut world);
    let fin = tcp(ANN_PORT, VIP_PORT, FIN | ACK);
    world.task(ANN_IF, &fin).reaches_task(BOB_IF, tcp(ANN_PORT, BOB_PORT, FIN | ACK));
    let half: Flow = world.get(map::FLOWS, &key(BLUE, BOB_PORT, ANN_PORT, TCP)).unwrap();
    assert_eq!(half.state, State::Established as u8);
    let answer = tcp(BOB_PORT, ANN_PORT, FIN | ACK);
    world.task(BOB_IF, &answer).reaches_task(ANN_IF, tcp(VIP_PORT, ANN_PORT, FIN | ACK));
    world.task(BOB_IF, &answer).reaches_task(ANN_IF, tcp(VIP_PORT, ANN_PORT, FIN | ACK));
    for (_, flow) in world.all::<FlowKey, Flow>(map::FLOWS) {
        assert_eq!(flow.state, State::Closing as u8);
    }
    let events: Vec<u8> = world.records().iter().map(|record| record.event).collect();
    assert_eq!(events, [Event::New as u8, Event::Closed as u8]);
}

#[test]
fn reset_closes_and_the_record_names_the_opener() {
    let mut world = World::new();
    world.vip(&[BOB]);
    connect(&mut world);
    let reset = tcp(BOB_PORT, ANN_PORT, RST);
    world.task(BOB_IF, &reset).reaches_task(ANN_IF, tcp(VIP_PORT, ANN_PORT, RST));
    let record = world.records()[1];
    assert_eq!(record.original, tuple(ANN_PORT, VIP_PORT));
    assert_eq!(record.translated, tuple(ANN_PORT, BOB_PORT));
    assert_eq!((record.vni, record.event), (BLUE, Event::Closed as u8));
}

#[test]
fn datagrams_follow_their_flow() {
    let mut world = World::new();
    world.vip(&[BOB, RIA]);
    let first = world.task(ANN_IF, &udp(ANN_PORT, VIP_PORT)).destination();
    for _ in 0..3 {
        assert_eq!(world.task(ANN_IF, &udp(ANN_PORT, VIP_PORT)).destination(), first);
    }
}

#[test]
fn datagrams_are_established_when_answers_are_followed_up() {
    let mut world = World::new();
    world.vip(&[BOB]);
    world.task(ANN_IF, &udp(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, udp(ANN_PORT, BOB_PORT));
    world.task(BOB_IF, &udp(BOB_PORT, ANN_PORT)).reaches_task(ANN_IF, udp(VIP_PORT, ANN_PORT));
    assert_eq!(world.flows(), (2, 0));
    world.task(ANN_IF, &udp(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, udp(ANN_PORT, BOB_PORT));
    assert_eq!(world.flows(), (0, 2));
}

#[test]
fn datagram_without_checksum_is_rewritten_without() {
    let mut world = World::new();
    world.vip(&[BOB]);
    let sent = udp(ANN_PORT, VIP_PORT).no_checksum();
    world.task(ANN_IF, &sent).reaches_task(BOB_IF, udp(ANN_PORT, BOB_PORT).no_checksum());
}

#[test]
fn checksum_that_becomes_zero_is_written_as_ones() {
    let mut world = World::new();
    world.vip(&[BOB]);
    // A payload that makes the rewritten checksum come out as zero, which means "none" (RFC 768).
    let expected = (0..=u16::MAX)
        .map(|word| udp(ANN_PORT, BOB_PORT).payload(&word.to_be_bytes()))
        .find(|packet| packet.bytes()[40..42] == [0, 0])
        .unwrap();
    let mut bytes = expected.bytes();
    let payload = bytes[42..].to_vec();
    bytes[40..42].copy_from_slice(&[0xff, 0xff]);
    world.task(ANN_IF, &udp(ANN_PORT, VIP_PORT).payload(&payload)).reaches_task(BOB_IF, bytes);
}

#[test]
fn new_flows_take_turns() {
    let mut world = World::new();
    world.vip(&[ANN, BOB, RIA]);
    let mut met = vec![];
    for port in 40_000..40_006 {
        let sent = syn(&format!("10.0.1.10:{port}"), VIP_PORT);
        met.push(world.task(ANN_IF, &sent).destination());
    }
    assert_eq!(met[..3], met[3..]);
    met.sort_unstable();
    met.dedup();
    assert_eq!(met.len(), 3, "each backend is met");
}

#[test]
fn hairpin_goes_over_the_gateway_and_back() {
    let mut world = World::new();
    world.vip(&[ANN]);
    let sent = syn(ANN_PORT, VIP_PORT);
    world.task(ANN_IF, &sent).reaches_task(ANN_IF, syn("10.0.1.1:40000", "10.0.1.10:80"));
    world.counted(Path::Hairpin, 1);
    let answer = tcp("10.0.1.10:80", "10.0.1.1:40000", SYN | ACK);
    world.task(ANN_IF, &answer).reaches_task(ANN_IF, tcp(VIP_PORT, ANN_PORT, SYN | ACK));
}

#[test]
fn service_without_backends_refuses() {
    let mut world = World::new();
    world.vip(&[]);
    let sent = syn(ANN_PORT, VIP_PORT).seq(41, 0);
    let reset = tcp(VIP_PORT, ANN_PORT, RST | ACK).no_payload().seq(0, 42).made();
    world.task(ANN_IF, &sent).refused(DropReason::NoBackend, ANN_IF, reset);
    let sent = udp(ANN_PORT, VIP_PORT);
    let unreachable = error(GATEWAY, "10.0.1.10", 3, 3, 0, &sent).made().smac(sent.dmac);
    world.task(ANN_IF, &sent).refused(DropReason::NoBackend, ANN_IF, unreachable);
}

#[test]
fn segment_of_no_flow_is_reset_by_its_acknowledgement() {
    let mut world = World::new();
    world.vip(&[BOB]);
    let sent = tcp(ANN_PORT, VIP_PORT, ACK).seq(5, 77);
    let reset = tcp(VIP_PORT, ANN_PORT, RST).no_payload().seq(77, 0).made();
    world.task(ANN_IF, &sent).refused(DropReason::NoFlow, ANN_IF, reset);
}

#[test]
fn a_reset_of_no_flow_is_not_answered() {
    let mut world = World::new();
    world.vip(&[BOB]);
    world.task(ANN_IF, &tcp(ANN_PORT, VIP_PORT, RST)).dropped(DropReason::NoFlow);
}

#[test]
fn flow_to_a_removed_backend_is_reset() {
    let mut world = World::new();
    world.vip(&[BOB]);
    connect(&mut world);
    world.remove_endpoint(BOB);
    let sent = tcp(ANN_PORT, VIP_PORT, ACK).seq(5, 77);
    let reset = tcp(VIP_PORT, ANN_PORT, RST).no_payload().seq(77, 0).made();
    world.task(ANN_IF, &sent).refused(DropReason::BackendGone, ANN_IF, reset);
}

#[test]
fn backend_that_just_went_is_passed_over() {
    let mut world = World::new();
    world.vip(&[99, RIA]);
    for port in 40_000..40_004 {
        let from = format!("10.0.1.10:{port}");
        world.task(ANN_IF, &syn(&from, VIP_PORT)).enters_tunnel(BLUE, PEER, syn(&from, RIA_PORT));
    }
}

#[test]
fn vip_and_key_are_of_their_network() {
    let mut world = World::new();
    world.vip(&[BOB]);
    world.task(ANN_IF, &udp(ANN_PORT, VIP_PORT)).reaches_task(BOB_IF, udp(ANN_PORT, BOB_PORT));
    assert!(world.get::<FlowKey, Flow>(map::FLOWS_OPENING, &key(BLUE, ANN_PORT, VIP_PORT, UDP)).is_some());
    // The other network's task has no such VIP.
    let sent = udp("10.0.1.11:40000", VIP_PORT);
    let answer = error(GATEWAY, "10.0.1.11", 3, 1, 0, &sent).made().smac(sent.dmac);
    world.task(crate::world::CID_IF, &sent).refused(DropReason::NoEndpoint, crate::world::CID_IF, answer);
}
