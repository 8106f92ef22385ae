//! Requests with sensible defaults.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::command::{InitCluster, JoinNode};
use crate::id::{ClusterId, NodeId};
use crate::name::Name;
use crate::object::{ManagerStatus, NodeDescription};
use crate::secret::Secret;
use crate::spec::{
    ClusterSpec, ContainerSpec, EndpointSpec, Labels, NetworkSpec, NodeSpec, Placement, ResourceAmount,
    Resources, RestartPolicy, Role, ServiceMode, ServiceSpec, TaskSpec, UpdateConfig,
};

fn name(text: &str) -> Name {
    text.parse().expect("a valid name")
}

/// A new cluster whose first node is node 1.
pub fn init_request() -> InitCluster {
    let mut node = join_request(1);
    node.spec.role = Role::Manager;
    node.manager = Some(ManagerStatus { raft_id: 1, addr: (node.addr, 2377).into() });
    InitCluster {
        id: ClusterId::from_bits(1),
        spec: ClusterSpec::default(),
        trust: "root".to_owned(),
        signer: [1; 32],
        signing_key: Secret::new("key"),
        unlock_key: Secret::new("SWMKEY-1-unlock"),
        worker_token: Secret::new("worker"),
        manager_token: Secret::new("manager"),
        node,
    }
}

/// Worker `number`: `n1`, `n2`, … with 4 cores and 8 GiB.
pub fn join_request(number: u32) -> JoinNode {
    let addr = IpAddr::V4(Ipv4Addr::from_bits(0xac10_0000 + number));
    JoinNode {
        id: NodeId::from_bits(u128::from(number)),
        spec: NodeSpec::default(),
        description: NodeDescription {
            hostname: format!("n{number}"),
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            resources: ResourceAmount { nano_cpus: 4_000_000_000, memory_bytes: 8 << 30 },
            engine_version: "test".to_owned(),
            ..NodeDescription::default()
        },
        addr,
        data_path_addr: addr,
        issuer: [1; 32],
        manager: None,
    }
}

/// A replicated service that restarts at once.
pub fn service_spec(service: &str, replicas: u32) -> ServiceSpec {
    ServiceSpec {
        name: name(service),
        labels: Labels::new(),
        mode: ServiceMode::Replicated { replicas },
        task: TaskSpec {
            container: ContainerSpec { image: "mesh/whoami:1".to_owned(), ..ContainerSpec::default() },
            resources: Resources::default(),
            restart: RestartPolicy { delay: Duration::ZERO, ..RestartPolicy::default() },
            placement: Placement::default(),
            networks: Vec::new(),
            force_update: 0,
        },
        endpoint: EndpointSpec::default(),
        update: UpdateConfig::default(),
        rollback: UpdateConfig::default(),
    }
}

/// A network with everything left to the cluster.
pub fn network_spec(network: &str) -> NetworkSpec {
    NetworkSpec {
        name: name(network),
        labels: Labels::new(),
        subnet: None,
        gateway: None,
        internal: false,
        attachable: false,
        ingress: false,
        mtu: None,
    }
}
