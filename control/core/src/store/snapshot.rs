//! The whole store as bytes, and a digest that tells whether two stores hold the same.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Change, DecodeError, Delta, Store};
use crate::content::{Config, Secret};
use crate::id::{NetworkId, ServiceId};
use crate::object::{Cluster, Network, Node, Service, Task};
use crate::spec::TaskSpec;

/// Version of the snapshot's encoding.
pub const SNAPSHOT_FORMAT: u16 = 2;

/// Largest snapshot, in bytes.
pub const SNAPSHOT_MAX: usize = 4 << 30;

/// What a snapshot holds, in the order in which it is read back: what is referred to comes first.
#[derive(Serialize, Deserialize)]
struct Contents {
    index: u64,
    digest: [u8; 32],
    cluster: Option<Arc<Cluster>>,
    nodes: Vec<Arc<Node>>,
    networks: Vec<Arc<Network>>,
    secrets: Vec<Arc<Secret>>,
    configs: Vec<Arc<Config>>,
    services: Vec<Arc<Service>>,
    tasks: Vec<Arc<Task>>,
    cursors: Vec<(NetworkId, IpAddr)>,
}

impl Store {
    /// SHA-256 over the contents in key order. Two stores with the same objects have the same digest,
    /// however they came to them; [`Store::index`] is not part of it.
    pub fn digest(&self) -> [u8; 32] {
        let mut all = Sha256::new();
        let mut buffer = Vec::new();
        absorb(&mut all, &mut buffer, self.cluster.iter());
        absorb(&mut all, &mut buffer, self.nodes.values());
        absorb(&mut all, &mut buffer, self.networks.values());
        absorb(&mut all, &mut buffer, self.services.values());
        absorb(&mut all, &mut buffer, self.tasks.values());
        absorb(&mut all, &mut buffer, self.secrets.iter());
        absorb(&mut all, &mut buffer, self.configs.iter());
        absorb(&mut all, &mut buffer, self.cursors.iter());
        all.finalize().into()
    }

    /// Everything, for a replica that starts from here.
    pub fn to_snapshot(&self) -> Result<Vec<u8>, postcard::Error> {
        let contents = Contents {
            index: self.index,
            digest: self.digest(),
            cluster: self.cluster.clone(),
            nodes: self.nodes.values().cloned().collect(),
            networks: self.networks.values().cloned().collect(),
            secrets: self.secrets.iter().cloned().collect(),
            configs: self.configs.iter().cloned().collect(),
            services: self.services.values().cloned().collect(),
            tasks: self.tasks.values().cloned().collect(),
            cursors: self.cursors.iter().map(|(network, address)| (*network, *address)).collect(),
        };
        postcard::to_extend(&contents, SNAPSHOT_FORMAT.to_le_bytes().to_vec())
    }

    /// Reads a snapshot back; its indexes are built anew, its claims and its digest checked.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, DecodeError> {
        let contents: Contents = super::transaction::decode(bytes, SNAPSHOT_FORMAT, SNAPSHOT_MAX)?;
        let (cluster, digest) = (contents.cluster.clone(), contents.digest);
        let mut store = Self { cluster: cluster.clone(), ..Self::default() };
        store.fill(contents)?;
        store.cluster = cluster;
        if store.digest() == digest {
            Ok(store)
        } else {
            Err(DecodeError::Damaged {
                reason: "the contents do not have the digest written with them".into(),
            })
        }
    }

    fn fill(&mut self, contents: Contents) -> Result<(), DecodeError> {
        self.nodes.extend(contents.nodes.into_iter().map(|node| (node.id, node)));
        for network in contents.networks {
            self.take_in(Change::Network(Delta { old: None, new: Some(network) }))?;
        }
        for secret in contents.secrets {
            self.take_in(Change::Secret(Delta { old: None, new: Some(secret) }))?;
        }
        for config in contents.configs {
            self.take_in(Change::Config(Delta { old: None, new: Some(config) }))?;
        }
        for service in contents.services {
            self.take_in(Change::Service(Delta { old: None, new: Some(service) }))?;
        }
        // Tasks of specs that their services have no more share theirs, too.
        let mut specs: BTreeMap<(ServiceId, u64), Arc<TaskSpec>> = BTreeMap::new();
        for mut task in contents.tasks {
            let shared = self.shared_spec(&task);
            let known = specs.entry((task.service, task.spec_version)).or_insert(shared);
            if *known == task.spec {
                Arc::make_mut(&mut task).spec = known.clone();
            }
            self.take_in(Change::Task(Delta { old: None, new: Some(task) }))?;
        }
        self.cursors = contents.cursors.into_iter().collect();
        self.index = contents.index;
        Ok(())
    }

    fn take_in(&mut self, change: Change) -> Result<(), DecodeError> {
        let damaged = |conflict: super::Conflict| DecodeError::Damaged { reason: conflict.to_string() };
        // Objects come in by id, not in the order in which their numbers were given, so each counts as fresh.
        if let Some(cluster) = &mut self.cluster {
            let cluster = Arc::make_mut(cluster);
            (cluster.next_endpoint, cluster.next_vni) = (0, 0);
        }
        self.check_claims(&change).map_err(damaged)?;
        self.adopt(change);
        Ok(())
    }
}

/// Adds a table to a digest, its end marked, so that no two tables can be taken for each other.
fn absorb<T: Serialize>(all: &mut Sha256, buffer: &mut Vec<u8>, table: impl Iterator<Item = T>) {
    for entry in table {
        buffer.clear();
        // None of our types can fail to encode; if one did, its absence would show in no digest.
        match postcard::to_extend(&entry, std::mem::take(buffer)) {
            Ok(bytes) => *buffer = bytes,
            Err(error) => buffer.extend(error.to_string().bytes()),
        }
        all.update((buffer.len() as u64).to_le_bytes());
        all.update(&buffer);
    }
    all.update(u64::MAX.to_le_bytes());
}
