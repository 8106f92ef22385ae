//! Why packets were dropped. Numbers are never given another meaning; new reasons go to the end.

macro_rules! reasons {
    ($( $number:literal $variant:ident $name:literal $description:literal, )*) => {
        /// Why a packet was dropped; the index into [`crate::map::DROPS`].
        #[repr(u32)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason {
            $( #[doc = $description] $variant = $number, )*
        }

        impl DropReason {
            /// Every reason, by number.
            pub const ALL: &[Self] = &[ $( Self::$variant, )* ];

            /// Short name, as metrics and `--format` show it.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// One sentence for people.
            pub const fn description(self) -> &'static str {
                match self { $( Self::$variant => $description, )* }
            }
        }
    };
}

reasons! {
    1 Runt "runt" "The frame ends before its IP or ARP header does.",
    2 BadIpHeader "bad-ip-header" "Not version 4, or a header shorter than 20 bytes.",
    3 BadLength "bad-length" "The IP total length is less than the headers or more than the frame.",
    4 IpOptions "ip-options" "IP options are not let through.",
    5 BadTransport "bad-transport" "The TCP, UDP or ICMP header is cut off or has an impossible length.",
    6 FragmentUnknown "fragment-unknown" "A later fragment whose first one was not seen.",
    7 Ipv6 "ipv6" "IPv6 from a task; networks are IPv4.",
    8 EtherType "ether-type" "Neither IP nor ARP from a task.",
    9 UnknownPort "unknown-port" "The interface belongs to no endpoint.",
    10 SpoofedMac "spoofed-mac" "The source MAC address is not the task's.",
    11 SpoofedAddress "spoofed-address" "The source IP address is not the task's.",
    12 SpoofedArp "spoofed-arp" "An ARP packet claims another's address.",
    13 ArpUnanswered "arp-unanswered" "An ARP packet that asks for nothing this node answers for.",
    14 NotUnicast "not-unicast" "Multicast or broadcast from a task.",
    15 DnsRefused "dns-refused" "Not a DNS question, or by an interface that asks none.",
    16 DnsUnknownClient "dns-unknown-client" "The DNS server answers an address that no task asks from.",
    17 DnsForeign "dns-foreign" "Out of the DNS server's namespace, but no answer of it.",
    18 NoRoute "no-route" "A destination outside of the network; there is no way out.",
    19 NoEndpoint "no-endpoint" "An address of the network that nobody has.",
    20 NoBackend "no-backend" "The service has no backend that takes new flows.",
    21 BackendGone "backend-gone" "The backend of this flow no longer exists.",
    22 NoFlow "no-flow" "TCP in mid-stream, or an ICMP error, that belongs to no known flow.",
    23 NoSourcePort "no-source-port" "No free source port was found for a colliding flow.",
    24 NoTunnelKey "no-tunnel-key" "On the overlay device without a tunnel header.",
    25 NotPeer "not-peer" "Encapsulated by an address that is no node of the cluster.",
    26 NotLocal "not-local" "Out of the tunnel for an endpoint that is not on this node.",
    27 TunnelMark "tunnel-mark" "In the ingress tunnel, but neither request nor reply.",
    28 TunnelReply "tunnel-reply" "A reply out of the ingress tunnel that is not from a published port here.",
    29 UnknownBackend "unknown-backend" "A request for a backend id that this node does not know.",
    30 UnknownPublished "unknown-published" "A request for a port that this node does not know as published.",
    31 TooBig "too-big" "Larger than the tunnel takes, and not to be fragmented.",
    32 Protocol "protocol" "A protocol that services do not carry.",
    33 Helper "helper" "The kernel could not read or change the packet as asked, so no answer or rewriting was possible.",
    34 NotConfigured "not-configured" "A program runs before the node's configuration was written.",
    35 FabricCut "fabric-cut" "The lab cut this way.",
    36 FabricLoss "fabric-loss" "The lab loses some packets on this way.",
}

/// Entries of [`crate::map::DROPS`]: room for reasons to come, index 0 is none.
pub const DROPS_LEN: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_count_up_from_one_and_names_are_unique() {
        for (index, reason) in (1u32..).zip(DropReason::ALL) {
            assert_eq!(*reason as u32, index, "{reason:?}");
            assert!(index < DROPS_LEN);
            assert!(reason.description().ends_with('.'));
        }
        let names: BTreeSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
    }
}
