//! What the server has done, as numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// What is counted. The order is that of [`Counters`]' fields and not part of any format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Packets and TCP messages received.
    Queries,
    /// Answered from the table, with or without records.
    Own,
    /// Names that nobody is asked for, answered NXDOMAIN.
    NxDomain,
    /// From somebody that the table does not know.
    Refused,
    /// Unreadable, or of a kind that is not served.
    Malformed,
    /// Answered from the cache.
    Cached,
    /// Asked of upstreams.
    Forwarded,
    /// Answered SERVFAIL.
    Failed,
    /// Turned away because too much was under way.
    Limited,
    /// TCP connections accepted.
    Connections,
}

const COUNTERS: usize = Counter::Connections as usize + 1;

/// Counters that any thread adds to.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; COUNTERS]);

impl Counters {
    /// Counts one.
    pub fn add(&self, counter: Counter) {
        self.0[counter as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize].load(Ordering::Relaxed)
    }

    /// The numbers now; those of the table are left 0.
    pub fn snapshot(&self) -> Stats {
        Stats {
            queries: self.get(Counter::Queries),
            own: self.get(Counter::Own),
            nxdomain: self.get(Counter::NxDomain),
            refused: self.get(Counter::Refused),
            malformed: self.get(Counter::Malformed),
            cached: self.get(Counter::Cached),
            forwarded: self.get(Counter::Forwarded),
            failed: self.get(Counter::Failed),
            limited: self.get(Counter::Limited),
            connections: self.get(Counter::Connections),
            ..Stats::default()
        }
    }
}

/// What the server tells of itself. Counts are since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Version of the table that is served; 0 when there is none.
    pub table_version: u64,
    /// Clients in it.
    pub clients: u64,
    /// Names in it.
    pub names: u64,
    /// Packets and TCP messages received.
    pub queries: u64,
    /// Answered from the table, with or without records.
    pub own: u64,
    /// Names that nobody is asked for, answered NXDOMAIN.
    pub nxdomain: u64,
    /// From somebody that the table does not know.
    pub refused: u64,
    /// Unreadable, or of a kind that is not served.
    pub malformed: u64,
    /// Answered from the cache.
    pub cached: u64,
    /// Asked of upstreams.
    pub forwarded: u64,
    /// Answered SERVFAIL.
    pub failed: u64,
    /// Turned away because too much was under way.
    pub limited: u64,
    /// TCP connections accepted.
    pub connections: u64,
}
