//! What nodes are told, and that increments add up to what a full set says.

mod random;
mod standing;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::assignment::{AssignmentChanges, AssignmentSet, AssignmentUpdate, GapError};
use crate::id::{NetworkId, NodeId};
use crate::object::{Health, TaskState};
use crate::port::{Port, Protocol, PublishMode, PublishedPort};
use crate::spec::{NetworkAttachment, ServiceSpec};
use crate::testing::{Behaviour, VirtualCluster, join_request, network_spec, service_spec};

const SOON: Duration = Duration::from_secs(2);

fn node(number: u32) -> NodeId {
    NodeId::from_bits(number.into())
}

fn joining(name: &str, replicas: u32, networks: &[NetworkId]) -> ServiceSpec {
    let mut spec = service_spec(name, replicas);
    let attachment =
        |network: &NetworkId| NetworkAttachment { network: *network, aliases: vec!["alias".to_owned()] };
    spec.task.networks = networks.iter().map(attachment).collect();
    spec
}

fn on_node(mut spec: ServiceSpec, hostname: &str) -> ServiceSpec {
    spec.task.placement.constraints = vec![format!("node.hostname=={hostname}").parse().unwrap()];
    spec
}

fn ingress_port(port: u16) -> PublishedPort {
    let target = Port::new(80).unwrap();
    PublishedPort { published: Port::new(port), target, protocol: Protocol::Tcp, mode: PublishMode::Ingress }
}

fn set(cluster: &mut VirtualCluster, number: u32) -> AssignmentSet {
    cluster.agent(node(number)).set().clone()
}

#[test]
fn every_node_is_told_of_ingress_and_of_the_others() {
    let mut cluster = VirtualCluster::new(3, 1);
    let told = set(&mut cluster, 2);
    let ingress = cluster.store.ingress_network().unwrap();
    assert_eq!(told.networks.keys().copied().collect::<Vec<_>>(), [ingress.id]);
    let view = &told.networks[&ingress.id];
    assert_eq!(
        (view.name.as_str(), view.ingress, view.subnet, view.vni),
        ("ingress", true, ingress.subnet, ingress.vni)
    );
    assert_eq!(told.peers.keys().copied().collect::<Vec<_>>(), [node(1), node(2), node(3)]);
    assert_eq!(told.peers[&node(3)], cluster.node(node(3)).status.data_path_addr);
    assert!(told.tasks.is_empty() && told.endpoints.is_empty() && told.services.is_empty());
    assert_eq!(told.settings.data_path_port, 4789);
}

#[test]
fn a_network_is_told_to_the_nodes_that_are_in_it() {
    let mut cluster = VirtualCluster::new(3, 1);
    let net = cluster.create_network(network_spec("net")).unwrap();
    let web = cluster.create_service(on_node(joining("web", 2, &[net]), "n1")).unwrap();
    cluster.run_for(SOON);
    let (first, second) = (set(&mut cluster, 1), set(&mut cluster, 2));
    assert!(first.networks.contains_key(&net) && !second.networks.contains_key(&net));
    assert_eq!((first.tasks.len(), first.endpoints.len(), second.endpoints.len()), (2, 2, 0));
    let view = &first.services[&web];
    assert_eq!((view.name.as_str(), view.vips.len(), view.published.len()), ("web", 1, 0));
    assert_eq!(view.aliases[&net], ["alias"]);
    assert!(!second.services.contains_key(&web));
    // A task of another service brings n2 into the network: it learns of everything in it at once.
    let other = cluster.create_service(on_node(joining("other", 1, &[net]), "n2")).unwrap();
    cluster.run_for(SOON);
    let second = set(&mut cluster, 2);
    assert_eq!((second.endpoints.len(), second.services.len(), second.tasks.len()), (3, 2, 1));
    cluster.check_assignments();
    // When it leaves, n2 forgets all of it.
    cluster.remove_service(other).unwrap();
    cluster.run_for(SOON);
    let second = set(&mut cluster, 2);
    assert!(second.networks.len() == 1 && second.endpoints.is_empty() && second.services.is_empty());
    cluster.check_assignments();
}

#[test]
fn published_ports_are_told_to_every_node() {
    let mut cluster = VirtualCluster::new(3, 1);
    let net = cluster.create_network(network_spec("net")).unwrap();
    let mut spec = on_node(joining("web", 2, &[net]), "n1");
    spec.endpoint.ports = vec![ingress_port(8080)];
    let web = cluster.create_service(spec).unwrap();
    cluster.run_for(SOON);
    let third = set(&mut cluster, 3);
    let ingress = cluster.store.ingress_network().unwrap().id;
    assert_eq!(third.endpoints.len(), 2);
    assert!(
        third
            .endpoints
            .values()
            .all(|endpoint| endpoint.network == ingress && endpoint.active && endpoint.node == node(1))
    );
    let view = &third.services[&web];
    assert_eq!((view.published[0].published.get(), view.published[0].target.get()), (8080, 80));
    assert!(view.vips.is_empty() && view.aliases.is_empty(), "networks that the node is not in stay unseen");
    assert_eq!(set(&mut cluster, 1).endpoints.len(), 4);
    cluster.update_service(web, |spec| spec.endpoint.ports.push(ingress_port(8081))).unwrap();
    assert_eq!(set(&mut cluster, 3).services[&web].published.len(), 2);
    cluster.update_service(web, |spec| spec.endpoint.ports.clear()).unwrap();
    assert!(!set(&mut cluster, 3).services.contains_key(&web));
    cluster.check_assignments();
}

/// The states in which node 2 sees the only task of a service on node 1: routed, and active.
fn seen(cluster: &mut VirtualCluster) -> (usize, usize) {
    let told = set(cluster, 2);
    (told.endpoints.len(), told.endpoints.values().filter(|endpoint| endpoint.active).count())
}

#[test]
fn an_endpoint_is_active_while_it_runs_and_should() {
    let mut cluster = VirtualCluster::new(2, 1);
    let slow =
        Behaviour { step: Duration::from_secs(1), stop: Duration::from_secs(5), ..Behaviour::default() };
    cluster.behave(slow);
    let mut spec = on_node(service_spec("web", 1), "n1");
    spec.endpoint.ports = vec![ingress_port(80)];
    let web = cluster.create_service(spec).unwrap();
    cluster.run_for(Duration::from_millis(500));
    assert_eq!(seen(&mut cluster), (1, 0), "its address is routed from the moment it has a node");
    cluster.run_for(Duration::from_secs(4));
    assert_eq!(seen(&mut cluster), (1, 0));
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(seen(&mut cluster), (1, 1));
    cluster.remove_service(web).unwrap();
    cluster.run_for(Duration::from_millis(10));
    assert_eq!(
        seen(&mut cluster),
        (1, 0),
        "it leaves the balancers before it is told to stop, and is routed until it has"
    );
    assert!(set(&mut cluster, 1).tasks.values().all(|task| task.desired_state == TaskState::Remove));
    cluster.run_for(Duration::from_secs(6));
    assert_eq!(seen(&mut cluster), (0, 0));
    assert!(set(&mut cluster, 1).tasks.is_empty());
}

#[test]
fn an_endpoint_is_active_as_long_as_its_probe_says_so() {
    let mut cluster = VirtualCluster::new(2, 1);
    let mut spec = on_node(service_spec("web", 1), "n1");
    spec.endpoint.ports = vec![ingress_port(80)];
    let web = cluster.create_service(spec).unwrap();
    cluster.run_for(SOON);
    let task = cluster.live(web)[0].id;
    for (health, active) in [
        (Health::Healthy, 1),
        (Health::Failing, 0),
        (Health::Healthy, 1),
        (Health::Failing, 0),
        (Health::Unhealthy, 0),
    ] {
        cluster.agent(node(1)).report_health(task, health);
        let heard = |cluster: &VirtualCluster| {
            let status = &cluster.store.task(task).expect("the task").status;
            status.container.as_ref().map(|container| container.health) == Some(health)
        };
        assert!(cluster.run_until(SOON, heard).is_some(), "{health:?}");
        assert_eq!(seen(&mut cluster), (1, active), "{health:?}");
        assert_eq!(cluster.running(web), 1, "it is RUNNING all the same");
    }
    cluster.check_assignments();
}

#[test]
fn the_endpoints_of_a_silent_node_are_not_active() {
    let mut cluster = VirtualCluster::new(2, 1);
    let mut spec = service_spec("web", 2);
    spec.endpoint.ports = vec![ingress_port(80)];
    cluster.create_service(spec).unwrap();
    cluster.run_for(SOON);
    cluster.silence(node(2));
    cluster.run_for(Duration::from_secs(10));
    let told = set(&mut cluster, 1);
    let active: BTreeSet<_> = told.endpoints.values().filter(|it| it.active).map(|it| it.node).collect();
    assert_eq!(active, [node(1)].into());
    assert!(told.endpoints.values().any(|endpoint| endpoint.node == node(2) && !endpoint.active));
    assert!(told.peers.contains_key(&node(2)), "it may come back");
}

#[test]
fn an_agent_is_not_told_what_it_said_itself() {
    let mut cluster = VirtualCluster::new(2, 1);
    cluster.create_service(on_node(service_spec("web", 1), "n2")).unwrap();
    cluster.run_for(SOON);
    let told = set(&mut cluster, 2);
    let task = told.tasks.values().next().unwrap();
    assert_eq!(task.status.state, TaskState::Assigned, "as it was when it was given out");
    assert_eq!(cluster.store.task(task.id).unwrap().status.state, TaskState::Running);
    cluster.check_assignments();
    cluster.agent(node(2)).forget();
    cluster.describe(node(2), |_| {});
    cluster.run_for(SOON);
    let told = set(&mut cluster, 2);
    assert_eq!(
        told.tasks.values().next().unwrap().status.state,
        TaskState::Running,
        "a full set says what is known"
    );
}

#[test]
fn peers_come_move_and_go() {
    let mut cluster = VirtualCluster::new(2, 1);
    cluster.join(join_request(3)).unwrap();
    assert_eq!(set(&mut cluster, 1).peers.len(), 3);
    cluster.remove_node(node(3), true).unwrap();
    assert_eq!(set(&mut cluster, 1).peers.len(), 2);
    cluster.check_assignments();
}

#[test]
fn an_ingress_network_of_ones_own_takes_the_place_of_the_first() {
    let mut cluster = VirtualCluster::new(2, 1);
    let first = cluster.store.ingress_network().unwrap().id;
    let gone = crate::command::remove_network(&cluster.store, first, cluster.now).unwrap();
    cluster.commit(&gone).unwrap();
    assert!(set(&mut cluster, 1).networks.is_empty());
    let spec = crate::spec::NetworkSpec { ingress: true, ..network_spec("door") };
    let second = cluster.create_network(spec).unwrap();
    assert_eq!(set(&mut cluster, 1).networks.keys().copied().collect::<Vec<_>>(), [second]);
    let mut spec = service_spec("web", 2);
    spec.endpoint.ports = vec![ingress_port(80)];
    cluster.create_service(spec).unwrap();
    cluster.run_for(SOON);
    assert_eq!(set(&mut cluster, 2).endpoints.len(), 2);
    cluster.check_assignments();
}

#[test]
fn digests_of_nodes_are_those_of_their_sets() {
    let mut cluster = VirtualCluster::new(4, 1);
    let mut digests = super::digests::Digests::default();
    let net = cluster.create_network(network_spec("net")).unwrap();
    let mut check = |cluster: &VirtualCluster| {
        let mut seen = BTreeSet::new();
        for number in 1..=4 {
            let others = super::Others::of(&cluster.store);
            let digest = digests.of(&cluster.store, node(number), &others);
            assert_eq!(digest, super::full(&cluster.store, node(number), &others).digest(), "node {number}");
            seen.insert(digest);
        }
        assert!(seen.len() > 1, "manager and workers are not told the same");
    };
    check(&cluster);
    // Two nodes are in a network that the others are not in, and all in one.
    for name in ["n1", "n2"] {
        let mut spec = on_node(joining(&format!("on-{name}"), 1, &[net]), name);
        spec.endpoint.ports = vec![PublishedPort { published: None, ..ingress_port(80) }];
        cluster.create_service(spec).unwrap();
        check(&cluster);
        cluster.run_for(SOON);
        check(&cluster);
    }
    cluster.update_node(node(3), |spec| spec.availability = crate::spec::Availability::Drain).unwrap();
    check(&cluster);
}

#[test]
fn updates_follow_on_one_another_or_are_refused() {
    let mut cluster = VirtualCluster::new(2, 1);
    let mut agent = set(&mut cluster, 1);
    let before = agent.clone();
    let mut version = 10;
    let mut changes = AssignmentChanges::default();
    assert!(changes.is_empty());
    changes.peers.insert(node(2), None);
    let increment = |from, to| AssignmentUpdate::Increment { from, to, changes: Box::new(changes.clone()) };
    let gap = agent.apply_update(&mut version, increment(9, 11));
    assert_eq!(gap, Err(GapError { have: 10, from: 9 }));
    assert_eq!((&agent, version), (&before, 10));
    agent.apply_update(&mut version, increment(10, 11)).unwrap();
    assert!(!agent.peers.contains_key(&node(2)) && version == 11);
    assert_ne!(agent.digest(), before.digest());
    let full = AssignmentUpdate::Full { version: 3, set: Box::new(before.clone()) };
    agent.apply_update(&mut version, full).unwrap();
    assert_eq!((agent.digest(), version), (before.digest(), 3));
}

#[test]
fn the_digest_leaves_out_what_agents_observe() {
    let mut cluster = VirtualCluster::new(1, 1);
    cluster.create_service(service_spec("web", 1)).unwrap();
    cluster.run_for(SOON);
    let told = set(&mut cluster, 1);
    let mut other = told.clone();
    let task = other.tasks.values_mut().next().unwrap();
    (task.status.state, task.status.message, task.meta.version) = (TaskState::Failed, "x".to_owned(), 99);
    assert_eq!(other.digest(), told.digest());
    other.tasks.values_mut().next().unwrap().desired_state = TaskState::Shutdown;
    assert_ne!(other.digest(), told.digest());
}
