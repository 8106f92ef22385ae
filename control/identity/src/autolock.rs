//! Autolock: a manager's keys at rest. The data keys and the node's own key lie in one key file, sealed with the
//! cluster's unlock key. With autolock the unlock key is not on the machine: whoever starts the daemon types
//! it. Without, it lies beside them in the file, so that turning autolock on, off, or to a new key rewrites
//! this file and nothing of the data.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
use mesh_core::id::Entropy;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::data_keys::DataKeys;
use crate::seal::{self, KEY_LEN, SealKey};

const PREFIX: &str = "SWMKEY-1-";

/// Begins every key file, and is the context of what is sealed in it.
const MAGIC: &[u8; 8] = b"MESHKEY1";

const CHECK_LEN: usize = 8;

/// Why keys cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// The text is no unlock key.
    #[error("invalid unlock key: {reason}; a key reads SWMKEY-1-<43 characters>")]
    Text {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The key is needed.
    #[error(
        "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm unlock\" \
         to unlock it."
    )]
    Locked,
    /// A key was given where none is needed.
    #[error("swarm is not locked")]
    NotLocked,
    /// The key is another cluster's, or from before a rotation.
    #[error("swarm could not be unlocked: invalid key provided")]
    WrongKey,
    /// The key is right, but the file is not.
    #[error("the key file is corrupt: {reason}; let this manager leave and join again")]
    Corrupt {
        /// What is wrong.
        reason: &'static str,
    },
}

/// The key that seals a cluster's keys, in Swarm's form `SWMKEY-1-<base64 of 32 bytes, no padding>`. Its
/// `Debug` form hides it.
#[derive(Clone)]
pub struct UnlockKey(SealKey);

impl UnlockKey {
    /// Draws a key.
    pub fn new(entropy: &mut dyn Entropy) -> Self {
        Self(seal::new_key(entropy))
    }

    /// Compares without telling by its duration where the two differ.
    pub fn matches(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(other.0.iter());
        let difference = pairs.fold(0, |seen, (ours, theirs)| seen | (ours ^ theirs));
        std::hint::black_box(difference) == 0
    }

    /// Tells a wrong key from a damaged file. It is a hash of 256 random bits and so gives nothing away.
    fn check(&self) -> [u8; CHECK_LEN] {
        let digest = Sha256::new().chain_update(b"unlock key check\0").chain_update(*self.0).finalize();
        std::array::from_fn(|place| digest[place])
    }
}

impl fmt::Display for UnlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", *Zeroizing::new(BASE64.encode(*self.0)))
    }
}

impl fmt::Debug for UnlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnlockKey(…)")
    }
}

impl FromStr for UnlockKey {
    type Err = LockError;

    fn from_str(text: &str) -> Result<Self, LockError> {
        let refused = |reason| LockError::Text { reason };
        let text = text.trim().strip_prefix(PREFIX).ok_or(refused("it does not begin with SWMKEY-1-"))?;
        let bytes = BASE64.decode(text).map_err(|_| refused("it is not base64"))?;
        let bytes = Zeroizing::new(bytes);
        let key =
            <[u8; KEY_LEN]>::try_from(bytes.as_slice()).map_err(|_| refused("it is not of 32 bytes"))?;
        Ok(Self(Zeroizing::new(key)))
    }
}

/// What a key file keeps.
#[derive(Clone)]
pub struct ManagerKeys {
    /// Seal the log and the snapshots.
    pub data: DataKeys,
    /// The node's certificate and key, PEM ([`crate::tls::NodeIdentity::to_pem`]).
    pub node_pem: Zeroizing<String>,
}

impl fmt::Debug for ManagerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagerKeys").field("data", &self.data).finish_non_exhaustive()
    }
}

impl ManagerKeys {
    /// The length of the data keys (4 bytes, big endian), the data keys, the node's certificate and key.
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let data = self.data.to_bytes();
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes();
        Zeroizing::new([len.as_slice(), &data, self.node_pem.as_bytes()].concat())
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let (data, node) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
        let node_pem = Zeroizing::new(std::str::from_utf8(node).ok()?.to_owned());
        Some(Self { data: DataKeys::from_bytes(data)?, node_pem })
    }
}

/// A manager's keys as they lie on disk.
#[derive(Debug, Clone)]
pub struct KeyFile {
    check: [u8; CHECK_LEN],
    /// The unlock key, when the file is not locked.
    beside: Option<UnlockKey>,
    sealed: Vec<u8>,
}

impl KeyFile {
    /// Seals the keys; with `autolock` nobody opens them without the unlock key.
    pub fn seal(
        keys: &ManagerKeys,
        unlock: &UnlockKey,
        autolock: bool,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, LockError> {
        let sealed = seal::seal(&unlock.0, MAGIC, &keys.to_bytes(), entropy)
            .ok_or(LockError::Corrupt { reason: "its content is too long" })?;
        let beside = (!autolock).then(|| unlock.clone());
        Ok(Self { check: unlock.check(), beside, sealed })
    }

    /// Whether the unlock key has to be typed.
    pub fn is_locked(&self) -> bool {
        self.beside.is_none()
    }

    /// The keys of a file that is not locked.
    pub fn open(&self) -> Result<ManagerKeys, LockError> {
        let key = self.beside.as_ref().ok_or(LockError::Locked)?;
        self.open_with(key)?.ok_or(LockError::Corrupt { reason: "its keys were changed" })
    }

    /// The unlock key of a file that is not locked.
    pub fn unlock_key(&self) -> Result<&UnlockKey, LockError> {
        self.beside.as_ref().ok_or(LockError::Locked)
    }

    /// The keys of a locked file.
    pub fn unlock(&self, key: &UnlockKey) -> Result<ManagerKeys, LockError> {
        if !self.is_locked() {
            return Err(LockError::NotLocked);
        }
        match self.open_with(key)? {
            Some(keys) => Ok(keys),
            None if key.check() == self.check => Err(LockError::Corrupt { reason: "its keys were changed" }),
            None => Err(LockError::WrongKey),
        }
    }

    /// `None` when the key does not fit or the content was changed.
    fn open_with(&self, key: &UnlockKey) -> Result<Option<ManagerKeys>, LockError> {
        let Some(bytes) = seal::open(&key.0, MAGIC, &self.sealed) else { return Ok(None) };
        let keys = ManagerKeys::from_bytes(&bytes);
        keys.map(Some).ok_or(LockError::Corrupt { reason: "its keys have an unknown form" })
    }

    /// The magic, one byte that says whether the unlock key follows, that key, its check, what is sealed.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(MAGIC.to_vec());
        bytes.push(u8::from(!self.is_locked()));
        if let Some(key) = &self.beside {
            bytes.extend_from_slice(&*key.0);
        }
        bytes.extend_from_slice(&self.check);
        bytes.extend_from_slice(&self.sealed);
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LockError> {
        const CUT: LockError = LockError::Corrupt { reason: "it is too short" };
        let rest = bytes.strip_prefix(MAGIC).ok_or(LockError::Corrupt { reason: "it is no key file" })?;
        let (beside, rest) = match rest.split_first().ok_or(CUT)? {
            (0, rest) => (None, rest),
            (1, rest) => {
                let (key, rest) = rest.split_first_chunk::<KEY_LEN>().ok_or(CUT)?;
                (Some(UnlockKey(Zeroizing::new(*key))), rest)
            }
            _ => return Err(LockError::Corrupt { reason: "it is locked in an unknown way" }),
        };
        let (check, sealed) = rest.split_first_chunk::<CHECK_LEN>().ok_or(CUT)?;
        Ok(Self { check: *check, beside, sealed: sealed.to_vec() })
    }
}

#[cfg(test)]
#[path = "autolock_tests.rs"]
mod tests;
