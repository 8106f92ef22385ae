//! Tasks for real: namespaces, cgroups, shims, as root.

mod life;
mod recovery;
mod support;
