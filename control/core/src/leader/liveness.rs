//! Which nodes are there: heartbeats, silence, announced restarts. A node is Ready from the moment its agent
//! opens a session and Down when it was silent for more than three heartbeats.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::draft::Draft;
use crate::id::{NodeId, SessionId};
use crate::object::{Node, NodeDescription, NodeState};
use crate::store::{Change, Delta, Store};
use crate::time::Timestamp;

/// Heartbeats that a node may miss.
const HEARTBEATS: u32 = 3;
/// Least time that a new leader gives every node to find it.
pub(super) const TAKEOVER_GRACE: Duration = Duration::from_secs(5);
/// Time that an announced restart may take.
pub(super) const RESTART_GRACE: Duration = Duration::from_secs(30);

/// What the leader knows of the nodes beyond the store.
#[derive(Debug)]
pub(super) struct Liveness {
    heartbeat: Duration,
    sessions: BTreeMap<NodeId, Session>,
    deadlines: BTreeMap<NodeId, Timestamp>,
    by_time: BTreeSet<(Timestamp, NodeId)>,
    /// Nodes whose state in the store may not be what it should be.
    changed: BTreeSet<NodeId>,
}

#[derive(Debug)]
struct Session {
    id: SessionId,
    /// What the node told when it opened the session.
    told: Told,
    /// It announced that it restarts: what comes over this session no longer shortens its time.
    restarting: bool,
}

/// What a node tells when it opens a session.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub description: NodeDescription,
    pub addr: IpAddr,
    pub data_path_addr: IpAddr,
}

impl Liveness {
    /// Gives every node that is not known to be down a full grace period.
    pub(super) fn new(store: &Store, now: Timestamp) -> Self {
        let mut liveness = Self {
            heartbeat: heartbeat(store),
            sessions: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            by_time: BTreeSet::new(),
            changed: BTreeSet::new(),
        };
        let until = now + liveness.grace().max(TAKEOVER_GRACE);
        let there = store.nodes().filter(|node| !node.status.state.is_away());
        there.for_each(|node| liveness.set_deadline(node.id, until));
        liveness
    }

    /// How long a node may be silent. A tenth of a heartbeat is for what is late on its way.
    fn grace(&self) -> Duration {
        self.heartbeat.saturating_mul(HEARTBEATS).saturating_add(self.heartbeat / 10)
    }

    fn set_deadline(&mut self, node: NodeId, at: Timestamp) {
        if let Some(old) = self.deadlines.insert(node, at) {
            self.by_time.remove(&(old, node));
        }
        self.by_time.insert((at, node));
    }

    /// When the leader's own wake-up comes late by a heartbeat, it was stopped itself and has heard nobody:
    /// that is not the nodes' silence.
    pub(super) fn forgive_stall(&mut self, alarm: Timestamp, now: Timestamp) {
        if now.since(alarm) < self.heartbeat {
            return;
        }
        let until = now + self.grace();
        let late: Vec<_> =
            self.by_time.range(..(until, NodeId::from_bits(0))).map(|(_, node)| *node).collect();
        for node in late {
            self.set_deadline(node, until);
        }
    }

    pub(super) fn has_work(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Opens a session; gives back the one that it replaces.
    pub(super) fn open(
        &mut self,
        node: NodeId,
        id: SessionId,
        told: Told,
        now: Timestamp,
    ) -> Option<SessionId> {
        self.set_deadline(node, now + self.grace());
        self.changed.insert(node);
        let old = self.sessions.insert(node, Session { id, told, restarting: false });
        old.map(|old| old.id).filter(|old| *old != id)
    }

    /// Forgets a session; the node's time runs on.
    pub(super) fn close(&mut self, node: NodeId, id: SessionId) {
        if self.sessions.get(&node).is_some_and(|session| session.id == id) {
            self.sessions.remove(&node);
        }
    }

    /// Hears from a node; false when the session is not its current one.
    pub(super) fn hear(&mut self, store: &Store, node: NodeId, id: SessionId, now: Timestamp) -> bool {
        let Some(session) = self.sessions.get(&node).filter(|session| session.id == id) else { return false };
        let mut until = now + self.grace();
        if session.restarting {
            until = until.max(self.deadlines.get(&node).copied().unwrap_or(until));
        }
        self.set_deadline(node, until);
        if store.node(node).is_some_and(|node| node.status.state != NodeState::Ready) {
            self.changed.insert(node);
        }
        true
    }

    /// Gives a node that restarts its time.
    pub(super) fn announce_restart(&mut self, node: NodeId, id: SessionId, now: Timestamp) {
        if let Some(session) = self.sessions.get_mut(&node).filter(|session| session.id == id) {
            session.restarting = true;
            self.set_deadline(node, now + RESTART_GRACE);
        }
    }

    /// Takes in a committed change; gives back the session of a node that left or was removed.
    pub(super) fn observe(
        &mut self,
        store: &Store,
        change: &Change,
        now: Timestamp,
    ) -> Option<(NodeId, SessionId)> {
        match change {
            Change::Cluster(_) => self.heartbeat = heartbeat(store),
            Change::Node(Delta { old: Some(old), new: None }) => return self.forget(old.id),
            Change::Node(Delta { old: Some(old), new: Some(new) }) if has_left(new) && !has_left(old) => {
                return self.forget(new.id);
            }
            Change::Node(Delta { old: None, new: Some(new) }) if !self.deadlines.contains_key(&new.id) => {
                self.set_deadline(new.id, now + self.grace().max(TAKEOVER_GRACE));
            }
            _ => {}
        }
        None
    }

    /// Forgets a node that is not there; gives back its session.
    fn forget(&mut self, node: NodeId) -> Option<(NodeId, SessionId)> {
        let deadline = self.deadlines.remove(&node);
        deadline.map(|at| self.by_time.remove(&(at, node)));
        self.changed.remove(&node);
        self.sessions.remove(&node).map(|session| (node, session.id))
    }

    /// Notes whose time is over.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while let Some((at, node)) = self.by_time.first().copied().filter(|(at, _)| *at < now) {
            self.by_time.remove(&(at, node));
            self.deadlines.remove(&node);
            self.changed.insert(node);
        }
    }

    /// When the next node's time is over, if nothing is heard of it.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at + Duration::from_nanos(1))
    }

    /// Looks at a node again, because a decision about it was not carried out.
    pub(super) fn look_again(&mut self, node: NodeId) {
        self.changed.insert(node);
    }

    /// Writes the nodes' states.
    pub(super) fn plan(&mut self, draft: &mut Draft<'_>) {
        for id in std::mem::take(&mut self.changed) {
            if draft.is_full() {
                self.changed.insert(id);
            } else if let Some(node) = draft.store().node(id).cloned() {
                draft.put_node(self.seen(Node::clone(&node)));
            }
        }
    }

    /// The node as it is seen now.
    fn seen(&self, mut node: Node) -> Node {
        let here = self.deadlines.contains_key(&node.id);
        match self.sessions.get(&node.id) {
            Some(session) if here => {
                node.description.clone_from(&session.told.description);
                node.status.addr = session.told.addr;
                node.status.data_path_addr = session.told.data_path_addr;
                node.status.state = NodeState::Ready;
                node.status.message.clear();
            }
            _ if !here && !node.status.state.is_away() => {
                node.status.state = NodeState::Down;
                "heartbeat failure".clone_into(&mut node.status.message);
            }
            _ => {}
        }
        node
    }
}

fn has_left(node: &Node) -> bool {
    node.status.state == NodeState::Disconnected
}

fn heartbeat(store: &Store) -> Duration {
    store.cluster().map_or(crate::spec::ClusterSpec::default().heartbeat, |cluster| cluster.spec.heartbeat)
}
