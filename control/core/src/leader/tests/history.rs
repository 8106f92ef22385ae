//! What is remembered of the past, and for how long.

use super::*;
use crate::store::Write;

/// A store, and what it was after each of its entries.
fn grown(entries: u64) -> (Store, Vec<(u64, Vec<Change>)>) {
    let (mut store, mut entropy) = (Store::default(), Seeded(1));
    let begin = command::init_cluster(&store, init_request(), Timestamp(1), &mut entropy).unwrap();
    let mut told = vec![(1, store.apply(1, &begin).unwrap())];
    for number in 2..=entries {
        let join = join_request(u32::try_from(number).unwrap());
        let joined = command::join_node(&store, join, Timestamp(1)).unwrap();
        // Every second entry conflicts, and changes nothing.
        let index = number * 2;
        told.push((index, store.apply(index, &joined).unwrap()));
    }
    (store, told)
}

fn replayed(told: &[(u64, Vec<Change>)]) -> History {
    let mut history = History::new(&Store::default());
    for (index, changes) in told {
        history.replay(*index, changes);
    }
    history
}

#[test]
fn each_entry_has_its_state_and_those_that_changed_nothing_the_one_before() {
    let (store, told) = grown(10);
    let history = replayed(&told);
    let nodes = |index| history.at(index).map(|store| store.nodes().count());
    assert_eq!((nodes(0), nodes(1), nodes(3)), (Some(0), Some(1), Some(1)));
    assert_eq!((nodes(4), nodes(5), nodes(6)), (Some(2), Some(2), Some(3)));
    assert_eq!(nodes(1000), Some(10));
    assert_eq!(history.newest().unwrap().digest(), store.digest());
    assert!(History::default().at(5).is_none() && History::default().newest().is_none());
}

#[test]
fn what_was_heard_already_is_not_done_twice() {
    let (store, told) = grown(5);
    let mut history = replayed(&told);
    history.replay(told[2].0, &told[2].1);
    assert_eq!(history.newest().unwrap().index(), store.index());
    assert_eq!(history.newest().unwrap().digest(), store.digest());
    assert_eq!(history.at(told[1].0).unwrap().nodes().count(), 2);
    let mut nothing = History::default();
    nothing.replay(told[0].0, &told[0].1);
    assert!(nothing.newest().is_none(), "changes to nobody knows what are of no use");
}

#[test]
fn the_past_is_bounded_by_its_changes() {
    let (mut store, _) = grown(2);
    let mut history = History::new(&store);
    let first = store.index();
    let mut push = |history: &mut History, times: usize| {
        let index = store.index() + 1;
        let mut node = crate::object::Node::clone(store.node(node(1)).unwrap());
        node.spec.labels.insert("n".to_owned(), index.to_string());
        let write = Write::Put { object: node.into(), expect: crate::store::Expect::Any };
        let transaction = Transaction { at: Timestamp(1), writes: vec![write; times] };
        let changes = store.apply(index, &transaction).unwrap();
        history.replay(index, &changes);
        index
    };
    for _ in 0..HISTORY_CHANGES {
        push(&mut history, 1);
    }
    assert!(history.at(first).is_some() && history.at(first - 1).is_none());
    push(&mut history, 1);
    assert!(history.at(first).is_none() && history.at(first + 1).is_some());
    let large = push(&mut history, HISTORY_CHANGES + 1);
    assert!(history.at(large).is_some() && history.at(large - 1).is_none(), "one entry that changes all");
    let small = push(&mut history, 1);
    assert!(history.at(large).is_some() && history.at(small).is_some());
}

#[test]
fn what_was_taken_back_is_as_it_was_then() {
    let mut cluster = VirtualCluster::new(3, 8);
    let mut spec = service_spec("web", 5);
    spec.endpoint.ports = vec![crate::port::PublishedPort {
        published: None,
        target: crate::port::Port::new(80).unwrap(),
        protocol: crate::port::Protocol::Tcp,
        mode: crate::port::PublishMode::Ingress,
    }];
    let service = cluster.create_service(spec).unwrap();
    let mut seen = Vec::new();
    for round in 0..6 {
        cluster.run_for(Duration::from_millis(7));
        seen.push(cluster.store.clone());
        match round {
            0 => drop(cluster.create_service(service_spec("other", 4)).unwrap()),
            1 => cluster.update_service(service, |spec| spec.endpoint.ports.clear()).unwrap(),
            2 => cluster.remove_node(node(3), true).unwrap(),
            3 => drop(cluster.create_network(network_spec("net")).unwrap()),
            4 => cluster.remove_service(service).unwrap(),
            _ => drop(cluster.join(join_request(4)).unwrap()),
        }
    }
    cluster.run_for(SOON);
    for then in seen {
        let back = cluster.history().at(then.index()).unwrap();
        assert_eq!(back.index(), then.index());
        assert!(back.nodes().eq(then.nodes()) && back.networks().eq(then.networks()));
        assert!(back.services().eq(then.services()) && back.tasks().eq(then.tasks()));
        for number in 1..=4 {
            let [back, then] = [&back, &then]
                .map(|store| crate::dispatch::full(store, node(number), &crate::dispatch::Others::of(store)));
            assert_eq!(back, then, "node {number}");
        }
    }
}

#[test]
fn a_leader_goes_on_from_the_store_that_it_is_given() {
    let (_, told) = grown(8);
    let whole = replayed(&told);
    let first = told[0].0;
    let led = |store: &Store, known: usize| {
        Leader::new(store, replayed(&told[..known]), Timestamp(1)).history().clone()
    };
    // The shell's history may be ahead of the store, and the store ahead by entries that changed nothing.
    for (known, taken, idle) in [(8, 5, 0), (5, 5, 0), (5, 5, 1), (8, 5, 1)] {
        let mut store = whole.at(told[taken - 1].0).unwrap();
        store.replay(store.index() + idle, &[]);
        let history = led(&store, known);
        assert_eq!(history.newest().unwrap().digest(), store.digest());
        assert_eq!(history.newest().unwrap().index(), store.index());
        assert_eq!(history.at(first).unwrap().digest(), whole.at(first).unwrap().digest());
    }
    // What does not lead to the store is of no use.
    let store = whole.at(told[7].0).unwrap();
    let history = led(&store, 5);
    assert_eq!(history.newest().unwrap().digest(), store.digest());
    assert!(history.at(first).is_none());
}
