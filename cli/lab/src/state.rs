//! The state file of a lab: what was made, so that later verbs find it.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::LabError;
use crate::filter::Rule;
use crate::layout::{Layout, NodeName};

/// What all nodes of a lab have in common, kept so that a node comes back as it was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The daemon's program.
    pub program: PathBuf,
    /// MTU of the fabric.
    pub mtu: u16,
    /// Runtime of every node.
    pub runtime: String,
}

/// What of a lab is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabState {
    /// What the nodes have in common.
    pub setting: Setting,
    /// The nodes, in order.
    pub nodes: Vec<NodeRecord>,
    /// What the fabric loses.
    pub rules: Vec<Rule>,
}

/// One node of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its name.
    pub name: NodeName,
    /// Whether it was started as a manager.
    pub manager: bool,
    /// What was last done to it.
    pub fault: Fault,
    /// Process id of its meshd when it was last started.
    pub pid: i32,
    /// That process' start time (field 22 of /proc/PID/stat), against reuse of the number.
    pub started: u64,
}

/// What was last done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// Nothing.
    None,
    /// Power cut: its namespaces are gone.
    Crashed,
    /// Everything on it is stopped and its uplink is down.
    Frozen,
}

/// How a node is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Its meshd runs.
    Running,
    /// Its meshd is stopped (SIGSTOP).
    Stopped,
    /// Its meshd ended; tasks and programs live on.
    Dead,
    /// Power cut.
    Crashed,
    /// Everything on it is stopped.
    Frozen,
}

impl std::fmt::Display for NodeState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Dead => "dead",
            Self::Crashed => "crashed",
            Self::Frozen => "frozen",
        })
    }
}

impl NodeRecord {
    /// How the node is now, by its record and its process.
    pub fn state(&self) -> NodeState {
        match (self.fault, crate::daemon::process_stat(self.pid)) {
            (Fault::Crashed, _) => NodeState::Crashed,
            (Fault::Frozen, _) => NodeState::Frozen,
            (Fault::None, Some(stat)) if stat.started == self.started && !stat.is_over() => {
                match stat.state {
                    'T' | 't' => NodeState::Stopped,
                    _ => NodeState::Running,
                }
            }
            (Fault::None, _) => NodeState::Dead,
        }
    }
}

impl LabState {
    /// Reads the state of a lab that is up.
    pub fn load(layout: &Layout) -> Result<Self, LabError> {
        let path = layout.state();
        let text = fs::read_to_string(&path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => LabError::NotUp { name: layout.name.clone() },
            _ => LabError::File { what: "read", path: path.clone(), source },
        })?;
        serde_json::from_str(&text)
            .map_err(|error| LabError::CorruptState { path, reason: error.to_string() })
    }

    /// Replaces the state file in one step.
    pub fn save(&self, layout: &Layout) -> Result<(), LabError> {
        let path = layout.state();
        let fresh = path.with_extension("json.new");
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| LabError::CorruptState { path: path.clone(), reason: error.to_string() })?;
        fs::write(&fresh, text).map_err(LabError::file("write", &fresh))?;
        fs::rename(&fresh, &path).map_err(LabError::file("replace", path))
    }

    /// The record of a node.
    pub fn node(&mut self, layout: &Layout, node: NodeName) -> Result<&mut NodeRecord, LabError> {
        let have = self.nodes.iter().map(|record| record.name.to_string()).collect::<Vec<_>>().join(", ");
        self.nodes.iter_mut().find(|record| record.name == node).ok_or(LabError::NoSuchNode {
            name: layout.name.clone(),
            node,
            have,
        })
    }
}
