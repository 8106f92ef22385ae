//! A daemon goes and the next one takes over; somebody meddles; backends go.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use aya::maps::{HashMap, MapData};
use mesh_abi::conntrack::{Flow, FlowKey, Role, State, Tuple, UDP};
use mesh_abi::net::{EndpointKey, Frontend, Peer};
use mesh_abi::{Be16, Be32};
use mesh_dataplane::netlink::Netlink;

use crate::traffic::{ask, tcp, tcp_server, udp, udp_server};
use crate::world::{PUBLISHED, TARGET, VIP, VNI, World};

#[tokio::test(flavor = "multi_thread")]
async fn connections_live_through_a_restart_and_new_ones_fail_never() {
    let mut world = World::with_service(2, 2).await;
    for id in [1, 2] {
        tcp_server(&world.task(id).netns, TARGET, &id.to_string());
        udp_server(&world.task(id).netns, Ipv4Addr::UNSPECIFIED, TARGET, &id.to_string());
    }
    let from = world.task(1).netns.clone();
    let nodes: Vec<Ipv4Addr> = world.nodes.iter().map(|node| node.address).collect();
    let mut old = vec![
        tcp(&from, (VIP, TARGET)).unwrap(),
        tcp(&from, (VIP, TARGET)).unwrap(),
        tcp(&world.client, (nodes[0], PUBLISHED)).unwrap(),
        tcp(&world.client, (nodes[1], PUBLISHED)).unwrap(),
    ];
    let (stop, made) = (AtomicBool::new(false), AtomicU32::new(0));
    let client = world.client.clone();
    std::thread::scope(|scope| {
        let prober = scope.spawn(|| {
            // Nothing sends a datagram again: one that is lost is seen.
            let mut datagrams: Vec<_> = nodes.iter().map(|node| udp(&client, (*node, PUBLISHED))).collect();
            datagrams.extend((0..2).map(|_| udp(&from, (VIP, TARGET))));
            while !stop.load(Ordering::Relaxed) {
                for socket in &datagrams {
                    ask(socket, "hello").unwrap();
                }
                tcp(&from, (VIP, TARGET)).unwrap();
                for node in &nodes {
                    tcp(&client, (*node, PUBLISHED)).unwrap();
                }
                made.fetch_add(1, Ordering::Relaxed);
            }
        });
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            runtime.block_on(async {
                for index in 0..2 {
                    let state = world.state(index);
                    world.nodes[index].dataplane = None;
                    let before = made.load(Ordering::Relaxed);
                    // Works on while no daemon runs.
                    while made.load(Ordering::Relaxed) < before + 3 && !prober.is_finished() {
                        tokio::task::yield_now().await;
                    }
                    world.nodes[index].open().await;
                    let report = world.nodes[index].dataplane().apply(state).await.unwrap();
                    assert!(report.is_empty(), "{report:?}");
                }
            });
        });
        stop.store(true, Ordering::Relaxed);
        prober.join().unwrap();
    });
    for connection in &mut old {
        assert!(connection.echo(100_000).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_went_while_no_daemon_ran_is_made_anew() {
    let mut world = World::with_service(2, 2).await;
    tcp_server(&world.task(2).netns, TARGET, "2");
    world.nodes[0].dataplane = None;
    let netlink = Netlink::open(&world.nodes[0].netns).unwrap();
    netlink.delete_link("mv1").await.unwrap();
    world.nodes[0].open().await;
    let report = world.nodes[0].dataplane().apply(world.state(0)).await.unwrap();
    let added = report.devices.iter().filter(|step| step.starts_with("add")).count();
    assert_eq!(added, 1, "{report:?}");
    assert!(tcp(&world.task(1).netns, (world.task(2).address, TARGET)).is_ok());
    assert!(world.nodes[0].dataplane().apply(world.state(0)).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_altered_is_healed_and_counted() {
    let world = World::with_service(2, 2).await;
    let node = &world.nodes[0];
    let mut peers: HashMap<_, Be32, Peer> = HashMap::try_from(node.map("PEERS")).unwrap();
    peers.remove(&world.nodes[1].address.into()).unwrap();
    let mut vips: HashMap<_, EndpointKey, Frontend> = HashMap::try_from(node.map("VIPS")).unwrap();
    let key = EndpointKey { vni: VNI, address: VIP.into() };
    let entry = vips.get(&key, 0).unwrap();
    vips.insert(key, Frontend { offset: u32::MAX, ..entry }, 0).unwrap();
    let netlink = Netlink::open(&node.netns).unwrap();
    netlink.delete_link("mv1").await.unwrap();
    netlink.delete_link("mesh-vx").await.unwrap();

    let report = node.dataplane().resync().await.unwrap();
    assert!(report.healed >= 6, "{report:?}");
    assert_eq!(node.dataplane().counters().await.unwrap().healed, report.healed);
    assert!(node.dataplane().resync().await.unwrap().is_empty());
    tcp_server(&world.task(2).netns, TARGET, "2");
    assert!(tcp(&world.task(1).netns, (world.task(2).address, TARGET)).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_of_another_shape_is_not_trusted() {
    let mut world = World::with_service(1, 1).await;
    world.nodes[0].dataplane = None;
    let maps = world.nodes[0].run_dir.join(format!("bpf/v{}/maps", mesh_abi::SCHEMA_VERSION));
    std::fs::remove_file(maps.join("VIPS")).unwrap();
    MapData::from_pin(maps.join("PORTS")).unwrap().pin(maps.join("VIPS")).unwrap();
    world.nodes[0].open().await;
    world.apply().await;
    tcp_server(&world.task(1).netns, TARGET, "1");
    assert!(tcp(&world.task(1).netns, (world.task(1).address, TARGET)).is_ok());
    let report = world.nodes[0].dataplane().apply(world.state(0)).await.unwrap();
    assert!(report.is_empty(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_to_a_backend_that_is_gone_are_cut_or_balanced_anew() {
    let mut world = World::with_service(2, 2).await;
    for id in [1, 2] {
        udp_server(&world.task(id).netns, Ipv4Addr::UNSPECIFIED, TARGET, &id.to_string());
        tcp_server(&world.task(id).netns, TARGET, &id.to_string());
    }
    let from = world.task(1).netns.clone();
    let sockets: Vec<_> = (0..4).map(|_| udp(&from, (VIP, TARGET))).collect();
    let first: Vec<String> = sockets.iter().map(|socket| ask(socket, "hello").unwrap().0).collect();
    assert!(first.contains(&"2".to_owned()));
    let mut streams: Vec<_> = (0..4).map(|_| tcp(&from, (VIP, TARGET)).unwrap()).collect();

    world.vips[0].backends.remove(&2);
    for port in &mut world.published {
        port.backends.remove(&2);
    }
    world.apply().await;
    for stream in &mut streams {
        assert!(stream.echo(1000).unwrap(), "a drained backend keeps its connections");
    }
    for _ in 0..8 {
        assert_eq!(tcp(&from, (VIP, TARGET)).unwrap().name, "1");
    }
    world.tasks.retain(|task| task.id != 2);
    world.apply().await;
    for socket in &sockets {
        // The packet that finds its backend gone may be the one that is lost.
        let answer = ask(socket, "again").or_else(|_| ask(socket, "again")).unwrap();
        assert_eq!(answer.0, "1");
    }
    for stream in &mut streams {
        assert_eq!(stream.echo(1000).is_ok(), stream.name == "1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_that_are_idle_for_too_long_are_taken_out_in_both_directions() {
    let mut world = World::with_service(1, 1).await;
    world.nodes[0].dataplane = None;
    let mut flows: HashMap<_, FlowKey, Flow> = HashMap::try_from(world.nodes[0].map("FLOWS")).unwrap();
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap().tv_sec();
    let now = u64::try_from(now).unwrap() * mesh_abi::conntrack::SECOND;
    // Ports 1 and 2 by when each direction was seen: an hour ago, or now.
    let mut keys = Vec::new();
    for (port, seen_forward, seen_reverse) in [(1, 0, 0), (2, 0, now), (3, now, now)] {
        let original = Tuple {
            src: Ipv4Addr::new(10, 0, 1, 3).into(),
            dst: VIP.into(),
            sport: Be16::new(port),
            dport: Be16::new(53),
        };
        let rewrite = Tuple { dst: Ipv4Addr::new(10, 0, 1, 4).into(), ..original };
        let flow = Flow { partner_vni: VNI, state: State::Established as u8, ..Flow::default() };
        let forward = Flow { rewrite, role: Role::Forward as u8, seen: seen_forward, ..flow };
        let reverse =
            Flow { rewrite: original.turned(), role: Role::Reverse as u8, seen: seen_reverse, ..flow };
        keys.push((FlowKey::new(VNI, original, UDP), forward.partner(UDP)));
        flows.insert(keys.last().unwrap().0, forward, 0).unwrap();
        flows.insert(keys.last().unwrap().1, reverse, 0).unwrap();
    }
    world.nodes[0].open().await;
    // The first pass over the tables comes with the daemon.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while world.nodes[0].dataplane().counters().await.unwrap().flows_expired < 2 {
        assert!(std::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    let there = |key: &FlowKey| flows.get(key, 0).is_ok();
    let left: Vec<_> = keys.iter().map(|(forward, reverse)| (there(forward), there(reverse))).collect();
    assert_eq!(left, [(false, false), (true, true), (true, true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_more_service_among_thousands_touches_no_other() {
    let mut world = World::with_service(1, 1).await;
    let peer: std::net::IpAddr = Ipv4Addr::new(192, 0, 2, 12).into();
    let mut state = world.state(0);
    state.peers.insert(peer);
    state.networks.insert(5000, crate::world::network("10.64.0.0/10", "10.64.0.1"));
    let address = |number: u32| std::net::IpAddr::from(Ipv4Addr::from_bits(0x0a40_0010 + number));
    let backends = 20_000;
    for id in 100..100 + backends {
        let location = mesh_dataplane::desired::Location::Remote(peer);
        let endpoint = mesh_dataplane::desired::Endpoint { vni: 5000, address: address(id), location };
        state.endpoints.insert(id, endpoint);
    }
    for number in 0..backends / 10 {
        state.vips.push(mesh_dataplane::desired::Vip {
            vni: 5000,
            address: address(100_000 + number),
            service: format!("service-{number}"),
            backends: (100 + number * 10..110 + number * 10).collect(),
        });
    }
    let last = state.vips.pop().unwrap();
    let dataplane = world.nodes[0].dataplane.take().unwrap();
    let started = std::time::Instant::now();
    dataplane.apply(state.clone()).await.unwrap();
    let all = started.elapsed();
    state.vips.push(last);
    let started = std::time::Instant::now();
    let report = dataplane.apply(state.clone()).await.unwrap();
    let one = started.elapsed();
    // The frontend, and its ten backends in both tables: they take new flows from now on.
    assert_eq!((report.devices.len(), report.tables.len()), (0, 1 + 2 * 10), "{report:?}");
    assert!(dataplane.resync().await.unwrap().is_empty());
    println!("2,000 services with 20,000 backends in {all:?}, one more in {one:?}");
}
