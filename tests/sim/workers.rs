//! The workers' part of the world: their sessions with the leader, both ends.

use std::collections::VecDeque;

use mesh_core::assignment::AssignmentUpdate;
use mesh_core::id::SessionId;
use mesh_core::leader;

use crate::agent::{AGENT_STEP, Link, News, Report};
use crate::manager::{Leading, Opening, Session};
use crate::network::{Host, MS};
use crate::plan::Planted;
use crate::world::{Event, World};

impl World {
    pub fn boot_agent(&mut self, place: usize) {
        let agent = &mut self.agents[place];
        if !agent.up {
            agent.up = true;
            let life = agent.life;
            self.schedule(AGENT_STEP, Event::AgentStep { agent: place, life });
        }
    }

    pub fn step_agent(&mut self, place: usize) {
        let now = self.now;
        let agent = &mut self.agents[place];
        let life = agent.life;
        if let Some(link) = agent.link.filter(|_| agent.lost_patience(now)) {
            agent.disconnect();
            agent.hint = None;
            self.lose_session(link);
        }
        let reports = self.agents[place].step(now, &mut self.rng);
        for report in reports {
            self.tell_manager(place, report);
        }
        if self.agents[place].link.is_none() {
            self.connect(place);
        }
        self.schedule(AGENT_STEP, Event::AgentStep { agent: place, life });
    }

    fn connect(&mut self, place: usize) {
        let managers: Vec<u64> = self.managers.keys().copied().collect();
        let random = self.rng.pick(&managers).copied();
        let Some(manager) = self.agents[place].hint.take().or(random) else { return };
        let session = SessionId::new(&mut self.rng);
        let agent = &mut self.agents[place];
        agent.connect(Link { manager, session }, self.now);
        let (description, held) = (Box::new(agent.description()), agent.held());
        self.tell_manager(place, Report::Open(description, held));
    }

    /// Sends along an agent's session; one whose way is cut breaks, and either end sees that in its time.
    pub fn tell_manager(&mut self, place: usize, report: Report) {
        let Some(link) = self.agents[place].link else { return };
        let (here, there) = (Host::Agent(place), Host::Manager(link.manager));
        if self.agents[place].broken == Some(link.session) {
            return;
        }
        if !self.network.reaches(here, there) || self.managers[&link.manager].process.is_none() {
            // A stream that lost something brings nothing that came after it.
            self.agents[place].broken = Some(link.session);
            self.lose_link(place, link.session);
            self.lose_session(link);
            return;
        }
        let delay = self.network.delay(&mut self.rng);
        let agent = &mut self.agents[place];
        agent.last_arrival = agent.last_arrival.max(self.now + delay);
        let after = agent.last_arrival - self.now;
        let (manager, life, session) = (link.manager, self.managers[&link.manager].life, link.session);
        self.schedule(after, Event::AgentReport { manager, life, agent: place, session, report });
    }

    /// Sends along a manager's end of a session.
    pub fn tell_session(&mut self, id: u64, session: SessionId, news: News) {
        let Some(end) = self.session(id, session).filter(|end| !end.broken) else { return };
        let place = end.agent;
        if !self.network.reaches(Host::Manager(id), Host::Agent(place)) {
            if let Some(end) = self.session(id, session) {
                end.broken = true;
            }
            self.lose_link(place, session);
            self.lose_session(Link { manager: id, session });
            return;
        }
        let delay = self.network.delay(&mut self.rng);
        let arrival = self.now + delay;
        let Some(end) = self.session(id, session) else { return };
        end.last_arrival = end.last_arrival.max(arrival);
        let after = end.last_arrival - self.now;
        let life = self.agents[place].life;
        self.schedule(after, Event::AgentNews { agent: place, life, session, news });
    }

    fn leading(&mut self, id: u64) -> Option<&mut Leading> {
        self.manager(id).process.as_mut()?.leading.as_mut()
    }

    fn session(&mut self, id: u64, session: SessionId) -> Option<&mut Session> {
        self.leading(id)?.sessions.get_mut(&session)
    }

    pub fn forget_session(&mut self, id: u64, session: SessionId) {
        if let Some(leading) = self.leading(id) {
            leading.sessions.remove(&session);
        }
    }

    /// The agent sees in a while that its session is gone.
    fn lose_link(&mut self, place: usize, session: SessionId) {
        let after = self.rng.between(50 * MS, 800 * MS);
        let life = self.agents[place].life;
        self.schedule(after, Event::AgentNews { agent: place, life, session, news: News::Closed(None) });
    }

    /// The manager sees in a while that a session is gone.
    pub fn lose_session(&mut self, link: Link) {
        let after = self.rng.between(20 * MS, 1_500 * MS);
        self.schedule(after, Event::SessionLost { manager: link.manager, session: link.session });
    }

    /// A manager lost power: its agents see that their sessions are gone.
    pub fn cut_sessions(&mut self, id: u64) {
        for place in 0..self.agents.len() {
            if let Some(link) = self.agents[place].link.filter(|link| link.manager == id) {
                self.lose_link(place, link.session);
            }
        }
    }

    pub fn end_session(&mut self, id: u64, session: SessionId) {
        let Some(node) = self.session(id, session).map(|session| session.node) else { return };
        self.forget_session(id, session);
        self.lead(id, VecDeque::from([leader::Event::SessionClosed { node, session }]));
    }

    pub fn hear_agent(&mut self, id: u64, life: u64, place: usize, session: SessionId, report: Report) {
        let node = self.agents[place].node;
        self.trace(&(self.now, id, place, session));
        if !self.lives(id, life) || self.leading(id).is_none() {
            self.refuse(id, place, session);
            return;
        }
        let event = match report {
            Report::Open(description, held) => {
                let opening = Opening { agent: place, session, description, held };
                return self.confirm_lead(id, opening);
            }
            _ if self.session(id, session).is_none() => return self.refuse(id, place, session),
            Report::Heartbeat => leader::Event::Heartbeat { node, session },
            Report::Statuses(number, statuses) => {
                if self.plan.planted == Some(Planted::TakenEarly) {
                    self.tell_session(id, session, News::Taken(number));
                }
                leader::Event::Statuses { node, session, number, statuses }
            }
            Report::Held(held) => leader::Event::Held { node, session, held },
            Report::Restarting => leader::Event::RestartAnnounced { node, session },
        };
        self.lead(id, VecDeque::from([event]));
    }

    /// A session opens once a quorum says that this manager leads: one that was deposed and does not know it
    /// would have the agent stop what the new leader gave it.
    fn confirm_lead(&mut self, id: u64, opening: Opening) {
        let Some(process) = &mut self.manager(id).process else { return };
        if let Ok(read) = process.driver.replica_mut().read() {
            process.opening.insert(read, opening);
            self.schedule_flush(id);
        }
    }

    pub fn open_session(&mut self, id: u64, opening: Opening) -> Option<leader::Event> {
        let Opening { agent, session, description, held } = opening;
        let (node, addr) = (self.agents[agent].node, self.agents[agent].address());
        let end = Session { agent, node, last_arrival: self.now, broken: false };
        self.leading(id)?.sessions.insert(session, end);
        Some(leader::Event::SessionOpened { node, session, description, addr, data_path_addr: addr, held })
    }

    /// Says that there is no such session here, and who may lead.
    fn refuse(&mut self, id: u64, place: usize, session: SessionId) {
        let leader = self.managers[&id].replica().and_then(|replica| replica.standing().leader);
        let hint = leader.filter(|leader| *leader != id);
        let (delay, life) = (self.network.delay(&mut self.rng), self.agents[place].life);
        self.schedule(delay, Event::AgentNews { agent: place, life, session, news: News::Closed(hint) });
    }

    pub fn tell_agent(&mut self, place: usize, session: SessionId, news: News) {
        let agent = &mut self.agents[place];
        let Some(link) = agent.link.filter(|link| link.session == session) else { return };
        match news {
            News::Taken(number) => agent.taken(number),
            News::Update(update) => {
                let resumes = agent.waits() && matches!(*update, AssignmentUpdate::Increment { .. });
                self.report.resumed += u64::from(resumes);
                if !agent.hear(*update, self.now, &mut self.rng) {
                    agent.disconnect();
                    agent.hint = Some(link.manager);
                    self.lose_session(link);
                }
            }
            News::Closed(hint) => {
                agent.disconnect();
                agent.hint = hint;
            }
        }
    }
}
