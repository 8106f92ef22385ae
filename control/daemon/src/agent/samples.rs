//! A small cluster for tests: two networks and ingress, two services, this node and one other.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use mesh_core::assignment::{AssignmentSet, EndpointView, NetworkView, PublishedView, ServiceView};
use mesh_core::id::{NetworkId, NodeId, ServiceId, TaskId};
use mesh_core::object::{EndpointId, Meta, Task, TaskEndpoint, TaskState, TaskStatus, Vni};
use mesh_core::port::{Port, Protocol};
use mesh_core::spec::{ContainerSpec, Placement, Resources, RestartPolicy, TaskSpec};
use mesh_core::time::Timestamp;

use super::facts::{LocalTask, NodeFacts};

pub const HERE: u128 = 1;
pub const THERE: u128 = 2;
pub const INGRESS: u128 = 10;
pub const FRONT: u128 = 11;
pub const BACK: u128 = 12;
pub const WEB: u128 = 20;
pub const DB: u128 = 21;

pub fn net(id: u128) -> NetworkId {
    NetworkId::from_bits(id)
}

pub fn address(third: u8, last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, third, last).into()
}

pub fn node() -> NodeFacts {
    NodeFacts {
        id: NodeId::from_bits(HERE),
        hostname: "n1".into(),
        data_path_addr: [192, 0, 2, 11].into(),
        uplinks: vec!["eth0".into()],
        path_mtu: 1500,
        upstreams: vec![([192, 0, 2, 53], 53).into()],
    }
}

/// Task `id` of web: in ingress and front, with the addresses 10.0.0.`id` and 10.0.1.`id`.
pub fn task(id: u8, slot: u32) -> Task {
    let endpoint = |place: u8, network: u128| TaskEndpoint {
        id: EndpointId(u32::from(place) * 100 + u32::from(id)),
        network: net(network),
        address: address(place, id),
    };
    Task {
        id: TaskId::from_bits(u128::from(id)),
        meta: Meta::default(),
        service: ServiceId::from_bits(WEB),
        service_name: "web".parse().unwrap(),
        spec: Arc::new(TaskSpec {
            container: ContainerSpec { image: "mesh/whoami:1".into(), ..ContainerSpec::default() },
            resources: Resources::default(),
            restart: RestartPolicy::default(),
            placement: Placement::default(),
            networks: Vec::new(),
            force_update: 0,
        }),
        spec_version: 1,
        slot,
        node: Some(NodeId::from_bits(HERE)),
        desired_state: TaskState::Running,
        start_at: Timestamp::ZERO,
        restarts: Vec::new(),
        status: TaskStatus {
            state: TaskState::Assigned,
            timestamp: Timestamp::ZERO,
            message: String::new(),
            err: String::new(),
            container: None,
        },
        endpoints: vec![endpoint(0, INGRESS), endpoint(1, FRONT)],
        host_ports: Vec::new(),
        running_at: None,
        leaving: None,
        generic: std::collections::BTreeMap::new(),
        job_iteration: None,
        watched: false,
    }
}

fn network(id: u128, name: &str, third: u8) -> (NetworkId, NetworkView) {
    let view = NetworkView {
        name: name.into(),
        vni: Vni(4096 + u32::from(third)),
        subnet: format!("10.0.{third}.0/24").parse().unwrap(),
        gateway: address(third, 1),
        internal: id == BACK,
        ingress: id == INGRESS,
        mtu: None,
    };
    (net(id), view)
}

/// An endpoint of task `id`; see [`task`].
pub fn endpoint(place: u8, network: u128, id: u8, node: u128) -> (EndpointId, EndpointView) {
    let view = EndpointView {
        network: net(network),
        address: address(place, id),
        node: NodeId::from_bits(node),
        task: TaskId::from_bits(u128::from(id)),
        task_name: format!("web.{id}.T{id}"),
        hostname: None,
        service: ServiceId::from_bits(WEB),
        active: true,
    };
    (EndpointId(u32::from(place) * 100 + u32::from(id)), view)
}

/// Task 2 of web runs here, task 3 there; db has a VIP in `Back` and no task.
pub fn set() -> AssignmentSet {
    let web = ServiceView {
        name: "Web".into(),
        vips: [(net(INGRESS), address(0, 250)), (net(FRONT), address(1, 250))].into(),
        aliases: [(net(INGRESS), vec![]), (net(FRONT), vec!["WWW".into()])].into(),
        published: vec![PublishedView {
            published: Port::new(8080).unwrap(),
            target: Port::new(80).unwrap(),
            protocol: Protocol::Tcp,
        }],
    };
    let db = ServiceView {
        name: "db".into(),
        vips: [(net(BACK), address(2, 250))].into(),
        aliases: [(net(BACK), vec![])].into(),
        published: vec![],
    };
    AssignmentSet {
        tasks: [(TaskId::from_bits(2), task(2, 1))].into(),
        peers: Arc::new([(NodeId::from_bits(THERE), [192, 0, 2, 12].into())].into()),
        networks: [network(INGRESS, "ingress", 0), network(FRONT, "Front", 1), network(BACK, "Back", 2)]
            .into(),
        endpoints: [
            endpoint(0, INGRESS, 2, HERE),
            endpoint(1, FRONT, 2, HERE),
            endpoint(0, INGRESS, 3, THERE),
            endpoint(1, FRONT, 3, THERE),
        ]
        .into(),
        services: [(ServiceId::from_bits(WEB), web), (ServiceId::from_bits(DB), db)].into(),
        ..AssignmentSet::default()
    }
}

/// Task 2 as it is on this node.
pub fn local() -> LocalTask {
    LocalTask {
        netns: "/run/mesh/netns/2".into(),
        dns_client: Ipv4Addr::new(198, 18, 1, 2),
        endpoints: task(2, 1).endpoints,
        serving: true,
    }
}
