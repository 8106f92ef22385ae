//! How long a peer that does not answer is left alone.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause,
const FIRST: Duration = Duration::from_millis(50);

/// and the longest. Counted from the beginning of the attempt, so that one that times out is followed by the
/// next at once: a peer that is back is found within this.
const LONGEST: Duration = Duration::from_secs(1);

/// Pauses that double while attempts fail.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failed: u32,
}

impl Backoff {
    /// When to try again, after an attempt that began at `began` and failed at `now`.
    pub fn after(&mut self, began: Instant, now: Instant) -> Instant {
        let pause = FIRST.saturating_mul(1 << self.failed.min(10)).min(LONGEST);
        self.failed = self.failed.saturating_add(1);
        // Never at once: a peer that refuses each connection is not to cost a processor.
        (began + pause).max(now + FIRST)
    }

    /// The peer is there: the next failure is the first.
    pub fn reset(&mut self) {
        self.failed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second_and_begin_anew_when_the_peer_is_there() {
        let mut backoff = Backoff::default();
        let began = Instant::now();
        let pauses: Vec<u128> =
            (0..7).map(|_| backoff.after(began, began).duration_since(began).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1_000, 1_000]);
        let late = began + Duration::from_secs(1);
        assert_eq!(backoff.after(began, late), late + FIRST, "the attempt was the pause");
        backoff.reset();
        assert_eq!(backoff.after(began, began), began + FIRST);
    }
}
