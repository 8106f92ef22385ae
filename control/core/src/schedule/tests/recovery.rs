//! What waits is placed in the step after its cause is gone, and costs nothing until then.

use super::*;
use crate::spec::GenericAmount;

/// A step: through the log, and back.
const STEP: Duration = Duration::from_millis(20);

struct Case {
    cause: &'static str,
    spec: fn(&mut ServiceSpec),
    before: fn(&mut VirtualCluster),
    fix: fn(&mut VirtualCluster),
}

/// A service of 2 tasks on as many nodes cannot be placed whole, until one thing is changed.
const CASES: [Case; 8] = [
    Case {
        cause: "a label is missing",
        spec: |spec| spec.task.placement.constraints = vec!["node.labels.zone==a".parse().unwrap()],
        before: |_| {},
        fix: |cluster| {
            cluster
                .update_node(node(2), |spec| spec.labels = [("zone".to_owned(), "a".to_owned())].into())
                .unwrap();
        },
    },
    Case {
        cause: "a node is paused",
        spec: |spec| spec.task.placement.max_replicas_per_node = 1,
        before: |cluster| {
            cluster.update_node(node(2), |spec| spec.availability = Availability::Pause).unwrap();
        },
        fix: |cluster| {
            cluster.update_node(node(2), |spec| spec.availability = Availability::Active).unwrap();
        },
    },
    Case {
        cause: "a node is down",
        spec: |spec| spec.task.placement.max_replicas_per_node = 1,
        before: |cluster| cluster.silence(node(2)),
        fix: |cluster| cluster.resume(node(2)),
    },
    Case {
        cause: "there are too few nodes",
        spec: |spec| spec.task.placement.max_replicas_per_node = 1,
        before: |cluster| cluster.remove_node(node(2), true).unwrap(),
        fix: |cluster| {
            cluster.join(join_request(3)).unwrap();
        },
    },
    Case {
        cause: "a port is taken by another service",
        spec: |spec| spec.endpoint.ports = vec![in_host_mode(90)],
        before: |cluster| {
            create(cluster, "other", 1, |spec| spec.endpoint.ports = vec![in_host_mode(90)]);
        },
        fix: |cluster| remove(cluster, "other"),
    },
    Case {
        cause: "resources are taken",
        spec: |spec| spec.task.resources.reservations.memory_bytes = 5 * GIB,
        before: |cluster| {
            create(cluster, "other", 1, |spec| spec.task.resources.reservations.memory_bytes = 5 * GIB);
        },
        fix: |cluster| remove(cluster, "other"),
    },
    Case {
        cause: "a generic resource is missing",
        spec: |spec| {
            spec.task.resources.generic.insert("gpu".to_owned(), 1);
        },
        before: |_| {},
        fix: |cluster| {
            cluster.describe(node(1), |node| {
                node.generic.insert("gpu".to_owned(), GenericAmount::Discrete(2));
            });
        },
    },
    Case {
        cause: "a process listens on the port",
        spec: |spec| {
            spec.endpoint.ports = vec![in_host_mode(90)];
        },
        before: |cluster| {
            cluster.describe(node(2), |node| node.listening = vec![(Port::new(90).unwrap(), Protocol::Tcp)]);
        },
        fix: |cluster| cluster.describe(node(2), |node| node.listening.clear()),
    },
];

fn remove(cluster: &mut VirtualCluster, service: &str) {
    let service = cluster.store.service_by_name(service).unwrap().id;
    cluster.remove_service(service).unwrap();
}

#[test]
fn what_waits_is_placed_when_the_cause_is_gone() {
    for Case { cause, spec, before, fix } in CASES {
        let mut cluster = VirtualCluster::new(2, 1);
        before(&mut cluster);
        cluster.run_for(Duration::from_secs(10));
        let service = create(&mut cluster, "web", 2, spec);
        assert!(!waiting(&cluster, service).is_empty(), "{cause}");
        assert!(explained(&cluster, service).starts_with("no suitable node ("), "{cause}");
        fix(&mut cluster);
        // What a node tells, and what has to stop first, takes its own time.
        let placed = |cluster: &VirtualCluster| waiting(cluster, service).is_empty();
        let took = cluster.run_until(Duration::from_secs(3), placed).expect(cause);
        let slow = ["a node is down", "a generic", "a process", "there are", "resources are", "a port is"];
        assert!(took <= STEP || slow.iter().any(|case| cause.starts_with(case)), "{cause}: {took:?}");
        assert!(cluster.live(service).iter().all(|task| task.status.err.is_empty()), "{cause}");
    }
}

#[test]
fn room_that_comes_free_goes_to_the_lowest_slot_that_waits() {
    let mut cluster = VirtualCluster::new(1, 1);
    let reserve = |spec: &mut ServiceSpec| spec.task.resources.reservations.memory_bytes = 4 * GIB;
    let other = create(&mut cluster, "other", 1, reserve);
    let service = create(&mut cluster, "web", 5, reserve);
    let slots = |cluster: &VirtualCluster| -> Vec<u32> {
        waiting(cluster, service).iter().map(|task| task.slot).collect()
    };
    assert_eq!(slots(&cluster), [2, 3, 4, 5]);
    cluster.remove_service(other).unwrap();
    cluster.run_for(SOON);
    assert_eq!(slots(&cluster), [3, 4, 5]);
}

#[test]
fn what_waits_is_left_alone_by_what_does_not_concern_it() {
    let mut cluster = VirtualCluster::new(3, 1);
    let wait = |spec: &mut ServiceSpec| {
        spec.task.placement.constraints = vec!["node.labels.zone==a".parse().unwrap()];
    };
    let services: Vec<_> =
        (0..20).map(|number| create(&mut cluster, &format!("w{number}"), 3, wait)).collect();
    let versions = |cluster: &VirtualCluster| -> Vec<u64> {
        services.iter().flat_map(|id| cluster.live(*id)).map(|task| task.meta.version).collect()
    };
    let before = versions(&cluster);
    let busy = create(&mut cluster, "busy", 10, |spec| spec.task.resources.reservations.memory_bytes = GIB);
    cluster.update_service(busy, |spec| spec.mode = ServiceMode::Replicated { replicas: 2 }).unwrap();
    cluster.run_for(SOON);
    cluster.update_node(node(2), |spec| spec.name = Some("two".to_owned())).unwrap();
    cluster.run_for(SOON);
    assert_eq!(versions(&cluster), before);
}

#[test]
fn a_decision_that_was_lost_is_made_again() {
    for seed in 0..20 {
        let mut cluster = VirtualCluster::new(2, seed);
        cluster.loss = 50;
        let service = cluster.create_service({
            let mut spec = service_spec("web", 6);
            spec.task.resources.reservations.memory_bytes = 3 * GIB;
            spec
        });
        let service = service.unwrap();
        let whole = |cluster: &VirtualCluster| {
            let told =
                |task: &Task| task.status.err == "no suitable node (insufficient resources on 2 nodes)";
            let waiting = waiting(cluster, service);
            cluster.running(service) == 4 && waiting.len() == 2 && waiting.iter().all(told)
        };
        cluster.run_until(Duration::from_mins(2), whole).expect("four run and two are told why not");
    }
}
