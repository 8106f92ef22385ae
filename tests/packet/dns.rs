//! Questions to the name server and its answers.

use mesh_abi::counter::Path;
use mesh_abi::drop::DropReason;
use mesh_abi::net::NodeConfig;
use mesh_abi::program;

use crate::outcome::Outcome;
use crate::packet::{ACK, Packet, RST, SYN, arp, arp_reply, error, mac, ping, syn, tcp, udp};
use crate::world::{ANN_IF, BOB_IF, DNS_IF, GATEWAY, NODE, VXLAN, World, ip};

const ANN_PORT: &str = "10.0.1.10:40000";
const CLIENT_PORT: &str = "198.18.0.1:40000";
const SERVER: &str = "169.254.53.53:53";

fn from_server<'a>(world: &'a mut World, packet: &Packet) -> Outcome<'a> {
    world.frame(program::DNS_REPLY, DNS_IF, &packet.bytes())
}

#[test]
fn question_tells_who_asks() {
    let mut world = World::new();
    world.task(ANN_IF, &udp(ANN_PORT, SERVER)).reaches_task(DNS_IF, udp(CLIENT_PORT, SERVER));
    world.task(ANN_IF, &syn(ANN_PORT, SERVER)).reaches_task(DNS_IF, syn(CLIENT_PORT, SERVER));
    world.counted(Path::DnsQuestion, 2);
}

#[test]
fn answer_finds_who_asked() {
    let mut world = World::new();
    from_server(&mut world, &udp(SERVER, CLIENT_PORT)).reaches_task(ANN_IF, udp(SERVER, ANN_PORT));
    let segment = tcp(SERVER, CLIENT_PORT, SYN | ACK);
    from_server(&mut world, &segment).reaches_task(ANN_IF, tcp(SERVER, ANN_PORT, SYN | ACK));
    world.counted(Path::DnsAnswer, 2);
}

#[test]
fn answer_in_fragments() {
    let mut world = World::new();
    let sent = udp(SERVER, CLIENT_PORT).payload(&[5; 1800]).fragments(1400);
    let expected = udp(SERVER, ANN_PORT).payload(&[5; 1800]).fragments(1400);
    for (frame, expected) in sent.iter().zip(&expected) {
        world.frame(program::DNS_REPLY, DNS_IF, frame).reaches_task(ANN_IF, &expected[..]);
    }
    let [_, later] = udp(SERVER, "198.18.0.9:1").payload(&[5; 1800]).fragments(1400);
    world.frame(program::DNS_REPLY, DNS_IF, &later).dropped(DropReason::FragmentUnknown);
}

#[test]
fn server_that_is_down_is_told() {
    let mut world = World::new();
    let told = error("169.254.53.53", "198.18.0.1", 3, 3, 0, &udp(CLIENT_PORT, SERVER));
    let expected = error("169.254.53.53", "10.0.1.10", 3, 3, 0, &udp(ANN_PORT, SERVER));
    from_server(&mut world, &told).reaches_task(ANN_IF, expected);
}

#[test]
fn anything_but_dns_is_refused() {
    let mut world = World::new();
    let sent = syn(ANN_PORT, "169.254.53.53:80").seq(41, 0);
    let reset = tcp("169.254.53.53:80", ANN_PORT, RST | ACK).no_payload().seq(0, 42).made();
    world.task(ANN_IF, &sent).refused(DropReason::DnsRefused, ANN_IF, reset);
    let sent = ping("10.0.1.10", "169.254.53.53");
    let told = error(GATEWAY, "10.0.1.10", 3, 3, 0, &sent).made().smac(sent.dmac);
    world.task(ANN_IF, &sent).refused(DropReason::DnsRefused, ANN_IF, told);
}

#[test]
fn interface_that_asks_nothing() {
    let mut world = World::new();
    let sent = udp("10.0.1.11:40000", SERVER);
    let told = error(GATEWAY, "10.0.1.11", 3, 3, 0, &sent).made().smac(sent.dmac);
    world.task(BOB_IF, &sent).refused(DropReason::DnsRefused, BOB_IF, told);
}

#[test]
fn node_without_name_server() {
    let mut world = World::new();
    let config = NodeConfig { data_path_addr: ip(NODE), vxlan_ifindex: VXLAN, ..NodeConfig::default() };
    world.set_config(config);
    let sent = udp(ANN_PORT, SERVER);
    let told = error(GATEWAY, "10.0.1.10", 3, 3, 0, &sent).made().smac(sent.dmac);
    world.task(ANN_IF, &sent).refused(DropReason::DnsRefused, ANN_IF, told);
}

#[test]
fn answer_to_nobody() {
    let mut world = World::new();
    from_server(&mut world, &udp(SERVER, "198.18.9.9:40000")).dropped(DropReason::DnsUnknownClient);
}

#[test]
fn only_the_server_speaks() {
    let mut world = World::new();
    from_server(&mut world, &udp("169.254.53.53:123", CLIENT_PORT)).dropped(DropReason::DnsForeign);
    from_server(&mut world, &udp("169.254.53.54:53", CLIENT_PORT)).dropped(DropReason::DnsForeign);
    from_server(&mut world, &ping("169.254.53.53", "198.18.0.1")).dropped(DropReason::DnsForeign);
    from_server(&mut world, &udp(SERVER, CLIENT_PORT).ip_options()).dropped(DropReason::IpOptions);
    let mut frame = udp(SERVER, CLIENT_PORT).payload(&[0; 40]).bytes();
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    world.frame(program::DNS_REPLY, DNS_IF, &frame).dropped(DropReason::DnsForeign);
}

#[test]
fn server_finds_every_client_by_arp() {
    let mut world = World::new();
    let own = mac("169.254.53.53".parse().unwrap());
    for target in ["198.18.0.1", "198.19.255.254"] {
        let answer = arp_reply(own, "169.254.53.53", target);
        world
            .frame(program::DNS_REPLY, DNS_IF, &arp(own, "169.254.53.53", target))
            .reaches_task(DNS_IF, answer);
    }
    let strange = arp(own, "169.254.53.53", "198.20.0.1");
    world.frame(program::DNS_REPLY, DNS_IF, &strange).dropped(DropReason::ArpUnanswered);
}
