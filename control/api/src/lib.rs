//! What travels over the API's socket: the part of Docker's Engine API that the mesh answers, and the mesh's
//! own `/mesh/v1`.
//!
//! Wire types only. They hold what was said, in Docker's words, with every field that a client may send;
//! whether it makes sense is decided where they are turned into `mesh_core`'s types, in the daemon's
//! handlers. Own types stand where the Engine API's generated models lose fields.
//!
//! Invariants: reading tolerates unknown fields, `null` and keys in another case, as Go does
//! ([`decode`]); writing leaves empty fields out, so that what a client sent reads back the same.

// Docker's models have as many flags as they have.
#![allow(clippy::struct_excessive_bools)]

pub mod decode;
pub mod engine;
pub mod mesh;

/// The newest Engine API version that is answered.
pub const API_VERSION: &str = "1.53";

/// The oldest Engine API version that is answered.
pub const MIN_API_VERSION: &str = "1.24";

/// Whether a value says nothing, so that it can be left out.
pub(crate) fn blank<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
