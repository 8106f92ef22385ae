//! Names of what the dataplane owns on a node. What carries one of them is the dataplane's: adopted when it is
//! wanted, removed when it is not.

use crate::desired::EndpointId;

/// The one collect-metadata VXLAN device.
pub const OVERLAY: &str = "mesh-vx";

/// Host side of the DNS namespace's veth.
pub const DNS: &str = "mesh-dns";

/// Inner side of the DNS namespace's veth.
pub const DNS_INSIDE: &str = "eth0";

const ENDPOINT: &str = "mv";

/// Host side of a local endpoint's veth: `mv` and the endpoint's number in hexadecimal, 10 characters at most
/// (IFNAMSIZ allows 15).
pub fn host_side(endpoint: EndpointId) -> String {
    format!("{ENDPOINT}{endpoint:x}")
}

/// The endpoint whose host side carries this name.
pub fn endpoint_of(interface: &str) -> Option<EndpointId> {
    let endpoint = EndpointId::from_str_radix(interface.strip_prefix(ENDPOINT)?, 16).ok()?;
    (host_side(endpoint) == interface).then_some(endpoint)
}

/// Name of the pinned link of a program on an interface. The BPF file system keeps names with dots for itself,
/// so whatever is not a letter or a digit is written as its code.
pub fn link_pin(program: &str, interface: &str) -> String {
    let written = interface.bytes().map(|byte| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(byte).to_string(),
        _ => format!("_{byte:02x}"),
    });
    format!("{program}-{}", written.collect::<String>())
}

/// Program and interface of a pinned link, read back from its name.
pub fn read_link_pin(pin: &str) -> Option<(&str, String)> {
    let (program, rest) = pin.split_once('-')?;
    let mut interface = Vec::new();
    let mut bytes = rest.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'_' {
            let code = [bytes.next()?, bytes.next()?];
            interface.push(u8::from_str_radix(std::str::from_utf8(&code).ok()?, 16).ok()?);
        } else {
            interface.push(byte);
        }
    }
    Some((program, String::from_utf8(interface).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_sides_read_back_and_fit_the_kernel() {
        for endpoint in [0, 1, 35, EndpointId::MAX] {
            let name = host_side(endpoint);
            assert!(name.len() <= 15, "{name}");
            assert_eq!(endpoint_of(&name), Some(endpoint));
        }
    }

    #[test]
    fn other_peoples_names_are_not_ours() {
        for name in ["mv", "mvx", "mv01", "mvA", "mv+1", "eth0", "mv100000000", "mesh-vx"] {
            assert_eq!(endpoint_of(name), None, "{name}");
        }
    }

    #[test]
    fn pins_read_back_and_hold_no_dot() {
        for interface in ["eth0", "eth0.100", "br-1_x", "mv1f"] {
            let pin = link_pin("uplink_ingress", interface);
            assert!(!pin.contains('.'), "{pin}");
            assert_eq!(read_link_pin(&pin), Some(("uplink_ingress", interface.to_owned())));
        }
        assert_eq!(read_link_pin("map"), None);
        assert_eq!(read_link_pin("p-_4"), None);
    }
}
