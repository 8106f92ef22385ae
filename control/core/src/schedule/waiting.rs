//! The tasks that wait for a node, by what they are: tasks of one spec wait together, so that what a change
//! means for them is found out once, however many they are, and by a look at the node that changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::filter::{Explanation, Filter, refusal};
use super::load::Loads;
use crate::id::{NodeId, ServiceId, TaskId};
use crate::object::{AllocatedPort, Task};
use crate::spec::ResourceAmount;

/// What tasks that are alike but for their slot have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    service: ServiceId,
    spec_version: u64,
    ports: Vec<AllocatedPort>,
}

/// Tasks that are alike and wait, each with its slot.
#[derive(Debug)]
pub(super) struct Group {
    /// One of them.
    example: Arc<Task>,
    /// Those that do not know yet what the others were told.
    fresh: BTreeSet<(u32, TaskId)>,
    /// Those that were told why they wait.
    told: BTreeSet<(u32, TaskId)>,
    /// What they were told.
    said: String,
    /// Why no node is suitable, kept up to date; `None` when one may be.
    why: Option<Explanation>,
}

/// All tasks that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    groups: BTreeMap<Kind, Group>,
    /// Groups that there is something to do for.
    due: BTreeSet<Kind>,
    kinds: BTreeMap<TaskId, (u32, Kind)>,
    /// Groups that found no node and to which it matters what nodes carry.
    by_load: BTreeSet<Kind>,
    pinned: Pinned,
}

/// Tasks that are bound to a node.
#[derive(Debug, Default)]
struct Pinned {
    by_node: BTreeMap<NodeId, BTreeSet<TaskId>>,
    nodes: BTreeMap<TaskId, NodeId>,
    /// Those that are to be looked at.
    due: BTreeSet<TaskId>,
}

/// What a node says to tasks that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is not there.
    Absent,
    /// It would take one.
    Suits,
    /// It would not.
    Refuses(Filter),
}

/// What a node said to the groups that a change of it may concern.
pub(super) struct Before(Vec<(Kind, Verdict)>);

impl Kind {
    pub(super) fn of(task: &Task) -> Self {
        Self { service: task.service, spec_version: task.spec_version, ports: task.host_ports.clone() }
    }
}

impl Waiting {
    /// A task waits, and is to be looked at.
    pub(super) fn add(&mut self, task: &Arc<Task>) {
        if let Some(node) = task.node {
            self.pinned.add(task.id, node);
            return;
        }
        let kind = Kind::of(task);
        let key = (task.slot, task.id);
        let group = self.groups.entry(kind.clone()).or_insert_with(|| Group::new(task.clone()));
        group.told.remove(&key);
        group.fresh.insert(key);
        // One more that takes another's place may have made room for all of them.
        if group.is_limited() {
            group.why = None;
            self.by_load.remove(&kind);
        }
        self.due.insert(kind.clone());
        self.kinds.insert(task.id, (task.slot, kind));
    }

    /// Whether a task waits.
    pub(super) fn has(&self, task: TaskId) -> bool {
        self.kinds.contains_key(&task) || self.pinned.nodes.contains_key(&task)
    }

    /// A task waits no more.
    pub(super) fn remove(&mut self, task: TaskId) {
        self.pinned.remove(task);
        let Some((slot, kind)) = self.kinds.remove(&task) else { return };
        let Some(group) = self.groups.get_mut(&kind) else { return };
        group.fresh.remove(&(slot, task));
        group.told.remove(&(slot, task));
        if group.next().is_none() {
            self.groups.remove(&kind);
            self.due.remove(&kind);
            self.by_load.remove(&kind);
        }
    }

    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty() || !self.pinned.due.is_empty()
    }

    /// A group that there is something to do for.
    pub(super) fn next_due(&self) -> Option<Kind> {
        self.due.first().cloned()
    }

    pub(super) fn group(&mut self, kind: &Kind) -> Option<&mut Group> {
        self.groups.get_mut(kind)
    }

    /// Nothing is left to do for a group until something changes.
    pub(super) fn done(&mut self, kind: &Kind) {
        self.due.remove(kind);
    }

    /// A bound task that is to be looked at; it is not any more until its node changes.
    pub(super) fn next_pinned(&mut self) -> Option<TaskId> {
        self.pinned.due.pop_first()
    }

    /// No node is suitable for a group.
    pub(super) fn refuse(&mut self, kind: &Kind, why: Explanation) {
        let Some(group) = self.groups.get_mut(kind) else { return };
        if group.depends_on_load() {
            self.by_load.insert(kind.clone());
        }
        group.why = Some(why);
    }

    /// What a node says to the groups that found none, before a task of `service` changes what it carries, or,
    /// with no service, before it changes itself.
    pub(super) fn before(&self, loads: &Loads, node: NodeId, service: Option<ServiceId>) -> Before {
        let concerned: Vec<&Kind> = match service {
            None => self.groups.keys().collect(),
            Some(service) => {
                let own = self.of_service(service).filter(|kind| !self.by_load.contains(kind));
                self.by_load.iter().chain(own).collect()
            }
        };
        let refused = |kind: &&Kind| self.groups.get(kind).is_some_and(|group| group.why.is_some());
        let concerned = concerned.into_iter().filter(refused);
        Before(concerned.map(|kind| (kind.clone(), self.ask(loads, node, kind))).collect())
    }

    /// Takes in what has become of that: a group that the node suits is tried again, one that it now refuses for
    /// another reason is told.
    pub(super) fn after(&mut self, loads: &Loads, node: NodeId, before: Before) {
        for (kind, old) in before.0 {
            let new = self.ask(loads, node, &kind);
            let Some(group) = self.groups.get_mut(&kind).filter(|_| old != new) else { continue };
            // What others are about to take the place of counts here, and not where they are placed.
            if new == Verdict::Suits || new == Verdict::Refuses(Filter::MaxReplicas) {
                group.why = None;
                self.by_load.remove(&kind);
            } else if let Some(why) = &mut group.why {
                why.change(old.filter(), new.filter());
            }
            self.due.insert(kind);
        }
        self.pinned.look_at(node);
    }

    fn of_service(&self, service: ServiceId) -> impl Iterator<Item = &Kind> {
        let first = Kind { service, spec_version: 0, ports: Vec::new() };
        self.groups.range(first..).map(|(kind, _)| kind).take_while(move |kind| kind.service == service)
    }

    fn ask(&self, loads: &Loads, node: NodeId, kind: &Kind) -> Verdict {
        match (loads.get(node), self.groups.get(kind)) {
            (Some((node, load)), Some(group)) => {
                refusal(node, load, &group.example).map_or(Verdict::Suits, Verdict::Refuses)
            }
            _ => Verdict::Absent,
        }
    }
}

impl Verdict {
    fn filter(self) -> Option<Filter> {
        match self {
            Self::Refuses(filter) => Some(filter),
            Self::Absent | Self::Suits => None,
        }
    }
}

impl Group {
    fn new(example: Arc<Task>) -> Self {
        let (fresh, told) = (BTreeSet::new(), BTreeSet::new());
        Self { example, fresh, told, said: String::new(), why: None }
    }

    pub(super) fn example(&self) -> Arc<Task> {
        self.example.clone()
    }

    /// Whether it is known that no node is suitable.
    pub(super) fn is_refused(&self) -> bool {
        self.why.is_some()
    }

    /// The task whose turn is next when there is a node: that of the lowest slot.
    pub(super) fn next(&self) -> Option<TaskId> {
        let first = [self.fresh.first(), self.told.first()].into_iter().flatten().min();
        first.map(|(_, task)| *task)
    }

    /// The next task that is to be told why it waits, and what.
    pub(super) fn tell(&mut self) -> Option<(TaskId, &str)> {
        let now = self.why.as_ref().map(ToString::to_string)?;
        if now != self.said {
            self.said = now;
            self.fresh.append(&mut self.told);
        }
        let next = self.fresh.pop_first()?;
        self.told.insert(next);
        Some((next.1, &self.said))
    }

    fn is_limited(&self) -> bool {
        self.example.spec.placement.max_replicas_per_node > 0
    }

    fn depends_on_load(&self) -> bool {
        let wants = &self.example.spec.resources;
        let reserves = wants.reservations != ResourceAmount::default() || !wants.generic.is_empty();
        reserves || !self.example.host_ports.is_empty()
    }
}

impl Pinned {
    fn add(&mut self, task: TaskId, node: NodeId) {
        self.nodes.insert(task, node);
        self.by_node.entry(node).or_default().insert(task);
        self.due.insert(task);
    }

    fn remove(&mut self, task: TaskId) {
        let Some(node) = self.nodes.remove(&task) else { return };
        self.due.remove(&task);
        if let Some(others) = self.by_node.get_mut(&node) {
            others.remove(&task);
            if others.is_empty() {
                self.by_node.remove(&node);
            }
        }
    }

    fn look_at(&mut self, node: NodeId) {
        self.due.extend(self.by_node.get(&node).into_iter().flatten());
    }
}
