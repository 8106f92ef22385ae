//! What can go wrong with a lab, each with what to do about it.

use std::io;
use std::path::PathBuf;

use crate::layout::{LabName, Member, NameError, NodeName};

/// Why a lab verb failed.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Namespaces, BPF and cgroups need root.
    #[error("a lab needs root: run it with sudo")]
    NotRoot,
    /// `up` of a lab that is up.
    #[error("lab {name} is up already: `meshctl lab down --name {name}` ends it, or choose another --name")]
    AlreadyUp {
        /// The lab.
        name: LabName,
    },
    /// Anything else of a lab that is not up.
    #[error("lab {name} is not up: `meshctl lab up --name {name}` starts it")]
    NotUp {
        /// The lab.
        name: LabName,
    },
    /// A number out of range.
    #[error("invalid --{flag} {value}: {rule}")]
    Option {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What would be accepted.
        rule: &'static str,
    },
    /// A word that names nothing.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A node that this lab does not have.
    #[error("lab {name} has no node {node}: it has {have}")]
    NoSuchNode {
        /// The lab.
        name: LabName,
        /// The node asked for.
        node: NodeName,
        /// The nodes there are.
        have: String,
    },
    /// A fault that the node's state rules out.
    #[error("{node} is {state}: `meshctl lab fault start {node}` brings it back first")]
    NotRunning {
        /// The node.
        node: NodeName,
        /// What it is.
        state: crate::state::NodeState,
    },
    /// A disk that is in use.
    #[error("{node} is {state}: `meshctl lab fault crash {node}` lets go of its disk first")]
    NotCrashed {
        /// The node.
        node: NodeName,
        /// What it is.
        state: crate::state::NodeState,
    },
    /// A lab that cannot grow.
    #[error("lab {name} has {most} nodes, which is the most a lab can have")]
    Full {
        /// The lab.
        name: LabName,
        /// Most nodes of a lab.
        most: u8,
    },
    /// Something the kernel of this machine lacks.
    #[error("{fault} needs {needs}, which this kernel lacks")]
    Unsupported {
        /// What was asked for.
        fault: &'static str,
        /// What is missing.
        needs: &'static str,
    },
    /// The daemon's program is not where it is looked for.
    #[error("meshd is not beside meshctl ({looked}) nor in PATH: build it, or set MESH_MESHD")]
    NoDaemon {
        /// Where it was looked for.
        looked: PathBuf,
    },
    /// A meshd ended or kept silent while it was started.
    #[error("meshd of {node} {what}: {last} (see {log})")]
    Daemon {
        /// The node.
        node: NodeName,
        /// What it did.
        what: &'static str,
        /// Last line of its log.
        last: String,
        /// The log.
        log: PathBuf,
    },
    /// A step that `meshctl` itself was asked to do failed.
    #[error("{step}: {message}")]
    Step {
        /// Which step.
        step: String,
        /// What it said.
        message: String,
    },
    /// A member's namespace.
    #[error("{what} of {member}: {source}")]
    Space {
        /// What was tried.
        what: &'static str,
        /// Whose.
        member: Member,
        /// Why it failed.
        source: nix::Error,
    },
    /// A system call that belongs to no member.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: nix::Error,
    },
    /// A file.
    #[error("{what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The network between the members.
    #[error("fabric: {what}: {reason}")]
    Fabric {
        /// What was tried.
        what: String,
        /// Why it failed.
        reason: String,
    },
    /// The state file cannot be read; it is left as it is.
    #[error("the lab's state file {path} cannot be read ({reason}): `meshctl lab down` removes the lab")]
    CorruptState {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A thread that worked inside a namespace died.
    #[error("internal: a thread inside {place} ended early")]
    Thread {
        /// Where it was.
        place: PathBuf,
    },
    /// `down` removed what it could.
    #[error("not everything of the lab could be removed: {}", .0.join("; "))]
    Leftovers(Vec<String>),
}

impl LabError {
    /// Wraps an I/O error of one file.
    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }

    /// Wraps a system call's error.
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(nix::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }

    /// Whether the command line was wrong, rather than the world.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Option { .. } | Self::Name(_) | Self::NoSuchNode { .. })
    }
}
