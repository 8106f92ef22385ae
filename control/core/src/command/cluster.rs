//! Making a cluster and changing its settings.

use std::sync::Arc;

use super::node::{JoinNode, new_node};
use super::refusal::Refusal;
use super::{network, validate};
use crate::id::{ClusterId, Entropy};
use crate::object::{Cluster, Meta, VNI_MIN};
use crate::secret::Secret;
use crate::spec::ClusterSpec;
use crate::store::{Store, Transaction, Write};
use crate::time::Timestamp;

/// What a new cluster begins with.
#[derive(Debug, Clone, PartialEq)]
pub struct InitCluster {
    /// Identifier, the O of every certificate.
    pub id: ClusterId,
    /// Settings.
    pub spec: ClusterSpec,
    /// Root certificate of the cluster's authority, PEM.
    pub trust: String,
    /// SHA-256 of it (DER).
    pub signer: [u8; 32],
    /// Its key, PEM.
    pub signing_key: Secret,
    /// Secret part of the workers' join token.
    pub worker_token: Secret,
    /// Secret part of the managers' join token.
    pub manager_token: Secret,
    /// What seals every manager's keys at rest.
    pub unlock_key: Secret,
    /// The first node.
    pub node: JoinNode,
}

/// A change to the cluster; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UpdateCluster {
    /// Version of the cluster that the change was made from.
    pub version: u64,
    /// New settings.
    pub spec: Option<ClusterSpec>,
    /// New secret of the workers' join token.
    pub worker_token: Option<Secret>,
    /// New secret of the managers' join token.
    pub manager_token: Option<Secret>,
    /// New key that seals every manager's keys.
    pub unlock_key: Option<Secret>,
}

/// Makes the cluster, its first node and the ingress network. `store` must be empty.
pub fn init_cluster(
    store: &Store,
    request: InitCluster,
    now: Timestamp,
    entropy: &mut dyn Entropy,
) -> Result<Transaction, Refusal> {
    if store.cluster().is_some() {
        return Err(Refusal::AlreadyInitialized);
    }
    validate::cluster(&request.spec)?;
    let node = new_node(request.node)?;
    let ingress = network::ingress(&request.spec, &node.description, entropy)?;
    let cluster = Cluster {
        id: request.id,
        meta: Meta::default(),
        spec: request.spec,
        trust: request.trust,
        signer: request.signer,
        signing_key: request.signing_key,
        unlock_key: request.unlock_key,
        worker_token: request.worker_token,
        manager_token: request.manager_token,
        next_endpoint: 1,
        next_vni: VNI_MIN.0,
    };
    let writes =
        vec![Write::create(cluster.into()), Write::create(node.into()), Write::create(ingress.into())];
    Ok(Transaction { at: now, writes })
}

/// Changes the cluster's settings, its tokens or its unlock key.
pub fn update_cluster(store: &Store, request: UpdateCluster, now: Timestamp) -> Result<Transaction, Refusal> {
    let mut cluster = Cluster::clone(current(store)?);
    if cluster.meta.version != request.version {
        return Err(Refusal::OutOfSequence);
    }
    if let Some(spec) = request.spec {
        validate::cluster(&spec)?;
        refuse_fixed(&cluster.spec, &spec)?;
        cluster.spec = spec;
    }
    cluster.worker_token = request.worker_token.unwrap_or(cluster.worker_token);
    cluster.manager_token = request.manager_token.unwrap_or(cluster.manager_token);
    cluster.unlock_key = request.unlock_key.unwrap_or(cluster.unlock_key);
    Ok(Transaction { at: now, writes: vec![Write::update(cluster.into())] })
}

/// Settings that networks and nodes already rest on are made at init and stay.
fn refuse_fixed(old: &ClusterSpec, new: &ClusterSpec) -> Result<(), Refusal> {
    let fixed = [
        ("default address pool", old.default_address_pool == new.default_address_pool),
        ("default address pool mask length", old.subnet_prefix_len == new.subnet_prefix_len),
        ("data path port", old.data_path_port == new.data_path_port),
    ];
    match fixed.iter().find(|(_, same)| !same) {
        Some((field, _)) => Err(Refusal::invalid(*field, "can only be set when the cluster is made")),
        None => Ok(()),
    }
}

/// The cluster, which every other command needs.
pub(super) fn current(store: &Store) -> Result<&Arc<Cluster>, Refusal> {
    store.cluster().ok_or(Refusal::NoCluster)
}
