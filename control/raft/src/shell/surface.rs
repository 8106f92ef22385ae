//! Those who wait for the thread, and what it shows to everybody.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use mesh_core::store::Store;
use raft::eraftpb::Message;
use tokio::sync::{broadcast, oneshot, watch};

use super::config::Transport;
use super::error::{ChangeError, ProposeError, ReadError};
use super::role::{Alarm, RoleState};
use crate::disk::DiskError;
use crate::envelope::ProposalId;
use crate::members::{ChangeOutcome, Members};
use crate::replica::{Committed, Effects, Outcome, Outlet, ReadId, Replica};

/// Ticks after which a read that was not answered is begun again.
const READ_PATIENCE: u32 = 6;

pub(super) type ProposeReply = oneshot::Sender<Result<Arc<Committed>, ProposeError>>;
pub(super) type ReadReply = oneshot::Sender<Result<Store, ReadError>>;
pub(super) type ResealReply = oneshot::Sender<Result<(), DiskError>>;
pub(super) type ChangeReply = oneshot::Sender<Result<Members, ChangeError>>;

/// What the thread shows.
pub(super) struct Published {
    pub store: Arc<ArcSwap<Store>>,
    pub changes: broadcast::Sender<Arc<Committed>>,
    pub role: watch::Sender<RoleState>,
    pub members: watch::Sender<Members>,
    pub heard: watch::Sender<BTreeSet<u64>>,
    pub heard_all: watch::Sender<bool>,
}

/// Those who wait, and where results go.
pub(super) struct Surface {
    pub published: Published,
    transport: Arc<dyn Transport>,
    pub proposals: HashMap<ProposalId, ProposeReply>,
    pub changing: HashMap<ProposalId, ChangeReply>,
    /// Reads that were not begun, or must be begun again.
    pub fresh: Vec<ReadReply>,
    /// Reads that were begun, with the ticks since.
    pub begun: HashMap<ReadId, (u32, Vec<ReadReply>)>,
}

impl Surface {
    pub fn new(published: Published, transport: Arc<dyn Transport>) -> Self {
        Self {
            published,
            transport,
            proposals: HashMap::new(),
            changing: HashMap::new(),
            fresh: Vec::new(),
            begun: HashMap::new(),
        }
    }

    /// A tick has passed: those who gave up are forgotten, and reads that got no answer begin again.
    pub fn age(&mut self) {
        self.proposals.retain(|_, reply| !reply.is_closed());
        self.changing.retain(|_, reply| !reply.is_closed());
        for (age, _) in self.begun.values_mut() {
            *age += 1;
        }
        for (_, (_, replies)) in self.begun.extract_if(|_, (age, _)| *age >= READ_PATIENCE) {
            self.fresh.extend(replies);
        }
    }

    /// Nobody is kept waiting for a disk that is full.
    pub fn interrupt(&mut self, alarm: &Alarm) {
        for (_, reply) in self.proposals.drain() {
            let _ = reply.send(Err(ProposeError::Interrupted { reason: alarm.to_string() }));
        }
        for (_, reply) in self.changing.drain() {
            let _ = reply.send(Err(ChangeError::Interrupted { reason: alarm.to_string() }));
        }
        let begun = self.begun.drain().flat_map(|(_, (_, replies))| replies);
        for reply in self.fresh.drain(..).chain(begun) {
            let _ = reply.send(Err(ReadError::Alarm(alarm.clone())));
        }
    }
}

impl Outlet for Surface {
    fn send(&mut self, messages: Vec<Message>) {
        if !messages.is_empty() {
            self.transport.send(messages);
        }
    }

    fn settle(&mut self, replica: &Replica, effects: Effects) {
        if !effects.committed.is_empty() {
            self.published.store.store(Arc::new(replica.store().clone()));
        }
        for committed in effects.committed {
            // Nobody listening is no error.
            let _ = self.published.changes.send(committed);
        }
        for (id, outcome) in effects.outcomes {
            if let Some(reply) = self.proposals.remove(&id) {
                let leader = replica.standing().leader.filter(|leader| *leader != replica.id());
                let _ = reply.send(match outcome {
                    Outcome::Committed(committed) => Ok(committed),
                    Outcome::Conflict(conflict) => Err(conflict.into()),
                    Outcome::Lost => Err(ProposeError::NotLeader { leader }),
                });
            }
        }
        for (id, outcome) in effects.changes {
            if let Some(reply) = self.changing.remove(&id) {
                let _ = reply.send(match outcome {
                    ChangeOutcome::Made => Ok(replica.membership().clone()),
                    ChangeOutcome::Lost => Err(ChangeError::Lost),
                });
            }
        }
        for id in effects.reads {
            for reply in self.begun.remove(&id).into_iter().flat_map(|(_, replies)| replies) {
                let _ = reply.send(Ok(replica.store().clone()));
            }
        }
    }
}

/// Tells those who watch, if there is anything new.
pub(super) fn show<T: Clone + PartialEq>(sender: &watch::Sender<T>, now: &T) {
    sender.send_if_modified(|shown| {
        let changed = shown != now;
        if changed {
            shown.clone_from(now);
        }
        changed
    });
}
