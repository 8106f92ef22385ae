//! The way back when most managers are gone for good: this one goes on alone with everything it has.

use std::time::Duration;

use mesh_core::command::force_new_cluster;
use mesh_core::object::ManagerStatus;
use mesh_core::spec::Role;
use mesh_core::store::Store;
use mesh_raft::{Forced, Raft, Role as RaftRole};
use tokio::time::timeout;

use super::Order;
use super::keeper::Keeper;
use super::start::{listen, raft_config};
use crate::amend::{Unmade, amend};
use crate::clock::now;
use crate::error::DaemonError;
use crate::state::Membership;
use crate::transport::Own;

/// How long a manager that is alone may take to lead.
const ELECTION: Duration = Duration::from_secs(10);

impl Keeper {
    pub(super) async fn carry_out(&mut self, order: Order) {
        // Whoever asked may have gone.
        match order {
            Order::Force(reply) => {
                let forced = self.force().await;
                let _ = reply.send(forced);
            }
            Order::Survey(reply) => {
                let surveyed = self.survey().await;
                let _ = reply.send(surveyed);
            }
        }
    }

    async fn survey(&mut self) -> Result<Forced, DaemonError> {
        let (membership, own) = self.own()?;
        self.stand_up().await;
        let (config, _) = raft_config(&self.place.state, &self.place.keys, own)?;
        let surveyed = Raft::survey_new_cluster(config).await;
        self.reopen(&membership).await?;
        surveyed.map_err(|error| DaemonError::part("raft", &error))
    }

    async fn force(&mut self) -> Result<Forced, DaemonError> {
        let (membership, _) = self.own()?;
        self.stand_up().await;
        let forced = self.go_alone().await;
        if forced.is_err() {
            self.reopen(&membership).await?;
        }
        forced
    }

    /// Makes a group of this manager alone, and has the store say so before anybody is served.
    pub(super) async fn go_alone(&mut self) -> Result<Forced, DaemonError> {
        let (membership, own) = self.own()?;
        let listener = listen(membership.listen_addr).await?;
        let (config, transport) = raft_config(&self.place.state, &self.place.keys, own)?;
        let (raft, forced) =
            Raft::force_new_cluster(config).await.map_err(|error| DaemonError::part("raft", &error))?;
        // From here on it is so, whatever happens.
        self.place.record.change(|membership| membership.forcing = true).await?;
        if let Err(error) = tell(&raft, &membership, own).await {
            raft.shutdown().await;
            return Err(error);
        }
        tracing::warn!(
            dropped = forced.dropped.len(),
            uncertain = forced.uncertain,
            "this manager goes on alone"
        );
        self.place
            .record
            .change(|membership| {
                (membership.forcing, membership.role) = (false, Role::Manager);
                membership.managers = vec![own.addr];
            })
            .await?;
        self.seat(raft, transport, listener)?;
        Ok(forced)
    }

    fn own(&self) -> Result<(Membership, Own), DaemonError> {
        let membership = self.place.record.now();
        let raft_id = membership.raft_id.ok_or(DaemonError::NotManager)?;
        let addr = membership.manager_addr();
        Ok((membership, Own { raft_id, addr }))
    }
}

/// Writes down that no other node is a manager.
async fn tell(raft: &Raft, membership: &Membership, own: Own) -> Result<(), DaemonError> {
    let mut role = raft.role();
    let leads = role.wait_for(|state| matches!(state.role, RaftRole::Leader | RaftRole::Stopped));
    // Proposing says what is wrong when it does not lead.
    drop(timeout(ELECTION, leads).await);
    let status = ManagerStatus { raft_id: own.raft_id, addr: own.addr };
    let alone = |store: &Store| force_new_cluster(store, membership.node, &status, now()).map(Some);
    amend(raft, alone).await.map_err(|unmade| match unmade {
        Unmade::Refused(refusal) => refusal.into(),
        Unmade::Moved(conflict) => DaemonError::part("raft", &conflict),
        Unmade::Propose(error) => DaemonError::part("raft", &error),
    })
}
