//! What sealed texts withstand, and which keys open them.

use super::*;
use crate::handshake::Counting;

const PLACE: &[u8] = b"entry 7";

#[test]
fn what_was_sealed_opens_in_its_place_alone() {
    let mut entropy = Counting::default();
    let keys = DataKeys::create(&mut entropy);
    for plain in [b"".as_slice(), b"a service's name", &[7; 5000]] {
        let sealed = keys.seal(PLACE, plain, &mut entropy).unwrap();
        assert_eq!(keys.open(PLACE, &sealed).unwrap().as_slice(), plain);
        assert_eq!(keys.open(b"entry 8", &sealed), Err(SealError::Changed));
        assert!(plain.is_empty() || !sealed.windows(plain.len()).any(|part| part == plain));
        // A nonce is never used twice: the same text looks different each time.
        assert_ne!(keys.seal(PLACE, plain, &mut entropy).unwrap(), sealed);
    }
}

#[test]
fn no_flipped_bit_and_no_cut_goes_unnoticed() {
    let mut entropy = Counting::default();
    let keys = DataKeys::create(&mut entropy);
    let sealed = keys.seal(PLACE, b"secret", &mut entropy).unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(keys.open(PLACE, &changed).is_err(), "bit {bit}");
    }
    for len in 0..sealed.len() {
        assert!(keys.open(PLACE, &sealed[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn older_keys_open_until_they_are_retired() {
    let mut entropy = Counting::default();
    let mut keys = DataKeys::create(&mut entropy);
    let before = keys.seal(PLACE, b"before", &mut entropy).unwrap();
    keys.rotate(&mut entropy);
    let after = keys.seal(PLACE, b"after", &mut entropy).unwrap();
    assert_eq!((keys.newest(), keys.numbers().collect::<Vec<_>>()), (2, vec![1, 2]));
    let read = DataKeys::from_bytes(&keys.to_bytes()).unwrap();
    for keys in [&keys, &read] {
        assert_eq!(keys.open(PLACE, &before).unwrap().as_slice(), b"before");
        assert_eq!(keys.open(PLACE, &after).unwrap().as_slice(), b"after");
    }
    keys.retire_older();
    assert_eq!(keys.open(PLACE, &before), Err(SealError::UnknownKey { number: 1 }));
    assert_eq!(keys.open(PLACE, &after).unwrap().as_slice(), b"after");
    keys.rotate(&mut entropy);
    assert_eq!(keys.numbers().collect::<Vec<_>>(), [2, 3]);
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
