//! The API for users: Docker's Engine API as far as the mesh has it, and the mesh's own under `/mesh/v1`.
//!
//! A request comes in ([`router`]), its body becomes strict types ([`convert`]), a change becomes a
//! transaction ([`change`]) or a refusal ([`error`]). What the handlers need of the daemon is behind
//! [`backend::Backend`], so that they run in a test without one. No handler keeps state.

mod answer;
pub mod backend;
mod change;
mod contents;
mod convert;
mod daemon;
mod error;
mod events;
mod extract;
pub mod forward;
mod mesh;
mod names;
mod networks;
mod nodes;
mod router;
mod services;
pub mod socket;
mod swarm;
mod system;
mod tasks;
#[cfg(test)]
mod tests;
mod view;
mod watch;

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::ServiceExt;
use axum::extract::Request;
use tokio::net::UnixListener;
use tokio::sync::watch as flag;

use self::backend::Backend;
use self::forward::RemoteApi;
use crate::daemon::Daemon;

/// What every handler gets.
#[derive(Clone)]
pub struct Api {
    backend: Arc<dyn Backend>,
    /// Turns true when the server closes; endless answers end then.
    closing: flag::Receiver<bool>,
}

/// Serves the API of `daemon` until `shutdown` resolves; requests under way are answered first.
pub async fn serve(
    daemon: Daemon,
    listener: UnixListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let remote = daemon.remote_api().clone();
    serve_backend(Arc::new(daemon), remote, listener, shutdown).await
}

/// As [`serve`], for anything that does a daemon's work; `remote` is where other managers ask.
pub async fn serve_backend(
    backend: Arc<dyn Backend>,
    remote: RemoteApi,
    listener: UnixListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (close, closing) = flag::channel(false);
    let api = Api { backend, closing };
    remote.set(Some(router::remote(api.clone())));
    let make = ServiceExt::<Request>::into_make_service(router::service(api));
    let served = axum::serve(listener, make)
        .with_graceful_shutdown(async move {
            shutdown.await;
            // Nobody listens any more when every answer is given already.
            let _ = close.send(true);
        })
        .await;
    remote.set(None);
    served
}
