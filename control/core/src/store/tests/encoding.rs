//! Digests, snapshots and log entries.

use super::*;

#[test]
fn the_digest_tells_contents_not_history() {
    let (store, _) = small();
    let (mut forward, mut backward) = (store.clone(), store.clone());
    let tasks: Vec<_> = (1..=5).map(|n| task(&store, n.into(), n, &format!("10.0.1.{}", 100 + n))).collect();
    let at_once = |tasks: Vec<Task>| tasks.into_iter().map(|task| Write::create(task.into())).collect();
    apply(&mut forward, at_once(tasks.clone())).unwrap();
    assert_ne!(forward.digest(), store.digest());
    let node = Object::Node(backward.node(NodeId::from_bits(2)).unwrap().clone());
    apply(&mut backward, vec![Write::Put { object: node.clone(), expect: Expect::Any }]).unwrap();
    assert_ne!(backward.digest(), store.digest(), "a new version is a new content");
    let index = forward.index() + 1;
    forward
        .apply(index, &Transaction { at: AT, writes: vec![Write::Put { object: node, expect: Expect::Any }] })
        .unwrap();
    let deletes = tasks.iter().map(|task| Write::Delete { key: Key::Task(task.id), expect: Expect::Any });
    apply(&mut forward, deletes.collect()).unwrap();
    assert_eq!(forward.task_count(), 0);
    assert_ne!(forward.digest(), store.digest(), "numbers given stay given");
}

#[test]
fn the_digest_is_fixed() {
    let empty = Store::default().digest();
    assert_eq!(empty, Store { index: 9, ..Store::default() }.digest());
    assert_eq!(
        &empty[..4],
        &[0x86, 0x67, 0xe7, 0x18],
        "a change of the digest splits clusters of two versions"
    );
}

#[test]
fn snapshots_come_back_whole() {
    let (mut store, _) = small();
    // Ids and numbers in opposite orders, and an ended task whose address another has.
    let mut ended = task(&store, 9, 1, "10.0.1.9");
    create(&mut store, ended.clone()).unwrap();
    ended.status.state = TaskState::Failed;
    apply(&mut store, vec![Write::Put { object: ended.into(), expect: Expect::Any }]).unwrap();
    give(&mut store, 5, 2, "10.0.1.9");
    give(&mut store, 4, 3, "10.0.1.8");
    let bytes = store.to_snapshot().unwrap();
    let mut restored = Store::from_snapshot(&bytes).unwrap();
    assert_eq!((restored.digest(), restored.index()), (store.digest(), store.index()));
    assert_eq!(restored.to_snapshot().unwrap(), bytes);
    assert_eq!(restored.next_endpoint(), store.next_endpoint());
    for endpoint in [1, 3] {
        let again = task(&store, 6, endpoint, "10.0.1.7");
        assert_eq!(refuses(&restored, again.clone()), refuses(&store, again));
    }
    let next = task(&store, 6, 4, "10.0.1.7");
    create(&mut restored, next.clone()).unwrap();
    create(&mut store, next).unwrap();
    assert_eq!(restored.digest(), store.digest());
    assert_eq!(
        Store::from_snapshot(&Store::default().to_snapshot().unwrap()).unwrap().digest(),
        Store::default().digest()
    );
}

#[test]
fn a_snapshot_of_another_format_or_with_a_flipped_bit_is_refused() {
    let (store, _) = small();
    let bytes = store.to_snapshot().unwrap();
    let newer = [&7_u16.to_le_bytes(), &bytes[2..]].concat();
    let refusal = Store::from_snapshot(&newer).unwrap_err();
    assert_eq!(refusal.to_string(), "format 7 is newer than this meshd knows (2): upgrade it");
    let older = [&1_u16.to_le_bytes(), &bytes[2..]].concat();
    assert!(matches!(Store::from_snapshot(&older), Err(DecodeError::Older { found: 1, known: 2 })));
    for short in [0, 1, 2, bytes.len() / 2, bytes.len() - 1] {
        assert!(Store::from_snapshot(&bytes[..short]).is_err(), "{short} bytes");
    }
    assert!(Store::from_snapshot(&[bytes.as_slice(), &[0]].concat()).is_err(), "bytes left over");
    let index_bytes = 3;
    for at in index_bytes..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        if let Ok(read) = Store::from_snapshot(&flipped) {
            assert_eq!(read.digest(), store.digest(), "bit flipped in byte {at}");
        }
    }
}

#[test]
fn transactions_come_back_whole_or_are_refused() {
    let (store, _) = small();
    let writes = vec![
        Write::create(task(&store, 1, 1, "10.0.1.9").into()),
        Write::update(Object::Service(web(&store))),
        Write::Delete { key: Key::Node(NodeId::from_bits(2)), expect: Expect::Version(3) },
    ];
    let transaction = Transaction { at: AT, writes };
    let bytes = transaction.to_bytes().unwrap();
    assert_eq!(Transaction::from_bytes(&bytes), Ok(transaction));
    assert!(matches!(Transaction::from_bytes(&bytes[..9]), Err(DecodeError::Damaged { .. })));
    assert!(matches!(Transaction::from_bytes(&[9, 9, 9]), Err(DecodeError::Newer { found: 0x0909, .. })));
    let large = vec![0; TRANSACTION_MAX + 1];
    assert!(matches!(Transaction::from_bytes(&large), Err(DecodeError::TooLarge { .. })));
    // A length far beyond the data must not reserve memory for it.
    let lying = [2, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert!(matches!(Transaction::from_bytes(&lying), Err(DecodeError::Damaged { .. })));
}

proptest! {
    #![proptest_config(crate::testing::cases(512))]

    /// Whatever stands in the log or in a snapshot file: an answer, no panic.
    #[test]
    fn bytes_of_any_kind_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let framed = [&[2, 0], bytes.as_slice()].concat();
        for bytes in [bytes, framed] {
            let _ = Store::from_snapshot(&bytes);
            if let Ok(transaction) = Transaction::from_bytes(&bytes) {
                let (mut store, _) = small();
                let _ = apply(&mut store, transaction.writes);
            }
        }
    }

    /// A log entry with some bytes changed is refused or is another entry that a store can be asked to apply.
    #[test]
    fn damaged_transactions_do_no_harm(at in 0_usize..400, flip in 1_u8..) {
        let (mut store, _) = small();
        let writes = vec![Write::create(task(&store, 1, 1, "10.0.1.9").into()), Write::update(Object::Service(web(&store)))];
        let mut bytes = Transaction { at: AT, writes }.to_bytes().unwrap();
        let length = bytes.len();
        bytes[at % length] ^= flip;
        if let Ok(transaction) = Transaction::from_bytes(&bytes) {
            let before = store.digest();
            if apply(&mut store, transaction.writes).is_err() {
                prop_assert_eq!(store.digest(), before);
            }
        }
    }

    /// Whatever a user writes instead of a name: an answer, no panic.
    #[test]
    fn any_text_is_looked_up(text in ".{0,40}") {
        let (store, _) = small();
        prop_assert!(store.find_node(&text).is_err() || !text.is_empty());
        let _ = (store.find_service(&text), store.find_network(&text), store.find_task(&text));
    }

    /// The same for constraints and images; what is taken says itself again.
    #[test]
    fn any_text_is_read_as_a_constraint_or_an_image(text in "(node|engine)?[.a-zA-Z =!:/@é]{0,30}") {
        if let Ok(constraint) = text.parse::<crate::spec::Constraint>() {
            prop_assert_eq!(constraint.to_string().parse(), Ok(constraint));
        }
        if let Ok(image) = crate::image::normalise(&text) {
            prop_assert_eq!(crate::image::normalise(&image), Ok(image));
        }
    }
}
