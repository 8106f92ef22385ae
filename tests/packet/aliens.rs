//! What no program lets through: cut, malformed and forged packets.

use mesh_abi::drop::DropReason;
use mesh_abi::net::NodeConfig;
use mesh_abi::program;

use crate::packet::{ACK, SYN, mac, ping, raw, tcp, udp};
use crate::world::{ANN_IF, BLUE, CID_IF, PEER, UPLINK, World};

/// Offset of the IP header.
const IP: usize = 14;
/// Offset of the transport header.
const L4: usize = 34;

/// What a change to the bytes of a segment from ANN to BOB comes to at the task's veth.
fn altered(reason: DropReason, change: impl Fn(&mut Vec<u8>)) {
    let mut world = World::new();
    let mut frame = tcp("10.0.1.10:40000", "10.0.1.11:80", ACK).bytes();
    change(&mut frame);
    world.frame(program::TASK_EGRESS, ANN_IF, &frame).dropped(reason);
}

#[test]
fn other_ip_version() {
    altered(DropReason::BadIpHeader, |frame| frame[IP] = 0x55);
}

#[test]
fn ip_header_of_16_bytes() {
    altered(DropReason::BadIpHeader, |frame| frame[IP] = 0x44);
}

#[test]
fn total_length_less_than_the_header() {
    altered(DropReason::BadLength, |frame| frame[IP + 2..IP + 4].copy_from_slice(&[0, 19]));
}

#[test]
fn total_length_more_than_the_frame() {
    altered(DropReason::BadLength, |frame| frame[IP + 2..IP + 4].copy_from_slice(&[0, 46]));
}

#[test]
fn ip_options_from_a_task() {
    let mut world = World::new();
    let sent = tcp("10.0.1.10:40000", "10.0.1.11:80", SYN).ip_options();
    world.task(ANN_IF, &sent).dropped(DropReason::IpOptions);
}

#[test]
fn tcp_header_of_16_bytes() {
    altered(DropReason::BadTransport, |frame| frame[L4 + 12] = 0x40);
}

#[test]
fn tcp_header_longer_than_the_packet() {
    altered(DropReason::BadTransport, |frame| frame[L4 + 12] = 0xf0);
}

#[test]
fn tcp_header_beyond_the_total_length() {
    // The frame has the bytes, the IP packet does not.
    altered(DropReason::BadTransport, |frame| frame[IP + 2..IP + 4].copy_from_slice(&[0, 36]));
}

#[test]
fn udp_length_of_7_bytes_and_beyond_the_packet() {
    for length in [[0, 7], [0, 17], [0xff, 0xff]] {
        let mut world = World::new();
        let mut frame = udp("10.0.1.10:40000", "10.0.1.11:80").bytes();
        frame[L4 + 4..L4 + 6].copy_from_slice(&length);
        world.frame(program::TASK_EGRESS, ANN_IF, &frame).dropped(DropReason::BadTransport);
    }
}

#[test]
fn icmp_header_of_4_bytes() {
    let mut world = World::new();
    let mut frame = ping("10.0.1.10", "10.0.1.11").bytes();
    frame.truncate(L4 + 4);
    frame[IP + 2..IP + 4].copy_from_slice(&[0, 24]);
    world.frame(program::TASK_EGRESS, ANN_IF, &frame).dropped(DropReason::BadTransport);
}

#[test]
fn ipv6_from_a_task() {
    altered(DropReason::Ipv6, |frame| frame[12..14].copy_from_slice(&[0x86, 0xdd]));
}

#[test]
fn unknown_ether_type_from_a_task() {
    altered(DropReason::EtherType, |frame| frame[12..14].copy_from_slice(&[0x88, 0xcc]));
}

#[test]
fn cut_arp_from_a_task() {
    altered(DropReason::Runt, |frame| {
        frame[12..14].copy_from_slice(&[8, 6]);
        frame.truncate(40);
    });
}

#[test]
fn interface_of_nobody() {
    let mut world = World::new();
    let sent = tcp("10.0.1.10:40000", "10.0.1.11:80", SYN);
    world.task(UPLINK, &sent).dropped(DropReason::UnknownPort);
}

#[test]
fn forged_mac() {
    let mut world = World::new();
    let sent = tcp("10.0.1.10:40000", "10.0.1.11:80", SYN).smac(mac("10.0.1.11".parse().unwrap()));
    world.task(ANN_IF, &sent).dropped(DropReason::SpoofedMac);
}

#[test]
fn forged_address() {
    let mut world = World::new();
    let sent = raw("10.0.1.11", "10.0.1.20", 17).smac(mac("10.0.1.10".parse().unwrap()));
    world.task(ANN_IF, &sent).dropped(DropReason::SpoofedAddress);
    // The same address is CID's own in the other network: its packet gets as far as to find nobody.
    let own = raw("10.0.1.11", "10.0.1.255", 17);
    world.task(CID_IF, &own).dropped(DropReason::BadTransport);
}

#[test]
fn node_without_configuration() {
    let mut world = World::new();
    world.set_config(NodeConfig::default());
    let sent = tcp("10.0.1.10:40000", "10.0.1.11:80", SYN);
    world.task(ANN_IF, &sent).dropped(DropReason::NotConfigured);
    world.tunnel(BLUE, PEER, &sent).dropped(DropReason::NotConfigured);
}
