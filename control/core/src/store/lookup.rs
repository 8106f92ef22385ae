//! Finding the object that a user means: by id, by name, or by the beginning of an id, as docker does.

use std::sync::Arc;

use super::Store;
use crate::id::{ID_LEN, Id};
use crate::object::{Network, Node, Service, Task};

/// Kinds of objects that users name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A node.
    Node,
    /// A network.
    Network,
    /// A service.
    Service,
    /// A task.
    Task,
    /// A secret.
    Secret,
    /// A config.
    Config,
}

/// No object, or more than one, is what the user wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// None is.
    #[error("{kind} {text} not found")]
    NotFound {
        /// What was looked for.
        kind: Kind,
        /// What the user wrote.
        text: String,
    },
    /// Several are.
    #[error("{kind} {text} is ambiguous ({} matches found: {})", ids.len(), ids.join(", "))]
    Ambiguous {
        /// What was looked for.
        kind: Kind,
        /// What the user wrote.
        text: String,
        /// Identifiers of those it could be.
        ids: Vec<String>,
    },
}

impl Store {
    /// The node with this id, host name, or unambiguous beginning of an id.
    pub fn find_node(&self, text: &str) -> Result<&Arc<Node>, LookupError> {
        let named = self.nodes.values().filter(|node| node.description.hostname == text);
        pick(Kind::Node, text, &self.nodes, named, |node| node.id.to_string())
    }

    /// The network with this id, name, or unambiguous beginning of an id.
    pub fn find_network(&self, text: &str) -> Result<&Arc<Network>, LookupError> {
        let named = self.network_by_name(text).into_iter();
        pick(Kind::Network, text, &self.networks, named, |network| network.id.to_string())
    }

    /// The service with this id, name, or unambiguous beginning of an id.
    pub fn find_service(&self, text: &str) -> Result<&Arc<Service>, LookupError> {
        let named = self.service_by_name(text).into_iter();
        pick(Kind::Service, text, &self.services, named, |service| service.id.to_string())
    }

    /// The task with this id, name (`SERVICE.SLOT.TASKID`), or unambiguous beginning of an id.
    pub fn find_task(&self, text: &str) -> Result<&Arc<Task>, LookupError> {
        let id = text.rsplit('.').next().and_then(|last| last.parse().ok());
        let named = id.and_then(|id| self.task(id)).filter(|task| task.name() == text).into_iter();
        pick(Kind::Task, text, &self.tasks, named, |task| task.id.to_string())
    }
}

/// By id, then by name, then by the beginning of an id.
pub(super) fn pick<'a, K, T>(
    kind: Kind,
    text: &str,
    all: &'a imbl::OrdMap<Id<K>, Arc<T>>,
    named: impl Iterator<Item = &'a Arc<T>>,
    id_of: impl Fn(&T) -> String,
) -> Result<&'a Arc<T>, LookupError> {
    if let Some(found) = text.parse().ok().and_then(|id: Id<K>| all.get(&id)) {
        return Ok(found);
    }
    let mut found: Vec<_> = named.take(MATCHES_SHOWN).collect();
    if found.is_empty() {
        found = prefix_range(text)
            .map(|range| all.range(range).map(|(_, object)| object).take(MATCHES_SHOWN).collect())
            .unwrap_or_default();
    }
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(LookupError::NotFound { kind, text: text.chars().take(128).collect() }),
        several => {
            let ids = several.iter().map(|object| id_of(object)).collect();
            Err(LookupError::Ambiguous { kind, text: text.chars().take(128).collect(), ids })
        }
    }
}

/// As many candidates as an answer names.
const MATCHES_SHOWN: usize = 10;

/// The identifiers whose text begins with `prefix`; `None` when no identifier does.
fn prefix_range<K>(prefix: &str) -> Option<std::ops::RangeInclusive<Id<K>>> {
    if prefix.is_empty() || prefix.len() > ID_LEN {
        return None;
    }
    let low = format!("{prefix:0<ID_LEN$}").parse::<Id<K>>().ok()?;
    let high = format!("{prefix:z<ID_LEN$}").parse().unwrap_or(Id::from_bits(u128::MAX));
    Some(low..=high)
}

impl Kind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Network => "network",
            Self::Service => "service",
            Self::Task => "task",
            Self::Secret => "secret",
            Self::Config => "config",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
