//! The whole store as bytes, and a digest that tells whether two stores hold the same.

use sha2::{Digest, Sha256};

use super::{DecodeError, Store};

/// Version of the snapshot's encoding.
pub const SNAPSHOT_FORMAT: u16 = 1;

/// Largest snapshot, in bytes.
pub const SNAPSHOT_MAX: usize = 4 << 30;

impl Store {
    /// SHA-256 over the contents in key order. Two stores with the same objects have the same digest,
    /// whatever happened before; [`Store::index`] is not part of it.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::new().finalize().into()
    }

    /// Everything, for a replica that starts from here.
    pub fn to_snapshot(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_extend(&self.index, SNAPSHOT_FORMAT.to_le_bytes().to_vec())
    }

    /// Reads a snapshot back; its indexes are built anew and its invariants checked.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, DecodeError> {
        let index = super::transaction::decode(bytes, SNAPSHOT_FORMAT, SNAPSHOT_MAX)?;
        Ok(Self { index, ..Self::default() })
    }
}
