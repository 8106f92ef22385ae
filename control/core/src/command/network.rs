//! Networks: create and remove.

use super::refusal::Refusal;
use crate::id::{Entropy, NetworkId};
use crate::spec::NetworkSpec;
use crate::store::{Store, Transaction};
use crate::time::Timestamp;

/// Makes a network with its subnet, gateway and VNI.
pub fn create_network(
    store: &Store,
    spec: NetworkSpec,
    now: Timestamp,
    entropy: &mut dyn Entropy,
) -> Result<(NetworkId, Transaction), Refusal> {
    let _ = (store, spec, now, entropy);
    Err(Refusal::NotAvailable { what: "create_network" })
}

/// Removes a network that nothing uses.
pub fn remove_network(store: &Store, id: NetworkId, now: Timestamp) -> Result<Transaction, Refusal> {
    let _ = (store, id, now);
    Err(Refusal::NotAvailable { what: "remove_network" })
}
