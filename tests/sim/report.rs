//! What runs saw.

use std::collections::BTreeMap;
use std::fmt;

use crate::fault::{FAULTS, Fault};
use crate::ledger::Violation;

/// What a run saw.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub trace: u64,
    pub events: u64,
    pub terms: u64,
    pub committed: u64,
    pub conflicts: u64,
    pub lost: u64,
    pub changes: u64,
    pub reads: u64,
    pub snapshots: u64,
    pub crashes: u64,
    pub running: u64,
    /// Sessions that went on with what their agent had.
    pub resumed: u64,
    pub faults: BTreeMap<Fault, u64>,
}

impl Report {
    pub fn add(&mut self, other: &Self) {
        self.trace ^= other.trace;
        self.events += other.events;
        self.terms += other.terms;
        self.committed += other.committed;
        self.conflicts += other.conflicts;
        self.lost += other.lost;
        self.changes += other.changes;
        self.reads += other.reads;
        self.snapshots += other.snapshots;
        self.crashes += other.crashes;
        self.running += other.running;
        self.resumed += other.resumed;
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
    }

    /// A simulation in which nothing happens finds nothing.
    pub fn assert_that_it_was_not_quiet(&self, seeds: u64) {
        if seeds < 20 {
            return;
        }
        for fault in FAULTS {
            assert!(self.faults.contains_key(&fault), "{fault:?} never struck");
        }
        for (what, count, floor) in [
            ("commits", self.committed, 50),
            ("reads", self.reads, 5),
            ("elections", self.terms, 3),
            ("changes of members", self.changes, 1),
            ("crashes", self.crashes, 2),
            ("running tasks", self.running, 3),
            ("resumed sessions", self.resumed, 3),
        ] {
            assert!(count >= floor * seeds, "only {count} {what} in {seeds} seeds");
        }
        assert!(self.lost > 0 && self.snapshots > 0 && self.conflicts > 0, "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} events, {} terms, {} commits, {} conflicts, {} lost proposals, {} changes of members, {} reads, {} snapshots \
             installed, {} crashes, {} sessions resumed, {} tasks running at the end, faults {:?}, trace {:016x}",
            self.events,
            self.terms,
            self.committed,
            self.conflicts,
            self.lost,
            self.changes,
            self.reads,
            self.snapshots,
            self.crashes,
            self.resumed,
            self.running,
            self.faults,
            self.trace
        )
    }
}

/// A run that ended early.
#[derive(Debug)]
pub struct Failure {
    pub violation: Violation,
    /// Of everything up to it.
    pub trace: u64,
    pub events: u64,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (after {} events, trace {:016x})", self.violation, self.events, self.trace)
    }
}
