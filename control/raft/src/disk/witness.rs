//! The first page of a state file: what it is, and the number of the last commit that was durable.
//!
//! redb makes a commit durable with one sync. After an unclean stop it takes the newer of its two commits
//! whose pages hold, and cannot tell one that was torn, which nobody was told of, from one that was
//! acknowledged and rotted: it goes back, and says nothing. Here the number of each commit is noted after its
//! sync, without one of its own: the next commit's sync, or [`super::Disk::rest`] after a while without one,
//! takes it along. A state older than the number was damaged; a state newer by one was never noted.
//!
//! Layout, numbers little endian: `meshraft`, the format (4 bytes) and 16 bytes of SHA-256 over both; at 512
//! and at 1024 a note each, in turns: its length (2 bytes), a row as [`super::frame`] makes it, and 16 bytes
//! of SHA-256 over both. A note that does not hold is as if it were not there: the other one is one older.

use std::io;

use redb::StorageBackend;
use sha2::{Digest as _, Sha256};

use super::frame::{self, FrameError, Place, RowKey};
use super::sealing::Sealing;

/// Bytes of the page. What redb keeps begins after it.
pub(super) const PAGE: u64 = 4096;

/// Format of the file as a whole, counted up when a reader of this one would go wrong.
pub(super) const FORMAT: u32 = 2;

const MAGIC: [u8; 8] = *b"meshraft";
const HEAD: usize = 28;
const SLOT: usize = 512;
const SUM: usize = 16;

/// Why the page does not read, or cannot be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WitnessError {
    #[error("it does not begin as a state file")]
    Magic,
    #[error("format {found}")]
    Format { found: u32 },
    #[error("neither note of its last commit holds")]
    Nothing,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Begins a file that is empty.
pub(super) fn create(medium: &dyn StorageBackend) -> Result<(), WitnessError> {
    medium.set_len(PAGE)?;
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&FORMAT.to_le_bytes());
    head.extend_from_slice(&sum(&head));
    Ok(medium.write(0, &head)?)
}

/// Whether this is a state file at all, and of the format known here.
pub(super) fn check(medium: &dyn StorageBackend) -> Result<(), WitnessError> {
    let mut head = [0; HEAD];
    if medium.len()? <= PAGE {
        return Err(WitnessError::Magic);
    }
    medium.read(0, &mut head)?;
    let (said, kept) = head.split_at(HEAD - SUM);
    let (magic, format) = said.split_at(MAGIC.len());
    if magic != MAGIC || sum(said) != kept {
        return Err(WitnessError::Magic);
    }
    let found = format.try_into().map(u32::from_le_bytes).map_err(|_| WitnessError::Magic)?;
    if found == FORMAT { Ok(()) } else { Err(WitnessError::Format { found }) }
}

/// Notes that `commit` is durable.
pub(super) fn note(medium: &dyn StorageBackend, sealing: &Sealing, commit: u64) -> Result<(), WitnessError> {
    let slot = commit % 2;
    let row = frame::seal(sealing, place(slot), &commit.to_le_bytes())?;
    let length = u16::try_from(row.len()).unwrap_or(u16::MAX);
    let mut note = length.to_le_bytes().to_vec();
    note.extend_from_slice(&row);
    note.extend_from_slice(&sum(&note));
    Ok(medium.write(offset(slot), &note)?)
}

/// The newest commit that was noted.
pub(super) fn newest(medium: &dyn StorageBackend, sealing: &Sealing) -> Result<u64, WitnessError> {
    let mut page = [0; SLOT];
    let mut newest = None;
    for slot in [0, 1] {
        medium.read(offset(slot), &mut page)?;
        newest = newest.max(read(&page, sealing, slot));
    }
    newest.ok_or(WitnessError::Nothing)
}

fn read(page: &[u8; SLOT], sealing: &Sealing, slot: u64) -> Option<u64> {
    let length = usize::from(u16::from_le_bytes(*page.first_chunk()?));
    let note = page.get(..2 + length)?;
    let kept = page.get(2 + length..2 + length + SUM)?;
    if sum(note) != kept {
        return None;
    }
    let value = frame::open(sealing, place(slot), &note[2..]).ok()?;
    value.as_ref().try_into().map(u64::from_le_bytes).ok()
}

fn sum(bytes: &[u8]) -> [u8; SUM] {
    let digest = Sha256::digest(bytes);
    std::array::from_fn(|at| digest[at])
}

fn place(slot: u64) -> Place<'static> {
    Place { table: "witness", key: RowKey::Number(slot) }
}

/// Each in sectors of its own, so that a torn write of one leaves the other.
fn offset(slot: u64) -> u64 {
    (slot + 1) * SLOT as u64
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;

    fn page(commits: std::ops::Range<u64>) -> InMemoryBackend {
        let medium = InMemoryBackend::new();
        create(&medium).expect("made");
        medium.set_len(2 * PAGE).expect("grown");
        for commit in commits {
            note(&medium, &Sealing::Plain, commit).expect("noted");
        }
        medium
    }

    fn flip(medium: &InMemoryBackend, bit: u64) {
        let mut byte = [0];
        medium.read(bit / 8, &mut byte).expect("there");
        medium.write(bit / 8, &[byte[0] ^ (1 << (bit % 8))]).expect("there");
    }

    #[test]
    fn the_newest_note_counts() {
        let medium = page(1..8);
        check(&medium).expect("a state file");
        assert_eq!(newest(&medium, &Sealing::Plain).expect("noted"), 7);
        assert!(matches!(newest(&page(1..1), &Sealing::Plain), Err(WitnessError::Nothing)));
    }

    #[test]
    fn no_flipped_bit_changes_more_than_by_one_commit() {
        let medium = page(1..8);
        for bit in 0..PAGE * 8 {
            flip(&medium, bit);
            let head = check(&medium);
            if bit < HEAD as u64 * 8 {
                assert!(matches!(head, Err(WitnessError::Magic)), "bit {bit}: {head:?}");
            } else {
                head.expect("the head is as it was");
            }
            let seen = newest(&medium, &Sealing::Plain).expect("one of two");
            assert!(seen == 7 || seen == 6, "bit {bit}: {seen}");
            flip(&medium, bit);
        }
    }

    #[test]
    fn another_format_is_told_from_damage() {
        let medium = page(1..2);
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&9_u32.to_le_bytes());
        head.extend_from_slice(&sum(&head));
        medium.write(0, &head).expect("written");
        assert!(matches!(check(&medium), Err(WitnessError::Format { found: 9 })));
    }
}
