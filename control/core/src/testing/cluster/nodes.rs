//! The nodes: what their agents do in their turn, and what befalls them.

use std::time::Duration;

use super::{BEATS_TO_CHECK, RECONNECT, VirtualCluster};
use crate::id::{NodeId, SessionId, TaskId};
use crate::leader::Event;
use crate::object::{NodeDescription, TaskEndpoint};
use crate::testing::{Behaviour, FakeAgent};

impl VirtualCluster {
    /// A node neither hears nor speaks; its tasks go on.
    pub fn silence(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("a node");
        node.silent = true;
        let session = node.session.take();
        self.note(id);
        if let Some(session) = session {
            self.sessions.remove(&session);
            self.step(Event::SessionClosed { node: id, session });
        }
    }

    /// Whether a node, from now on, brings nothing of what it is told into its network.
    pub fn stick(&mut self, id: NodeId, stuck: bool) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).expect("a node");
        node.stuck = stuck;
        if node.agent.applied() != node.agent.version() {
            node.apply_at = Some(now);
        }
        self.note(id);
    }

    /// A node's daemon says that it restarts and goes.
    pub fn restart(&mut self, id: NodeId) {
        let session = self.nodes.get(&id).and_then(|node| node.session).expect("a session");
        self.step(Event::RestartAnnounced { node: id, session });
        self.silence(id);
    }

    /// A node is heard again.
    pub fn resume(&mut self, id: NodeId) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).expect("a node");
        (node.silent, node.beat_at) = (false, now);
        self.note(id);
    }

    /// A node's agent.
    pub fn agent(&mut self, id: NodeId) -> &mut FakeAgent {
        self.agenda.extend(self.nodes.get(&id).map(|_| (self.now, id)));
        &mut self.nodes.get_mut(&id).expect("a node").agent
    }

    /// How the tasks of every node behave from now on.
    pub fn behave(&mut self, behaviour: Behaviour) {
        self.nodes.values_mut().for_each(|node| node.agent.behaviour = behaviour);
    }

    /// How the tasks of an image behave from now on, on every node that there is.
    pub fn behave_image(&mut self, image: &str, behaviour: Behaviour) {
        for node in self.nodes.values_mut() {
            node.agent.images.insert(image.to_owned(), behaviour);
        }
    }

    /// What a node tells with its next session.
    pub fn describe(&mut self, id: NodeId, change: impl FnOnce(&mut NodeDescription)) {
        change(&mut self.nodes.get_mut(&id).expect("a node").join.description);
        self.disconnect(id);
    }

    pub(super) fn turn_node(&mut self, id: NodeId) {
        let now = self.now;
        let heartbeat = self.store.cluster().map_or(Duration::from_secs(1), |cluster| cluster.spec.heartbeat);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.agenda = None;
        node.agent.advance(now);
        let signalled = node.agent.take_signalled();
        let beats = node.beat_at <= now;
        if beats {
            node.beat_at = now + heartbeat;
            node.beats += 1;
        }
        self.look_for_cuts(id, signalled);
        self.bring_into_network(id);
        let session = self.nodes.get(&id).and_then(|node| node.session);
        match session {
            Some(session) => self.speak(id, session, beats),
            None if beats && !self.nodes[&id].silent => self.connect(id),
            None => {}
        }
        self.note(id);
    }

    /// Notes whom tasks that were just stopped still got flows from.
    fn look_for_cuts(&mut self, id: NodeId, signalled: Vec<TaskId>) {
        for task in signalled {
            let Some(task) = self.nodes[&id].agent.set().tasks.get(&task) else { continue };
            let counts = |node: &&NodeId| {
                let node = &self.nodes[node];
                let sends = |endpoint: &TaskEndpoint| node.agent.sends_to(endpoint.id);
                !node.silent && !node.stuck && task.endpoints.iter().any(sends)
            };
            let cut = self.nodes.keys().filter(|_| task.leaving.is_some()).filter(counts);
            self.cut.extend(cut.map(|node| (task.id, *node)).collect::<Vec<_>>());
        }
    }

    /// Brings into a node's network what it was told, when it is time, and tells so.
    fn bring_into_network(&mut self, id: NodeId) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.stuck || node.apply_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        let version = node.agent.apply();
        if let Some(session) = node.session {
            self.step(Event::Applied { node: id, session, version });
        }
    }

    /// An agent says what there is to say.
    fn speak(&mut self, id: NodeId, session: SessionId, beats: bool) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let says_all = beats && node.beats.is_multiple_of(BEATS_TO_CHECK);
        if let Some((number, statuses)) = node.agent.report() {
            self.sent.reports += 1;
            self.step(Event::Statuses { node: id, session, number, statuses });
        } else if let Some(held) = says_all.then(|| node.agent.held()).flatten() {
            self.step(Event::Held { node: id, session, held });
        } else if beats {
            self.step(Event::Heartbeat { node: id, session });
        }
    }

    fn connect(&mut self, id: NodeId) {
        let session = SessionId::new(&mut self.entropy);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.session = Some(session);
        self.sessions.insert(session, id);
        let (description, addr) = (Box::new(node.join.description.clone()), node.join.addr);
        let data_path_addr = node.join.data_path_addr;
        node.agent.begin_session();
        let held = node.agent.held();
        self.step(Event::SessionOpened { node: id, session, description, addr, data_path_addr, held });
        if self.nodes[&id].session == Some(session) {
            self.speak(id, session, false);
        }
    }

    pub(super) fn disconnect(&mut self, id: NodeId) {
        let again = self.now + RECONNECT;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.beat_at = again;
            if let Some(session) = node.session.take() {
                self.sessions.remove(&session);
            }
            self.note(id);
        }
    }

    /// Puts a node's next deed on the agenda.
    pub(super) fn note(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let beat = Some(node.beat_at).filter(|_| !node.silent);
        let apply = node.apply_at.filter(|_| !node.stuck);
        let next = [beat, node.agent.wake_at(), apply].into_iter().flatten().min();
        if let Some(old) = std::mem::replace(&mut node.agenda, next) {
            self.agenda.remove(&(old, id));
        }
        self.agenda.extend(next.map(|at| (at, id)));
    }
}
