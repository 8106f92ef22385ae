//! Placement constraints: reading them as users write them, and asking a node.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::object::Node;
use crate::spec::{Constraint, ConstraintKey, SpreadPreference};

/// The longest key or value.
const PART_MAX: usize = 256;

/// The longest constraint, with the spaces in it.
const TEXT_MAX: usize = 1024;

/// A constraint or preference that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// Neither `==` nor `!=` stands in it.
    #[error("constraint expected one operator from ==, !=: {text:?}")]
    NoOperator {
        /// What was written.
        text: String,
    },
    /// There is more of it than any constraint needs.
    #[error("a constraint has at most {TEXT_MAX} bytes: {text:?}…")]
    Long {
        /// Its beginning.
        text: String,
    },
    /// The key is not one that nodes have.
    #[error(
        "invalid placement key {key:?}: use node.id, node.hostname, node.ip, node.role, node.platform.os, \
         node.platform.arch, node.labels.KEY or engine.labels.KEY"
    )]
    Key {
        /// What was written.
        key: String,
    },
    /// The value does not fit the key.
    #[error("value {value:?} is invalid for {key}")]
    Value {
        /// The key.
        key: String,
        /// What was written.
        value: String,
    },
    /// A preference that is not `spread=LABEL`.
    #[error("placement preference must be spread=node.labels.KEY or spread=engine.labels.KEY: {text:?}")]
    Preference {
        /// What was written.
        text: String,
    },
}

impl FromStr for ConstraintKey {
    type Err = ConstraintError;

    fn from_str(text: &str) -> Result<Self, ConstraintError> {
        let text = text.trim();
        let lower = text.to_ascii_lowercase();
        let label = |prefix: &str| {
            let rest = lower.starts_with(prefix).then(|| text.get(prefix.len()..)).flatten()?;
            is_label_key(rest).then(|| rest.to_owned())
        };
        let refused = || ConstraintError::Key { key: cut(text) };
        Ok(match lower.as_str() {
            "node.id" => Self::NodeId,
            "node.hostname" => Self::NodeHostname,
            "node.ip" => Self::NodeIp,
            "node.role" => Self::NodeRole,
            "node.platform.os" => Self::PlatformOs,
            "node.platform.arch" => Self::PlatformArch,
            _ => match (label("node.labels."), label("engine.labels.")) {
                (Some(key), _) => Self::NodeLabel(key),
                (_, Some(key)) => Self::EngineLabel(key),
                _ => return Err(refused()),
            },
        })
    }
}

impl FromStr for Constraint {
    type Err = ConstraintError;

    fn from_str(text: &str) -> Result<Self, ConstraintError> {
        if text.len() > TEXT_MAX {
            return Err(ConstraintError::Long { text: cut(text) });
        }
        let (at, equal) = match (text.find("=="), text.find("!=")) {
            (Some(yes), Some(no)) if no < yes => (no, false),
            (Some(yes), _) => (yes, true),
            (None, Some(no)) => (no, false),
            (None, None) => return Err(ConstraintError::NoOperator { text: cut(text) }),
        };
        let key: ConstraintKey = text[..at].parse()?;
        let value = text[at + 2..].trim();
        if !value_fits(&key, value) {
            return Err(ConstraintError::Value { key: key.to_string(), value: cut(value) });
        }
        Ok(Self { key, equal, value: value.to_owned(), written: text.to_owned() })
    }
}

impl FromStr for SpreadPreference {
    type Err = ConstraintError;

    /// Reads `spread=LABEL`, or the label alone as the API carries it.
    fn from_str(text: &str) -> Result<Self, ConstraintError> {
        let label = text.strip_prefix("spread=").unwrap_or(text);
        match label.parse() {
            Ok(descriptor @ (ConstraintKey::NodeLabel(_) | ConstraintKey::EngineLabel(_))) => {
                Ok(Self { descriptor })
            }
            _ => Err(ConstraintError::Preference { text: cut(text) }),
        }
    }
}

impl Constraint {
    /// Whether a node fulfils it. Values are compared without regard to case, as Swarm does; a label that a node
    /// does not have is as good as an empty one.
    pub fn matches(&self, node: &Node) -> bool {
        let same = match &self.key {
            ConstraintKey::NodeIp => address_in(node.status.addr, &self.value),
            key => key.value_of(node).eq_ignore_ascii_case(&self.value),
        };
        same == self.equal
    }
}

impl ConstraintKey {
    /// What the node has under this key; empty for a label that it does not have.
    pub fn value_of<'a>(&self, node: &'a Node) -> std::borrow::Cow<'a, str> {
        let text = |found: Option<&'a String>| found.map_or("", String::as_str).into();
        match self {
            Self::NodeId => node.id.to_string().into(),
            Self::NodeIp => node.status.addr.to_string().into(),
            Self::NodeHostname => node.description.hostname.as_str().into(),
            Self::NodeRole => node.spec.role.as_str().into(),
            Self::PlatformOs => node.description.os.as_str().into(),
            Self::PlatformArch => node.description.arch.as_str().into(),
            Self::NodeLabel(key) => text(node.spec.labels.get(key)),
            Self::EngineLabel(key) => text(node.description.engine_labels.get(key)),
        }
    }
}

fn is_label_key(key: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    !key.is_empty() && key.len() <= PART_MAX && key.bytes().all(inner)
}

fn value_fits(key: &ConstraintKey, value: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || ":-_ .*()?+[]\\^$|/".contains(c);
    let plain = !value.is_empty() && value.len() <= PART_MAX && value.chars().all(inner);
    match key {
        ConstraintKey::NodeIp => value.parse::<IpAddr>().is_ok() || value.parse::<IpNet>().is_ok(),
        ConstraintKey::NodeRole => ["worker", "manager"].iter().any(|role| value.eq_ignore_ascii_case(role)),
        _ => plain,
    }
}

fn address_in(address: IpAddr, value: &str) -> bool {
    match (value.parse::<IpAddr>(), value.parse::<IpNet>()) {
        (Ok(one), _) => one == address,
        (_, Ok(net)) => net.contains(&address),
        _ => false,
    }
}

fn cut(text: &str) -> String {
    text.chars().take(PART_MAX).collect()
}

impl fmt::Display for ConstraintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeId => f.write_str("node.id"),
            Self::NodeHostname => f.write_str("node.hostname"),
            Self::NodeIp => f.write_str("node.ip"),
            Self::NodeRole => f.write_str("node.role"),
            Self::PlatformOs => f.write_str("node.platform.os"),
            Self::PlatformArch => f.write_str("node.platform.arch"),
            Self::NodeLabel(key) => write!(f, "node.labels.{key}"),
            Self::EngineLabel(key) => write!(f, "engine.labels.{key}"),
        }
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command;
    use crate::id::NodeId;
    use crate::store::Store;
    use crate::testing::{Seeded, init_request};
    use crate::time::Timestamp;

    fn node() -> Node {
        let mut request = init_request();
        request.node.spec.labels = [("zone".to_owned(), "a".to_owned())].into();
        request.node.description.engine_labels = [("disk".to_owned(), "ssd".to_owned())].into();
        let mut store = Store::default();
        let begin = command::init_cluster(&store, request, Timestamp(1), &mut Seeded(1)).unwrap();
        store.apply(1, &begin).unwrap();
        Node::clone(store.node(NodeId::from_bits(1)).unwrap())
    }

    #[test]
    fn nodes_fulfil_constraints() {
        let node = node();
        for (text, fulfilled) in [
            ("node.id==0000000000000000000000001", true),
            ("node.id != 0000000000000000000000001", false),
            ("node.hostname==N1", true),
            ("node.role==MANAGER", true),
            ("node.role!=worker", true),
            ("node.ip==172.16.0.1", true),
            ("node.ip==172.16.0.0/16", true),
            ("node.ip!=172.17.0.0/16", true),
            ("node.platform.os == linux", true),
            ("node.platform.arch==aarch64", false),
            ("node.labels.zone==a", true),
            ("node.labels.zone==A", true),
            ("node.labels.Zone==a", false),
            ("NODE.LABELS.zone==a", true),
            ("node.labels.none==a", false),
            ("node.labels.none!=a", true),
            ("engine.labels.disk==ssd", true),
        ] {
            let constraint: Constraint = text.parse().unwrap();
            assert_eq!(constraint.matches(&node), fulfilled, "{text}");
            assert_eq!(constraint.to_string(), text);
            assert_eq!(text.replace(' ', "").parse(), Ok(constraint), "spaces mean nothing");
        }
    }

    #[test]
    fn what_is_no_constraint_is_refused() {
        let long = format!("node.labels.a=={}", "x".repeat(300));
        for text in [
            "",
            "node.id",
            "node.id=a",
            "==a",
            "node.id==",
            "node.id== ",
            "node.name==a",
            "node.labels.==a",
            "node.labels.a b==c",
            "node.role==boss",
            "node.ip==here",
            "node.labels.a==b;c",
            "labels.a==b",
            &long,
            &format!("node.id=={}a", " ".repeat(2_000)),
        ] {
            assert!(text.parse::<Constraint>().is_err(), "{text}");
        }
        assert_eq!(
            "nodes==1".parse::<Constraint>().unwrap_err().to_string(),
            "invalid placement key \"nodes\": use node.id, node.hostname, node.ip, node.role, node.platform.os, \
             node.platform.arch, node.labels.KEY or engine.labels.KEY"
        );
    }

    #[test]
    fn preferences_spread_over_labels_alone() {
        let zone = SpreadPreference { descriptor: ConstraintKey::NodeLabel("zone".to_owned()) };
        assert_eq!("spread=node.labels.zone".parse(), Ok(zone.clone()));
        assert_eq!("node.labels.zone".parse(), Ok(zone));
        for text in ["spread=node.id", "binpack=node.labels.zone", "spread="] {
            assert!(text.parse::<SpreadPreference>().is_err(), "{text}");
        }
    }
}
