//! The task that keeps the office: looks at what the node goes for and what it has, and does the next step.

use std::time::Duration;

use mesh_core::spec::Role;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::calls::{CallError, Group};
use super::{Order, Place, Post};
use crate::manager::Manager;
use crate::state::Membership;
use crate::stop::{Stop, raised};

/// Waits before a step that failed is tried again: the first, and the longest.
pub(super) const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// What there is of the manager.
pub(super) enum Seat {
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
pub(super) enum Due {
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
pub(super) enum Outcome {
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
    pub(super) seat: Seat,
    pub(super) listener: Option<TcpListener>,
    pub(super) wait: Duration,
    pub(super) not_before: Instant,
    /// Until then the state that is there is not gone on with.
    pub(super) held_until: Option<Instant>,
}

impl Keeper {
    pub fn new(place: Place, post: watch::Sender<Post>) -> Self {
        let (wait, not_before) = (BACK_OFF.0, Instant::now());
        Self { place, post, seat: Seat::Empty, listener: None, wait, not_before, held_until: None }
    }

    /// Runs until it is stopped.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>, mut stop: Stop) {
        loop {
            let membership = self.place.record.now();
            let due = self.due(&membership);
            match due {
                Due::Resign => {
                    let done = self.resign().await;
                    if done && self.place.record.now().raft_id.is_some() {
                        // The node leaves: nothing is written down any more, and the end is near.
                        raised(&mut stop).await;
                    }
                    if *stop.borrow() {
                        break;
                    }
                    continue;
                }
                Due::Ask if matches!(&*self.post.borrow(), Post::Vacant) => {
                    self.post.send_replace(Post::Entering { error: String::new() });
                }
                // It is not wanted any more before it has anything.
                Due::Rest
                    if matches!((&self.seat, &*self.post.borrow()), (Seat::Empty, Post::Entering { .. })) =>
                {
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
}
