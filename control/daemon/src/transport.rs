//! Raft's messages from this manager to the others. Raft's thread hands them in without waiting; each peer has
//! a queue and a task that keeps one connection to it. What cannot be sent soon is dropped and told to raft,
//! which repeats what matters: nothing old is ever worth more than what raft would say now.
//!
//! The other end is [`crate::rpc::raft`]. A peer's address is the one that it told when it called, while that
//! call stands; else what the members say. So a manager that missed that another was let in, or that moved,
//! can answer it: otherwise it could never learn what it missed, and two of three that moved at the same time
//! would never have a quorum to write their new addresses down.
//!
//! It is used like this, since raft wants its transport before there is a handle of raft:
//! `config.transport = Arc::new(transport.clone())`, `raft = Raft::open(config)`, `tasks = transport.start(…)`.

mod backoff;
mod peer;
mod snapshot;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use mesh_raft::{Members, Message, Raft, Transport};
use rustls::ClientConfig;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Messages that may wait for one peer; more are dropped.
const QUEUE: usize = 1_024;

/// Callers whose addresses are kept; of more they are not.
const CALLERS: usize = 32;

/// Where raft's messages go. Clones share it.
#[derive(Debug, Clone)]
pub struct PeerTransport {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ways: RwLock<BTreeMap<u64, Way>>,
    /// Where those that called this manager say that they are reached.
    callers: watch::Sender<BTreeMap<u64, Caller>>,
}

/// The way to one peer.
#[derive(Debug)]
struct Way {
    queue: mpsc::Sender<Waiting>,
    awake: Arc<Notify>,
    _task: Task,
}

/// A message and the moment at which raft gave it.
#[derive(Debug)]
struct Waiting {
    message: Message,
    since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Caller {
    addr: SocketAddr,
    /// Its streams to this manager.
    streams: usize,
}

/// A task that ends with its owner.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// This manager, as its peers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Own {
    /// Raft's number of it.
    pub raft_id: u64,
    /// Where the others reach it.
    pub addr: SocketAddr,
}

/// What carries the messages; when it is dropped, nothing is carried any more.
#[derive(Debug)]
pub struct Carrying {
    _task: Task,
}

/// A caller that is there. When this is dropped, one of its streams has ended.
#[derive(Debug)]
pub struct Met {
    shared: Arc<Shared>,
    id: u64,
}

impl Default for PeerTransport {
    fn default() -> Self {
        let shared = Shared { ways: RwLock::default(), callers: watch::Sender::default() };
        Self { shared: Arc::new(shared) }
    }
}

impl PeerTransport {
    /// Carries messages from now on, to the members that `raft` tells. What was sent before is lost. Ends with
    /// raft's thread, too. `tls` is asked at each handshake.
    pub fn start(&self, raft: Raft, own: Own, tls: Arc<ClientConfig>) -> Carrying {
        let shared = Arc::clone(&self.shared);
        Carrying { _task: Task(tokio::spawn(keep(shared, Calling { raft, own, tls }))) }
    }

    /// `id` called, and says that it is reached at `addr`: if it is waited for, it is dialled at once.
    pub fn met(&self, id: u64, addr: SocketAddr) -> Met {
        self.shared.callers.send_if_modified(|callers| {
            let full = callers.len() >= CALLERS;
            match callers.get_mut(&id) {
                Some(caller) => {
                    caller.streams += 1;
                    std::mem::replace(&mut caller.addr, addr) != addr
                }
                None if full => false,
                None => callers.insert(id, Caller { addr, streams: 1 }).is_none(),
            }
        });
        if let Some(way) = self.shared.ways.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            way.awake.notify_one();
        }
        Met { shared: Arc::clone(&self.shared), id }
    }
}

impl Drop for Met {
    fn drop(&mut self) {
        self.shared.callers.send_if_modified(|callers| {
            let Some(caller) = callers.get_mut(&self.id) else { return false };
            caller.streams -= 1;
            let gone = caller.streams == 0;
            gone && callers.remove(&self.id).is_some()
        });
    }
}

impl Transport for PeerTransport {
    fn send(&self, messages: Vec<Message>) {
        let ways = self.shared.ways.read().unwrap_or_else(PoisonError::into_inner);
        let since = Instant::now();
        for message in messages {
            if let Some(way) = ways.get(&message.to) {
                // Full, or its task ended: raft repeats what matters.
                let _ = way.queue.try_send(Waiting { message, since });
            }
        }
    }
}

/// What every connection is made with.
#[derive(Clone)]
struct Calling {
    raft: Raft,
    own: Own,
    tls: Arc<ClientConfig>,
}

/// Keeps one task for each peer, at its address of the moment, until raft ends or this is dropped.
async fn keep(shared: Arc<Shared>, calling: Calling) {
    let _closed = CloseOnDrop(&shared);
    let mut members = calling.raft.members();
    let mut callers = shared.callers.subscribe();
    let mut addrs = BTreeMap::new();
    loop {
        let wanted = peers(&members.borrow_and_update(), &callers.borrow_and_update(), calling.own.raft_id);
        shared.follow(&addrs, &wanted, &calling);
        addrs = wanted;
        tokio::select! {
            changed = members.changed() => if changed.is_err() { return },
            // The sender lives in `shared`.
            _ = callers.changed() => {}
        }
    }
}

struct CloseOnDrop<'a>(&'a Shared);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.ways.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Shared {
    /// Ends what goes to peers that are gone or elsewhere, and begins what is new.
    fn follow(
        &self,
        before: &BTreeMap<u64, SocketAddr>,
        wanted: &BTreeMap<u64, SocketAddr>,
        calling: &Calling,
    ) {
        let mut ways = self.ways.write().unwrap_or_else(PoisonError::into_inner);
        ways.retain(|id, _| wanted.contains_key(id) && wanted.get(id) == before.get(id));
        for (&id, &addr) in wanted {
            ways.entry(id).or_insert_with(|| {
                let (queue, waiting) = mpsc::channel(QUEUE);
                let awake = Arc::new(Notify::new());
                let peer = peer::Peer::new(id, addr, calling.clone(), Arc::clone(&awake));
                Way { queue, awake, _task: Task(tokio::spawn(peer.run(waiting))) }
            });
        }
    }
}

/// Whom to reach, and where.
fn peers(members: &Members, callers: &BTreeMap<u64, Caller>, own: u64) -> BTreeMap<u64, SocketAddr> {
    let told =
        callers.iter().filter(|(id, _)| !members.is_removed(**id)).map(|(id, caller)| (*id, caller.addr));
    let known = members.iter().filter_map(|(id, member)| Some((id, member.addr?)));
    // Who calls knows best where it is.
    known.chain(told).filter(|(id, _)| *id != own).collect()
}
