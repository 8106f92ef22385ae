//! Resources of the user's own naming.

use serde::{Deserialize, Serialize};

use crate::blank;

/// So many pieces of a kind, or one piece by name; one of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GenericResource {
    /// A piece by name.
    #[serde(skip_serializing_if = "blank")]
    pub named_resource_spec: Option<NamedResource>,
    /// A number of pieces that are all alike.
    #[serde(skip_serializing_if = "blank")]
    pub discrete_resource_spec: Option<DiscreteResource>,
}

/// A piece by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NamedResource {
    /// What it is (`gpu`).
    pub kind: String,
    /// Which one.
    pub value: String,
}

/// A number of pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DiscreteResource {
    /// What they are (`ssd`).
    pub kind: String,
    /// How many.
    pub value: i64,
}

impl GenericResource {
    /// So many pieces of a kind.
    pub fn discrete(kind: &str, value: i64) -> Self {
        let discrete = DiscreteResource { kind: kind.to_owned(), value };
        Self { discrete_resource_spec: Some(discrete), ..Self::default() }
    }

    /// One piece of a kind.
    pub fn named(kind: &str, value: &str) -> Self {
        let named = NamedResource { kind: kind.to_owned(), value: value.to_owned() };
        Self { named_resource_spec: Some(named), ..Self::default() }
    }
}
