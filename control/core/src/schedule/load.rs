//! What each node carries, brought forward task by task.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::id::{NodeId, ServiceId, TaskId};
use crate::object::{Node, Task, TaskState};
use crate::port::{Port, Protocol};
use crate::spec::ResourceAmount;
use crate::store::Store;
use crate::time::Timestamp;

/// Failures of a service on a node that make the node rank lower.
const FAILURES: usize = 5;
/// Time in which they must have happened.
const FAILURE_WINDOW: Duration = Duration::from_mins(5);

/// What a node carries.
#[derive(Debug)]
pub(super) struct Load {
    pub node: Arc<Node>,
    /// Tasks that shall run there.
    pub active: u32,
    /// The same by service.
    pub by_service: BTreeMap<ServiceId, u32>,
    /// Resources of all tasks that have not ended.
    pub reserved: ResourceAmount,
    /// Host ports of all tasks that have not ended.
    pub ports: BTreeMap<(Port, Protocol), u32>,
}

/// What one task puts on its node.
#[derive(Debug)]
struct Share {
    node: NodeId,
    service: ServiceId,
    active: bool,
    reserved: ResourceAmount,
    ports: Vec<(Port, Protocol)>,
}

/// What all nodes carry.
#[derive(Debug, Default)]
pub(super) struct Loads {
    nodes: BTreeMap<NodeId, Load>,
    shares: BTreeMap<TaskId, Share>,
    failures: BTreeMap<(NodeId, ServiceId), VecDeque<(TaskId, Timestamp)>>,
}

/// Whether a task takes room on its node: it was given to it and has not ended.
pub(super) fn weighs(task: &Task) -> bool {
    task.node.is_some() && (TaskState::Assigned..=TaskState::Running).contains(&task.status.state)
}

impl Loads {
    pub(super) fn new(store: &Store) -> Self {
        let mut loads = Self::default();
        store.nodes().for_each(|node| loads.put_node(node));
        store.tasks().for_each(|task| loads.set_task(task.id, Some(task)));
        loads
    }

    pub(super) fn get(&self, node: NodeId) -> Option<&Load> {
        self.nodes.get(&node)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Load> {
        self.nodes.values()
    }

    pub(super) fn put_node(&mut self, node: &Arc<Node>) {
        if let Some(load) = self.nodes.get_mut(&node.id) {
            load.node = node.clone();
            return;
        }
        let mut load = Load {
            node: node.clone(),
            active: 0,
            by_service: BTreeMap::new(),
            reserved: ResourceAmount::default(),
            ports: BTreeMap::new(),
        };
        self.shares.values().filter(|share| share.node == node.id).for_each(|share| load.add(share));
        self.nodes.insert(node.id, load);
    }

    pub(super) fn remove_node(&mut self, node: NodeId) {
        self.nodes.remove(&node);
        self.failures.retain(|(of, _), _| *of != node);
    }

    /// Sets what a task puts on its node; nothing for one that is gone. Doing it twice changes nothing.
    pub(super) fn set_task(&mut self, id: TaskId, task: Option<&Task>) {
        if let Some(old) = self.shares.remove(&id)
            && let Some(load) = self.nodes.get_mut(&old.node)
        {
            load.subtract(&old);
        }
        let Some((task, node)) = task.filter(|task| weighs(task)).and_then(|task| Some((task, task.node?)))
        else {
            return;
        };
        let share = Share {
            node,
            service: task.service,
            active: task.desired_state <= TaskState::Running,
            reserved: task.spec.resources.reservations,
            ports: task.host_ports.iter().map(|port| (port.published, port.protocol)).collect(),
        };
        if let Some(load) = self.nodes.get_mut(&node) {
            load.add(&share);
        }
        self.shares.insert(id, share);
    }

    /// Remembers a task that failed where it ran; told twice of one, when it is drafted and when it is
    /// committed, it counts it once.
    pub(super) fn note_failure(&mut self, old: &Task, new: &Task) {
        let failed = matches!(new.status.state, TaskState::Failed | TaskState::Rejected);
        let Some(node) = new.node.filter(|_| failed && !old.status.state.is_final()) else { return };
        let times = self.failures.entry((node, new.service)).or_default();
        times.retain(|(task, _)| *task != new.id);
        times.push_back((new.id, new.meta.updated_at));
        if times.len() > FAILURES {
            times.pop_front();
        }
    }

    /// Whether a service failed too often on a node lately.
    pub(super) fn is_troubled(&self, node: NodeId, service: ServiceId, now: Timestamp) -> bool {
        let recent = |at: Timestamp| now.since(at) < FAILURE_WINDOW;
        let times = self.failures.get(&(node, service));
        times.is_some_and(|times| times.iter().filter(|(_, at)| recent(*at)).count() >= FAILURES)
    }
}

impl Load {
    /// Tasks of a service that shall run here.
    pub(super) fn of_service(&self, service: ServiceId) -> u32 {
        self.by_service.get(&service).copied().unwrap_or(0)
    }

    fn add(&mut self, share: &Share) {
        if share.active {
            self.active += 1;
            *self.by_service.entry(share.service).or_default() += 1;
        }
        self.reserved.nano_cpus = self.reserved.nano_cpus.saturating_add(share.reserved.nano_cpus);
        self.reserved.memory_bytes = self.reserved.memory_bytes.saturating_add(share.reserved.memory_bytes);
        for port in &share.ports {
            *self.ports.entry(*port).or_default() += 1;
        }
    }

    fn subtract(&mut self, share: &Share) {
        if share.active {
            self.active = self.active.saturating_sub(1);
            lower(&mut self.by_service, share.service);
        }
        self.reserved.nano_cpus = self.reserved.nano_cpus.saturating_sub(share.reserved.nano_cpus);
        self.reserved.memory_bytes = self.reserved.memory_bytes.saturating_sub(share.reserved.memory_bytes);
        for port in &share.ports {
            lower(&mut self.ports, *port);
        }
    }
}

fn lower<K: Ord>(counts: &mut BTreeMap<K, u32>, key: K) {
    if let std::collections::btree_map::Entry::Occupied(mut entry) = counts.entry(key) {
        *entry.get_mut() -= 1;
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}
