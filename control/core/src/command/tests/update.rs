//! What a change of a service makes of its version, its previous spec and its update.

use super::*;
use crate::object::{JobStatus, Service};

fn object(bench: &Bench, id: ServiceId) -> &Service {
    bench.store.service(id).unwrap()
}

#[test]
fn the_version_of_the_spec_counts_changes_of_tasks() {
    let cases: Vec<(Change, u64)> = vec![
        (|spec| drop(spec.labels.insert("a".into(), "b".into())), 1),
        (|spec| spec.mode = ServiceMode::Replicated { replicas: 3 }, 1),
        (|spec| spec.rollback.parallelism = 4, 1),
        (|spec| spec.task.container.image = "mesh/whoami:2".into(), 2),
        (|spec| spec.task.container.image = "mesh/whoami:2".into(), 2),
        (|spec| spec.task.force_update += 1, 3),
        (|spec| spec.endpoint.ports.push(tcp(8080)), 4),
        (|spec| spec.endpoint.ports.push(tcp(8081)), 4),
        (|spec| spec.endpoint.ports.clear(), 4),
        (|spec| spec.endpoint.ports.push(tcp(8080)), 5),
        (|spec| spec.endpoint.ports.push(port(80, PublishMode::Host, Protocol::Tcp)), 6),
        (|spec| spec.task.placement.constraints = vec!["node.role==worker".parse().unwrap()], 7),
    ];
    let mut bench = Bench::new();
    let id = bench.service(service_spec("web", 1)).unwrap();
    for (at, (change, version)) in cases.into_iter().enumerate() {
        bench.update(id, change).unwrap();
        assert_eq!(object(&bench, id).spec_version, version, "change {at}");
        assert_eq!(object(&bench, id).update, None, "it has no tasks to change");
    }
}

#[test]
fn one_previous_spec_is_kept() {
    let mut bench = Bench::new();
    let id = bench.service(service_spec("web", 1)).unwrap();
    assert_eq!(object(&bench, id).previous_spec, None);
    for replicas in [2, 3] {
        let before = object(&bench, id).spec.clone();
        bench.update(id, |spec| spec.mode = ServiceMode::Replicated { replicas }).unwrap();
        assert_eq!(object(&bench, id).previous_spec.as_deref(), Some(&before));
        bench.update(id, |_| {}).unwrap();
        assert_eq!(object(&bench, id).previous_spec.as_deref(), Some(&before), "nothing was changed");
    }
}

#[test]
fn rollbacks_are_refused_without_a_previous_spec_and_at_another_version() {
    let mut bench = Bench::new();
    let missing = ServiceId::from_bits(9);
    assert_eq!(words(rollback_service(&bench.store, missing, 1, AT)).0, RefusalKind::NotFound);
    let id = bench.service(service_spec("web", 1)).unwrap();
    let version = object(&bench, id).meta.version;
    let refusal = format!("service {id} does not have a previous spec");
    assert_eq!(
        words(rollback_service(&bench.store, id, version, AT)),
        (RefusalKind::FailedPrecondition, refusal)
    );
    bench.update(id, |spec| spec.task.force_update = 1).unwrap();
    let stale = rollback_service(&bench.store, id, version, AT);
    assert_eq!(words(stale), (RefusalKind::OutOfSequence, "update out of sequence".into()));
}

#[test]
fn a_rollback_is_refused_when_what_it_needs_is_gone() {
    let mut bench = Bench::new();
    let net = bench.network(network_spec("net")).unwrap();
    let id = bench.service(joining("web", &[net])).unwrap();
    bench.update(id, |spec| spec.task.networks.clear()).unwrap();
    let gone = remove_network(&bench.store, net, AT).unwrap();
    bench.apply(&gone);
    let back = rollback_service(&bench.store, id, object(&bench, id).meta.version, AT);
    assert_eq!(words(back), (RefusalKind::NotFound, format!("network {net} not found")));
}

#[test]
fn a_job_runs_again_when_its_tasks_change_and_has_no_update() {
    let mut bench = Bench::new();
    let mut spec = service_spec("job", 1);
    spec.mode = ServiceMode::ReplicatedJob { max_concurrent: 1, total_completions: 3 };
    let id = bench.service(spec).unwrap();
    let later = Timestamp(99);
    let change = |bench: &mut Bench, change: Change| {
        let old = object(bench, id).clone();
        let mut spec = old.spec.clone();
        change(&mut spec);
        let made = update_service(&bench.store, id, old.meta.version, spec, later).unwrap();
        bench.apply(&made);
        assert_eq!(object(bench, id).update, None);
        object(bench, id).job.unwrap()
    };
    let first = JobStatus { iteration: 0, last_execution: AT };
    assert_eq!(change(&mut bench, |spec| drop(spec.labels.insert("a".into(), "b".into()))), first);
    let more = |spec: &mut ServiceSpec| {
        spec.mode = ServiceMode::ReplicatedJob { max_concurrent: 2, total_completions: 9 };
    };
    assert_eq!(change(&mut bench, more), first, "more completions are no other run");
    let second = JobStatus { iteration: 1, last_execution: later };
    assert_eq!(change(&mut bench, |spec| spec.task.force_update += 1), second);
    let back = rollback_service(&bench.store, id, object(&bench, id).meta.version, AT).unwrap();
    bench.apply(&back);
    let service = object(&bench, id);
    assert_eq!((service.job.unwrap().iteration, service.update.as_ref()), (2, None));
}
