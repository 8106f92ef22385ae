//! Mistakes planted on purpose: each must be found, or the simulation looks the wrong way.

use std::sync::Arc;

use mesh_core::id::ServiceId;
use mesh_core::object::{Network, Service, ServiceEndpoint};
use mesh_core::store::{Change, Delta};
use mesh_core::time::Timestamp;

use crate::client::{new_network, new_service};
use crate::ledger::{Ledger, Violation, claims};
use crate::rng::Rng;
use crate::run_plan;
use crate::world::{Plan, Planted, first_store};

/// Seeds within which a planted mistake must be found.
const SEEDS: u64 = 20;

fn find(planted: Planted, managers: u64) -> Violation {
    let plan = |seed| Plan { planted: Some(planted), managers, ..Plan::from_seed(seed) };
    (0..SEEDS)
        .find_map(|seed| run_plan(plan(seed)).err())
        .unwrap_or_else(|| panic!("{planted:?} with {managers} managers was not found in {SEEDS} seeds"))
}

#[test]
fn an_acknowledgement_before_the_sync_is_found() {
    for managers in [1, 3] {
        let violation = find(Planted::LyingDisks, managers);
        let expected = matches!(
            violation,
            Violation::Forgotten { .. }
                | Violation::Diverged { .. }
                | Violation::Lost { .. }
                | Violation::TwoLeaders { .. }
                | Violation::Panic
        );
        assert!(expected, "{violation}");
    }
}

#[test]
fn a_status_that_is_lost_with_its_session_is_found() {
    let violation = find(Planted::ForgetfulAgents, 1);
    assert!(matches!(violation, Violation::NoRest { .. }), "{violation}");
}

#[test]
fn a_read_without_a_quorum_is_found() {
    let violation = find(Planted::StaleReads, 3);
    assert!(matches!(violation, Violation::StaleRead { .. }), "{violation}");
}

#[test]
fn a_change_of_members_that_was_not_checked_is_found() {
    let violation = find(Planted::UncheckedVoters, 3);
    assert!(matches!(violation, Violation::NoRest { .. } | Violation::NoLeader { .. }), "{violation}");
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
