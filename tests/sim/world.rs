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
use crate::fault::Fault;
use crate::ledger::{Expected, Ledger, Violation};
use crate::manager::Manager;
use crate::network::Network;
use crate::plan::{Plan, Planted, SECOND};
use crate::report::{Failure, Report};
use crate::rng::Rng;
use crate::walk::Watch;

/// What happens at a time.
#[derive(Debug, Clone)]
pub enum Event {
    Tick {
        manager: u64,
        life: u64,
    },
    Deliver {
        to: u64,
        message: Box<Message>,
    },
    SnapshotFate {
        manager: u64,
        life: u64,
        to: u64,
        arrived: bool,
    },
    Flush {
        manager: u64,
        life: u64,
    },
    LeaderWake {
        manager: u64,
        life: u64,
        term: u64,
    },
    AgentReport {
        manager: u64,
        life: u64,
        agent: usize,
        session: SessionId,
        report: agent::Report,
    },
    SessionLost {
        manager: u64,
        session: SessionId,
    },
    AgentStep {
        agent: usize,
        life: u64,
    },
    AgentNews {
        agent: usize,
        life: u64,
        session: SessionId,
        news: News,
    },
    AgentBoot(usize),
    ManagerBoot(u64),
    FreeDisk(u64),
    Heal,
    Client,
    /// A read that began when `acked` was.
    Read {
        manager: u64,
        life: u64,
        acked: u64,
    },
    Fault,
    /// Something goes wrong right now, because of what happens.
    Strike(Fault),
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
        let forgetful = plan.planted == Some(Planted::LostStatus);
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
    pub fn run(mut self) -> Result<Report, Failure> {
        match self.live().and_then(|()| self.finish()) {
            Ok(()) => {
                self.report.trace = self.hasher.finish();
                Ok(self.report)
            }
            Err(violation) => {
                Err(Failure { violation, trace: self.hasher.finish(), events: self.report.events })
            }
        }
    }

    fn live(&mut self) -> Result<(), Violation> {
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
            match self.frozen_until(&next.event) {
                // What a machine that stands still cannot take in is lost, or waits for it.
                Some(_) if self.is_lost_on_the_frozen(&next.event) => {}
                Some(thaw) => self.schedule(thaw - self.now, next.event),
                None => self.happen(next.event)?,
            }
        }
        Ok(())
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
            | Event::Read { manager, .. }
            | Event::SessionLost { manager, .. }
            | Event::AgentReport { manager, .. } => self.managers.get(manager)?.frozen_until,
            Event::AgentStep { agent, .. } | Event::AgentNews { agent, .. } => {
                self.agents[*agent].frozen_until
            }
            _ => return None,
        };
        (until > self.now).then_some(until)
    }

    fn is_lost_on_the_frozen(&self, event: &Event) -> bool {
        matches!(event, Event::Deliver { to, .. } if self.managers.get(to).is_some_and(|manager| manager.deaf))
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
            Event::Client => self.act_as_client(),
            Event::Read { manager, life, acked } if self.lives(manager, life) => {
                self.begin_read(manager, acked);
            }
            Event::Fault if !self.calm => self.inject(),
            Event::Strike(fault) if !self.calm => self.suffer(fault),
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

    fn finish(&mut self) -> Result<(), Violation> {
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
        Ok(())
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
        // Small, so that snapshots happen.
        spec: ClusterSpec { snapshot_interval: 60, entries_kept: 15, ..ClusterSpec::default() },
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
