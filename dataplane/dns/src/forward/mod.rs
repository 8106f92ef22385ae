//! Names that are not ours: asked of the upstreams, two at a time, and remembered.

mod cache;
mod exchange;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hickory_proto::op::{Message, ResponseCode};
use tokio::task::JoinSet;

use crate::message::Request;
use crate::stats::{Counter, Counters};
pub use cache::Said;
use cache::{Cache, Question};

/// Answers that are remembered; with the bound on records below a few megabytes.
const CACHE_CAPACITY: usize = 4096;
/// Upstreams that are asked at the same time.
const AT_ONCE: usize = 2;
/// How often upstreams are asked before it is SERVFAIL. Two silent rounds take four seconds, less than the
/// five after which resolvers ask again.
const ROUNDS: usize = 2;

/// Asks upstreams and remembers what they said.
#[derive(Debug)]
pub struct Forwarder {
    cache: Mutex<Cache>,
    counters: Arc<Counters>,
}

impl Forwarder {
    /// One that remembers nothing yet.
    pub fn new(counters: Arc<Counters>) -> Self {
        Self { cache: Mutex::new(Cache::new(CACHE_CAPACITY)), counters }
    }

    /// What is remembered of the answer to this request.
    pub fn cached(&self, request: &Request) -> Option<Said> {
        let said = self.cache().get(&Question::of(request), Instant::now())?;
        self.counters.add(Counter::Cached);
        Some(said)
    }

    /// Asks, and remembers the answer. SERVFAIL when nobody has one.
    pub async fn ask(&self, request: &Request, upstreams: &[SocketAddr]) -> Arc<Said> {
        self.counters.add(Counter::Forwarded);
        let said = Arc::new(ask_in_rounds(request, upstreams).await.unwrap_or_else(Said::failure));
        if said.code == ResponseCode::ServFail {
            self.counters.add(Counter::Failed);
        }
        self.cache().put(Question::of(request), &said, Instant::now());
        said
    }

    /// Forgets everything, because the upstreams are others now.
    pub fn forget(&self) {
        self.cache().clear();
    }

    /// A cache that somebody panicked over is at worst one that misses.
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask_in_rounds(request: &Request, upstreams: &[SocketAddr]) -> Option<Said> {
    for round in 0..ROUNDS {
        if let Some(said) = ask_some(request, round_of(upstreams, round)).await {
            return Some(said.into());
        }
    }
    None
}

/// The upstreams of a round: each time the next ones, from the beginning again after the last.
fn round_of(upstreams: &[SocketAddr], round: usize) -> &[SocketAddr] {
    let groups = upstreams.len().div_ceil(AT_ONCE);
    upstreams.chunks(AT_ONCE).nth(if groups == 0 { 0 } else { round % groups }).unwrap_or_default()
}

/// Asks all of these at once; the first that knows wins.
async fn ask_some(request: &Request, upstreams: &[SocketAddr]) -> Option<Message> {
    let mut asked = JoinSet::new();
    for upstream in upstreams.iter().copied() {
        let request = request.clone();
        asked.spawn(async move { (upstream, exchange::ask(upstream, &request).await) });
    }
    while let Some(done) = asked.join_next().await {
        match done {
            Ok((_, Ok(message))) if knows(&message) => return Some(message),
            Ok((upstream, Ok(message))) => {
                tracing::debug!(%upstream, code = %message.metadata.response_code, "upstream has no answer");
            }
            Ok((upstream, Err(error))) => tracing::debug!(%upstream, %error, "upstream does not answer"),
            Err(error) => tracing::warn!(%error, "asking an upstream ended early"),
        }
    }
    None
}

fn knows(message: &Message) -> bool {
    matches!(message.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_go_through_the_upstreams() {
        let all: Vec<SocketAddr> = (1..=3).map(|last| SocketAddr::from(([192, 0, 2, last], 53))).collect();
        assert_eq!(round_of(&all, 0), &all[..2]);
        assert_eq!(round_of(&all, 1), &all[2..]);
        assert_eq!(round_of(&all[..1], 1), &all[..1]);
        assert_eq!(round_of(&[], 0), &[]);
    }
}
