//! What this node tells of itself: name, platform, resources, its own networks, and the ports that its
//! processes listen on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::sync::OnceLock;

use ipnet::{IpNet, Ipv4Net};
use mesh_core::object::NodeDescription;
use mesh_core::spec::{GenericAmount, ResourceAmount};
use nix::unistd::{SysconfVar, gethostname, sysconf};

mod diag;
pub mod listening;

/// Generic resources that the operator says are here.
static OFFERED: OnceLock<BTreeMap<String, GenericAmount>> = OnceLock::new();

/// Says what generic resources this node has. They are read at the daemon's start and stay; later calls change
/// nothing.
pub fn offer(generic: BTreeMap<String, GenericAmount>) {
    OFFERED.get_or_init(|| generic);
}

/// Describes this node as it is now.
pub fn describe() -> NodeDescription {
    NodeDescription {
        hostname: hostname(),
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        resources: ResourceAmount { nano_cpus: nano_cpus(), memory_bytes: memory_bytes() },
        generic: OFFERED.get().cloned().unwrap_or_default(),
        engine_version: env!("CARGO_PKG_VERSION").to_owned(),
        engine_labels: BTreeMap::new(),
        routes: routes(&read("/proc/net/route")),
        listening: listening::now(),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn hostname() -> String {
    gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn nano_cpus() -> u64 {
    let count = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten().unwrap_or(1);
    u64::try_from(count).unwrap_or(1) * 1_000_000_000
}

fn memory_bytes() -> u64 {
    let meminfo = read("/proc/meminfo");
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = total.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// Networks in `/proc/net/route`, without the default route and loopback.
fn routes(table: &str) -> Vec<IpNet> {
    let found: BTreeSet<IpNet> = table.lines().skip(1).filter_map(route).collect();
    found.into_iter().collect()
}

fn route(line: &str) -> Option<IpNet> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let (interface, destination, mask) = (columns.first()?, columns.get(1)?, columns.get(7)?);
    // The file holds the words as they lie in memory, in network byte order.
    let word = |text: &str| u32::from_str_radix(text, 16).ok().map(|word| Ipv4Addr::from(word.to_ne_bytes()));
    let network = Ipv4Net::with_netmask(word(destination)?, word(mask)?).ok()?;
    (network.prefix_len() > 0 && *interface != "lo").then_some(IpNet::V4(network))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn routes_without_default_and_loopback() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            lo\t0000007F\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n\
            broken\n";
        assert_eq!(routes(table), ["192.0.2.0/24".parse::<IpNet>().unwrap()]);
    }
}
