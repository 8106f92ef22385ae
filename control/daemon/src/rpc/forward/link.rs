//! One HTTP/2 connection to a leader, cut as soon as that manager leads no longer.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_raft::{Role, RoleState};
use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::Leader;
use crate::rpc::client::{self, Liveness};
use crate::stop::{Stop, raised};

/// When a leader is given up.
const LIVENESS: Liveness = Liveness::QUICK;

/// Bytes of one answer that may wait for its reader.
const STREAM_WINDOW: u32 = 256 << 10;

/// Bytes of all answers together: never what holds one of them up.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// How long this manager may know of no leader before connections to the last one are cut: it may be the
/// same one again.
const INTERREGNUM: Duration = Duration::from_millis(500);

/// How long a connection takes new requests: it stands for the certificate that this node had when it was made,
/// and that certificate ends. What is under way on it goes on.
const FRESH: Duration = Duration::from_mins(5);

/// A connection.
pub(super) struct Link {
    leader: Leader,
    sender: SendRequest<Body>,
    opened: Instant,
}

impl Link {
    /// Dials a leader. The connection lives until `role` tells of another one, or `end` is raised.
    pub async fn open(
        leader: Leader,
        tls: Arc<ClientConfig>,
        role: watch::Receiver<RoleState>,
        end: Stop,
    ) -> io::Result<Self> {
        let addr = leader.addr.to_string();
        let dialled = timeout(LIVENESS.connect, client::dial(&addr, tls, LIVENESS.unacknowledged)).await;
        let stream = dialled.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let (cut, leash) = watch::channel(false);
        let (sender, connection) = http2::Builder::new(Leashed { leash })
            .timer(TokioTimer::new())
            .keep_alive_interval(LIVENESS.keep_alive)
            .keep_alive_timeout(LIVENESS.keep_alive_timeout)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(async move {
            let connected = async {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "the connection to the manager that leads is lost");
                }
                // Nothing new is sent any more; what is under way may take its time.
                cut.closed().await;
            };
            tokio::select! {
                () = connected => {}
                () = succeeded(role, leader.id) => {}
                () = ended(end) => {}
            }
            cut.send_replace(true);
        });
        Ok(Self { leader, sender, opened: Instant::now() })
    }

    /// A handle to send with, if this connection leads to `leader`, stands and is fresh.
    pub fn sender(&self, leader: Leader) -> Option<SendRequest<Body>> {
        let usable = self.leader == leader && !self.sender.is_closed() && self.opened.elapsed() < FRESH;
        usable.then(|| self.sender.clone())
    }
}

async fn ended(mut end: Stop) {
    raised(&mut end).await;
}

/// Resolves when another manager leads, or nobody has for a while.
async fn succeeded(mut role: watch::Receiver<RoleState>, leader: u64) {
    let other = |state: &RoleState| {
        matches!(state.role, Role::Leader | Role::Stopped)
            || state.leader.is_some_and(|known| known != leader)
    };
    loop {
        let lost = role.wait_for(|state| other(state) || state.leader.is_none()).await;
        if lost.map_or(true, |state| other(&state)) {
            return;
        }
        let again = role.wait_for(|state| other(state) || state.leader.is_some());
        match timeout(INTERREGNUM, again).await {
            Ok(Ok(state)) if !other(&state) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// Runs the parts of a connection, and drops them all when it is cut: whoever waits for one of its answers
/// learns it at once.
#[derive(Clone)]
struct Leashed {
    leash: Stop,
}

impl<F> Executor<F> for Leashed
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, part: F) {
        let mut leash = self.leash.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = part => {}
                () = raised(&mut leash) => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    fn state(role: Role, leader: Option<u64>) -> RoleState {
        RoleState { role, leader, ..RoleState::default() }
    }

    #[tokio::test]
    async fn a_connection_is_over_at_once_when_another_leads_or_raft_has_ended() {
        for next in [
            state(Role::Follower, Some(3)),
            state(Role::Leader, Some(1)),
            state(Role::Stopped, None),
            state(Role::Stopped, Some(2)),
        ] {
            let (role, seen) = watch::channel(state(Role::Follower, Some(2)));
            let mut over = pin!(succeeded(seen, 2));
            assert_eq!(over.as_mut().now_or_never(), None);
            role.send_replace(next.clone());
            assert_eq!(over.as_mut().now_or_never(), Some(()), "{next:?}");
        }
    }

    #[tokio::test]
    async fn a_leader_that_is_found_again_soon_keeps_its_connections_and_no_other_does() {
        let (role, seen) = watch::channel(state(Role::Follower, Some(2)));
        let mut over = pin!(succeeded(seen, 2));
        role.send_replace(state(Role::Candidate, None));
        assert_eq!(over.as_mut().now_or_never(), None);
        role.send_replace(state(Role::Follower, Some(2)));
        assert!(timeout(INTERREGNUM * 2, over.as_mut()).await.is_err());
        role.send_replace(state(Role::Candidate, None));
        timeout(INTERREGNUM * 20, over).await.unwrap();
    }
}
