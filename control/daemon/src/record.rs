//! The node's membership while the daemon runs: one place that says it, changes it and writes it down.

use std::net::SocketAddr;
use std::sync::Arc;

use mesh_core::assignment::Standing;
use tokio::sync::{Mutex, watch};

use crate::error::DaemonError;
use crate::state::{Membership, StateDir};

/// The membership; clones are the same.
#[derive(Debug, Clone)]
pub struct Record {
    state: StateDir,
    now: Arc<watch::Sender<Membership>>,
    /// Held by whoever writes the file; true while it may be written.
    writing: Arc<Mutex<bool>>,
}

impl Record {
    /// Takes up a membership that is written down already.
    pub fn new(state: StateDir, membership: Membership) -> Self {
        Self { state, now: Arc::new(watch::Sender::new(membership)), writing: Arc::new(Mutex::new(true)) }
    }

    /// The membership.
    pub fn now(&self) -> Membership {
        self.now.borrow().clone()
    }

    /// The membership as it changes.
    pub fn watch(&self) -> watch::Receiver<Membership> {
        self.now.subscribe()
    }

    /// Nothing changes any more: on return the file is its caller's to remove.
    pub async fn close(&self) {
        *self.writing.lock().await = false;
    }

    /// Changes the membership; on return it is on disk. On an error nothing has changed.
    pub async fn change(&self, change: impl FnOnce(&mut Membership)) -> Result<(), DaemonError> {
        let open = self.writing.lock().await;
        let mut next = self.now();
        change(&mut next);
        if !*open || next == *self.now.borrow() {
            return Ok(());
        }
        let (state, written) = (self.state.clone(), next.clone());
        tokio::task::spawn_blocking(move || state.save(&written))
            .await
            .map_err(|error| DaemonError::part("writing the node's state", &error))??;
        self.now.send_replace(next);
        Ok(())
    }

    /// Writes down the managers whenever they change.
    pub async fn remember(self, mut managers: watch::Receiver<Vec<SocketAddr>>) {
        while managers.changed().await.is_ok() {
            let known = managers.borrow_and_update().clone();
            if let Err(error) = self.change(|membership| membership.managers = known).await {
                tracing::error!(%error, "the managers' addresses were not saved");
            }
        }
    }

    /// Goes for the role that the managers want of this node.
    pub async fn follow(self, mut standing: watch::Receiver<Option<Standing>>) {
        while standing.changed().await.is_ok() {
            let Some(role) = standing.borrow_and_update().as_ref().map(|told| told.role) else { continue };
            if let Err(error) = self.change(|membership| membership.role = role).await {
                tracing::error!(%error, "the node's role was not saved");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use mesh_core::id::{ClusterId, NodeId};
    use mesh_core::spec::Role;

    use super::*;

    fn worker() -> Membership {
        Membership {
            node: NodeId::from_bits(1),
            cluster: ClusterId::from_bits(2),
            role: Role::Worker,
            raft_id: None,
            listen_addr: ([0, 0, 0, 0], 2377).into(),
            advertise_addr: [192, 0, 2, 11].into(),
            advertise_port: None,
            data_path_addr: [192, 0, 2, 11].into(),
            managers: Vec::new(),
            leaving: false,
            forcing: false,
        }
    }

    #[tokio::test]
    async fn a_change_is_on_disk_before_anybody_hears_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().to_owned());
        let record = Record::new(state.clone(), worker());
        let mut heard = record.watch();
        let reader = tokio::spawn(async move {
            heard.changed().await.unwrap();
            (heard.borrow().role, state.load().unwrap().unwrap().role)
        });
        record.change(|membership| membership.role = Role::Manager).await.unwrap();
        assert_eq!(reader.await.unwrap(), (Role::Manager, Role::Manager));
    }

    #[tokio::test]
    async fn a_closed_record_writes_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().to_owned());
        let record = Record::new(state.clone(), worker());
        record.close().await;
        record.change(|membership| membership.role = Role::Manager).await.unwrap();
        assert_eq!((record.now(), state.load().unwrap()), (worker(), None));
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_not_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "").unwrap();
        let record = Record::new(StateDir::new(path), worker());
        record.change(|membership| membership.role = Role::Manager).await.unwrap_err();
        assert_eq!(record.now(), worker());
    }
}
