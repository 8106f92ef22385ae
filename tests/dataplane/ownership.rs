//! What the dataplane owns, what it leaves, and what it refuses.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use mesh_dataplane::netlink::{Netlink, Veth, VethEnd};
use mesh_dataplane::{Dataplane, DataplaneError, sysctl};

use crate::traffic::{tcp, tcp_server};
use crate::world::{PUBLISHED, TARGET, VNI, World};

const RESERVED: &str = "net/ipv4/ip_local_reserved_ports";

#[tokio::test(flavor = "multi_thread")]
async fn leaving_leaves_nothing() {
    let mut world = World::with_service(2, 2).await;
    let node = &world.nodes[0];
    let devices = ["eth0", "lo", "mesh-dns", "mesh-vx", "mv1"].map(str::to_owned);
    assert_eq!(node.devices().await, BTreeSet::from(devices));
    assert_eq!(sysctl::read(&node.netns, RESERVED).unwrap(), PUBLISHED.to_string());
    let dns = node.dataplane().dns_netns();
    assert!(dns.exists());

    let dataplane = world.nodes[0].dataplane.take().unwrap();
    dataplane.leave().await.unwrap();
    let node = &world.nodes[0];
    assert_eq!(node.devices().await, BTreeSet::from(["eth0", "lo"].map(str::to_owned)));
    assert_eq!(sysctl::read(&node.netns, RESERVED).unwrap(), "");
    assert!(!dns.exists());
    assert_eq!(world.mounts(&node.run_dir), 0);
    let left: Vec<_> = std::fs::read_dir(&node.run_dir).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    // A second start is a clean one.
    world.nodes[0].open().await;
    world.apply().await;
    assert!(world.nodes[0].devices().await.contains("mv1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_of_an_earlier_run_are_removed_and_others_devices_are_not() {
    let mut world = World::new(1).await;
    let netlink = Netlink::open(&world.nodes[0].netns).unwrap();
    for (here, there) in [("mv99", "orphan"), ("mvx", "foreign")] {
        let end = |name| VethEnd { name, mac: None, netns: None };
        netlink.add_veth(&Veth { here: end(here), there: end(there), mtu: 1500 }).await.unwrap();
    }
    world.add_task(1, 0, VNI, Ipv4Addr::new(10, 0, 1, 3));
    world.apply().await;
    let devices = world.nodes[0].devices().await;
    assert!(!devices.contains("mv99") && devices.contains("mvx"), "{devices:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uplinks_new_address_is_answered_on() {
    let world = World::with_service(2, 1).await;
    tcp_server(&world.task(1).netns, TARGET, "1");
    let netlink = Netlink::open(&world.nodes[1].netns).unwrap();
    let address = Ipv4Addr::new(192, 0, 2, 99);
    netlink.add_address("eth0", "192.0.2.99/24".parse().unwrap()).await.unwrap();
    // Until the daemon has followed, the node's kernel refuses at once.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while tcp(&world.client, (address, PUBLISHED)).is_err() {
        assert!(std::time::Instant::now() < deadline);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_endpoint_that_cannot_be_made_does_not_keep_the_others() {
    let mut world = World::with_service(1, 1).await;
    let good = world.state(0);
    world.add_task(2, 0, VNI, Ipv4Addr::new(10, 0, 1, 9));
    let mut bad = world.state(0);
    let mut gone = bad.endpoints[&2].clone();
    if let mesh_dataplane::desired::Location::Local(local) = &mut gone.location {
        local.netns = "/run/mesh-no-such-namespace".into();
    }
    bad.endpoints
        .insert(3, mesh_dataplane::desired::Endpoint { address: "10.0.1.10".parse().unwrap(), ..gone });
    if let mesh_dataplane::desired::Location::Local(local) = &mut bad.endpoints.get_mut(&3).unwrap().location
    {
        local.dns_client = None;
    }
    let dataplane = world.nodes[0].dataplane();
    let errors = dataplane.apply(bad).await.unwrap_err().errors;
    assert!(matches!(errors[..], [DataplaneError::Endpoint { id: 3, .. }]), "{errors:?}");
    assert!(errors[0].may_pass());
    let devices = world.nodes[0].devices().await;
    assert!(devices.contains("mv2") && !devices.contains("mv3"), "{devices:?}");
    dataplane.apply(good).await.unwrap();
    assert!(!world.nodes[0].devices().await.contains("mv2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_contradicts_the_node_is_refused_before_anything_is_touched() {
    let mut world = World::new(1).await;
    world.add_task(1, 0, VNI, Ipv4Addr::new(10, 0, 1, 3));
    let refuse = async |edit: fn(&mut mesh_dataplane::desired::DesiredState)| {
        let mut state = world.state(0);
        edit(&mut state);
        world.nodes[0].dataplane().apply(state).await.unwrap_err().to_string()
    };
    assert_eq!(
        refuse(|state| state.node.uplinks = vec!["eth7".to_owned()]).await,
        "uplink eth7 does not exist on this node (name another with --uplink)"
    );
    assert_eq!(
        refuse(|state| state.node.data_path_addr = "192.0.2.77".parse().unwrap()).await,
        "data path address 192.0.2.77 is on none of the uplinks eth0 (see --data-path-addr and --uplink)"
    );
    assert_eq!(
        refuse(|state| state.endpoints.get_mut(&1).unwrap().vni = 5).await,
        "the desired state is not usable: endpoints.1.vni: there is no network 5"
    );
    assert_eq!(world.nodes[0].devices().await, BTreeSet::from(["eth0", "lo"].map(str::to_owned)));
}

#[tokio::test]
async fn without_a_namespace_there_is_no_dataplane() {
    let config = mesh_dataplane::Config {
        netns: Some("/run/mesh-no-such-namespace".into()),
        run_dir: std::env::temp_dir().join(format!("mesh-none-{}", std::process::id())),
        ..mesh_dataplane::Config::default()
    };
    assert!(matches!(Dataplane::open(config).await, Err(DataplaneError::Netns(_))));
}
