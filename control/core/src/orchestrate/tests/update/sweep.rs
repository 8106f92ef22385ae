//! Every configuration against every way to fail: each update ends, where its configuration says, and on the way
//! no place is changed that should not be.

use super::*;
use crate::testing::cases;
use proptest::prelude::*;

/// What becomes of the new version's tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// They run.
    Runs,
    /// The node will not have them.
    Rejected,
    /// They end before they run.
    Breaks,
    /// They end while they are watched.
    EndsEarly,
}

/// What happens in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    Nothing,
    NewLeader,
    LostNode,
    DrainedNode,
    OldTaskFails,
    LostBatches,
}

#[derive(Debug, Clone, Copy)]
struct Scenario {
    seed: u64,
    global: bool,
    replicas: u32,
    config: UpdateConfig,
    fate: Fate,
    meanwhile: Meanwhile,
    after: u64,
}

fn config() -> impl Strategy<Value = UpdateConfig> {
    use FailureAction::{Continue, Pause, Rollback};
    let parallelism = prop_oneof![Just(0), Just(1), Just(2), Just(9)];
    let delay = prop_oneof![Just(0), Just(2), Just(8)];
    let monitor = prop_oneof![Just(0), Just(3), Just(5)];
    let action = prop_oneof![Just(Pause), Just(Continue), Just(Rollback)];
    let ratio = prop_oneof![Just(0.0), Just(0.3), Just(1.0)];
    let order = prop_oneof![Just(UpdateOrder::StopFirst), Just(UpdateOrder::StartFirst)];
    (parallelism, delay, monitor, action, ratio, order).prop_map(
        |(parallelism, delay, monitor, failure_action, max_failure_ratio, order)| UpdateConfig {
            parallelism,
            delay: secs(delay),
            failure_action,
            monitor: secs(monitor),
            max_failure_ratio,
            order,
        },
    )
}

fn scenario() -> impl Strategy<Value = Scenario> {
    use Fate::{Breaks, EndsEarly, Rejected, Runs};
    use Meanwhile::{DrainedNode, LostBatches, LostNode, NewLeader, Nothing, OldTaskFails};
    let fate = prop_oneof![Just(Runs), Just(Rejected), Just(Breaks), Just(EndsEarly)];
    let meanwhile = prop_oneof![
        Just(Nothing),
        Just(NewLeader),
        Just(LostNode),
        Just(DrainedNode),
        Just(OldTaskFails),
        Just(LostBatches)
    ];
    (any::<u64>(), any::<bool>(), 1..7_u32, config(), fate, meanwhile, 1..3000_u64).prop_map(
        |(seed, global, replicas, config, fate, meanwhile, after)| Scenario {
            seed,
            global,
            replicas,
            config,
            fate,
            meanwhile,
            after,
        },
    )
}

impl Scenario {
    fn begin(self) -> (VirtualCluster, ServiceId) {
        let mut cluster = VirtualCluster::new(4, self.seed);
        let broken = |at, end| Behaviour { breaks: Some((at, end)), ..Behaviour::default() };
        // Shorter than any watch but none, under which the end of what runs is no failure.
        let ending = Behaviour { ends: Some((secs(1), TaskState::Failed)), ..Behaviour::default() };
        match self.fate {
            Fate::Runs => {}
            Fate::Rejected => cluster.behave_image(NEXT, broken(TaskState::Preparing, TaskState::Rejected)),
            Fate::Breaks => cluster.behave_image(NEXT, broken(TaskState::Starting, TaskState::Failed)),
            Fate::EndsEarly => cluster.behave_image(NEXT, ending),
        }
        let mut spec = service_spec("web", self.replicas);
        if self.global {
            spec.mode = ServiceMode::Global;
        }
        (spec.update, spec.task.restart.delay) = (self.config, secs(3));
        let service = cluster.create_service(spec).unwrap();
        converge(&mut cluster, service, if self.global { 4 } else { self.replicas as usize });
        (cluster, service)
    }

    fn interfere(self, cluster: &mut VirtualCluster, service: ServiceId) {
        let old = cluster.live(service).into_iter().find(|task| task.spec_version == 1);
        match self.meanwhile {
            Meanwhile::Nothing => {}
            Meanwhile::NewLeader => cluster.new_leader(),
            Meanwhile::LostNode => cluster.silence(node(4)),
            Meanwhile::DrainedNode => {
                cluster.update_node(node(4), |spec| spec.availability = Availability::Drain).unwrap();
            }
            Meanwhile::OldTaskFails => {
                if let Some(old) = old.filter(|old| old.node.is_some()) {
                    end(cluster, &old, TaskState::Failed);
                }
            }
            Meanwhile::LostBatches => cluster.loss = 30,
        }
    }

    /// Where the update ends, and which version runs then, if the one that does is known to run on.
    fn end(self) -> (UpdateState, Option<&'static str>) {
        let watched = !self.config.monitor.max(self.config.delay).is_zero();
        let fails = match self.fate {
            Fate::Runs => false,
            Fate::Rejected | Fate::Breaks => true,
            Fate::EndsEarly => watched,
        };
        let tolerated = self.config.max_failure_ratio >= 1.0;
        match (self.fate, self.config.failure_action) {
            (Fate::Runs, _) => (UpdateState::Completed, Some(NEXT)),
            (_, FailureAction::Pause) if fails && !tolerated => (UpdateState::Paused, None),
            (_, FailureAction::Rollback) if fails && !tolerated => {
                (UpdateState::RollbackCompleted, Some(GOOD))
            }
            (Fate::EndsEarly, _) => (UpdateState::Completed, None),
            _ if self.config.order == UpdateOrder::StartFirst && self.meanwhile == Meanwhile::Nothing => {
                (UpdateState::Completed, Some(GOOD))
            }
            _ => (UpdateState::Completed, None),
        }
    }

    fn check(self, cluster: &VirtualCluster, service: ServiceId) {
        let mut places: BTreeMap<(u32, Option<NodeId>), usize> = BTreeMap::new();
        let heard = |on: NodeId| cluster.node(on).status.state == crate::object::NodeState::Ready;
        for task in cluster.store.service_tasks(service) {
            let runs = task.status.state == TaskState::Running && task.node.is_some_and(heard);
            let place = (task.slot, task.node.filter(|_| task.slot == 0));
            *places.entry(place).or_default() += usize::from(runs);
        }
        let most = if self.config.order == UpdateOrder::StartFirst { 2 } else { 1 };
        assert!(places.values().all(|running| *running <= most), "{self:?}: {places:?}");
        let service = object(cluster, service);
        if let Some(update) = service.update.as_ref().filter(|_| self.meanwhile == Meanwhile::Nothing) {
            let failed = u32::try_from(update.failed.len()).unwrap();
            assert!(failed <= update.slots, "{self:?}: {failed} of {} places failed", update.slots);
        }
        self.check_floor(cluster, service);
    }

    /// As many places serve as are not in change, while nothing fails.
    fn check_floor(self, cluster: &VirtualCluster, service: &Service) {
        let calm =
            matches!(self.meanwhile, Meanwhile::Nothing | Meanwhile::NewLeader | Meanwhile::LostBatches);
        if !calm || self.fate != Fate::Runs {
            return;
        }
        let wanted = if self.global { 4 } else { u64::from(self.replicas) };
        let changing = match (self.config.order, self.config.parallelism) {
            (UpdateOrder::StartFirst, _) => 0,
            (UpdateOrder::StopFirst, 0) => wanted,
            (UpdateOrder::StopFirst, most) => most.min(wanted),
        };
        let running = u64::try_from(cluster.running(service.id)).unwrap();
        assert!(running + changing >= wanted, "{self:?}: {running} of {wanted} run");
    }

    fn run(self) {
        let (mut cluster, service) = self.begin();
        set_image(&mut cluster, service, NEXT);
        let at = cluster.now + Duration::from_millis(self.after);
        let watch = |cluster: &VirtualCluster| {
            self.check(cluster, service);
            false
        };
        cluster.run_until(at.since(cluster.now), watch);
        self.interfere(&mut cluster, service);
        let (state, image) = self.end();
        let done = |cluster: &VirtualCluster| {
            self.check(cluster, service);
            state_of(cluster, service) == Some(state)
        };
        cluster.run_until(secs(400), done).unwrap_or_else(|| {
            panic!(
                "{self:?} is no end, but {:?}\n{:#?}",
                object(&cluster, service).update,
                cluster.live(service)
            )
        });
        cluster.loss = 0;
        cluster.run_for(secs(15));
        assert_eq!(state_of(&cluster, service), Some(state), "{self:?}: an end is an end");
        if let Some(image) = image {
            let left = if self.global { by_node(&cluster, service).len() } else { self.replicas as usize };
            assert_eq!(images(&cluster, service), all(image, left), "{self:?}");
        }
    }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn every_update_ends_where_its_configuration_says(scenario in scenario()) {
        scenario.run();
    }
}
