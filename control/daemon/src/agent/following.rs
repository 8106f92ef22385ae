//! What a session knows of the assignments that it hands to the agent: how far they are, and what in them is for
//! the session itself. Pure; it outlives single sessions, so that the next goes on where the last was.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use mesh_core::assignment::{AssignmentUpdate, ClusterSettings, GapError, Held};
use mesh_core::id::NodeId;

use super::saved::Saved;

/// The shortest interval between heartbeats.
const HEARTBEAT_MIN: Duration = Duration::from_millis(50);

/// How far the agent's assignments are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Following {
    /// Version of what was handed to the agent last; 0 before anything was.
    version: u64,
    heartbeat: Duration,
    /// Where managers answer.
    book: BTreeMap<NodeId, SocketAddr>,
}

impl Default for Following {
    fn default() -> Self {
        let heartbeat = ClusterSettings::default().heartbeat;
        Self { version: 0, heartbeat, book: BTreeMap::new() }
    }
}

impl Following {
    /// Goes on from what an earlier daemon wrote down.
    pub fn after(saved: &Saved) -> Self {
        let heartbeat = saved.set.settings.heartbeat.max(HEARTBEAT_MIN);
        Self { version: saved.version, heartbeat, book: saved.set.managers.clone() }
    }

    /// The interval between heartbeats.
    pub fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// Where managers answer, as far as it is known.
    pub fn managers(&self) -> Vec<SocketAddr> {
        self.book.values().copied().collect()
    }

    /// A session opens with an agent that has this. Without it, or with another version than what was handed
    /// over last, only a full set can follow.
    pub fn open(&mut self, held: Option<Held>) -> Option<Held> {
        let held = held.filter(|held| held.version == self.version && held.version > 0);
        if held.is_none() {
            self.version = 0;
        }
        held
    }

    /// Takes in what the manager sent. On an error nothing has changed; the update is not for the agent.
    pub fn take_in(&mut self, update: &AssignmentUpdate) -> Result<(), GapError> {
        match update {
            AssignmentUpdate::Full { set, .. } => {
                self.heartbeat = set.settings.heartbeat.max(HEARTBEAT_MIN);
                self.book.clone_from(&set.managers);
            }
            AssignmentUpdate::Increment { from, changes, .. } => {
                if self.version != *from {
                    return Err(GapError { have: self.version, from: *from });
                }
                if let Some(settings) = &changes.settings {
                    self.heartbeat = settings.heartbeat.max(HEARTBEAT_MIN);
                }
                for (node, addr) in &changes.managers {
                    match addr {
                        Some(addr) => self.book.insert(*node, *addr),
                        None => self.book.remove(node),
                    };
                }
            }
        }
        self.version = update.version();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mesh_core::assignment::{AssignmentChanges, AssignmentSet};

    use super::*;

    fn addr(number: u8) -> SocketAddr {
        ([192, 0, 2, number], 2377).into()
    }

    fn full(version: u64) -> AssignmentUpdate {
        let managers = [1, 2].map(|number| (NodeId::from_bits(number.into()), addr(number))).into();
        AssignmentUpdate::Full {
            version,
            set: Box::new(AssignmentSet { managers, ..AssignmentSet::default() }),
        }
    }

    fn increment(from: u64, to: u64) -> AssignmentUpdate {
        let mut changes = AssignmentChanges::default();
        changes.managers.insert(NodeId::from_bits(1), None);
        changes.managers.insert(NodeId::from_bits(3), Some(addr(3)));
        let heartbeat = Duration::from_millis(200);
        changes.settings = Some(ClusterSettings { heartbeat, ..ClusterSettings::default() });
        AssignmentUpdate::Increment { from, to, changes: Box::new(changes) }
    }

    #[test]
    fn the_book_and_the_heartbeat_follow_the_assignments() {
        let mut following = Following::default();
        following.take_in(&full(5)).unwrap();
        assert_eq!(following.managers(), [addr(1), addr(2)]);
        following.take_in(&increment(5, 6)).unwrap();
        assert_eq!(following.managers(), [addr(2), addr(3)]);
        assert_eq!(following.heartbeat(), Duration::from_millis(200));
    }

    #[test]
    fn an_increment_that_does_not_follow_changes_nothing() {
        let mut following = Following::default();
        following.take_in(&full(5)).unwrap();
        let before = following.clone();
        assert_eq!(following.take_in(&increment(4, 6)), Err(GapError { have: 5, from: 4 }));
        assert_eq!(following, before);
    }

    #[test]
    fn a_session_goes_on_from_what_the_agent_has_and_from_nothing_else() {
        let held = |version| Held { version, digest: [7; 32] };
        let mut following = Following::default();
        following.take_in(&full(5)).unwrap();
        assert_eq!(following.open(Some(held(5))), Some(held(5)));
        following.take_in(&increment(5, 6)).unwrap();
        assert_eq!(following.open(Some(held(5))), None, "the agent missed something");
        assert!(following.take_in(&increment(6, 7)).is_err(), "and can only begin anew");
        following.take_in(&full(7)).unwrap();
        assert_eq!(following.open(None), None);
        assert_eq!(Following::default().open(Some(held(0))), None);
    }

    #[test]
    fn a_restarted_daemon_goes_on_from_what_it_wrote_down() {
        let AssignmentUpdate::Full { set, .. } = full(5) else { unreachable!() };
        let saved = Saved { set: *set, version: 5, ..Saved::default() };
        let mut following = Following::after(&saved);
        assert_eq!(following.managers(), [addr(1), addr(2)]);
        following.take_in(&increment(5, 6)).unwrap();
    }
}
