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
    assert_eq!(history.newest().unwrap().digest(), store.digest());
    assert_eq!(history.at(told[1].0).unwrap().nodes().count(), 2);
    let mut nothing = History::default();
    nothing.replay(told[0].0, &told[0].1);
    assert!(nothing.newest().is_none(), "changes to nobody knows what are of no use");
}

#[test]
fn the_past_is_bounded_by_states_and_by_changes() {
    let (store, _) = grown(2);
    let mut history = History::new(&store);
    let label = |store: &Store, value: u64, times: usize| {
        let mut node = crate::object::Node::clone(store.node(node(1)).unwrap());
        node.spec.labels.insert("n".to_owned(), value.to_string());
        node.meta.version = value;
        let write = Write::Put { object: node.into(), expect: crate::store::Expect::Any };
        Transaction { at: Timestamp(1), writes: vec![write; times] }
    };
    let mut store = store;
    let mut push = |history: &mut History, times| {
        let index = store.index() + 1;
        let changes = store.apply(index, &label(&store, index, times)).unwrap();
        history.replay(index, &changes);
        index
    };
    let first = push(&mut history, 1);
    for _ in 0..HISTORY_STATES - 1 {
        push(&mut history, 1);
    }
    assert!(history.at(first).is_some() && history.at(first - 1).is_none());
    push(&mut history, 1);
    assert!(history.at(first).is_none() && history.at(first + 1).is_some());
    let large = push(&mut history, HISTORY_CHANGES);
    assert!(history.at(large).is_some() && history.at(large - 1).is_none(), "one entry that changes all");
    let small = push(&mut history, 1);
    assert!(history.at(large).is_none() && history.at(small).is_some());
}

#[test]
fn a_leader_goes_on_from_the_store_that_it_is_given() {
    let (_, told) = grown(8);
    let whole = replayed(&told);
    // The shell's history may be ahead of that store, or behind.
    for (known, taken) in [(8, 5), (5, 8), (5, 5)] {
        let store = whole.at(told[taken - 1].0).unwrap();
        let leader = Leader::new(store, replayed(&told[..known]), Timestamp(1));
        let history = leader.history();
        assert_eq!(history.newest().unwrap().digest(), store.digest());
        assert_eq!(history.newest().unwrap().index(), store.index());
        let earlier = told[taken.min(known) - 2].0;
        assert_eq!(history.at(earlier).unwrap().digest(), whole.at(earlier).unwrap().digest());
    }
}
