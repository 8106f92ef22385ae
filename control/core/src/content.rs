//! What tasks get as files: secrets, which nobody is shown again, and configs, which every user may read.
//! Both are the same but for that, so they share one type; [`ContentKind`] holds what differs.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::{ConfigId, ConfigKind, Id, SecretId, SecretKind};
use crate::name::ContentName;
use crate::object::Meta;
use crate::spec::{Labels, TaskSpec};
use crate::store::{Change, ContentTable, Delta, Key, Kind, Object, Store};

/// A secret.
pub type Secret = Content<SecretKind>;

/// A config.
pub type Config = Content<ConfigKind>;

/// A secret or a config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Content<K> {
    /// Identifier.
    pub id: Id<K>,
    /// Bookkeeping.
    pub meta: Meta,
    /// What the user gave.
    pub spec: ContentSpec,
}

/// A secret or a config as its user gave it. Only the labels can be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentSpec {
    /// Name, unique among those of the kind.
    pub name: ContentName,
    /// Labels.
    pub labels: Labels,
    /// The file's bytes.
    pub data: Data,
}

/// Bytes that are for nobody's log. Their `Debug` form hides them; they are asked for by name. Clones share them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Data(Arc<[u8]>);

impl Data {
    /// Keeps `bytes`.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for the one who has to use them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes it is.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Data(…)")
    }
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl serde::de::Visitor<'_> for Bytes {
            type Value = Data;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Data, E> {
                Ok(Data::new(bytes))
            }
            fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Data, E> {
                Ok(Data::new(bytes))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// What differs between secrets and configs.
pub trait ContentKind: Copy + fmt::Debug + PartialEq + Send + Sync + 'static {
    /// The word for it.
    const KIND: Kind;
    /// Most bytes of data; at least one is needed.
    const DATA_MAX: usize;
    /// The same in words, as Swarm says them.
    const DATA_RULE: &'static str;
    /// Whether users may read the data.
    const READABLE: bool;

    /// The key of one.
    fn key(id: Id<Self>) -> Key;

    /// One as an object.
    fn object(content: Arc<Content<Self>>) -> Object;

    /// A change of one.
    fn change(delta: Delta<Content<Self>>) -> Change;

    /// All of them.
    fn table(store: &Store) -> &ContentTable<Self>;

    /// Those that a task gets, with the name that its spec has for each.
    fn references(spec: &TaskSpec) -> impl Iterator<Item = (Id<Self>, &str)>;
}

impl ContentKind for SecretKind {
    const KIND: Kind = Kind::Secret;
    const DATA_MAX: usize = (500 << 10) - 1;
    const DATA_RULE: &'static str = "secret data must be larger than 0 and less than 512000 bytes";
    const READABLE: bool = false;

    fn key(id: SecretId) -> Key {
        Key::Secret(id)
    }

    fn object(content: Arc<Secret>) -> Object {
        Object::Secret(content)
    }

    fn change(delta: Delta<Secret>) -> Change {
        Change::Secret(delta)
    }

    fn table(store: &Store) -> &ContentTable<Self> {
        store.secrets()
    }

    fn references(spec: &TaskSpec) -> impl Iterator<Item = (SecretId, &str)> {
        spec.container.secrets.iter().map(|reference| (reference.secret, reference.name.as_str()))
    }
}

impl ContentKind for ConfigKind {
    const KIND: Kind = Kind::Config;
    const DATA_MAX: usize = 1000 << 10;
    const DATA_RULE: &'static str = "config data must be larger than 0 and at most 1024000 bytes";
    const READABLE: bool = true;

    fn key(id: ConfigId) -> Key {
        Key::Config(id)
    }

    fn object(content: Arc<Config>) -> Object {
        Object::Config(content)
    }

    fn change(delta: Delta<Config>) -> Change {
        Change::Config(delta)
    }

    fn table(store: &Store) -> &ContentTable<Self> {
        store.configs()
    }

    fn references(spec: &TaskSpec) -> impl Iterator<Item = (ConfigId, &str)> {
        spec.container.configs.iter().map(|reference| (reference.config, reference.name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_not_shown_by_accident() {
        let spec = ContentSpec {
            name: "key".parse().unwrap(),
            labels: Labels::new(),
            data: Data::new(&b"hunter2"[..]),
        };
        let secret = Secret { id: SecretId::from_bits(1), meta: Meta::default(), spec };
        let shown =
            format!("{secret:?} {:?} {:?}", Object::Secret(Arc::new(secret.clone())), &secret.spec.data);
        assert!(!shown.contains("hunter2") && !shown.contains("104"), "{shown}");
        assert_eq!(secret.spec.data.expose(), b"hunter2");
    }

    #[test]
    fn data_of_any_kind_comes_back() {
        for bytes in [vec![], vec![0, 255, 10], vec![7; 1000 << 10]] {
            let encoded = postcard::to_stdvec(&Data::new(bytes.clone())).unwrap();
            assert!(encoded.len() <= bytes.len() + 3, "as bytes, not one by one");
            assert_eq!(postcard::from_bytes::<Data>(&encoded).unwrap().expose(), bytes);
        }
    }
}
