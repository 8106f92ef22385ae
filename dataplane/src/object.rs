//! The eBPF object, built from source with this crate.

use aya::include_bytes_aligned;

/// The object file, aligned as its parser needs it. Its programs and maps are named in `mesh_abi::program`
/// and `mesh_abi::map`.
pub static OBJECT: &[u8] = include_bytes_aligned!(env!("MESH_EBPF"));
