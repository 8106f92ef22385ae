//! Changing the cluster's root certificate while it runs: making the new one, and giving up the old one when
//! no node hangs on it any more. What happens between is the store's to say and the nodes' to do.

use std::time::{Duration, SystemTime};

use mesh_core::command::{NewRoot, RootStage, finish_root_rotation, root_stage};
use mesh_core::object::Cluster;
use mesh_core::secret::Secret;
use mesh_core::store::Change;
use mesh_identity::{Authority, IdentityError, RootDigest, TrustBundle};
use mesh_raft::{ProposeError, Raft};
use tokio::time::sleep;

use crate::clock::now;
use crate::news::touched;
use crate::rpc::certificates::authority;
use crate::stop::{Stop, raised};

/// Wait before an end that was not written down is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// A new root for this cluster, certified by the present one.
pub fn new_root(cluster: &Cluster, now: SystemTime) -> Result<NewRoot, IdentityError> {
    let old = authority(cluster)?;
    let new = Authority::create(cluster.id, now)?;
    let cross = old.cross_sign(&new)?;
    let trust = TrustBundle::rotating(old.root().clone(), new.root().clone(), cross)?;
    Ok(NewRoot {
        trust: trust.to_pem(),
        signer: new.root().digest().0,
        signing_key: Secret::new(new.key_pem()),
    })
}

/// The roots of a cluster that gives up all but the one that signs, PEM.
fn only_signer(cluster: &Cluster) -> Result<String, IdentityError> {
    let trust = TrustBundle::from_pem(&cluster.trust)?;
    let root = trust.root(RootDigest(cluster.signer)).ok_or(IdentityError::KeyMismatch)?;
    Ok(TrustBundle::of(root.clone()).to_pem())
}

/// Ends every rotation as soon as it can, whenever this manager leads, until `stop` says so.
pub async fn see_through(raft: Raft, mut stop: Stop) {
    let (mut changes, mut role) = (raft.changes(), raft.role());
    loop {
        role.mark_unchanged();
        let again = match finish(&raft).await {
            Ok(()) => Duration::MAX,
            Err(error) => {
                tracing::info!(%error, "the old root is not given up yet");
                AGAIN
            }
        };
        tokio::select! {
            () = raised(&mut stop) => return,
            open = touched(&mut changes, is_of_roots) => if !open { return },
            known = role.changed() => if known.is_err() { return },
            () = sleep(again) => {}
        }
    }
}

fn is_of_roots(change: &Change) -> bool {
    matches!(change, Change::Cluster(_) | Change::Node(_))
}

/// Why an old root stays for now.
#[derive(Debug, thiserror::Error)]
enum Unfinished {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Propose(#[from] ProposeError),
}

async fn finish(raft: &Raft) -> Result<(), Unfinished> {
    if !raft.role().borrow().is_leader() {
        return Ok(());
    }
    let store = raft.store();
    let (Ok(RootStage::Renewed), Some(cluster)) = (root_stage(&store), store.cluster()) else {
        return Ok(());
    };
    // Somebody may still come with a certificate of the old root: then it stays.
    let Ok(transaction) = finish_root_rotation(&store, only_signer(cluster)?, now()) else { return Ok(()) };
    raft.propose(transaction).await?;
    tracing::info!("every node has a certificate of the new root: the old one is given up");
    Ok(())
}
