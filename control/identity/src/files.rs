//! Key files: written whole and atomically, readable by their owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::autolock::KeyFile;
use crate::error::IdentityError;
use crate::tls::NodeIdentity;
use crate::trust::TrustBundle;

const TRUST: &str = "ca.crt";
const NODE: &str = "node.pem";
const KEYS: &str = "manager.keys";

const SUM_BEGIN: &str = "# sha256 ";

/// Bytes of the line that ends a text: its beginning, 64 digits and the end of the line.
const SUM_LINE: usize = SUM_BEGIN.len() + 64 + 1;

/// Replaces `path` by `bytes`, mode 0600: after a crash at any moment either the old or the new content is
/// there, whole.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_dir(path)
}

/// Makes a directory and those above it, for its owner alone.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// The directory that holds what a node trusts and how it proves who it is. Each is one file, so that no crash
/// leaves one half of it. A worker's certificate and key lie in one of their own, a manager's among its keys:
/// of these two files there is one, or for a moment both, and then the manager's counts.
#[derive(Debug, Clone)]
pub struct IdentityDir {
    path: PathBuf,
}

impl IdentityDir {
    /// The directory at `path`; it is made when something is saved.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Saves the roots that are trusted.
    pub fn save_trust(&self, trust: &TrustBundle) -> Result<(), IdentityError> {
        self.write_text(TRUST, &trust.to_pem())
    }

    /// Reads the roots that are trusted.
    pub fn load_trust(&self) -> Result<TrustBundle, IdentityError> {
        TrustBundle::from_pem(&self.read_text(TRUST)?).map_err(|error| self.corrupt(TRUST, error))
    }

    /// Saves a worker's certificate and key. The keys of the manager that it was are removed.
    pub fn save_node(&self, identity: &NodeIdentity) -> Result<(), IdentityError> {
        self.write_text(NODE, identity.to_pem())?;
        self.remove(KEYS)
    }

    /// Reads a worker's certificate and key.
    pub fn load_node(&self) -> Result<NodeIdentity, IdentityError> {
        let pem = Zeroizing::new(self.read_text(NODE)?);
        NodeIdentity::from_pem(&pem).map_err(|error| self.corrupt(NODE, error))
    }

    /// Saves a manager's keys. What the worker that it was has kept in clear is removed.
    pub fn save_keys(&self, keys: &KeyFile) -> Result<(), IdentityError> {
        self.write(KEYS, &keys.to_bytes())?;
        self.remove(NODE)
    }

    /// Reads a manager's keys; `None` when there are none: the node is a worker.
    pub fn load_keys(&self) -> Result<Option<KeyFile>, IdentityError> {
        match self.read(KEYS) {
            Ok(bytes) => {
                KeyFile::from_bytes(&bytes).map(Some).map_err(|error| self.corrupt(KEYS, error.into()))
            }
            Err(IdentityError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
        let path = self.path.join(name);
        fs::read(&path).map(Zeroizing::new).map_err(|source| IdentityError::File { path, source })
    }

    /// The text before the checksum that ends it.
    fn read_text(&self, name: &str) -> Result<String, IdentityError> {
        let path = self.path.join(name);
        let mut text = fs::read_to_string(&path).map_err(|source| match source.kind() {
            io::ErrorKind::InvalidData => self.corrupt(name, damaged("it is no text")),
            _ => IdentityError::File { path, source },
        })?;
        let length = text.len().saturating_sub(SUM_LINE);
        let kept = text.get(length..).ok_or_else(|| self.corrupt(name, damaged("it is cut short")))?;
        if kept != sum_line(&text[..length]) {
            return Err(self.corrupt(name, damaged("its checksum is wrong")));
        }
        text.truncate(length);
        Ok(text)
    }

    fn write_text(&self, name: &str, text: &str) -> Result<(), IdentityError> {
        self.write(name, Zeroizing::new([text, &sum_line(text)].concat()).as_bytes())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), IdentityError> {
        let path = self.path.join(name);
        create_private_dir(&self.path)
            .and_then(|()| write_private(&path, bytes))
            .map_err(|source| IdentityError::File { path, source })
    }

    fn remove(&self, name: &str) -> Result<(), IdentityError> {
        let path = self.path.join(name);
        match fs::remove_file(&path).and_then(|()| sync_dir(&path)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(IdentityError::File { path, source })
            }
            _ => Ok(()),
        }
    }

    fn corrupt(&self, name: &str, source: IdentityError) -> IdentityError {
        IdentityError::Corrupt { path: self.path.join(name), source: Box::new(source) }
    }
}

/// What ends a file of PEM blocks: a flipped bit in a certificate may leave it one, and another. Readers of PEM
/// pass over it.
fn sum_line(text: &str) -> String {
    format!("{SUM_BEGIN}{:x}\n", Sha256::digest(text))
}

fn damaged(reason: &str) -> IdentityError {
    IdentityError::Certificate { what: "reading the file", reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, PermissionsExt};

    use mesh_core::id::NodeId;
    use mesh_core::spec::Role;

    use super::*;
    use crate::autolock::{ManagerKeys, UnlockKey};
    use crate::data_keys::DataKeys;
    use crate::handshake::{Counting, authority, node};

    fn files(dir: &Path) -> IdentityDir {
        IdentityDir::new(dir.join("identity"))
    }

    fn key_file(identity: &NodeIdentity, autolock: bool) -> KeyFile {
        let mut entropy = Counting::default();
        let keys = ManagerKeys { data: DataKeys::create(&mut entropy), node_pem: identity.to_pem().clone() };
        KeyFile::seal(&keys, &UnlockKey::new(&mut entropy), autolock, &mut entropy).unwrap()
    }

    #[test]
    fn keys_are_for_their_owner_alone_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        let identity = node(&authority(), 1, Role::Worker);
        files.save_node(&identity).unwrap();
        assert_eq!(files.load_node().unwrap().peer().node, NodeId::from_bits(1));
        let mode = |name| fs::metadata(files.path.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(NODE), 0o600);
        files.save_keys(&key_file(&identity, true)).unwrap();
        assert_eq!(mode(KEYS), 0o600);
    }

    #[test]
    fn the_roots_of_a_rotation_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        let (old, new) = (authority(), authority());
        let cross = old.cross_sign(&new).unwrap();
        let both = TrustBundle::rotating(old.root().clone(), new.root().clone(), cross).unwrap();
        for trust in [both, TrustBundle::of(new.root().clone())] {
            files.save_trust(&trust).unwrap();
            assert_eq!(files.load_trust().unwrap(), trust);
        }
    }

    #[test]
    fn a_managers_key_is_nowhere_but_among_its_keys() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        let identity = node(&authority(), 1, Role::Manager);
        files.save_node(&identity).unwrap();
        assert!(files.load_keys().unwrap().is_none());
        files.save_keys(&key_file(&identity, true)).unwrap();
        assert!(files.load_node().is_err());
        assert!(files.load_keys().unwrap().is_some_and(|keys| keys.is_locked()));
        files.save_keys(&key_file(&identity, false)).unwrap();
        let opened = files.load_keys().unwrap().unwrap().open().unwrap();
        assert_eq!(NodeIdentity::from_pem(&opened.node_pem).unwrap().peer(), identity.peer());
        // And back to a worker.
        files.save_node(&identity).unwrap();
        assert!(files.load_keys().unwrap().is_none());
    }

    #[test]
    fn a_corrupt_file_is_refused_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        let other = authority();
        let identity = node(&other, 1, Role::Worker);
        let key = node(&other, 1, Role::Worker).to_pem().clone();
        let swapped = [&identity.to_pem()[..identity.to_pem().len() / 2], &key[key.len() / 2..]].concat();
        files.save_node(&identity).unwrap();
        for text in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n", &swapped, other.root().pem()] {
            for name in [NODE, KEYS] {
                fs::write(files.path.join(name), text).unwrap();
            }
            let errors = [files.load_node().unwrap_err(), files.load_keys().unwrap_err()];
            for (error, name) in errors.iter().zip([NODE, KEYS]) {
                assert!(error.to_string().contains(&format!("identity/{name} is corrupt")), "{error}");
            }
        }
        fs::write(files.path.join(TRUST), other.root().pem().repeat(2)).unwrap();
        let error = files.load_trust().unwrap_err().to_string();
        assert!(error.contains("identity/ca.crt is corrupt"), "{error}");
    }

    /// Every bit of every file flips: it is refused, or what is read is the same.
    #[test]
    fn a_flipped_bit_is_refused_or_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        let root = authority();
        let identity = node(&root, 1, Role::Worker);
        let trust = TrustBundle::of(root.root().clone());
        files.save_trust(&trust).unwrap();
        files.save_node(&identity).unwrap();
        each_flip(&files.path.join(TRUST), || match files.load_trust() {
            Ok(found) => found == trust,
            Err(_) => true,
        });
        let pem = identity.to_pem();
        each_flip(&files.path.join(NODE), || match files.load_node() {
            Ok(found) => found.to_pem() == pem,
            Err(_) => true,
        });
    }

    fn each_flip(path: &Path, is_refused_or_same: impl Fn() -> bool) {
        let good = fs::read(path).unwrap();
        let file = OpenOptions::new().write(true).open(path).unwrap();
        for bit in 0..good.len() * 8 {
            let at = u64::try_from(bit / 8).unwrap();
            file.write_all_at(&[good[bit / 8] ^ (1 << (bit % 8))], at).unwrap();
            assert!(is_refused_or_same(), "bit {bit} of {}", path.display());
            file.write_all_at(&good[bit / 8..=bit / 8], at).unwrap();
        }
    }

    #[test]
    fn a_flipped_bit_among_a_managers_keys_gives_no_other_keys() {
        let mut entropy = Counting::default();
        let identity = node(&authority(), 1, Role::Manager);
        let keys = ManagerKeys { data: DataKeys::create(&mut entropy), node_pem: identity.to_pem().clone() };
        let unlock = UnlockKey::new(&mut entropy);
        for autolock in [false, true] {
            let good = KeyFile::seal(&keys, &unlock, autolock, &mut entropy).unwrap().to_bytes();
            for bit in 0..good.len() * 8 {
                let mut bytes = good.to_vec();
                bytes[bit / 8] ^= 1 << (bit % 8);
                let Ok(file) = KeyFile::from_bytes(&bytes) else { continue };
                let opened = if file.is_locked() { file.unlock(&unlock) } else { file.open() };
                let same = |found: ManagerKeys| {
                    found.node_pem == keys.node_pem && found.data.to_bytes() == keys.data.to_bytes()
                };
                assert!(opened.is_err() || opened.is_ok_and(same), "bit {bit}");
            }
        }
    }
}
