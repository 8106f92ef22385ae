//! Tasks for real: namespaces, cgroups, shims, as root.

mod life;
mod probe;
mod recovery;
mod support;
