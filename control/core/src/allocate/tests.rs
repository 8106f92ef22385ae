//! Who gets what: never twice, in rotation, nothing lost.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use proptest::prelude::*;

use crate::command::Refusal;
use crate::id::{NetworkId, NodeId, ServiceId};
use crate::object::{Task, TaskState};
use crate::port::{DYNAMIC_PORTS, Port, Protocol, PublishMode, PublishedPort};
use crate::spec::{NetworkAttachment, NetworkSpec, ServiceMode, ServiceSpec};
use crate::store::Key;
use crate::testing::{VirtualCluster, init_request, join_request, network_spec, service_spec};

const SOON: Duration = Duration::from_secs(2);

fn subnet(cluster: &VirtualCluster, network: NetworkId) -> String {
    cluster.store.network(network).unwrap().subnet.to_string()
}

fn in_subnet(name: &str, subnet: &str) -> NetworkSpec {
    NetworkSpec { subnet: Some(subnet.parse().unwrap()), ..network_spec(name) }
}

fn joining(name: &str, replicas: u32, networks: &[NetworkId]) -> ServiceSpec {
    let mut spec = service_spec(name, replicas);
    spec.task.networks =
        networks.iter().map(|network| NetworkAttachment { network: *network, aliases: Vec::new() }).collect();
    spec
}

fn dynamic(target: u16, mode: PublishMode) -> PublishedPort {
    PublishedPort { published: None, target: Port::new(target).unwrap(), protocol: Protocol::Tcp, mode }
}

fn scale(cluster: &mut VirtualCluster, service: ServiceId, replicas: u32) {
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas }).unwrap();
    cluster.run_for(SOON);
}

#[test]
fn subnets_are_cut_from_the_pool_clear_of_everything() {
    let mut init = init_request();
    // The default route and one that is far away say nothing; the others lie in the pool's way.
    let routes: [IpNet; 4] =
        ["0.0.0.0/0", "172.16.0.0/12", "10.0.0.0/23", "10.0.3.128/25"].map(|net| net.parse().unwrap());
    init.node.description.routes = routes.to_vec();
    let mut cluster = VirtualCluster::with(init, 1, 1);
    assert_eq!(cluster.store.ingress_network().unwrap().subnet.to_string(), "10.0.2.0/24");
    let mut second = join_request(2);
    second.description.routes = vec!["10.0.5.0/24".parse().unwrap()];
    cluster.join(second).unwrap();
    let mut names = (0..).map(|number| format!("net{number}"));
    let mut next = |cluster: &mut VirtualCluster| {
        let id = cluster.create_network(network_spec(&names.next().unwrap())).unwrap();
        subnet(cluster, id)
    };
    assert_eq!(next(&mut cluster), "10.0.4.0/24");
    assert_eq!(next(&mut cluster), "10.0.6.0/24");
    cluster.create_network(in_subnet("wide", "10.0.7.0/24")).unwrap();
    cluster.create_network(in_subnet("wider", "10.0.8.0/21")).unwrap();
    assert_eq!(next(&mut cluster), "10.0.16.0/24");
}

#[test]
fn an_explicit_subnet_keeps_clear_of_the_nodes_and_of_nothing_else() {
    let mut init = init_request();
    init.node.description.routes = vec!["0.0.0.0/0".parse().unwrap(), "192.168.7.0/24".parse().unwrap()];
    let mut cluster = VirtualCluster::with(init, 1, 1);
    for subnet in ["192.168.7.0/25", "192.168.0.0/16"] {
        let refusal = cluster.create_network(in_subnet("net", subnet)).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            format!("subnet {subnet} overlaps 192.168.7.0/24, which node n1 is on")
        );
    }
    cluster.create_network(in_subnet("one", "10.0.0.0/24")).unwrap();
    cluster.create_network(in_subnet("two", "10.0.0.0/24")).unwrap();
}

#[test]
fn pools_run_out_one_after_the_other() {
    let mut init = init_request();
    init.spec.default_address_pool = vec!["10.0.0.0/23".parse().unwrap(), "10.9.0.0/24".parse().unwrap()];
    let mut cluster = VirtualCluster::with(init, 1, 1);
    let one = cluster.create_network(network_spec("one")).unwrap();
    let two = cluster.create_network(network_spec("two")).unwrap();
    assert_eq!((subnet(&cluster, one), subnet(&cluster, two)), ("10.0.1.0/24".into(), "10.9.0.0/24".into()));
    assert_eq!(cluster.create_network(network_spec("three")).unwrap_err(), Refusal::PoolExhausted);
    let gone = crate::command::remove_network(&cluster.store, one, cluster.now).unwrap();
    cluster.commit(&gone).unwrap();
    let three = cluster.create_network(network_spec("three")).unwrap();
    assert_eq!(subnet(&cluster, three), "10.0.1.0/24");
    let vnis: Vec<_> = cluster.store.networks().map(|network| network.vni.0).collect();
    assert!(vnis.contains(&4099) && !vnis.contains(&4097), "a VNI is never given again: {vnis:?}");
}

#[test]
fn a_pool_that_ends_at_the_last_address_is_no_trap() {
    let mut init = init_request();
    init.spec.default_address_pool = vec!["223.255.255.0/24".parse().unwrap()];
    let mut cluster = VirtualCluster::with(init, 1, 1);
    assert_eq!(cluster.create_network(network_spec("one")).unwrap_err(), Refusal::PoolExhausted);
    let pool: Vec<IpNet> = vec!["255.255.255.0/24".parse().unwrap()];
    let taken = pool.clone();
    assert_eq!(super::subnet::first_clear_cut(&pool, 24, taken), None);
    assert_eq!(
        super::subnet::first_clear_cut(&pool, 24, Vec::new()).unwrap().to_string(),
        "255.255.255.0/24"
    );
}

#[test]
fn addresses_are_given_in_rotation() {
    let mut cluster = VirtualCluster::new(1, 1);
    let net = cluster.create_network(in_subnet("net", "10.9.0.0/28")).unwrap();
    let service = cluster.create_service(joining("web", 1, &[net])).unwrap();
    cluster.run_for(SOON);
    let vip = cluster.store.service(service).unwrap().endpoint.vips[&net];
    let last = |cluster: &VirtualCluster| cluster.live(service)[0].endpoints[0].address.to_string();
    assert_eq!((vip.to_string().as_str(), last(&cluster).as_str()), ("10.9.0.2", "10.9.0.3"));
    let mut given = Vec::new();
    for _ in 0..13 {
        scale(&mut cluster, service, 0);
        scale(&mut cluster, service, 1);
        given.push(last(&cluster).rsplit('.').next().unwrap().parse::<u8>().unwrap());
    }
    assert_eq!(
        given,
        [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 3, 4],
        "the gateway, the VIP and the edges apart"
    );
}

#[test]
fn a_full_subnet_is_said_on_the_task_and_heals() {
    let mut cluster = VirtualCluster::new(1, 1);
    let net = cluster.create_network(in_subnet("net", "10.9.0.0/29")).unwrap();
    let service = cluster.create_service(joining("web", 6, &[net])).unwrap();
    cluster.run_for(SOON);
    assert_eq!(cluster.running(service), 4, "six hosts, less the gateway and the VIP");
    let stuck: Vec<Task> =
        cluster.live(service).into_iter().filter(|task| task.status.state == TaskState::New).collect();
    assert_eq!(stuck.len(), 2);
    for task in &stuck {
        assert_eq!(task.status.err, "no available addresses on network net (10.9.0.0/29)");
    }
    let refusal = cluster.create_service(joining("other", 1, &[net])).unwrap_err();
    assert_eq!(refusal.to_string(), "could not find an available IP in network net (10.9.0.0/29)");
    assert_eq!(refusal.kind(), crate::command::RefusalKind::Exhausted);
    let first = cluster.live(service)[0].clone();
    let now = cluster.now;
    cluster.agent(first.node.unwrap()).end(first.id, TaskState::Complete, now);
    scale(&mut cluster, service, 5);
    let states: Vec<_> = cluster.live(service).iter().map(|task| task.status.state).collect();
    assert_eq!(states.iter().filter(|state| **state == TaskState::Running).count(), 4);
    scale(&mut cluster, service, 4);
    assert_eq!(cluster.running(service), 4, "whoever waits gets what is given up");
    assert!(cluster.live(service).iter().all(|task| task.status.err.is_empty()));
}

#[test]
fn a_full_subnet_holds_up_nobody_else() {
    let mut cluster = VirtualCluster::new(1, 1);
    let small = cluster.create_network(in_subnet("small", "10.9.0.0/29")).unwrap();
    let large = cluster.create_network(network_spec("large")).unwrap();
    let both = cluster.create_service(joining("both", 8, &[large, small])).unwrap();
    let other = cluster.create_service(joining("other", 3, &[large])).unwrap();
    cluster.run_for(SOON);
    assert_eq!((cluster.running(both), cluster.running(other)), (4, 3));
    let stuck = cluster.live(both).into_iter().filter(|task| task.status.state == TaskState::New);
    assert!(stuck.inspect(|task| assert!(task.endpoints.is_empty(), "all or none")).count() == 4);
}

#[test]
fn a_task_that_publishes_joins_ingress_first() {
    let mut cluster = VirtualCluster::new(1, 1);
    let net = cluster.create_network(network_spec("net")).unwrap();
    let mut spec = joining("web", 1, &[net]);
    spec.endpoint.ports = vec![dynamic(80, PublishMode::Ingress)];
    let service = cluster.create_service(spec).unwrap();
    cluster.run_for(SOON);
    let task = cluster.live(service)[0].clone();
    let networks: Vec<_> = task.endpoints.iter().map(|endpoint| endpoint.network).collect();
    assert_eq!(networks, [cluster.store.ingress_network().unwrap().id, net]);
    assert_eq!(task.endpoints[0].address.to_string(), "10.0.0.2");
    let vips: Vec<_> = cluster.store.service(service).unwrap().endpoint.vips.keys().copied().collect();
    assert_eq!(vips, [net], "no address of the ingress network is spent on a VIP");
}

#[test]
fn dynamic_ports_are_given_once_and_kept() {
    let mut cluster = VirtualCluster::new(1, 1);
    let ports = |cluster: &VirtualCluster, service: ServiceId| -> Vec<u16> {
        cluster
            .store
            .service(service)
            .unwrap()
            .endpoint
            .ports
            .iter()
            .map(|port| port.published.get())
            .collect()
    };
    cluster.describe(NodeId::from_bits(1), |node| {
        node.listening = vec![(Port::new(30_001).unwrap(), Protocol::Tcp)];
    });
    cluster.run_for(SOON);
    let publishing = |name: &str, ports: &[PublishedPort]| {
        let mut spec = service_spec(name, 1);
        spec.endpoint.ports = ports.to_vec();
        spec
    };
    let asked = PublishedPort { published: Port::new(30_000), ..dynamic(1, PublishMode::Ingress) };
    let first =
        publishing("first", &[dynamic(81, PublishMode::Ingress), asked, dynamic(80, PublishMode::Ingress)]);
    let first = cluster.create_service(first).unwrap();
    assert_eq!(ports(&cluster, first), [30_002, 30_000, 30_003]);
    let second = cluster.create_service(publishing("second", &[dynamic(80, PublishMode::Host)])).unwrap();
    assert_eq!(
        ports(&cluster, second),
        [30_001],
        "in host mode the scheduler keeps off the node that listens"
    );
    cluster.update_service(first, |spec| spec.endpoint.ports.truncate(2)).unwrap();
    assert_eq!(ports(&cluster, first), [30_002, 30_000]);
    cluster
        .update_service(first, |spec| spec.endpoint.ports.push(dynamic(80, PublishMode::Ingress)))
        .unwrap();
    assert_eq!(ports(&cluster, first), [30_002, 30_000, 30_003]);
}

#[test]
fn a_port_that_a_service_has_stays_its_own() {
    let mut cluster = VirtualCluster::new(1, 1);
    let mut spec = service_spec("web", 1);
    let fixed = PublishedPort { published: Port::new(8080), ..dynamic(80, PublishMode::Ingress) };
    spec.endpoint.ports = vec![fixed, dynamic(81, PublishMode::Ingress)];
    let service = cluster.create_service(spec).unwrap();
    let ports = cluster.store.service(service).unwrap().endpoint.ports.clone();
    cluster.describe(NodeId::from_bits(1), |node| {
        node.listening =
            [8080, 30_000].into_iter().filter_map(Port::new).map(|port| (port, Protocol::Tcp)).collect();
    });
    cluster.run_for(SOON);
    scale(&mut cluster, service, 2);
    assert_eq!(cluster.store.service(service).unwrap().endpoint.ports, ports);
    let mut other = service_spec("other", 1);
    other.endpoint.ports = vec![fixed];
    assert!(cluster.create_service(other).is_err());
}

#[test]
fn dynamic_ports_run_out() {
    let mut cluster = VirtualCluster::new(1, 1);
    cluster.describe(NodeId::from_bits(1), |node| {
        node.listening = DYNAMIC_PORTS.filter_map(Port::new).map(|port| (port, Protocol::Tcp)).collect();
    });
    cluster.run_for(SOON);
    let mut spec = service_spec("web", 1);
    spec.endpoint.ports = vec![dynamic(80, PublishMode::Ingress)];
    let refusal = cluster.create_service(spec).unwrap_err();
    assert_eq!(refusal.to_string(), "no published port is free in 30000-32767 for protocol tcp");
    assert_eq!(refusal.kind(), crate::command::RefusalKind::Exhausted);
}

/// Everything of the cluster that must be nobody's twice, and the numbers that must only grow.
fn check_allocations(
    cluster: &VirtualCluster,
    seen: &mut BTreeMap<u32, crate::id::TaskId>,
) -> Result<(), TestCaseError> {
    let mut addresses: BTreeMap<(NetworkId, IpAddr), Key> = BTreeMap::new();
    let store = &cluster.store;
    let tasks = store.tasks().filter(|task| !task.status.state.is_final());
    let of_tasks = tasks.flat_map(|task| {
        task.endpoints.iter().map(|endpoint| (endpoint.network, endpoint.address, Key::Task(task.id)))
    });
    let of_services = store.services().flat_map(|service| {
        service.endpoint.vips.iter().map(|(network, address)| (*network, *address, Key::Service(service.id)))
    });
    let of_networks = store.networks().map(|network| (network.id, network.gateway, Key::Network(network.id)));
    for (network, address, owner) in of_tasks.chain(of_services).chain(of_networks) {
        let subnet = store.network(network).unwrap().subnet;
        prop_assert!(
            subnet.contains(&address) && address != subnet.network() && address != subnet.broadcast()
        );
        prop_assert_eq!(addresses.insert((network, address), owner), None, "{} given twice", address);
    }
    let vnis: BTreeSet<_> = store.networks().map(|network| network.vni).collect();
    prop_assert_eq!(vnis.len(), store.networks().count());
    let ports: Vec<_> = store
        .services()
        .flat_map(|service| &service.endpoint.ports)
        .filter(|port| port.mode == PublishMode::Ingress)
        .map(|port| (port.published, port.protocol))
        .collect();
    prop_assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len());
    for task in store.tasks() {
        for endpoint in &task.endpoints {
            prop_assert_eq!(
                *seen.entry(endpoint.id.0).or_insert(task.id),
                task.id,
                "endpoint id given twice"
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(crate::testing::cases(12))]

    /// Whatever is created, scaled, killed and removed: nothing is given twice, and in the end nothing is left.
    #[test]
    fn nothing_is_given_twice_and_nothing_leaks(seed: u64) {
        let mut cluster = VirtualCluster::new(3, seed);
        let nets: Vec<_> = (0..2).map(|n| {
            cluster.create_network(in_subnet(&format!("net{n}"), &format!("10.9.{n}.0/28"))).unwrap()
        }).collect();
        let (mut services, mut seen) = (Vec::new(), BTreeMap::new());
        for round in 0..25 {
            match cluster.below(6) {
                0 | 1 => {
                    let net = nets[usize::from(cluster.below(2) == 0)];
                    let mut spec = joining(&format!("s{round}"), 1, &[net]);
                    if cluster.below(2) == 0 {
                        spec.endpoint.ports = vec![dynamic(80, PublishMode::Ingress)];
                    }
                    services.extend(cluster.create_service(spec).ok());
                }
                2 | 3 if !services.is_empty() => {
                    let at = usize::try_from(cluster.below(services.len() as u64)).unwrap();
                    let replicas = u32::try_from(cluster.below(6)).unwrap();
                    cluster.update_service(services[at], |spec| spec.mode = ServiceMode::Replicated { replicas }).unwrap();
                }
                4 if !services.is_empty() => {
                    let at = usize::try_from(cluster.below(services.len() as u64)).unwrap();
                    cluster.remove_service(services.swap_remove(at)).unwrap();
                }
                _ => {
                    let task = cluster.store.tasks().find(|task| task.status.state == TaskState::Running).cloned();
                    let now = cluster.now;
                    if let Some(task) = task {
                        cluster.agent(task.node.unwrap()).end(task.id, TaskState::Failed, now);
                    }
                }
            }
            let pause = Duration::from_millis(cluster.below(60));
            cluster.run_for(pause);
            check_allocations(&cluster, &mut seen)?;
        }
        for service in services {
            cluster.remove_service(service).unwrap();
        }
        cluster.run_for(SOON);
        prop_assert_eq!(cluster.store.task_count(), 0);
        for net in nets {
            let left: Vec<_> = cluster.store.network_addresses(net).map(|(_, owner)| owner).collect();
            prop_assert_eq!(left, vec![Key::Network(net)], "an address leaked");
            crate::command::remove_network(&cluster.store, net, cluster.now).unwrap();
        }
        cluster.check_assignments();
    }
}

proptest! {
    #![proptest_config(crate::testing::cases(256))]

    /// A cut lies in a pool, on a multiple of its size, clear of what is taken; and none before it does.
    #[test]
    fn the_first_clear_cut_is_taken(
        pool in (0_u32..4, 22_u8..=24),
        prefix_len in 24_u8..=28,
        taken in proptest::collection::vec((0_u32..1 << 8, 24_u8..=30), 0..12),
    ) {
        let net = |bits: u32, prefix_len: u8| {
            ipnet::Ipv4Net::new(std::net::Ipv4Addr::from_bits(0x0a00_0000 + bits), prefix_len).unwrap().trunc()
        };
        let pool = net(pool.0 << 8, pool.1);
        let taken: Vec<IpNet> = taken.into_iter().map(|(bits, len)| net(bits << 2, len).into()).collect();
        let clear = |cut: &ipnet::Ipv4Net| taken.iter().all(|other| !super::overlap(other, &IpNet::V4(*cut)));
        let naive = pool.subnets(prefix_len).unwrap().find(clear);
        prop_assert_eq!(super::subnet::first_clear_cut(&[pool.into()], prefix_len, taken.clone()), naive);
    }
}

#[test]
fn a_full_ingress_network_is_said_on_the_task_and_heals() {
    let mut init = init_request();
    (init.spec.default_address_pool, init.spec.subnet_prefix_len) =
        (vec!["10.0.0.0/29".parse().unwrap()], 29);
    let mut cluster = VirtualCluster::with(init, 1, 1);
    let mut spec = service_spec("web", 8);
    spec.endpoint.ports = vec![dynamic(80, PublishMode::Ingress)];
    let web = cluster.create_service(spec).unwrap();
    cluster.run_for(SOON);
    assert_eq!(cluster.running(web), 5, "six hosts, less the gateway");
    for task in cluster.live(web).iter().filter(|task| task.status.state == TaskState::New) {
        assert_eq!(task.status.err, "no available addresses on network ingress (10.0.0.0/29)");
    }
    let plain = cluster.create_service(service_spec("plain", 2)).unwrap();
    cluster.run_for(SOON);
    assert_eq!(cluster.running(plain), 2);
    scale(&mut cluster, web, 5);
    assert_eq!(cluster.running(web), 5);
}
