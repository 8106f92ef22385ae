//! The world: virtual time, the queue of what happens, and the machines it happens to.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use mesh_core::command::{InitCluster, JoinNode, init_cluster};
use mesh_core::id::{ClusterId, NodeId, SessionId};
use mesh_core::object::{NodeDescription, TaskState};
use mesh_core::secret::Secret;
use mesh_core::spec::{ClusterSpec, NodeSpec, Role};
use mesh_core::store::Store;
use mesh_core::time::Timestamp;
use mesh_raft::node::Input;
use mesh_raft::replica::genesis;
use raft::eraftpb::Message;

use crate::agent::{self, AGENT_STEP, Agent, News};
use crate::fault::{FAULTS, Fault};
use crate::ledger::{Expected, Ledger, Violation};
use crate::manager::Manager;
use crate::network::{MS, Network};
use crate::rng::Rng;
use crate::walk::Watch;

const SECOND: u64 = 1_000 * MS;

/// How one seed runs.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub managers: u64,
    pub agents: usize,
    /// Virtual time with faults, and then at most without.
    pub storm: u64,
    pub calm: u64,
    /// A mistake, to see that it is found.
    pub planted: Option<Planted>,
}

/// Mistakes that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// Disks say that they have synced and have not.
    LyingDisks,
    /// Agents do not tell a new session what they told the one before.
    ForgetfulAgents,
    /// Managers answer reads from what they have.
    StaleReads,
    /// The leader makes voters of managers that never answered.
    UncheckedVoters,
}

impl Plan {
    /// Even seeds have one manager, odd ones three or five, which others join and leave.
    pub fn from_seed(seed: u64) -> Self {
        let managers = match seed % 4 {
            1 => 3,
            3 => 5,
            _ => 1,
        };
        let agents = 3 + usize::try_from(seed % 3).expect("small");
        Self { seed, managers, agents, storm: 25 * SECOND, calm: 60 * SECOND, planted: None }
    }
}

/// What happens at a time.
#[derive(Debug, Clone)]
pub enum Event {
    Tick { manager: u64, life: u64 },
    Deliver { to: u64, message: Box<Message> },
    SnapshotFate { manager: u64, life: u64, to: u64, arrived: bool },
    Flush { manager: u64, life: u64 },
    LeaderWake { manager: u64, life: u64, term: u64 },
    AgentReport { manager: u64, life: u64, agent: usize, session: SessionId, report: agent::Report },
    SessionLost { manager: u64, session: SessionId },
    AgentStep { agent: usize, life: u64 },
    AgentNews { agent: usize, life: u64, session: SessionId, news: News },
    AgentBoot(usize),
    ManagerBoot(u64),
    FreeDisk(u64),
    Heal,
    Client,
    Fault,
    Walk,
    EndFaults,
    LookForRest,
    WatchGroup,
}

struct Scheduled {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// What a run saw.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub trace: u64,
    pub events: u64,
    pub terms: u64,
    pub committed: u64,
    pub conflicts: u64,
    pub lost: u64,
    pub changes: u64,
    pub reads: u64,
    pub snapshots: u64,
    pub crashes: u64,
    pub running: u64,
    pub faults: BTreeMap<Fault, u64>,
}

impl Report {
    pub fn add(&mut self, other: &Self) {
        self.trace ^= other.trace;
        self.events += other.events;
        self.terms += other.terms;
        self.committed += other.committed;
        self.conflicts += other.conflicts;
        self.lost += other.lost;
        self.changes += other.changes;
        self.reads += other.reads;
        self.snapshots += other.snapshots;
        self.crashes += other.crashes;
        self.running += other.running;
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
    }

    /// A simulation in which nothing happens finds nothing.
    pub fn assert_that_it_was_not_quiet(&self, seeds: u64) {
        if seeds < 20 {
            return;
        }
        for fault in FAULTS {
            assert!(self.faults.contains_key(&fault), "{fault:?} never struck");
        }
        for (what, count, floor) in [
            ("commits", self.committed, 50),
            ("reads", self.reads, 5),
            ("elections", self.terms, 3),
            ("changes of members", self.changes, 1),
            ("crashes", self.crashes, 2),
            ("running tasks", self.running, 3),
        ] {
            assert!(count >= floor * seeds, "only {count} {what} in {seeds} seeds");
        }
        assert!(self.lost > 0 && self.snapshots > 0 && self.conflicts > 0, "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} events, {} terms, {} commits, {} conflicts, {} lost proposals, {} changes of members, {} reads, {} snapshots \
             installed, {} crashes, {} tasks running at the end, faults {:?}, trace {:016x}",
            self.events,
            self.terms,
            self.committed,
            self.conflicts,
            self.lost,
            self.changes,
            self.reads,
            self.snapshots,
            self.crashes,
            self.running,
            self.faults,
            self.trace
        )
    }
}

/// Everything.
pub struct World {
    pub now: u64,
    pub rng: Rng,
    pub network: Network,
    pub managers: BTreeMap<u64, Manager>,
    pub agents: Vec<Agent>,
    pub report: Report,
    /// Faults have ended.
    pub calm: bool,
    pub plan: Plan,
    queue: BinaryHeap<Reverse<Scheduled>>,
    numbers: u64,
    pub proposals: u128,
    pub wishes: u64,
    pub ledger: Ledger,
    pub expected: Expected,
    pub watch: Watch,
    pub last_manager: u64,
    hasher: DefaultHasher,
    pub rested: bool,
}

impl World {
    pub fn new(plan: Plan) -> Self {
        let mut rng = Rng::new(plan.seed);
        let store = first_store(&mut rng);
        let voters: Vec<u64> = (1..=plan.managers).collect();
        let forgetful = plan.planted == Some(Planted::ForgetfulAgents);
        let agents =
            (0..plan.agents).map(|place| Agent::new(place, NodeId::new(&mut rng), forgetful)).collect();
        let mut world = Self {
            now: 0,
            rng,
            network: Network::calm(),
            managers: BTreeMap::new(),
            agents,
            report: Report::default(),
            calm: false,
            queue: BinaryHeap::new(),
            numbers: 0,
            proposals: 0,
            wishes: 0,
            ledger: Ledger::default(),
            expected: Expected::default(),
            watch: Watch::default(),
            last_manager: plan.managers,
            plan,
            hasher: DefaultHasher::new(),
            rested: false,
        };
        for id in &voters {
            world.new_manager(*id, genesis(*id, &voters, &store).expect("a store that encodes"));
        }
        world
    }

    /// Runs the storm, then until everything is at rest.
    pub fn run(mut self) -> Result<Report, Violation> {
        for id in self.managers.keys().copied().collect::<Vec<_>>() {
            self.boot_manager(id)?;
        }
        for agent in 0..self.agents.len() {
            self.schedule(AGENT_STEP, Event::AgentStep { agent, life: 0 });
        }
        self.schedule(SECOND, Event::Client);
        self.schedule(SECOND, Event::WatchGroup);
        self.schedule(2 * SECOND, Event::Fault);
        self.schedule(2 * SECOND, Event::Walk);
        self.schedule(self.plan.storm, Event::EndFaults);
        let end = self.plan.storm + self.plan.calm;
        while let Some(Reverse(next)) = self.queue.pop() {
            if next.at > end || self.rested {
                break;
            }
            self.now = next.at;
            self.report.events += 1;
            if let Some(thaw) = self.frozen_until(&next.event) {
                self.schedule(thaw - self.now, next.event);
                continue;
            }
            self.happen(next.event)?;
        }
        self.finish()
    }

    pub fn schedule(&mut self, after: u64, event: Event) {
        self.numbers += 1;
        self.queue.push(Reverse(Scheduled { at: self.now + after, number: self.numbers, event }));
    }

    pub fn trace(&mut self, what: &impl fmt::Debug) {
        format!("{what:?}").hash(&mut self.hasher);
    }

    pub fn manager(&mut self, id: u64) -> &mut Manager {
        self.managers.get_mut(&id).expect("a manager")
    }

    /// When the machine that this happens to goes on, if it stands still.
    fn frozen_until(&self, event: &Event) -> Option<u64> {
        let until = match event {
            Event::Tick { manager, .. }
            | Event::Deliver { to: manager, .. }
            | Event::SnapshotFate { manager, .. }
            | Event::Flush { manager, .. }
            | Event::LeaderWake { manager, .. }
            | Event::SessionLost { manager, .. }
            | Event::AgentReport { manager, .. } => self.managers.get(manager)?.frozen_until,
            Event::AgentStep { agent, .. } | Event::AgentNews { agent, .. } => {
                self.agents[*agent].frozen_until
            }
            _ => return None,
        };
        (until > self.now).then_some(until)
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Tick { manager, life } => self.tick(manager, life),
            Event::Deliver { to, message } => self.deliver(to, message),
            Event::SnapshotFate { manager, life, to, arrived } if self.lives(manager, life) => {
                self.input(manager, Input::SnapshotSent { to, arrived });
            }
            Event::Flush { manager, life } if self.lives(manager, life) => return self.flush(manager),
            Event::LeaderWake { manager, life, term } if self.lives(manager, life) => {
                self.wake_leader(manager, term);
            }
            Event::AgentReport { manager, life, agent, session, report } => {
                self.hear_agent(manager, life, agent, session, report);
            }
            Event::SessionLost { manager, session } => self.end_session(manager, session),
            Event::AgentStep { agent, life } if self.agents[agent].life == life => self.step_agent(agent),
            Event::AgentNews { agent, life, session, news } if self.agents[agent].life == life => {
                self.tell_agent(agent, session, news);
            }
            Event::AgentBoot(agent) => self.boot_agent(agent),
            Event::ManagerBoot(id) => return self.boot_manager(id),
            Event::FreeDisk(id) => self.manager(id).disk.limit(None),
            Event::Heal => self.network.heal(),
            Event::Client => return self.act_as_client(),
            Event::Fault if !self.calm => self.inject(),
            Event::Walk if !self.calm => self.walk(),
            Event::EndFaults => {
                self.end_faults();
                self.schedule(SECOND, Event::LookForRest);
            }
            Event::LookForRest => self.look_for_rest(),
            Event::WatchGroup => return self.watch_group(),
            // What was meant for an earlier life of a machine.
            _ => {}
        }
        Ok(())
    }

    pub fn lives(&self, manager: u64, life: u64) -> bool {
        let manager = &self.managers[&manager];
        manager.life == life && manager.process.is_some()
    }

    fn finish(mut self) -> Result<Report, Violation> {
        let leader = self.leader().and_then(|id| self.managers[&id].replica());
        let store = leader.map(|replica| replica.store().clone());
        let Some(store) = store else {
            return Err(Violation::NoRest { what: "nobody leads".to_owned() });
        };
        self.expected.check(&store)?;
        if let Some(what) = self.unrest() {
            return Err(Violation::NoRest { what });
        }
        self.report.running =
            store.tasks().filter(|task| task.status.state == TaskState::Running).count() as u64;
        self.trace(&(self.now, store.digest()));
        self.report.trace = self.hasher.finish();
        Ok(self.report)
    }
}

/// The cluster that every manager begins with.
pub fn first_store(rng: &mut Rng) -> Store {
    let mut store = Store::default();
    let addr = std::net::Ipv4Addr::new(192, 0, 2, 1).into();
    let node = JoinNode {
        id: NodeId::new(rng),
        spec: NodeSpec { role: Role::Manager, ..NodeSpec::default() },
        description: NodeDescription { hostname: "m1".to_owned(), ..NodeDescription::default() },
        addr,
        data_path_addr: addr,
        manager: None,
        issuer: [1; 32],
    };
    let request = InitCluster {
        id: ClusterId::new(rng),
        spec: ClusterSpec::default(),
        trust: String::new(),
        signer: [1; 32],
        signing_key: Secret::default(),
        worker_token: Secret::default(),
        manager_token: Secret::default(),
        unlock_key: Secret::default(),
        node,
    };
    let first = init_cluster(&store, request, Timestamp(1), rng).expect("a cluster");
    store.apply(1, &first).expect("it fits an empty store");
    store
}
