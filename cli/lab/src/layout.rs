//! Names, addresses and paths of a lab: all follow from its name and the number of a node.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most nodes of one lab: their last address octets run from 11 and must stay below the client's.
pub const MAX_NODES: u8 = 100;

/// The client's address (TEST-NET-1, RFC 5737).
pub const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 200);

/// Prefix length of the fabric's network.
pub const FABRIC_PREFIX: u8 = 24;

/// The uplink's name inside a node and inside the client.
pub const UPLINK: &str = "eth0";

/// A lab's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabName(String);

/// A word that is no lab, node or member name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} {text:?}: {rule}")]
pub struct NameError {
    /// What was to be named.
    pub what: &'static str,
    /// The text given.
    pub text: String,
    /// What would be accepted.
    pub rule: &'static str,
}

impl FromStr for LabName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fits = (1..=16).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && text.starts_with(|first: char| first.is_ascii_lowercase());
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            let rule = "1 to 16 lower-case letters, digits and dashes, a letter first";
            Err(NameError { what: "lab name", text: text.to_owned(), rule })
        }
    }
}

impl TryFrom<String> for LabName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<LabName> for String {
    fn from(name: LabName) -> Self {
        name.0
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A node of a lab: `n1`, `n2`, …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(u8);

impl NodeName {
    /// The node with this number, counted from 1.
    pub fn numbered(number: u8) -> Option<Self> {
        (1..=MAX_NODES).contains(&number).then_some(Self(number))
    }

    /// Its number, counted from 1.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Its address on the fabric: 192.0.2.11 and on.
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, 10 + self.0)
    }
}

impl FromStr for NodeName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refused = || NameError { what: "node name", text: text.to_owned(), rule: "n1, n2, …" };
        let digits =
            text.strip_prefix('n').filter(|rest| !rest.starts_with(['0', '+'])).ok_or_else(refused)?;
        digits.parse().ok().and_then(Self::numbered).ok_or_else(refused)
    }
}

impl TryFrom<String> for NodeName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("n{}", self.0))
    }
}

/// Whatever hangs on the fabric: a node or the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Member {
    /// A node.
    Node(NodeName),
    /// The client outside the mesh.
    Client,
}

impl Member {
    /// Its address on the fabric.
    pub fn address(self) -> Ipv4Addr {
        match self {
            Self::Node(node) => node.address(),
            Self::Client => CLIENT_ADDRESS,
        }
    }
}

impl FromStr for Member {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "client" { Ok(Self::Client) } else { text.parse().map(Self::Node) }
    }
}

impl TryFrom<String> for Member {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Member> for String {
    fn from(member: Member) -> Self {
        member.to_string()
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => node.fmt(f),
            Self::Client => f.pad("client"),
        }
    }
}

/// Paths of one lab.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The lab.
    pub name: LabName,
}

impl Layout {
    /// Sockets, namespaces, pins and the state file: gone after a reboot.
    pub fn run(&self) -> PathBuf {
        Path::new("/run/mesh/lab").join(&self.name.0)
    }

    /// The state file.
    pub fn state(&self) -> PathBuf {
        self.run().join("lab.json")
    }

    /// Where a member's namespaces are bound.
    pub fn space(&self, member: Member) -> PathBuf {
        self.run().join("ns").join(member.to_string())
    }

    /// Where the fabric's network namespace is bound.
    pub fn fabric(&self) -> PathBuf {
        self.run().join("ns/fabric")
    }

    /// BPF file system of the fabric's programs.
    pub fn fabric_pins(&self) -> PathBuf {
        self.run().join("bpf")
    }

    /// API socket of a node.
    pub fn socket(&self, node: NodeName) -> PathBuf {
        self.run().join(format!("{node}.sock"))
    }

    /// What a node's meshd says.
    pub fn log(&self, node: NodeName) -> PathBuf {
        self.run().join(format!("{node}.log"))
    }

    /// The disks: they outlive a crash of their node, not the lab.
    pub fn disks(&self) -> PathBuf {
        Path::new("/var/lib/mesh/lab").join(&self.name.0)
    }

    /// A node's disk.
    pub fn disk(&self, node: NodeName) -> PathBuf {
        self.disks().join(node.to_string())
    }

    /// Path of the lab's cgroup below a hierarchy's root.
    pub fn cgroup(&self) -> PathBuf {
        Path::new("mesh-lab").join(&self.name.0)
    }

    /// Path of a node's cgroup below a hierarchy's root.
    pub fn node_cgroup(&self, node: NodeName) -> PathBuf {
        self.cgroup().join(node.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_numbered_from_one_and_addressed_from_eleven() {
        let node: NodeName = "n2".parse().unwrap();
        assert_eq!((node.to_string().as_str(), node.address()), ("n2", Ipv4Addr::new(192, 0, 2, 12)));
        for bad in ["", "n", "n0", "n01", "n+1", "n101", "n999", "x1", "client", "n-1"] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_last_node_stays_below_the_client() {
        assert!(NodeName::numbered(MAX_NODES).unwrap().address() < CLIENT_ADDRESS);
    }

    #[test]
    fn lab_names_fit_into_paths_and_cgroups() {
        for good in ["lab", "a", "ci-7", "abcdefghijklmnop"] {
            assert!(good.parse::<LabName>().is_ok(), "{good}");
        }
        for bad in ["", "Lab", "1a", "-a", "a/b", "..", "abcdefghijklmnopq"] {
            assert!(bad.parse::<LabName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_member_is_a_node_or_the_client() {
        assert_eq!("client".parse(), Ok(Member::Client));
        assert_eq!("n3".parse::<Member>().unwrap().to_string(), "n3");
    }
}
