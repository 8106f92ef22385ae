//! The one way in: expectations, claims and references are checked, then objects and indexes change.

use std::sync::Arc;

use super::{Change, Conflict, Delta, Expect, Key, Object, Store, Transaction, Write};
use crate::content::Content;
use crate::object::{Cluster, Meta, Network, Node, Service, Task};
use crate::spec::TaskSpec;
use crate::time::Timestamp;

impl Store {
    /// Applies log entry `index`. On a conflict nothing changes but [`Store::index`].
    pub fn apply(&mut self, index: u64, transaction: &Transaction) -> Result<Vec<Change>, Conflict> {
        self.index = index;
        let mut next = self.clone();
        let mut changes = Vec::with_capacity(transaction.writes.len());
        for write in &transaction.writes {
            changes.push(match write {
                Write::Put { object, expect } => next.put(index, transaction.at, object, *expect)?,
                Write::Delete { key, expect } => next.delete(*key, *expect)?,
            });
        }
        for change in &changes {
            next.check_references(change)?;
        }
        *self = next;
        Ok(changes)
    }

    /// Repeats changes that another replica made at log entry `index`, without checking them again.
    pub fn replay(&mut self, index: u64, changes: &[Change]) {
        self.index = index;
        for change in changes {
            self.adopt(change.clone());
        }
    }

    /// Takes back the changes of a log entry, so that the objects are as they were at `index`. What was given
    /// meanwhile (numbers, the last address of a network) stays given.
    pub(crate) fn take_back(&mut self, index: u64, changes: &[Change]) {
        fn reverse<T>(delta: &Delta<T>) -> Delta<T> {
            Delta { old: delta.new.clone(), new: delta.old.clone() }
        }
        self.index = index;
        for change in changes.iter().rev() {
            self.adopt(match change {
                Change::Cluster(delta) => Change::Cluster(reverse(delta)),
                Change::Node(delta) => Change::Node(reverse(delta)),
                Change::Network(delta) => Change::Network(reverse(delta)),
                Change::Service(delta) => Change::Service(reverse(delta)),
                Change::Task(delta) => Change::Task(reverse(delta)),
                Change::Secret(delta) => Change::Secret(reverse(delta)),
                Change::Config(delta) => Change::Config(reverse(delta)),
            });
        }
    }

    fn put(
        &mut self,
        index: u64,
        at: Timestamp,
        object: &Object,
        expect: Expect,
    ) -> Result<Change, Conflict> {
        let key = object.key();
        let old = self.get(key);
        check_expectation(key, old.as_ref(), expect)?;
        let made = Meta { created_version: index, created_at: at, ..Meta::default() };
        let meta = Meta { version: index, updated_at: at, ..old.as_ref().map_or(made, Object::meta) };
        let change = self.change_to(object.clone(), meta);
        self.check_claims(&change)?;
        self.adopt(change.clone());
        Ok(change)
    }

    fn delete(&mut self, key: Key, expect: Expect) -> Result<Change, Conflict> {
        check_expectation(
            key,
            self.get(key).as_ref(),
            if expect == Expect::New { Expect::Any } else { expect },
        )?;
        let change = match key {
            Key::Cluster => return Err(Conflict::ClusterDeleted),
            Key::Node(id) => Change::Node(Delta { old: self.nodes.get(&id).cloned(), new: None }),
            Key::Network(id) => Change::Network(Delta { old: self.networks.get(&id).cloned(), new: None }),
            Key::Service(id) => Change::Service(Delta { old: self.services.get(&id).cloned(), new: None }),
            Key::Task(id) => Change::Task(Delta { old: self.tasks.get(&id).cloned(), new: None }),
            Key::Secret(id) => Change::Secret(Delta { old: self.secrets.get(id).cloned(), new: None }),
            Key::Config(id) => Change::Config(Delta { old: self.configs.get(id).cloned(), new: None }),
        };
        self.adopt(change.clone());
        Ok(change)
    }

    /// The change from what is there to `object`, with its bookkeeping.
    fn change_to(&self, object: Object, meta: Meta) -> Change {
        fn delta<T: Clone>(old: Option<&Arc<T>>, mut new: Arc<T>, set: impl FnOnce(&mut T)) -> Delta<T> {
            set(Arc::make_mut(&mut new));
            Delta { old: old.cloned(), new: Some(new) }
        }
        match object {
            Object::Cluster(new) => {
                // Numbers that tasks and networks took since the proposer read the cluster stay taken.
                let (endpoint, vni) =
                    self.cluster.as_ref().map_or((0, 0), |old| (old.next_endpoint, old.next_vni));
                Change::Cluster(delta(self.cluster.as_ref(), new, |cluster: &mut Cluster| {
                    cluster.meta = meta;
                    cluster.next_endpoint = cluster.next_endpoint.max(endpoint);
                    cluster.next_vni = cluster.next_vni.max(vni);
                }))
            }
            Object::Node(new) => {
                Change::Node(delta(self.nodes.get(&new.id), new, |node: &mut Node| node.meta = meta))
            }
            Object::Network(new) => {
                Change::Network(delta(self.networks.get(&new.id), new, |it: &mut Network| it.meta = meta))
            }
            Object::Service(new) => {
                Change::Service(delta(self.services.get(&new.id), new, |it: &mut Service| it.meta = meta))
            }
            Object::Task(new) => {
                let spec = self.shared_spec(&new);
                Change::Task(delta(self.tasks.get(&new.id), new, |task: &mut Task| {
                    task.meta = meta;
                    task.spec = spec;
                }))
            }
            Object::Secret(new) => {
                Change::Secret(delta(self.secrets.get(new.id), new, |it: &mut Content<_>| it.meta = meta))
            }
            Object::Config(new) => {
                Change::Config(delta(self.configs.get(new.id), new, |it: &mut Content<_>| it.meta = meta))
            }
        }
    }

    /// The task's spec: where the task as it was, or its service, has an equal one, that very one. So each
    /// spec is kept once, not once a task.
    pub(crate) fn shared_spec(&self, task: &Task) -> Arc<TaskSpec> {
        let before = self.tasks.get(&task.id).map(|task| &task.spec);
        let mut known = before.into_iter().chain(self.task_specs.get(&task.service));
        known.find(|known| **known == task.spec).unwrap_or(&task.spec).clone()
    }

    /// Makes a change that was found good: the indexes first, then the object.
    pub(crate) fn adopt(&mut self, change: Change) {
        match change {
            Change::Cluster(delta) => self.cluster = delta.new,
            Change::Node(Delta { old, new }) => swap(&mut self.nodes, old, new, |node| node.id),
            Change::Network(Delta { old, new }) => {
                self.index_network(old.as_deref(), new.as_deref());
                swap(&mut self.networks, old, new, |network| network.id);
            }
            Change::Service(Delta { old, new }) => {
                self.index_service(old.as_deref(), new.as_deref());
                swap(&mut self.services, old, new, |service| service.id);
            }
            Change::Task(Delta { old, new }) => {
                self.index_task(old.as_deref(), new.as_deref());
                swap(&mut self.tasks, old, new, |task| task.id);
            }
            Change::Secret(Delta { old, new }) => {
                self.secrets.index(old.as_deref(), new.as_deref());
                swap(&mut self.secrets.all, old, new, |secret| secret.id);
            }
            Change::Config(Delta { old, new }) => {
                self.configs.index(old.as_deref(), new.as_deref());
                swap(&mut self.configs.all, old, new, |config| config.id);
            }
        }
    }
}

fn swap<K: Ord + Clone, T>(
    map: &mut imbl::OrdMap<K, Arc<T>>,
    old: Option<Arc<T>>,
    new: Option<Arc<T>>,
    id: impl Fn(&T) -> K,
) {
    match (old, new) {
        (_, Some(new)) => map.insert(id(&new), new),
        (Some(old), None) => map.remove(&id(&old)),
        (None, None) => None,
    };
}

fn check_expectation(key: Key, old: Option<&Object>, expect: Expect) -> Result<(), Conflict> {
    match (expect, old) {
        (Expect::New, None) | (Expect::Any, Some(_)) => Ok(()),
        (Expect::New, Some(_)) => Err(Conflict::Exists { key }),
        (Expect::Any | Expect::Version(_), None) => Err(Conflict::Missing { key }),
        (Expect::Version(expected), Some(old)) => match old.meta().version {
            found if found == expected => Ok(()),
            found => Err(Conflict::Version { key, expected, found }),
        },
    }
}
