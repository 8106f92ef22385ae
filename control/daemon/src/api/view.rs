//! What the dataplane tells, with the names that a manager's store has for its numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_api::mesh::{Backend, Counters, Flow, Traffic, Vip};
use mesh_core::store::Store;
use mesh_core::time::Timestamp;
use mesh_dataplane::desired::Protocol;
use mesh_dataplane::{BackendView, FlowEvent, FlowKind, FlowPath, FlowRecord, FlowState, LiveFlow, VipView};

use super::convert::time_text;
use crate::clock::now;
use crate::daemon::Daemon;

/// Names of networks, tasks and nodes; empty on a worker, which knows numbers and addresses.
#[derive(Default)]
pub struct Names {
    networks: BTreeMap<u32, String>,
    /// Task and node's host name, by endpoint.
    endpoints: BTreeMap<u32, (String, String)>,
}

impl Names {
    /// The names that `daemon` knows now.
    pub fn of(daemon: &Daemon) -> Self {
        Daemon::manager(daemon).map_or_else(|_| Self::default(), |raft| Self::read(&raft.store()))
    }

    fn read(store: &Store) -> Self {
        let mut names = Self::default();
        for network in store.networks() {
            names.networks.insert(network.vni.0, network.spec.name.to_string());
        }
        for task in store.tasks() {
            let node = task.node.and_then(|node| store.node(node));
            let node = node.map(|node| node.description.hostname.clone()).unwrap_or_default();
            for endpoint in &task.endpoints {
                names.endpoints.insert(endpoint.id.0, (task.name(), node.clone()));
            }
        }
        names
    }

    /// A virtual address or published port.
    pub fn vip(&self, seen: VipView) -> Vip {
        let (port, protocol) = match seen.port {
            Some((port, protocol)) => (port, protocol_word(protocol).to_owned()),
            None => (0, String::new()),
        };
        let vni = seen.network.unwrap_or(0);
        Vip {
            service: seen.service,
            network: self.networks.get(&vni).cloned().unwrap_or_default(),
            vni,
            address: seen.address.map(|address| address.to_string()).unwrap_or_default(),
            published_port: port,
            protocol,
            backends: seen.backends.iter().map(|backend| self.backend(backend)).collect(),
        }
    }

    fn backend(&self, seen: &BackendView) -> Backend {
        let (task, node) = self.endpoints.get(&seen.endpoint).cloned().unwrap_or_default();
        let address = || seen.node.map(|node| node.to_string()).unwrap_or_default();
        Backend {
            id: seen.endpoint,
            address: seen.address.to_string(),
            task,
            node: if node.is_empty() { address() } else { node },
        }
    }

    /// A flow that is remembered.
    pub fn live_flow(&self, seen: LiveFlow) -> Flow {
        let state = match seen.state {
            FlowState::Opening => "opening",
            FlowState::Replied => "replied",
            FlowState::Established => "established",
            FlowState::Closing => "closing",
        };
        Flow {
            time: time_text(now() - Duration::from_nanos(seen.age)),
            state: state.to_owned(),
            idle: seen.idle,
            ..self.path(seen.path)
        }
    }

    /// Something that happened to a flow.
    pub fn flow_event(&self, seen: FlowRecord) -> Flow {
        let event = match seen.event {
            FlowEvent::New => "new",
            FlowEvent::Closed => "closed",
        };
        Flow { time: time_text(wall_clock(seen.at)), event: event.to_owned(), ..self.path(seen.path) }
    }

    fn path(&self, path: FlowPath) -> Flow {
        let kind = match path.kind {
            FlowKind::Vip => "vip",
            FlowKind::Direct => "direct",
            FlowKind::Published => "published",
        };
        let task = self.endpoints.get(&path.endpoint).map(|(task, _)| task.clone());
        Flow {
            kind: kind.to_owned(),
            protocol: protocol_word(path.protocol).to_owned(),
            vni: path.network.unwrap_or(0),
            client: path.client.to_string(),
            frontend: path.frontend.to_string(),
            backend: path.backend.to_string(),
            endpoint: path.endpoint,
            task: task.unwrap_or_default(),
            service: path.service.unwrap_or_default(),
            ingress_node: path.ingress_node.map(|node| node.to_string()).unwrap_or_default(),
            ..Flow::default()
        }
    }
}

fn protocol_word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// The time of day at a reading of `CLOCK_MONOTONIC`, in nanoseconds.
fn wall_clock(at: u64) -> Timestamp {
    let clock = nix::time::ClockId::CLOCK_MONOTONIC;
    let monotonic = clock.now().map_or(Duration::ZERO, Duration::from);
    now() - monotonic.saturating_sub(Duration::from_nanos(at))
}

/// The dataplane's counters.
pub fn counters(seen: mesh_dataplane::Counters) -> Counters {
    let traffic =
        |traffic: mesh_dataplane::Traffic| Traffic { packets: traffic.packets, bytes: traffic.bytes };
    Counters {
        paths: seen.paths.into_iter().map(|(name, seen)| (name.to_owned(), traffic(seen))).collect(),
        drops: seen.drops.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
        healed: seen.healed,
        flows_expired: seen.flows_expired,
    }
}
