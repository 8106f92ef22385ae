//! What a probe may be.

use std::time::Duration;

use super::{Checked, cut, duration, require, text, words};
use crate::spec::{HealthConfig, HealthTest};

/// Least time of a probe's schedule; Docker's.
const TIME_MIN: Duration = Duration::from_millis(1);

/// Most failures in a row that may be asked for.
const RETRIES_MAX: u32 = 1_000_000;

pub(super) fn check(health: &HealthConfig) -> Checked {
    test(&health.test)?;
    for (time, field) in [
        (health.interval, "health interval"),
        (health.timeout, "health timeout"),
        (health.start_period, "health start period"),
        (health.start_interval, "health start interval"),
    ] {
        let Some(time) = time else { continue };
        require(time >= TIME_MIN, field, "cannot be less than 1ms")?;
        duration(time, field)?;
    }
    let retries = health.retries.is_none_or(|retries| (1..=RETRIES_MAX).contains(&retries));
    require(retries, "health retries", format!("must be between 1 and {RETRIES_MAX}"))
}

fn test(test: &HealthTest) -> Checked {
    match test {
        HealthTest::Inherit | HealthTest::Disabled => Ok(()),
        HealthTest::Exec(line) => {
            words(line, "health command")?;
            let named = line.first().is_some_and(|program| !program.is_empty());
            require(named, "health command", "names no program")
        }
        HealthTest::Shell(line) => {
            text(line, "health command")?;
            require(!line.trim().is_empty(), "health command", "is empty")
        }
        HealthTest::Http { port: _, path } => {
            text(path, "health path")?;
            let plain = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
            require(plain, "health path", format!("{:?} is no path of a URL, from /", cut(path)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Port;

    fn refusal(change: impl FnOnce(&mut HealthConfig)) -> Option<String> {
        let mut health = HealthConfig::default();
        change(&mut health);
        check(&health).err().map(|refusal| refusal.to_string())
    }

    fn http(path: &str) -> HealthTest {
        HealthTest::Http { port: Port::new(80).unwrap(), path: path.to_owned() }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        let micro = Some(Duration::from_micros(999));
        for (refused, field) in [
            (refusal(|health| health.interval = micro), "health interval"),
            (refusal(|health| health.timeout = Some(Duration::ZERO)), "health timeout"),
            (refusal(|health| health.start_period = Some(Duration::MAX)), "health start period"),
            (refusal(|health| health.start_interval = micro), "health start interval"),
            (refusal(|health| health.retries = Some(0)), "health retries"),
            (refusal(|health| health.test = HealthTest::Exec(vec![])), "health command"),
            (
                refusal(|health| health.test = HealthTest::Exec(vec!["a".into(), "\0".into()])),
                "health command",
            ),
            (refusal(|health| health.test = HealthTest::Shell(" ".into())), "health command"),
            (refusal(|health| health.test = http("healthz")), "health path"),
            (refusal(|health| health.test = http("/a b")), "health path"),
            (refusal(|health| health.test = http("/a\r\nHost: b")), "health path"),
        ] {
            let refused = refused.expect(field);
            assert!(refused.contains(field), "{refused}");
        }
    }

    #[test]
    fn what_makes_sense_is_taken() {
        let least = Some(Duration::from_millis(1));
        for taken in [
            refusal(|health| health.test = HealthTest::Disabled),
            refusal(|health| health.test = http("/healthz?deep=1#x")),
            refusal(|health| health.test = HealthTest::Shell("curl -f localhost || exit 1".into())),
            refusal(|health| (health.interval, health.start_interval) = (least, least)),
        ] {
            assert_eq!(taken, None);
        }
    }
}
