//! Events: one JSON object a line of `GET /events`.

use serde::{Deserialize, Serialize};

use super::Map;
use crate::blank;

/// Something that happened to an object of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// `node`, `service`, `network`, `secret`, `config`; `task` where it was asked for.
    #[serde(rename = "Type")]
    pub kind: String,
    /// `create`, `update`, `remove`.
    #[serde(rename = "Action")]
    pub action: String,
    /// What it happened to.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// `swarm`.
    pub scope: String,
    /// Seconds since 1970, by the leader's clock.
    pub time: i64,
    /// The same in nanoseconds.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// What an event happened to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Actor {
    /// Identifier.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its `name`, and what changed as `WHAT.old` and `WHAT.new`.
    #[serde(rename = "Attributes", skip_serializing_if = "blank")]
    pub attributes: Map,
}
