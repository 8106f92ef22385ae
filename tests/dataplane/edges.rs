//! What is easily forgotten: the node's own traffic, a task that calls itself, several networks, fragments,
//! errors, and paths that are narrower.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};

use mesh_dataplane::desired::Vip;

use crate::traffic::{SILENCE, ask, ping, tcp, tcp_server, udp, udp_server};
use crate::world::{CLIENT, PUBLISHED, TARGET, VIP, VNI, World, network};

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_own_traffic_is_left_alone() {
    let world = World::with_service(2, 1).await;
    let (one, two) = (&world.nodes[0], &world.nodes[1]);
    tcp_server(&one.netns, 9000, "host");
    udp_server(&one.netns, Ipv4Addr::UNSPECIFIED, PUBLISHED + 1, "host");
    tcp_server(&world.client, 9000, "client");
    assert!(tcp(&world.client, (one.address, 9000)).unwrap().echo(1 << 20).unwrap());
    assert!(tcp(&two.netns, (one.address, 9000)).unwrap().echo(1 << 20).unwrap());
    assert!(tcp(&one.netns, (CLIENT, 9000)).unwrap().echo(1 << 20).unwrap());
    assert_eq!(ask(&udp(&world.client, (one.address, PUBLISHED + 1)), "hello").unwrap().0, "host");
    assert!(ping(&world.client, CLIENT, one.address, 1472));
    assert!(ping(&one.netns, one.address, CLIENT, 1472));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_may_be_the_client_of_anothers_published_port() {
    let world = World::with_service(2, 1).await;
    tcp_server(&world.task(1).netns, TARGET, "1");
    let (one, two) = (&world.nodes[0], &world.nodes[1]);
    // The backend is on node one: from node two to it, and from node one over node two back to itself.
    for (from, to) in [(two, one), (one, two)] {
        let mut greeted = tcp(&from.netns, (to.address, PUBLISHED)).unwrap();
        assert_eq!(greeted.seen.ip(), IpAddr::V4(from.address));
        assert!(greeted.echo(100_000).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_reaches_itself_through_its_virtual_address() {
    let world = World::with_service(1, 1).await;
    let task = world.task(1);
    tcp_server(&task.netns, TARGET, "1");
    udp_server(&task.netns, Ipv4Addr::UNSPECIFIED, TARGET, "1");
    let mut greeted = tcp(&task.netns, (VIP, TARGET)).unwrap();
    assert_eq!(greeted.seen.ip(), IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1)), "the gateway stands in");
    assert!(greeted.echo(1 << 20).unwrap());
    assert_eq!(ask(&udp(&task.netns, (VIP, TARGET)), "hello").unwrap().0, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_in_two_networks_answers_in_both() {
    let mut world = World::with_service(2, 1).await;
    world.networks.insert(4100, network("10.0.9.0/24", "10.0.9.1"));
    world.add_interface(21, 1, 4100, Ipv4Addr::new(10, 0, 9, 3));
    world.add_task(22, 1, 4100, Ipv4Addr::new(10, 0, 9, 4));
    let vip = Ipv4Addr::new(10, 0, 9, 2);
    let backends = [21].into();
    world.vips.push(Vip { vni: 4100, address: vip.into(), service: "inner".to_owned(), backends });
    world.apply().await;
    let task = world.task(1);
    tcp_server(&task.netns, TARGET, "1");
    udp_server(&task.netns, Ipv4Addr::UNSPECIFIED, TARGET, "1");
    for (from, to) in [
        (&world.task(22).netns, (vip, TARGET)),
        (&world.task(22).netns, (Ipv4Addr::new(10, 0, 9, 3), TARGET)),
        (&world.task(2).netns, (VIP, TARGET)),
        (&world.client, (world.nodes[1].address, PUBLISHED)),
    ] {
        assert!(tcp(from, to).unwrap().echo(10_000).unwrap(), "{to:?}");
        assert_eq!(ask(&udp(from, to), "hello").unwrap().0, "1", "{to:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_transfers_through_a_published_port_of_another_node() {
    let world = World::with_service(2, 1).await;
    tcp_server(&world.task(1).netns, TARGET, "1");
    for node in &world.nodes {
        let mut greeted = tcp(&world.client, (node.address, PUBLISHED)).unwrap();
        assert!(greeted.echo(10 << 20).unwrap(), "{}", node.address);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fragments_follow_their_first() {
    let world = World::with_service(2, 1).await;
    let (one, two) = (world.task(1), world.task(2));
    udp_server(&one.netns, Ipv4Addr::UNSPECIFIED, TARGET, "1");
    let large = "x".repeat(4000);
    for (from, to, what) in [
        (&two.netns, (one.address, TARGET), "task to task"),
        (&two.netns, (VIP, TARGET), "virtual address"),
        (&world.client, (world.nodes[0].address, PUBLISHED), "published port at the backend's node"),
        (&world.client, (world.nodes[1].address, PUBLISHED), "published port at another node"),
    ] {
        assert_eq!(ask(&udp(from, to), &large).map(|answer| answer.0).ok().as_deref(), Some("1"), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_come_back_through_the_translation() {
    let world = World::with_service(2, 1).await;
    // Nobody listens on the backend.
    for (from, to) in [
        (&world.task(2).netns, (VIP, TARGET)),
        (&world.task(2).netns, (world.task(1).address, TARGET)),
        (&world.client, (world.nodes[0].address, PUBLISHED)),
        (&world.client, (world.nodes[1].address, PUBLISHED)),
    ] {
        assert_eq!(
            tcp(from, to).err().map(|error| error.kind()),
            Some(ErrorKind::ConnectionRefused),
            "{to:?}"
        );
        let refused = ask(&udp(from, to), "hello").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{to:?}");
    }
    // An address of the network that nobody has.
    let nobody = (Ipv4Addr::new(10, 0, 1, 200), TARGET);
    assert!(tcp(&world.task(2).netns, nobody).is_err_and(|error| error.kind() != ErrorKind::TimedOut));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_from_anyone_who_is_no_peer_ends_at_the_door() {
    let world = World::with_service(2, 1).await;
    let task = world.task(1);
    let listening = task
        .netns
        .run(|| {
            let socket = std::net::UdpSocket::bind(("0.0.0.0", 9999)).unwrap();
            socket.set_read_timeout(Some(SILENCE)).unwrap();
            socket
        })
        .unwrap();
    // VXLAN header, Ethernet, IPv4 and UDP as a task of the other node would send it.
    let mut packet = vec![8, 0, 0, 0, 0, 0x10, 0x01, 0];
    packet.extend([0x02, 0x42, 10, 0, 1, 3, 0x02, 0x42, 10, 0, 1, 4, 8, 0]);
    packet.extend([0x45, 0, 0, 30, 0, 1, 0x40, 0, 64, 17, 0x24, 0xc8, 10, 0, 1, 4, 10, 0, 1, 3]);
    packet.extend([0x27, 0x0f, 0x27, 0x0f, 0, 10, 0, 0, b'h', b'i']);
    let mut buffer = [0; 16];
    let send = |from: &World, peer: bool| {
        let netns = if peer { &from.nodes[1].netns } else { &from.client };
        netns
            .run(|| {
                let socket = std::net::UdpSocket::bind(("0.0.0.0", 50_000)).unwrap();
                socket.send_to(&packet, (from.nodes[0].address, 4789)).unwrap();
            })
            .unwrap();
    };
    send(&world, true);
    assert_eq!(listening.recv(&mut buffer).unwrap(), 2, "the packet is a good one");
    send(&world, false);
    assert!(listening.recv(&mut buffer).is_err());
    assert_eq!(world.nodes[0].drops("not-peer").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrower_network_is_followed_by_running_tasks() {
    let mut world = World::with_service(2, 2).await;
    let (one, two) = (world.task(1).address, world.task(2).address);
    tcp_server(&world.task(2).netns, TARGET, "2");
    world.networks.get_mut(&VNI).unwrap().mtu = 1300;
    world.apply().await;
    assert!(ping(&world.task(1).netns, one, two, 1272));
    assert!(!ping(&world.task(1).netns, one, two, 1273), "the task's own interface refuses");
    assert!(tcp(&world.task(1).netns, (two, TARGET)).unwrap().echo(1 << 20).unwrap());
}
