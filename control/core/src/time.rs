//! Points in time as the pure core knows them: handed in, never read from a clock.

use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds since the Unix epoch (enough until the year 2554).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The start of the Unix epoch, also the "never" of unset times.
    pub const ZERO: Self = Self(0);

    /// Time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The first multiple of `step` after this, so that those who wait for it wait together.
    #[must_use]
    pub fn next(self, step: Duration) -> Self {
        let step = u64::try_from(step.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self((self.0 / step).saturating_add(1).saturating_mul(step))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_stays_within_bounds() {
        let (early, late) = (Timestamp(5), Timestamp(9));
        assert_eq!(late.since(early), Duration::from_nanos(4));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(early + Duration::from_nanos(4), late);
        assert_eq!(late - Duration::from_nanos(4), early);
        assert_eq!(early + Duration::MAX, Timestamp(u64::MAX));
        assert_eq!(early - Duration::MAX, Timestamp::ZERO);
        assert_eq!(
            (early.next(Duration::from_nanos(5)), late.next(Duration::from_nanos(5))),
            (Timestamp(10), Timestamp(10))
        );
        assert_eq!(late.next(Duration::ZERO), Timestamp(10));
    }
}
