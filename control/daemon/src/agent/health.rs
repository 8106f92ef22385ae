//! When a task is probed, and what follows from the answers: a pure state machine.
//!
//! The first probe comes at once after the start. Until the first success a task is starting; failures within
//! the start period do not count. After it one failure makes the task failing, which takes it out of the
//! balancers, and as many in a row as its check says make it unhealthy, which ends it.

use std::time::Duration;

use mesh_core::object::Health;
use mesh_runtime::health::{HealthCheck, ProbeOutcome};

/// One task under observation. Times are counted from the task's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitor {
    check: HealthCheck,
    health: Health,
    /// Failures in a row that count.
    failures: u32,
}

impl Monitor {
    /// Begins with what was known of the task.
    pub fn new(check: HealthCheck, known: Health) -> Self {
        let health = if known == Health::None { Health::Starting } else { known };
        Self { check, health, failures: u32::from(health == Health::Failing) }
    }

    /// Whether the last probe failed, and that counts.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// How it is probed.
    pub fn check(&self) -> &HealthCheck {
        &self.check
    }

    /// Takes in what came of the probe that began at `begun`; says how the task is now.
    pub fn take_in(&mut self, begun: Duration, outcome: &ProbeOutcome) -> Health {
        let early = self.health == Health::Starting && begun < self.check.start_period;
        match (outcome.healthy, early) {
            (true, _) => {
                self.failures = 0;
                self.health = Health::Healthy;
            }
            (false, true) => {}
            (false, false) => {
                self.failures = self.failures.saturating_add(1);
                self.health = self.failing();
            }
        }
        self.health
    }

    fn failing(&self) -> Health {
        match self.health {
            _ if self.failures >= self.check.retries => Health::Unhealthy,
            Health::Starting => Health::Starting,
            _ => Health::Failing,
        }
    }

    /// Time from the end of a probe, at `now`, to the next one; `None`: there is none.
    pub fn wait(&self, now: Duration) -> Option<Duration> {
        match self.health {
            Health::Unhealthy => None,
            Health::Starting if now < self.check.start_period => {
                // Not beyond the period's end: the failures that count begin there.
                Some(self.check.start_interval.min(self.check.start_period.saturating_sub(now)))
            }
            _ => Some(self.check.interval),
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_runtime::health::Probe;

    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Every second, within a start period of one second every 100 ms; three failures are too many.
    fn check() -> HealthCheck {
        HealthCheck {
            probe: Probe::Exec(vec!["x".to_owned()]),
            interval: millis(1000),
            timeout: millis(500),
            start_period: millis(1000),
            start_interval: millis(100),
            retries: 3,
        }
    }

    /// Lives through probes that take 10 ms each; `answers` says when one succeeds, by its beginning. Gives
    /// each change of health with the time at which it was known.
    fn live(mut monitor: Monitor, until: u64, healthy: impl Fn(u64) -> bool) -> Vec<(u64, Health)> {
        let (mut now, mut changes, mut known) = (0, Vec::new(), monitor.health);
        while now <= until {
            let outcome = ProbeOutcome { healthy: healthy(now), output: String::new() };
            let health = monitor.take_in(millis(now), &outcome);
            now += 10;
            if health != known {
                changes.push((now, health));
                known = health;
            }
            let Some(wait) = monitor.wait(millis(now)) else { break };
            assert!(!wait.is_zero(), "no probe follows on another at once");
            now += u64::try_from(wait.as_millis()).unwrap();
        }
        changes
    }

    #[test]
    fn a_task_that_is_healthy_at_once_is_known_to_be_after_one_probe() {
        assert_eq!(live(Monitor::new(check(), Health::None), 60_000, |_| true), [(10, Health::Healthy)]);
    }

    #[test]
    fn a_task_that_starts_slowly_is_asked_often_within_the_start_period() {
        let changes = live(Monitor::new(check(), Health::None), 60_000, |now| now >= 500);
        assert_eq!(changes, [(560, Health::Healthy)]);
    }

    #[test]
    fn failures_count_from_the_end_of_the_start_period_on() {
        let changes = live(Monitor::new(check(), Health::None), 60_000, |_| false);
        // The last probe of the period begins at 990; then come 2000, 3010 and 4020.
        assert_eq!(changes, [(4030, Health::Unhealthy)]);
        let hasty = HealthCheck { start_period: Duration::ZERO, ..check() };
        let changes = live(Monitor::new(hasty, Health::None), 60_000, |_| false);
        assert_eq!(changes, [(2030, Health::Unhealthy)]);
    }

    #[test]
    fn a_success_after_the_start_period_comes_in_time_all_the_same() {
        let changes = live(Monitor::new(check(), Health::None), 60_000, |now| now > 2000);
        assert_eq!(changes, [(3020, Health::Healthy)]);
    }

    #[test]
    fn after_the_first_success_every_failure_counts_even_within_the_start_period() {
        let long = HealthCheck { start_period: millis(3_600_000), ..check() };
        let changes = live(Monitor::new(long, Health::None), 60_000, |now| now == 0);
        assert_eq!(changes, [(10, Health::Healthy), (1020, Health::Failing), (3040, Health::Unhealthy)]);
    }

    #[test]
    fn one_success_makes_up_for_all_failures() {
        // Two failures and a success, for ever.
        let changes = live(Monitor::new(check(), Health::None), 10_000, |now| (now / 1000).is_multiple_of(3));
        let states: Vec<_> = changes.iter().map(|(_, health)| *health).collect();
        assert!(states.len() >= 5, "{changes:?}");
        for pair in states.chunks(2) {
            assert!(
                pair.starts_with(&[Health::Healthy]) && !pair.contains(&Health::Unhealthy),
                "{changes:?}"
            );
        }
    }

    #[test]
    fn with_one_retry_the_first_failure_is_the_last() {
        let strict = HealthCheck { retries: 1, ..check() };
        let changes = live(Monitor::new(strict, Health::Healthy), 60_000, |now| now < 2000);
        assert_eq!(changes, [(2030, Health::Unhealthy)]);
    }

    #[test]
    fn an_adopted_task_goes_on_as_it_was_known() {
        let quiet = |known, healthy: bool| live(Monitor::new(check(), known), 60_000, move |_| healthy);
        assert_eq!(quiet(Health::Healthy, true), []);
        assert_eq!(quiet(Health::Failing, true), [(10, Health::Healthy)]);
        assert_eq!(quiet(Health::Failing, false), [(1020, Health::Unhealthy)], "one failure was known");
        assert_eq!(quiet(Health::Healthy, false), [(10, Health::Failing), (2030, Health::Unhealthy)]);
    }
}
