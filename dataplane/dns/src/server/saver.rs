//! Keeps the last published table on disk, without making the one who publishes wait.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use tokio::sync::Mutex;

use crate::state;
use crate::table::Table;

/// Writes the latest table. A table is acknowledged before it is written: a server that is killed in between
/// starts with the one before, and the daemon, which notices, publishes again.
#[derive(Debug)]
pub struct Saver {
    path: PathBuf,
    latest: std::sync::Mutex<Option<Arc<Table>>>,
    writing: Mutex<()>,
}

impl Saver {
    /// One that writes to this file.
    pub fn new(path: PathBuf) -> Self {
        Self { path, latest: std::sync::Mutex::default(), writing: Mutex::default() }
    }

    /// Writes this table soon, unless another comes before.
    pub fn save(self: &Arc<Self>, table: Arc<Table>) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(table);
        let saver = Arc::clone(self);
        tokio::spawn(async move { saver.flush().await });
    }

    /// Resolves when nothing is left to write.
    pub async fn flush(&self) {
        let _turn = self.writing.lock().await;
        let Some(table) = self.latest.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let path = self.path.clone();
        match tokio::task::spawn_blocking(move || state::save(&path, &table)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the table is not saved"),
            Err(error) => tracing::error!(%error, "saving the table ended early"),
        }
    }
}
