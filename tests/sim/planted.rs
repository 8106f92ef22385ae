//! Mistakes planted on purpose: each must be found, or the simulation looks the wrong way.

use std::sync::Arc;

use mesh_core::id::ServiceId;
use mesh_core::object::{Network, Service, ServiceEndpoint};
use mesh_core::store::{Change, Delta};
use mesh_core::time::Timestamp;

use crate::client::{new_network, new_service};
use crate::ledger::{Ledger, Violation, claims};
use crate::plan::{Plan, Planted};
use crate::rng::Rng;
use crate::world::first_store;
use crate::{from_environment, run_plan};

/// Seeds within which a planted mistake must be found.
const SEEDS: u64 = 200;

/// The first seed that meets a planted mistake, and how. It fails again in the same way, to the same trace.
fn find(planted: Planted, managers: u64) -> Option<(u64, Violation)> {
    if from_environment("SEED").is_some() {
        return None;
    }
    let plan = |seed| Plan { planted: Some(planted), managers, ..Plan::from_seed(seed) };
    let found = (0..SEEDS).find_map(|seed| Some((seed, run_plan(plan(seed)).err()?)));
    let (seed, failure) = found.unwrap_or_else(|| panic!("{planted:?} was not found in {SEEDS} seeds"));
    println!("{planted:?} with {managers} managers: seed {seed}: {failure}");
    let again = run_plan(plan(seed)).expect_err("one seed is one history");
    assert_eq!((again.trace, again.to_string()), (failure.trace, failure.to_string()));
    Some((seed, failure.violation))
}

fn assert_found(planted: Planted, managers: u64, expected: impl Fn(&Violation) -> bool) {
    if let Some((seed, violation)) = find(planted, managers) {
        assert!(expected(&violation), "seed {seed}: {violation}");
    }
}

/// Something that was acknowledged is not there, or is another thing elsewhere.
fn is_loss(violation: &Violation) -> bool {
    matches!(
        violation,
        Violation::Forgotten { .. }
            | Violation::Diverged { .. }
            | Violation::Lost { .. }
            | Violation::TwoLeaders { .. }
            | Violation::StaleRead { .. }
            | Violation::Members { .. }
            | Violation::Panic
    )
}

#[test]
fn an_acknowledgement_before_the_sync_is_found() {
    for managers in [1, 3] {
        assert_found(Planted::AckBeforeSync, managers, is_loss);
    }
}

#[test]
fn a_change_of_members_without_a_joint_configuration_is_found() {
    assert_found(Planted::SkippedChangeCheck, 3, is_loss);
}

#[test]
fn a_voter_that_nobody_saw_answer_is_found() {
    let stands = |found: &Violation| matches!(found, Violation::NoRest { .. } | Violation::NoLeader { .. });
    assert_found(Planted::UncheckedVoters, 3, stands);
}

#[test]
fn a_status_that_is_lost_with_its_session_is_found() {
    for planted in [Planted::LostStatus, Planted::TakenEarly] {
        assert_found(planted, 3, |found| matches!(found, Violation::NoRest { .. }));
    }
}

#[test]
fn an_address_given_twice_after_a_change_of_leader_is_found() {
    let twice =
        |found: &Violation| matches!(found, Violation::Twice { what, .. } if what.starts_with("address"));
    assert_found(Planted::DoubleVip, 3, twice);
}

#[test]
fn a_read_by_lease_of_a_leader_that_is_none_any_more_is_found() {
    assert_found(Planted::StaleRead, 3, |found| matches!(found, Violation::StaleRead { .. }));
}

#[test]
fn an_address_or_a_port_given_twice_is_found() {
    let mut rng = Rng::new(1);
    let mut store = first_store(&mut rng);
    let (_, _, network) = new_network(&store, Timestamp(2), &mut rng, 2).expect("there is room");
    store.apply(2, &network).expect("it fits");
    for index in 3..40 {
        if let Ok((_, _, transaction)) = new_service(&store, Timestamp(index), &mut rng, index) {
            store.apply(index, &transaction).expect("it fits");
        }
    }
    claims(&store).expect("what the commands make is sound");
    let reached =
        |service: &&Arc<Service>| !service.endpoint.ports.is_empty() && !service.endpoint.vips.is_empty();
    let service = store.services().find(reached).expect("one of them").clone();
    let twin = |endpoint| {
        let id = ServiceId::from_bits(7);
        let twin = Service { id, endpoint, ..Service::clone(&service) };
        [Change::Service(Delta { old: None, new: Some(Arc::new(twin)) })]
    };
    let ServiceEndpoint { vips, ports } = service.endpoint.clone();
    for (endpoint, twice) in [
        (ServiceEndpoint { vips, ..ServiceEndpoint::default() }, "address"),
        (ServiceEndpoint { ports, ..ServiceEndpoint::default() }, "port"),
    ] {
        let mut mistaken = store.clone();
        mistaken.replay(99, &twin(endpoint));
        let violation = claims(&mistaken).expect_err("it is there twice");
        assert!(
            matches!(&violation, Violation::Twice { what, .. } if what.starts_with(twice)),
            "{violation}"
        );
    }
}

#[test]
fn a_number_given_twice_is_found() {
    let mut store = first_store(&mut Rng::new(1));
    claims(&store).expect("the first store is sound");
    let ingress = store.ingress_network().expect("there is one").clone();
    // Past the store's own checks, as a mistake in them would be.
    let twin = |gateway| {
        let id = mesh_core::id::NetworkId::from_bits(7);
        let network = Network { id, gateway, ..Network::clone(&ingress) };
        [Change::Network(Delta { old: None, new: Some(Arc::new(network)) })]
    };
    store.replay(2, &twin(ingress.gateway));
    let mut ledger = Ledger::default();
    let violation = ledger.applied(1, 2, &store).expect_err("the VNI is there twice");
    assert!(matches!(&violation, Violation::Twice { what, .. } if what.contains("VNI")), "{violation}");
}
