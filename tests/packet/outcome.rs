//! What must come of a packet.

use mesh_abi::drop::DropReason;
use mesh_abi::tunnel::INGRESS_VNI;

use crate::packet::Packet;
use crate::run::Output;
use crate::world::{UPLINK, VXLAN, World, ip};

/// What came of a packet.
pub struct Outcome<'a> {
    pub world: &'a mut World,
    pub output: Output,
    pub sent: Vec<u8>,
}

impl Outcome<'_> {
    /// It went to the task behind this interface, as these bytes, and nothing was dropped.
    pub fn reaches_task(self, ifindex: u32, expected: impl Bytes) -> Vec<u8> {
        self.went([2, ifindex, 0, 0], expected)
    }

    /// It leaves by an uplink.
    pub fn leaves_by(self, ifindex: u32, expected: impl Bytes) -> Vec<u8> {
        let expected = without_macs(expected.bytes(), &self.output.bytes);
        self.went([3, ifindex, 0, 0], expected)
    }

    /// It goes through the tunnel.
    pub fn enters_tunnel(self, vni: u32, node: &str, expected: impl Bytes) -> Vec<u8> {
        self.went([4, VXLAN, vni, ip(node).get()], expected)
    }

    /// The host gets it as if it came in by this interface.
    pub fn injected(self, ifindex: u32, expected: impl Bytes) -> Vec<u8> {
        self.went([5, ifindex, 0, 0], expected)
    }

    /// The destination address that it was rewritten to.
    pub fn destination(self) -> [u8; 4] {
        assert_eq!(self.world.new_drops(), [], "dropped");
        self.output.bytes[30..34].try_into().unwrap()
    }

    /// It went somewhere; where.
    pub fn way(self) -> [u32; 4] {
        assert_eq!(self.world.new_drops(), [], "dropped");
        assert_eq!(self.output.result, 7, "not redirected");
        self.output.cb
    }

    /// It went to the task behind this interface; its bytes.
    pub fn bytes_to(self, ifindex: u32) -> Vec<u8> {
        assert_eq!(self.world.new_drops(), [], "dropped");
        assert_eq!(self.output.cb, [2, ifindex, 0, 0], "redirected elsewhere");
        self.output.bytes
    }

    /// Whether it was dropped for this reason; anything but that and passing fails.
    pub fn lost(self, reason: DropReason) -> bool {
        let drops = self.world.new_drops();
        assert!(drops.is_empty() || drops == [reason], "{drops:?}");
        assert_eq!(self.output.result, if drops.is_empty() { 0 } else { 2 });
        !drops.is_empty()
    }

    /// The host gets it as it is.
    pub fn passed(self) {
        assert_eq!(self.output.result, 0, "not passed: {:?}", self.output.cb);
        same(&self.sent, &self.output.bytes);
        assert_eq!(self.world.new_drops(), []);
    }

    /// It is dropped, for this reason alone.
    pub fn dropped(self, reason: DropReason) {
        assert_eq!(self.world.new_drops(), [reason], "dropped for another reason");
        assert_eq!(self.output.result, 2, "not dropped: {:?}", self.output.cb);
    }

    /// It is dropped for this reason, and its sender, behind this interface, gets the answer.
    pub fn refused(self, reason: DropReason, ifindex: u32, answer: impl Bytes) {
        assert_eq!(self.world.new_drops(), [reason], "refused for another reason");
        self.leaves([2, ifindex, 0, 0], answer);
    }

    /// Likewise, and the answer leaves by the uplink.
    pub fn refused_to_uplink(self, reason: DropReason, answer: impl Bytes) {
        assert_eq!(self.world.new_drops(), [reason], "refused for another reason");
        let answer = without_macs(answer.bytes(), &self.output.bytes);
        self.leaves([3, UPLINK, 0, 0], answer);
    }

    /// Likewise, and the answer goes through the tunnel as a reply.
    pub fn refused_to_tunnel(self, reason: DropReason, node: &str, answer: impl Bytes) {
        assert_eq!(self.world.new_drops(), [reason], "refused for another reason");
        self.leaves([4, VXLAN, INGRESS_VNI, ip(node).get()], answer);
    }

    fn went(self, words: [u32; 4], expected: impl Bytes) -> Vec<u8> {
        assert_eq!(self.world.new_drops(), [], "dropped");
        self.leaves(words, expected)
    }

    fn leaves(self, words: [u32; 4], expected: impl Bytes) -> Vec<u8> {
        assert_eq!(self.output.result, 7, "not redirected: {:?}", self.output.cb);
        assert_eq!(self.output.cb, words, "redirected elsewhere");
        same(&expected.bytes(), &self.output.bytes);
        self.output.bytes
    }
}

/// The kernel writes the MAC addresses of what leaves by an uplink; those in `actual` do not matter.
fn without_macs(mut expected: Vec<u8>, actual: &[u8]) -> Vec<u8> {
    expected[..12].copy_from_slice(&actual[..12]);
    expected
}

fn same(expected: &[u8], actual: &[u8]) {
    let text = |bytes: &[u8]| {
        let hex = |chunk: &[u8]| chunk.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        let mut parts = vec![hex(&bytes[..14.min(bytes.len())])];
        parts.extend(bytes[14.min(bytes.len())..].chunks(20).map(hex));
        parts
    };
    assert_eq!(text(expected), text(actual), "bytes differ (expected left)");
}

/// What a packet is expected to be.
pub trait Bytes {
    fn bytes(&self) -> Vec<u8>;
}

impl Bytes for Packet {
    fn bytes(&self) -> Vec<u8> {
        Packet::bytes(self)
    }
}

impl Bytes for &Packet {
    fn bytes(&self) -> Vec<u8> {
        Packet::bytes(self)
    }
}

impl Bytes for Vec<u8> {
    fn bytes(&self) -> Vec<u8> {
        self.clone()
    }
}

impl Bytes for &[u8] {
    fn bytes(&self) -> Vec<u8> {
        self.to_vec()
    }
}
