//! How a value becomes the bytes of a row. Every row of every table goes through this pair and nothing else
//! does.

/// How the bytes are kept: the plain value after one byte of format.
const PLAIN: u8 = 1;

/// The largest value of one row; what is larger is cut (snapshots) or refused (entries).
pub(super) const MAX_VALUE_BYTES: usize = 24 << 20;

/// A row that does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    /// It has no format byte.
    #[error("empty row in {table}")]
    Empty { table: &'static str },
    /// It has a format that is not known.
    #[error("row of unknown format {found} in {table}")]
    Format { table: &'static str, found: u8 },
    /// It is larger than what is ever written.
    #[error("row of {bytes} bytes in {table}")]
    TooLarge { table: &'static str, bytes: usize },
}

/// The row for `value`.
pub(super) fn seal(table: &'static str, value: &[u8]) -> Result<Vec<u8>, FrameError> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(FrameError::TooLarge { table, bytes: value.len() });
    }
    let mut row = Vec::with_capacity(value.len() + 1);
    row.push(PLAIN);
    row.extend_from_slice(value);
    Ok(row)
}

/// The value in `row`.
pub(super) fn open<'a>(table: &'static str, row: &'a [u8]) -> Result<&'a [u8], FrameError> {
    match row {
        [] => Err(FrameError::Empty { table }),
        [PLAIN, value @ ..] if value.len() <= MAX_VALUE_BYTES => Ok(value),
        [PLAIN, value @ ..] => Err(FrameError::TooLarge { table, bytes: value.len() }),
        [found, ..] => Err(FrameError::Format { table, found: *found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_and_nothing_else() {
        let row = seal("log", b"value").expect("small");
        assert_eq!(open("log", &row), Ok(&b"value"[..]));
        assert_eq!(open("log", &[]), Err(FrameError::Empty { table: "log" }));
        assert_eq!(open("log", &[9, 1]), Err(FrameError::Format { table: "log", found: 9 }));
    }

    #[test]
    fn rows_are_bounded() {
        let large = vec![PLAIN; MAX_VALUE_BYTES + 2];
        let refused = FrameError::TooLarge { table: "log", bytes: MAX_VALUE_BYTES + 1 };
        assert_eq!(seal("log", &large[1..]), Err(refused.clone()));
        assert_eq!(open("log", &large), Err(refused));
    }
}
