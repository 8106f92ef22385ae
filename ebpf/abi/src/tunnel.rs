//! Numbers inside the overlay: derived MAC addresses, the reserved network, the address of the name server.

use crate::order::Be32;

/// VNI that published ports' packets travel with between nodes; never given to a network.
pub const INGRESS_VNI: u32 = 0x00ff_fffe;

/// Address that tasks ask for names: 169.254.53.53.
pub const DNS_SERVER: Be32 = Be32::new(0xa9fe_3535);
/// Network of the addresses that questions arrive from at the DNS server: 198.18.0.0/15.
pub const DNS_CLIENT_NET: Be32 = Be32::new(0xc612_0000);
/// Mask of [`DNS_CLIENT_NET`].
pub const DNS_CLIENT_MASK: Be32 = Be32::new(0xfffe_0000);
/// Port of the name server, UDP and TCP.
pub const DNS_PORT: u16 = 53;

/// MAC address that belongs to an address inside: `02:42` followed by it. The interface of a task must
/// carry it, the gateway and peers are answered for with it.
#[inline(always)]
pub const fn mac_of(address: Be32) -> [u8; 6] {
    let [a, b, c, d] = address.bytes();
    [0x02, 0x42, a, b, c, d]
}

/// Inner destination MAC of a request with [`INGRESS_VNI`]: `02:6d` and the backend's id, big endian.
#[inline(always)]
pub const fn request_mac(backend: u32) -> [u8; 6] {
    let [a, b, c, d] = backend.to_be_bytes();
    [0x02, 0x6d, a, b, c, d]
}

/// Inner destination MAC of a reply with [`INGRESS_VNI`]: `02:72` and the receiving node's address.
#[inline(always)]
pub const fn reply_mac(node: Be32) -> [u8; 6] {
    let [a, b, c, d] = node.bytes();
    [0x02, 0x72, a, b, c, d]
}

/// The second byte of [`request_mac`].
pub const REQUEST_MARK: u8 = 0x6d;
/// The second byte of [`reply_mac`].
pub const REPLY_MARK: u8 = 0x72;

/// The address or id in the last four bytes of a derived MAC, host byte order.
#[inline(always)]
pub const fn mac_number(mac: [u8; 6]) -> u32 {
    u32::from_be_bytes([mac[2], mac[3], mac[4], mac[5]])
}

/// Bytes that the tunnel adds to an inner IP packet over IPv4: inner Ethernet 14, VXLAN 8, UDP 8, IPv4 20.
pub const OVERHEAD: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_macs_read_back() {
        assert_eq!(mac_of(Be32::new(0x0a00_0102)), [2, 0x42, 10, 0, 1, 2]);
        let request = request_mac(0x0102_0304);
        assert_eq!((request[1], mac_number(request)), (REQUEST_MARK, 0x0102_0304));
        let reply = reply_mac(Be32::new(0xc000_020b));
        assert_eq!((reply[1], mac_number(reply)), (REPLY_MARK, 0xc000_020b));
    }
}
