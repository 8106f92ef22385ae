//! Durations, sizes and states, in docker's words.

use jiff::Timestamp;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// How long, roughly.
pub fn human_duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match seconds {
        i64::MIN..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{minutes} minutes"),
        _ if hours <= 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if seconds < 14 * DAY => format!("{} days", seconds / DAY),
        _ if seconds < 61 * DAY => format!("{} weeks", seconds / (7 * DAY)),
        _ if seconds < 730 * DAY => format!("{} months", seconds / (30 * DAY)),
        _ => format!("{} years", seconds / (365 * DAY)),
    }
}

/// How long ago an RFC 3339 time is.
pub fn since(time: &str, now: Timestamp) -> String {
    let seconds = time.parse::<Timestamp>().map_or(0, |then| now.as_second() - then.as_second());
    format!("{} ago", human_duration(seconds))
}

/// The same in lower case, as docker puts it behind a state.
pub fn ago(time: &str, now: Timestamp) -> String {
    since(time, now).to_lowercase()
}

/// An RFC 3339 time as Go writes it out, in UTC: `2026-01-01 00:00:05.5 +0000 utc`.
pub fn go_time(time: &str) -> String {
    let Ok(time) = time.parse::<Timestamp>() else { return time.to_owned() };
    format!("{} +0000 utc", time.strftime("%Y-%m-%d %H:%M:%S%.f"))
}

/// A number of things: `1 node`, `3 nodes`.
pub fn counted(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// A size in binary units, four digits at most.
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    let digits = if size >= 1000.0 {
        0
    } else if size >= 100.0 {
        1
    } else if size >= 10.0 {
        2
    } else {
        3
    };
    let text = format!("{size:.digits$}");
    let short = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{short}{}", UNITS[unit])
}

/// A span in nanoseconds as Go writes it: `5s`, `1m30s`, `1.5s`, `20ms`.
pub fn go_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let fraction = |value: u64, unit: u64| {
        let rest = format!("{:09}", value % unit * (1_000_000_000 / unit));
        let rest = rest.trim_end_matches('0');
        if rest.is_empty() { String::new() } else { format!(".{rest}") }
    };
    let (hours, minutes) = (nanos / 3_600_000_000_000, nanos / 60_000_000_000 % 60);
    let seconds = nanos % 60_000_000_000;
    let body = match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}{}µs", nanos / 1_000, fraction(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}{}ms", nanos / 1_000_000, fraction(nanos, 1_000_000)),
        _ => {
            let tail = format!("{}{}s", seconds / 1_000_000_000, fraction(seconds, 1_000_000_000));
            match (hours, minutes) {
                (0, 0) => tail,
                (0, minutes) => format!("{minutes}m{tail}"),
                (hours, minutes) => format!("{hours}h{minutes}m{tail}"),
            }
        }
    };
    format!("{sign}{body}")
}

/// A word with its first letter in upper case.
pub fn title(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Text cut to `width` characters, the last one an ellipsis when something is cut.
pub fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// The first 12 characters of an id.
pub fn short_id(id: &str) -> String {
    id.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_words() {
        for (seconds, words) in [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3_600, "About an hour"),
            (7_300, "2 hours"),
            (3 * DAY, "3 days"),
            (15 * DAY, "2 weeks"),
            (70 * DAY, "2 months"),
            (1000 * DAY, "2 years"),
        ] {
            assert_eq!(human_duration(seconds), words, "{seconds}");
        }
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        assert_eq!(ago("2026-01-01T00:00:05.123456789Z", now), "5 seconds ago");
        assert_eq!(since("2025-12-31T23:59:00Z", now), "About a minute ago");
        assert_eq!(go_time("2026-01-01T00:00:05.5Z"), "2026-01-01 00:00:05.5 +0000 utc");
        assert_eq!(go_time("2026-01-01T00:00:05Z"), "2026-01-01 00:00:05 +0000 utc");
    }

    #[test]
    fn durations_as_go_writes_them() {
        for (nanos, text) in [
            (0, "0s"),
            (5_000_000_000, "5s"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (7_776_000_000_000_000, "2160h0m0s"),
            (20_000_000, "20ms"),
            (1_500, "1.5µs"),
            (7, "7ns"),
            (-1_000_000_000, "-1s"),
        ] {
            assert_eq!(go_duration(nanos), text);
        }
    }

    #[test]
    fn sizes_and_cuts() {
        assert_eq!(human_size(0), "0B");
        assert_eq!(human_size(67_108_864), "64MiB");
        assert_eq!(human_size(8_321_499_136), "7.75GiB");
        assert_eq!(ellipsis("abcdef", 4), "abc…");
        assert_eq!(ellipsis("abcd", 4), "abcd");
        assert_eq!(title("running"), "Running");
    }
}
