//! Global services and global jobs: one task on each node that is there, takes tasks and fulfils the constraints.

use std::collections::BTreeSet;

use super::instance::{begin, clean_up, empty, retire};
use super::{Instance, Orchestrator, is_live};
use crate::id::Entropy;
use crate::leader::draft::Draft;
use crate::object::{Node, NodeState, Service, TaskState};
use crate::spec::Availability;
use crate::store::Store;

impl Orchestrator {
    /// Brings a global service or job in order; false when the batch was full before it was.
    pub(super) fn plan_global(
        &mut self,
        draft: &mut Draft<'_>,
        service: &Service,
        entropy: &mut dyn Entropy,
    ) -> bool {
        // Those that are gone, too, for what is left of their tasks.
        let hosts = draft.store().service_tasks(service.id).filter_map(|task| task.node);
        let nodes: BTreeSet<_> = draft.store().nodes().map(|node| node.id).chain(hosts).collect();
        for node in nodes {
            if draft.is_full() {
                return false;
            }
            let instance = Instance::on_node(service.id, node);
            if service.spec.mode.is_job() {
                self.plan_job_node(draft, service, instance, entropy);
            } else {
                self.plan_node(draft, service, instance, entropy);
            }
        }
        true
    }

    /// Brings one node of a global service in order.
    pub(super) fn plan_node(
        &mut self,
        draft: &mut Draft<'_>,
        service: &Service,
        instance: Instance,
        entropy: &mut dyn Entropy,
    ) {
        let (belongs, takes_new) = standing(draft.store(), service, instance);
        let tasks = instance.tasks(draft.store());
        if instance.is_gone(draft.store()) {
            empty(draft, instance);
        } else if !belongs {
            let live = tasks.iter().filter(|task| is_live(task));
            live.for_each(|task| retire(draft, task, TaskState::Shutdown));
            clean_up(draft, instance);
        } else if tasks.iter().all(|task| task.desired_state == TaskState::Remove) {
            if takes_new {
                begin(draft, service, instance, entropy);
            }
        } else {
            self.keep(draft, service, instance, entropy);
        }
    }
}

/// Whether an instance's node may have a task of the service, and whether it may get one that it has not yet.
pub(super) fn standing(store: &Store, service: &Service, instance: Instance) -> (bool, bool) {
    let node = instance.node.and_then(|node| store.node(node)).filter(|node| belongs(node, service));
    (node.is_some(), node.is_some_and(|node| node.spec.availability == Availability::Active))
}

fn belongs(node: &Node, service: &Service) -> bool {
    node.status.state == NodeState::Ready
        && node.spec.availability != Availability::Drain
        && service.spec.task.placement.constraints.iter().all(|constraint| constraint.matches(node))
}
