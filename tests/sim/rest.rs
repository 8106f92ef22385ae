//! The users' part of the world, and what it looks like when everything has come to rest.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_core::id::TaskId;
use mesh_core::object::{NodeState, Task, TaskState};
use mesh_core::spec::{Availability, ServiceMode};
use mesh_core::store::{Store, Transaction};

use crate::client::{self, Op};
use crate::manager::Ticket;
use crate::network::MS;
use crate::plan::Planted;
use crate::world::{Event, World};

impl World {
    pub fn act_as_client(&mut self) {
        let pause = self.rng.between(30 * MS, 250 * MS);
        self.schedule(pause, Event::Client);
        let managers: Vec<u64> = self.managers.keys().copied().collect();
        let random = *self.rng.pick(&managers).expect("there are some");
        if self.rng.chance(250) {
            let (life, acked) = (self.managers[&random].life, self.ledger.acked());
            self.schedule(0, Event::Read { manager: random, life, acked });
        }
        let asked = self.leader().filter(|_| !self.rng.chance(100)).unwrap_or(random);
        if self.managers[&asked].frozen_until > self.now {
            return;
        }
        let Some((op, removed, transaction)) = self.next_wish(asked) else { return };
        // However it ends, whatever it removes may be gone from here on.
        if let Some(bits) = removed {
            self.expected.may_go(bits);
        }
        self.propose(asked, &transaction, Ticket::Client(op));
    }

    fn next_wish(&mut self, asked: u64) -> Option<(Op, Option<u128>, Transaction)> {
        let manager = &self.managers[&asked];
        let process = manager.process.as_ref()?;
        let (store, now) = (process.driver.replica().store(), manager.now(self.now));
        let joins = self.agents.iter().find_map(|agent| client::join(store, agent, now));
        if let Some(transaction) = joins {
            return Some((Op::Other, None, transaction));
        }
        if self.calm {
            return client::undrain(store, now).map(|transaction| (Op::Other, None, transaction));
        }
        self.wishes += 1;
        let stale = process.leading.as_ref().filter(|_| self.plan.planted == Some(Planted::DoubleVip));
        let store = stale.map_or(store, |leading| &leading.first);
        client::wish(store, now, &mut self.rng, self.wishes)
    }

    /// A manager is asked for a read that began when `acked` was.
    pub fn begin_read(&mut self, id: u64, acked: u64) {
        let Some(process) = &mut self.manager(id).process else { return };
        if let Ok(read) = process.driver.replica_mut().read() {
            process.reads.insert(read, acked);
            self.schedule_flush(id);
        }
    }

    pub fn look_for_rest(&mut self) {
        self.rested = self.unrest().is_none();
        self.schedule(500 * MS, Event::LookForRest);
    }

    /// What is still on its way, if anything.
    pub fn unrest(&self) -> Option<String> {
        let Some(leader) = self.leader().and_then(|id| self.managers[&id].replica()) else {
            return Some("nobody leads".to_owned());
        };
        if leader.membership().is_joint() {
            return Some("the managers are between two configurations".to_owned());
        }
        // One that is a member no more hears nothing.
        let members = leader.membership().iter().map(|(id, _)| id);
        for manager in members.filter_map(|id| self.managers.get(&id)) {
            let applied = manager.replica().map(mesh_raft::replica::Replica::applied);
            if applied != Some(leader.applied()) {
                return Some(format!("manager {} is at {applied:?}, not {:?}", manager.id, leader.applied()));
            }
        }
        let store = leader.store();
        self.node_unrest(store).or_else(|| self.service_unrest(store)).or_else(|| self.view_unrest())
    }

    /// What the agents were told in pieces is what they would be told whole.
    fn view_unrest(&self) -> Option<String> {
        let leading = self.managers[&self.leader()?].process.as_ref()?.leading.as_ref()?;
        self.agents.iter().find_map(|agent| {
            let (has, wanted) = (agent.assignments(), leading.leader.assignments(agent.node));
            (has.digest() != wanted.digest()).then(|| {
                format!("w{} has not what it is to have: {:?}", agent.place, has.difference(&wanted))
            })
        })
    }

    /// The agents run what the store says, and nothing else.
    fn node_unrest(&self, store: &Store) -> Option<String> {
        for agent in &self.agents {
            let Some(node) = store.node(agent.node) else {
                return Some(format!("w{} is no member", agent.place));
            };
            if node.status.state != NodeState::Ready || node.spec.availability != Availability::Active {
                return Some(format!("w{} is {:?}", agent.place, node.status.state));
            }
            let told: BTreeSet<TaskId> = store
                .node_tasks(agent.node)
                .filter(|task| task.status.state == TaskState::Running)
                .map(|task| task.id)
                .collect();
            let runs: BTreeSet<TaskId> = agent.running().collect();
            if told != runs {
                let odd = told.symmetric_difference(&runs).filter_map(|id| store.task(*id));
                let odd: Vec<_> = odd.map(|task| self.describe(task)).collect();
                return Some(format!("w{} does not run what it is said to: {odd:#?}", agent.place));
            }
        }
        None
    }

    /// Every service has as many running tasks as it wants.
    fn service_unrest(&self, store: &Store) -> Option<String> {
        let ready = store
            .nodes()
            .filter(|node| node.status.state == NodeState::Ready)
            .filter(|node| node.spec.availability == Availability::Active)
            .count();
        store.services().find_map(|service| {
            let wanted = match service.spec.mode {
                ServiceMode::Replicated { replicas } => usize::try_from(replicas).ok()?,
                ServiceMode::Global => ready,
                ServiceMode::ReplicatedJob { .. } | ServiceMode::GlobalJob => return None,
            };
            let tasks = || store.service_tasks(service.id);
            let running = tasks()
                .filter(|task| task.status.state == TaskState::Running)
                .filter(|task| task.desired_state == TaskState::Running)
                .count();
            let is_open = |task: &&Arc<Task>| !task.status.state.is_final();
            let open = || tasks().filter(is_open).map(|task| self.describe(task)).collect::<Vec<_>>();
            let name = &service.spec.name;
            (running != wanted).then(|| format!("{name} has {running} of {wanted} tasks: {:#?}", open()))
        })
    }

    /// A task as the store has it and as its machine does.
    fn describe(&self, task: &Task) -> String {
        let machine = self.agents.iter().find(|agent| Some(agent.node) == task.node);
        let local = machine.map(|agent| format!("on w{}: {}", agent.place, agent.describe(task.id)));
        let (id, slot, wanted, state) = (task.id, task.slot, task.desired_state, task.status.state);
        format!("{id} slot {slot} wanted {wanted:?} is {state:?} {}", local.unwrap_or_default())
    }
}
