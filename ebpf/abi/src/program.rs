//! Names of the programs in the object, and where each is attached (TCX).

/// Ingress of the host side of a task's veth: packets that the task sends.
pub const TASK_EGRESS: &str = "task_egress";
/// Ingress of the collect-metadata VXLAN device: packets out of the tunnel.
pub const OVERLAY_INGRESS: &str = "overlay_ingress";
/// Ingress of each uplink: requests for published ports.
pub const UPLINK_INGRESS: &str = "uplink_ingress";
/// Ingress of the host side of the veth of the DNS server's namespace.
pub const DNS_REPLY: &str = "dns_reply";
/// Egress of each port of the lab's fabric bridge; nothing of a node.
pub const FABRIC: &str = "fabric";

/// Every program.
pub const ALL: [&str; 5] = [TASK_EGRESS, OVERLAY_INGRESS, UPLINK_INGRESS, DNS_REPLY, FABRIC];
