//! A worker: keeps a session with the leader, follows its assignments and runs tasks in memory.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use mesh_core::assignment::{AssignmentSet, AssignmentUpdate, Held};
use mesh_core::id::{NodeId, SessionId, TaskId};
use mesh_core::object::{NodeDescription, TaskState, TaskStatus};
use mesh_core::time::Timestamp;

use crate::network::MS;
use crate::rng::Rng;

/// What an agent tells its manager.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// With what it has of an earlier session.
    Open(Box<NodeDescription>, Option<Held>),
    Heartbeat,
    /// Numbered within a session.
    Statuses(u64, Vec<(TaskId, TaskStatus)>),
    /// What it has, to be compared.
    Held(Held),
    Restarting,
}

/// What a manager tells an agent.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    Update(Box<AssignmentUpdate>),
    /// All reports of this session up to this number are durable.
    Taken(u64),
    /// The session is over, or there never was one; who may lead.
    Closed(Option<u64>),
}

/// A connection to a manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    pub manager: u64,
    pub session: SessionId,
}

/// One task on this machine.
#[derive(Debug, Clone)]
struct Local {
    state: TaskState,
    /// When it moves on.
    due: u64,
    stopping: bool,
    told: Told,
}

/// Whether the managers know a task's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    /// In this session's report of this number, which was not taken yet.
    Said(u64),
    Taken,
}

/// A worker.
#[derive(Debug)]
pub struct Agent {
    pub place: usize,
    pub node: NodeId,
    pub up: bool,
    /// Counted up by each crash, so that what was meant for an earlier life is lost.
    pub life: u64,
    pub frozen_until: u64,
    pub link: Option<Link>,
    pub hint: Option<u64>,
    /// Packets of a stream arrive in order.
    pub last_arrival: u64,
    /// A session on which something was lost: nothing comes after it.
    pub broken: Option<SessionId>,
    /// Tasks no longer fail by themselves.
    pub calm: bool,
    /// A planted mistake: what was said counts as taken.
    forgetful: bool,
    /// Until when the set of this session may take to come; `None`: it came.
    patience: Option<u64>,
    set: AssignmentSet,
    version: u64,
    tasks: BTreeMap<TaskId, Local>,
    /// Number of this session's last report.
    number: u64,
    next_heartbeat: u64,
    next_check: u64,
}

/// How often an agent looks after its tasks.
pub const AGENT_STEP: u64 = 40 * MS;

impl Agent {
    pub fn new(place: usize, node: NodeId, forgetful: bool) -> Self {
        Self {
            place,
            node,
            up: true,
            life: 0,
            frozen_until: 0,
            link: None,
            hint: None,
            last_arrival: 0,
            broken: None,
            calm: false,
            forgetful,
            patience: None,
            set: AssignmentSet::default(),
            version: 0,
            tasks: BTreeMap::new(),
            number: 0,
            next_heartbeat: 0,
            next_check: 0,
        }
    }

    pub fn address(&self) -> IpAddr {
        let place = u8::try_from(self.place).expect("few agents");
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 100 + place))
    }

    pub fn description(&self) -> NodeDescription {
        NodeDescription {
            hostname: format!("w{}", self.place),
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            ..NodeDescription::default()
        }
    }

    /// The power goes: tasks and session with it.
    pub fn crash(&mut self) {
        self.up = false;
        self.life += 1;
        self.link = None;
        self.tasks.clear();
        (self.set, self.version) = (AssignmentSet::default(), 0);
    }

    /// Stands still, never for a shorter time than it was to: what waits for it would come out of order.
    pub fn freeze(&mut self, until: u64) {
        self.frozen_until = until.max(self.frozen_until);
    }

    /// Loses something of what it was told, without noticing.
    pub fn rot(&mut self) -> bool {
        self.set.services.pop_last().is_some() || Arc::make_mut(&mut self.set.peers).pop_last().is_some()
    }

    /// What it has, for a new session or to be compared.
    pub fn held(&self) -> Option<Held> {
        let held = Held { version: self.version, digest: self.set.digest() };
        Some(held).filter(|held| held.version > 0)
    }

    /// Whether its session has told it nothing yet.
    pub fn waits(&self) -> bool {
        self.patience.is_some()
    }

    /// Reports of this session up to `number` are durable.
    pub fn taken(&mut self, number: u64) {
        for task in self.tasks.values_mut() {
            if matches!(task.told, Told::Said(said) if said <= number) {
                task.told = Told::Taken;
            }
        }
    }

    pub fn connect(&mut self, link: Link, now: u64) {
        self.link = Some(link);
        self.patience = Some(now + 1_500 * MS);
        self.number = 0;
        for task in self.tasks.values_mut().filter(|task| matches!(task.told, Told::Said(_))) {
            task.told = if self.forgetful { Told::Taken } else { Told::Nothing };
        }
    }

    pub fn disconnect(&mut self) {
        self.link = None;
    }

    /// Whether its manager has not answered for too long.
    pub fn lost_patience(&self, now: u64) -> bool {
        self.link.is_some() && self.patience.is_some_and(|until| now > until)
    }

    /// What it was told last.
    pub fn assignments(&self) -> &AssignmentSet {
        &self.set
    }

    /// Tasks that run here, for whoever wants to know whether a service is there.
    pub fn running(&self) -> impl Iterator<Item = TaskId> {
        self.tasks.iter().filter(|(_, task)| task.state == TaskState::Running).map(|(id, _)| *id)
    }

    /// What it makes of a task, for whoever wonders.
    pub fn describe(&self, task: TaskId) -> String {
        let told = self.set.tasks.get(&task).map(|task| (task.desired_state, task.status.state));
        format!("told {told:?}, has {:?}, up {}, link {:?}", self.tasks.get(&task), self.up, self.link)
    }

    /// Takes what the manager tells; false: it does not fit what was told before.
    pub fn hear(&mut self, update: AssignmentUpdate, now: u64, rng: &mut Rng) -> bool {
        if self.set.apply_update(&mut self.version, update).is_err() {
            return false;
        }
        self.patience = None;
        self.follow(now, rng);
        true
    }

    /// Begins what is new and ends what is no longer wanted.
    fn follow(&mut self, now: u64, rng: &mut Rng) {
        for (id, task) in &self.set.tasks {
            let stop = task.desired_state > TaskState::Running;
            match self.tasks.get_mut(id) {
                Some(local) => local.stopping |= stop,
                None if task.status.state.is_final() => {}
                None => {
                    // Told of a task that this machine began before it crashed: it is gone.
                    let gone = task.status.state > TaskState::Assigned;
                    let state = match (gone, stop) {
                        (true, _) => TaskState::Failed,
                        (false, true) => TaskState::Shutdown,
                        (false, false) => TaskState::Accepted,
                    };
                    let due = now + rng.between(5 * MS, 200 * MS);
                    self.tasks.insert(*id, Local { state, due, stopping: stop, told: Told::Nothing });
                }
            }
        }
        for (id, local) in &mut self.tasks {
            local.stopping |= !self.set.tasks.contains_key(id);
        }
    }

    /// Time passes; what there is to tell.
    pub fn step(&mut self, now: u64, rng: &mut Rng) -> Vec<Report> {
        for (id, local) in &mut self.tasks {
            let wanted = self.set.tasks.get(id).map_or(TaskState::Remove, |task| task.desired_state);
            local.step(wanted, now, rng, self.calm);
        }
        let set = &self.set;
        let known = |local: &Local| local.state.is_final() && local.told == Told::Taken;
        self.tasks.retain(|id, local| set.tasks.contains_key(id) || !known(local));
        if self.link.is_none() || self.patience.is_some() {
            return Vec::new();
        }
        let mut reports = Vec::from_iter(self.statuses(now));
        if now >= self.next_heartbeat {
            let beat = u64::try_from(self.set.settings.heartbeat.as_nanos()).expect("short");
            self.next_heartbeat = now + beat - rng.under(beat / 5);
            reports.push(Report::Heartbeat);
        }
        if now >= self.next_check {
            self.next_check = now + rng.between(1_000 * MS, 4_000 * MS);
            reports.extend(self.held().map(Report::Held));
        }
        reports
    }

    fn statuses(&mut self, now: u64) -> Option<Report> {
        let number = self.number + 1;
        let untold = self.tasks.iter_mut().filter(|(_, local)| local.told == Told::Nothing);
        let statuses: Vec<_> = untold
            .map(|(id, local)| {
                local.told = Told::Said(number);
                let status = TaskStatus {
                    state: local.state,
                    timestamp: Timestamp(now),
                    message: String::new(),
                    err: String::new(),
                    container: None,
                };
                (*id, status)
            })
            .collect();
        if statuses.is_empty() {
            return None;
        }
        self.number = number;
        Some(Report::Statuses(number, statuses))
    }
}

impl Local {
    fn step(&mut self, wanted: TaskState, now: u64, rng: &mut Rng, calm: bool) {
        if self.state.is_final() || now < self.due {
            return;
        }
        let next = if self.stopping {
            TaskState::Shutdown
        } else {
            match self.state {
                TaskState::Accepted => TaskState::Preparing,
                TaskState::Preparing if !calm && rng.chance(30) => TaskState::Rejected,
                TaskState::Preparing => TaskState::Ready,
                TaskState::Ready if wanted < TaskState::Running => TaskState::Ready,
                TaskState::Ready => TaskState::Starting,
                TaskState::Starting if !calm && rng.chance(50) => TaskState::Failed,
                TaskState::Starting => TaskState::Running,
                TaskState::Running if !calm && rng.chance(2) => TaskState::Failed,
                same => same,
            }
        };
        self.due = now + rng.between(5 * MS, 150 * MS);
        if next != self.state {
            self.told = Told::Nothing;
        }
        self.state = next;
    }
}
