//! Services: create, update, remove.

use super::refusal::Refusal;
use crate::id::{Entropy, ServiceId};
use crate::spec::ServiceSpec;
use crate::store::{Store, Transaction};
use crate::time::Timestamp;

/// Makes a service with its virtual addresses and published ports.
pub fn create_service(
    store: &Store,
    spec: ServiceSpec,
    now: Timestamp,
    entropy: &mut dyn Entropy,
) -> Result<(ServiceId, Transaction), Refusal> {
    let _ = (store, spec, now, entropy);
    Err(Refusal::NotAvailable { what: "create_service" })
}

/// Changes a service that was read at `version`.
pub fn update_service(
    store: &Store,
    id: ServiceId,
    version: u64,
    spec: ServiceSpec,
    now: Timestamp,
) -> Result<Transaction, Refusal> {
    let _ = (store, id, version, spec, now);
    Err(Refusal::NotAvailable { what: "update_service" })
}

/// Removes a service; its tasks are shut down and deleted by the leader.
pub fn remove_service(store: &Store, id: ServiceId, now: Timestamp) -> Result<Transaction, Refusal> {
    let _ = (store, id, now);
    Err(Refusal::NotAvailable { what: "remove_service" })
}
