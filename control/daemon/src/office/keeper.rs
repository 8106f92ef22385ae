//! The task that keeps the office: looks at what the node goes for and what it has, and does the next step.

use std::net::SocketAddr;
use std::time::Duration;

use mesh_core::spec::Role;
use mesh_raft::{OpenError, Part, Raft, RaftConfig, Role as RaftRole};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::calls::{CallError, Group};
use super::start::{draw_raft_id, listen, raft_config};
use super::{ManagerStart, Order, Place, Post, Serving};
use crate::error::DaemonError;
use crate::manager::{Manager, Parts};
use crate::state::Membership;
use crate::stop::{Stop, raised};
use crate::transport::{Own, PeerTransport};

/// Waits before a step that failed is tried again: the first, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// A manager that is not among those that the cluster tells of for this long asks to be let in again.
const MISSED: Duration = Duration::from_secs(2);

/// A manager that nobody knows any more stays at most this long for those who may need its vote.
const FAREWELL: Duration = Duration::from_secs(3);

/// A manager that others say is none any more does not go on with its state for this long: meanwhile it hears
/// what the cluster wants of it.
const HOLD: Duration = Duration::from_secs(10);

/// What there is of the manager.
enum Seat {
    /// Nothing.
    Empty,
    /// It runs.
    Taken {
        manager: Manager,
        /// It is known to vote.
        votes: bool,
        /// Nobody needs it any more.
        resigns: bool,
    },
    /// Its state cannot be used.
    Closed,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Nothing until something changes.
    Rest,
    /// Ask who belongs to the group, to become one of them.
    Ask,
    /// Ask to be one of those who vote.
    Enter,
    /// See to it that the others still know this manager.
    Watch,
    /// Wait until the others do without this manager: until then they may need its vote.
    Outlast,
    /// Wait before going on with a state that others say is over.
    Hold,
    /// Lay the office down.
    Resign,
}

/// How a step that waits for others ended.
enum Outcome {
    Group(Result<Group, CallError>),
    Entered(Result<(), CallError>),
    Missed,
    Dispensable,
    HeldLongEnough,
}

/// What the keeper has to do with.
enum Happened {
    Order(Order),
    Outcome(Outcome),
    /// Raft has ended by itself.
    Broken(String),
}

/// The keeper's state.
pub(super) struct Keeper {
    pub(super) place: Place,
    pub(super) post: watch::Sender<Post>,
    seat: Seat,
    listener: Option<TcpListener>,
    wait: Duration,
    not_before: Instant,
    /// Until then the state that is there is not gone on with.
    held_until: Option<Instant>,
}

impl Keeper {
    pub fn new(place: Place, post: watch::Sender<Post>) -> Self {
        let (wait, not_before) = (BACK_OFF.0, Instant::now());
        Self { place, post, seat: Seat::Empty, listener: None, wait, not_before, held_until: None }
    }

    /// Begins with what is there.
    pub async fn begin(&mut self, start: ManagerStart) -> Result<(), DaemonError> {
        let membership = self.place.record.now();
        match start {
            ManagerStart::None => {}
            ManagerStart::Found { raft, transport, listener } => self.seat(raft, transport, listener)?,
            ManagerStart::Enter { listener } => {
                self.listener = Some(listener);
                self.post.send_replace(Post::Entering { error: String::new() });
            }
            ManagerStart::Open if self.is_over(&membership).await => {
                let error = "other managers say that this node is none any more".to_owned();
                tracing::warn!(error, "this manager does not go on yet");
                self.held_until = Some(Instant::now() + HOLD);
                self.post.send_replace(Post::Entering { error });
            }
            ManagerStart::Open => self.reopen(&membership).await?,
        }
        Ok(())
    }

    /// Whether other managers have gone on without this one. Those that were dropped when one went on alone
    /// could else make a second cluster of the state that they had.
    async fn is_over(&self, membership: &Membership) -> bool {
        membership.raft_id.is_some() && !membership.forcing && self.place.calls().is_refused().await
    }

    /// Goes on with the state of an earlier daemon.
    pub(super) async fn reopen(&mut self, membership: &Membership) -> Result<(), DaemonError> {
        let Some(raft_id) = membership.raft_id else {
            if membership.role == Role::Manager {
                self.post.send_replace(Post::Entering { error: String::new() });
            }
            return Ok(());
        };
        if !self.place.state.raft_file().exists() {
            return Ok(());
        }
        if membership.forcing {
            // It was cut off in the middle of it.
            return self.go_alone().await.map(drop);
        }
        let listener = listen(membership.listen_addr).await?;
        let own = Own { raft_id, addr: membership.manager_addr() };
        let (config, transport) = raft_config(&self.place.state, &self.place.keys, own)?;
        match Raft::open(config).await {
            Ok(raft) => self.seat(raft, transport, listener),
            Err(error) => {
                self.close(error.to_string());
                Ok(())
            }
        }
    }

    /// Runs until it is stopped.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>, mut stop: Stop) {
        loop {
            let membership = self.place.record.now();
            let due = self.due(&membership);
            match due {
                Due::Resign => {
                    self.resign().await;
                    continue;
                }
                Due::Ask if matches!(&*self.post.borrow(), Post::Vacant) => {
                    self.post.send_replace(Post::Entering { error: String::new() });
                }
                // It is not wanted any more before it has anything.
                Due::Rest if matches!((&self.seat, &*self.post.borrow()), (Seat::Empty, Post::Entering { .. })) => {
                    self.post.send_replace(Post::Vacant);
                }
                _ => {}
            }
            let mut record = self.place.record.watch();
            let changed = record.wait_for(|now| now.role != membership.role);
            let happened = tokio::select! {
                biased;
                () = raised(&mut stop) => break,
                Some(order) = orders.recv() => Happened::Order(order),
                error = self.broken() => Happened::Broken(error),
                _ = changed => continue,
                outcome = self.wait_for(due, &membership) => Happened::Outcome(outcome),
            };
            match happened {
                Happened::Order(order) => self.carry_out(order).await,
                Happened::Outcome(outcome) => self.go_on(outcome).await,
                Happened::Broken(error) => {
                    self.stand_up().await;
                    self.close(error);
                }
            }
        }
        if let Seat::Taken { manager, .. } = self.seat {
            manager.stop().await;
        }
    }

    fn due(&self, membership: &Membership) -> Due {
        match (&self.seat, membership.role) {
            (Seat::Empty, Role::Worker) if membership.raft_id.is_none() => Due::Rest,
            (Seat::Taken { resigns: false, .. }, Role::Worker) => Due::Outlast,
            (_, Role::Worker) => Due::Resign,
            (Seat::Closed, Role::Manager) => Due::Rest,
            (Seat::Empty, Role::Manager) if self.held_until.is_some() => Due::Hold,
            (Seat::Empty, Role::Manager) => Due::Ask,
            (Seat::Taken { votes: false, .. }, Role::Manager) => Due::Enter,
            (Seat::Taken { votes: true, .. }, Role::Manager) => Due::Watch,
        }
    }

    /// Resolves when raft has ended by itself, with what it says.
    async fn broken(&self) -> String {
        let Seat::Taken { manager, .. } = &self.seat else { return std::future::pending().await };
        let mut role = manager.raft().role();
        let ended = role.wait_for(|state| state.role == RaftRole::Stopped).await;
        let alarm = ended.ok().and_then(|state| state.alarm.clone());
        alarm.map_or_else(|| "raft has ended".to_owned(), |alarm| alarm.to_string())
    }

    /// The part of a step that waits for others; may be dropped at any time.
    async fn wait_for(&self, due: Due, membership: &Membership) -> Outcome {
        sleep_until(self.not_before).await;
        let calls = self.place.calls();
        match due {
            Due::Rest | Due::Resign => std::future::pending().await,
            Due::Ask => Outcome::Group(calls.members().await),
            Due::Enter => Outcome::Entered(calls.enter(membership.raft_id.unwrap_or_default()).await),
            Due::Watch => {
                missed(self.place.managers.clone(), calls.own).await;
                Outcome::Missed
            }
            Due::Outlast => {
                self.outlast(calls.own).await;
                Outcome::Dispensable
            }
            Due::Hold => {
                sleep_until(self.held_until.unwrap_or_else(Instant::now)).await;
                Outcome::HeldLongEnough
            }
        }
    }

    /// Resolves when nobody needs this manager's vote any more.
    async fn outlast(&self, own: SocketAddr) {
        let mut managers = self.place.managers.clone();
        if managers.wait_for(|known| !known.contains(&own)).await.is_err() {
            std::future::pending().await
        }
        let Seat::Taken { manager, .. } = &self.seat else { return };
        let id = self.place.record.now().raft_id.unwrap_or_default();
        let mut members = manager.raft().members();
        let gone = members.wait_for(|members| members.get(id).is_none());
        // A member that is gone may never hear so from the others.
        drop(timeout(FAREWELL, gone).await);
    }

    /// The part of a step that is done here, whole.
    async fn go_on(&mut self, outcome: Outcome) {
        let done = match outcome {
            Outcome::Group(Ok(group)) => self.join(group).await.map_err(|error| error.to_string()),
            Outcome::Entered(Ok(())) => {
                self.voting();
                Ok(())
            }
            Outcome::Missed => {
                tracing::info!("the cluster does not tell of this manager: it asks to be let in again");
                if let Seat::Taken { votes, .. } = &mut self.seat {
                    *votes = false;
                }
                Ok(())
            }
            Outcome::HeldLongEnough => {
                self.held_until = None;
                let membership = self.place.record.now();
                self.reopen(&membership).await.map_err(|error| error.to_string())
            }
            Outcome::Dispensable => {
                if let Seat::Taken { resigns, .. } = &mut self.seat {
                    *resigns = true;
                }
                Ok(())
            }
            Outcome::Entered(Err(CallError::Used)) => self.abandon().await.map_err(|error| error.to_string()),
            Outcome::Group(Err(error)) | Outcome::Entered(Err(error)) => Err(error.to_string()),
        };
        match done {
            Ok(()) => (self.wait, self.not_before) = (BACK_OFF.0, Instant::now()),
            Err(error) => {
                tracing::info!(error, "not a manager yet");
                self.not_before = Instant::now() + self.wait;
                self.wait = (self.wait * 2).min(BACK_OFF.1);
                if !matches!(&*self.post.borrow(), Post::Held(_)) {
                    self.post.send_replace(Post::Entering { error });
                }
            }
        }
    }

    /// Makes raft's state, or takes up the one that an interrupted try has made, and serves.
    async fn join(&mut self, group: Group) -> Result<(), DaemonError> {
        let membership = self.place.record.now();
        // Whoever has lost what it promised as one member must come as another.
        let raft_id = match membership.raft_id {
            Some(raft_id) if self.place.state.raft_file().exists() => raft_id,
            _ => self.draw().await?,
        };
        let listener = match self.listener.take() {
            Some(listener) => listener,
            None => listen(membership.listen_addr).await?,
        };
        let own = Own { raft_id, addr: membership.manager_addr() };
        let (config, transport) = raft_config(&self.place.state, &self.place.keys, own)?;
        let raft = match join_group(config, group).await {
            Ok(raft) => raft,
            Err(error) => {
                self.listener = Some(listener);
                return Err(DaemonError::part("raft", &error));
            }
        };
        self.seat(raft, transport, listener)
    }

    /// A number of its own for this manager, with nothing of an earlier one left.
    async fn draw(&self) -> Result<u64, DaemonError> {
        self.place.state.clear_raft()?;
        let raft_id = draw_raft_id();
        self.place.record.change(|membership| membership.raft_id = Some(raft_id)).await?;
        Ok(raft_id)
    }

    pub(super) fn seat(
        &mut self,
        raft: Raft,
        transport: PeerTransport,
        listener: TcpListener,
    ) -> Result<(), DaemonError> {
        let membership = self.place.record.now();
        let own = Own { raft_id: membership.raft_id.unwrap_or_default(), addr: membership.manager_addr() };
        tokio::spawn(self.place.keys.clone().follow(raft.clone()));
        let part = raft.members().borrow().get(own.raft_id).map(|member| member.part);
        let manager = Manager::start(Parts {
            raft,
            transport,
            own,
            tls: self.place.tls.clone(),
            listener,
            api: self.place.api.clone(),
            cluster: membership.cluster,
        })?;
        self.seat = Seat::Taken { manager, votes: false, resigns: false };
        if part == Some(Part::Voter) {
            self.voting();
        } else {
            self.post.send_replace(Post::Entering { error: String::new() });
        }
        Ok(())
    }

    fn voting(&mut self) {
        if let Seat::Taken { manager, votes, .. } = &mut self.seat {
            *votes = true;
            self.post.send_replace(Post::Held(Serving::from(&*manager)));
        }
    }

    fn close(&mut self, error: String) {
        tracing::error!(error, "this manager does not go on");
        self.seat = Seat::Closed;
        self.post.send_replace(Post::Closed { error });
    }

    /// Ends the manager; its state stays.
    pub(super) async fn stand_up(&mut self) {
        self.post.send_replace(Post::Vacant);
        if let Seat::Taken { manager, .. } = std::mem::replace(&mut self.seat, Seat::Empty) {
            manager.stop().await;
        }
        (self.listener, self.held_until) = (None, None);
    }

    /// Ends the manager and forgets what it was.
    async fn abandon(&mut self) -> Result<(), DaemonError> {
        self.stand_up().await;
        // From here on nobody reads the state, whatever is left of it.
        self.place.keys.lay_down()?;
        self.place.state.clear_raft()?;
        self.place.record.change(|membership| membership.raft_id = None).await
    }

    /// The cluster wants no manager of this node.
    async fn resign(&mut self) {
        if let Err(error) = self.abandon().await {
            tracing::error!(%error, "the manager's state was not removed");
            sleep(BACK_OFF.1).await;
        } else {
            tracing::info!("this node is a worker now");
        }
    }
}

/// Makes the state of a new member, or opens the one that is there.
async fn join_group(config: RaftConfig, group: Group) -> Result<Raft, OpenError> {
    if config.path.exists() {
        return Raft::open(config).await;
    }
    let mut addrs = group.addrs;
    addrs.extend(config.addrs.iter());
    Raft::join(RaftConfig { voters: group.voters, addrs, ..config }).await
}

/// Resolves when the cluster has told of managers without this one for a while.
async fn missed(mut managers: watch::Receiver<Vec<SocketAddr>>, own: SocketAddr) {
    loop {
        let gone = managers.wait_for(|known| !known.contains(&own)).await.is_ok();
        if !gone {
            return std::future::pending().await;
        }
        let back = managers.wait_for(|known| known.contains(&own));
        if timeout(MISSED, back).await.is_err() {
            return;
        }
    }
}
