//! Orchestrators: how many tasks each service should have, where a task's life is to go, and what takes
//! the place of one that ended. They decide from the store alone, so a new leader carries on, and an
//! orchestrator that runs twice on one state decides nothing the second time.
//!
//! What changed is remembered as a service (its number of tasks is looked at) or as an instance (a slot of a
//! replicated service, a node of a global one), so that the end of one task costs no look at the others.

mod global;
mod instance;
mod job;
mod rebalance;
mod replicated;
mod restart;
#[cfg(test)]
mod tests;
pub(crate) mod update;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{Entropy, NodeId, ServiceId, TaskId};
use crate::leader::draft::Draft;
use crate::object::{Cluster, Meta, Node, NodeDescription, Service, Task, TaskState, TaskStatus};
use crate::port::PublishMode;
use crate::spec::ServiceMode;
use crate::store::{Change, Delta, Store};
use crate::time::Timestamp;
use update::{Updater, is_alike};

/// One of a service's places for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instance {
    service: ServiceId,
    /// Number of the replica; 0 for a global service.
    slot: u32,
    /// The node of a global service's task.
    node: Option<NodeId>,
}

/// What the orchestrators have to look at.
#[derive(Debug, Default)]
pub(crate) struct Orchestrator {
    services: BTreeSet<ServiceId>,
    instances: BTreeSet<Instance>,
    timers: BTreeSet<(Timestamp, Instance)>,
    globals: BTreeSet<ServiceId>,
    /// Jobs in which something ended, so that another task may begin.
    roomy: BTreeSet<ServiceId>,
    updater: Updater,
}

impl Orchestrator {
    pub(crate) fn new(store: &Store, now: Timestamp) -> Self {
        let is_global = |service: &&std::sync::Arc<Service>| service.spec.mode.is_global();
        let orphaned = store.tasks().map(|task| task.service).filter(|id| store.service(*id).is_none());
        Self {
            services: store.services().map(|service| service.id).chain(orphaned).collect(),
            globals: store.services().filter(is_global).map(|service| service.id).collect(),
            updater: Updater::new(now),
            ..Self::default()
        }
    }

    /// Notes what a change means, whether it is committed or drafted.
    pub(crate) fn notice(&mut self, store: &Store, change: &Change) {
        match change {
            Change::Service(delta) => self.service_changed(delta),
            Change::Node(delta) => self.node_changed(store, delta),
            Change::Task(Delta { old, new }) => {
                if let Some(task) = new.as_ref().or(old.as_ref()) {
                    self.instances.insert(Instance::of(task));
                }
            }
            Change::Cluster(_) | Change::Network(_) | Change::Secret(_) | Change::Config(_) => {}
        }
    }

    /// Looks at a service again, because a decision about it was not carried out.
    pub(crate) fn look_again(&mut self, service: ServiceId) {
        self.services.insert(service);
    }

    fn service_changed(&mut self, delta: &Delta<Service>) {
        let Some(service) = delta.new.as_ref().or(delta.old.as_ref()) else { return };
        if let (Some(old), Some(new)) = (&delta.old, &delta.new)
            && is_alike(old, new)
        {
            return;
        }
        self.services.insert(service.id);
        if delta.new.is_some() && service.spec.mode.is_global() {
            self.globals.insert(service.id);
        } else {
            self.globals.remove(&service.id);
        }
    }

    fn node_changed(&mut self, store: &Store, delta: &Delta<Node>) {
        let Some(node) = delta.new.as_ref().or(delta.old.as_ref()) else { return };
        if let (Some(old), Some(new)) = (&delta.old, &delta.new)
            && places_tasks_alike(old, new)
        {
            return;
        }
        self.instances.extend(store.node_tasks(node.id).map(|task| Instance::of(task)));
        let node = node.id;
        self.instances.extend(self.globals.iter().map(|service| Instance::on_node(*service, node)));
    }

    pub(crate) fn has_work(&self) -> bool {
        let places = !self.services.is_empty() || !self.instances.is_empty();
        places || !self.roomy.is_empty() || self.updater.has_work()
    }

    /// When something is due that no event will tell of.
    pub(crate) fn wake_at(&self) -> Option<Timestamp> {
        let timers = [self.timers.first().map(|(at, _)| *at), self.updater.wake_at()];
        timers.into_iter().flatten().min()
    }

    /// Looks at whatever changed, until the batch is full.
    pub(crate) fn plan(&mut self, draft: &mut Draft<'_>, entropy: &mut dyn Entropy) {
        while let Some((_, instance)) = self.timers.first().filter(|(at, _)| *at <= draft.now()).copied() {
            self.timers.pop_first();
            self.instances.insert(instance);
        }
        self.count_failures(draft);
        while let Some(service) = self.services.first().copied().filter(|_| !draft.is_full()) {
            let done = self.plan_service(draft, service, entropy);
            if !done {
                break;
            }
            self.services.remove(&service);
        }
        while let Some(instance) = self.instances.first().copied().filter(|_| !draft.is_full()) {
            self.instances.remove(&instance);
            self.plan_instance(draft, instance, entropy);
        }
        self.fill_jobs(draft, entropy);
        self.update(draft, entropy);
    }

    /// Brings a whole service in order; false when the batch was full before it was.
    fn plan_service(&mut self, draft: &mut Draft<'_>, id: ServiceId, entropy: &mut dyn Entropy) -> bool {
        let Some(service) = draft.store().service(id).cloned() else {
            self.updater.forget(id);
            return instance::remove_all(draft, id);
        };
        let done = match service.spec.mode {
            ServiceMode::Replicated { replicas } => {
                let done = self.plan_replicated(draft, &service, replicas, entropy);
                if done {
                    rebalance::rebalance(draft, &service, entropy);
                }
                done
            }
            ServiceMode::Global | ServiceMode::GlobalJob => self.plan_global(draft, &service, entropy),
            ServiceMode::ReplicatedJob { .. } => self.plan_replicated_job(draft, &service, entropy),
        };
        if !service.spec.mode.is_job() {
            self.updater.survey(draft, &service);
        }
        done
    }

    fn plan_instance(&mut self, draft: &mut Draft<'_>, instance: Instance, entropy: &mut dyn Entropy) {
        match draft.store().service(instance.service).cloned() {
            None => instance.tasks(draft.store()).iter().for_each(|task| instance::remove(draft, task)),
            Some(service) => {
                self.plan_place(draft, &service, instance, entropy);
                if !service.spec.mode.is_job() {
                    self.updater.look(draft, &service, instance);
                }
            }
        }
    }

    fn plan_place(
        &mut self,
        draft: &mut Draft<'_>,
        service: &Service,
        instance: Instance,
        entropy: &mut dyn Entropy,
    ) {
        match service.spec.mode {
            ServiceMode::Replicated { .. } => {
                self.keep(draft, service, instance, entropy);
                self.services.extend(service.rebalance.as_ref().map(|_| service.id));
            }
            ServiceMode::ReplicatedJob { .. } => self.plan_job_slot(draft, service, instance, entropy),
            ServiceMode::Global => self.plan_node(draft, service, instance, entropy),
            ServiceMode::GlobalJob => self.plan_job_node(draft, service, instance, entropy),
        }
    }

    fn wait_until(&mut self, at: Timestamp, instance: Instance) {
        self.timers.insert((at, instance));
    }
}

impl Instance {
    fn of(task: &Task) -> Self {
        Self { service: task.service, slot: task.slot, node: task.node.filter(|_| task.slot == 0) }
    }

    fn slot(service: ServiceId, slot: u32) -> Self {
        Self { service, slot, node: None }
    }

    fn on_node(service: ServiceId, node: NodeId) -> Self {
        Self { service, slot: 0, node: Some(node) }
    }

    /// Whether its node is not in the cluster any more, so that nothing comes back there.
    fn is_gone(self, store: &Store) -> bool {
        self.node.is_some_and(|node| store.node(node).is_none())
    }

    /// The instance's tasks, ended ones included, oldest first.
    fn tasks(self, store: &Store) -> Vec<std::sync::Arc<Task>> {
        let mut tasks: Vec<_> = match self.node {
            Some(node) => store.node_tasks(node).filter(|task| Self::of(task) == self).cloned().collect(),
            None => store.slot_tasks(self.service, self.slot).cloned().collect(),
        };
        tasks.sort_by_key(|task| age(task));
        tasks
    }
}

/// Sorts a slot's tasks by when they were made. One that is only drafted is the youngest.
pub(crate) fn age(task: &Task) -> (u64, TaskId) {
    let drafted = task.meta.version == 0;
    (if drafted { u64::MAX } else { task.meta.created_version }, task.id)
}

/// Whether a node changed in nothing that decides which tasks it should have: what its processes listen on, and its
/// routes, are the scheduler's and the allocator's.
fn places_tasks_alike(old: &Node, new: &Node) -> bool {
    fn told(node: &Node) -> impl PartialEq + '_ {
        let NodeDescription { hostname, os, arch, engine_labels, resources, generic, .. } = &node.description;
        (hostname, os, arch, engine_labels, resources, generic)
    }
    old.spec == new.spec && old.status == new.status && told(old) == told(new)
}

/// Whether the task should still run, or come to run.
pub(crate) fn is_live(task: &Task) -> bool {
    task.desired_state <= TaskState::Running
}

/// How many tasks an instance keeps, the current one counted.
fn history_limit(cluster: Option<&std::sync::Arc<Cluster>>) -> usize {
    let limit = cluster.map_or(5, |cluster| cluster.spec.task_history_limit);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// A new task of a service, with nothing allocated yet.
fn new_task(service: &Service, instance: Instance, now: Timestamp, entropy: &mut dyn Entropy) -> Task {
    let host = service.endpoint.ports.iter().filter(|port| port.mode == PublishMode::Host);
    Task {
        id: TaskId::new(entropy),
        meta: Meta { created_at: now, updated_at: now, ..Meta::default() },
        service: service.id,
        service_name: service.spec.name.clone(),
        spec: Arc::new(service.spec.task.clone()),
        spec_version: service.spec_version,
        slot: instance.slot,
        node: instance.node,
        desired_state: TaskState::Running,
        status: TaskStatus {
            state: TaskState::New,
            timestamp: now,
            message: "created".to_owned(),
            err: String::new(),
            container: None,
        },
        endpoints: Vec::new(),
        host_ports: host.copied().collect(),
        start_at: now,
        restarts: Vec::new(),
        running_at: None,
        leaving: None,
        generic: BTreeMap::new(),
        job_iteration: service.job.map(|job| job.iteration),
        watched: false,
    }
}
