//! Users, nodes and leaders at random while services are updated: the last word holds in the end.

use super::*;
use crate::testing::cases;
use proptest::prelude::*;

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Image(u8),
    Scale(u32),
    Label(u8),
    Force,
    Rollback,
    Update(UpdateConfig),
    Availability(u8, Availability),
    Silence(u8),
    Resume(u8),
    TaskEnds(u8),
    NewLeader,
    Loss(u64),
}

fn config() -> impl Strategy<Value = UpdateConfig> {
    use FailureAction::{Continue, Pause, Rollback};
    let action = prop_oneof![Just(Pause), Just(Continue), Just(Rollback)];
    let order = prop_oneof![Just(UpdateOrder::StopFirst), Just(UpdateOrder::StartFirst)];
    (0..4_u64, 0..3_u64, 0..4_u64, action, order).prop_map(
        |(parallelism, delay, monitor, failure_action, order)| UpdateConfig {
            parallelism,
            delay: secs(delay),
            failure_action,
            monitor: secs(monitor),
            max_failure_ratio: 0.2,
            order,
        },
    )
}

fn deed() -> impl Strategy<Value = Deed> {
    let availability =
        prop_oneof![Just(Availability::Active), Just(Availability::Pause), Just(Availability::Drain)];
    prop_oneof![
        4 => (0..4_u8).prop_map(Deed::Image),
        2 => (0..7_u32).prop_map(Deed::Scale),
        1 => any::<u8>().prop_map(Deed::Label),
        1 => Just(Deed::Force),
        2 => Just(Deed::Rollback),
        2 => config().prop_map(Deed::Update),
        2 => (1..5_u8, availability).prop_map(|(node, to)| Deed::Availability(node, to)),
        1 => (1..5_u8).prop_map(Deed::Silence),
        1 => (1..5_u8).prop_map(Deed::Resume),
        2 => any::<u8>().prop_map(Deed::TaskEnds),
        1 => Just(Deed::NewLeader),
        1 => (0..40_u64).prop_map(Deed::Loss),
    ]
}

/// Two good images and two that fail.
fn image(number: u8) -> String {
    [GOOD, NEXT, BAD, "mesh/whoami:short"][usize::from(number)].to_owned()
}

fn act(cluster: &mut VirtualCluster, service: ServiceId, deed: Deed) {
    let done = match deed {
        Deed::Image(number) => {
            cluster.update_service(service, |spec| spec.task.container.image = image(number))
        }
        Deed::Scale(replicas) => cluster.update_service(service, |spec| {
            if let ServiceMode::Replicated { replicas: current } = &mut spec.mode {
                *current = replicas;
            }
        }),
        Deed::Label(value) => {
            cluster.update_service(service, |spec| drop(spec.labels.insert("a".into(), value.to_string())))
        }
        Deed::Force => cluster.update_service(service, |spec| spec.task.force_update += 1),
        Deed::Rollback => {
            drop(cluster.rollback_service(service));
            Ok(())
        }
        Deed::Update(config) => cluster.update_service(service, |spec| spec.update = config),
        Deed::Availability(number, to) => {
            cluster.update_node(node(number.into()), |spec| spec.availability = to)
        }
        Deed::Silence(number) => {
            cluster.silence(node(number.into()));
            Ok(())
        }
        Deed::Resume(number) => {
            cluster.resume(node(number.into()));
            Ok(())
        }
        Deed::TaskEnds(which) => {
            let mut live = cluster.live(service);
            live.retain(|task| task.status.state >= TaskState::Accepted);
            if let Some(task) = live.get(usize::from(which) % live.len().max(1)) {
                end(cluster, task, TaskState::Failed);
            }
            Ok(())
        }
        Deed::NewLeader => {
            cluster.new_leader();
            Ok(())
        }
        Deed::Loss(loss) => {
            cluster.loss = loss;
            Ok(())
        }
    };
    done.unwrap();
}

/// Makes everything good again, lets a paused update go on, and sees what comes of it.
fn settle(cluster: &mut VirtualCluster, service: ServiceId) {
    cluster.loss = 0;
    for number in 1..=4 {
        cluster.resume(node(number));
        cluster.update_node(node(number), |spec| spec.availability = Availability::Active).unwrap();
    }
    for image in [BAD, "mesh/whoami:short"] {
        cluster.behave_image(image, Behaviour::default());
    }
    cluster.run_for(secs(20));
    cluster.update_service(service, |_| {}).unwrap();
    cluster.run_for(secs(150));
}

fn check(cluster: &VirtualCluster, service: ServiceId) {
    let object = object(cluster, service);
    let wanted = match object.spec.mode {
        ServiceMode::Replicated { replicas } => replicas as usize,
        _ => 4,
    };
    let live = cluster.live(service);
    assert_eq!((live.len(), cluster.running(service)), (wanted, wanted), "{:?} {live:#?}", object.update);
    assert!(live.iter().all(|task| !cluster.store.is_outdated(task)), "{:?} {live:#?}", object.update);
    let state = state_of(cluster, service);
    let over = [None, Some(UpdateState::Completed), Some(UpdateState::RollbackCompleted)];
    assert!(over.contains(&state), "{:?}", object.update);
    let places: std::collections::BTreeSet<_> =
        live.iter().map(|task| (task.slot, task.node.filter(|_| task.slot == 0))).collect();
    assert_eq!(places.len(), wanted);
    cluster.check_assignments();
}

fn run(seed: u64, global: bool, deeds: Vec<(u64, Deed)>) {
    let mut cluster = VirtualCluster::new(4, seed);
    let broken = Behaviour { breaks: Some((TaskState::Starting, TaskState::Failed)), ..Behaviour::default() };
    cluster.behave_image(BAD, broken);
    let short = Behaviour { ends: Some((secs(1), TaskState::Complete)), ..Behaviour::default() };
    cluster.behave_image("mesh/whoami:short", short);
    let mut spec = service_spec("web", 3);
    spec.task.restart.delay = secs(1);
    if global {
        spec.mode = ServiceMode::Global;
    }
    let service = cluster.create_service(spec).unwrap();
    for (millis, deed) in deeds {
        cluster.run_for(Duration::from_millis(millis));
        act(&mut cluster, service, deed);
    }
    settle(&mut cluster, service);
    check(&cluster, service);
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn the_last_word_holds(
        seed in any::<u64>(),
        global in any::<bool>(),
        deeds in prop::collection::vec((0..4000_u64, deed()), 1..15),
    ) {
        run(seed, global, deeds);
    }
}
