//! Names that users give, checked once at the edge.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name: one DNS label (RFC 1035 section 2.3.4).
pub const NAME_MAX: usize = 63;

/// A name that is not usable, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("name must be valid as a DNS name component")]
pub struct NameError {
    /// The text that was offered, cut to 64 characters.
    pub text: String,
}

/// A service's or network's name: letters, digits, `-` and `_`, beginning and ending with a letter or a
/// digit, 1 to 63 bytes, as Swarm accepts it. Letters keep their case; DNS compares without it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        let inner = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if bytes.len() <= NAME_MAX && edge(bytes.first()) && edge(bytes.last()) && inner {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError { text: text.chars().take(64).collect() })
        }
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_swarm_takes_them() {
        for good in ["a", "web", "Web_1", "a-b", "1", &"x".repeat(63)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-web", "web-", "_w", "we b", "we.b", "wéb", &"x".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }
}
