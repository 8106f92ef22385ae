//! The few things that neither aya, nix nor tokio has a safe word for. All unsafe code of this crate is here.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use aya::Pod;
use aya::maps::{MapData, RingBuf};
use nix::libc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `BPF_MAP_LOOKUP_BATCH` (kernel commit aa2e93b8e58e, Linux 5.6).
const MAP_LOOKUP_BATCH: libc::c_long = 24;

/// The `batch` part of `union bpf_attr`.
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Where a walk through a hash is: the kernel's own number of a bucket.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cursor {
    bucket: u32,
    started: bool,
}

/// Room for one batch of entries.
pub struct Batch<K, V> {
    keys: Box<[MaybeUninit<K>]>,
    values: Box<[MaybeUninit<V>]>,
    filled: usize,
}

impl<K: Pod, V: Pod> Batch<K, V> {
    /// Room for `entries`; a bucket of the hash must fit.
    pub fn new(entries: usize) -> Self {
        Self { keys: Box::new_uninit_slice(entries), values: Box::new_uninit_slice(entries), filled: 0 }
    }

    /// What the last look gave.
    pub fn iter(&self) -> impl Iterator<Item = (K, V)> + '_ {
        self.keys.iter().zip(&self.values).take(self.filled).map(|(key, value)| {
            // SAFETY: the kernel wrote the first `filled` elements of both, and any bits are a value of a `Pod`.
            unsafe { (key.assume_init_read(), value.assume_init_read()) }
        })
    }

    /// Fills the batch with the entries after `cursor`, of the hash behind `map`, whose keys and values must be
    /// of the sizes of `K` and `V`. `false` when the walk is at its end; the batch may hold entries then too.
    pub fn look(&mut self, map: BorrowedFd<'_>, cursor: &mut Cursor) -> io::Result<bool> {
        self.filled = 0;
        let mut previous = cursor.bucket;
        let mut next: u32 = 0;
        let mut attr = BatchAttr {
            in_batch: if cursor.started { address(&raw mut previous) } else { 0 },
            out_batch: address(&raw mut next),
            keys: address(self.keys.as_mut_ptr()),
            values: address(self.values.as_mut_ptr()),
            count: u32::try_from(self.keys.len()).unwrap_or(u32::MAX),
            map_fd: u32::try_from(map.as_raw_fd()).unwrap_or(u32::MAX),
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: the attribute is laid out as the kernel's and lives through the call, as do the two cursors;
        // keys and values have room for `count` elements each.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, MAP_LOOKUP_BATCH, &raw mut attr, size_of::<BatchAttr>()) };
        let error = (result < 0).then(io::Error::last_os_error);
        // At the end of the walk the kernel says ENOENT, beside the entries that were left.
        let at_end = error.as_ref().is_some_and(|error| error.raw_os_error() == Some(libc::ENOENT));
        if let Some(error) = error
            && !at_end
        {
            return Err(error);
        }
        self.filled = usize::try_from(attr.count).unwrap_or(0).min(self.keys.len());
        *cursor = Cursor { bucket: next, started: true };
        Ok(!at_end)
    }
}

/// Registers a ring buffer with tokio. Must be called in a tokio runtime.
pub fn watch_ring(ring: RingBuf<MapData>) -> io::Result<AsyncFd<RingBuf<MapData>>> {
    // SAFETY: the ring owns its map's descriptor, which is open and the same until the ring is dropped, and
    // `AsyncFd` owns the ring.
    unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }.map_err(|error| error.into_parts().1)
}

fn address<T>(pointer: *mut T) -> u64 {
    pointer as u64
}
