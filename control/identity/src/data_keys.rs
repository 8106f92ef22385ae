//! The keys that seal a manager's log and snapshots. There is one that seals and older ones that only open
//! what was sealed before a rotation. Whoever writes log and snapshots seals with them.
//!
//! Invariant: there is always a key that seals, and no two keys share a number.

use mesh_core::id::Entropy;
use zeroize::Zeroizing;

use crate::seal::{self, KEY_LEN, SealKey};

/// Bytes of a key's number (big endian).
const NUMBER_LEN: usize = 4;

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

impl DataKey {
    fn parts(&self) -> (u32, &[u8; KEY_LEN]) {
        (self.number, &self.key)
    }
}

impl std::fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DataKeys").field(&self.iter().map(|(number, _)| number).collect::<Vec<_>>()).finish()
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

    /// Number and bytes of the key that seals.
    pub fn newest(&self) -> (u32, &[u8; KEY_LEN]) {
        self.newest.parts()
    }

    /// Number and bytes of those that only open.
    pub fn older(&self) -> impl Iterator<Item = (u32, &[u8; KEY_LEN])> {
        self.older.iter().map(DataKey::parts)
    }

    fn iter(&self) -> impl Iterator<Item = (u32, &[u8; KEY_LEN])> {
        self.older().chain([self.newest()])
    }

    /// Each key's number and bytes, one after the other, the one that seals last.
    pub(crate) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity((NUMBER_LEN + KEY_LEN) * (self.older.len() + 1)));
        for (number, key) in self.iter() {
            bytes.extend_from_slice(&number.to_be_bytes());
            bytes.extend_from_slice(key);
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
