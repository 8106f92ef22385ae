//! Unlock keys as text, and key files locked, opened, damaged and given new keys.

use super::*;
use crate::handshake::Counting;

fn keys(entropy: &mut Counting) -> ManagerKeys {
    let node_pem = Zeroizing::new("-----BEGIN PRIVATE KEY-----".to_owned());
    ManagerKeys { data: DataKeys::create(entropy), node_pem }
}

fn same(one: &ManagerKeys, other: &ManagerKeys) -> bool {
    one.data.to_bytes() == other.data.to_bytes() && one.node_pem == other.node_pem
}

/// The file as the next start of the daemon finds it.
fn reread(file: &KeyFile) -> KeyFile {
    KeyFile::from_bytes(&file.to_bytes()).unwrap()
}

#[test]
fn an_unlock_key_has_swarms_form_and_reads_back() {
    let key = UnlockKey(Zeroizing::new(std::array::from_fn(|place| u8::try_from(place).unwrap())));
    let text = key.to_string();
    // Standard alphabet, no padding: `encoding/base64.RawStdEncoding` of Swarm's code.
    assert_eq!(text, "SWMKEY-1-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8");
    let read: UnlockKey = format!(" {text}\n").parse().unwrap();
    assert!(read.matches(&key) && !read.matches(&UnlockKey::new(&mut Counting::default())));
    assert!(!format!("{key:?}").contains("AAEC"));
    for (wrong, reason) in [
        ("", "does not begin"),
        ("SWMTKN-1-AAEC", "does not begin"),
        ("SWMKEY-2-AAEC", "does not begin"),
        ("SWMKEY-1-", "32 bytes"),
        ("SWMKEY-1-AAEC", "32 bytes"),
        ("SWMKEY-1-A?EC", "base64"),
        (&format!("{text}="), "base64"),
    ] {
        let error = wrong.parse::<UnlockKey>().unwrap_err().to_string();
        assert!(error.contains(reason), "{wrong:?}: {error}");
    }
}

#[test]
fn a_locked_file_opens_with_its_key_alone() {
    let mut entropy = Counting::default();
    let (keys, key) = (keys(&mut entropy), UnlockKey::new(&mut entropy));
    let file = reread(&KeyFile::seal(&keys, &key, true, &mut entropy).unwrap());
    assert!(file.is_locked());
    assert_eq!(file.open().unwrap_err(), LockError::Locked);
    assert_eq!(file.unlock_key().unwrap_err(), LockError::Locked);
    let wrong = file.unlock(&UnlockKey::new(&mut entropy)).unwrap_err();
    assert_eq!(wrong.to_string(), "swarm could not be unlocked: invalid key provided");
    assert!(same(&file.unlock(&key).unwrap(), &keys));
    // Neither the keys nor the key that opens them lie in the file.
    let bytes = file.to_bytes();
    let data = keys.data.to_bytes();
    for secret in [&key.0[..], &data[4..], keys.node_pem.as_bytes()] {
        assert!(!bytes.windows(secret.len()).any(|part| part == secret));
    }
}

#[test]
fn an_open_file_opens_by_itself_and_knows_its_key() {
    let mut entropy = Counting::default();
    let (keys, key) = (keys(&mut entropy), UnlockKey::new(&mut entropy));
    let file = reread(&KeyFile::seal(&keys, &key, false, &mut entropy).unwrap());
    assert!(same(&file.open().unwrap(), &keys));
    assert!(file.unlock_key().unwrap().matches(&key));
    assert_eq!(file.unlock(&key).unwrap_err().to_string(), "swarm is not locked");
}

#[test]
fn the_old_unlock_key_is_refused_after_a_rotation_and_the_data_keys_stay() {
    let mut entropy = Counting::default();
    let (keys, old) = (keys(&mut entropy), UnlockKey::new(&mut entropy));
    let file = KeyFile::seal(&keys, &old, true, &mut entropy).unwrap();
    let new = UnlockKey::new(&mut entropy);
    let file = reread(&KeyFile::seal(&file.unlock(&old).unwrap(), &new, true, &mut entropy).unwrap());
    assert_eq!(file.unlock(&old).unwrap_err(), LockError::WrongKey);
    assert!(same(&file.unlock(&new).unwrap(), &keys));
}

#[test]
fn a_damaged_file_gives_no_keys_and_is_not_called_a_wrong_key() {
    let mut entropy = Counting::default();
    let (keys, key) = (keys(&mut entropy), UnlockKey::new(&mut entropy));
    for autolock in [true, false] {
        let bytes = KeyFile::seal(&keys, &key, autolock, &mut entropy).unwrap().to_bytes().to_vec();
        let read = |bytes: &[u8]| match KeyFile::from_bytes(bytes)? {
            file if file.is_locked() => file.unlock(&key),
            file => file.open(),
        };
        assert!(same(&read(&bytes).unwrap(), &keys));
        // The check only tells errors apart: the keys are whole without it.
        let lock = MAGIC.len();
        let check = lock + 1 + if autolock { 0 } else { KEY_LEN };
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            match read(&changed) {
                Ok(found) => {
                    assert!((check..check + CHECK_LEN).contains(&(bit / 8)) && same(&found, &keys), "{bit}");
                }
                // The byte that says whether it is locked moves all that follows.
                Err(LockError::WrongKey) => assert_eq!(bit / 8, lock, "bit {bit}"),
                Err(error) => assert!(matches!(error, LockError::Corrupt { .. }), "bit {bit}: {error}"),
            }
        }
        for len in 0..bytes.len() {
            let error = read(&bytes[..len]).unwrap_err();
            assert!(matches!(error, LockError::Corrupt { .. }), "{len} bytes: {error}");
        }
    }
}
