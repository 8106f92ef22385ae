//! What an operator asks of a manager to keep its cluster: unlock it, change its root, go on alone.

use std::sync::Arc;
use std::time::SystemTime;

use mesh_core::command::begin_root_rotation;
use mesh_core::id::NodeId;
use mesh_core::store::Store;
use mesh_identity::{LockError, UnlockKey};
use mesh_raft::Forced;

use super::{Daemon, Inner, Locked, Status};
use crate::amend::{Unmade, amend};
use crate::clock::now;
use crate::error::DaemonError;
use crate::keys::Keys;
use crate::member::{self, Member};
use crate::office::{ManagerStart, Serving};
use crate::rotation;
use crate::state::Membership;

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

    /// Unseals a locked manager's keys with the unlock key, and goes on with its start.
    pub async fn unlock(&self, key: &str) -> Result<(), DaemonError> {
        let key = key.parse::<UnlockKey>();
        let (locked, keys) = {
            let mut status = self.status();
            let locked = match &*status {
                Status::Locked(locked) => locked,
                Status::Active(member) if !member.is_manager() => return Err(DaemonError::NotManager),
                Status::Active(_) => return Err(LockError::NotLocked.into()),
                Status::Changing => return Err(DaemonError::Busy),
                Status::Inactive | Status::Joining { .. } => return Err(DaemonError::NoCluster),
            };
            let keys = locked.keys.unlock(&key?)?;
            match std::mem::replace(&mut *status, Status::Changing) {
                Status::Locked(locked) => (locked, keys),
                other => {
                    *status = other;
                    return Err(DaemonError::Busy);
                }
            }
        };
        // It goes on when the caller stops waiting.
        let daemon = self.clone();
        let done = tokio::spawn(async move { daemon.start_unlocked(locked, keys).await });
        done.await.map_err(|error| DaemonError::part("unlock", &error))?
    }

    async fn start_unlocked(&self, locked: Box<Locked>, keys: Keys) -> Result<(), DaemonError> {
        let Inner { config, state, api, .. } = &*self.inner;
        let membership = locked.membership.clone();
        match Member::start(config, state, membership, keys, ManagerStart::Open, api).await {
            Ok(member) => {
                tracing::info!("this manager was unlocked");
                self.set(Status::Active(Arc::new(member)));
                Ok(())
            }
            Err(error) => {
                self.set(Status::Locked(locked));
                Err(error)
            }
        }
    }

    /// Forgets a cluster whose keys cannot be read. The managers hear nothing of it.
    pub(super) async fn forget_locked(&self) -> Result<(), DaemonError> {
        let Inner { config, state, .. } = &*self.inner;
        if let Some(membership) = state.load()? {
            state.save(&Membership { leaving: true, ..membership })?;
        }
        member::clear(config, None).await;
        let forgotten = state.forget();
        self.set(Status::Inactive);
        forgotten
    }

    /// Begins to change the cluster's root certificate to a new one: every node renews its certificate
    /// meanwhile, and the leader ends it when all have. Nobody is cut off.
    pub async fn rotate_root(&self) -> Result<(), DaemonError> {
        let raft = self.manager()?;
        // A refusal has to be that of the newest store.
        raft.read().await.map_err(|error| DaemonError::part("raft", &error))?;
        let begun = |store: &Store| {
            let cluster = store.cluster().ok_or(DaemonError::NoCluster)?;
            let root = rotation::new_root(cluster, SystemTime::now())?;
            Ok(Some(begin_root_rotation(store, root, now())?))
        };
        amend(&raft, begun).await.map_err(|unmade| match unmade {
            Unmade::Refused(error) => error,
            Unmade::Moved(_) => DaemonError::Busy,
            Unmade::Propose(error) => DaemonError::part("raft", &error),
        })
    }
}
