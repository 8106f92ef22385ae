//! The ways of packets: between tasks, through virtual addresses, through published ports, to the DNS server.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use mesh_dataplane::desired::{DNS_SERVER, EndpointId, IngressReply};
use mesh_dataplane::netlink::{Mac, Netlink};
use mesh_dataplane::netns::Netns;
use mesh_dataplane::{FlowEvent, FlowKind};

use crate::traffic::{self, SILENCE, ask, ping, tcp, tcp_from, tcp_server, udp, udp_server};
use crate::world::{CLIENT, PUBLISHED, TARGET, VIP, VNI, World, dns_client, network};

/// Starts a server on each backend's task, named by its number.
fn serve(world: &World, backends: u32) {
    for id in 1..=backends {
        let task = world.task(id);
        tcp_server(&task.netns, TARGET, &id.to_string());
        udp_server(&task.netns, Ipv4Addr::UNSPECIFIED, TARGET, &id.to_string());
    }
}

fn names(backends: u32) -> BTreeSet<String> {
    (1..=backends).map(|id| id.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_two_nodes_reach_each_other() {
    let world = World::with_service(2, 2).await;
    serve(&world, 2);
    let (one, two) = (world.task(1), world.task(2));

    for (from, to) in [(one, two), (two, one)] {
        let mut greeted = tcp(&from.netns, (to.address, TARGET)).unwrap();
        assert_eq!(greeted.name, to.id.to_string());
        assert_eq!(greeted.seen.ip(), IpAddr::V4(from.address));
        assert!(greeted.echo(10 << 20).unwrap());

        let answer = ask(&udp(&from.netns, (to.address, TARGET)), "hello").unwrap();
        assert_eq!((answer.0, answer.1.ip()), (to.id.to_string(), IpAddr::V4(from.address)));
        assert!(ping(&from.netns, from.address, to.address, 56));
        assert!(ping(&from.netns, from.address, to.address, 1422), "the network's MTU is 1450");
    }
    assert!(traffic::raw(&one.netns, one.address, two.address, 1, &[0; 1431]).is_err());
    let gateway = Ipv4Addr::new(10, 0, 1, 1);
    assert!(ping(&one.netns, one.address, gateway, 56));
    assert!(world.nodes[0].packets("overlay-out").await > 0);
    assert!(world.nodes[1].packets("overlay-in").await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_one_node_reach_each_other() {
    let mut world = World::new(1).await;
    world.add_task(1, 0, VNI, Ipv4Addr::new(10, 0, 1, 3));
    world.add_task(2, 0, VNI, Ipv4Addr::new(10, 0, 1, 4));
    world.apply().await;
    serve(&world, 2);
    let (one, two) = (world.task(1), world.task(2));
    let mut greeted = tcp(&one.netns, (two.address, TARGET)).unwrap();
    assert!(greeted.echo(1 << 20).unwrap());
    assert!(ping(&one.netns, one.address, two.address, 1422));
    assert!(world.nodes[0].packets("local").await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_address_takes_the_backends_in_turn() {
    let world = World::with_service(2, 2).await;
    serve(&world, 2);
    let mut records = world.nodes[0].dataplane().flows();
    let from = world.task(1);
    let mut met = BTreeSet::new();
    for _ in 0..8 {
        let greeted = tcp(&from.netns, (VIP, TARGET)).unwrap();
        met.insert(greeted.name);
    }
    assert_eq!(met, names(2));
    let mut met = BTreeSet::new();
    for _ in 0..8 {
        met.insert(ask(&udp(&from.netns, (VIP, TARGET)), "hello").unwrap().0);
    }
    assert_eq!(met, names(2));
    assert!(ping(&from.netns, from.address, VIP, 56));

    let record = records.recv().await.unwrap();
    assert_eq!((record.event, record.path.kind), (FlowEvent::New, FlowKind::Vip));
    assert_eq!(record.path.frontend, SocketAddrV4::new(VIP, TARGET));
    assert_eq!((record.path.network, record.path.service.as_deref()), (Some(VNI), Some("web")));
    let live = world.nodes[0].dataplane().flows_now(100).unwrap();
    let through_vip = live.iter().filter(|flow| flow.path.kind == FlowKind::Vip).count();
    assert!(through_vip >= 8, "{live:?}");
    let vips = world.nodes[0].dataplane().vips();
    assert_eq!(vips[0].backends.len(), 2);
    assert_eq!(vips[0].backends[1].node, Some(world.nodes[1].address.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_port_answers_on_every_node_and_keeps_the_clients_address() {
    let world = World::with_service(3, 2).await;
    serve(&world, 2);
    for node in &world.nodes {
        let (mut met_tcp, mut met_udp) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..8 {
            let mut greeted = tcp(&world.client, (node.address, PUBLISHED)).unwrap();
            assert_eq!(greeted.seen, SocketAddr::new(CLIENT.into(), greeted.local.port()));
            assert!(greeted.echo(100_000).unwrap());
            met_tcp.insert(greeted.name);
            let socket = udp(&world.client, (node.address, PUBLISHED));
            let (name, seen) = ask(&socket, "hello").unwrap();
            assert_eq!(seen, SocketAddr::new(CLIENT.into(), socket.local_addr().unwrap().port()));
            met_udp.insert(name);
        }
        assert_eq!((met_tcp, met_udp), (names(2), names(2)), "{}", node.address);
    }
    assert!(world.nodes[2].packets("ingress-out").await > 0);
    assert!(world.nodes[2].packets("reply-in").await > 0);
    assert!(world.nodes[0].packets("ingress-in").await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_port_open_to_two_nodes_at_once() {
    let world = World::with_service(2, 1).await;
    serve(&world, 1);
    let mut first = tcp_from(&world.client, 40_000, (world.nodes[0].address, PUBLISHED)).unwrap();
    let mut second = tcp_from(&world.client, 40_000, (world.nodes[1].address, PUBLISHED)).unwrap();
    for _ in 0..3 {
        assert!(first.echo(10_000).unwrap());
        assert!(second.echo(10_000).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn direct_replies_go_straight_to_the_client() {
    let mut world = World::with_service(2, 1).await;
    serve(&world, 1);
    world.reply = IngressReply::Direct;
    world.apply().await;
    let mut greeted = tcp(&world.client, (world.nodes[1].address, PUBLISHED)).unwrap();
    assert!(greeted.echo(1 << 20).unwrap());
    assert_eq!(greeted.seen.ip(), IpAddr::V4(CLIENT));
    assert!(world.nodes[0].packets("reply-direct").await > 0);
    assert_eq!(world.nodes[1].packets("reply-in").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_reach_the_dns_server_and_tell_who_asks() {
    let mut world = World::with_service(1, 1).await;
    world.networks.insert(4098, network("10.0.1.0/24", "10.0.1.1"));
    world.add_task(2, 0, 4098, world.task(1).address);
    world.apply().await;
    let server = Netns::open(&world.nodes[0].dataplane().dns_netns()).unwrap();
    udp_server(&server, DNS_SERVER, 53, "dns");
    tcp_server(&server, 53, "dns");
    for id in [1, 2] {
        let task = world.task(id);
        let (name, seen) = ask(&udp(&task.netns, (DNS_SERVER, 53)), "who am I").unwrap();
        assert_eq!((name.as_str(), seen.ip()), ("dns", IpAddr::V4(dns_client(id))));
        let mut greeted = tcp(&task.netns, (DNS_SERVER, 53)).unwrap();
        assert_eq!(greeted.seen.ip(), IpAddr::V4(dns_client(id)));
        assert!(greeted.echo(50_000).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_with_equal_subnets_do_not_meet() {
    let mut world = World::with_service(2, 2).await;
    world.networks.insert(4098, network("10.0.1.0/24", "10.0.1.1"));
    // The same addresses as tasks 1 and 2, the other way round.
    world.add_task(11, 1, 4098, world.task(1).address);
    world.add_task(12, 0, 4098, world.task(2).address);
    world.add_task(13, 0, 4098, Ipv4Addr::new(10, 0, 1, 40));
    world.apply().await;
    for id in [1, 2, 11, 12, 13] {
        tcp_server(&world.task(id).netns, TARGET, &id.to_string());
    }
    let reached = |from: EndpointId, to: Ipv4Addr| {
        tcp(&world.task(from).netns, (to, TARGET)).map(|greeted| greeted.name).ok()
    };
    assert_eq!(reached(1, world.task(2).address).as_deref(), Some("2"));
    assert_eq!(reached(12, world.task(11).address).as_deref(), Some("11"));
    assert_eq!(reached(2, world.task(1).address).as_deref(), Some("1"));
    // Task 13 exists in the second network alone, and the VIP in the first alone.
    assert_eq!(reached(11, world.task(13).address).as_deref(), Some("13"));
    assert_eq!(reached(1, world.task(13).address), None);
    assert_eq!(reached(12, VIP), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_source_is_dropped_and_counted() {
    let world = World::with_service(2, 2).await;
    let (one, two) = (world.task(1), world.task(2));
    let listening = two
        .netns
        .run(|| {
            let socket = std::net::UdpSocket::bind(("0.0.0.0", 9999)).unwrap();
            socket.set_read_timeout(Some(SILENCE)).unwrap();
            socket
        })
        .unwrap();
    let datagram = |text: &[u8; 2]| [&[0x27, 0x0f, 0x27, 0x0f, 0, 10, 0, 0], text.as_slice()].concat();
    let mut buffer = [0; 16];

    traffic::raw(&one.netns, one.address, two.address, 17, &datagram(b"me")).unwrap();
    assert_eq!(listening.recv(&mut buffer).unwrap(), 2);
    traffic::raw(&one.netns, Ipv4Addr::new(10, 0, 1, 77), two.address, 17, &datagram(b"no")).unwrap();
    assert!(listening.recv(&mut buffer).is_err());
    assert_eq!(world.nodes[0].drops("spoofed-address").await, 1);

    Netlink::open(&one.netns).unwrap().set_mac("eth0", Mac([2, 0x42, 9, 9, 9, 9])).await.unwrap();
    traffic::raw(&one.netns, one.address, two.address, 17, &datagram(b"no")).unwrap();
    assert!(listening.recv(&mut buffer).is_err());
    assert!(world.nodes[0].drops("spoofed-mac").await >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_backends_refuses_and_is_back_with_them() {
    let mut world = World::with_service(2, 2).await;
    serve(&world, 2);
    let backends = std::mem::take(&mut world.vips[0].backends);
    for port in &mut world.published {
        port.backends.clear();
    }
    world.apply().await;
    let refused = |result: std::io::Result<traffic::Greeted>| result.err().map(|error| error.kind());
    let kind = Some(std::io::ErrorKind::ConnectionRefused);
    assert_eq!(refused(tcp(&world.task(1).netns, (VIP, TARGET))), kind);
    assert_eq!(refused(tcp(&world.client, (world.nodes[1].address, PUBLISHED))), kind);

    world.vips[0].backends.clone_from(&backends);
    for port in &mut world.published {
        port.backends.clone_from(&backends);
    }
    world.apply().await;
    assert!(tcp(&world.task(1).netns, (VIP, TARGET)).is_ok());
    assert!(tcp(&world.client, (world.nodes[1].address, PUBLISHED)).is_ok());
}
