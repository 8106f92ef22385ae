//! What each node carries, brought forward task by task, and the nodes in the order in which they are full.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::generic::Used;
use crate::id::{NodeId, ServiceId, TaskId};
use crate::object::{Node, NodeState, Task, TaskState};
use crate::port::{Port, Protocol};
use crate::spec::{Availability, ResourceAmount};
use crate::store::Store;

/// A node whose reserved share is this has nothing left.
const WHOLE: u32 = 1 << 16;

/// What a node carries.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// The node; `None` while tasks stand for one that is not in the cluster.
    node: Option<Arc<Node>>,
    /// Tasks that hold something there, ending ones included.
    tasks: u32,
    /// Tasks that shall run there.
    pub active: u32,
    by_service: BTreeMap<ServiceId, u32>,
    /// Resources of all tasks that have not ended.
    pub reserved: ResourceAmount,
    /// Generic resources of all tasks that have not ended.
    pub generic: Used,
    ports: BTreeMap<(Port, Protocol), u32>,
    /// Where it stands in the orders.
    place: Option<Fullness>,
}

/// How full a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fullness {
    /// Tasks that shall run there.
    pub active: u32,
    /// The larger of the shares of its CPU and its memory that are reserved, in 2⁻¹⁶.
    pub share: u32,
}

/// Which order of nodes a task is placed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Fewest tasks first: for a task that reserves nothing.
    Tasks,
    /// Least reserved first: for a task that reserves something.
    Reserved,
}

/// A node's place in an order.
pub(super) type Place = (u32, u32, NodeId);

/// What all nodes carry.
#[derive(Debug, Default)]
pub(super) struct Loads {
    nodes: BTreeMap<NodeId, Load>,
    /// The tasks that hold something, as they were counted.
    tasks: BTreeMap<TaskId, Arc<Task>>,
    /// Nodes that have tasks of a service that shall run.
    hosts: BTreeMap<ServiceId, BTreeSet<NodeId>>,
    /// Nodes that take tasks, by number of tasks, then share.
    by_tasks: BTreeSet<Place>,
    /// Nodes that take tasks, by share, then number of tasks.
    by_share: BTreeSet<Place>,
}

/// Whether a task takes room on its node: it was given to it and has not ended.
fn weighs(task: &Task) -> bool {
    task.node.is_some() && (TaskState::Assigned..=TaskState::Running).contains(&task.status.state)
}

/// Whether a task counts where tasks are spread: it weighs, and shall run.
fn is_active(task: &Task) -> bool {
    task.desired_state <= TaskState::Running
}

/// Whether two states of a task weigh the same.
fn same_weight(one: &Task, other: &Task) -> bool {
    one.node == other.node
        && is_active(one) == is_active(other)
        && one.spec == other.spec
        && one.host_ports == other.host_ports
        && one.generic == other.generic
}

impl Loads {
    pub(super) fn new(store: &Store) -> Self {
        let mut loads = Self::default();
        store.nodes().for_each(|node| loads.put_node(node));
        store.tasks().for_each(|task| loads.set_task(task.id, Some(task)));
        loads
    }

    /// A node of the cluster.
    pub(super) fn get(&self, node: NodeId) -> Option<(&Node, &Load)> {
        let load = self.nodes.get(&node)?;
        Some((load.node.as_deref()?, load))
    }

    /// Every node of the cluster.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Node, &Load)> {
        self.nodes.values().filter_map(|load| Some((load.node.as_deref()?, load)))
    }

    /// The nodes that have tasks of a service.
    pub(super) fn hosts(&self, service: ServiceId) -> impl Iterator<Item = NodeId> {
        self.hosts.get(&service).into_iter().flatten().copied()
    }

    /// The nodes that come after `place` among those that take tasks; all of them after `None`.
    pub(super) fn after(&self, order: Order, place: Option<Place>) -> impl Iterator<Item = Place> {
        let places = match order {
            Order::Tasks => &self.by_tasks,
            Order::Reserved => &self.by_share,
        };
        let from = place.map_or(Bound::Unbounded, Bound::Excluded);
        places.range((from, Bound::Unbounded)).copied()
    }

    pub(super) fn put_node(&mut self, node: &Arc<Node>) {
        self.nodes.entry(node.id).or_default().node = Some(node.clone());
        self.find_place(node.id);
    }

    pub(super) fn remove_node(&mut self, node: NodeId) {
        if let Some(load) = self.nodes.get_mut(&node) {
            load.node = None;
        }
        self.find_place(node);
    }

    /// A task that holds something, as it was counted.
    pub(super) fn task(&self, task: TaskId) -> Option<&Arc<Task>> {
        self.tasks.get(&task)
    }

    /// Whether [`Loads::set_task`] would change what nodes carry.
    pub(super) fn differs(&self, id: TaskId, task: Option<&Task>) -> bool {
        match (self.tasks.get(&id), task.filter(|task| weighs(task))) {
            (None, None) => false,
            (Some(old), Some(new)) => !same_weight(old, new),
            _ => true,
        }
    }

    /// Sets what a task puts on its node; nothing for one that is gone. Doing it twice changes nothing.
    pub(super) fn set_task(&mut self, id: TaskId, task: Option<&Arc<Task>>) {
        let new = task.filter(|task| weighs(task));
        let differs = self.differs(id, new.map(|task| &**task));
        let old = match new {
            Some(new) => self.tasks.insert(id, new.clone()),
            None => self.tasks.remove(&id),
        };
        if differs {
            if let Some(old) = old {
                self.count(&old, false);
            }
            if let Some(new) = new {
                self.count(new, true);
            }
        }
    }

    fn count(&mut self, task: &Task, add: bool) {
        self.change(task, |load| if add { load.add(task) } else { load.subtract(task) });
    }

    /// Leaves a task out where tasks are spread, as if it did not run any more. It still holds what it holds.
    pub(super) fn overlook(&mut self, task: &Task) {
        self.change(task, |load| load.lower(task));
    }

    /// Takes [`Loads::overlook`] back.
    pub(super) fn look_again(&mut self, task: &Task) {
        self.change(task, |load| load.raise(task));
    }

    fn change(&mut self, task: &Task, change: impl FnOnce(&mut Load)) {
        let Some(id) = task.node else { return };
        let load = self.nodes.entry(id).or_default();
        let hosted = load.of_service(task.service) > 0;
        change(load);
        match (hosted, load.of_service(task.service) > 0) {
            (false, true) => drop(self.hosts.entry(task.service).or_default().insert(id)),
            (true, false) => {
                if let Some(hosts) = self.hosts.get_mut(&task.service) {
                    hosts.remove(&id);
                    if hosts.is_empty() {
                        self.hosts.remove(&task.service);
                    }
                }
            }
            _ => {}
        }
        self.find_place(id);
    }

    /// Puts a node where it belongs in the orders; one that takes no tasks is in neither.
    fn find_place(&mut self, id: NodeId) {
        let Some(load) = self.nodes.get_mut(&id) else { return };
        let node = load.node.clone();
        let place = node.as_ref().filter(|node| takes_tasks(node)).map(|node| load.fullness(node));
        let old = std::mem::replace(&mut load.place, place);
        let gone = node.is_none() && load.tasks == 0;
        if old != place {
            if let Some(Fullness { active, share }) = old {
                self.by_tasks.remove(&(active, share, id));
                self.by_share.remove(&(share, active, id));
            }
            if let Some(Fullness { active, share }) = place {
                self.by_tasks.insert((active, share, id));
                self.by_share.insert((share, active, id));
            }
        }
        if gone {
            self.nodes.remove(&id);
        }
    }
}

/// Whether a node takes new tasks.
pub(super) fn takes_tasks(node: &Node) -> bool {
    node.status.state == NodeState::Ready && node.spec.availability == Availability::Active
}

impl Load {
    /// Tasks of a service that shall run here.
    pub(super) fn of_service(&self, service: ServiceId) -> u32 {
        self.by_service.get(&service).copied().unwrap_or(0)
    }

    /// Whether a task that has not ended holds the port.
    pub(super) fn holds_port(&self, port: (Port, Protocol)) -> bool {
        self.ports.contains_key(&port)
    }

    pub(super) fn fullness(&self, node: &Node) -> Fullness {
        let has = node.description.resources;
        let cpus = share(self.reserved.nano_cpus, has.nano_cpus);
        let memory = share(self.reserved.memory_bytes, has.memory_bytes);
        Fullness { active: self.active, share: cpus.max(memory) }
    }

    fn raise(&mut self, task: &Task) {
        if is_active(task) {
            self.active += 1;
            *self.by_service.entry(task.service).or_default() += 1;
        }
    }

    fn lower(&mut self, task: &Task) {
        if is_active(task) {
            self.active = self.active.saturating_sub(1);
            lower(&mut self.by_service, task.service);
        }
    }

    fn add(&mut self, task: &Task) {
        self.tasks += 1;
        self.raise(task);
        let reserved = task.spec.resources.reservations;
        self.reserved.nano_cpus = self.reserved.nano_cpus.saturating_add(reserved.nano_cpus);
        self.reserved.memory_bytes = self.reserved.memory_bytes.saturating_add(reserved.memory_bytes);
        self.generic.add(&task.generic);
        for port in &task.host_ports {
            *self.ports.entry((port.published, port.protocol)).or_default() += 1;
        }
    }

    fn subtract(&mut self, task: &Task) {
        self.tasks = self.tasks.saturating_sub(1);
        self.lower(task);
        let reserved = task.spec.resources.reservations;
        self.reserved.nano_cpus = self.reserved.nano_cpus.saturating_sub(reserved.nano_cpus);
        self.reserved.memory_bytes = self.reserved.memory_bytes.saturating_sub(reserved.memory_bytes);
        self.generic.subtract(&task.generic);
        for port in &task.host_ports {
            lower(&mut self.ports, (port.published, port.protocol));
        }
    }
}

/// The share `used` of `has`, in 2⁻¹⁶.
fn share(used: u64, has: u64) -> u32 {
    let whole = u128::from(WHOLE);
    match has {
        0 if used == 0 => 0,
        0 => WHOLE,
        _ => u32::try_from(u128::from(used) * whole / u128::from(has)).unwrap_or(u32::MAX),
    }
}

/// Counts one less, and forgets what is counted no more.
pub(super) fn lower<K: Ord>(counts: &mut BTreeMap<K, u32>, key: K) {
    if let std::collections::btree_map::Entry::Occupied(mut entry) = counts.entry(key) {
        *entry.get_mut() = entry.get().saturating_sub(1);
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}
