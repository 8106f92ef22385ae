//! How far the nodes have come with what they were told: up to which log entry everything is not only in
//! the store, but in every node's network too.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{NodeId, SessionId};
use crate::object::NodeState;

/// What each open session was sent and has applied. A session that ends, and a node that is down or has left,
/// is waited for no longer.
#[derive(Debug, Default)]
pub struct Settled {
    /// Log index up to which everything was sent.
    reached: u64,
    sessions: BTreeMap<SessionId, Progress>,
}

#[derive(Debug)]
struct Progress {
    node: NodeId,
    down: bool,
    /// Version sent last; none is sent twice, and each is a log index.
    sent: u64,
    /// Version whose assignments the node's network holds.
    applied: u64,
}

impl Settled {
    /// Before any session, with a store at `index`.
    pub fn new(index: u64) -> Self {
        Self { reached: index, sessions: BTreeMap::new() }
    }

    /// A session was opened.
    pub fn open(&mut self, node: NodeId, session: SessionId) {
        self.sessions.insert(session, Progress { node, down: false, sent: 0, applied: 0 });
    }

    /// A session is over.
    pub fn close(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }

    /// A node's state changed.
    pub fn node(&mut self, node: NodeId, state: NodeState) {
        for progress in self.sessions.values_mut().filter(|progress| progress.node == node) {
            progress.down = state.is_away();
        }
    }

    /// Nodes with an open session.
    pub fn nodes(&self) -> BTreeSet<NodeId> {
        self.sessions.values().map(|progress| progress.node).collect()
    }

    /// Assignments that lead to `version` were sent.
    pub fn sent(&mut self, session: SessionId, version: u64) {
        if let Some(progress) = self.sessions.get_mut(&session) {
            progress.sent = version;
        }
    }

    /// The node's network is as the assignments of `version` say.
    pub fn applied(&mut self, session: SessionId, version: u64) {
        if let Some(progress) = self.sessions.get_mut(&session) {
            progress.applied = progress.applied.max(version);
        }
    }

    /// Everything that log entries up to `index` mean for nodes was sent.
    pub fn reach(&mut self, index: u64) {
        self.reached = self.reached.max(index);
    }

    /// Whether every node has applied all that was sent up to log entry `index`.
    pub fn is_settled(&self, index: u64) -> bool {
        self.reached >= index && self.behind(index).next().is_none()
    }

    /// Nodes that have not.
    pub fn waiting(&self, index: u64) -> Vec<NodeId> {
        self.behind(index).map(|progress| progress.node).collect()
    }

    /// Only the newest version sent is remembered. Where that is a later one than `index`, a node counts
    /// once it has applied something at least as new as `index`.
    fn behind(&self, index: u64) -> impl Iterator<Item = &Progress> {
        let late = move |progress: &&Progress| progress.applied < progress.sent.min(index);
        self.sessions.values().filter(|progress| !progress.down).filter(late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SessionId = SessionId::from_bits(1);
    const TWO: SessionId = SessionId::from_bits(2);

    fn node(session: SessionId) -> NodeId {
        NodeId::from_bits(if session == ONE { 11 } else { 12 })
    }

    /// Two nodes with full sets of version 5, applied.
    fn two() -> Settled {
        let mut settled = Settled::new(5);
        for session in [ONE, TWO] {
            settled.open(node(session), session);
            settled.sent(session, 5);
            settled.applied(session, 5);
        }
        settled
    }

    #[test]
    fn a_log_entry_is_settled_once_it_was_sent_and_applied_everywhere() {
        let mut settled = two();
        assert!(settled.is_settled(5));
        assert!(!settled.is_settled(6), "the leader has not come that far");
        settled.sent(ONE, 6);
        settled.sent(TWO, 6);
        settled.reach(6);
        assert_eq!(settled.waiting(6), [node(ONE), node(TWO)]);
        settled.applied(TWO, 6);
        assert_eq!(settled.waiting(6), [node(ONE)]);
        assert!(!settled.is_settled(6));
        settled.applied(ONE, 6);
        assert!(settled.is_settled(6));
    }

    #[test]
    fn a_node_that_an_entry_says_nothing_to_is_not_waited_for() {
        let mut settled = two();
        settled.sent(ONE, 6);
        settled.reach(6);
        settled.applied(ONE, 6);
        assert!(settled.is_settled(6));
        settled.reach(9);
        assert!(settled.is_settled(9));
    }

    #[test]
    fn later_entries_do_not_hold_earlier_ones_back() {
        let mut settled = two();
        for version in [6, 7, 8] {
            settled.sent(ONE, version);
            settled.reach(version);
        }
        assert!(settled.is_settled(5));
        settled.applied(ONE, 7);
        assert!(settled.is_settled(6) && settled.is_settled(7));
        assert_eq!(settled.waiting(8), [node(ONE)]);
        settled.applied(ONE, 6);
        assert!(settled.is_settled(7), "a late word takes nothing back");
    }

    #[test]
    fn a_new_session_is_waited_for_from_its_full_set_on() {
        let mut settled = Settled::new(5);
        settled.open(node(ONE), ONE);
        settled.sent(ONE, 5);
        assert_eq!(settled.waiting(5), [node(ONE)]);
        settled.applied(ONE, 5);
        assert!(settled.is_settled(5));
    }

    #[test]
    fn sessions_that_end_and_nodes_that_are_down_drop_out() {
        let mut settled = two();
        settled.sent(ONE, 6);
        settled.sent(TWO, 6);
        settled.reach(6);
        settled.close(ONE);
        assert_eq!(settled.waiting(6), [node(TWO)]);
        settled.node(node(TWO), NodeState::Down);
        assert!(settled.is_settled(6));
        settled.node(node(TWO), NodeState::Ready);
        assert_eq!(settled.waiting(6), [node(TWO)], "it was silent, and is back over the same session");
    }
}
