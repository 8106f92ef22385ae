//! Tasks on their way out: out of every balancer, then drained, then stopped.

use super::super::leaving::CLEAR_WITHIN;
use super::*;
use crate::id::{NetworkId, ServiceId};
use crate::label::DRAIN;
use crate::spec::{NetworkAttachment, ServiceSpec};
use crate::testing::{Behaviour, cases};

/// A service of so many tasks in a network of its own.
fn service(cluster: &mut VirtualCluster, name: &str, replicas: u32) -> (ServiceId, ServiceSpec) {
    let network = match cluster.store.network_by_name("net") {
        Some(network) => network.id,
        None => cluster.create_network(network_spec("net")).unwrap(),
    };
    let mut spec = service_spec(name, replicas);
    spec.task.networks = vec![attachment(network)];
    let id = cluster.create_service(spec.clone()).unwrap();
    cluster.run_until(secs(60), |cluster| cluster.running(id) == replicas as usize).unwrap();
    cluster.run_for(secs(1));
    (id, spec)
}

fn attachment(network: NetworkId) -> NetworkAttachment {
    NetworkAttachment { network, aliases: Vec::new() }
}

fn scale(cluster: &mut VirtualCluster, service: ServiceId, replicas: u32) {
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas }).unwrap();
}

/// The service's task that is on its way out.
fn leaver(cluster: &VirtualCluster, service: ServiceId) -> Option<Task> {
    let out = |task: &&std::sync::Arc<Task>| task.desired_state > TaskState::Running;
    cluster.store.service_tasks(service).find(out).map(|task| Task::clone(task))
}

/// Whether the service's one leaving task is known to be out of all balancers.
fn cleared(cluster: &VirtualCluster, service: ServiceId) -> bool {
    leaver(cluster, service).is_some_and(|task| task.leaving.is_some_and(|leaving| leaving.cleared))
}

/// How long until the service's tasks that are about to leave are gone.
fn until_gone(cluster: &mut VirtualCluster, service: ServiceId) -> Duration {
    let begun = cluster.run_until(secs(1), |cluster| leaver(cluster, service).is_some()).unwrap();
    begun + cluster.run_until(secs(60), |cluster| leaver(cluster, service).is_none()).unwrap()
}

#[test]
fn a_task_that_leaves_is_cleared_by_all_nodes_then_drained_then_stopped() {
    let mut cluster = VirtualCluster::new(3, 1);
    let (web, _) = service(&mut cluster, "web", 3);
    cluster.behave(Behaviour { linger: secs(4), ..Behaviour::default() });
    scale(&mut cluster, web, 2);
    let took = cluster.run_until(secs(1), |cluster| cleared(cluster, web)).unwrap();
    assert!(took < Duration::from_millis(20), "{took:?}");
    let drained = until_gone(&mut cluster, web);
    assert!(drained >= secs(4) && drained < secs(5), "{drained:?}");
    assert_eq!((cluster.cut.len(), cluster.overdue.len()), (0, 0));
    cluster.check_assignments();
}

#[test]
fn connections_get_what_the_label_says_and_else_the_stop_grace_period() {
    for (label, grace, drain) in
        [(None, None, 10), (None, Some(3), 3), (Some("2s"), Some(3), 2), (Some("0s"), None, 0)]
    {
        let mut cluster = VirtualCluster::new(2, 1);
        let (_, mut spec) = service(&mut cluster, "first", 1);
        spec.name = "second".parse().unwrap();
        spec.labels.extend(label.map(|label: &str| (DRAIN.to_owned(), label.to_owned())));
        spec.task.container.stop_grace_period = grace.map(secs);
        let second = cluster.create_service(spec).unwrap();
        cluster.run_until(secs(60), |cluster| cluster.running(second) == 1).unwrap();
        cluster.behave(Behaviour { linger: secs(100), ..Behaviour::default() });
        scale(&mut cluster, second, 0);
        let took = until_gone(&mut cluster, second);
        assert_eq!(took.as_secs(), drain, "{label:?} {grace:?}: {took:?}");
    }
}

#[test]
fn a_node_that_hangs_holds_everything_up_once_and_not_for_ever() {
    let mut cluster = VirtualCluster::new(3, 1);
    let (web, _) = service(&mut cluster, "web", 5);
    cluster.stick(node(3), true);
    scale(&mut cluster, web, 4);
    let took = cluster.run_until(secs(60), |cluster| cleared(cluster, web)).unwrap();
    assert!(took >= CLEAR_WITHIN && took < CLEAR_WITHIN + secs(1), "{took:?}");
    assert_eq!(cluster.overdue, [node(3)]);
    cluster.run_for(SOON);
    scale(&mut cluster, web, 3);
    let took = cluster.run_until(secs(60), |cluster| cleared(cluster, web)).unwrap();
    assert!(took < secs(1), "nobody waits for it again: {took:?}");
    cluster.run_for(SOON);
    cluster.stick(node(3), false);
    cluster.run_for(SOON);
    cluster.stick(node(3), true);
    scale(&mut cluster, web, 2);
    let took = cluster.run_until(secs(60), |cluster| cleared(cluster, web)).unwrap();
    assert!(took >= CLEAR_WITHIN, "it had come back: {took:?}");
    assert_eq!(cluster.cut, []);
}

#[test]
fn a_node_that_goes_down_is_waited_for_until_then() {
    let mut cluster = VirtualCluster::new(3, 1);
    let (web, _) = service(&mut cluster, "web", 5);
    cluster.silence(node(3));
    scale(&mut cluster, web, 4);
    cluster.run_for(secs(1));
    assert!(!cleared(&cluster, web), "it sends to the task as far as anybody knows");
    let took = cluster.run_until(secs(60), |cluster| cleared(cluster, web)).unwrap();
    assert!(took < secs(3), "{took:?}");
    assert_eq!((state(&cluster, 3), cluster.overdue.len()), (NodeState::Down, 0));
}

#[test]
fn a_node_that_restarts_is_waited_for_and_says_how_far_it_is_when_it_is_back() {
    let mut cluster = VirtualCluster::new(3, 1);
    let (web, _) = service(&mut cluster, "web", 5);
    cluster.restart(node(3));
    scale(&mut cluster, web, 4);
    cluster.run_for(secs(5));
    assert!(!cleared(&cluster, web));
    cluster.resume(node(3));
    let took = cluster.run_until(secs(60), |cluster| cleared(cluster, web)).unwrap();
    assert!(took < Duration::from_millis(100), "{took:?}");
    assert_eq!(cluster.cut, []);
}

#[test]
fn a_new_leader_carries_on_with_what_the_nodes_tell_it() {
    let mut cluster = VirtualCluster::new(3, 1);
    let (web, _) = service(&mut cluster, "web", 5);
    cluster.stick(node(3), true);
    scale(&mut cluster, web, 4);
    cluster.run_for(secs(1));
    assert!(!cleared(&cluster, web));
    cluster.new_leader();
    cluster.run_for(secs(5));
    assert!(!cleared(&cluster, web), "nor does the new one take it for cleared");
    cluster.stick(node(3), false);
    let took = cluster.run_until(secs(60), |cluster| cleared(cluster, web)).unwrap();
    assert!(took < Duration::from_millis(20), "{took:?}");
    // Cleared, and not written down: the next leader finds out anew.
    cluster.run_for(SOON);
    scale(&mut cluster, web, 3);
    cluster.run_until(secs(1), |cluster| leaver(cluster, web).is_some()).unwrap();
    cluster.new_leader();
    until_gone(&mut cluster, web);
    assert_eq!((cluster.cut.len(), cluster.overdue.len()), (0, 0));
}

#[test]
fn what_no_node_can_send_to_waits_for_none() {
    let mut cluster = VirtualCluster::new(3, 1);
    let alone = cluster.create_service(service_spec("alone", 1)).unwrap();
    cluster.run_until(secs(60), |cluster| cluster.running(alone) == 1).unwrap();
    (1..=3).for_each(|number| cluster.stick(node(number), true));
    scale(&mut cluster, alone, 0);
    let took = until_gone(&mut cluster, alone);
    assert!(took < Duration::from_millis(100), "{took:?}");
}

#[test]
fn nodes_outside_the_networks_of_a_task_are_not_waited_for() {
    let mut cluster = VirtualCluster::new(3, 1);
    let (web, _) = service(&mut cluster, "web", 2);
    let inside: Vec<_> = cluster.live(web).iter().filter_map(|task| task.node).collect();
    let outside = (1..=3).map(node).find(|node| !inside.contains(node)).unwrap();
    cluster.stick(outside, true);
    // Something else that it has to be told, and does not apply.
    cluster.join(join_request(4)).unwrap();
    scale(&mut cluster, web, 1);
    let took = cluster.run_until(secs(60), |cluster| cleared(cluster, web)).unwrap();
    assert!(took < secs(1), "{took:?}");
}

#[test]
fn tasks_that_never_served_and_those_of_a_removed_service_are_stopped_at_once() {
    let mut cluster = VirtualCluster::new(2, 1);
    let (web, _) = service(&mut cluster, "web", 2);
    cluster.behave(Behaviour { step: secs(5), linger: secs(60), ..Behaviour::default() });
    scale(&mut cluster, web, 3);
    cluster.run_for(secs(1));
    scale(&mut cluster, web, 2);
    let leaves = |cluster: &VirtualCluster| leaver(cluster, web).map(|task| task.leaving);
    cluster.run_until(secs(1), |cluster| leaves(cluster) == Some(None)).unwrap();
    let took = until_gone(&mut cluster, web);
    assert!(took < Duration::from_millis(100), "{took:?}");
    scale(&mut cluster, web, 1);
    cluster.run_for(secs(1));
    assert!(leaver(&cluster, web).is_some(), "it drains");
    cluster.remove_service(web).unwrap();
    let took = cluster.run_until(secs(1), |cluster| cluster.store.task_count() == 0).unwrap();
    assert!(took < Duration::from_millis(100), "{took:?}");
}

#[test]
fn the_label_is_checked_when_a_service_is_made() {
    let mut cluster = VirtualCluster::new(1, 1);
    let mut spec = service_spec("web", 1);
    spec.labels.insert(DRAIN.to_owned(), "soon".to_owned());
    let refusal = cluster.create_service(spec.clone()).unwrap_err().to_string();
    assert!(refusal.starts_with("invalid label mesh.drain: \"soon\" is no duration"), "{refusal}");
    spec.labels.insert(DRAIN.to_owned(), "9000h".to_owned());
    assert!(cluster.create_service(spec.clone()).unwrap_err().to_string().contains("longer than a year"));
    spec.labels.insert(DRAIN.to_owned(), "1m".to_owned());
    cluster.create_service(spec).unwrap();
}

/// Scales up and down, drains nodes, changes leaders and restarts daemons at random.
fn churn(seed: u64) -> VirtualCluster {
    let mut cluster = VirtualCluster::new(4, seed);
    let (web, _) = service(&mut cluster, "web", 6);
    cluster.behave(Behaviour { linger: Duration::from_millis(30), ..Behaviour::default() });
    cluster.loss = cluster.below(20);
    for _ in 0..40 {
        let number = u128::from(2 + cluster.below(3));
        match cluster.below(6) {
            0 => cluster.new_leader(),
            1 => {
                cluster.silence(node(number));
                let away = cluster.below(500);
                cluster.run_for(Duration::from_millis(away));
                cluster.resume(node(number));
            }
            2 => {
                let drain = cluster.below(2) == 0;
                let availability =
                    if drain { crate::spec::Availability::Drain } else { crate::spec::Availability::Active };
                cluster.update_node(node(number), |spec| spec.availability = availability).unwrap();
            }
            _ => {
                let replicas = u32::try_from(cluster.below(9)).unwrap();
                scale(&mut cluster, web, replicas);
            }
        }
        let pause = cluster.below(300);
        cluster.run_for(Duration::from_millis(pause));
    }
    cluster.loss = 0;
    cluster.run_for(secs(30));
    cluster
}

proptest::proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn no_task_is_stopped_while_a_node_sends_to_it(seed: u64) {
        let cluster = churn(seed);
        proptest::prop_assert_eq!(&cluster.cut, &[]);
        let out = cluster.store.tasks().filter(|task| {
            task.desired_state > TaskState::Running && !task.status.state.is_final()
        });
        proptest::prop_assert_eq!(out.count(), 0, "all are gone in the end");
        cluster.check_assignments();
    }
}
