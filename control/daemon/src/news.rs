//! Waiting for what raft applies.

use std::sync::Arc;

use mesh_core::store::Change;
use mesh_raft::Committed;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// What raft applies, as it comes.
pub type News = broadcast::Receiver<Arc<Committed>>;

/// Resolves when a change was applied that `concerns` somebody, or may have been: the store was replaced whole,
/// or news was missed. False when nothing is applied any more. May be dropped at any time.
pub async fn touched(news: &mut News, concerns: impl Fn(&Change) -> bool) -> bool {
    loop {
        match news.recv().await {
            Ok(committed) if !committed.replaced && !committed.changes.iter().any(&concerns) => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return true,
            Err(RecvError::Closed) => return false,
        }
    }
}
