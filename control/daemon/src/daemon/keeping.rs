//! What an operator asks of a manager to keep its cluster: unlock it, change its root, go on alone.

use std::sync::Arc;

use mesh_core::id::NodeId;
use mesh_identity::LockError;
use mesh_raft::Forced;

use super::Daemon;
use crate::error::DaemonError;
use crate::member::Member;
use crate::office::Serving;

impl Daemon {
    /// What going on alone would keep and drop. Nothing is changed.
    pub async fn survey_new_cluster(&self) -> Result<Forced, DaemonError> {
        self.without_quorum().await?.office().survey_new_cluster().await
    }

    /// Goes on alone with the cluster that this node manages.
    pub(super) async fn force_new_cluster(&self) -> Result<NodeId, DaemonError> {
        let member = self.without_quorum().await?;
        let node = member.record().now().node;
        // It goes on when the caller stops waiting.
        let forcing = tokio::spawn(async move { member.office().force_new_cluster().await });
        forcing.await.map_err(|error| DaemonError::part("force-new-cluster", &error))??;
        Ok(node)
    }

    /// This node, if it is a manager whose cluster cannot decide anything without being forced to.
    async fn without_quorum(&self) -> Result<Arc<Member>, DaemonError> {
        let member = self.member()?;
        if !member.is_manager() {
            return Err(DaemonError::NotManager);
        }
        if let Some(Serving { raft, .. }) = member.office().serving() {
            let alone = raft.members().borrow().voters().len() <= 1;
            let led = raft.role().borrow().leader.is_some();
            if !alone && led && raft.read().await.is_ok() {
                return Err(DaemonError::HasQuorum);
            }
        }
        Ok(member)
    }

    /// Unseals a locked manager's keys with the unlock key and starts the manager.
    pub async fn unlock(&self, _key: &str) -> Result<(), DaemonError> {
        self.manager()?;
        Err(LockError::NotLocked.into())
    }

    /// Begins to change the cluster's root certificate to a new one.
    pub async fn rotate_root(&self) -> Result<(), DaemonError> {
        self.manager()?;
        Err(DaemonError::NotAvailable { what: "changing the root certificate" })
    }
}
