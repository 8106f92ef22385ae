//! Which manager the agent asks next. Pure: it is told what became of each.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use mesh_core::id::{Entropy, NodeId};

/// Waits after a round in which no manager served this node: the first, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// How long a manager may take to accept a connection: in the first round, and at most. One that is frozen or
/// cut off is passed over quickly; one that is far away gets its time when no other is found.
const CONNECT: (Duration, Duration) = (Duration::from_millis(400), Duration::from_secs(3));

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Ask this manager.
    Ask(SocketAddr),
    /// All were asked: wait, then go on.
    Wait(Duration),
}

/// The managers and what is known of them. The last that served well comes first; the others follow in an
/// order of this node's own, so that the nodes of a manager that goes spread over those that are left.
#[derive(Debug)]
pub struct Roster {
    node: NodeId,
    good: Option<SocketAddr>,
    tried: BTreeSet<SocketAddr>,
    rounds: u32,
}

impl Roster {
    /// The roster of a node that has asked nobody yet.
    pub fn new(node: NodeId) -> Self {
        Self { node, good: None, tried: BTreeSet::new(), rounds: 0 }
    }

    /// What to do next, with these managers; `None` when there are none.
    pub fn next(&mut self, managers: &[SocketAddr], entropy: &mut dyn Entropy) -> Option<Turn> {
        let left = managers.iter().filter(|manager| !self.tried.contains(manager));
        if let Some(manager) = left.min_by_key(|manager| self.place(manager)) {
            return Some(Turn::Ask(*manager));
        }
        if managers.is_empty() {
            return None;
        }
        self.tried.clear();
        let longest = BACK_OFF.0.saturating_mul(1 << self.rounds.min(10)).min(BACK_OFF.1);
        self.rounds += 1;
        // Nodes that lost their managers together do not come back together.
        let half = longest / 2;
        let spread = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        Some(Turn::Wait(half + Duration::from_nanos(entropy.below(spread + 1))))
    }

    /// How long the next manager may take to accept a connection.
    pub fn patience(&self) -> Duration {
        CONNECT.0.saturating_mul(1 << self.rounds.min(10)).min(CONNECT.1)
    }

    /// A session with this manager is over, or never came. `served`: it was a good one while it lasted.
    pub fn over(&mut self, manager: SocketAddr, served: bool) {
        if served {
            self.good = Some(manager);
            self.rounds = 0;
            self.tried.clear();
        }
        self.tried.insert(manager);
    }

    fn place(&self, manager: &SocketAddr) -> (bool, u64) {
        let mut hasher = DefaultHasher::new();
        (self.node, manager).hash(&mut hasher);
        (self.good != Some(*manager), hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Middle;

    impl Entropy for Middle {
        fn next_u128(&mut self) -> u128 {
            0
        }
    }

    fn managers(count: u8) -> Vec<SocketAddr> {
        (1..=count).map(|number| ([192, 0, 2, number], 2377).into()).collect()
    }

    fn roster(node: u128) -> Roster {
        Roster::new(NodeId::from_bits(node))
    }

    /// Asks in vain until a wait; gives back who was asked, and the wait.
    fn round(roster: &mut Roster, managers: &[SocketAddr]) -> (Vec<SocketAddr>, Duration) {
        let mut asked = Vec::new();
        loop {
            match roster.next(managers, &mut Middle).unwrap() {
                Turn::Ask(manager) => {
                    asked.push(manager);
                    roster.over(manager, false);
                }
                Turn::Wait(wait) => return (asked, wait),
            }
        }
    }

    #[test]
    fn each_round_asks_everybody_once_and_waits_only_then() {
        let (mut roster, managers) = (roster(1), managers(5));
        let (first, wait) = round(&mut roster, &managers);
        assert_eq!(first.iter().collect::<BTreeSet<_>>(), managers.iter().collect());
        assert_eq!(wait, BACK_OFF.0 / 2, "the shortest that may be drawn");
        let waits: Vec<Duration> = (0..8).map(|_| round(&mut roster, &managers).1).collect();
        assert!(waits.is_sorted());
        assert_eq!(waits.last(), Some(&(BACK_OFF.1 / 2)));
        assert_eq!(roster.patience(), CONNECT.1);
        roster.over(managers[0], true);
        assert_eq!(roster.patience(), CONNECT.0);
    }

    #[test]
    fn nodes_ask_in_different_orders_and_each_in_the_same_one() {
        let managers = managers(5);
        let order = |node| round(&mut roster(node), &managers).0;
        assert_eq!(order(1), order(1));
        let firsts: BTreeSet<SocketAddr> = (0..64).map(|node| order(node)[0]).collect();
        assert_eq!(firsts.len(), 5, "all are somebody's first");
    }

    #[test]
    fn a_manager_that_goes_is_followed_at_once_by_another_and_is_the_first_of_the_next_round() {
        let (mut roster, managers) = (roster(1), managers(3));
        let Some(Turn::Ask(good)) = roster.next(&managers, &mut Middle) else { unreachable!() };
        roster.over(good, true);
        let (asked, wait) = round(&mut roster, &managers);
        assert_eq!(asked.len(), 2);
        assert!(!asked.contains(&good));
        assert_eq!(wait, BACK_OFF.0 / 2);
        assert_eq!(round(&mut roster, &managers).0[0], good);
    }

    #[test]
    fn a_manager_that_is_alone_is_asked_again_after_a_short_wait() {
        let (mut roster, managers) = (roster(1), managers(1));
        for _ in 0..3 {
            assert_eq!(roster.next(&managers, &mut Middle), Some(Turn::Ask(managers[0])));
            roster.over(managers[0], true);
            assert_eq!(roster.next(&managers, &mut Middle), Some(Turn::Wait(BACK_OFF.0 / 2)));
        }
        assert_eq!(roster.next(&[], &mut Middle), None);
    }
}
