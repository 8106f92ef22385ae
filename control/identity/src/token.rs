//! Join tokens in Swarm's form: `SWMTKN-1-<digest of the root certificate>-<secret>`.

use std::fmt;
use std::str::FromStr;

use crate::base36;
use crate::error::IdentityError;

const PREFIX: &str = "SWMTKN";
const VERSION: &str = "1";
const DIGEST_WIDTH: usize = 50;
const SECRET_WIDTH: usize = 25;

/// SHA-256 of a root certificate's DER form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RootDigest(pub [u8; 32]);

impl fmt::Display for RootDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base36::encode(&self.0, DIGEST_WIDTH))
    }
}

/// The secret part of a token: 128 random bits, 25 characters of base36. Its `Debug` form hides it.
#[derive(Clone, Copy)]
pub struct TokenSecret([u8; 16]);

impl TokenSecret {
    /// A secret of these random bits.
    pub fn from_random(bits: u128) -> Self {
        Self(bits.to_be_bytes())
    }

    /// Compares without telling by its duration where the two differ.
    pub fn matches(&self, other: &Self) -> bool {
        let difference = self.0.iter().zip(other.0).fold(0, |seen, (ours, theirs)| seen | (ours ^ theirs));
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Display for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base36::encode(&self.0, SECRET_WIDTH))
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(…)")
    }
}

impl FromStr for TokenSecret {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let refused = |reason| IdentityError::Token { reason };
        if text.len() != SECRET_WIDTH {
            return Err(refused("its secret is not 25 characters long"));
        }
        base36::decode(text).map(Self).ok_or_else(|| refused("its secret is not base36 of 16 bytes"))
    }
}

/// What a machine needs to join: which cluster, and the right to.
#[derive(Debug, Clone, Copy)]
pub struct JoinToken {
    /// The root certificate that the manager has to show.
    pub root: RootDigest,
    /// What the manager compares.
    pub secret: TokenSecret,
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}-{VERSION}-{}-{}", self.root, self.secret)
    }
}

impl FromStr for JoinToken {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let refused = |reason| IdentityError::Token { reason };
        let mut parts = text.trim().split('-');
        if parts.next() != Some(PREFIX) {
            return Err(refused("it does not begin with SWMTKN"));
        }
        if parts.next() != Some(VERSION) {
            return Err(refused("its version is not 1"));
        }
        let (Some(digest), Some(secret), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(refused("it does not have four parts"));
        };
        if digest.len() != DIGEST_WIDTH {
            return Err(refused("its digest is not 50 characters long"));
        }
        let root = base36::decode(digest).ok_or_else(|| refused("its digest is not base36 of 32 bytes"))?;
        Ok(Self { root: RootDigest(root), secret: secret.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken { root: RootDigest([0xab; 32]), secret: TokenSecret::from_random(7) }
    }

    #[test]
    fn has_swarms_form_and_reads_back() {
        let text = token().to_string();
        let parts: Vec<&str> = text.split('-').collect();
        assert_eq!((parts[0], parts[1], parts[2].len(), parts[3].len()), ("SWMTKN", "1", 50, 25));
        let read: JoinToken = text.parse().unwrap();
        assert_eq!(read.root, token().root);
        assert!(read.secret.matches(&token().secret));
        assert!(!read.secret.matches(&TokenSecret::from_random(8)));
    }

    #[test]
    fn what_is_no_token_is_refused_with_the_reason() {
        let good = token().to_string();
        let too_large = format!("SWMTKN-1-{}-{}", "z".repeat(50), "0".repeat(25));
        for (text, reason) in [
            ("", "does not begin"),
            ("SWMTKN", "version"),
            ("SWMTKN-2-a-b", "version"),
            ("SWMTKN-1-a", "four parts"),
            ("SWMTKN-1-a-b", "digest is not 50"),
            (&format!("{good}-x"), "four parts"),
            (&format!("{good}0"), "secret is not 25"),
            (&good.to_uppercase(), "digest is not base36"),
            (&too_large, "digest is not base36"),
        ] {
            let error = text.parse::<JoinToken>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn the_secret_does_not_reach_a_log() {
        assert!(!format!("{:?}", token()).contains(&token().secret.to_string()));
    }
}
