//! Every combination of an update's settings and of what befalls it: each ends in the state that the semantics
//! demand, with the version serving that they demand.

use std::cell::RefCell;
use std::time::Duration;

use mesh_core::id::{NodeId, ServiceId};
use mesh_core::object::{Service, UpdateState};
use mesh_core::spec::{FailureAction, UpdateConfig, UpdateOrder};
use mesh_core::testing::{VirtualCluster, service_spec};

use crate::broken;
use crate::images::{CRASH_AFTER, Image};
use crate::rules::{LONG, Rules, is_terminal, serves};

const REPLICAS: u32 = 4;
const ORDERS: [UpdateOrder; 2] = [UpdateOrder::StopFirst, UpdateOrder::StartFirst];
const PARALLELISMS: [u64; 4] = [0, 1, 2, REPLICAS as u64];
const DELAYS: [u64; 2] = [0, 2_000];
const MONITORS: [u64; 3] = [0, 200, 3_000];
const ACTIONS: [FailureAction; 3] = [FailureAction::Pause, FailureAction::Continue, FailureAction::Rollback];
const RATIOS: [f32; 3] = [0.0, 0.5, 1.0];

/// What befalls the update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    Image(Image),
    /// A node falls silent in the middle.
    Node,
    /// Another leader takes over in the middle.
    Leader,
}

const TROUBLES: [Trouble; 6] = [
    Trouble::None,
    Trouble::Image(Image::Missing),
    Trouble::Image(Image::NeverHealthy),
    Trouble::Image(Image::Crashes),
    Trouble::Node,
    Trouble::Leader,
];

#[derive(Debug, Clone, Copy)]
struct Case {
    config: UpdateConfig,
    trouble: Trouble,
}

/// Takes the `number`th of so many choices.
fn choose<T: Copy>(number: &mut usize, choices: &[T]) -> T {
    let chosen = choices[*number % choices.len()];
    *number /= choices.len();
    chosen
}

const CASES: usize = ORDERS.len()
    * PARALLELISMS.len()
    * DELAYS.len()
    * MONITORS.len()
    * ACTIONS.len()
    * RATIOS.len()
    * TROUBLES.len();

impl Case {
    fn new(mut number: usize) -> Self {
        let number = &mut number;
        let config = UpdateConfig {
            order: choose(number, &ORDERS),
            parallelism: choose(number, &PARALLELISMS),
            delay: Duration::from_millis(choose(number, &DELAYS)),
            monitor: Duration::from_millis(choose(number, &MONITORS)),
            failure_action: choose(number, &ACTIONS),
            max_failure_ratio: choose(number, &RATIOS),
        };
        Self { config, trouble: choose(number, &TROUBLES) }
    }

    /// Whether every new task counts as failed.
    fn fails(self) -> bool {
        match self.trouble {
            Trouble::Image(Image::Missing | Image::NeverHealthy) => true,
            // A monitor shorter than the delay is as long as the delay.
            Trouble::Image(Image::Crashes) => self.config.monitor.max(self.config.delay) >= CRASH_AFTER,
            _ => false,
        }
    }

    fn ends_as(self) -> UpdateState {
        let fires = self.fails() && self.config.max_failure_ratio < 1.0;
        match self.config.failure_action {
            FailureAction::Pause if fires => UpdateState::Paused,
            FailureAction::Rollback if fires => UpdateState::RollbackCompleted,
            _ => UpdateState::Completed,
        }
    }
}

#[test]
fn every_combination_ends_as_it_should() {
    let case = |number| Case::new(usize::try_from(number).unwrap());
    let broken = broken(CASES as u64, |number| run(case(number)));
    let told: Vec<_> =
        broken.iter().map(|(number, text)| format!("{number} {:?}: {text}", case(*number))).collect();
    assert!(told.is_empty(), "{} of {CASES} cases: {told:#?}", told.len());
}

fn run(case: Case) {
    let mut cluster = VirtualCluster::new(3, 7);
    let mut spec = service_spec("web", REPLICAS);
    spec.task.container.image = Image::Good.version(1);
    spec.task.restart.delay = Duration::from_millis(300);
    (spec.update, spec.rollback) =
        (case.config, UpdateConfig { monitor: case.config.monitor, ..UpdateConfig::default() });
    spec.rollback.order = case.config.order;
    let web = cluster.create_service(spec.clone()).unwrap();
    let whole = |cluster: &VirtualCluster| cluster.running(web) == REPLICAS as usize;
    cluster.run_until(LONG, whole).expect("the first version runs");

    let rules = RefCell::new(Rules::new(matches!(case.trouble, Trouble::None | Trouble::Leader)));
    let image = if let Trouble::Image(image) = case.trouble { image } else { Image::Good };
    let image = image.publish(&mut cluster, 2);
    cluster.update_service(web, |spec| spec.task.container.image = image).unwrap();
    befall(&mut cluster, web, case, &rules);
    let done = cluster.run_until(LONG, |cluster| {
        rules.borrow_mut().look(&cluster.store);
        is_terminal(cluster.store.service(web).unwrap())
    });
    let service = Service::clone(cluster.store.service(web).unwrap());
    assert!(done.is_some(), "no end: {:?}", service.update);
    let update = service.update.clone().unwrap();
    assert_eq!(update.state, case.ends_as(), "{}", update.message);
    assert_eq!(update.completed_at.is_some(), update.state != UpdateState::Paused, "{update:?}");
    cluster.run_for(Duration::from_mins(1));
    let after = cluster.store.service(web).unwrap().update.clone().unwrap();
    assert_eq!(after.state, update.state, "an end is an end");
    serves_what_it_should(&cluster, web, case, &spec.task.container.image);
}

/// Lets it happen once the update is in the middle.
fn befall(cluster: &mut VirtualCluster, web: ServiceId, case: Case, rules: &RefCell<Rules>) {
    let middle = |cluster: &VirtualCluster| {
        rules.borrow_mut().look(&cluster.store);
        let new = cluster.live(web).iter().filter(|task| task.spec_version > 1).count();
        new >= 1
    };
    match case.trouble {
        Trouble::Node => {
            cluster.run_until(LONG, middle).expect("the update begins");
            let node = NodeId::from_bits(2);
            rules.borrow_mut().doubted.insert(node);
            cluster.silence(node);
        }
        Trouble::Leader => {
            cluster.run_until(LONG, middle).expect("the update begins");
            cluster.new_leader();
        }
        Trouble::None | Trouble::Image(_) => {}
    }
}

fn serves_what_it_should(cluster: &VirtualCluster, web: ServiceId, case: Case, old: &str) {
    let live = cluster.live(web);
    let of =
        |image: &str| live.iter().filter(|task| serves(task) && task.spec.container.image == image).count();
    let (replicas, service) = (REPLICAS as usize, cluster.store.service(web).unwrap());
    let parallelism = usize::try_from(case.config.parallelism).unwrap();
    match case.ends_as() {
        UpdateState::Completed if !matches!(case.trouble, Trouble::Image(_)) => {
            assert_eq!(of(&Image::Good.version(2)), replicas, "all tasks are new");
        }
        UpdateState::RollbackCompleted => {
            assert_eq!(of(old), replicas, "all tasks are old");
            assert_eq!(service.spec.task.container.image, old);
        }
        UpdateState::Paused
            if case.config.order == UpdateOrder::StartFirst
                && case.trouble != Trouble::Image(Image::Crashes) =>
        {
            assert_eq!(of(old), replicas, "the old ones serve until new ones do");
        }
        UpdateState::Paused
            if case.config.max_failure_ratio < 0.1
                && parallelism > 0
                && case.trouble != Trouble::Image(Image::Crashes) =>
        {
            assert!(of(old) + parallelism >= replicas, "no more than one batch was given up");
        }
        _ => {}
    }
}
