//! How one seed runs, and what may be wrong on purpose.

use mesh_raft::replica::Mistake;

use crate::network::MS;

/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000 * MS;

/// How one seed runs.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub managers: u64,
    pub agents: usize,
    /// Virtual time with faults, and then at most without.
    pub storm: u64,
    pub calm: u64,
    /// A mistake, to see that it is found.
    pub planted: Option<Planted>,
}

/// Mistakes that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// What is acknowledged becomes durable with the next sync.
    AckBeforeSync,
    /// Members are replaced without a joint configuration: two majorities can exist.
    SkippedChangeCheck,
    /// The leader makes voters of managers that never answered.
    UncheckedVoters,
    /// Agents do not tell a new session what the one before had not taken.
    LostStatus,
    /// The leader says that it has taken a status before that is durable.
    TakenEarly,
    /// A new leader gives addresses out by the store it had when it began, and they are not held against those
    /// that are taken.
    DoubleVip,
    /// A leader answers reads without asking a quorum, for as long as by its own ticks it leads.
    StaleRead,
}

impl Planted {
    /// What of it a manager's replica does.
    pub fn mistake(self) -> Option<Mistake> {
        match self {
            Self::SkippedChangeCheck => Some(Mistake::NoJoint),
            Self::DoubleVip => Some(Mistake::UncheckedClaims),
            Self::StaleRead => Some(Mistake::LeaseReads),
            _ => None,
        }
    }
}

impl Plan {
    /// Even seeds have one manager, odd ones three or five, now and then seven, which others join and leave.
    pub fn from_seed(seed: u64) -> Self {
        let managers = match seed % 16 {
            15 => 7,
            3 | 7 | 11 => 5,
            1 | 5 | 9 | 13 => 3,
            _ => 1,
        };
        let agents = 3 + usize::try_from(seed % 3).expect("small");
        Self { seed, managers, agents, storm: 25 * SECOND, calm: 60 * SECOND, planted: None }
    }
}
