//! How a value becomes the bytes of a row. Every row of every table goes through this pair and nothing else
//! does.
//!
//! A sealed row is a byte of format, the key's number (4 bytes, little endian), a random nonce of 24 bytes and
//! XChaCha20-Poly1305's output; the associated data are the table's name and the row's key, so that a row
//! opens in its own place alone.

use std::borrow::Cow;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

use super::sealing::{DataKey, Sealing};

/// The plain value after one byte of format.
const PLAIN: u8 = 1;

/// A sealed value.
const SEALED: u8 = 2;

const NONCE_BYTES: usize = 24;

/// The largest value of one row; what is larger is cut (snapshots) or refused (entries).
pub(super) const MAX_VALUE_BYTES: usize = 24 << 20;

/// What sealing adds at most.
const OVERHEAD: usize = 64;

/// Where a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub table: &'static str,
    pub key: RowKey<'a>,
}

/// The key of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowKey<'a> {
    Name(&'a str),
    Number(u64),
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.key {
            RowKey::Name(name) => write!(f, "row {name} of {}", self.table),
            RowKey::Number(number) => write!(f, "row {number} of {}", self.table),
        }
    }
}

impl Place<'_> {
    /// Names hold no zero byte, so that no two places have the same.
    fn associated_data(&self) -> Vec<u8> {
        let mut data = self.table.as_bytes().to_vec();
        data.push(0);
        match self.key {
            RowKey::Name(name) => data.extend_from_slice(name.as_bytes()),
            RowKey::Number(number) => data.extend_from_slice(&number.to_le_bytes()),
        }
        data
    }
}

/// A row that does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    /// It has no format byte, or is cut.
    #[error("{place} is too short")]
    Short { place: String },
    /// It has a format that is not known.
    #[error("{place} has the unknown format {found}")]
    Format { place: String, found: u8 },
    /// It is larger than what is ever written.
    #[error("{place} has {bytes} bytes")]
    TooLarge { place: String, bytes: usize },
    /// It is not sealed, and should be.
    #[error("{place} is not sealed")]
    NotSealed { place: String },
    /// Its key was not handed in.
    #[error("{place} is sealed with key {id}, which is not at hand")]
    NoKey { place: String, id: u32 },
    /// It was changed, or is another place's.
    #[error("{place} was changed: its seal does not hold")]
    Broken { place: String },
}

/// The row for `value`.
pub(super) fn seal(sealing: &Sealing, place: Place<'_>, value: &[u8]) -> Result<Vec<u8>, FrameError> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(FrameError::TooLarge { place: place.to_string(), bytes: value.len() });
    }
    let mut row = Vec::with_capacity(value.len() + OVERHEAD);
    match sealing {
        Sealing::Plain => {
            row.push(PLAIN);
            row.extend_from_slice(value);
        }
        Sealing::Key(keys) => {
            let nonce: [u8; NONCE_BYTES] = rand::random();
            row.push(SEALED);
            row.extend_from_slice(&keys.current().id.to_le_bytes());
            row.extend_from_slice(&nonce);
            let payload = Payload { msg: value, aad: &place.associated_data() };
            let sealed = cipher(keys.current()).encrypt(&XNonce::from(nonce), payload);
            row.append(&mut sealed.map_err(|_| FrameError::Broken { place: place.to_string() })?);
        }
    }
    Ok(row)
}

/// The value in `row`.
pub(super) fn open<'a>(
    sealing: &Sealing,
    place: Place<'_>,
    row: &'a [u8],
) -> Result<Cow<'a, [u8]>, FrameError> {
    let at = || place.to_string();
    if row.len() > MAX_VALUE_BYTES + OVERHEAD {
        return Err(FrameError::TooLarge { place: at(), bytes: row.len() });
    }
    match (row, sealing) {
        ([], _) => Err(FrameError::Short { place: at() }),
        ([PLAIN, ..], Sealing::Key(keys)) if !keys.opens_plain() => {
            Err(FrameError::NotSealed { place: at() })
        }
        ([PLAIN, value @ ..], _) => Ok(Cow::Borrowed(value)),
        ([SEALED, rest @ ..], _) => unseal(sealing, place, rest).map(Cow::Owned),
        ([found, ..], _) => Err(FrameError::Format { place: at(), found: *found }),
    }
}

/// Whether a row is as it would be written now.
pub(super) fn is_current(sealing: &Sealing, row: &[u8]) -> bool {
    match (row, sealing) {
        ([PLAIN, ..], Sealing::Plain) => true,
        ([SEALED, rest @ ..], Sealing::Key(keys)) => rest.starts_with(&keys.current().id.to_le_bytes()),
        _ => false,
    }
}

fn unseal(sealing: &Sealing, place: Place<'_>, rest: &[u8]) -> Result<Vec<u8>, FrameError> {
    let at = || place.to_string();
    let short = || FrameError::Short { place: place.to_string() };
    let (id, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let (nonce, msg) = rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(short)?;
    let id = u32::from_le_bytes(*id);
    let key = match sealing {
        Sealing::Plain => None,
        Sealing::Key(keys) => keys.find(id),
    };
    let key = key.ok_or_else(|| FrameError::NoKey { place: at(), id })?;
    let payload = Payload { msg, aad: &place.associated_data() };
    cipher(key).decrypt(&XNonce::from(*nonce), payload).map_err(|_| FrameError::Broken { place: at() })
}

fn cipher(key: &DataKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&Key::from(key.bytes))
}

#[cfg(test)]
mod tests {
    use super::super::sealing::Keys;
    use super::*;

    const PLACE: Place<'static> = Place { table: "log", key: RowKey::Number(7) };

    fn key(id: u32) -> DataKey {
        DataKey { id, bytes: [u8::try_from(id).expect("small"); 32] }
    }

    fn sealed(id: u32) -> Sealing {
        Sealing::Key(Keys::new(key(id)))
    }

    fn place() -> String {
        "row 7 of log".to_owned()
    }

    #[test]
    fn what_is_sealed_opens_and_nothing_else() {
        for sealing in [Sealing::Plain, sealed(1)] {
            let row = seal(&sealing, PLACE, b"value").expect("small");
            assert_eq!(open(&sealing, PLACE, &row).as_deref(), Ok(&b"value"[..]));
            assert_eq!(open(&sealing, PLACE, &[]), Err(FrameError::Short { place: place() }));
            assert_eq!(open(&sealing, PLACE, &[9, 1]), Err(FrameError::Format { place: place(), found: 9 }));
        }
    }

    #[test]
    fn rows_are_bounded() {
        let large = vec![PLAIN; MAX_VALUE_BYTES + 1];
        let refused = FrameError::TooLarge { place: place(), bytes: MAX_VALUE_BYTES + 1 };
        assert_eq!(seal(&Sealing::Plain, PLACE, &large), Err(refused));
        let row = vec![PLAIN; MAX_VALUE_BYTES + OVERHEAD + 1];
        assert!(matches!(open(&Sealing::Plain, PLACE, &row), Err(FrameError::TooLarge { .. })));
    }

    #[test]
    fn every_flipped_bit_of_a_sealed_row_is_refused() {
        let sealing = Sealing::Key(Keys::new(key(1)).after(key(2)).after(key(3)));
        let row = seal(&sealing, PLACE, b"a secret").expect("small");
        for bit in 0..row.len() * 8 {
            let mut flipped = row.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let refused = open(&sealing, PLACE, &flipped).expect_err("it was changed");
            assert!(refused.to_string().contains("row 7 of log"), "{refused}");
        }
    }

    #[test]
    fn a_row_opens_in_its_place_with_its_key_alone() {
        let row = seal(&sealed(1), PLACE, b"value").expect("small");
        let broken = |place: Place<'_>| Err(FrameError::Broken { place: place.to_string() });
        for other in [
            Place { table: "log", key: RowKey::Number(8) },
            Place { table: "snapshot", key: RowKey::Number(7) },
            Place { table: "meta", key: RowKey::Name("node") },
        ] {
            assert_eq!(open(&sealed(1), other, &row), broken(other));
        }
        let no_key = Err(FrameError::NoKey { place: place(), id: 1 });
        assert_eq!(open(&sealed(2), PLACE, &row), no_key);
        assert_eq!(open(&Sealing::Plain, PLACE, &row), no_key);
        let wrong = Sealing::Key(Keys::new(DataKey { id: 1, bytes: [9; 32] }));
        assert_eq!(open(&wrong, PLACE, &row), broken(PLACE));
        let rotated = Sealing::Key(Keys::new(key(2)).after(key(1)));
        assert_eq!(open(&rotated, PLACE, &row).as_deref(), Ok(&b"value"[..]));
    }

    #[test]
    fn a_row_that_is_not_sealed_is_taken_only_from_before_there_was_a_key() {
        let row = seal(&Sealing::Plain, PLACE, b"value").expect("small");
        assert_eq!(open(&sealed(1), PLACE, &row), Err(FrameError::NotSealed { place: place() }));
        let first = Sealing::Key(Keys::new(key(1)).after_plain());
        assert_eq!(open(&first, PLACE, &row).as_deref(), Ok(&b"value"[..]));
    }
}
