//! What an operator asks of a manager to keep its cluster: unlock it, change its root, go on alone.

use mesh_identity::LockError;
use mesh_raft::Forced;

use super::Daemon;
use crate::error::DaemonError;

impl Daemon {
    /// What going on alone would keep and drop. Nothing is changed.
    pub async fn survey_new_cluster(&self) -> Result<Forced, DaemonError> {
        self.manager()?;
        Err(DaemonError::NotAvailable { what: "going on alone (--force-new-cluster)" })
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
