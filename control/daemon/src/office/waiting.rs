//! The part of the keeper's steps that waits for others. It changes nothing and may be dropped at any time.

use std::net::SocketAddr;
use std::time::Duration;

use mesh_raft::{Raft, Role as RaftRole};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::keeper::{Due, Keeper, Outcome, Seat};
use crate::state::Membership;

/// A manager that is not among those that the cluster tells of for this long asks to be let in again.
const MISSED: Duration = Duration::from_secs(2);

/// A manager that nobody knows any more stays at most this long for those who may need its vote.
const FAREWELL: Duration = Duration::from_secs(3);

impl Keeper {
    /// Resolves when raft has ended by itself, with what it says.
    pub(super) async fn broken(&self) -> String {
        let Seat::Taken { manager, .. } = &self.seat else { return std::future::pending().await };
        let mut role = manager.raft().role();
        let ended = role.wait_for(|state| state.role == RaftRole::Stopped).await;
        let alarm = ended.ok().and_then(|state| state.alarm.clone());
        alarm.map_or_else(|| "raft has ended".to_owned(), |alarm| alarm.to_string())
    }

    /// The part of a step that waits for others; may be dropped at any time.
    pub(super) async fn wait_for(&self, due: Due, membership: &Membership) -> Outcome {
        sleep_until(self.not_before).await;
        let calls = self.place.calls();
        match due {
            Due::Rest | Due::Resign => std::future::pending().await,
            Due::Ask => Outcome::Group(calls.members().await),
            Due::Enter => Outcome::Entered(calls.enter(membership.raft_id.unwrap_or_default()).await),
            Due::Watch => {
                missed(self.place.managers.watch(), calls.own).await;
                Outcome::Missed
            }
            Due::Outlast => {
                self.outlast(calls.own).await;
                Outcome::Dispensable
            }
            Due::Hold => {
                sleep_until(self.held_until.unwrap_or_else(Instant::now)).await;
                Outcome::HeldLongEnough
            }
        }
    }

    /// Resolves when nobody needs this manager's vote any more.
    async fn outlast(&self, own: SocketAddr) {
        let mut managers = self.place.managers.watch();
        if managers.wait_for(|known| !known.contains(&own)).await.is_err() {
            std::future::pending::<()>().await;
        }
        let Seat::Taken { manager, .. } = &self.seat else { return };
        let id = self.place.record.now().raft_id.unwrap_or_default();
        forgotten(manager.raft(), id).await;
    }
}

/// Waits until this manager is no member of its group. One that is gone may never hear so from the others: so
/// not for long.
pub(super) async fn forgotten(raft: &Raft, own: u64) {
    let mut members = raft.members();
    drop(timeout(FAREWELL, members.wait_for(|members| members.get(own).is_none())).await);
}

/// Resolves when the cluster has told of managers without this one for a while.
async fn missed(mut managers: watch::Receiver<Vec<SocketAddr>>, own: SocketAddr) {
    loop {
        let gone = managers.wait_for(|known| !known.contains(&own)).await.is_ok();
        if !gone {
            return std::future::pending().await;
        }
        let back = managers.wait_for(|known| known.contains(&own));
        if timeout(MISSED, back).await.is_err() {
            return;
        }
    }
}
