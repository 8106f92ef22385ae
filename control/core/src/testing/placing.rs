//! The scheduler alone, for benchmarks: pending tasks in, decisions out, and how they are committed.

use super::{Seeded, init_request, join_request};
use crate::allocate::Allocator;
use crate::command;
use crate::id::ServiceId;
use crate::leader::draft::Draft;
use crate::object::{Node, NodeState};
use crate::orchestrate::Orchestrator;
use crate::schedule::Scheduler;
use crate::spec::ServiceSpec;
use crate::store::{Change, Delta, Store, Transaction, Write};
use crate::time::Timestamp;

/// A cluster of which nothing but the scheduler lives.
#[derive(Debug)]
pub struct Placing {
    /// The committed state.
    pub store: Store,
    now: Timestamp,
    entropy: Seeded,
    orchestrator: Orchestrator,
    allocator: Allocator,
    scheduler: Scheduler,
}

impl Placing {
    /// So many nodes, every one Ready.
    pub fn new(nodes: u32) -> Self {
        let (now, mut entropy, mut store) = (Timestamp(1_000_000_000), Seeded(1), Store::default());
        let init = command::init_cluster(&store, init_request(), now, &mut entropy).expect("init");
        store.apply(1, &init).expect("an empty store");
        for number in 2..=nodes {
            let join = command::join_node(&store, join_request(number), now).expect("a new node");
            store.apply(u64::from(number), &join).expect("a new node");
        }
        let ready: Vec<_> = store.nodes().map(|node| Write::update(ready(node).into())).collect();
        store.apply(store.index() + 1, &Transaction { at: now, writes: ready }).expect("nodes");
        let (orchestrator, allocator) = (Orchestrator::default(), Allocator::default());
        Self { orchestrator, allocator, scheduler: Scheduler::new(&store), store, now, entropy }
    }

    /// Makes a service and its tasks, all of them pending afterwards.
    pub fn add(&mut self, spec: ServiceSpec) -> ServiceId {
        let (id, made) =
            command::create_service(&self.store, spec, self.now, &mut self.entropy).expect("a service");
        self.commit(&[made]);
        let service = self.store.service(id).cloned();
        self.orchestrator.notice(&self.store, &Change::Service(Delta { old: None, new: service }));
        while self.orchestrator.has_work() || self.allocator.has_work() {
            let base = self.store.clone();
            let mut draft = Draft::new(&base, self.now);
            self.orchestrator.plan(&mut draft, &mut self.entropy);
            draft.take_fresh().iter().for_each(|change| self.allocator.notice(change));
            self.allocator.plan(&mut draft);
            self.commit(&draft.finish().0);
        }
        id
    }

    /// One batch of decisions; none when nothing is left to decide.
    pub fn decide(&mut self) -> Vec<Transaction> {
        let base = self.store.clone();
        let mut draft = Draft::new(&base, self.now);
        self.scheduler.plan(&mut draft);
        draft.finish().0
    }

    /// Commits what was decided.
    pub fn commit(&mut self, decided: &[Transaction]) {
        for transaction in decided {
            let index = self.store.index() + 1;
            let changes = self.store.apply(index, transaction).expect("decided from this store");
            for change in &changes {
                self.scheduler.notice(change);
            }
        }
    }
}

fn ready(node: &Node) -> Node {
    let mut node = node.clone();
    node.status.state = NodeState::Ready;
    node
}
