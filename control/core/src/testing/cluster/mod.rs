//! The whole cluster but Raft: what the leader proposes is applied a moment later, in order.

mod nodes;
mod users;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::{FakeAgent, Seeded, init_request, join_request};
use crate::assignment::AssignmentUpdate;
use crate::command::{self, InitCluster, JoinNode, Refusal};
use crate::id::{Entropy, NodeId, ServiceId, SessionId, TaskId};
use crate::leader::{Actions, Event, History, Leader};
use crate::object::{Node, Task, TaskState};
use crate::store::{Change, Conflict, Store, Transaction};
use crate::time::Timestamp;

/// Time from when an agent is told something until its network is so.
const APPLY: Duration = Duration::from_millis(2);
/// Time that an entry takes through the log.
const COMMIT: Duration = Duration::from_millis(1);
/// Heartbeats after which an agent says what it has.
const BEATS_TO_CHECK: u64 = 8;
/// Time between an agent's losing its session and its opening a new one.
const RECONNECT: Duration = Duration::from_millis(200);

/// A cluster of one leader and many agents, on virtual time.
#[derive(Debug)]
pub struct VirtualCluster {
    /// The committed state.
    pub store: Store,
    /// The time.
    pub now: Timestamp,
    /// Where identifiers come from.
    pub entropy: Seeded,
    /// Transactions applied, conflicts among them.
    pub applied: u64,
    /// Leader's transactions that conflicted.
    pub conflicts: u64,
    /// In how many of 100 cases the leader is told that a transaction was lost. Half of these are applied all
    /// the same, as when a proposal outlives the patience of its proposer.
    pub loss: u64,
    /// Tasks that got their signal to stop while the network of some node still gave them new flows. Nodes that
    /// are silent or stuck do not count, nor do tasks that need not leave in order.
    pub cut: Vec<(TaskId, NodeId)>,
    /// Nodes that tasks left without waiting for.
    pub overdue: Vec<NodeId>,
    /// Full sets and increments that agents were sent.
    pub sent: Sent,
    /// What a manager that does not lead keeps of the past.
    history: History,
    leader: Leader,
    wake_at: Option<Timestamp>,
    log: VecDeque<(Timestamp, Transaction)>,
    nodes: BTreeMap<NodeId, VirtualNode>,
    sessions: BTreeMap<SessionId, NodeId>,
    /// When each node does something next; one entry a node.
    agenda: BTreeSet<(Timestamp, NodeId)>,
}

/// How often agents were sent what, and said something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Everything.
    pub full: u64,
    /// What changed.
    pub increments: u64,
    /// What they reported of their tasks, the other way.
    pub reports: u64,
}

#[derive(Debug)]
struct VirtualNode {
    join: JoinNode,
    agent: FakeAgent,
    session: Option<SessionId>,
    /// Neither hears nor speaks.
    silent: bool,
    /// Does not bring into its network what it is told.
    stuck: bool,
    /// When its network will be as it was told.
    apply_at: Option<Timestamp>,
    beat_at: Timestamp,
    beats: u64,
    agenda: Option<Timestamp>,
}

impl VirtualCluster {
    /// `nodes` nodes, the first of them the manager, every one Ready.
    pub fn new(nodes: u32, seed: u64) -> Self {
        Self::with(init_request(), nodes, seed)
    }

    /// The same with a cluster of one's own making.
    pub fn with(init: InitCluster, nodes: u32, seed: u64) -> Self {
        let (now, mut entropy, mut store) = (Timestamp(1_000_000_000), Seeded(seed), Store::default());
        let first = init.node.clone();
        let begin = command::init_cluster(&store, init, now, &mut entropy).expect("init");
        store.apply(1, &begin).expect("an empty store");
        let history = History::new(&store);
        let leader = Leader::new(&store, history.clone(), now);
        let (log, agenda) = (VecDeque::new(), BTreeSet::new());
        let mut cluster = Self {
            store,
            now,
            entropy,
            leader,
            log,
            agenda,
            applied: 1,
            conflicts: 0,
            loss: 0,
            cut: Vec::new(),
            overdue: Vec::new(),
            sent: Sent::default(),
            history,
            wake_at: Some(now),
            nodes: BTreeMap::new(),
            sessions: BTreeMap::new(),
        };
        cluster.add_agent(first);
        (2..=nodes).for_each(|number| drop(cluster.join(join_request(number))));
        cluster.run_for(Duration::from_millis(50));
        cluster
    }

    /// Adds a node, whose agent connects at once.
    pub fn join(&mut self, join: JoinNode) -> Result<NodeId, Refusal> {
        let id = join.id;
        let transaction = command::join_node(&self.store, join.clone(), self.now)?;
        self.commit(&transaction).expect("joined");
        self.add_agent(join);
        Ok(id)
    }

    fn add_agent(&mut self, join: JoinNode) {
        let id = join.id;
        let (agent, beat_at) = (FakeAgent::default(), self.now);
        let node = VirtualNode {
            join,
            agent,
            session: None,
            silent: false,
            stuck: false,
            apply_at: None,
            beat_at,
            beats: 0,
            agenda: None,
        };
        self.nodes.insert(id, node);
        self.note(id);
    }

    /// Applies a user's transaction.
    pub fn commit(&mut self, transaction: &Transaction) -> Result<(), Conflict> {
        let (index, changes) = self.apply(transaction)?;
        self.step(Event::Committed { index, changes });
        Ok(())
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<(u64, Vec<Change>), Conflict> {
        let index = self.applied + 1;
        self.applied = index;
        let changes = self.store.apply(index, transaction)?;
        self.history.replay(index, &changes);
        Ok((index, changes))
    }

    /// Another leader takes over from the committed state; sessions and what was on its way are lost.
    pub fn new_leader(&mut self) {
        self.new_leader_with(self.history.clone());
    }

    /// The same with a leader that knows this of the past.
    pub fn new_leader_with(&mut self, history: History) {
        self.log.clear();
        self.leader = Leader::new(&self.store, history, self.now);
        self.wake_at = Some(self.now);
        let nodes: Vec<_> = self.nodes.keys().copied().collect();
        for node in nodes {
            self.disconnect(node);
        }
    }

    /// The tasks of a service that should run, by slot.
    pub fn live(&self, service: ServiceId) -> Vec<Task> {
        let live = |task: &&std::sync::Arc<Task>| task.desired_state <= TaskState::Running;
        self.store.service_tasks(service).filter(live).map(|task| Task::clone(task)).collect()
    }

    /// How many tasks of a service run and should.
    pub fn running(&self, service: ServiceId) -> usize {
        self.live(service).iter().filter(|task| task.status.state == TaskState::Running).count()
    }

    /// A node as the store has it.
    pub fn node(&self, id: NodeId) -> &Node {
        self.store.node(id).expect("a node")
    }

    /// What a manager that does not lead keeps of the past.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// How many agents saw something that the managers may not know.
    pub fn unsaid(&self) -> usize {
        self.nodes.values().filter(|node| node.agent.has_unsaid()).count()
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.next_at().filter(|at| *at <= end) {
            self.turn(at);
        }
        self.now = end;
    }

    /// Lets time pass until `done`, for `limit` at most; says how long it took.
    pub fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Option<Duration> {
        let start = self.now;
        while !done(self) {
            let at = self.next_at().filter(|at| *at <= start + limit)?;
            self.turn(at);
        }
        Some(self.now.since(start))
    }

    /// Panics where an agent that is connected has not exactly what the leader would send it now.
    pub fn check_assignments(&self) {
        for (id, node) in self.nodes.iter().filter(|(_, node)| node.session.is_some()) {
            let meant = self.leader.assignments(*id);
            assert_eq!(node.agent.set().networks, meant.networks, "networks of node {id}");
            assert_eq!(node.agent.set().endpoints, meant.endpoints, "endpoints of node {id}");
            assert_eq!(node.agent.set().services, meant.services, "services of node {id}");
            assert_eq!(node.agent.set().peers, meant.peers, "peers of node {id}");
            assert_eq!(node.agent.set().managers, meant.managers, "managers as node {id} has them");
            assert_eq!(node.agent.set().standing, meant.standing, "standing of node {id}");
            assert_eq!(node.agent.set().digest(), meant.digest(), "tasks of node {id}");
        }
    }

    fn next_at(&self) -> Option<Timestamp> {
        let log = self.log.front().map(|(at, _)| *at);
        let agents = self.agenda.first().map(|(at, _)| *at);
        [self.wake_at, log, agents].into_iter().flatten().min().map(|at| at.max(self.now))
    }

    fn turn(&mut self, at: Timestamp) {
        self.now = at;
        if self.log.front().is_some_and(|(due, _)| *due <= at) {
            self.apply_next();
        } else if self.wake_at.is_some_and(|due| due <= at) {
            self.step(Event::Wake);
        } else if let Some((_, node)) = self.agenda.pop_first() {
            self.turn_node(node);
        }
    }

    fn apply_next(&mut self) {
        let Some((_, transaction)) = self.log.pop_front() else { return };
        let fate = if self.loss == 0 { 100 } else { self.below(100) };
        let mut settled = None;
        if fate >= self.loss / 2 {
            match self.apply(&transaction) {
                Ok((index, changes)) => {
                    settled = Some(index).filter(|_| fate >= self.loss);
                    self.step(Event::Committed { index, changes });
                }
                Err(_) => self.conflicts += 1,
            }
        }
        self.step(Event::Settled { index: settled });
    }

    fn step(&mut self, event: Event) {
        let actions = self.leader.step(event, self.now, &mut self.entropy);
        let Actions { propose, send, taken, close, overdue, wake_at } = actions;
        self.wake_at = wake_at;
        self.overdue.extend(overdue);
        self.log.extend(propose.into_iter().map(|transaction| (self.now + COMMIT, transaction)));
        for (session, _) in close {
            self.end_session(session);
        }
        for (session, update) in send {
            self.deliver(session, update);
        }
        for (session, number) in taken {
            if let Some(id) = self.node_of(session) {
                self.take(id, number);
            }
        }
    }

    /// An agent hears that its reports are durable, which they have to be.
    fn take(&mut self, id: NodeId, number: u64) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        for (task, state) in node.agent.taken(number) {
            let known =
                self.store.task(task).filter(|task| task.node == Some(id)).map(|task| task.status.state);
            assert!(
                known.is_none_or(|known| known >= state),
                "task {task} is {known:?}, and {state} was taken"
            );
        }
    }

    fn deliver(&mut self, session: SessionId, update: AssignmentUpdate) {
        let (now, Some(id)) = (self.now, self.node_of(session)) else { return };
        let full = matches!(update, AssignmentUpdate::Full { .. });
        self.sent.full += u64::from(full);
        self.sent.increments += u64::from(!full);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.agent.receive(update, now).expect("increments follow on one another");
            node.apply_at.get_or_insert(now + APPLY);
            self.note(id);
        }
    }

    fn end_session(&mut self, session: SessionId) {
        if let Some(id) = self.node_of(session) {
            self.disconnect(id);
        }
    }

    /// The node whose session this is and still holds.
    fn node_of(&self, session: SessionId) -> Option<NodeId> {
        let id = self.sessions.get(&session).copied();
        id.filter(|id| self.nodes.get(id).is_some_and(|node| node.session == Some(session)))
    }

    /// Draws a number below `bound`, for tests that choose at random.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.entropy.below(bound)
    }
}
