//! The network between the machines.

use std::collections::BTreeSet;

use crate::rng::Rng;

/// Nanoseconds of a millisecond.
pub const MS: u64 = 1_000_000;

/// A machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A manager, by raft's number.
    Manager(u64),
    /// A worker, by its place in the list.
    Agent(usize),
}

/// What the network does to packets at the moment.
#[derive(Debug, Clone)]
pub struct Network {
    /// Packets in a thousand that are lost.
    pub loss: u64,
    /// Packets in a thousand that arrive twice.
    pub twice: u64,
    /// Packets in a thousand that take up to `slow`.
    pub slowed: u64,
    /// Longest delay of a slow packet, in nanoseconds.
    pub slow: u64,
    /// Pairs that do not hear each other.
    cut: BTreeSet<(Host, Host)>,
}

impl Network {
    pub fn calm() -> Self {
        Self { loss: 0, twice: 0, slowed: 0, slow: MS, cut: BTreeSet::new() }
    }

    /// Nobody of `one` hears anybody of `other`, nor the other way.
    pub fn part(&mut self, one: &[Host], other: &[Host]) {
        for a in one {
            for b in other {
                self.cut.insert((*a, *b));
                self.cut.insert((*b, *a));
            }
        }
    }

    /// `to` no longer hears `from`; the other way works.
    pub fn deafen(&mut self, from: Host, to: Host) {
        self.cut.insert((from, to));
    }

    pub fn heal(&mut self) {
        *self = Self::calm();
    }

    pub fn reaches(&self, from: Host, to: Host) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// When a packet that is sent now arrives: never, once or twice, after these many nanoseconds.
    pub fn route(&self, rng: &mut Rng, from: Host, to: Host) -> Vec<u64> {
        if !self.reaches(from, to) || rng.chance(self.loss) {
            return Vec::new();
        }
        let copies = if rng.chance(self.twice) { 2 } else { 1 };
        (0..copies).map(|_| self.delay(rng)).collect()
    }

    /// How long a packet is on its way.
    pub fn delay(&self, rng: &mut Rng) -> u64 {
        let base = rng.between(MS / 10, 2 * MS);
        if rng.chance(self.slowed) { base + rng.under(self.slow) } else { base }
    }
}
