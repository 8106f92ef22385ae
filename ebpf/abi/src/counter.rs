//! What happened to packets that were not dropped. Numbers are never given another meaning.

shared! {
    /// Value of [`crate::map::COUNTERS`].
    pub struct Count: 16 {
        /// Packets; a GSO packet counts once.
        pub packets: u64,
        /// Bytes with the Ethernet header, before any rewriting.
        pub bytes: u64,
    }
}

macro_rules! paths {
    ($( $number:literal $variant:ident $name:literal $description:literal, )*) => {
        /// A way of a packet; the index into [`crate::map::COUNTERS`].
        #[repr(u32)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Path {
            $( #[doc = $description] $variant = $number, )*
        }

        impl Path {
            /// Every path, by number.
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

paths! {
    0 Local "local" "From a task to a task of this node.",
    1 OverlayOut "overlay-out" "From a task into the tunnel.",
    2 OverlayIn "overlay-in" "Out of the tunnel to a task.",
    3 VipForward "vip-forward" "Rewritten from a VIP to a backend.",
    4 VipReverse "vip-reverse" "Rewritten from a backend to its VIP.",
    5 Hairpin "hairpin" "To the sender itself through a VIP.",
    6 IngressLocal "ingress-local" "From a client to a backend of this node that received it.",
    7 IngressOut "ingress-out" "From a client into the tunnel to the backend's node.",
    8 IngressIn "ingress-in" "A client's packet out of the tunnel to a backend.",
    9 ReplyLocal "reply-local" "From a backend to a client, out of the uplink that received the request.",
    10 ReplyOut "reply-out" "From a backend into the tunnel to the node that received the request.",
    11 ReplyIn "reply-in" "A reply out of the tunnel, to the client.",
    12 ReplyDirect "reply-direct" "From a backend straight to the client, in the receiving node's name.",
    13 ReplyInject "reply-inject" "From a backend to this node itself, in the receiving node's name.",
    14 DnsQuestion "dns-question" "From a task to the DNS server.",
    15 DnsAnswer "dns-answer" "From the DNS server to a task.",
    16 Arp "arp" "ARP answered.",
    17 Echo "echo" "Ping of a gateway or VIP answered.",
    18 Refused "refused" "Answered with RST or an ICMP error; also counted as a drop.",
    19 Pass "pass" "On an uplink, but none of the mesh: left to the host.",
    20 Stateless "stateless" "Forwarded although no entry could be made for its flow.",
    21 Remapped "remapped" "Flows whose source port was changed because it collided.",
    22 Reopened "reopened" "Flows balanced anew by a SYN.",
    23 RecordLost "record-lost" "Flow records that found the ring buffer full.",
    24 MssClamped "mss-clamped" "SYN or SYN-ACK whose segment size was lowered to fit the tunnel.",
}

/// Entries of [`crate::map::COUNTERS`]: room for paths to come.
pub const COUNTERS_LEN: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_count_up_from_zero_and_names_are_unique() {
        for (index, path) in (0u32..).zip(Path::ALL) {
            assert_eq!(*path as u32, index, "{path:?}");
            assert!(index < COUNTERS_LEN);
        }
        let names: BTreeSet<_> = Path::ALL.iter().map(|path| path.name()).collect();
        assert_eq!(names.len(), Path::ALL.len());
    }
}
