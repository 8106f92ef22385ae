//! Rebalancing a service: asked for here, done by the leader.

use std::collections::BTreeSet;

use super::refusal::Refusal;
use super::service::find;
use crate::id::ServiceId;
use crate::object::{Rebalance, Service};
use crate::spec::ServiceMode;
use crate::store::{Store, Transaction, Write};
use crate::time::Timestamp;

/// Lets a service's tasks move from the nodes with the most of them to those with the fewest, at most
/// `parallelism` at once, until that makes the spread no better. [`Service::rebalance`] tells how far it is, and
/// is empty again when it is over. One that is under way goes on with the new parallelism.
pub fn rebalance_service(
    store: &Store,
    id: ServiceId,
    parallelism: u32,
    now: Timestamp,
) -> Result<Transaction, Refusal> {
    let service = find(store, id)?;
    if !matches!(service.spec.mode, ServiceMode::Replicated { .. }) {
        return Err(Refusal::invalid("mode", "rebalance can only be used with replicated mode"));
    }
    if parallelism == 0 {
        return Err(Refusal::invalid("parallelism", "must be at least 1"));
    }
    let fresh = Rebalance { parallelism, started_at: now, moving: BTreeSet::new(), moved: 0 };
    let rebalance = match &service.rebalance {
        Some(mark) => Rebalance { parallelism, ..mark.clone() },
        None => fresh,
    };
    let service = Service { rebalance: Some(rebalance), ..Service::clone(service) };
    Ok(Transaction { at: now, writes: vec![Write::update(service.into())] })
}
