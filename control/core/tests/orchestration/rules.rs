//! What may never happen, looked at after every event.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mesh_core::id::{NodeId, ServiceId, TaskId};
use mesh_core::object::{NodeState, Service, Task, TaskState, UpdateState};
use mesh_core::spec::{ServiceMode, UpdateConfig, UpdateOrder};
use mesh_core::store::Store;

/// Which place of a service: a slot, or a node.
type Place = (u32, Option<NodeId>);

/// What was seen of a cluster so far.
#[derive(Debug, Default)]
pub struct Rules {
    /// Nothing but updates befalls the services: the rules that failures may bend hold too.
    pub calm: bool,
    /// Tell what every task comes to.
    pub loud: bool,
    /// Nodes that were silent at some time: what they run was out of sight.
    pub doubted: BTreeSet<NodeId>,
    /// Services that were whole since they were made, or changed in number, last.
    pub whole: BTreeSet<(ServiceId, u64)>,
    pub states: BTreeMap<TaskId, (TaskState, TaskState)>,
    /// Tasks that new flows went to.
    pub served: BTreeSet<TaskId>,
    /// The last entry of the log that was looked at.
    pub index: u64,
}

impl Rules {
    pub fn new(calm: bool) -> Self {
        Self { calm, ..Self::default() }
    }

    /// Looks at the whole store, if it is another than the one before.
    pub fn look(&mut self, store: &Store) {
        if std::mem::replace(&mut self.index, store.index()) == store.index() {
            return;
        }
        for task in store.tasks() {
            self.moves_forward(store, task);
            if serves(task) {
                self.served.insert(task.id);
            }
            self.leaves_before_it_stops(store, task);
        }
        self.states.retain(|id, _| store.task(*id).is_some());
        self.served.retain(|id| store.task(*id).is_some());
        for service in store.services() {
            let places = places(store, service.id);
            for (place, tasks) in &places {
                self.one_runs(store, service, *place, tasks);
                history_is_short(store, service, *place, tasks);
            }
            if self.calm {
                self.floor(service, &places);
            }
        }
    }

    fn moves_forward(&mut self, store: &Store, task: &Task) {
        let now = (task.status.state, task.desired_state);
        let before = self.states.insert(task.id, now);
        if self.loud && before != Some(now) {
            println!(
                "{:>6} {} v{} {now:?} {}",
                store.index(),
                task.name(),
                task.spec_version,
                task.status.err
            );
        }
        if let Some((state, desired)) = before {
            assert!(state <= now.0, "{} went from {state} back to {}", task.name(), now.0);
            assert!(desired <= now.1, "{} was to be {desired}, now {}", task.name(), now.1);
        }
    }

    /// A task that served is stopped only after every node has it out of its balancers.
    fn leaves_before_it_stops(&self, store: &Store, task: &Task) {
        let stopped = task.status.state == TaskState::Shutdown && self.served.contains(&task.id);
        let there = task.node.is_some_and(|node| store.node(node).is_some() && !self.doubted.contains(&node));
        let cleared = task.leaving.is_some_and(|leaving| leaving.cleared);
        assert!(!stopped || !there || cleared, "{} stopped while it was in balancers", task.name());
    }

    /// No place has two running tasks unless the new one is to come first.
    fn one_runs(&self, store: &Store, service: &Service, place: Place, tasks: &[Arc<Task>]) {
        if service.spec.update.order == UpdateOrder::StartFirst {
            return;
        }
        let seen = |task: &&Arc<Task>| {
            let node = task.node.and_then(|node| store.node(node));
            node.is_some_and(|node| node.status.state == NodeState::Ready && !self.doubted.contains(&node.id))
        };
        let running = tasks.iter().filter(|task| task.status.state == TaskState::Running).filter(seen);
        let running: Vec<_> = running.map(|task| task.name()).collect();
        assert!(running.len() <= 1, "{} {place:?} has {running:?} at once", service.spec.name);
    }

    /// An update of a service that was whole has no more places without a task that serves than its parallelism,
    /// and none when the new tasks come first.
    fn floor(&mut self, service: &Service, places: &BTreeMap<Place, Vec<Arc<Task>>>) {
        let ServiceMode::Replicated { replicas } = service.spec.mode else { return };
        let wanted = usize::try_from(replicas).unwrap_or(usize::MAX);
        let serving = places.values().filter(|tasks| tasks.iter().any(|task| serves(task))).count();
        let key = (service.id, u64::from(replicas));
        if serving >= wanted {
            self.whole.retain(|(id, _)| *id != service.id);
            self.whole.insert(key);
        }
        if !self.whole.contains(&key) {
            return;
        }
        let config = config(service);
        let may_miss = match (config.order, config.parallelism) {
            (UpdateOrder::StartFirst, _) => 0,
            (UpdateOrder::StopFirst, 0) => wanted,
            (UpdateOrder::StopFirst, parallelism) => usize::try_from(parallelism).unwrap_or(usize::MAX),
        };
        assert!(
            serving + may_miss >= wanted,
            "{} serves with {serving} of {wanted}, and may miss {may_miss}: {:?}",
            service.spec.name,
            service.update,
        );
        let coming = |task: &Arc<Task>| {
            task.desired_state <= TaskState::Running && task.status.state < TaskState::Running
        };
        let changing = places.values().filter(|tasks| tasks.iter().any(coming)).count();
        let parallelism = usize::try_from(config.parallelism).unwrap_or(usize::MAX);
        assert!(
            parallelism == 0 || changing <= parallelism,
            "{} changes {changing} places at once: {:?}",
            service.spec.name,
            service.update
        );
    }
}

/// The settings that the service's tasks are changed by now.
pub fn config(service: &Service) -> UpdateConfig {
    let back = [UpdateState::RollbackStarted, UpdateState::RollbackPaused, UpdateState::RollbackCompleted];
    match &service.update {
        Some(update) if back.contains(&update.state) => service.spec.rollback,
        _ => service.spec.update,
    }
}

/// Whether new flows may go to it.
pub fn serves(task: &Task) -> bool {
    task.status.state == TaskState::Running && task.desired_state == TaskState::Running
}

/// The tasks of a service by place.
pub fn places(store: &Store, service: ServiceId) -> BTreeMap<Place, Vec<Arc<Task>>> {
    let mut places: BTreeMap<Place, Vec<Arc<Task>>> = BTreeMap::new();
    for task in store.service_tasks(service) {
        let node = task.node.filter(|_| task.slot == 0);
        places.entry((task.slot, node)).or_default().push(task.clone());
    }
    places
}

fn history_is_short(store: &Store, service: &Service, place: Place, tasks: &[Arc<Task>]) {
    let limit = store.cluster().map_or(5, |cluster| cluster.spec.task_history_limit);
    let ended = tasks.iter().filter(|task| task.status.state.is_final()).count();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).max(1);
    // What ended in this very entry of the log is pruned by the next batch.
    assert!(ended <= limit + 1, "{} {place:?} keeps {ended} ended tasks", service.spec.name);
}

/// Updates and rollbacks that are neither under way nor at an end are none.
pub fn is_terminal(service: &Service) -> bool {
    !matches!(
        service.update.as_ref().map(|update| update.state),
        Some(UpdateState::Updating | UpdateState::RollbackStarted)
    )
}

/// Longest time that an update may take in these tests, with every wait at its longest.
pub const LONG: Duration = Duration::from_mins(30);
