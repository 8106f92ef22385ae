//! The shell around [`mesh_core::roles`]: while this manager leads, raft's members follow the roles that the
//! store wants of the nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mesh_core::command::leave_raft;
use mesh_core::id::NodeId;
use mesh_core::roles::{Decision, Member, RoleAction, Roles, View};
use mesh_core::store::{Change, Store};
use mesh_raft::{MemberChange, Part, ProposeError, Raft, Role};
use tokio::time::sleep;

use crate::amend::{Unmade, amend};
use crate::clock::now;
use crate::news::touched;
use crate::stop::{Stop, raised};

/// Raft's numbers of the managers that this leader is letting in; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Entering {
    numbers: Arc<Mutex<BTreeSet<u64>>>,
}

/// A manager that is being let in, until this is dropped.
#[derive(Debug)]
pub struct Entry {
    entering: Entering,
    raft_id: u64,
}

impl Entering {
    /// Begins to let a manager in.
    pub fn begin(&self, raft_id: u64) -> Entry {
        self.lock().insert(raft_id);
        Entry { entering: self.clone(), raft_id }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.entering.lock().remove(&self.raft_id);
    }
}

/// Decides whenever this manager leads, until raft ends or `stop` says so.
pub async fn run(raft: Raft, own: u64, entering: Entering, mut stop: Stop) {
    let mut role = raft.role();
    loop {
        let leads = tokio::select! {
            () = raised(&mut stop) => return,
            state = role.wait_for(|state| matches!(state.role, Role::Leader | Role::Stopped)) => {
                state.is_ok_and(|state| state.role == Role::Leader)
            }
        };
        if !leads {
            return;
        }
        let leading =
            Leading { raft: raft.clone(), own, entering: entering.clone(), roles: Roles::default() };
        tokio::select! {
            () = raised(&mut stop) => return,
            _ = role.wait_for(|state| state.role != Role::Leader) => {}
            () = leading.run() => return,
        }
    }
}

/// One term of leadership.
struct Leading {
    raft: Raft,
    own: u64,
    entering: Entering,
    roles: Roles,
}

impl Leading {
    /// Runs until raft ends.
    async fn run(mut self) {
        let (mut news, mut members) = (self.raft.changes(), self.raft.members());
        loop {
            members.borrow_and_update();
            let Decision { actions, wake_at } = self.decide();
            for action in actions {
                self.carry_out(action).await;
            }
            let wait = wake_at.map_or(Duration::MAX, |at| at.since(now()));
            tokio::select! {
                open = touched(&mut news, |change| matches!(change, Change::Node(_))) => if !open { return },
                changed = members.changed() => if changed.is_err() { return },
                () = sleep(wait) => {}
            }
        }
    }

    fn decide(&mut self) -> Decision {
        // The store first: no node must seem to have left that has just entered.
        let store = self.raft.store();
        let members = self.raft.members().borrow().clone();
        let heard = self.raft.heard().borrow().clone();
        let list: BTreeMap<u64, Member> = members
            .iter()
            .map(|(id, member)| {
                let answers = id == self.own || heard.contains(&id);
                (id, Member { votes: member.part == Part::Voter, answers })
            })
            .collect();
        let entering = self.entering.lock().clone();
        let view = View {
            store: &store,
            members: &list,
            entering: &entering,
            own: self.own,
            changing: members.is_joint(),
        };
        self.roles.decide(view, now())
    }

    /// What does not succeed is decided again.
    async fn carry_out(&self, action: RoleAction) {
        let done = match action {
            RoleAction::Remove { raft_id, node } => {
                let removed = self.raft.change(MemberChange::Remove { id: raft_id }).await;
                if removed.is_ok() {
                    tracing::info!(raft_id, node = ?node.map(|node| node.to_string()), "a manager was removed");
                }
                removed.map(drop).map_err(|error| error.to_string())
            }
            RoleAction::HandOver { to } => {
                self.raft.transfer(Some(to)).await.map(drop).map_err(|error| error.to_string())
            }
            RoleAction::Clear { node } => self.clear(node).await.map_err(|error| error.to_string()),
        };
        if let Err(error) = done {
            tracing::info!(?action, error, "raft's members do not follow the roles yet");
        }
    }

    /// A node that is gone has nothing to be cleared; what has moved on is decided again.
    async fn clear(&self, node: NodeId) -> Result<(), ProposeError> {
        let cleared = |store: &Store| Ok::<_, Infallible>(leave_raft(store, node, now()).ok());
        match amend(&self.raft, cleared).await {
            Ok(()) | Err(Unmade::Moved(_)) => Ok(()),
            Err(Unmade::Propose(error)) => Err(error),
            Err(Unmade::Refused(never)) => match never {},
        }
    }
}
