//! Every request that is taken, and every reason for which one is refused, in its words.

mod cluster;
mod content;
mod fields;
mod members;
mod network;
mod node;
mod root;
mod update;

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::id::{NetworkId, NodeId, ServiceId};
use crate::object::{ManagerStatus, Node, NodeState, VNI_MIN};
use crate::port::{Port, Protocol, PublishMode, PublishedPort};
use crate::spec::{
    Availability, ClusterSpec, EndpointMode, NetworkAttachment, NetworkSpec, NodeSpec, Role, ServiceMode,
    ServiceSpec,
};
use crate::store::{Store, Transaction};
use crate::testing::{Seeded, init_request, join_request, network_spec, service_spec};
use crate::time::Timestamp;

const AT: Timestamp = Timestamp(5);

/// No manager but those that need not answer.
const NOBODY: BTreeSet<u64> = BTreeSet::new();

/// A store and the commands on it, each applied as soon as it is made.
struct Bench {
    store: Store,
    entropy: Seeded,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self { store: Store::default(), entropy: Seeded(3) };
        let begin = init_cluster(&bench.store, init_request(), AT, &mut bench.entropy).unwrap();
        bench.apply(&begin);
        bench
    }

    fn apply(&mut self, transaction: &Transaction) {
        let index = self.store.index() + 1;
        self.store.apply(index, transaction).unwrap();
    }

    fn network(&mut self, spec: NetworkSpec) -> Result<NetworkId, Refusal> {
        let (id, made) = create_network(&self.store, spec, AT, &mut self.entropy)?;
        self.apply(&made);
        Ok(id)
    }

    fn service(&mut self, spec: ServiceSpec) -> Result<ServiceId, Refusal> {
        let (id, made) = create_service(&self.store, spec, AT, &mut self.entropy)?;
        self.apply(&made);
        Ok(id)
    }

    fn update(&mut self, id: ServiceId, change: impl FnOnce(&mut ServiceSpec)) -> Result<(), Refusal> {
        let old = self.store.service(id).unwrap().clone();
        let mut spec = old.spec.clone();
        change(&mut spec);
        let made = update_service(&self.store, id, old.meta.version, spec, AT)?;
        self.apply(&made);
        Ok(())
    }

    /// Node `number` as it is.
    fn node(&self, number: u128) -> &Node {
        self.store.node(NodeId::from_bits(number)).unwrap()
    }

    fn join(&mut self, number: u32, change: impl FnOnce(&mut JoinNode)) -> Result<NodeId, Refusal> {
        let mut request = join_request(number);
        change(&mut request);
        let id = request.id;
        let made = join_node(&self.store, request, AT)?;
        self.apply(&made);
        Ok(id)
    }
}

fn port(published: u16, mode: PublishMode, protocol: Protocol) -> PublishedPort {
    PublishedPort { published: Port::new(published), target: Port::new(80).unwrap(), protocol, mode }
}

fn tcp(published: u16) -> PublishedPort {
    port(published, PublishMode::Ingress, Protocol::Tcp)
}

fn publishing(name: &str, ports: &[PublishedPort]) -> ServiceSpec {
    let mut spec = service_spec(name, 1);
    spec.endpoint.ports = ports.to_vec();
    spec
}

fn joining(name: &str, networks: &[NetworkId]) -> ServiceSpec {
    let mut spec = service_spec(name, 1);
    spec.task.networks =
        networks.iter().map(|network| NetworkAttachment { network: *network, aliases: Vec::new() }).collect();
    spec
}

fn in_subnet(name: &str, subnet: &str) -> NetworkSpec {
    NetworkSpec { subnet: Some(subnet.parse().unwrap()), ..network_spec(name) }
}

fn words<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> (RefusalKind, String) {
    let refusal = outcome.unwrap_err();
    (refusal.kind(), refusal.to_string())
}

/// The part in raft of the manager with this number.
fn status(raft_id: u64) -> ManagerStatus {
    ManagerStatus { raft_id, addr: ([192, 0, 2, 10], 2377).into() }
}

type Change = fn(&mut ServiceSpec);

#[test]
fn names_are_taken_once() {
    let mut bench = Bench::new();
    bench.service(service_spec("web", 1)).unwrap();
    bench.network(network_spec("net")).unwrap();
    let service = bench.service(service_spec("Web", 1));
    let kind = RefusalKind::AlreadyExists;
    assert_eq!(
        words(service),
        (kind, "name conflicts with an existing object: service Web already exists".into())
    );
    let network = bench.network(network_spec("net"));
    assert_eq!(
        words(network),
        (kind, "name conflicts with an existing object: network net already exists".into())
    );
    bench.service(service_spec("net", 1)).unwrap();
    let second = NetworkSpec { ingress: true, ..network_spec("second") };
    assert_eq!(words(bench.network(second)), (kind, "ingress network (ingress) is already present".into()));
}

#[test]
fn what_is_unknown_is_said_by_its_id() {
    let mut bench = Bench::new();
    let missing = |what: &str| (RefusalKind::NotFound, format!("{what} 0000000000000000000000009 not found"));
    let (service, network) = (ServiceId::from_bits(9), NetworkId::from_bits(9));
    assert_eq!(words(bench.service(joining("a", &[network]))), missing("network"));
    assert_eq!(words(update_service(&bench.store, service, 1, service_spec("a", 1), AT)), missing("service"));
    assert_eq!(words(scale_service(&bench.store, service, 1, 2, AT)), missing("service"));
    assert_eq!(words(remove_service(&bench.store, service, AT)), missing("service"));
    assert_eq!(words(remove_network(&bench.store, network, AT)), missing("network"));
    let node = NodeId::from_bits(9);
    assert_eq!(words(update_node(&bench.store, node, 1, NodeSpec::default(), &NOBODY, AT)), missing("node"));
    assert_eq!(words(remove_node(&bench.store, node, true, &NOBODY, AT)), missing("node"));
    assert_eq!(words(depart_node(&bench.store, node, true, &NOBODY, AT)), missing("node"));
    assert_eq!(words(rejoin_node(&bench.store, join_request(9), &NOBODY, AT)), missing("node"));
    assert_eq!(words(renew_node(&bench.store, node, [2; 32], AT)), missing("node"));
    assert_eq!(words(enter_raft(&bench.store, node, status(9), AT)), missing("node"));
    assert_eq!(words(leave_raft(&bench.store, node, AT)), missing("node"));
    assert_eq!(words(force_new_cluster(&bench.store, node, &status(9), AT)), missing("node"));
}

#[test]
fn published_ports_are_refused_with_who_has_them() {
    let mut bench = Bench::new();
    let node = bench
        .join(2, |join| join.description.listening = vec![(Port::new(22).unwrap(), Protocol::Tcp)])
        .unwrap();
    let web = bench.service(publishing("web", &[tcp(8080)])).unwrap();
    let host = bench.service(publishing("host", &[port(9090, PublishMode::Host, Protocol::Tcp)])).unwrap();
    let kind = RefusalKind::FailedPrecondition;
    let refusals = [
        (tcp(8080), format!("port '8080' is already in use by service 'web' ({web}) as an ingress port")),
        (
            tcp(9090),
            format!("port '9090' is already in use by service 'host' ({host}) as a host-published port"),
        ),
        (
            port(8080, PublishMode::Host, Protocol::Tcp),
            format!("port '8080' is already in use by service 'web' ({web}) as an ingress port"),
        ),
        (tcp(2377), "port 2377/tcp is reserved for cluster management".into()),
        (
            port(7946, PublishMode::Ingress, Protocol::Udp),
            "port 7946/udp is reserved for probes between nodes".into(),
        ),
        (port(4789, PublishMode::Host, Protocol::Udp), "port 4789/udp is reserved for the overlay".into()),
        (tcp(22), format!("port 22/tcp is in use by a process on node n2 ({node})")),
    ];
    for (asked, refusal) in refusals {
        assert_eq!(words(bench.service(publishing("other", &[asked]))), (kind, refusal));
    }
    // What listened on a node that is not there hinders nobody.
    let mut away = bench.store.clone();
    let left = depart_node(&away, node, true, &NOBODY, AT).unwrap();
    away.apply(away.index() + 1, &left).unwrap();
    create_service(&away, publishing("other", &[tcp(22)]), AT, &mut Seeded(99)).unwrap();
    let free = [
        port(8080, PublishMode::Ingress, Protocol::Udp),
        port(9090, PublishMode::Host, Protocol::Tcp),
        port(22, PublishMode::Host, Protocol::Tcp),
        port(2377, PublishMode::Ingress, Protocol::Udp),
        port(4789, PublishMode::Ingress, Protocol::Tcp),
    ];
    bench.service(publishing("other", &free)).unwrap();
}

#[test]
fn a_port_given_up_can_be_published_again() {
    let mut bench = Bench::new();
    let web = bench.service(publishing("web", &[tcp(8080), tcp(8081)])).unwrap();
    bench.update(web, |spec| spec.endpoint.ports = vec![tcp(8081), tcp(8082)]).unwrap();
    bench.service(publishing("other", &[tcp(8080)])).unwrap();
    assert!(bench.service(publishing("third", &[tcp(8082)])).is_err());
    let gone = remove_service(&bench.store, web, AT).unwrap();
    bench.apply(&gone);
    bench.service(publishing("third", &[tcp(8082)])).unwrap();
}

#[test]
fn publishing_needs_the_ingress_network() {
    let mut bench = Bench::new();
    let ingress = bench.store.ingress_network().unwrap().id;
    let gone = remove_network(&bench.store, ingress, AT).unwrap();
    bench.apply(&gone);
    let refusal = "service needs ingress network, but no ingress network is present";
    assert_eq!(
        words(bench.service(publishing("a", &[tcp(80)]))),
        (RefusalKind::FailedPrecondition, refusal.into())
    );
    bench.network(NetworkSpec { ingress: true, ..network_spec("door") }).unwrap();
    bench.service(publishing("a", &[tcp(80)])).unwrap();
}

#[test]
fn updates_happen_at_the_version_that_was_read() {
    let mut bench = Bench::new();
    let id = bench.service(service_spec("web", 1)).unwrap();
    let spec = bench.store.service(id).unwrap().spec.clone();
    let stale = update_service(&bench.store, id, 1, spec, AT);
    assert_eq!(words(stale), (RefusalKind::OutOfSequence, "update out of sequence".into()));
    bench.update(id, |spec| spec.mode = ServiceMode::Replicated { replicas: 4 }).unwrap();
    let service = bench.store.service(id).unwrap();
    assert_eq!(service.previous_spec.as_ref().unwrap().mode, ServiceMode::Replicated { replicas: 1 });
    let scaled = scale_service(&bench.store, id, service.meta.version, 9, AT).unwrap();
    bench.apply(&scaled);
    assert_eq!(bench.store.service(id).unwrap().spec.mode, ServiceMode::Replicated { replicas: 9 });
}

#[test]
fn what_a_service_is_stays() {
    let mut bench = Bench::new();
    let id = bench.service(service_spec("web", 1)).unwrap();
    let renamed = bench.update(id, |spec| spec.name = "other".parse().unwrap());
    assert_eq!(words(renamed).1, "invalid name: renaming services is not supported");
    let changed = bench.update(id, |spec| spec.mode = ServiceMode::Global);
    assert_eq!(words(changed).1, "invalid mode: service mode change is not allowed");
    let mut spec = service_spec("agent", 1);
    spec.mode = ServiceMode::Global;
    let agent = bench.service(spec).unwrap();
    let version = bench.store.service(agent).unwrap().meta.version;
    let scaled = scale_service(&bench.store, agent, version, 2, AT);
    assert_eq!(
        words(scaled).1,
        "invalid mode: scale can only be used with replicated or replicated-job mode"
    );
}

#[test]
fn what_running_tasks_need_not_know_is_updated() {
    let mut bench = Bench::new();
    let net = bench.network(network_spec("net")).unwrap();
    let mut spec = joining("web", &[net]);
    spec.endpoint.ports = vec![tcp(8080)];
    let id = bench.service(spec).unwrap();
    let endpoint = |bench: &Bench| bench.store.service(id).unwrap().endpoint.clone();
    let vip = endpoint(&bench).vips;
    bench.update(id, |spec| spec.labels = [("a".to_owned(), "b".to_owned())].into()).unwrap();
    bench.update(id, |spec| spec.endpoint.ports.push(tcp(8081))).unwrap();
    bench.update(id, |spec| spec.update.parallelism = 2).unwrap();
    assert_eq!(endpoint(&bench).vips, vip, "an address stays for as long as the service does");
    assert_eq!(endpoint(&bench).ports.len(), 2);
    bench.update(id, |spec| spec.endpoint.ports.clear()).unwrap();
    bench.update(id, |spec| spec.endpoint.mode = EndpointMode::Dnsrr).unwrap();
    assert!(endpoint(&bench).vips.is_empty());
    bench.update(id, |spec| spec.endpoint.mode = EndpointMode::Vip).unwrap();
    assert_ne!(endpoint(&bench).vips, vip, "an address that was given up rests");
}
