//! What the store was a little while ago, kept while another manager leads: a new leader knows what nodes were
//! told by the last one, and lets them go on from there.

use mesh_core::leader::History;
use mesh_raft::{Committed, Raft, Role};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::news::News;
use crate::stop::{Stop, raised};

/// The recent past of this manager's store.
pub(super) struct Past {
    raft: Raft,
    changes: News,
    history: History,
}

impl Past {
    /// Begins with the store as it is.
    pub fn new(raft: Raft) -> Self {
        let changes = raft.changes();
        let history = History::new(&raft.store());
        Self { raft, changes, history }
    }

    /// Takes in what is committed until this manager leads; false when it never will, because raft has ended
    /// or `stop` says so.
    pub async fn follow(&mut self, stop: &mut Stop) -> bool {
        let mut role = self.raft.role();
        loop {
            let decided = role.wait_for(|state| matches!(state.role, Role::Leader | Role::Stopped));
            tokio::select! {
                () = raised(stop) => return false,
                state = decided => return state.is_ok_and(|state| state.role == Role::Leader),
                committed = self.changes.recv() => match committed {
                    Ok(committed) => self.take_in(&committed),
                    Err(RecvError::Lagged(_)) => self.begin_anew(),
                    Err(RecvError::Closed) => return false,
                },
            }
        }
    }

    /// What is known by now.
    pub fn history(&mut self) -> History {
        loop {
            match self.changes.try_recv() {
                Ok(committed) => self.take_in(&committed),
                Err(TryRecvError::Lagged(_)) => self.begin_anew(),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return self.history.clone(),
            }
        }
    }

    /// Goes on after a term, with what its leader knows and the changes that it has not seen; `None` when it
    /// lost track of the store.
    pub fn go_on(&mut self, after: Option<(News, &History)>) {
        match after {
            Some((changes, history)) => {
                self.changes = changes;
                self.history.clone_from(history);
            }
            None => self.begin_anew(),
        }
    }

    fn take_in(&mut self, committed: &Committed) {
        if committed.replaced {
            self.begin_anew();
        } else {
            self.history.replay(committed.index, &committed.changes);
        }
    }

    fn begin_anew(&mut self) {
        self.changes = self.raft.changes();
        self.history = History::new(&self.raft.store());
    }
}
