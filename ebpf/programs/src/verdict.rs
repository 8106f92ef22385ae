//! The one way out of a program, and the one way to drop.

use aya_ebpf::{
    bindings::{BPF_F_INGRESS, TC_ACT_OK, TC_ACT_SHOT},
    helpers::{bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer},
};
use mesh_abi::{Be32, counter::Path, drop::DropReason};

use crate::{
    maps::{COUNTERS, DROPS},
    skb::Skb,
};

/// What is done with a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Way {
    Pass = 0,
    Drop = 1,
    Task = 2,
    Uplink = 3,
    Tunnel = 4,
    Inject = 5,
}

/// Where a packet goes. A struct whose every word is always written, as [`Refusal`] is: the verifier refuses
/// programs that copy the unset part of an enum.
#[derive(Clone, Copy)]
pub struct Verdict {
    way: Way,
    ifindex: u32,
    vni: u32,
    node: Be32,
}

impl Verdict {
    /// On to the host's stack, unchanged.
    pub const PASS: Self = Self::by(Way::Pass, 0);
    /// Nowhere; why was counted already.
    pub const GONE: Self = Self::by(Way::Drop, 0);

    #[inline(always)]
    const fn by(way: Way, ifindex: u32) -> Self {
        Self { way, ifindex, vni: 0, node: Be32::ZERO }
    }

    /// Into the namespace behind this host-side interface.
    #[inline(always)]
    pub const fn task(ifindex: u32) -> Self {
        Self::by(Way::Task, ifindex)
    }

    /// Out of this uplink, to the next hop that the host's routes tell.
    #[inline(always)]
    pub const fn uplink(ifindex: u32) -> Self {
        Self::by(Way::Uplink, ifindex)
    }

    /// Through this VXLAN device; the tunnel key, of this network and node, was set.
    #[inline(always)]
    pub const fn tunnel(ifindex: u32, vni: u32, node: Be32) -> Self {
        Self { way: Way::Tunnel, ifindex, vni, node }
    }

    /// Into the host's stack as if it came in by this interface.
    #[inline(always)]
    pub const fn inject(ifindex: u32) -> Self {
        Self::by(Way::Inject, ifindex)
    }
}

/// A packet that is dropped, and what its sender is told. Every word is always written; see [`Verdict`].
#[derive(Clone, Copy)]
pub struct Refusal {
    /// Why.
    pub reason: DropReason,
    /// What the sender is told.
    pub answer: Answer,
    /// The ICMP code, or the size that fits.
    pub value: u32,
    _unset: u32,
}

/// What the sender of a refused packet is told.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Answer {
    /// Nothing.
    Silence = 0,
    /// RST, or ICMP port unreachable.
    Reset = 1,
    /// ICMP destination unreachable with [`Refusal::value`] as code (RFC 792).
    Unreachable = 2,
    /// ICMP fragmentation needed, with [`Refusal::value`] as the size that fits (RFC 1191).
    TooBig = 3,
}

impl Refusal {
    #[inline(always)]
    const fn new(reason: DropReason, answer: Answer, value: u32) -> Self {
        Self { reason, answer, value, _unset: 0 }
    }

    /// The sender gets RST, or ICMP port unreachable.
    #[inline(always)]
    pub const fn reset(reason: DropReason) -> Self {
        Self::new(reason, Answer::Reset, 0)
    }

    /// The sender gets ICMP destination unreachable with this code.
    #[inline(always)]
    pub const fn unreachable(reason: DropReason, code: u8) -> Self {
        Self::new(reason, Answer::Unreachable, code as u32)
    }

    /// The sender gets the size that fits.
    #[inline(always)]
    pub const fn too_big(mtu: u32) -> Self {
        Self::new(DropReason::TooBig, Answer::TooBig, mtu)
    }
}

impl From<DropReason> for Refusal {
    #[inline(always)]
    fn from(reason: DropReason) -> Self {
        Self::new(reason, Answer::Silence, 0)
    }
}

/// ICMP code: network unreachable.
pub const NET: u8 = 0;
/// ICMP code: host unreachable.
pub const HOST: u8 = 1;
/// ICMP code: protocol unreachable.
pub const PROTOCOL: u8 = 2;
/// ICMP code: port unreachable.
pub const PORT: u8 = 3;
/// ICMP code: fragmentation needed.
pub const TOO_BIG: u8 = 4;

/// Counts a packet on a path.
#[inline(always)]
pub fn count(skb: Skb, path: Path) {
    if let Some(count) = COUNTERS.get_ptr_mut(path as u32) {
        // SAFETY: per-CPU memory; tc programs do not interrupt each other on a CPU.
        unsafe {
            (*count).packets += 1;
            (*count).bytes += u64::from(skb.len());
        }
    }
}

/// Counts a drop.
#[inline(always)]
pub fn count_drop(reason: DropReason) {
    if let Some(count) = DROPS.get_ptr_mut(reason as u32) {
        // SAFETY: as in `count`.
        unsafe { *count += 1 };
    }
}

/// Does what the verdict says, and leaves it in the packet's control buffer: `[way, interface, vni, node]`.
#[inline(always)]
pub fn finish(skb: Skb, verdict: Verdict) -> i32 {
    let Verdict { way, ifindex, vni, node } = verdict;
    if way == Way::Pass {
        // The host's own packets are not written to.
        return TC_ACT_OK;
    }
    skb.leave([way as u32, ifindex, vni, node.get()]);
    // SAFETY: plain helper calls. The kernel drops what cannot be delivered; without parameters
    // `redirect_neigh` looks the next hop up.
    let action = unsafe {
        match way {
            Way::Pass | Way::Drop => return TC_ACT_SHOT,
            Way::Task => {
                skb.claim();
                bpf_redirect_peer(ifindex, 0)
            }
            Way::Uplink => bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0),
            Way::Tunnel => bpf_redirect(ifindex, 0),
            Way::Inject => bpf_redirect(ifindex, u64::from(BPF_F_INGRESS)),
        }
    };
    action as i32
}
