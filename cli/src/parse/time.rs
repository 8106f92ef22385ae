//! Points in time, as `--since` and `--until` take them.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::units;

/// A point in time as the API takes it (`SECONDS.NANOSECONDS` since 1970), out of seconds since 1970, a date or
/// time (RFC 3339; without a zone in `zone`), or a duration before `now`.
pub fn moment(text: &str, now: Timestamp, zone: &TimeZone) -> Result<String, String> {
    let seconds = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    if seconds(whole) && seconds(part) && part.len() <= 9 {
        return Ok(text.to_owned());
    }
    let time = units::duration(text)
        .ok()
        .and_then(|nanos| now.checked_sub(SignedDuration::from_nanos(nanos)).ok())
        .or_else(|| text.parse::<Timestamp>().ok())
        .or_else(|| local(text.parse::<DateTime>().ok()?, zone))
        .or_else(|| local(text.parse::<Date>().ok()?.to_datetime(jiff::civil::Time::midnight()), zone));
    match time {
        Some(time) => Ok(format!("{}.{:09}", time.as_second(), time.subsec_nanosecond())),
        None => Err(format!(
            "invalid time {text:?}: as in 10m (ago), 2026-01-31, 2026-01-31T12:00:00Z, or seconds since 1970"
        )),
    }
}

fn local(time: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    zone.to_timestamp(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_every_form() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        for (text, wanted) in [
            ("1700000000", "1700000000"),
            ("1700000000.5", "1700000000.5"),
            ("10m", "1799999400.000000000"),
            ("1h30m", "1799994600.000000000"),
            ("2023-11-14T22:13:20Z", "1700000000.000000000"),
            ("2023-11-14T22:13:20.123456789Z", "1700000000.123456789"),
            ("2023-11-15T00:13:20", "1700000000.000000000"),
            ("2023-11-15", "1699999200.000000000"),
        ] {
            assert_eq!(moment(text, now, &zone), Ok(wanted.to_owned()), "{text}");
        }
        for text in ["", "soon", "1700000000.1234567890", "2023-13-01", "-5s"] {
            assert!(moment(text, now, &zone).is_err(), "{text}");
        }
    }
}
