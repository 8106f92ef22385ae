//! What goes wrong, and how often.

use crate::agent::Agent;
use crate::network::{Host, MS};
use crate::plan::SECOND;
use crate::report::Report;
use crate::world::{Event, World};

/// Kinds of faults; each is counted, so that a run that had none of a kind is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    Crash,
    CrashAtDisk,
    Freeze,
    DiskFull,
    Partition,
    IsolateLeader,
    OneWay,
    BadNetwork,
    AgentCrash,
    AgentFreeze,
    AgentCut,
    AgentRestart,
    AgentRot,
    Join,
    Promote,
    Leave,
    Transfer,
}

/// All of them; the last are the steps of the members' walk.
pub const FAULTS: [Fault; 17] = [
    Fault::Crash,
    Fault::CrashAtDisk,
    Fault::Freeze,
    Fault::DiskFull,
    Fault::Partition,
    Fault::IsolateLeader,
    Fault::OneWay,
    Fault::BadNetwork,
    Fault::AgentCrash,
    Fault::AgentFreeze,
    Fault::AgentCut,
    Fault::AgentRestart,
    Fault::AgentRot,
    Fault::Join,
    Fault::Promote,
    Fault::Leave,
    Fault::Transfer,
];

/// How many of them are no steps of the walk.
const STRIKES: usize = FAULTS.len() - 4;

impl World {
    /// One step of the walk, and when the next comes.
    pub fn walk(&mut self) {
        let step = *self.rng.pick(&FAULTS[STRIKES..]).expect("there are some");
        if self.step_walk(step) {
            self.report.count(step);
            self.trace(&("step", step, self.now));
        }
        let pause = self.rng.between(300 * MS, 2_000 * MS);
        self.schedule(pause, Event::Walk);
    }

    /// One fault, and when the next comes.
    pub fn inject(&mut self) {
        let fault = *self.rng.pick(&FAULTS[..STRIKES]).expect("there are some");
        self.suffer(fault);
        let pause = self.rng.between(200 * MS, 2_500 * MS);
        self.schedule(pause, Event::Fault);
    }

    /// One fault, now.
    pub fn suffer(&mut self, fault: Fault) {
        if self.strike(fault) {
            self.report.count(fault);
            self.trace(&("fault", fault, self.now));
        }
    }

    fn strike(&mut self, fault: Fault) -> bool {
        let long = self.rng.between(50 * MS, 4 * SECOND);
        let managers: Vec<u64> = self.managers.keys().copied().collect();
        let manager = *self.rng.pick(&managers).expect("there are some");
        let agent = usize::try_from(self.rng.under(self.agents.len() as u64)).expect("few");
        match fault {
            Fault::Crash => self.crash_manager(manager),
            Fault::CrashAtDisk => {
                let (after, done) = (self.rng.under(6), self.rng.chance(500));
                self.manager(manager).disk.cut_after(after, done);
                self.managers[&manager].process.is_some()
            }
            Fault::Freeze => {
                let (until, deaf) = (self.now + long, self.rng.chance(500));
                let id = self.leader().filter(|_| self.rng.chance(300)).unwrap_or(manager);
                let manager = self.manager(id);
                // Never a shorter time than it was to stand still: what waits would come out of order.
                manager.frozen_until = until.max(manager.frozen_until);
                manager.deaf = deaf;
                manager.process.is_some()
            }
            Fault::DiskFull => {
                let appends = self.rng.under(5);
                self.manager(manager).disk.limit(Some(appends));
                self.schedule(long, Event::FreeDisk(manager));
                true
            }
            Fault::Partition => self.partition(long),
            Fault::IsolateLeader => self.isolate_leader(long),
            Fault::OneWay => {
                let other = *self.rng.pick(&managers).expect("there are some");
                self.network.deafen(Host::Manager(manager), Host::Manager(other));
                self.schedule(long, Event::Heal);
                manager != other
            }
            Fault::BadNetwork => {
                self.network.loss = self.rng.under(250);
                self.network.twice = self.rng.under(200);
                self.network.slowed = self.rng.under(500);
                self.network.slow = self.rng.between(MS, 400 * MS);
                self.schedule(long, Event::Heal);
                true
            }
            Fault::AgentCrash => self.crash_agent(agent, long),
            Fault::AgentFreeze => {
                self.agents[agent].freeze(self.now + long);
                true
            }
            Fault::AgentCut => {
                let managers: Vec<_> = managers.into_iter().map(Host::Manager).collect();
                self.network.part(&[Host::Agent(agent)], &managers);
                self.schedule(long, Event::Heal);
                true
            }
            Fault::AgentRestart => self.restart_agent(agent),
            Fault::AgentRot => self.agents[agent].rot(),
            Fault::Join | Fault::Promote | Fault::Leave | Fault::Transfer => self.step_walk(fault),
        }
    }

    /// Machines fall into two halves that do not hear each other.
    fn partition(&mut self, long: u64) -> bool {
        let managers = self.managers.keys().copied().map(Host::Manager);
        let hosts: Vec<Host> = managers.chain((0..self.agents.len()).map(Host::Agent)).collect();
        let (one, other): (Vec<Host>, Vec<Host>) = hosts.into_iter().partition(|_| self.rng.chance(500));
        self.network.part(&one, &other);
        self.schedule(long, Event::Heal);
        !one.is_empty() && !other.is_empty()
    }

    /// The managers no longer hear their leader, nor it them; its workers still do.
    fn isolate_leader(&mut self, long: u64) -> bool {
        let Some(leader) = self.leader() else { return false };
        let others: Vec<_> =
            self.managers.keys().filter(|id| **id != leader).map(|id| Host::Manager(*id)).collect();
        self.network.part(&[Host::Manager(leader)], &others);
        self.schedule(long, Event::Heal);
        !others.is_empty()
    }

    fn crash_agent(&mut self, place: usize, long: u64) -> bool {
        if !self.agents[place].up {
            return false;
        }
        let link = self.agents[place].link;
        self.agents[place].crash();
        if let Some(link) = link {
            self.lose_session(link);
        }
        self.schedule(long, Event::AgentBoot(place));
        true
    }

    /// The daemon of a worker starts anew and says so before; its tasks go on.
    fn restart_agent(&mut self, place: usize) -> bool {
        let Agent { up: true, link: Some(link), .. } = self.agents[place] else { return false };
        self.tell_manager(place, crate::agent::Report::Restarting);
        self.agents[place].disconnect();
        let until = self.now + self.rng.between(100 * MS, 2 * SECOND);
        self.agents[place].freeze(until);
        self.lose_session(link);
        true
    }

    /// Everything works from here on.
    pub fn end_faults(&mut self) {
        self.network.heal();
        self.calm = true;
        for id in self.managers.keys().copied().collect::<Vec<_>>() {
            let manager = self.manager(id);
            manager.disk.limit(None);
            manager.disk.spare();
            if manager.process.is_none() {
                self.schedule(MS, Event::ManagerBoot(id));
            }
        }
        for place in 0..self.agents.len() {
            self.agents[place].calm = true;
            if !self.agents[place].up {
                self.schedule(MS, Event::AgentBoot(place));
            }
        }
    }
}

impl Report {
    fn count(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }
}
