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
        if is_label(text) {
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

fn is_label(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let inner = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    bytes.len() <= NAME_MAX && edge(bytes.first()) && edge(bytes.last()) && inner
}

/// The longest host name that the kernel takes (sethostname(2)).
const HOSTNAME_MAX: usize = 64;

/// Whether a container can have this host name: labels of RFC 1123 section 2.1, in which Docker takes `_` too.
pub fn is_container_hostname(text: &str) -> bool {
    text.len() <= HOSTNAME_MAX && text.split('.').all(is_label)
}

/// Whether a node can be called this: RFC 1123 section 2.1 as it stands, no longer than one label.
pub fn is_node_name(text: &str) -> bool {
    text.len() <= NAME_MAX && !text.contains('_') && is_container_hostname(text)
}

/// The longest name of a secret or config; Swarm's bound.
pub const CONTENT_NAME_MAX: usize = 64;

/// A name that a secret or config cannot have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContentNameError {
    /// There is none.
    #[error("name must be provided")]
    Missing,
    /// It has other characters, or too many.
    #[error(
        "invalid name, only {CONTENT_NAME_MAX} [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]"
    )]
    Characters,
}

/// A secret's or config's name: letters, digits, `-`, `_` and `.`, beginning and ending with a letter or a digit,
/// 1 to 64 bytes, as Swarm accepts it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentName(String);

impl ContentName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContentName {
    type Err = ContentNameError;

    fn from_str(text: &str) -> Result<Self, ContentNameError> {
        let bytes = text.as_bytes();
        let ends =
            [bytes.first(), bytes.last()].into_iter().all(|edge| edge.is_some_and(u8::is_ascii_alphanumeric));
        let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        match text {
            "" => Err(ContentNameError::Missing),
            _ if ends && bytes.len() <= CONTENT_NAME_MAX && bytes.iter().all(inner) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(ContentNameError::Characters),
        }
    }
}

impl TryFrom<String> for ContentName {
    type Error = ContentNameError;
    fn try_from(text: String) -> Result<Self, ContentNameError> {
        text.parse()
    }
}

impl From<ContentName> for String {
    fn from(name: ContentName) -> Self {
        name.0
    }
}

impl fmt::Display for ContentName {
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

    #[test]
    fn host_names_of_containers_may_have_underscores_and_nodes_not() {
        for good in ["a", "a.b-c.d", "1", &"x".repeat(63)] {
            assert!(is_container_hostname(good) && is_node_name(good), "{good}");
        }
        for good in ["app_1", "a_b.c_d", &format!("{}.y", "x".repeat(62))] {
            assert!(is_container_hostname(good) && !is_node_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "_a", "a_", "a..b", ".a", "a b", "é", &"x".repeat(64), &"x.".repeat(33)]
        {
            assert!(!is_container_hostname(bad) && !is_node_name(bad), "{bad}");
        }
    }

    #[test]
    fn names_of_secrets_as_swarm_takes_them() {
        for good in ["a", "db.password", "Key_1", "a-b", "9", &"x".repeat(64)] {
            assert!(good.parse::<ContentName>().is_ok(), "{good}");
        }
        for bad in [".a", "a.", "-a", "a_", "a b", "a/b", "é", &"x".repeat(65)] {
            assert_eq!(bad.parse::<ContentName>(), Err(ContentNameError::Characters), "{bad}");
        }
        assert_eq!("".parse::<ContentName>(), Err(ContentNameError::Missing));
    }
}
