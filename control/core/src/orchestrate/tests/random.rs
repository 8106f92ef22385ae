//! Drains, rebalances and changes of leader at random, one seed a run.

use proptest::prelude::*;

use super::*;
use crate::spec::{ServiceSpec, UpdateOrder};
use crate::testing::cases;

const NODES: u32 = 4;
const REPLICAS: usize = 6;

/// What befalls the cluster next. One node always takes tasks.
fn befall(cluster: &mut VirtualCluster, service: ServiceId) {
    let number = 1 + u128::from(cluster.below(NODES.into()));
    let active = |cluster: &VirtualCluster, number: u128| {
        cluster.node(node(number)).spec.availability == Availability::Active
    };
    let others = (1..=u128::from(NODES)).filter(|other| *other != number && active(cluster, *other)).count();
    let availability = match cluster.below(10) {
        0..=2 if others > 0 => Availability::Drain,
        3 if others > 0 => Availability::Pause,
        4..=6 => Availability::Active,
        7 => return cluster.new_leader(),
        _ => {
            let parallelism = 1 + u32::try_from(cluster.below(3)).unwrap();
            return cluster.rebalance_service(service, parallelism).unwrap();
        }
    };
    cluster.update_node(node(number), |spec| spec.availability = availability).unwrap();
}

/// Runs for a while, and checks each millisecond that nothing is missed and that no place has more than it may.
fn watch(cluster: &mut VirtualCluster, service: ServiceId, order: UpdateOrder, most: usize) {
    for _ in 0..cluster.below(120) {
        cluster.run_for(Duration::from_millis(1));
        let mut places: BTreeMap<u32, usize> = BTreeMap::new();
        for task in cluster.live(service) {
            *places.entry(task.slot).or_default() += 1;
        }
        assert!(places.values().all(|tasks| *tasks <= most), "{:#?}", cluster.live(service));
        if order == UpdateOrder::StartFirst {
            assert!(cluster.running(service) >= REPLICAS, "{:#?}", cluster.live(service));
        }
    }
}

fn run(seed: u64, order: UpdateOrder, loss: u64) {
    let mut cluster = VirtualCluster::new(NODES, seed);
    let mut spec: ServiceSpec = service_spec("web", u32::try_from(REPLICAS).unwrap());
    spec.update.order = order;
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, REPLICAS);
    cluster.loss = loss;
    // A batch that is lost and applied all the same is decided twice.
    let most = if loss > 0 { 4 } else { 2 };
    for _ in 0..30 {
        befall(&mut cluster, service);
        watch(&mut cluster, service, order, most);
    }
    cluster.loss = 0;
    for number in 1..=u128::from(NODES) {
        cluster.update_node(node(number), |spec| spec.availability = Availability::Active).unwrap();
    }
    cluster.run_for(secs(2));
    converge(&mut cluster, service, REPLICAS);
    cluster.rebalance_service(service, 2).unwrap();
    let even = |cluster: &VirtualCluster| cluster.store.service(service).unwrap().rebalance.is_none();
    cluster.run_until(secs(30), even).expect("a rebalance ends");
    converge(&mut cluster, service, REPLICAS);
    assert_eq!(slots(&cluster, service), (1..=6).collect::<Vec<_>>());
    let mut spread: Vec<_> = by_node(&cluster, service).into_values().collect();
    spread.sort_unstable();
    assert_eq!(spread, [1, 1, 2, 2]);
    for slot in 1..=6 {
        assert!(cluster.store.slot_tasks(service, slot).count() <= 5, "the history is short");
    }
    cluster.run_for(secs(2));
    cluster.check_assignments();
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn start_first_moves_miss_nobody(seed: u64) {
        run(seed, UpdateOrder::StartFirst, 0);
    }

    #[test]
    fn stop_first_moves_end_well(seed: u64) {
        run(seed, UpdateOrder::StopFirst, 0);
    }

    #[test]
    fn moves_survive_batches_that_are_lost(seed: u64) {
        run(seed, UpdateOrder::StartFirst, 20);
    }
}
