//! Options of a service that travel as its labels `mesh.*`, because docker's objects have no field for them.

use std::time::Duration;

use crate::spec::Labels;

/// Longest time that a leaving task's connections get: a duration such as `30s`.
pub const DRAIN: &str = "mesh.drain";

/// Units of a duration's parts, the longest name first where one begins with another, in nanoseconds.
const UNITS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A label `mesh.*` whose value cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// It should be a duration.
    #[error("{text:?} is no duration: give a number and a unit, as in 30s, 1m30s or 500ms")]
    Duration {
        /// What was given, shortened.
        text: String,
    },
}

/// The time that a leaving task's connections get ([`DRAIN`]); `None` where nothing is said.
pub fn drain(labels: &Labels) -> Result<Option<Duration>, LabelError> {
    labels.get(DRAIN).map(|text| duration(text)).transpose()
}

/// A duration as Go writes it: numbers, with a fraction if need be, each with its unit. `0` needs none.
fn duration(text: &str) -> Result<Duration, LabelError> {
    let refused = || LabelError::Duration { text: text.chars().take(64).collect() };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    while let Some((part, after)) = part(rest) {
        total = total.checked_add(part).ok_or_else(refused)?;
        rest = after;
    }
    if rest.is_empty() && !text.is_empty() { Ok(total) } else { Err(refused()) }
}

/// The first part of a duration, and what follows it.
fn part(text: &str) -> Option<(Duration, &str)> {
    let number = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(number);
    let (unit, nanos) = UNITS.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()?.checked_mul(nanos)? };
    // Digits beyond nanoseconds of an hour change nothing.
    let digits = fraction.get(..fraction.len().min(13))?;
    let scale = 10_u128.pow(u32::try_from(digits.len()).ok()?);
    let numerator = if digits.is_empty() { 0 } else { digits.parse::<u128>().ok()? };
    let fraction = u64::try_from(numerator * u128::from(nanos) / scale).ok()?;
    Some((Duration::from_nanos(whole.checked_add(fraction)?), &rest[unit.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Result<Option<Duration>, LabelError> {
        drain(&Labels::from([(DRAIN.to_owned(), text.to_owned())]))
    }

    #[test]
    fn a_drain_time_is_a_duration_with_units() {
        assert_eq!(drain(&Labels::new()), Ok(None));
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("1.5s", 1500),
            (".5s", 500),
            ("2h", 7_200_000),
            ("1000us", 1),
            ("1000µs", 1),
            ("1000000ns", 1),
        ] {
            assert_eq!(told(text), Ok(Some(Duration::from_millis(millis))), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_and_said_back_shortened() {
        for text in ["", "10", "s", "-1s", "1x", "1s ", "1..5s", ".s", "1m30", "99999999999999999999h"] {
            assert_eq!(told(text), Err(LabelError::Duration { text: text.to_owned() }), "{text}");
        }
        let LabelError::Duration { text } = told(&"9".repeat(1000)).unwrap_err();
        assert_eq!(text.len(), 64);
    }
}
