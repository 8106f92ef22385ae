//! Servers that foreign names are asked of, from the node's own resolver configuration.

use std::fs;
use std::net::{IpAddr, SocketAddr};

/// The resolver configuration of the node.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What systemd-resolved asks itself, where the former names only its stub.
const BEHIND_STUB: &str = "/run/systemd/resolve/resolv.conf";

/// The node's upstream servers. The DNS server asks from the node's own network, so a server on loopback
/// can be asked too; it comes last, because it may be a stub that asks us.
pub fn upstreams() -> Vec<SocketAddr> {
    let read = |path| fs::read_to_string(path).map(|text| servers(&text)).unwrap_or_default();
    let named = read(RESOLV_CONF);
    if named.iter().any(|addr| !addr.ip().is_loopback()) {
        return ordered(named);
    }
    let behind = read(BEHIND_STUB);
    if behind.is_empty() { named } else { ordered(behind) }
}

fn ordered(mut servers: Vec<SocketAddr>) -> Vec<SocketAddr> {
    servers.sort_by_key(|addr| addr.ip().is_loopback());
    servers
}

/// The `nameserver` lines (resolv.conf(5)); those with a zone, such as `fe80::1%eth0`, are left out.
fn servers(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let is_server = words.next() == Some("nameserver");
        words.next().filter(|_| is_server)?.parse::<IpAddr>().ok()
    };
    text.lines().filter_map(address).map(|ip| SocketAddr::new(ip, 53)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nameserver_lines_in_order() {
        let text = "# nameserver 192.0.2.1\nsearch lan\nnameserver 127.0.0.53\nnameserver\t192.0.2.2 # x\n\
                    nameserver fe80::1%eth0\nnameserver\nnameserver 2001:db8::1\noptions edns0\n";
        let found = servers(text);
        let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["127.0.0.53:53", "192.0.2.2:53", "[2001:db8::1]:53"]);
        assert_eq!(ordered(found)[2].to_string(), "127.0.0.53:53");
    }
}
