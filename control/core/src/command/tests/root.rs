//! The change of the root certificate.

use super::*;
use crate::secret::Secret;

const ONE: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";

fn new_root(signer: u8) -> NewRoot {
    NewRoot { trust: ONE.repeat(3), signer: [signer; 32], signing_key: Secret::new("new key") }
}

fn renew(bench: &mut Bench, number: u128) {
    let signer = bench.store.cluster().unwrap().signer;
    let made = renew_node(&bench.store, NodeId::from_bits(number), signer, AT).unwrap();
    bench.apply(&made);
}

/// Three nodes, and a new root that signs.
fn rotating() -> Bench {
    let mut bench = Bench::new();
    bench.join(2, |_| {}).unwrap();
    bench.join(3, |_| {}).unwrap();
    assert_eq!(root_stage(&bench.store), Ok(RootStage::Steady));
    let made = begin_root_rotation(&bench.store, new_root(2), AT).unwrap();
    bench.apply(&made);
    bench
}

fn nodes(numbers: &[u128]) -> Vec<NodeId> {
    numbers.iter().map(|number| NodeId::from_bits(*number)).collect()
}

#[test]
fn the_new_root_signs_at_once_and_all_are_trusted() {
    let bench = rotating();
    let cluster = bench.store.cluster().unwrap();
    assert_eq!((cluster.trust.as_str(), cluster.signer), (ONE.repeat(3).as_str(), [2; 32]));
    assert_eq!(cluster.signing_key.expose(), "new key");
    assert_eq!(cluster.manager_token.expose(), "manager", "the tokens' secrets stay");
    assert_eq!(root_stage(&bench.store), Ok(RootStage::Waiting(nodes(&[1, 2, 3]))));
}

#[test]
fn the_old_root_goes_when_no_node_hangs_on_it() {
    let mut bench = rotating();
    renew(&mut bench, 2);
    let early = finish_root_rotation(&bench.store, ONE.to_owned(), AT);
    let refusal = format!(
        "the old root is still needed: 2 nodes have no certificate of the new root (the first is {}). They renew \
         when they are reachable; one that will not return is removed with `node rm`",
        NodeId::from_bits(1)
    );
    assert_eq!(words(early), (RefusalKind::FailedPrecondition, refusal));
    renew(&mut bench, 1);
    assert_eq!(root_stage(&bench.store), Ok(RootStage::Waiting(nodes(&[3]))));
    renew(&mut bench, 3);
    assert_eq!(root_stage(&bench.store), Ok(RootStage::Renewed));
    let made = finish_root_rotation(&bench.store, ONE.to_owned(), AT).unwrap();
    bench.apply(&made);
    let cluster = bench.store.cluster().unwrap();
    assert_eq!((cluster.trust.as_str(), cluster.signer), (ONE, [2; 32]));
    assert_eq!(root_stage(&bench.store), Ok(RootStage::Steady));
    let again = finish_root_rotation(&bench.store, "else".to_owned(), AT).unwrap();
    assert!(again.writes.is_empty(), "done twice it changes nothing");
}

#[test]
fn nodes_that_are_gone_are_not_waited_for() {
    let mut bench = rotating();
    renew(&mut bench, 1);
    let left = depart_node(&bench.store, NodeId::from_bits(2), false, &NOBODY, AT).unwrap();
    bench.apply(&left);
    assert_eq!(root_stage(&bench.store), Ok(RootStage::Waiting(nodes(&[3]))));
    let gone = remove_node(&bench.store, NodeId::from_bits(3), true, &NOBODY, AT).unwrap();
    bench.apply(&gone);
    assert_eq!(root_stage(&bench.store), Ok(RootStage::Renewed));
    // One that comes back with the old root's certificate is waited for again.
    bench.join(4, |_| {}).unwrap();
    assert_eq!(root_stage(&bench.store), Ok(RootStage::Waiting(nodes(&[4]))));
}

#[test]
fn one_change_of_the_root_at_a_time() {
    let bench = rotating();
    let kind = RefusalKind::FailedPrecondition;
    let second = begin_root_rotation(&bench.store, new_root(3), AT);
    let refusal =
        "the root certificate is being changed already: try again when every node has renewed its own";
    assert_eq!(words(second), (kind, refusal.into()));
    let same = begin_root_rotation(&Bench::new().store, new_root(1), AT);
    assert_eq!(words(same), (kind, "the new root is the cluster's root already".into()));
    let store = Store::default();
    assert_eq!(
        words(begin_root_rotation(&store, new_root(2), AT)).1,
        "this cluster has not been initialized"
    );
    assert_eq!(words(root_stage(&store)).1, "this cluster has not been initialized");
}
