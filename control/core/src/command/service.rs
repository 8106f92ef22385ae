//! Services: create, update, roll back, remove.

use std::sync::Arc;

use super::refusal::Refusal;
use super::{cluster, references, validate};
use crate::allocate;
use crate::id::{Entropy, ServiceId};
use crate::object::{JobStatus, Meta, Network, Service, ServiceEndpoint, UpdateState};
use crate::orchestrate::update;
use crate::port::PublishMode;
use crate::spec::{ServiceMode, ServiceSpec};
use crate::store::{Expect, Key, Kind, LookupError, Store, Transaction, Write};
use crate::time::Timestamp;

/// Makes a service with its virtual addresses and published ports. An image without a tag gets `:latest`.
pub fn create_service(
    store: &Store,
    mut spec: ServiceSpec,
    now: Timestamp,
    entropy: &mut dyn Entropy,
) -> Result<(ServiceId, Transaction), Refusal> {
    cluster::current(store)?;
    validate::service(&mut spec)?;
    if store.service_by_name(spec.name.as_str()).is_some() {
        return Err(Refusal::NameTaken { kind: Kind::Service, name: spec.name.to_string() });
    }
    references::check_present(store, &spec.task)?;
    let id = ServiceId::new(entropy);
    let endpoint = settle_endpoint(store, id, &spec, &ServiceEndpoint::default())?;
    let job = spec.mode.is_job().then_some(JobStatus { iteration: 0, last_execution: now });
    let service = Service {
        id,
        meta: Meta::default(),
        spec,
        previous_spec: None,
        spec_version: 1,
        endpoint,
        update: None,
        job,
        rebalance: None,
    };
    Ok((id, Transaction { at: now, writes: vec![Write::create(service.into())] }))
}

/// Changes a service that was read at `version`. Tasks that are no longer what it wants are replaced as its
/// update configuration says; a change that was under way is over, and one that was paused goes on.
pub fn update_service(
    store: &Store,
    id: ServiceId,
    version: u64,
    mut spec: ServiceSpec,
    now: Timestamp,
) -> Result<Transaction, Refusal> {
    let old = find(store, id)?;
    if old.meta.version != version {
        return Err(Refusal::OutOfSequence);
    }
    validate::service(&mut spec)?;
    if spec.name != old.spec.name {
        return Err(Refusal::invalid("name", "renaming services is not supported"));
    }
    if std::mem::discriminant(&spec.mode) != std::mem::discriminant(&old.spec.mode) {
        return Err(Refusal::invalid("mode", "service mode change is not allowed"));
    }
    let mut service = with_spec(store, old, spec, now)?;
    // What leaves a change under way alone leaves the way back from it alone, too.
    if !goes_on(old, &service) {
        service.previous_spec = previous(old, &service);
        let update = update::begin(store, &service, now);
        service = begun(old, Service { update, ..service });
    }
    Ok(Transaction { at: now, writes: vec![Write::update(service.into())] })
}

/// Whether a change of tasks that is under way goes on, or stays paused, through this change of the service.
fn goes_on(old: &Service, new: &Service) -> bool {
    let scaled = ServiceSpec { mode: old.spec.mode, ..new.spec.clone() } == old.spec && new.spec != old.spec;
    match old.update.as_ref().map(|update| update.state) {
        Some(UpdateState::Updating | UpdateState::RollbackStarted) => new.spec_version == old.spec_version,
        Some(UpdateState::Paused | UpdateState::RollbackPaused) => scaled,
        Some(UpdateState::Completed | UpdateState::RollbackCompleted) | None => false,
    }
}

/// The spec before `new`. What changes nothing, as what lets a paused update go on, keeps the one before.
fn previous(old: &Service, new: &Service) -> Option<Box<ServiceSpec>> {
    let same = new.spec == old.spec;
    if same { old.previous_spec.clone() } else { Some(Box::new(old.spec.clone())) }
}

/// Takes a service that was read at `version` back to what it was before its last change, which becomes the
/// previous spec.
pub fn rollback_service(
    store: &Store,
    id: ServiceId,
    version: u64,
    now: Timestamp,
) -> Result<Transaction, Refusal> {
    let old = find(store, id)?;
    if old.meta.version != version {
        return Err(Refusal::OutOfSequence);
    }
    let service = Service {
        previous_spec: Some(Box::new(old.spec.clone())),
        ..restored(store, old, "manually requested rollback", now)?
    };
    Ok(Transaction { at: now, writes: vec![Write::update(service.into())] })
}

/// A service on its way back to its previous spec, with none before that; `message` says why.
pub(crate) fn restored(
    store: &Store,
    old: &Service,
    message: &str,
    now: Timestamp,
) -> Result<Service, Refusal> {
    let previous = old.previous_spec.as_deref().ok_or(Refusal::NoPreviousSpec { service: old.id })?;
    let service = Service { previous_spec: None, ..with_spec(store, old, previous.clone(), now)? };
    let update = update::begin_rollback(store, &service, message, now);
    Ok(begun(old, Service { update, ..service }))
}

/// Gives a change of tasks that begins a version of its own, also where it wants the same as one that did not
/// come to its end: what that one did to a place is no turn of the new one.
fn begun(old: &Service, mut service: Service) -> Service {
    let changes = service.update.as_ref().is_some_and(|update| update.slots > 0);
    if changes && service.spec_version == old.spec_version {
        service.spec_version += 1;
    }
    service
}

/// A service with another spec and what follows from that: addresses and ports, and a new version or run when
/// its tasks are no longer what they should be.
fn with_spec(store: &Store, old: &Service, spec: ServiceSpec, now: Timestamp) -> Result<Service, Refusal> {
    references::check_present(store, &spec.task)?;
    let endpoint = settle_endpoint(store, old.id, &spec, &old.endpoint)?;
    let mut service = Service { spec, endpoint, ..old.clone() };
    if changes_tasks(old, &service) {
        service.spec_version += 1;
        if let Some(job) = &mut service.job {
            (job.iteration, job.last_execution) = (job.iteration + 1, now);
        }
    }
    Ok(service)
}

/// Whether tasks made from the one may not be what the other wants. Leaving the ingress network is no change
/// for them, joining it is.
fn changes_tasks(old: &Service, new: &Service) -> bool {
    old.spec.task != new.spec.task
        || old.endpoint.host_ports() != new.endpoint.host_ports()
        || (new.publishes_ingress() && !old.publishes_ingress())
}

/// Changes how many tasks a replicated service that was read at `version` has, or how many completions a
/// replicated job.
pub fn scale_service(
    store: &Store,
    id: ServiceId,
    version: u64,
    replicas: u32,
    now: Timestamp,
) -> Result<Transaction, Refusal> {
    let mut spec = find(store, id)?.spec.clone();
    match &mut spec.mode {
        ServiceMode::Replicated { replicas: current } => *current = replicas,
        ServiceMode::ReplicatedJob { total_completions, .. } => *total_completions = replicas,
        ServiceMode::Global | ServiceMode::GlobalJob => {
            let reason = "scale can only be used with replicated or replicated-job mode";
            return Err(Refusal::invalid("mode", reason));
        }
    }
    update_service(store, id, version, spec, now)
}

/// Removes a service; its tasks are shut down and deleted by the leader.
pub fn remove_service(store: &Store, id: ServiceId, now: Timestamp) -> Result<Transaction, Refusal> {
    find(store, id)?;
    Ok(Transaction { at: now, writes: vec![Write::Delete { key: Key::Service(id), expect: Expect::Any }] })
}

pub(super) fn find(store: &Store, id: ServiceId) -> Result<&Arc<Service>, Refusal> {
    let missing = || LookupError::NotFound { kind: Kind::Service, text: id.to_string() };
    Ok(store.service(id).ok_or_else(missing)?)
}

fn settle_endpoint(
    store: &Store,
    id: ServiceId,
    spec: &ServiceSpec,
    have: &ServiceEndpoint,
) -> Result<ServiceEndpoint, Refusal> {
    check_networks(store, spec)?;
    let ports = allocate::published_ports(store, id, &spec.endpoint.ports, &have.ports)?;
    let vips = allocate::vips(store, spec, &have.vips)?;
    Ok(ServiceEndpoint { vips, ports })
}

/// Every network must be there, none may be joined by hand that is joined by publishing, and no two of
/// them may share an address: a task could not tell which one is meant.
fn check_networks(store: &Store, spec: &ServiceSpec) -> Result<(), Refusal> {
    let mut joined: Vec<&Arc<Network>> = Vec::new();
    if spec.endpoint.ports.iter().any(|port| port.mode == PublishMode::Ingress) {
        joined.push(store.ingress_network().ok_or(Refusal::NoIngress)?);
    }
    for attachment in &spec.task.networks {
        let text = attachment.network.to_string();
        let missing = || LookupError::NotFound { kind: Kind::Network, text };
        let network = store.network(attachment.network).ok_or_else(missing)?;
        if network.spec.ingress {
            let reason = format!(
                "service cannot be explicitly attached to the ingress network {:?}",
                network.spec.name.as_str()
            );
            return Err(Refusal::invalid("networks", reason));
        }
        if let Some(other) = joined.iter().find(|other| allocate::overlap(&other.subnet, &network.subnet)) {
            return Err(Refusal::NetworksOverlap {
                first: other.spec.name.to_string(),
                first_subnet: other.subnet,
                second: network.spec.name.to_string(),
                second_subnet: network.subnet,
            });
        }
        joined.push(network);
    }
    Ok(())
}
