//! A flag that tells parts of the daemon to end.

use tokio::sync::watch;

/// Raised once; every receiver sees it.
pub type Stop = watch::Receiver<bool>;

/// Resolves when the flag is raised, or nobody can raise it any more.
pub async fn raised(stop: &mut Stop) {
    // An error means that the sender is gone, which is the same.
    drop(stop.wait_for(|stop| *stop).await);
}
