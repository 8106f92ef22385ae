//! The dataplane in real namespaces, with real packets. Needs root.

mod links;
