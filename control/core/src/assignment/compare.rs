//! Two sets compared: by a digest, where only one is here, and by what turns the one into the other.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{AssignmentChanges, AssignmentSet};
use crate::id::{NodeId, ServiceId};
use crate::name::Name;
use crate::object::{AllocatedPort, Leaving, Task, TaskEndpoint, TaskState};
use crate::spec::{GenericAmount, TaskSpec};
use crate::time::Timestamp;

/// What an agent has to do for a task. What agents observe of it, and the log's bookkeeping, are left out: its
/// own observations are no news to an agent.
#[derive(PartialEq, Serialize)]
struct Work<'a> {
    service: ServiceId,
    service_name: &'a Name,
    spec: &'a TaskSpec,
    spec_version: u64,
    slot: u32,
    node: Option<NodeId>,
    desired_state: TaskState,
    endpoints: &'a [TaskEndpoint],
    host_ports: &'a [AllocatedPort],
    generic: &'a BTreeMap<String, GenericAmount>,
    start_at: Timestamp,
    leaving: Option<Leaving>,
}

impl<'a> Work<'a> {
    fn of(task: &'a Task) -> Self {
        Self {
            service: task.service,
            service_name: &task.service_name,
            spec: &*task.spec,
            spec_version: task.spec_version,
            slot: task.slot,
            node: task.node,
            desired_state: task.desired_state,
            endpoints: &task.endpoints,
            host_ports: &task.host_ports,
            generic: &task.generic,
            start_at: task.start_at,
            leaving: task.leaving,
        }
    }
}

/// Whether an agent has the same to do for both states of a task.
pub(crate) fn same_work(old: &Task, new: &Task) -> bool {
    Work::of(old) == Work::of(new)
}

impl AssignmentSet {
    /// SHA-256 over what the agent has to do, so that it can be compared with what the leader would send
    /// now. What agents observe of tasks, and the log's bookkeeping, are left out.
    pub fn digest(&self) -> [u8; 32] {
        self.digest_over(self.common_digest(), others_digest(&self.managers, &self.peers))
    }

    /// SHA-256 over what all nodes in the same networks have alike. It is the larger part of a set.
    pub(crate) fn common_digest(&self) -> [u8; 32] {
        let Self { networks, endpoints, services, .. } = self;
        let mut common = Summary(Sha256::new());
        common.add(networks);
        common.add(endpoints);
        common.add(services);
        common.0.finalize().into()
    }

    /// [`AssignmentSet::digest`], where `common` is that of the part that nodes in the same networks have alike,
    /// and `others` that of what all nodes have alike.
    pub(crate) fn digest_over(&self, common: [u8; 32], others: [u8; 32]) -> [u8; 32] {
        let Self { tasks, settings, standing, .. } = self;
        let mut all = Summary(Sha256::new());
        all.add([(settings, standing, common, others)]);
        all.add(tasks.iter().map(|(id, task)| (id, Work::of(task))));
        all.0.finalize().into()
    }

    /// What turns this set into `new`.
    pub fn difference(&self, new: &Self) -> AssignmentChanges {
        AssignmentChanges {
            tasks: table(&self.tasks, &new.tasks, same_work),
            settings: Some(new.settings).filter(|settings| *settings != self.settings),
            standing: Some(&new.standing).filter(|standing| **standing != self.standing).cloned(),
            managers: table(&self.managers, &new.managers, PartialEq::eq),
            peers: table(&self.peers, &new.peers, PartialEq::eq),
            networks: table(&self.networks, &new.networks, PartialEq::eq),
            endpoints: table(&self.endpoints, &new.endpoints, PartialEq::eq),
            services: table(&self.services, &new.services, PartialEq::eq),
        }
    }
}

/// SHA-256 over what all nodes are told of one another.
pub(crate) fn others_digest(
    managers: &BTreeMap<NodeId, SocketAddr>,
    peers: &BTreeMap<NodeId, IpAddr>,
) -> [u8; 32] {
    let mut all = Summary(Sha256::new());
    all.add(managers);
    all.add(peers);
    all.0.finalize().into()
}

/// What turns one table into another, where two values that are the `same` are no change.
fn table<K: Ord + Copy, V: Clone>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
    same: impl Fn(&V, &V) -> bool,
) -> BTreeMap<K, Option<V>> {
    let stays = |key: &K, value: &V| old.get(key).is_some_and(|old| same(old, value));
    let put = new.iter().filter(|(key, value)| !stays(key, value));
    let put = put.map(|(key, value)| (*key, Some(value.clone())));
    let gone = old.keys().filter(|key| !new.contains_key(key)).map(|key| (*key, None));
    put.chain(gone).collect()
}

/// A digest in the making.
struct Summary(Sha256);

impl Summary {
    /// Adds a table, its end marked, so that no two tables can be taken for each other.
    fn add<T: Serialize>(&mut self, table: impl IntoIterator<Item = T>) {
        let mut buffer = Vec::new();
        for entry in table {
            buffer.clear();
            // None of our types can fail to encode; if one did, the digest would fit no other set.
            buffer =
                postcard::to_extend(&entry, buffer).unwrap_or_else(|error| error.to_string().into_bytes());
            self.0.update((buffer.len() as u64).to_le_bytes());
            self.0.update(&buffer);
        }
        self.0.update(u64::MAX.to_le_bytes());
    }
}
