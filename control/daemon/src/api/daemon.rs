//! The real daemon and its raft, as the API's [`Backend`] and [`Ledger`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use mesh_api::mesh::{Counters, Flow, Vip};
use mesh_core::id::NodeId;
use mesh_core::store::{Store, Transaction};
use mesh_raft::{Forced, ProposeError, Raft, ReadError, Role};
use tokio_stream::wrappers::{BroadcastStream, WatchStream};

use super::backend::{Backend, Feed, Ledger, LedgerError, Peers};
use super::error::ApiError;
use super::view::{self, Names};
use crate::daemon::{Daemon, InitRequest, JoinRequest, JoinTokens, NodeInfo};
use crate::error::DaemonError;
use crate::rpc::forward::ToLeader;
use crate::settling::Settlement;

#[async_trait]
impl Backend for Daemon {
    async fn init(&self, request: InitRequest) -> Result<NodeId, DaemonError> {
        self.init(request).await
    }

    async fn survey_new_cluster(&self) -> Result<Forced, DaemonError> {
        Daemon::survey_new_cluster(self).await
    }

    async fn unlock(&self, key: &str) -> Result<(), DaemonError> {
        Daemon::unlock(self, key).await
    }

    async fn rotate_root(&self) -> Result<(), DaemonError> {
        Daemon::rotate_root(self).await
    }

    async fn join(&self, request: JoinRequest) -> Result<(), DaemonError> {
        self.join(request).await
    }

    async fn leave(&self, force: bool) -> Result<(), DaemonError> {
        self.leave(force).await
    }

    fn manager(&self) -> Result<Arc<dyn Ledger>, DaemonError> {
        Ok(Arc::new(Daemon::manager(self)?))
    }

    fn to_leader(&self) -> Option<ToLeader> {
        Some(self.serving().ok()?.to_leader)
    }

    async fn settled(&self, known: u64, index: u64, patience: Duration) -> Result<Settlement, DaemonError> {
        Ok(self.settling()?.wait(known, index, patience).await)
    }

    fn info(&self) -> NodeInfo {
        self.info()
    }

    fn join_tokens(&self) -> Result<JoinTokens, DaemonError> {
        self.join_tokens()
    }

    async fn vips(&self) -> Result<Vec<Vip>, ApiError> {
        let seen = self.dataplane()?.vips();
        let names = Names::of(self);
        Ok(seen.into_iter().map(|vip| names.vip(vip)).collect())
    }

    async fn flows(&self) -> Result<Vec<Flow>, ApiError> {
        let flows = self.dataplane()?.flows_now(FLOWS_MAX).map_err(|error| broken(&error))?;
        let names = Names::of(self);
        Ok(flows.into_iter().map(|flow| names.live_flow(flow)).collect())
    }

    async fn follow_flows(&self) -> Result<BoxStream<'static, Flow>, ApiError> {
        let records = self.dataplane()?.flows();
        let daemon = self.clone();
        // A follower that reads too slowly misses records; the programs drop them in the same way.
        let told = BroadcastStream::new(records).filter_map(|record| std::future::ready(record.ok()));
        Ok(told.map(move |record| Names::of(&daemon).flow_event(record)).boxed())
    }

    async fn counters(&self) -> Result<Counters, ApiError> {
        Ok(view::counters(self.dataplane()?.counters().await.map_err(|error| broken(&error))?))
    }
}

/// As many flows as one answer tells.
const FLOWS_MAX: usize = 100_000;

fn broken(error: &mesh_dataplane::DataplaneError) -> ApiError {
    DaemonError::part("dataplane", error).into()
}

#[async_trait]
impl Ledger for Raft {
    async fn read(&self) -> Result<Store, LedgerError> {
        Raft::read(self)
            .await
            .map_err(|error: ReadError| LedgerError::Unavailable { message: error.to_string() })
    }

    fn store(&self) -> Store {
        Raft::store(self)
    }

    async fn propose(&self, transaction: Transaction) -> Result<u64, LedgerError> {
        match Raft::propose(self, transaction).await {
            Ok(entry) => Ok(entry.index),
            Err(ProposeError::Conflict(conflict)) => Err(LedgerError::Conflict(conflict)),
            Err(error @ ProposeError::Encode(_)) => Err(LedgerError::Internal { message: error.to_string() }),
            Err(error) if error.is_unknown() => Err(LedgerError::Unavailable { message: error.to_string() }),
            Err(error) => {
                let message = format!("{error}: the change was not made, try again");
                Err(LedgerError::Unavailable { message })
            }
        }
    }

    fn feed(&self) -> BoxStream<'static, Feed> {
        let news = BroadcastStream::new(self.changes()).map(|news| match news {
            Ok(entry) if !entry.replaced => Feed::Applied(entry),
            Ok(_) | Err(_) => Feed::Lagged,
        });
        news.boxed()
    }

    fn alarm(&self) -> Option<String> {
        self.role().borrow().alarm.as_ref().map(ToString::to_string)
    }

    fn peers(&self) -> Peers {
        let state = self.role().borrow().clone();
        let heard = self.heard().borrow().clone();
        Peers { leader: state.leader, leads: state.role == Role::Leader, heard }
    }

    async fn answering(&self) -> BTreeSet<u64> {
        Raft::answering(self).await
    }

    fn follow_peers(&self) -> BoxStream<'static, Peers> {
        let roles = WatchStream::from_changes(self.role()).map(|_| ());
        let heard = WatchStream::from_changes(self.heard()).map(|_| ());
        let raft = self.clone();
        let start = futures_util::stream::once(std::future::ready(()));
        let changes = start.chain(futures_util::stream::select(roles, heard));
        changes.map(move |()| Ledger::peers(&raft)).boxed()
    }
}
