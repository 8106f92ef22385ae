//! Telling each node's agent what concerns it: when its session opens everything, or what changed since its
//! last one; afterwards what each log entry changes for it. Nothing is kept for a node but the networks it is
//! in; what a full set holds, or held, is read from the store, or from one of the stores before it.

mod digests;
mod members;
mod settled;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use crate::assignment::{AssignmentChanges, AssignmentUpdate, Held, same_work};
use crate::id::{NetworkId, NodeId, ServiceId, SessionId};
use crate::leader::History;
use crate::object::{Cluster, Network, Node, Service, Task};
use crate::store::{Change, Delta, Store};
use digests::Digests;
use members::{Members, Turn};

pub use settled::Settled;
pub(crate) use view::{Others, full};

/// The open sessions and what their nodes see.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    members: Members,
    digests: Digests,
    /// What all nodes are told of one another, as of the last log entry; `None` when that changed it.
    others: Option<Others>,
    sessions: BTreeMap<NodeId, Session>,
}

#[derive(Debug)]
struct Session {
    id: SessionId,
    /// Log index that the agent's set stands for.
    version: u64,
}

/// One log entry: the stores that it led from and to, and which nodes came into networks or left them.
#[derive(Clone, Copy)]
struct Entry<'a> {
    before: &'a Store,
    after: &'a Store,
    turns: &'a BTreeMap<NodeId, Turn>,
}

/// What it changes for each node.
type News = BTreeMap<NodeId, AssignmentChanges>;

impl Dispatcher {
    pub(crate) fn new(store: &Store) -> Self {
        let (digests, sessions) = (Digests::default(), BTreeMap::new());
        Self { members: Members::new(store), digests, others: None, sessions }
    }

    /// Opens a node's session: the agent gets what changed since what it has, where that is known to the byte,
    /// else everything.
    pub(crate) fn open(
        &mut self,
        store: &Store,
        history: &History,
        node: NodeId,
        id: SessionId,
        held: Option<Held>,
    ) -> AssignmentUpdate {
        let version = store.index();
        self.sessions.insert(node, Session { id, version });
        let others = self.others.get_or_insert_with(|| Others::of(store));
        let Some(held) = held.filter(|held| held.version <= version) else {
            return AssignmentUpdate::Full { version, set: Box::new(full(store, node, others)) };
        };
        let increment = |changes| AssignmentUpdate::Increment {
            from: held.version,
            to: version,
            changes: Box::new(changes),
        };
        // Most often nothing has changed for the node, however long it was away.
        if self.digests.of(store, node, others) == held.digest {
            return increment(AssignmentChanges::default());
        }
        let then = history.at(held.version).map(|then| full(&then, node, &Others::of(&then)));
        let set = full(store, node, others);
        match then.filter(|then| then.digest() == held.digest) {
            Some(then) => increment(then.difference(&set)),
            None => AssignmentUpdate::Full { version, set: Box::new(set) },
        }
    }

    /// Whether this is the node's session.
    pub(crate) fn is_open(&self, node: NodeId, id: SessionId) -> bool {
        self.sessions.get(&node).is_some_and(|session| session.id == id)
    }

    /// The version that the agent of a node was sent last in its session; `None` without a session.
    pub(crate) fn sent(&self, node: NodeId) -> Option<u64> {
        self.sessions.get(&node).map(|session| session.version)
    }

    /// An agent says what it has. Where that is the version that it was sent last, and not what this version
    /// holds, it gets everything anew.
    pub(crate) fn check(
        &mut self,
        store: &Store,
        node: NodeId,
        id: SessionId,
        held: Held,
    ) -> Option<AssignmentUpdate> {
        let session = self.sessions.get_mut(&node).filter(|session| session.id == id)?;
        // Behind the version sent last, it has not come as far yet and says so again.
        if held.version < session.version {
            return None;
        }
        let others = self.others.get_or_insert_with(|| Others::of(store));
        if held.version == session.version && held.digest == self.digests.of(store, node, others) {
            return None;
        }
        session.version = store.index();
        Some(AssignmentUpdate::Full { version: session.version, set: Box::new(full(store, node, others)) })
    }

    /// Forgets a node's session, if it is this one.
    pub(crate) fn close(&mut self, node: NodeId, id: SessionId) {
        if self.sessions.get(&node).is_some_and(|session| session.id == id) {
            self.sessions.remove(&node);
        }
    }

    /// What a log entry, which led from `before` to `after`, means for each session.
    pub(crate) fn observe(
        &mut self,
        before: &Store,
        after: &Store,
        changes: &[Change],
    ) -> Vec<(SessionId, AssignmentUpdate)> {
        let turns = self.members.observe(changes);
        if before.ingress_network().map(|it| it.id) != after.ingress_network().map(|it| it.id) {
            self.members = Members::new(after);
            self.others = None;
            return self.resend(after);
        }
        let entry = Entry { before, after, turns: &turns };
        let mut news = News::new();
        for change in changes {
            match change {
                Change::Cluster(delta) => self.cluster(entry, &mut news, delta),
                Change::Node(delta) => self.node(entry, &mut news, delta),
                Change::Network(delta) => self.network(entry, &mut news, delta),
                Change::Service(delta) => self.service(entry, &mut news, delta),
                Change::Task(delta) => self.task(entry, &mut news, delta),
                // Tasks get them with their runtime.
                Change::Secret(_) | Change::Config(_) => {}
            }
        }
        self.turned(entry, &mut news);
        news.into_iter().filter_map(|(node, changes)| self.increment(after, node, changes)).collect()
    }

    fn increment(
        &mut self,
        store: &Store,
        node: NodeId,
        changes: AssignmentChanges,
    ) -> Option<(SessionId, AssignmentUpdate)> {
        let session = self.sessions.get_mut(&node).filter(|_| !changes.is_empty())?;
        let from = std::mem::replace(&mut session.version, store.index());
        let update = AssignmentUpdate::Increment { from, to: session.version, changes: Box::new(changes) };
        Some((session.id, update))
    }

    fn resend(&mut self, store: &Store) -> Vec<(SessionId, AssignmentUpdate)> {
        let sessions: Vec<_> = self.sessions.iter().map(|(node, session)| (*node, session.id)).collect();
        let history = History::default();
        sessions.into_iter().map(|(node, id)| (id, self.open(store, &history, node, id, None))).collect()
    }

    fn cluster(&self, entry: Entry<'_>, news: &mut News, delta: &Delta<Cluster>) {
        let [old, new] = [&delta.old, &delta.new].map(|side| side.as_deref().map(view::settings));
        if old != new {
            self.to_all(news, |changes| changes.settings = new);
        }
        let [old, new] = [&delta.old, &delta.new].map(|side| side.as_deref().map(view::roots));
        for node in self.sessions.keys().filter(|_| old != new) {
            news.entry(*node).or_default().standing = Some(view::standing(entry.after, *node));
        }
    }

    fn node(&mut self, entry: Entry<'_>, news: &mut News, delta: &Delta<Node>) {
        let Some(id) = delta.new.as_ref().or(delta.old.as_ref()).map(|node| node.id) else { return };
        let [old, new] = [&delta.old, &delta.new].map(|side| side.as_deref().and_then(view::peer));
        if old != new {
            self.others = None;
            self.to_all(news, |changes| {
                changes.peers.insert(id, new);
            });
        }
        let [old, new] = [&delta.old, &delta.new].map(|side| side.as_deref().and_then(view::manager));
        if old != new {
            self.others = None;
            self.to_all(news, |changes| {
                changes.managers.insert(id, new);
            });
        }
        let [old, new] = [&delta.old, &delta.new].map(|side| side.as_deref().map(|node| node.spec.role));
        if old != new && self.sessions.contains_key(&id) {
            news.entry(id).or_default().standing = Some(view::standing(entry.after, id));
        }
    }

    fn to_all(&self, news: &mut News, tell: impl Fn(&mut AssignmentChanges)) {
        self.sessions.keys().for_each(|node| tell(news.entry(*node).or_default()));
    }

    fn network(&self, entry: Entry<'_>, news: &mut News, delta: &Delta<Network>) {
        let (Some(old), Some(new)) = (&delta.old, &delta.new) else { return };
        let view = view::network(new);
        if view != view::network(old) {
            self.to_network(entry, news, new.id, |changes| {
                changes.networks.insert(new.id, Some(view.clone()));
            });
        }
    }

    fn service(&self, entry: Entry<'_>, news: &mut News, delta: &Delta<Service>) {
        let Some(id) = delta.new.as_ref().or(delta.old.as_ref()).map(|service| service.id) else { return };
        let sides = [&delta.old, &delta.new].into_iter().flatten();
        if sides.clone().any(|service| service.publishes_ingress()) {
            self.sessions.keys().for_each(|node| self.look_at_service(entry, news, *node, id));
            return;
        }
        // A node that came into one of its networks in this entry, or left it, is told of it for that.
        let networks = sides.flat_map(|service| &service.spec.task.networks);
        let nodes: BTreeSet<_> = networks.flat_map(|joined| self.members.nodes(joined.network)).collect();
        for node in nodes.into_iter().filter(|node| self.sessions.contains_key(node)) {
            self.look_at_service(entry, news, node, id);
        }
    }

    fn task(&self, entry: Entry<'_>, news: &mut News, delta: &Delta<Task>) {
        let [old, new] =
            [&delta.old, &delta.new].map(|side| side.as_ref().filter(|task| view::is_told(task)));
        let same = old.zip(new).is_some_and(|(old, new)| same_work(old, new));
        let place = new.or(old).and_then(|task| Some((task.node?, task.id)));
        if let Some((node, id)) = place.filter(|(node, _)| !same && self.sessions.contains_key(node)) {
            news.entry(node).or_default().tasks.insert(id, new.map(|task| Task::clone(task)));
        }
        let (mut old, new) = (view::task_endpoints(old), view::task_endpoints(new));
        for (id, new) in new {
            if old.remove(&id).as_ref() != Some(&new) {
                self.to_network(entry, news, new.network, |changes| {
                    changes.endpoints.insert(id, Some(new.clone()));
                });
            }
        }
        for (id, old) in old {
            self.to_network(entry, news, old.network, |changes| {
                changes.endpoints.insert(id, None);
            });
        }
    }

    /// Tells the nodes that are in the network. Those that have just come are told of it whole afterwards.
    fn to_network(
        &self,
        entry: Entry<'_>,
        news: &mut News,
        network: NetworkId,
        tell: impl Fn(&mut AssignmentChanges),
    ) {
        if entry.after.ingress_network().is_some_and(|ingress| ingress.id == network) {
            return self.to_all(news, tell);
        }
        for node in self.members.nodes(network).filter(|node| self.sessions.contains_key(node)) {
            tell(news.entry(node).or_default());
        }
    }

    /// Tells the nodes that came into a network, or left it, of everything in it.
    fn turned(&self, entry: Entry<'_>, news: &mut News) {
        for (node, turn) in entry.turns.iter().filter(|(node, _)| self.sessions.contains_key(node)) {
            let mut services: BTreeSet<ServiceId> = BTreeSet::new();
            let changes = news.entry(*node).or_default();
            for network in &turn.lost {
                services.extend(entry.before.network_services(*network).map(|service| service.id));
                changes.networks.insert(*network, None);
                let endpoints = view::endpoints(entry.before, *network);
                changes.endpoints.extend(endpoints.into_keys().map(|id| (id, None)));
            }
            for network in &turn.gained {
                services.extend(entry.after.network_services(*network).map(|service| service.id));
                changes.networks.insert(*network, entry.after.network(*network).map(|it| view::network(it)));
                let endpoints = view::endpoints(entry.after, *network);
                changes.endpoints.extend(endpoints.into_iter().map(|(id, view)| (id, Some(view))));
            }
            for service in services {
                self.look_at_service(entry, news, *node, service);
            }
        }
    }

    /// Tells a node of a service if what it sees of it has changed.
    fn look_at_service(&self, entry: Entry<'_>, news: &mut News, node: NodeId, id: ServiceId) {
        let old = entry.before.service(id).and_then(|service| {
            view::service(entry.before, service, |network| self.saw(entry, node, network))
        });
        let new = entry.after.service(id).and_then(|service| {
            view::service(entry.after, service, |network| self.sees(entry.after, node, network))
        });
        if old != new {
            news.entry(node).or_default().services.insert(id, new);
        }
    }

    /// Whether a node forwards for a network.
    pub(crate) fn sees(&self, store: &Store, node: NodeId, network: NetworkId) -> bool {
        store.ingress_network().is_some_and(|it| it.id == network) || self.members.has(node, network)
    }

    /// Whether it did so before this log entry.
    fn saw(&self, entry: Entry<'_>, node: NodeId, network: NetworkId) -> bool {
        match entry.turns.get(&node) {
            Some(turn) if turn.gained.contains(&network) => false,
            Some(turn) if turn.lost.contains(&network) => true,
            _ => self.sees(entry.before, node, network),
        }
    }
}
