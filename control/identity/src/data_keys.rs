//! The keys that seal a manager's log and snapshots. There is one that seals and older ones that only open
//! what was sealed before a rotation.
//!
//! Invariant: there is always a key that seals, and no two keys share a number.

use mesh_core::id::Entropy;
use zeroize::Zeroizing;

use crate::seal::{self, KEY_LEN, SealKey};

/// Bytes of a key's number, in front of each sealed text (big endian).
const NUMBER_LEN: usize = 4;

/// A text that cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It is longer than the cipher can seal.
    #[error("{len} bytes are too many to be sealed at once")]
    TooLong {
        /// Its bytes.
        len: usize,
    },
    /// It is too short to have been sealed.
    #[error("{len} bytes are too few for a sealed text")]
    Truncated {
        /// Its bytes.
        len: usize,
    },
    /// The key that sealed it is gone or never was.
    #[error("it was sealed with data key {number}, which is not among this manager's keys")]
    UnknownKey {
        /// The key's number.
        number: u32,
    },
    /// It was changed, or sealed for another place.
    #[error("it was changed since it was sealed, or belongs to another place")]
    Changed,
}

/// A manager's data keys, the one that seals last. Their `Debug` form shows numbers only.
#[derive(Clone)]
pub struct DataKeys {
    older: Vec<DataKey>,
    newest: DataKey,
}

#[derive(Clone)]
struct DataKey {
    number: u32,
    key: SealKey,
}

impl std::fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DataKeys").field(&self.numbers().collect::<Vec<_>>()).finish()
    }
}

impl DataKeys {
    /// The first key of a manager.
    pub fn create(entropy: &mut dyn Entropy) -> Self {
        Self { older: Vec::new(), newest: DataKey { number: 1, key: seal::new_key(entropy) } }
    }

    /// Seals with a new key from now on; what was sealed before can still be opened.
    pub fn rotate(&mut self, entropy: &mut dyn Entropy) {
        let number = self.newest.number.wrapping_add(1);
        let newest = DataKey { number, key: seal::new_key(entropy) };
        self.older.push(std::mem::replace(&mut self.newest, newest));
    }

    /// Forgets the older keys. To be called when nothing that they sealed is left on disk.
    pub fn retire_older(&mut self) {
        self.older.clear();
    }

    /// The number of the key that seals.
    pub fn newest(&self) -> u32 {
        self.newest.number
    }

    /// Numbers of all keys, the one that seals last.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.all().map(|key| key.number)
    }

    fn all(&self) -> impl Iterator<Item = &DataKey> {
        self.older.iter().chain([&self.newest])
    }

    /// Seals `plain` for `context`, which says what it is and where it stands (the index of a log entry), so
    /// that it cannot be put in another's place.
    pub fn seal(
        &self,
        context: &[u8],
        plain: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>, SealError> {
        let text = seal::seal(&self.newest.key, context, plain, entropy)
            .ok_or(SealError::TooLong { len: plain.len() })?;
        Ok([self.newest.number.to_be_bytes().as_slice(), &text].concat())
    }

    /// Opens what [`Self::seal`] made for the same context.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (number, text) =
            sealed.split_first_chunk::<NUMBER_LEN>().ok_or(SealError::Truncated { len: sealed.len() })?;
        let number = u32::from_be_bytes(*number);
        let found = self.all().find(|key| key.number == number);
        let key = found.ok_or(SealError::UnknownKey { number })?;
        seal::open(&key.key, context, text).ok_or(SealError::Changed)
    }

    /// Each key's number and bytes, one after the other, the one that seals last.
    pub(crate) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity((NUMBER_LEN + KEY_LEN) * (self.older.len() + 1)));
        for key in self.all() {
            bytes.extend_from_slice(&key.number.to_be_bytes());
            bytes.extend_from_slice(&*key.key);
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` when it is something else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut keys = Vec::new();
        let mut rest = bytes;
        while let Some((number, after)) = rest.split_first_chunk::<NUMBER_LEN>() {
            let (key, after) = after.split_first_chunk::<KEY_LEN>()?;
            keys.push(DataKey { number: u32::from_be_bytes(*number), key: Zeroizing::new(*key) });
            rest = after;
        }
        let newest = keys.pop().filter(|_| rest.is_empty())?;
        Some(Self { older: keys, newest })
    }
}

#[cfg(test)]
#[path = "data_keys_tests.rs"]
mod tests;
