//! The one place that touches `__sk_buff` and its helpers.
//!
//! Packets are read and written by helpers that also reach data outside of the linear part, so nothing has
//! to be pulled first and no bounds have to be proved; each failure is a value.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM},
    helpers::{
        bpf_csum_diff, bpf_ktime_get_ns, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_skb_change_tail,
        bpf_skb_change_type, bpf_skb_load_bytes, bpf_skb_store_bytes,
    },
};
use mesh_abi::drop::DropReason;

/// `PACKET_HOST` of `linux/if_packet.h`: addressed to the one who receives it.
const PACKET_HOST: u32 = 0;

/// A packet buffer.
#[derive(Clone, Copy)]
pub struct Skb(pub *mut __sk_buff);

/// What of a transport checksum's cover has changed.
#[derive(Clone, Copy)]
pub enum Cover {
    /// The pseudo header: addresses.
    Pseudo,
    /// Header or payload.
    Body,
}

impl Skb {
    /// Bytes from the Ethernet header to the end.
    #[inline(always)]
    pub fn len(self) -> u32 {
        // SAFETY: the kernel hands in a valid context; the verifier checks the access.
        unsafe { (*self.0).len }
    }

    /// Index of the interface that the program runs at.
    #[inline(always)]
    pub fn ifindex(self) -> u32 {
        // SAFETY: as in `len`.
        unsafe { (*self.0).ifindex }
    }

    /// Index of the interface that the packet came in by.
    #[inline(always)]
    pub fn ingress_ifindex(self) -> u32 {
        // SAFETY: as in `len`.
        unsafe { (*self.0).ingress_ifindex }
    }

    /// Payload of each segment that a GSO packet will be cut into; 0 when it is none.
    #[inline(always)]
    pub fn gso_size(self) -> u32 {
        // SAFETY: as in `len`.
        unsafe { (*self.0).gso_size }
    }

    /// Leaves four words that later programs, and tests, can read.
    #[inline(always)]
    pub fn leave(self, words: [u32; 4]) {
        // SAFETY: as in `len`; `cb` has five words that belong to tc programs. Volatile, so that the writes are
        // not merged into a call, which the verifier allows no access to the context.
        unsafe {
            (&raw mut (*self.0).cb[0]).write_volatile(words[0]);
            (&raw mut (*self.0).cb[1]).write_volatile(words[1]);
            (&raw mut (*self.0).cb[2]).write_volatile(words[2]);
            (&raw mut (*self.0).cb[3]).write_volatile(words[3]);
        }
    }

    /// `N` bytes at `offset`; nothing when the packet ends before.
    #[inline(always)]
    pub fn load<const N: usize>(self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the helper writes `N` bytes, zeroes when it fails.
        let failed =
            unsafe { bpf_skb_load_bytes(self.0.cast(), offset, bytes.as_mut_ptr().cast(), N as u32) } != 0;
        // SAFETY: written above.
        (!failed).then(|| unsafe { bytes.assume_init() })
    }

    /// Writes `bytes` at `offset`, where a checksum is changed along with them so that sums over both stay:
    /// addresses, ports, and MAC addresses, which no sum covers.
    #[inline(always)]
    pub fn store<const N: usize>(self, offset: u32, bytes: &[u8; N]) -> Result<(), DropReason> {
        self.put(offset, bytes, 0)
    }

    /// Writes any `bytes` at `offset`, and amends the sum that a device may have left with the packet.
    #[inline(always)]
    pub fn overwrite<const N: usize>(self, offset: u32, bytes: &[u8; N]) -> Result<(), DropReason> {
        self.put(offset, bytes, u64::from(BPF_F_RECOMPUTE_CSUM))
    }

    #[inline(always)]
    fn put<const N: usize>(self, offset: u32, bytes: &[u8; N], flags: u64) -> Result<(), DropReason> {
        // SAFETY: `bytes` has `N` bytes; the helper checks the packet's bounds.
        ok(unsafe { bpf_skb_store_bytes(self.0, offset, bytes.as_ptr().cast(), N as u32, flags) })
    }

    /// Adds a sum's difference to the IP header checksum at `offset`.
    #[inline(always)]
    pub fn fix_ip_checksum(self, offset: u32, difference: u32) -> Result<(), DropReason> {
        // SAFETY: plain helper call on a valid context.
        ok(unsafe { bpf_l3_csum_replace(self.0, offset, 0, u64::from(difference), 0) })
    }

    /// Adds a sum's difference to the transport checksum at `offset`, minding packets whose checksum the
    /// device has yet to complete. `optional` is UDP's: zero says none and stays.
    #[inline(always)]
    pub fn fix_checksum(
        self,
        offset: u32,
        difference: u32,
        cover: Cover,
        optional: bool,
    ) -> Result<(), DropReason> {
        let mut flags = 0;
        if let Cover::Pseudo = cover {
            flags |= u64::from(BPF_F_PSEUDO_HDR);
        }
        if optional {
            flags |= u64::from(BPF_F_MARK_MANGLED_0);
        }
        // SAFETY: plain helper call on a valid context.
        ok(unsafe { bpf_l4_csum_replace(self.0, offset, 0, u64::from(difference), flags) })
    }

    /// Cuts or grows the packet to `len` bytes; offloads of the old one are forgotten.
    #[inline(always)]
    pub fn resize(self, len: u32) -> Result<(), DropReason> {
        // SAFETY: plain helper call on a valid context.
        ok(unsafe { bpf_skb_change_tail(self.0, len, 0) })
    }

    /// Makes the receiving stack take the packet as its own whatever its MAC address was.
    #[inline(always)]
    pub fn claim(self) {
        // SAFETY: plain helper call on a valid context. It fails only for types that a stack would not
        // accept either.
        unsafe { bpf_skb_change_type(self.0, PACKET_HOST) };
    }
}

#[inline(always)]
fn ok(result: i64) -> Result<(), DropReason> {
    if result == 0 { Ok(()) } else { Err(DropReason::Helper) }
}

/// The sum over `bytes`, a multiple of four, added to `seed`; to be finished by `mesh_abi::checksum::finish`.
#[inline(always)]
pub fn sum<const N: usize>(bytes: &[u8; N], seed: u32) -> u32 {
    let words = bytes.as_ptr().cast_mut().cast();
    // SAFETY: the helper reads `N` bytes.
    let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, words, N as u32, seed) } as u32;
    (sum & 0xffff) + (sum >> 16)
}

/// `CLOCK_MONOTONIC` in nanoseconds.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: plain helper call.
    unsafe { bpf_ktime_get_ns() }
}
