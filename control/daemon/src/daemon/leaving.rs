//! Leaving the cluster.

use std::sync::Arc;

use mesh_identity::LockError;

use super::{Daemon, Inner, Status};
use crate::error::DaemonError;
use crate::member::Member;
use crate::office::Loss;

impl Daemon {
    /// Stops this node's tasks, clears its dataplane and forgets the cluster. A manager refuses without `force`;
    /// with it the other managers are told first, so that they do not count it any more.
    pub async fn leave(&self, force: bool) -> Result<(), DaemonError> {
        // This may take a moment, in which nobody has to wait for the status.
        let loss = if force { Loss::Unknown } else { self.loss().await };
        let member = {
            let mut status = self.status();
            match &*status {
                Status::Inactive => return Err(DaemonError::NotMember),
                Status::Changing => return Err(DaemonError::Busy),
                Status::Joining { attempt, .. } => {
                    attempt.abort();
                    *status = Status::Inactive;
                    return self.inner.state.forget();
                }
                Status::Locked(_) if !force => return Err(LockError::Locked.into()),
                Status::Locked(_) => {
                    *status = Status::Changing;
                    None
                }
                Status::Active(member) if member.is_manager() && !force => {
                    return Err(refusal(loss));
                }
                Status::Active(member) => {
                    let member = Arc::clone(member);
                    *status = Status::Changing;
                    Some(member)
                }
            }
        };
        let Some(member) = member else { return self.forget_locked().await };
        let daemon = self.clone();
        let done = tokio::spawn(async move { daemon.forget(member).await });
        done.await.map_err(|error| DaemonError::part("leave", &error))?
    }

    /// What the other managers lose with this one, if it is one.
    async fn loss(&self) -> Loss {
        match self.member() {
            Ok(member) if member.is_manager() => member.office().loss().await,
            Ok(_) | Err(_) => Loss::Unknown,
        }
    }

    async fn forget(&self, member: Arc<Member>) -> Result<(), DaemonError> {
        let Inner { config, state, .. } = &*self.inner;
        if let Err(error) = member.record().change(|membership| membership.leaving = true).await {
            self.set(Status::Active(member));
            return Err(error);
        }
        if member.is_manager() {
            member.office().depart().await;
        }
        member.record().close().await;
        member.leave(config).await;
        let forgotten = state.forget();
        self.set(Status::Inactive);
        forgotten
    }
}

/// Why a manager does not leave without force.
fn refusal(loss: Loss) -> DaemonError {
    match loss {
        Loss::Cluster => DaemonError::LastManager,
        Loss::Quorum { left, total } => DaemonError::LeaveLosesQuorum { left, total },
        Loss::Spare => DaemonError::LeavesAsManager { warning: "" },
        Loss::Unknown => {
            DaemonError::LeavesAsManager { warning: "Doing so may lose the consensus of your cluster. " }
        }
    }
}
