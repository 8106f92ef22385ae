//! Opening the state of a manager whose group has lost its quorum for good.

use std::sync::{Arc, Mutex, PoisonError};

use super::config::RaftConfig;
use super::error::OpenError;
use super::handle::{Raft, open_survivor};
use crate::disk::{Disk as _, Saved};
use crate::replica::{Forced, force_new_cluster};

impl Raft {
    /// Goes on with the state in `config.path` as the only manager there is. The managers that are dropped
    /// must never run again with the state they had.
    pub async fn force_new_cluster(config: RaftConfig) -> Result<(Self, Forced), OpenError> {
        let told: Arc<Mutex<Option<Forced>>> = Arc::default();
        let tell = Arc::clone(&told);
        let raft = Self::start(config, move |config| {
            let (mut disk, saved) = open_survivor(config)?;
            let (write, forced) = force_new_cluster(&saved)?;
            disk.append(&write)?;
            disk.sync()?;
            *tell.lock().unwrap_or_else(PoisonError::into_inner) = Some(forced);
            let snapshot = write.snapshot.unwrap_or(saved.snapshot);
            let hard_state = write.hard_state.unwrap_or(saved.hard_state);
            let meta = snapshot.get_metadata();
            let truncated = crate::Position { index: meta.index, term: meta.term };
            Ok((disk, Saved { node: saved.node, hard_state, truncated, entries: Vec::new(), snapshot }))
        })
        .await?;
        let forced = told.lock().unwrap_or_else(PoisonError::into_inner).take();
        let missing = || OpenError::Thread { reason: "it does not say what it kept".to_owned() };
        Ok((raft, forced.ok_or_else(missing)?))
    }

    /// What [`Raft::force_new_cluster`] would do; nothing of the state is changed.
    pub async fn survey_new_cluster(config: RaftConfig) -> Result<Forced, OpenError> {
        let survey = move || {
            let (_, saved) = open_survivor(&config)?;
            Ok(force_new_cluster(&saved)?.1)
        };
        let ended = |error: tokio::task::JoinError| OpenError::Thread { reason: error.to_string() };
        tokio::task::spawn_blocking(survey).await.map_err(ended)?
    }
}
