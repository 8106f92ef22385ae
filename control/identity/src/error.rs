//! What can be wrong with keys, certificates and tokens.

use std::io;
use std::path::PathBuf;

use crate::autolock::LockError;

/// A key, certificate or token that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The text is no join token.
    #[error("invalid join token: {reason}; a token reads SWMTKN-1-<50 characters>-<25 characters>")]
    Token {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The manager showed no root certificate with the token's digest.
    #[error(
        "remote CA does not match fingerprint. Expected: {expected}; the token belongs to another cluster, or \
         the address to another machine"
    )]
    ForeignRoot {
        /// Digest of the token, base36.
        expected: String,
    },
    /// A certificate could not be made or read.
    #[error("{what}: {reason}")]
    Certificate {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        reason: String,
    },
    /// The certificate does not name a node, a role and a cluster.
    #[error("certificate without a usable {field}: {value:?}")]
    Subject {
        /// Part of the subject.
        field: &'static str,
        /// What stands there.
        value: String,
    },
    /// Key and certificate are not of one pair.
    #[error("the key does not belong to the certificate")]
    KeyMismatch,
    /// The cross-signed root of a rotation is not the new root's key certified by the old root.
    #[error("the cross-signed root is not the new root signed by the old one")]
    CrossSignature,
    /// A manager's keys are locked or damaged.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} is corrupt: {source}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<IdentityError>,
    },
}

impl IdentityError {
    /// A closure for `map_err` that keeps the reason's words.
    pub(crate) fn certificate<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Certificate { what, reason: error.to_string() }
    }
}
