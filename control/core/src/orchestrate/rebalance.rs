//! Rebalancing, when a user asks for it and never else: tasks move from where a service has most of them to
//! where it has fewest, a few at a time and the new one first, for as long as that makes the spread better.
//!
//! The scheduler chooses where a task goes; a move that turns out to be none for the better is taken back, and
//! that is the end. So it ends in any case: each move that is made leaves fewer to make.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::instance::{change, ended_by_itself};
use super::update::{is_dirty, is_paused};
use super::{Instance, age, is_live, new_task};
use crate::id::{Entropy, NodeId, TaskId};
use crate::leader::draft::Draft;
use crate::object::{Node, Rebalance, Service, Task, TaskState, UpdateState};
use crate::schedule::suits;
use crate::spec::UpdateOrder;
use crate::store::Store;

/// How far a move is, what decides about the whole last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Move {
    /// The old task leaves.
    Done,
    /// The successor is on its way.
    UnderWay,
    /// The successor has no node yet.
    Unplaced,
    /// There is no successor, no place for it, or no better one.
    Failed,
}

/// Whether a task is to leave its node for the sake of the spread.
pub(super) fn is_moving(service: &Service, task: &Task) -> bool {
    service.rebalance.as_ref().is_some_and(|mark| mark.moving.contains(&task.id))
}

/// Goes on with the rebalance of a service, if one is asked for.
pub(super) fn rebalance(draft: &mut Draft<'_>, service: &Service, entropy: &mut dyn Entropy) {
    let Some(mark) = &service.rebalance else { return };
    let spread = Spread::new(draft.store(), service);
    let far: Vec<_> =
        mark.moving.iter().map(|task| (*task, how_far(draft.store(), &spread, *task))).collect();
    let mut next = Rebalance::clone(mark);
    for (task, _) in far.iter().filter(|(_, far)| *far == Move::Done) {
        next.moving.remove(task);
        next.moved = next.moved.saturating_add(1);
    }
    let far = far.into_iter().map(|(_, far)| far).max().unwrap_or(Move::Done);
    let over = far == Move::Failed || !go_on(draft, service, &spread, (&mut next, far), entropy);
    let rebalance = Some(next).filter(|_| !over);
    draft.put_service(Service { rebalance, ..Service::clone(service) });
}

/// Begins another move when it is time for one; false when nothing is under way and nothing is left to do.
fn go_on(
    draft: &mut Draft<'_>,
    service: &Service,
    spread: &Spread,
    (mark, far): (&mut Rebalance, Move),
    entropy: &mut dyn Entropy,
) -> bool {
    let Some(node) = spread.crowded() else { return !mark.moving.is_empty() };
    let most = usize::try_from(mark.parallelism).unwrap_or(usize::MAX);
    if far == Move::Unplaced || mark.moving.len() >= most || is_in_change(service) {
        return true;
    }
    let Some(task) = movable(draft.store(), service, mark, node) else {
        // What a paused update left does not settle by itself.
        return !mark.moving.is_empty() || (!is_paused(service) && is_unsettled(draft.store(), service));
    };
    let instance = Instance::of(&task);
    let successor = new_task(service, instance, draft.now(), entropy);
    change(draft, instance, UpdateOrder::StartFirst, successor);
    mark.moving.insert(task.id);
    true
}

/// Whether any of the service's tasks is yet to run, so that it may be one to move later.
fn is_unsettled(store: &Store, service: &Service) -> bool {
    let mut live = store.service_tasks(service.id).filter(|task| is_live(task));
    live.any(|task| task.status.state != TaskState::Running)
}

/// Whether an update moves the service's tasks already.
fn is_in_change(service: &Service) -> bool {
    let state = service.update.as_ref().map(|update| update.state);
    matches!(state, Some(UpdateState::Updating | UpdateState::RollbackStarted))
}

fn how_far(store: &Store, spread: &Spread, task: TaskId) -> Move {
    let Some(old) = store.task(task).filter(|task| is_live(task)) else { return Move::Done };
    let Some(successor) = successor(store, old) else {
        return if ended_by_itself(old) { Move::Done } else { Move::Failed };
    };
    match (successor.node, old.node) {
        (None, _) if successor.status.err.is_empty() => Move::Unplaced,
        (Some(to), Some(from)) if spread.is_improved(from, to) => Move::UnderWay,
        _ => Move::Failed,
    }
}

/// The live task that is to take the place of a live one.
fn successor(store: &Store, task: &Task) -> Option<Arc<Task>> {
    let last = Instance::of(task).tasks(store).pop()?;
    Some(last).filter(|last| is_live(last) && age(last) > age(task) && !last.status.state.is_final())
}

/// A task on the node that can move: it serves, and nothing else is done in its slot.
fn movable(store: &Store, service: &Service, mark: &Rebalance, node: NodeId) -> Option<Arc<Task>> {
    let alone = |task: &Task| {
        Instance::of(task).tasks(store).iter().filter(|other| is_live(other)).count() == 1
            && !mark.moving.contains(&task.id)
    };
    let here = store.node_tasks(node).filter(|task| task.service == service.id && is_live(task));
    let good = here.filter(|task| task.status.state == TaskState::Running && !is_dirty(store, service, task));
    good.filter(|task| alone(task)).max_by_key(|task| task.slot).cloned()
}

/// A service's tasks by place, each where it is or is moving to. Places make a tree: the values of the preferred
/// labels, then the nodes.
#[derive(Debug)]
struct Spread {
    /// The nodes that may have tasks of the service, each with the way to it.
    paths: BTreeMap<NodeId, Vec<String>>,
    counts: BTreeMap<Vec<String>, u32>,
}

impl Spread {
    fn new(store: &Store, service: &Service) -> Self {
        let nodes = store.nodes().filter(|node| suits(node, &service.spec.task.placement));
        let paths = nodes.map(|node| (node.id, path(service, node))).collect();
        let mut spread = Self { paths, counts: BTreeMap::new() };
        let mut slots: BTreeMap<u32, &Arc<Task>> = BTreeMap::new();
        for task in store.service_tasks(service.id).filter(|task| is_live(task)) {
            let slot = slots.entry(task.slot).or_insert(task);
            if age(task) > age(slot) {
                *slot = task;
            }
        }
        slots.values().filter_map(|task| task.node).for_each(|node| spread.add(node));
        spread
    }

    fn add(&mut self, node: NodeId) {
        let Some(path) = self.paths.get(&node) else { return };
        for depth in 1..=path.len() {
            *self.counts.entry(path[..depth].to_vec()).or_default() += 1;
        }
    }

    fn count(&self, branch: &[String]) -> u32 {
        self.counts.get(branch).copied().unwrap_or(0)
    }

    /// A node that has tasks to give away: a fullest one of the branch that has at least two more than another
    /// beside it.
    fn crowded(&self) -> Option<NodeId> {
        let nodes: Vec<_> = self.paths.keys().copied().collect();
        self.crowded_among(&nodes, 1)
    }

    fn crowded_among(&self, nodes: &[NodeId], depth: usize) -> Option<NodeId> {
        let mut branches: BTreeMap<&[String], Vec<NodeId>> = BTreeMap::new();
        for node in nodes {
            let branch = self.paths.get(node)?.get(..depth)?;
            branches.entry(branch).or_default().push(*node);
        }
        let (fullest, inside) = branches.iter().max_by_key(|(branch, _)| self.count(branch))?;
        let least = branches.keys().map(|branch| self.count(branch)).min()?;
        if self.count(fullest) > least + 1 {
            return inside.iter().copied().max_by_key(|node| self.counts_towards(*node));
        }
        branches.values().find_map(|inside| self.crowded_among(inside, depth + 1))
    }

    /// The counts of the branches on the way to a node.
    fn counts_towards(&self, node: NodeId) -> Vec<u32> {
        let path = self.paths.get(&node).map_or(&[][..], Vec::as_slice);
        (1..=path.len()).map(|depth| self.count(&path[..depth])).collect()
    }

    /// Whether a move that is counted already makes the spread better: what is taken from has no less after it
    /// than what is given to.
    fn is_improved(&self, from: NodeId, to: NodeId) -> bool {
        let (Some(from), Some(to)) = (self.paths.get(&from), self.paths.get(&to)) else { return false };
        let fork = from.iter().zip(to).position(|(from, to)| from != to);
        fork.is_some_and(|at| self.count(&from[..=at]) >= self.count(&to[..=at]))
    }
}

/// The way to a node: the values of the preferred labels, then its own name.
fn path(service: &Service, node: &Node) -> Vec<String> {
    let preferences = service.spec.task.placement.preferences.iter();
    let branches = preferences.map(|preference| preference.descriptor.value_of(node).into_owned());
    branches.chain([node.id.to_string()]).collect()
}
