//! Models of Docker's Engine API, as far as the mesh answers it. Field names and units are Docker's:
//! durations in nanoseconds, CPU in 10⁻⁹ cores, memory in bytes, times in RFC 3339.

pub mod content;
pub mod event;
pub mod filter;
pub mod generic;
pub mod network;
pub mod node;
pub mod service;
pub mod swarm;
pub mod system;
pub mod task;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Labels and other maps of text.
pub type Map = BTreeMap<String, String>;

/// The version of an object; an update carries the one it was made from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Version {
    /// Index of the log entry that last changed the object.
    pub index: u64,
}

/// Body of every error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorResponse {
    /// One line, for people.
    pub message: String,
}

/// Answer to a creation of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateResponse {
    /// The new object's id.
    #[serde(rename = "ID")]
    pub id: String,
    /// What the user should know.
    #[serde(skip_serializing_if = "crate::blank")]
    pub warnings: Option<Vec<String>>,
}

/// Whether a raw value says nothing: `null`, `false`, `0`, empty text, or only such values.
pub fn says_nothing(value: &serde_json::Value) -> bool {
    use serde_json::Value;
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(says_nothing),
    }
}
