//! Sizes of packets.

use crate::desired::VXLAN_OVERHEAD;

/// The largest inner IP packet on a path whose links carry `path_mtu`: VXLAN over IPv4 adds
/// [`VXLAN_OVERHEAD`].
pub const fn overlay_mtu(path_mtu: u16) -> u16 {
    path_mtu.saturating_sub(VXLAN_OVERHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ethernet_leaves_1450() {
        assert_eq!((overlay_mtu(1500), overlay_mtu(9000), overlay_mtu(40)), (1450, 8950, 0));
    }
}
