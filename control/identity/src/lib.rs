//! Who is who in a cluster: its certificate authority, the nodes' certificates, the join tokens, the TLS settings
//! made of them, and the keys that seal a manager's state on disk. It knows no network, no store and no clock
//! (`now` is an argument); it reads and writes only the key files it is pointed at.
//!
//! Invariants: a node's role is read from its certificate and from nowhere else; a joiner sends nothing
//! secret before the other side has shown the root certificate that the token names.

mod authority;
mod autolock;
mod base36;
mod certificate;
mod data_keys;
mod error;
pub mod files;
#[cfg(test)]
mod handshake;
mod live;
mod refusal;
mod renewal;
mod seal;
pub mod tls;
mod token;
mod trust;

pub use authority::{Authority, CertificateRequest, NODE_CERTIFICATE_LIFE};
pub use autolock::{KeyFile, LockError, ManagerKeys, UnlockKey};
pub use certificate::{Issuer, PeerIdentity, RootCertificate, organizational_unit, read_certificate, to_pem};
pub use data_keys::DataKeys;
pub use error::IdentityError;
pub use live::LiveTls;
pub use refusal::Refusal;
pub use renewal::{CLOCK_TOLERANCE, Moment, Renewal, RenewalState, compare_clocks};
pub use token::{JoinToken, RootDigest, TokenSecret};
pub use trust::TrustBundle;
