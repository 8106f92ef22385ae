//! The change of the cluster's root certificate: a new one signs, both are trusted until no node hangs on the
//! old one.

use super::cluster::current;
use super::refusal::Refusal;
use crate::id::NodeId;
use crate::object::{Cluster, NodeState};
use crate::secret::Secret;
use crate::store::{Store, Transaction, Write};
use crate::time::Timestamp;

/// A root that takes the place of the present one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRoot {
    /// What nodes trust meanwhile, PEM: the old root, the new one, and the new one signed by the old.
    pub trust: String,
    /// SHA-256 of the new root (DER).
    pub signer: [u8; 32],
    /// Its key, PEM.
    pub signing_key: Secret,
}

/// How far the cluster is with its roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootStage {
    /// One root is trusted.
    Steady,
    /// Several are, and these nodes, in order of their ids, have no certificate of the one that signs.
    Waiting(Vec<NodeId>),
    /// Several are, and every node has a certificate of the one that signs: the others can go.
    Renewed,
}

/// How far the cluster is with its roots. A node that left needs a new certificate to come back, so it is not
/// waited for.
pub fn root_stage(store: &Store) -> Result<RootStage, Refusal> {
    let cluster = current(store)?;
    if !is_rotating(cluster) {
        return Ok(RootStage::Steady);
    }
    let there = store.nodes().filter(|node| node.status.state != NodeState::Disconnected);
    let waiting: Vec<_> = there.filter(|node| node.issuer != cluster.signer).map(|node| node.id).collect();
    Ok(if waiting.is_empty() { RootStage::Renewed } else { RootStage::Waiting(waiting) })
}

/// Lets a new root sign from now on.
pub fn begin_root_rotation(store: &Store, root: NewRoot, now: Timestamp) -> Result<Transaction, Refusal> {
    let cluster = current(store)?;
    if is_rotating(cluster) {
        return Err(Refusal::RootRotating);
    }
    if root.signer == cluster.signer {
        return Err(Refusal::RootUnchanged);
    }
    let NewRoot { trust, signer, signing_key } = root;
    let cluster = Cluster { trust, signer, signing_key, ..Cluster::clone(cluster) };
    Ok(Transaction { at: now, writes: vec![Write::update(cluster.into())] })
}

/// Gives up the old root: `trust` holds the new one alone, PEM. Refused while a node hangs on the old one; done
/// twice it changes nothing.
pub fn finish_root_rotation(store: &Store, trust: String, now: Timestamp) -> Result<Transaction, Refusal> {
    match root_stage(store)? {
        RootStage::Steady => Ok(Transaction { at: now, writes: Vec::new() }),
        RootStage::Waiting(nodes) => Err(Refusal::RootNeeded { nodes }),
        RootStage::Renewed => {
            let cluster = Cluster { trust, ..Cluster::clone(current(store)?) };
            Ok(Transaction { at: now, writes: vec![Write::update(cluster.into())] })
        }
    }
}

/// One root is one certificate (RFC 7468 section 2); more are there while it is changed.
fn is_rotating(cluster: &Cluster) -> bool {
    cluster.trust.matches("-----BEGIN CERTIFICATE-----").count() > 1
}
