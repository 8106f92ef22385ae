//! Which tasks are not what their service wants now.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::object::{AllocatedPort, NodeState, Service, Task, TaskState};
use crate::orchestrate::{Instance, age, is_live};
use crate::spec::{Availability, Placement, TaskSpec};
use crate::store::Store;

impl Store {
    /// Whether a task is not what its service wants now, so that an update replaces it.
    pub fn is_outdated(&self, task: &Task) -> bool {
        self.service(task.service).is_none_or(|service| is_dirty(self, service, task))
    }
}

/// Whether a task has to be replaced to become what its service wants.
pub(in crate::orchestrate) fn is_dirty(store: &Store, service: &Service, task: &Task) -> bool {
    task.spec_version != service.spec_version
        && (has_other_spec(store, service, task)
            || service.endpoint.host_ports() != sorted(&task.host_ports)
            || misses_ingress(store, service, task))
}

/// A task stays whose place alone is wanted differently, where its node is good by the new wish, too.
fn has_other_spec(store: &Store, service: &Service, task: &Task) -> bool {
    if *task.spec == service.spec.task {
        return false;
    }
    let placement = Placement::clone(&service.spec.task.placement);
    let moved = TaskSpec { placement, ..TaskSpec::clone(&task.spec) };
    let node = task.node.and_then(|node| store.node(node));
    let fits = node.is_some_and(|node| {
        service.spec.task.placement.constraints.iter().all(|constraint| constraint.matches(node))
    });
    moved != service.spec.task || !fits
}

/// Whether a task has no place in the ingress network that its service publishes through by now. One that has
/// no addresses yet gets that with the others.
fn misses_ingress(store: &Store, service: &Service, task: &Task) -> bool {
    let ingress = store.ingress_network().filter(|_| service.publishes_ingress());
    let joined = |network| task.endpoints.iter().any(|endpoint| endpoint.network == network);
    task.status.state > TaskState::New && ingress.is_some_and(|network| !joined(network.id))
}

fn sorted(ports: &[AllocatedPort]) -> Vec<AllocatedPort> {
    let mut ports = ports.to_vec();
    ports.sort_unstable();
    ports
}

/// Whether an instance with these tasks, oldest first, has to be changed: something in it should run, or was not
/// to be started again, and none of that is what the service wants.
pub(super) fn is_place_dirty(
    store: &Store,
    service: &Service,
    instance: Instance,
    tasks: &[Arc<Task>],
) -> bool {
    let dirty = |task: &Task| is_dirty(store, service, task);
    let live: Vec<_> = tasks.iter().filter(|task| is_live(task)).collect();
    let last = tasks.last().filter(|last| last.desired_state != TaskState::Remove && dirty(last));
    let outdated = if live.is_empty() { last.is_some() } else { live.into_iter().all(|task| dirty(task)) };
    outdated && takes_tasks(store, service, instance)
}

/// A node that takes no new tasks keeps those of global services as they are.
fn takes_tasks(store: &Store, service: &Service, instance: Instance) -> bool {
    let Some(node) = instance.node else { return true };
    store.node(node).is_some_and(|node| {
        node.status.state == NodeState::Ready
            && node.spec.availability == Availability::Active
            && service.spec.task.placement.constraints.iter().all(|constraint| constraint.matches(node))
    })
}

/// How many of a service's instances have to be changed.
pub(super) fn dirty_places(store: &Store, service: &Service) -> u32 {
    let mut places: BTreeMap<Instance, Vec<Arc<Task>>> = BTreeMap::new();
    for task in store.service_tasks(service.id) {
        places.entry(Instance::of(task)).or_default().push(task.clone());
    }
    let dirty = places.into_iter().filter_map(|(instance, mut tasks)| {
        tasks.sort_by_key(|task| age(task));
        is_place_dirty(store, service, instance, &tasks).then_some(())
    });
    u32::try_from(dirty.count()).unwrap_or(u32::MAX)
}
