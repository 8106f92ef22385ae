//! Rolling updates on virtual time: which places change when, and how it ends.

mod contents;
mod failures;
mod global;
mod leaders;
mod orders;
mod rollback;
mod storm;
mod sweep;
mod targets;

use super::*;
use crate::object::{Service, UpdateState, UpdateStatus};
use crate::spec::{FailureAction, UpdateConfig, UpdateOrder};

const GOOD: &str = "mesh/whoami:1";
const NEXT: &str = "mesh/whoami:2";
const BAD: &str = "mesh/whoami:bad";

/// A service of `replicas` that runs version 1, in a cluster where [`BAD`] does not start.
fn updating(nodes: u32, replicas: u32, config: UpdateConfig) -> (VirtualCluster, ServiceId) {
    let mut cluster = VirtualCluster::new(nodes, 7);
    let broken = Some((TaskState::Starting, TaskState::Failed));
    cluster.behave_image(BAD, Behaviour { breaks: broken, ..Behaviour::default() });
    let mut spec = service_spec("web", replicas);
    (spec.update, spec.rollback) = (config, UpdateConfig::default());
    spec.task.restart.delay = secs(1);
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, replicas as usize);
    (cluster, service)
}

fn set_image(cluster: &mut VirtualCluster, service: ServiceId, image: &str) {
    cluster.update_service(service, |spec| spec.task.container.image = image.to_owned()).unwrap();
}

fn object(cluster: &VirtualCluster, service: ServiceId) -> &Service {
    cluster.store.service(service).unwrap()
}

fn update(cluster: &VirtualCluster, service: ServiceId) -> UpdateStatus {
    object(cluster, service).update.clone().expect("an update")
}

fn state_of(cluster: &VirtualCluster, service: ServiceId) -> Option<UpdateState> {
    object(cluster, service).update.as_ref().map(|update| update.state)
}

/// Lets an update come to a state.
fn until_state(cluster: &mut VirtualCluster, service: ServiceId, state: UpdateState) -> Duration {
    let took = cluster.run_until(secs(300), |cluster| state_of(cluster, service) == Some(state));
    took.unwrap_or_else(|| panic!("{:#?} {:#?}", update(cluster, service), cluster.live(service)))
}

/// How many tasks of each image run.
fn images(cluster: &VirtualCluster, service: ServiceId) -> BTreeMap<String, usize> {
    let mut images = BTreeMap::new();
    for task in cluster.live(service).iter().filter(|task| task.status.state == TaskState::Running) {
        *images.entry(task.spec.container.image.clone()).or_default() += 1;
    }
    images
}

fn words(outcome: Result<(), crate::command::Refusal>) -> String {
    outcome.unwrap_err().to_string()
}

fn all(image: &str, count: usize) -> BTreeMap<String, usize> {
    [(image.to_owned(), count)].into()
}

#[test]
fn every_task_is_replaced_one_after_the_other() {
    let (mut cluster, service) = updating(3, 4, UpdateConfig::default());
    let before = ids(&cluster.live(service));
    set_image(&mut cluster, service, NEXT);
    let begun = update(&cluster, service);
    assert_eq!((begun.state, begun.message.as_str()), (UpdateState::Updating, "update in progress"));
    assert_eq!((begun.slots, begun.started_at, begun.completed_at), (4, cluster.now, None));
    let took = until_state(&mut cluster, service, UpdateState::Completed);
    assert_eq!(images(&cluster, service), all(NEXT, 4));
    assert!(cluster.live(service).iter().all(|task| !before.contains(&task.id)));
    assert_eq!(slots(&cluster, service), [1, 2, 3, 4]);
    let ended = update(&cluster, service);
    assert_eq!(ended.message, "update completed");
    assert_eq!(ended.failed.len(), 0);
    assert!(cluster.now.since(ended.completed_at.unwrap()) < Duration::from_millis(10));
    assert!((secs(5)..secs(6)).contains(&took), "the monitor after the last, and no more: {took:?}");
    assert_eq!(cluster.conflicts, 0);
    cluster.check_assignments();
}
