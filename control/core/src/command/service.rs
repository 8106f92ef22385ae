//! Services: create, update, remove.

use std::sync::Arc;

use super::refusal::Refusal;
use super::{cluster, references, validate};
use crate::allocate;
use crate::id::{Entropy, ServiceId};
use crate::object::{JobStatus, Meta, Network, Service, ServiceEndpoint};
use crate::port::{PublishMode, PublishedPort};
use crate::spec::{EndpointSpec, ServiceMode, ServiceSpec};
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
    let job = spec.mode.is_job().then(|| JobStatus { iteration: 0, last_execution: now });
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

/// Changes a service that was read at `version`.
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
    references::check_present(store, &spec.task)?;
    refuse_task_change(&old.spec, &spec)?;
    let endpoint = settle_endpoint(store, id, &spec, &old.endpoint)?;
    let previous_spec = Some(Box::new(old.spec.clone()));
    let service = Service { spec, previous_spec, endpoint, ..Service::clone(old) };
    Ok(Transaction { at: now, writes: vec![Write::update(service.into())] })
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

/// Refuses whatever would need running tasks to be replaced.
fn refuse_task_change(old: &ServiceSpec, new: &ServiceSpec) -> Result<(), Refusal> {
    let joins = |spec: &ServiceSpec| spec.endpoint.ports.iter().any(|port| port.mode == PublishMode::Ingress);
    let fields = [
        ("image", old.task.container.image == new.task.container.image),
        ("command", old.task.container.command == new.task.container.command),
        ("args", old.task.container.args == new.task.container.args),
        ("env", old.task.container.env == new.task.container.env),
        ("container", old.task.container == new.task.container),
        ("resources", old.task.resources == new.task.resources),
        ("restart policy", old.task.restart == new.task.restart),
        ("placement", old.task.placement == new.task.placement),
        ("networks", old.task.networks == new.task.networks),
        ("force", old.task.force_update == new.task.force_update),
        ("task", old.task == new.task),
        ("ports in host mode", host_ports(&old.endpoint) == host_ports(&new.endpoint)),
        // Its tasks would have to join the ingress network; leaving it again is no change for them.
        ("first published port", joins(old) || !joins(new)),
    ];
    match fields.into_iter().find(|(_, same)| !same) {
        Some((field, _)) => Err(Refusal::TaskChange { field }),
        None => Ok(()),
    }
}

fn host_ports(spec: &EndpointSpec) -> Vec<PublishedPort> {
    let mut ports: Vec<_> =
        spec.ports.iter().filter(|port| port.mode == PublishMode::Host).copied().collect();
    ports.sort_unstable();
    ports
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
