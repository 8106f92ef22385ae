//! Every request that is taken, and every reason for which one is refused, in its words.

use std::time::Duration;

use super::*;
use crate::id::{NetworkId, NodeId, ServiceId};
use crate::object::{NodeState, VNI_MIN};
use crate::port::{Port, Protocol, PublishMode, PublishedPort};
use crate::spec::{
    Availability, ClusterSpec, EndpointMode, NetworkAttachment, NetworkSpec, NodeSpec, Role, ServiceMode,
    ServiceSpec,
};
use crate::store::{Store, Transaction};
use crate::testing::{Seeded, init_request, join_request, network_spec, service_spec};
use crate::time::Timestamp;

const AT: Timestamp = Timestamp(5);

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

#[test]
fn a_cluster_begins_with_its_node_and_the_ingress_network() {
    let bench = Bench::new();
    let cluster = bench.store.cluster().unwrap();
    assert_eq!((cluster.next_endpoint, cluster.next_vni), (1, VNI_MIN.0 + 1));
    let ingress = bench.store.ingress_network().unwrap();
    assert_eq!((ingress.spec.name.as_str(), ingress.vni), ("ingress", VNI_MIN));
    assert_eq!(
        (ingress.subnet.to_string(), ingress.gateway.to_string()),
        ("10.0.0.0/24".into(), "10.0.0.1".into())
    );
    let node = bench.store.node(NodeId::from_bits(1)).unwrap();
    assert_eq!((node.spec.role, node.status.state), (Role::Manager, NodeState::Unknown));
    let (store, mut entropy) = (bench.store, Seeded(1));
    let again = init_cluster(&store, init_request(), AT, &mut entropy);
    assert_eq!(
        words(again),
        (RefusalKind::FailedPrecondition, "this node is already part of a cluster".into())
    );
}

#[test]
fn nothing_is_made_without_a_cluster() {
    let (store, mut entropy) = (Store::default(), Seeded(1));
    let no_cluster = (RefusalKind::FailedPrecondition, "this cluster has not been initialized".to_owned());
    assert_eq!(words(create_service(&store, service_spec("a", 1), AT, &mut entropy)), no_cluster);
    assert_eq!(words(create_network(&store, network_spec("a"), AT, &mut entropy)), no_cluster);
    assert_eq!(words(join_node(&store, join_request(2), AT)), no_cluster);
    assert_eq!(words(update_cluster(&store, UpdateCluster::default(), AT)), no_cluster);
}

#[test]
fn cluster_settings_are_checked() {
    type Change = fn(&mut ClusterSpec);
    let cases: [(Change, &str); 10] = [
        (
            |spec| spec.heartbeat = Duration::ZERO,
            "invalid dispatcher heartbeat: must be between 100ms and 1h",
        ),
        (|spec| spec.task_history_limit = 1001, "invalid task history limit: must be at most 1000"),
        (|spec| spec.data_path_port = 80, "invalid data path port: must be between 1024 and 49151"),
        (|spec| spec.data_path_port = 7946, "invalid data path port: 2377 and 7946 have another use"),
        (
            |spec| spec.subnet_prefix_len = 30,
            "invalid default address pool mask length: must be between 8 and 29",
        ),
        (|spec| spec.default_address_pool.clear(), "invalid default address pool: is empty"),
        (
            |spec| spec.default_address_pool = vec!["10.0.0.1/8".parse().unwrap()],
            "invalid default address pool: 10.0.0.1/8 has bits set beyond its prefix",
        ),
        (
            |spec| spec.default_address_pool = vec!["10.0.0.0/25".parse().unwrap()],
            "invalid default address pool: 10.0.0.0/25 is smaller than one network of /24",
        ),
        (
            |spec| spec.default_address_pool.push("10.1.0.0/16".parse().unwrap()),
            "invalid default address pool: 10.1.0.0/16 overlaps another one",
        ),
        (
            |spec| spec.default_address_pool = vec!["fd00::/16".parse().unwrap()],
            "invalid default address pool: fd00::/16: IPv6 is not available",
        ),
    ];
    for (change, refusal) in cases {
        let mut request = init_request();
        change(&mut request.spec);
        let outcome = init_cluster(&Store::default(), request, AT, &mut Seeded(1));
        assert_eq!(words(outcome), (RefusalKind::InvalidArgument, refusal.into()));
    }
}

#[test]
fn a_cluster_is_updated_at_the_version_that_was_read() {
    let mut bench = Bench::new();
    let spec = ClusterSpec { task_history_limit: 2, ..ClusterSpec::default() };
    let stale = UpdateCluster { version: 9, ..UpdateCluster::default() };
    assert_eq!(
        words(update_cluster(&bench.store, stale, AT)),
        (RefusalKind::OutOfSequence, "update out of sequence".into())
    );
    let fixed = ClusterSpec { data_path_port: 4790, ..ClusterSpec::default() };
    let request = UpdateCluster { version: 1, spec: Some(fixed), ..UpdateCluster::default() };
    let refusal = "invalid data path port: can only be set when the cluster is made";
    assert_eq!(
        words(update_cluster(&bench.store, request, AT)),
        (RefusalKind::InvalidArgument, refusal.into())
    );
    let request =
        UpdateCluster { version: 1, spec: Some(spec), worker_token: Some("new".into()), manager_token: None };
    let made = update_cluster(&bench.store, request, AT).unwrap();
    bench.apply(&made);
    let cluster = bench.store.cluster().unwrap();
    assert_eq!((cluster.spec.task_history_limit, cluster.meta.version), (2, 2));
    assert_eq!((cluster.worker_token.as_str(), cluster.manager_token.as_str()), ("new", "manager"));
}

type Change = fn(&mut ServiceSpec);

/// Checks that each change to a good service is refused, with these words.
fn refuse_each(cases: Vec<(Change, &str)>) {
    let bench = Bench::new();
    for (change, refusal) in cases {
        let mut spec = service_spec("web", 1);
        change(&mut spec);
        let outcome = create_service(&bench.store, spec, AT, &mut Seeded(1));
        assert_eq!(words(outcome), (RefusalKind::InvalidArgument, refusal.into()));
    }
}

#[test]
fn service_fields_are_checked() {
    let cases: Vec<(Change, &str)> = vec![
        (
            |spec| spec.labels = [(String::new(), String::new())].into(),
            "invalid labels: a label's key is empty",
        ),
        (
            |spec| spec.labels = (0..257).map(|n| (n.to_string(), String::new())).collect(),
            "invalid labels: 257 entries are more than the 256 allowed",
        ),
        (
            |spec| spec.task.container.labels = [("k".into(), "v".repeat(65536))].into(),
            "invalid container labels: 65537 bytes are more than the 65536 allowed",
        ),
        (
            |spec| spec.mode = ServiceMode::Replicated { replicas: 100_001 },
            "invalid replicas: 100001 is more than the 100000 allowed",
        ),
        (|spec| spec.task.container.image.clear(), "invalid image: image reference must be provided"),
        (|spec| spec.task.container.image = "A".into(), "invalid image: invalid reference format: \"A\""),
        (
            |spec| spec.task.container.env = vec!["A=1".into(), "B".into()],
            "invalid env[1]: not KEY=value: \"B\"",
        ),
        (|spec| spec.task.container.env = vec!["=1".into()], "invalid env[0]: not KEY=value: \"=1\""),
        (|spec| spec.task.container.env = vec!["A=\0".into()], "invalid env: a NUL character"),
        (
            |spec| spec.task.container.args = vec![String::new(); 4097],
            "invalid args: 4097 entries are more than the 4096 allowed",
        ),
        (
            |spec| spec.task.container.command = vec!["x".repeat(262_145)],
            "invalid command: 262145 bytes are more than the 262144 allowed",
        ),
        (
            |spec| spec.task.container.hostname = Some("a_b".into()),
            "invalid hostname: \"a_b\" is not a host name",
        ),
        (
            |spec| spec.task.container.hostname = Some(String::new()),
            "invalid hostname: \"\" is not a host name",
        ),
        (
            |spec| spec.task.container.dir = Some("tmp".into()),
            "invalid workdir: \"tmp\" is not an absolute path",
        ),
        (
            |spec| spec.task.container.user = Some("a b".into()),
            "invalid user: \"a b\" is neither uid[:gid] nor a name",
        ),
        (
            |spec| spec.task.container.stop_signal = Some("SIGNOPE".into()),
            "invalid stop signal: \"SIGNOPE\" is not a signal",
        ),
        (
            |spec| spec.task.container.stop_signal = Some("65".into()),
            "invalid stop signal: \"65\" is not a signal",
        ),
        (
            |spec| spec.task.container.stop_grace_period = Some(Duration::MAX),
            "invalid stop grace period: longer than a year",
        ),
    ];
    refuse_each(cases);
}

#[test]
fn numbers_and_durations_of_a_service_are_checked() {
    let cases: Vec<(Change, &str)> = vec![
        (|spec| spec.task.restart.delay = Duration::MAX, "invalid restart delay: longer than a year"),
        (|spec| spec.task.restart.window = Duration::MAX, "invalid restart window: longer than a year"),
        (|spec| spec.update.monitor = Duration::MAX, "invalid update monitor: longer than a year"),
        (|spec| spec.rollback.delay = Duration::MAX, "invalid rollback delay: longer than a year"),
        (
            |spec| spec.update.max_failure_ratio = 1.5,
            "invalid update max failure ratio: cannot be less than 0 or bigger than 1",
        ),
        (
            |spec| spec.rollback.max_failure_ratio = f32::NAN,
            "invalid rollback max failure ratio: cannot be less than 0 or bigger than 1",
        ),
        (
            |spec| spec.task.resources.limits.memory_bytes = 1024,
            "invalid memory limit: 1024 bytes: must be at least 4MiB",
        ),
        (
            |spec| spec.task.resources.reservations.nano_cpus = 5,
            "invalid cpu reservation: 5 billionths of a core: must be at least 1000000",
        ),
        (|spec| spec.task.resources.pids_limit = u64::MAX, "invalid pids limit: too large"),
        (
            |spec| spec.task.placement.constraints = vec!["node.id==a".parse().unwrap(); 65],
            "invalid placement constraints: 65 entries are more than the 64 allowed",
        ),
        (
            |spec| spec.endpoint.ports = vec![tcp(80), tcp(80)],
            "invalid ports: duplicate published ports provided",
        ),
        (
            |spec| (spec.endpoint.mode, spec.endpoint.ports) = (EndpointMode::Dnsrr, vec![tcp(80)]),
            "invalid ports: port published with ingress mode can't be used with dnsrr mode",
        ),
        (
            |spec| spec.endpoint.ports = (1..=257).map(tcp).collect(),
            "invalid ports: 257 entries are more than the 256 allowed",
        ),
    ];
    refuse_each(cases);
}

#[test]
fn service_fields_that_are_good_are_taken() {
    let cases: Vec<Change> = vec![
        |spec| spec.task.container.env = vec!["A=".into(), "B=x=y".into()],
        |spec| spec.task.container.hostname = Some("a.b-c.d".into()),
        |spec| spec.task.container.user = Some("1000:1000".into()),
        |spec| spec.task.container.stop_signal = Some("SIGUSR1".into()),
        |spec| spec.task.container.stop_signal = Some("QUIT".into()),
        |spec| spec.task.container.stop_signal = Some("9".into()),
        |spec| spec.endpoint.ports = vec![tcp(80), port(80, PublishMode::Ingress, Protocol::Udp)],
        |spec| {
            (spec.endpoint.mode, spec.endpoint.ports) =
                (EndpointMode::Dnsrr, vec![port(80, PublishMode::Host, Protocol::Tcp)]);
        },
        |spec| spec.mode = ServiceMode::Replicated { replicas: 0 },
        |spec| spec.mode = ServiceMode::Global,
        |spec| spec.update.max_failure_ratio = 1.0,
    ];
    for change in cases {
        let mut spec = service_spec("web", 1);
        change(&mut spec);
        Bench::new().service(spec).unwrap();
    }
}

#[test]
fn an_image_without_a_tag_gets_latest() {
    let mut bench = Bench::new();
    let mut spec = service_spec("web", 1);
    spec.task.container.image = "mesh/whoami".to_owned();
    let id = bench.service(spec).unwrap();
    assert_eq!(bench.store.service(id).unwrap().spec.task.container.image, "mesh/whoami:latest");
    bench.update(id, |spec| spec.task.container.image = "mesh/whoami".to_owned()).unwrap();
}

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
    assert_eq!(words(update_node(&bench.store, node, 1, NodeSpec::default(), AT)), missing("node"));
    assert_eq!(words(remove_node(&bench.store, node, true, AT)), missing("node"));
}

#[test]
fn services_join_networks_that_they_can_tell_apart() {
    let mut bench = Bench::new();
    let first = bench.network(in_subnet("first", "10.9.0.0/24")).unwrap();
    let second = bench.network(in_subnet("second", "10.9.0.0/24")).unwrap();
    let around = bench.network(in_subnet("around", "10.8.0.0/14")).unwrap();
    let ingress = bench.store.ingress_network().unwrap().id;
    let refusals = [
        (
            joining("a", &[first, second]),
            "network first (10.9.0.0/24) and network second (10.9.0.0/24) overlap: a service cannot join both",
        ),
        (
            joining("a", &[around, first]),
            "network around (10.8.0.0/14) and network first (10.9.0.0/24) overlap: a service cannot join both",
        ),
        (
            joining("a", &[ingress]),
            "invalid networks: service cannot be explicitly attached to the ingress network \"ingress\"",
        ),
        (joining("a", &[first, first]), &format!("invalid networks: network {first} is listed twice")),
    ];
    for (spec, refusal) in refusals {
        assert_eq!(words(bench.service(spec)).1, refusal);
    }
    bench.service(joining("a", &[first])).unwrap();
    bench.service(joining("b", &[second])).unwrap();
    let over = bench.network(in_subnet("over", "10.0.0.0/24")).unwrap();
    bench.service(joining("c", &[over])).unwrap();
    let mut spec = joining("d", &[over]);
    spec.endpoint.ports = vec![tcp(8080)];
    let refusal =
        "network ingress (10.0.0.0/24) and network over (10.0.0.0/24) overlap: a service cannot join both";
    assert_eq!(words(bench.service(spec)), (RefusalKind::FailedPrecondition, refusal.into()));
    let mut spec = joining("e", &[first]);
    spec.task.networks[0].aliases = vec!["no name".into()];
    assert_eq!(words(bench.service(spec)).1, "invalid network aliases: \"no name\" is not a DNS name");
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
fn what_would_replace_running_tasks_is_refused_by_its_field() {
    let cases: Vec<(Change, &str)> = vec![
        (|spec| spec.task.container.image = "mesh/whoami:2".into(), "image"),
        (|spec| spec.task.container.command.push("x".into()), "command"),
        (|spec| spec.task.container.args.push("x".into()), "args"),
        (|spec| spec.task.container.env.push("A=b".into()), "env"),
        (|spec| spec.task.container.read_only = true, "container"),
        (|spec| spec.task.resources.pids_limit = 5, "resources"),
        (|spec| spec.task.restart.max_attempts = 5, "restart policy"),
        (|spec| spec.task.placement.max_replicas_per_node = 5, "placement"),
        (|spec| spec.task.networks.clear(), "networks"),
        (|spec| spec.task.force_update = 1, "force"),
        (|spec| spec.endpoint.ports.push(tcp(80)), "first published port"),
        (|spec| spec.endpoint.ports.push(port(80, PublishMode::Host, Protocol::Tcp)), "ports in host mode"),
    ];
    let mut bench = Bench::new();
    let net = bench.network(network_spec("net")).unwrap();
    let id = bench.service(joining("web", &[net])).unwrap();
    for (change, field) in cases {
        let refusal = format!(
            "changing the task of a running service ({field}) is not available: remove and create it"
        );
        assert_eq!(words(bench.update(id, change)), (RefusalKind::NotAvailable, refusal));
    }
    let renamed = bench.update(id, |spec| spec.name = "other".parse().unwrap());
    assert_eq!(words(renamed).1, "invalid name: renaming services is not supported");
    let changed = bench.update(id, |spec| spec.mode = ServiceMode::Global);
    assert_eq!(words(changed).1, "invalid mode: service mode change is not allowed");
    let mut spec = service_spec("agent", 1);
    spec.mode = ServiceMode::Global;
    let agent = bench.service(spec).unwrap();
    let version = bench.store.service(agent).unwrap().meta.version;
    let scaled = scale_service(&bench.store, agent, version, 2, AT);
    assert_eq!(words(scaled).1, "invalid mode: scale can only be used with replicated mode");
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

#[test]
fn network_fields_are_checked() {
    let gateway = |subnet: Option<&str>, gateway: &str| NetworkSpec {
        subnet: subnet.map(|subnet| subnet.parse().unwrap()),
        gateway: Some(gateway.parse().unwrap()),
        ..network_spec("net")
    };
    let cases = [
        (
            in_subnet("net", "10.9.0.1/24"),
            "invalid subnet: 10.9.0.1/24 has bits set beyond its prefix: 10.9.0.0/24 is meant",
        ),
        (in_subnet("net", "10.9.0.0/30"), "invalid subnet: 10.9.0.0/30 is not between /8 and /29"),
        (in_subnet("net", "0.0.0.0/0"), "invalid subnet: 0.0.0.0/0 is not between /8 and /29"),
        (in_subnet("net", "127.0.0.0/16"), "invalid subnet: 127.0.0.0/16 is not a range that hosts can have"),
        (in_subnet("net", "224.0.0.0/16"), "invalid subnet: 224.0.0.0/16 is not a range that hosts can have"),
        (in_subnet("net", "250.0.0.0/16"), "invalid subnet: 250.0.0.0/16 is not a range that hosts can have"),
        (
            in_subnet("net", "198.18.5.0/24"),
            "invalid subnet: 198.18.5.0/24 overlaps 198.18.0.0/15, which every node uses inside",
        ),
        (in_subnet("net", "fd00::/64"), "invalid subnet: fd00::/64 is IPv6, which is not available"),
        (gateway(None, "10.9.0.1"), "invalid gateway: needs a subnet that it is in"),
        (gateway(Some("10.9.0.0/24"), "10.8.0.1"), "invalid gateway: 10.8.0.1 is no host of 10.9.0.0/24"),
        (gateway(Some("10.9.0.0/24"), "10.9.0.0"), "invalid gateway: 10.9.0.0 is no host of 10.9.0.0/24"),
        (gateway(Some("10.9.0.0/24"), "10.9.0.255"), "invalid gateway: 10.9.0.255 is no host of 10.9.0.0/24"),
        (
            NetworkSpec { mtu: Some(500), ..network_spec("net") },
            "invalid mtu: 500 is not between 576 and 65535",
        ),
        (
            NetworkSpec { labels: [(String::new(), String::new())].into(), ..network_spec("net") },
            "invalid labels: a label's key is empty",
        ),
    ];
    let mut bench = Bench::new();
    for (spec, refusal) in cases {
        assert_eq!(words(bench.network(spec)), (RefusalKind::InvalidArgument, refusal.into()));
    }
    let id = bench.network(gateway(Some("10.9.0.0/24"), "10.9.0.254")).unwrap();
    assert_eq!(bench.store.network(id).unwrap().gateway.to_string(), "10.9.0.254");
}

#[test]
fn a_network_in_use_stays() {
    let mut bench = Bench::new();
    let net = bench.network(network_spec("net")).unwrap();
    let web = bench.service(joining("web", &[net])).unwrap();
    let kind = RefusalKind::FailedPrecondition;
    assert_eq!(
        words(remove_network(&bench.store, net, AT)),
        (kind, "network net is in use by service web".into())
    );
    bench.service(publishing("door", &[tcp(80)])).unwrap();
    let ingress = bench.store.ingress_network().unwrap().id;
    assert_eq!(
        words(remove_network(&bench.store, ingress, AT)),
        (kind, "network ingress is in use by service door".into())
    );
    let gone = remove_service(&bench.store, web, AT).unwrap();
    bench.apply(&gone);
    let gone = remove_network(&bench.store, net, AT).unwrap();
    bench.apply(&gone);
    assert!(bench.store.network(net).is_none());
}

type Joining = fn(&mut JoinNode);

#[test]
fn nodes_join_once() {
    let mut bench = Bench::new();
    let id = bench.join(2, |_| {}).unwrap();
    let known = bench.store.node(id).unwrap().clone();
    bench.join(2, |join| join.description.hostname = "else".to_owned()).unwrap();
    assert_eq!(bench.store.node(id), Some(&known));
    let cases: [(Joining, &str); 6] = [
        (|join| join.description.hostname.clear(), "invalid hostname: must have 1 to 255 bytes"),
        (
            |join| join.data_path_addr = "0.0.0.0".parse().unwrap(),
            "invalid data path address: 0.0.0.0 is not an IPv4 address of a node",
        ),
        (
            |join| join.data_path_addr = "fd00::1".parse().unwrap(),
            "invalid data path address: fd00::1 is not an IPv4 address of a node",
        ),
        (
            |join| join.addr = "224.0.0.1".parse().unwrap(),
            "invalid advertise address: 224.0.0.1 is not an address of a node",
        ),
        (
            |join| join.description.routes = vec!["10.0.0.0/8".parse().unwrap(); 4097],
            "invalid routes: more than 4096 entries",
        ),
        (
            |join| join.spec.name = Some("no name".into()),
            "invalid name: must be valid as a DNS name component",
        ),
    ];
    for (change, refusal) in cases {
        assert_eq!(words(bench.join(3, change)), (RefusalKind::InvalidArgument, refusal.into()));
    }
}

#[test]
fn nodes_are_updated_and_removed() {
    let mut bench = Bench::new();
    let (manager, worker) = (NodeId::from_bits(1), bench.join(2, |_| {}).unwrap());
    let version = bench.store.node(worker).unwrap().meta.version;
    let drained = NodeSpec { availability: Availability::Drain, ..NodeSpec::default() };
    let stale = update_node(&bench.store, worker, version + 1, drained.clone(), AT);
    assert_eq!(words(stale), (RefusalKind::OutOfSequence, "update out of sequence".into()));
    let promoted = NodeSpec { role: Role::Manager, ..NodeSpec::default() };
    let promoted = update_node(&bench.store, worker, version, promoted, AT);
    assert_eq!(
        words(promoted),
        (RefusalKind::NotAvailable, "changing the role of a node is not available".into())
    );
    let made = update_node(&bench.store, worker, version, drained, AT).unwrap();
    bench.apply(&made);
    assert_eq!(bench.store.node(worker).unwrap().spec.availability, Availability::Drain);
    let refusal = format!(
        "node {manager} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal"
    );
    assert_eq!(
        words(remove_node(&bench.store, manager, true, AT)),
        (RefusalKind::FailedPrecondition, refusal)
    );
    let gone = remove_node(&bench.store, worker, false, AT).unwrap();
    bench.apply(&gone);
    assert!(bench.store.node(worker).is_none());
}

#[test]
fn a_node_that_is_ready_is_removed_by_force_alone() {
    let mut cluster = crate::testing::VirtualCluster::new(2, 1);
    let id = NodeId::from_bits(2);
    let refusal = cluster.remove_node(id, false).unwrap_err();
    assert_eq!(refusal.to_string(), format!("node {id} is not down and can't be removed"));
    let mut twin = join_request(3);
    twin.data_path_addr = cluster.node(id).status.data_path_addr;
    let refusal = cluster.join(twin).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        format!("invalid data path address: 172.16.0.2 is the address of node {id} already")
    );
    cluster.remove_node(id, true).unwrap();
}

#[test]
fn ambiguous_is_a_kind_of_its_own() {
    let mut bench = Bench::new();
    bench.join(0x100, |join| join.description.hostname = "n1".into()).unwrap();
    let refusal = Refusal::from(bench.store.find_node("n1").unwrap_err());
    assert_eq!(refusal.kind(), RefusalKind::Ambiguous);
}
