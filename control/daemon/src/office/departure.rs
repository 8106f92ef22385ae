//! A manager that leaves the cluster: what the others lose with it, and how they learn of it.

use std::time::Duration;

use mesh_core::object::NodeState;
use mesh_core::spec::Role;
use mesh_raft::{Raft, Role as RaftRole, TransferError};
use tokio::time::timeout;

use super::calls::CallError;
use super::waiting::forgotten;
use super::{Office, Serving};

/// How long the others are waited for; after that the node leaves without their word.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the other managers lose when this one leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Everything: there is no other.
    Cluster,
    /// The quorum.
    Quorum {
        /// Managers that answer, without this one.
        left: usize,
        /// All managers, this one among them.
        total: usize,
    },
    /// One that they can do without.
    Spare,
    /// It cannot be told from here.
    Unknown,
}

impl Loss {
    /// Of `total` managers `reachable` answer, this one among them.
    fn of(reachable: usize, total: usize) -> Self {
        let (left, others) = (reachable.saturating_sub(1), total.saturating_sub(1));
        if others == 0 {
            Self::Cluster
        } else if left * 2 <= others {
            Self::Quorum { left, total }
        } else {
            Self::Spare
        }
    }
}

impl Office {
    /// What the others lose when this manager leaves.
    pub async fn loss(&self) -> Loss {
        let Some(Serving { raft, .. }) = self.serving() else { return Loss::Unknown };
        let (reachable, total) = census(&raft).await;
        Loss::of(reachable, total)
    }

    /// Tells the others that this manager counts no more, and waits until it does not. What they do not hear,
    /// or refuse because they have no quorum without it, they find out by themselves.
    pub async fn depart(&self) {
        let Some(Serving { raft, .. }) = self.serving() else { return };
        match timeout(PATIENCE, self.take_leave(&raft)).await {
            Ok(Ok(())) => tracing::info!("the other managers go on without this one"),
            Ok(Err(error)) => tracing::warn!(error, "the other managers were not told that this one leaves"),
            Err(_) => tracing::warn!("the other managers did not answer when this one left"),
        }
    }

    async fn take_leave(&self, raft: &Raft) -> Result<(), String> {
        if raft.role().borrow().role == RaftRole::Leader {
            match raft.transfer(None).await {
                // It was handed over already.
                Ok(_) | Err(TransferError::NotLeader { .. }) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        match self.place.calls().depart().await {
            Ok(()) => Ok(()),
            // It is let go without having asked, or may not hear any more that it was.
            Err(CallError::Denied { .. }) => {
                let own = self.place.record.now().raft_id.unwrap_or_default();
                forgotten(raft, own).await;
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Managers that answer, this one among them, and all of them. Only a leader hears from everybody: others go by
/// what it wrote down of the nodes.
async fn census(raft: &Raft) -> (usize, usize) {
    let leads = raft.role().borrow().role == RaftRole::Leader;
    if leads {
        let answering = raft.answering().await;
        let voters = raft.members().borrow().voters();
        return (voters.intersection(&answering).count(), voters.len());
    }
    let voters = raft.members().borrow().voters();
    let store = raft.store();
    let managers = store.nodes().filter(|node| node.manager.is_some() && node.spec.role == Role::Manager);
    let answers = managers.filter(|node| node.status.state == NodeState::Ready).count();
    (answers, voters.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_is_spared_as_long_as_the_others_have_a_quorum() {
        for (reachable, total, loss) in [
            (1, 1, Loss::Cluster),
            (2, 2, Loss::Spare),
            (1, 2, Loss::Quorum { left: 0, total: 2 }),
            (3, 3, Loss::Spare),
            (2, 3, Loss::Quorum { left: 1, total: 3 }),
            (5, 5, Loss::Spare),
            (4, 5, Loss::Spare),
            (3, 5, Loss::Quorum { left: 2, total: 5 }),
        ] {
            assert_eq!(Loss::of(reachable, total), loss, "{reachable} of {total}");
        }
    }
}
