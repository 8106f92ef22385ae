//! Which keys a manager has, before and after a rotation.

use super::*;
use crate::handshake::Counting;

fn numbers(keys: &DataKeys) -> Vec<u32> {
    keys.iter().map(|(number, _)| number).collect()
}

#[test]
fn older_keys_stay_until_they_are_retired() {
    let mut entropy = Counting::default();
    let mut keys = DataKeys::create(&mut entropy);
    let first = *keys.iter().next().unwrap().1;
    keys.rotate(&mut entropy);
    assert_eq!(numbers(&keys), [1, 2]);
    let read = DataKeys::from_bytes(&keys.to_bytes()).unwrap();
    for keys in [&keys, &read] {
        let bytes: Vec<_> = keys.iter().map(|(_, bytes)| *bytes).collect();
        assert!(bytes[0] == first && bytes[1] != first);
    }
    keys.retire_older();
    assert_eq!(numbers(&keys), [2]);
    keys.rotate(&mut entropy);
    assert_eq!(numbers(&keys), [2, 3]);
}

#[test]
fn what_is_no_key_ring_is_not_read_and_keys_reach_no_log() {
    let keys = DataKeys::create(&mut Counting::default());
    let bytes = keys.to_bytes();
    for wrong in [&[][..], &bytes[..35], &[bytes.as_slice(), &[0]].concat()] {
        assert!(DataKeys::from_bytes(wrong).is_none(), "{wrong:?}");
    }
    assert_eq!(format!("{keys:?}"), "DataKeys([1])");
}
