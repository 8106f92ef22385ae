//! When to say that the agent is there, and when a manager that does not answer is given up. Pure: time comes in
//! as arguments.

use std::time::Duration;

use mesh_core::id::Entropy;
use tokio::time::Instant;

/// A manager that does not answer a heartbeat within this is given up.
pub const ANSWER: Duration = Duration::from_secs(1);

/// Heartbeats come up to this part of the interval early, so that those of many nodes do not come together.
const JITTER: u32 = 5;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// Send the heartbeat of this number.
    Send(u64),
    /// The manager is silent: turn to another.
    Silent,
}

/// The heartbeats of one session.
#[derive(Debug)]
pub struct Pulse {
    interval: Duration,
    next: Instant,
    number: u64,
    /// When the first heartbeat was sent after which nothing was heard.
    unanswered: Option<Instant>,
}

impl Pulse {
    /// Begins at once.
    pub fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, next: now, number: 0, unanswered: None }
    }

    /// From now on this is the interval.
    pub fn pace(&mut self, interval: Duration, now: Instant) {
        if self.interval != interval {
            self.interval = interval;
            self.next = self.next.min(now + interval);
        }
    }

    /// The manager said something.
    pub fn heard(&mut self) {
        self.unanswered = None;
    }

    /// When [`Self::wake`] wants to be called.
    pub fn wake_at(&self) -> Instant {
        self.unanswered.map_or(self.next, |since| self.next.min(since + ANSWER))
    }

    /// Looks at the clock.
    pub fn wake(&mut self, now: Instant, entropy: &mut dyn Entropy) -> Option<Beat> {
        if self.unanswered.is_some_and(|since| now >= since + ANSWER) {
            return Some(Beat::Silent);
        }
        if now < self.next {
            return None;
        }
        let early = u64::try_from((self.interval / JITTER).as_nanos()).unwrap_or(u64::MAX);
        self.next = now + self.interval - Duration::from_nanos(entropy.below(early.saturating_add(1)));
        self.number += 1;
        self.unanswered.get_or_insert(now);
        Some(Beat::Send(self.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Drawn(u128);

    impl Entropy for Drawn {
        fn next_u128(&mut self) -> u128 {
            self.0
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn heartbeats_come_within_the_interval_and_a_fifth_early_at_most() {
        let begin = Instant::now();
        for (drawn, wait) in [(0, SECOND), (200_000_000, SECOND * 4 / 5)] {
            let mut pulse = Pulse::new(SECOND, begin);
            assert_eq!(pulse.wake(begin, &mut Drawn(drawn)), Some(Beat::Send(1)));
            pulse.heard();
            assert_eq!(pulse.wake_at(), begin + wait);
            assert_eq!(pulse.wake(begin + wait / 2, &mut Drawn(drawn)), None);
            assert_eq!(pulse.wake(begin + wait, &mut Drawn(drawn)), Some(Beat::Send(2)));
        }
    }

    #[test]
    fn one_that_answers_nothing_is_given_up_a_second_after_the_first_unanswered_heartbeat() {
        let begin = Instant::now();
        let mut pulse = Pulse::new(SECOND / 4, begin);
        let mut now = begin;
        while pulse.wake(now, &mut Drawn(0)) != Some(Beat::Silent) {
            now = pulse.wake_at();
            assert!(now <= begin + ANSWER);
        }
        assert_eq!(now, begin + ANSWER);
    }

    #[test]
    fn whatever_is_heard_counts_as_an_answer() {
        let begin = Instant::now();
        let mut pulse = Pulse::new(SECOND / 2, begin);
        let mut now = begin;
        for number in 1..100 {
            assert_eq!(pulse.wake(now, &mut Drawn(0)), Some(Beat::Send(number)));
            now = pulse.wake_at();
            pulse.heard();
        }
    }

    #[test]
    fn a_shorter_interval_holds_at_once_and_a_longer_one_from_the_next_heartbeat_on() {
        let begin = Instant::now();
        let mut pulse = Pulse::new(SECOND * 5, begin);
        pulse.wake(begin, &mut Drawn(0));
        pulse.heard();
        pulse.pace(SECOND, begin + SECOND);
        assert_eq!(pulse.wake_at(), begin + SECOND * 2);
        pulse.pace(SECOND * 9, begin + SECOND);
        assert_eq!(pulse.wake_at(), begin + SECOND * 2);
    }
}
