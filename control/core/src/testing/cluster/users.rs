//! What users ask for, done at once.

use std::collections::BTreeSet;

use super::VirtualCluster;
use crate::command::{self, Refusal};
use crate::content::{ContentKind, ContentSpec};
use crate::id::{Id, NetworkId, NodeId, ServiceId};
use crate::spec::{NetworkSpec, NodeSpec, ServiceSpec};

impl VirtualCluster {
    /// Makes a service.
    pub fn create_service(&mut self, spec: ServiceSpec) -> Result<ServiceId, Refusal> {
        let (id, transaction) = command::create_service(&self.store, spec, self.now, &mut self.entropy)?;
        self.commit(&transaction).expect("made from this store");
        Ok(id)
    }

    /// Changes a service, as it is now.
    pub fn update_service(
        &mut self,
        id: ServiceId,
        change: impl FnOnce(&mut ServiceSpec),
    ) -> Result<(), Refusal> {
        let service = self.store.service(id).expect("a service").clone();
        let mut spec = service.spec.clone();
        change(&mut spec);
        let transaction = command::update_service(&self.store, id, service.meta.version, spec, self.now)?;
        self.commit(&transaction).expect("made from this store");
        Ok(())
    }

    /// Takes a service, as it is now, back to its previous spec.
    pub fn rollback_service(&mut self, id: ServiceId) -> Result<(), Refusal> {
        let version = self.store.service(id).expect("a service").meta.version;
        let transaction = command::rollback_service(&self.store, id, version, self.now)?;
        self.commit(&transaction).expect("made from this store");
        Ok(())
    }

    /// Changes how many tasks or completions a service has.
    pub fn scale_service(&mut self, id: ServiceId, number: u32) -> Result<(), Refusal> {
        let version = self.store.service(id).expect("a service").meta.version;
        let transaction = command::scale_service(&self.store, id, version, number, self.now)?;
        self.commit(&transaction).expect("made from this store");
        Ok(())
    }

    /// Asks for a better spread of a service's tasks.
    pub fn rebalance_service(&mut self, id: ServiceId, parallelism: u32) -> Result<(), Refusal> {
        let transaction = command::rebalance_service(&self.store, id, parallelism, self.now)?;
        self.commit(&transaction).expect("made from this store");
        Ok(())
    }

    /// Removes a service.
    pub fn remove_service(&mut self, id: ServiceId) -> Result<(), Refusal> {
        let transaction = command::remove_service(&self.store, id, self.now)?;
        self.commit(&transaction).expect("made from this store");
        Ok(())
    }

    /// Makes a secret or config.
    pub fn create_content<K: ContentKind>(&mut self, spec: ContentSpec) -> Result<Id<K>, Refusal> {
        let (id, transaction) = command::create_content(&self.store, spec, self.now, &mut self.entropy)?;
        self.commit(&transaction).expect("made from this store");
        Ok(id)
    }

    /// Removes a secret or config.
    pub fn remove_content<K: ContentKind>(&mut self, id: Id<K>) -> Result<(), Refusal> {
        let transaction = command::remove_content(&self.store, id, self.now)?;
        self.commit(&transaction).expect("made from this store");
        Ok(())
    }

    /// Makes a network.
    pub fn create_network(&mut self, spec: NetworkSpec) -> Result<NetworkId, Refusal> {
        let (id, transaction) = command::create_network(&self.store, spec, self.now, &mut self.entropy)?;
        self.commit(&transaction).expect("made from this store");
        Ok(id)
    }

    /// Changes a node, as it is now.
    pub fn update_node(&mut self, id: NodeId, change: impl FnOnce(&mut NodeSpec)) -> Result<(), Refusal> {
        let node = self.store.node(id).expect("a node").clone();
        let mut spec = node.spec.clone();
        change(&mut spec);
        let all = self.managers();
        let transaction = command::update_node(&self.store, id, node.meta.version, spec, &all, self.now)?;
        self.commit(&transaction).expect("made from this store");
        Ok(())
    }

    /// Removes a node from the cluster.
    pub fn remove_node(&mut self, id: NodeId, force: bool) -> Result<(), Refusal> {
        let transaction = command::remove_node(&self.store, id, force, &self.managers(), self.now)?;
        self.commit(&transaction).expect("made from this store");
        Ok(())
    }

    /// A node says that it leaves, and goes.
    pub fn depart(&mut self, id: NodeId) -> Result<(), Refusal> {
        let transaction = command::depart_node(&self.store, id, false, &self.managers(), self.now)?;
        self.silence(id);
        self.commit(&transaction).expect("made from this store");
        Ok(())
    }

    /// Raft's numbers of all managers; every one of them answers.
    fn managers(&self) -> BTreeSet<u64> {
        self.store.nodes().filter_map(|node| Some(node.manager.as_ref()?.raft_id)).collect()
    }
}
