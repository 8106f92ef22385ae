//! Where tasks go of those nodes that may have them.

use super::super::failures::Failures;
use super::*;
use crate::id::TaskId;
use crate::time::Timestamp;

fn label(cluster: &mut VirtualCluster, number: u32, labels: &[(&str, &str)]) {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    cluster.update_node(node(number), |spec| spec.labels = labels).unwrap();
}

fn prefer(spec: &mut ServiceSpec, labels: &[&str]) {
    let preference = |label: &&str| format!("spread=node.labels.{label}").parse().unwrap();
    spec.task.placement.preferences = labels.iter().map(preference).collect();
}

#[test]
fn nodes_without_the_label_are_a_branch_of_their_own() {
    let mut cluster = VirtualCluster::new(6, 1);
    for (number, zone) in [(1, "a"), (2, "a"), (3, "a"), (4, "b")] {
        label(&mut cluster, number, &[("zone", zone)]);
    }
    let service = create(&mut cluster, "web", 9, |spec| prefer(spec, &["zone"]));
    assert_eq!(placed(&cluster, service), [(1, 1), (2, 1), (3, 1), (4, 3), (5, 2), (6, 1)].into());
}

#[test]
fn a_branch_without_room_is_passed_over() {
    let mut cluster = VirtualCluster::new(4, 1);
    for (number, zone) in [(1, "a"), (2, "b"), (3, "b"), (4, "b")] {
        label(&mut cluster, number, &[("zone", zone)]);
    }
    let service = create(&mut cluster, "web", 6, |spec| {
        prefer(spec, &["zone"]);
        spec.task.placement.max_replicas_per_node = 2;
    });
    assert_eq!(placed(&cluster, service), [(1, 2), (2, 2), (3, 1), (4, 1)].into());
}

#[test]
fn what_runs_already_counts_in_its_branch() {
    let mut cluster = VirtualCluster::new(4, 1);
    for (number, zone) in [(1, "a"), (2, "a"), (3, "b"), (4, "b")] {
        label(&mut cluster, number, &[("zone", zone)]);
    }
    let pause = |cluster: &mut VirtualCluster, availability| {
        for number in [3, 4] {
            cluster.update_node(node(number), |spec| spec.availability = availability).unwrap();
        }
    };
    pause(&mut cluster, Availability::Pause);
    let service = create(&mut cluster, "web", 3, |spec| prefer(spec, &["zone"]));
    assert_eq!(placed(&cluster, service), [(1, 2), (2, 1)].into());
    pause(&mut cluster, Availability::Active);
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 7 }).unwrap();
    cluster.run_for(SOON);
    assert_eq!(placed(&cluster, service), [(1, 2), (2, 2), (3, 2), (4, 1)].into());
}

/// user-pains #30: a node with few tasks that reserve much is not the emptier one.
#[test]
fn what_is_reserved_counts_for_what_reserves() {
    let mut cluster = VirtualCluster::new(2, 1);
    let on = |spec: &mut ServiceSpec, node: &str| {
        spec.task.placement.constraints = vec![format!("node.hostname=={node}").parse().unwrap()];
    };
    create(&mut cluster, "large", 1, |spec| {
        on(spec, "n1");
        spec.task.resources.reservations.memory_bytes = 4 * GIB;
    });
    create(&mut cluster, "many", 3, |spec| on(spec, "n2"));
    let reserving =
        create(&mut cluster, "reserving", 1, |spec| spec.task.resources.reservations.memory_bytes = GIB);
    assert_eq!(placed(&cluster, reserving), [(2, 1)].into(), "half of n1 is spoken for");
    let frugal = create(&mut cluster, "frugal", 1, |_| {});
    assert_eq!(placed(&cluster, frugal), [(1, 1)].into(), "n1 has fewer tasks");
}

#[test]
fn a_new_spec_is_another_chance_for_a_node_with_failures() {
    let mut cluster = VirtualCluster::new(1, 1);
    let service = create(&mut cluster, "web", 1, |_| {});
    let task = cluster.live(service).remove(0);
    let mut failures = Failures::default();
    let at = |seconds: u64| Timestamp::ZERO + Duration::from_secs(seconds);
    for number in 1..=5 {
        assert_eq!(failures.trouble(&task, node(1), at(10)), 0, "{number} are not too many");
        let mut failed = task.clone();
        failed.id = TaskId::from_bits(number);
        failed.meta.updated_at = at(10);
        let old = failed.clone();
        failed.status.state = TaskState::Failed;
        // Told when it is drafted, and when it is committed.
        failures.note(&old, &failed);
        failures.note(&old, &failed);
    }
    assert_eq!(failures.trouble(&task, node(1), at(309)), 5);
    assert_eq!(failures.troubled(&task, at(309)).collect::<Vec<_>>(), [node(1)]);
    assert_eq!(failures.trouble(&task, node(1), at(310)), 0, "five minutes later");
    let updated = Task { spec_version: task.spec_version + 1, ..task.clone() };
    assert_eq!(failures.trouble(&updated, node(1), at(20)), 0);
    failures.forget(node(1));
    assert_eq!(failures.trouble(&task, node(1), at(20)), 0);
}

proptest! {
    #![proptest_config(crate::testing::cases(32))]

    /// Branches of nodes that are alike are even, and so are the nodes in each, whatever the labels.
    #[test]
    fn branches_are_filled_evenly(zones in proptest::collection::vec(0_u8..4, 2..9), replicas in 1_u32..40) {
        let mut cluster = VirtualCluster::new(u32::try_from(zones.len()).unwrap(), 1);
        for (number, zone) in (1..).zip(&zones) {
            label(&mut cluster, number, &[("zone", &zone.to_string())]);
        }
        let service = create(&mut cluster, "web", replicas, |spec| prefer(spec, &["zone"]));
        let placed = placed(&cluster, service);
        let mut branches: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
        for (number, zone) in (1_u128..).zip(&zones) {
            branches.entry(*zone).or_default().push(placed.get(&number).copied().unwrap_or(0));
        }
        let even = |counts: &[usize]| counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1;
        let sums: Vec<usize> = branches.values().map(|nodes| nodes.iter().sum()).collect();
        prop_assert!(even(&sums), "{:?}", branches);
        prop_assert!(branches.values().all(|nodes| even(nodes)), "{:?}", branches);
    }
}
