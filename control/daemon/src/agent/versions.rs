//! Which version of the assignments the network holds: versions that were taken in wait for the view that was
//! made from them.

use std::collections::VecDeque;

/// Versions that wait at most. With more, the newest stands for the one before it too.
const WAITING: usize = 64;

/// Versions on their way into the network.
#[derive(Debug, Default)]
pub(super) struct Versions {
    /// Taken in since the last view was made.
    fresh: Option<u64>,
    /// Number of a view and version it was made from, in order.
    waiting: VecDeque<(u64, u64)>,
    /// Number of the newest view that the network is as, with nothing missing.
    applied: u64,
}

impl Versions {
    /// Assignments of this version were taken in.
    pub fn take_in(&mut self, version: u64) {
        self.fresh = Some(version);
    }

    /// The newest view is this one, and made from all that was taken in. Gives back a version that is
    /// applied by now.
    pub fn rendered(&mut self, generation: u64) -> Option<u64> {
        let version = self.fresh.take()?;
        if self.waiting.len() == WAITING {
            self.waiting.pop_back();
        }
        self.waiting.push_back((generation, version));
        self.applied(self.applied)
    }

    /// The network is as this view says. Gives back a version that is applied by now.
    pub fn applied(&mut self, generation: u64) -> Option<u64> {
        self.applied = self.applied.max(generation);
        let done = self.waiting.partition_point(|(waiting, _)| *waiting <= self.applied);
        self.waiting.drain(..done).next_back().map(|(_, version)| version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_applied_with_the_view_made_from_it() {
        let mut versions = Versions::default();
        assert_eq!(versions.rendered(1), None, "nothing was taken in");
        versions.take_in(7);
        assert_eq!(versions.rendered(2), None);
        versions.take_in(8);
        versions.take_in(9);
        assert_eq!(versions.rendered(3), None);
        assert_eq!(versions.applied(1), None);
        assert_eq!(versions.applied(2), Some(7));
        assert_eq!(versions.applied(3), Some(9));
        assert_eq!(versions.applied(3), None);
    }

    #[test]
    fn a_version_that_changes_no_view_is_applied_at_once() {
        let mut versions = Versions::default();
        assert_eq!(versions.applied(4), None);
        versions.take_in(7);
        assert_eq!(versions.rendered(4), Some(7));
    }

    #[test]
    fn views_that_were_passed_over_are_applied_with_the_newest() {
        let mut versions = Versions::default();
        for version in 1..=3 {
            versions.take_in(version);
            assert_eq!(versions.rendered(version), None);
        }
        assert_eq!(versions.applied(3), Some(3));
    }

    #[test]
    fn a_network_that_cannot_be_made_holds_back_a_bounded_number() {
        let mut versions = Versions::default();
        for version in 1..=1000 {
            versions.take_in(version);
            assert_eq!(versions.rendered(version), None);
        }
        assert_eq!(versions.waiting.len(), WAITING);
        assert_eq!(versions.applied(999), Some(63), "none that is not applied");
        assert_eq!(versions.applied(1000), Some(1000));
    }
}
