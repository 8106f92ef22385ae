//! Identifiers: 128 random bits, written as 25 characters of base36 as Docker Swarm writes them.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Characters of an identifier's text form.
pub const ID_LEN: usize = 25;

/// Where new identifiers and other random choices come from. The daemon hands in the operating system's
/// generator, a simulation one seeded generator, so that a seed replays to the same identifiers.
pub trait Entropy {
    /// 128 fresh random bits.
    fn next_u128(&mut self) -> u128;

    /// A number in `0..bound`; `bound` must not be 0.
    fn below(&mut self, bound: u64) -> u64 {
        u64::try_from(self.next_u128() % u128::from(bound.max(1))).unwrap_or(0)
    }
}

/// What went wrong while reading an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid id {text:?}: an id is {ID_LEN} characters of 0-9 and a-z")]
pub struct ParseIdError {
    /// The text that was offered.
    pub text: String,
}

/// An identifier of one kind of object; the kind is part of the type, so they cannot be mixed up.
pub struct Id<K> {
    bits: u128,
    kind: PhantomData<fn() -> K>,
}

impl<K> Id<K> {
    /// Draws a new identifier.
    pub fn new(entropy: &mut dyn Entropy) -> Self {
        Self::from_bits(entropy.next_u128())
    }

    /// The identifier with these bits.
    pub const fn from_bits(bits: u128) -> Self {
        Self { bits, kind: PhantomData }
    }

    /// The identifier's bits.
    pub const fn bits(self) -> u128 {
        self.bits
    }

    /// The first 12 characters of the text form, as lists show it.
    pub fn short(self) -> String {
        self.to_string().chars().take(12).collect()
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bits.cmp(&other.bits)
    }
}
impl<K> std::hash::Hash for Id<K> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.bits.hash(state);
    }
}

impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut text = [b'0'; ID_LEN];
        let mut rest = self.bits;
        for place in text.iter_mut().rev() {
            *place = DIGITS[usize::try_from(rest % 36).unwrap_or(0)];
            rest /= 36;
        }
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<K> FromStr for Id<K> {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseIdError { text: text.chars().take(64).collect() };
        if text.len() != ID_LEN {
            return Err(refused());
        }
        let mut bits: u128 = 0;
        for byte in text.bytes() {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'z' => byte - b'a' + 10,
                _ => return Err(refused()),
            };
            bits = bits
                .checked_mul(36)
                .and_then(|shifted| shifted.checked_add(u128::from(digit)))
                .ok_or_else(refused)?;
        }
        Ok(Self::from_bits(bits))
    }
}

impl<K> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.bits.serialize(serializer)
        }
    }
}

impl<'de, K> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            u128::deserialize(deserializer).map(Self::from_bits)
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident => $alias:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $kind {}
        #[doc = concat!("Identifier of kind [`", stringify!($kind), "`].")]
        pub type $alias = Id<$kind>;
    )*};
}

kinds! {
    /// Kind: the cluster itself.
    ClusterKind => ClusterId,
    /// Kind: a node.
    NodeKind => NodeId,
    /// Kind: a service.
    ServiceKind => ServiceId,
    /// Kind: a task.
    TaskKind => TaskId,
    /// Kind: a network.
    NetworkKind => NetworkId,
    /// Kind: a secret.
    SecretKind => SecretId,
    /// Kind: a config.
    ConfigKind => ConfigId,
    /// Kind: one session of a node's agent.
    SessionKind => SessionId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_has_25_characters_and_reads_back() {
        for bits in [0, 1, 35, 36, u128::from(u64::MAX), u128::MAX] {
            let id = NodeId::from_bits(bits);
            assert_eq!(id.to_string().len(), ID_LEN);
            assert_eq!(id.to_string().parse::<NodeId>(), Ok(id));
        }
        assert_eq!(NodeId::from_bits(35).to_string(), "000000000000000000000000z");
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let too_large = "z".repeat(ID_LEN);
        for text in ["", "abc", "ABCDEFGHIJKLMNOPQRSTUVWXY", &too_large, "-000000000000000000000000"] {
            assert!(text.parse::<NodeId>().is_err(), "{text}");
        }
    }
}
