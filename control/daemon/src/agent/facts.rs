//! What the agent knows that no manager tells it: this node, and its tasks as they really are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use mesh_core::id::{NodeId, TaskId};
use mesh_core::object::TaskEndpoint;

/// This node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its identifier.
    pub id: NodeId,
    /// Its host name.
    pub hostname: String,
    /// Address its tunnels end at.
    pub data_path_addr: IpAddr,
    /// Interfaces that clients and peers are reached through.
    pub uplinks: Vec<String>,
    /// Largest IP packet that the uplinks carry.
    pub path_mtu: u16,
    /// Servers that foreign names are asked of.
    pub upstreams: Vec<SocketAddr>,
}

/// A task that has a place in this node's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalTask {
    /// Its network namespace.
    pub netns: PathBuf,
    /// Address that its questions for names come from.
    pub dns_client: Ipv4Addr,
    /// Its places in networks, in order.
    pub endpoints: Vec<TaskEndpoint>,
    /// New flows may go to it: its process has not ended and it was not told to stop.
    pub serving: bool,
}

/// Everything the agent knows by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFacts {
    /// This node.
    pub node: NodeFacts,
    /// Its tasks that have a namespace.
    pub tasks: BTreeMap<TaskId, LocalTask>,
}

/// First of the addresses that tasks ask for names from, 198.18.0.0/15 (RFC 2544).
const CLIENTS: u32 = 0xc612_0000;

/// How many there are; the lowest 256 and the last are left for the dataplane itself.
const CLIENT_COUNT: u32 = 1 << 17;

/// The next address after `last` that is not in use; `None` when all are.
pub fn next_dns_client(used: &BTreeSet<Ipv4Addr>, last: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
    let first = 256;
    let count = CLIENT_COUNT - first - 1;
    let begin = last.map_or(0, |last| u32::from(last).wrapping_sub(CLIENTS + first).wrapping_add(1) % count);
    (0..count)
        .map(|offset| Ipv4Addr::from(CLIENTS + first + (begin + offset) % count))
        .find(|address| !used.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_clients_are_given_in_rotation_and_never_twice() {
        let mut used = BTreeSet::new();
        let mut last = None;
        for _ in 0..300 {
            let next = next_dns_client(&used, last).unwrap();
            assert!(used.insert(next));
            assert!(next.octets()[0] == 198 && next.octets()[1] & 0xfe == 18);
            last = Some(next);
        }
        let freed = Ipv4Addr::new(198, 18, 1, 0);
        assert!(used.remove(&freed));
        assert_ne!(next_dns_client(&used, last), Some(freed));
        let highest = Ipv4Addr::new(198, 19, 255, 254);
        assert_eq!(next_dns_client(&used, Some(highest)), Some(freed));
    }

    #[test]
    fn when_all_are_used_there_is_none() {
        let used: BTreeSet<Ipv4Addr> = (0..CLIENT_COUNT).map(|n| Ipv4Addr::from(CLIENTS + n)).collect();
        assert_eq!(next_dns_client(&used, None), None);
    }
}
