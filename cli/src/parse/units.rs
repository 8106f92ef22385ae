//! Durations, CPUs and sizes.

/// A duration as Go reads it (`1h2m3.5s`, `500ms`), in nanoseconds.
pub fn duration(text: &str) -> Result<i64, String> {
    let refused = || format!("invalid duration {text:?}: as in 10s, 1m30s, 500ms");
    let mut rest = text;
    let mut total: u128 = 0;
    if text == "0" {
        return Ok(0);
    }
    if text.is_empty() {
        return Err(refused());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refused)?;
        let (number, behind) = rest.split_at(digits);
        let letters = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        let scale: u128 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(refused()),
        };
        total = decimal(number, scale).and_then(|part| total.checked_add(part)).ok_or_else(refused)?;
        rest = behind;
    }
    i64::try_from(total).map_err(|_| refused())
}

/// CPUs, as in `0.5`, in 10⁻⁹ cores.
pub fn cpus(text: &str) -> Result<i64, String> {
    decimal(text, 1_000_000_000)
        .and_then(|nanos| i64::try_from(nanos).ok())
        .ok_or_else(|| format!("invalid number of CPUs {text:?}: as in 0.5 or 2"))
}

/// A size with a binary unit (`64m`, `1.5g`, `512k`, bytes without one), in bytes.
pub fn memory(text: &str) -> Result<i64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
    let unit = lower[number.len()..].trim_start();
    let scale: Option<u128> = match unit {
        "" | "b" => Some(1),
        "k" | "kb" | "kib" => Some(1 << 10),
        "m" | "mb" | "mib" => Some(1 << 20),
        "g" | "gb" | "gib" => Some(1 << 30),
        "t" | "tb" | "tib" => Some(1 << 40),
        _ => None,
    };
    scale
        .and_then(|scale| decimal(number, scale))
        .and_then(|bytes| i64::try_from(bytes).ok())
        .ok_or_else(|| format!("invalid size {text:?}: as in 64m, 1.5g or a number of bytes"))
}

/// `number` × `scale`, what is below one cut off.
fn decimal(number: &str, scale: u128) -> Option<u128> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && part.is_empty() || part.len() > 18 {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u128>().ok() };
    let divisor = 10_u128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let fraction = digits(part)?.checked_mul(scale)? / divisor;
    digits(whole)?.checked_mul(scale)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, nanos) in [
            ("0", 0),
            ("5s", 5_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1h2m3.5s", 3_723_500_000_000),
            ("500ms", 500_000_000),
            ("1.5h", 5_400_000_000_000),
            ("7us", 7_000),
            ("9ns", 9),
        ] {
            assert_eq!(duration(text), Ok(nanos), "{text}");
        }
        let beyond = format!("{}ns1ns", u128::MAX);
        for text in ["", "5", "s", "5x", "-5s", "5s5", "1..5s", "99999999999999h", " 5s", &beyond] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_of_cpus() {
        for (text, nanos) in
            [("0.5", 500_000_000), ("2", 2_000_000_000), (".25", 250_000_000), ("0.000000001", 1)]
        {
            assert_eq!(cpus(text), Ok(nanos), "{text}");
        }
        for text in ["", ".", "x", "-1", "1e3", "1.2.3"] {
            assert!(cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("64m", 64 << 20),
            ("1.5g", 3 << 29),
            ("512k", 512 << 10),
            ("10", 10),
            ("10b", 10),
            ("1GiB", 1 << 30),
            ("2 mb", 2 << 20),
        ] {
            assert_eq!(memory(text), Ok(bytes), "{text}");
        }
        for text in ["", "m", "64x", "-1m", "9999999999t"] {
            assert!(memory(text).is_err(), "{text}");
        }
    }
}
