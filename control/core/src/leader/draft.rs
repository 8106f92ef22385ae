//! A batch in the making: the leader's store with everything on top that the batch will do. Each stage
//! sees what the stages before it decided, and one object is written once however often it was touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::object::{EndpointId, Node, Service, Task, TaskState};
use crate::store::{Change, Delta, Expect, Key, Object, Store, Transaction, Write};
use crate::time::Timestamp;

/// Objects touched after which the stages stop and leave the rest to the next batch.
const BATCH_OBJECTS: usize = 4000;
/// Writes in one transaction.
const TRANSACTION_WRITES: usize = 500;
/// Bytes in one transaction, roughly.
const TRANSACTION_BYTES: usize = 1 << 20;

/// A batch in the making.
pub(crate) struct Draft<'a> {
    base: &'a Store,
    store: Store,
    now: Timestamp,
    /// What was touched, with its place in the order of first touch.
    touched: BTreeMap<Key, usize>,
    fresh: Vec<Change>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(base: &'a Store, now: Timestamp) -> Self {
        Self { base, store: base.clone(), now, touched: BTreeMap::new(), fresh: Vec::new() }
    }

    /// The store as it will be.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The store as it is.
    pub(crate) fn base(&self) -> &'a Store {
        self.base
    }

    /// The time that the batch is made at.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether the batch holds as much as one should.
    pub(crate) fn is_full(&self) -> bool {
        self.touched.len() >= BATCH_OBJECTS
    }

    pub(crate) fn put_task(&mut self, mut task: Task) {
        let old = self.store.task(task.id).cloned();
        if !old.as_ref().is_some_and(|old| Arc::ptr_eq(&old.spec, &task.spec)) {
            task.spec = self.store.shared_spec(&task);
        }
        if old.as_deref() != Some(&task) {
            self.change(Key::Task(task.id), Change::Task(Delta { old, new: Some(Arc::new(task)) }));
        }
    }

    pub(crate) fn put_node(&mut self, node: Node) {
        let old = self.store.node(node.id).cloned();
        if old.as_deref() != Some(&node) {
            self.change(Key::Node(node.id), Change::Node(Delta { old, new: Some(Arc::new(node)) }));
        }
    }

    pub(crate) fn put_service(&mut self, service: Service) {
        let old = self.store.service(service.id).cloned();
        if old.as_deref() != Some(&service) {
            let id = service.id;
            self.change(Key::Service(id), Change::Service(Delta { old, new: Some(Arc::new(service)) }));
        }
    }

    pub(crate) fn delete_task(&mut self, task: &Arc<Task>) {
        self.change(Key::Task(task.id), Change::Task(Delta { old: Some(task.clone()), new: None }));
    }

    fn change(&mut self, key: Key, change: Change) {
        let place = self.touched.len();
        self.touched.entry(key).or_insert(place);
        self.store.adopt(change.clone());
        self.fresh.push(change);
    }

    /// What changed since this was asked last.
    pub(crate) fn take_fresh(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.fresh)
    }

    /// The batch as transactions, and the objects that they touch. What gives up addresses comes first, so
    /// that whoever got them in the same batch finds them free.
    pub(crate) fn finish(self) -> (Vec<Transaction>, Vec<Object>) {
        let mut order: Vec<_> = self.touched.iter().map(|(key, place)| (*place, *key)).collect();
        order.sort_unstable();
        let writes: Vec<_> = order.iter().filter_map(|(_, key)| self.write(*key)).collect();
        let (first, mut rest): (Vec<_>, Vec<_>) = writes.into_iter().partition(gives_up);
        // Endpoint ids only count up, so they are written in the order in which they were given.
        rest.sort_by_key(last_endpoint);
        let touched =
            order.iter().filter_map(|(_, key)| self.store.get(*key).or_else(|| self.base.get(*key)));
        let touched = touched.collect();
        (split(self.now, first.into_iter().chain(rest)), touched)
    }

    fn write(&self, key: Key) -> Option<Write> {
        match (self.base.get(key), self.store.get(key)) {
            (None, Some(new)) => Some(Write::create(new)),
            (Some(old), Some(new)) if old != new => Some(Write::update(new)),
            (Some(old), None) => Some(Write::Delete { key, expect: Expect::Version(old.meta().version) }),
            _ => None,
        }
    }
}

fn gives_up(write: &Write) -> bool {
    match write {
        Write::Delete { .. } => true,
        Write::Put { object: Object::Task(task), .. } => task.status.state.is_final(),
        Write::Put { .. } => false,
    }
}

fn last_endpoint(write: &Write) -> Option<EndpointId> {
    match write {
        Write::Put { object: Object::Task(task), .. } => {
            task.endpoints.iter().map(|endpoint| endpoint.id).max()
        }
        _ => None,
    }
}

fn split(at: Timestamp, writes: impl Iterator<Item = Write>) -> Vec<Transaction> {
    let mut transactions: Vec<Transaction> = Vec::new();
    let mut bytes = 0;
    for write in writes {
        let weight = weight(&write);
        let room = bytes + weight <= TRANSACTION_BYTES;
        if let Some(last) =
            transactions.last_mut().filter(|last| room && last.writes.len() < TRANSACTION_WRITES)
        {
            last.writes.push(write);
            bytes += weight;
        } else {
            transactions.push(Transaction { at, writes: vec![write] });
            bytes = weight;
        }
    }
    transactions
}

/// Roughly the bytes that a write takes in the log.
fn weight(write: &Write) -> usize {
    let Write::Put { object: Object::Task(task), .. } = write else { return 512 };
    let container = &task.spec.container;
    let words = container.env.iter().chain(&container.args).chain(&container.command);
    let labels = container.labels.iter().map(|(key, value)| key.len() + value.len() + 4);
    512 + words.map(|word| word.len() + 2).sum::<usize>() + labels.sum::<usize>()
}

/// A task with its observed state written by a manager: before it has an agent, or when that is gone.
pub(crate) fn managed(task: &Task, state: TaskState, message: &str, err: &str, now: Timestamp) -> Task {
    let mut task = task.clone();
    task.status.state = state;
    task.status.timestamp = now;
    message.clone_into(&mut task.status.message);
    err.clone_into(&mut task.status.err);
    task
}
