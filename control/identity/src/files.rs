//! Key files: written whole and atomically, readable by their owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::authority::Authority;
use crate::autolock::KeyFile;
use crate::certificate::RootCertificate;
use crate::error::IdentityError;
use crate::tls::NodeIdentity;
use crate::trust::TrustBundle;

const ROOT: &str = "ca.crt";
const ROOT_KEY: &str = "ca.key";
const TRUST: &str = "trust.crt";
const KEYS: &str = "manager.keys";
const NODE: &str = "node.crt";
const NODE_KEY: &str = "node.key";

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

/// The directory that holds a node's certificates and keys.
#[derive(Debug, Clone)]
pub struct IdentityDir {
    path: PathBuf,
}

impl IdentityDir {
    /// The directory at `path`; it is made when something is saved.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Saves a node's own certificate and key, and the root.
    pub fn save_node(&self, identity: &NodeIdentity) -> Result<(), IdentityError> {
        self.write(ROOT, identity.root().pem())?;
        self.write(NODE_KEY, identity.key_pem())?;
        self.write(NODE, identity.certificate_pem())
    }

    /// Saves the authority's key (its certificate is the root that [`Self::save_node`] writes).
    pub fn save_authority(&self, authority: &Authority) -> Result<(), IdentityError> {
        self.write(ROOT_KEY, &authority.key_pem())
    }

    /// Saves a manager's sealed keys, and removes the root's key in clear that may lie beside them.
    pub fn save_keys(&self, keys: &KeyFile) -> Result<(), IdentityError> {
        self.write_bytes(KEYS, &keys.to_bytes())?;
        let path = self.path.join(ROOT_KEY);
        match fs::remove_file(&path).and_then(|()| sync_dir(&path)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(IdentityError::File { path, source })
            }
            _ => Ok(()),
        }
    }

    /// Reads a manager's sealed keys.
    pub fn load_keys(&self) -> Result<KeyFile, IdentityError> {
        let path = self.path.join(KEYS);
        let bytes = fs::read(&path).map_err(|source| IdentityError::File { path, source })?;
        KeyFile::from_bytes(&bytes).map_err(|error| self.corrupt(KEYS, error.into()))
    }

    /// Saves the roots that are trusted.
    pub fn save_trust(&self, trust: &TrustBundle) -> Result<(), IdentityError> {
        self.write(TRUST, &trust.to_pem())
    }

    /// Reads the roots that are trusted: the one root where nothing was saved, since no rotation was seen.
    pub fn load_trust(&self) -> Result<TrustBundle, IdentityError> {
        match self.read(TRUST) {
            Ok(pem) => TrustBundle::from_pem(&pem).map_err(|error| self.corrupt(TRUST, error)),
            Err(IdentityError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.load_root().map(TrustBundle::of)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a node's own certificate and key, and the root.
    pub fn load_node(&self) -> Result<NodeIdentity, IdentityError> {
        let root = self.load_root()?;
        let (certificate, key) = (self.read(NODE)?, self.read(NODE_KEY)?);
        crate::tls::read_key(&key).map_err(|error| self.corrupt(NODE_KEY, error))?;
        NodeIdentity::new(root, certificate, key).map_err(|error| self.corrupt(NODE, error))
    }

    /// Reads the authority.
    pub fn load_authority(&self) -> Result<Authority, IdentityError> {
        let root = self.load_root()?;
        let key = self.read(ROOT_KEY)?;
        Authority::load(root, &key).map_err(|error| self.corrupt(ROOT_KEY, error))
    }

    fn load_root(&self) -> Result<RootCertificate, IdentityError> {
        let pem = self.read(ROOT)?;
        RootCertificate::from_pem(&pem).map_err(|error| self.corrupt(ROOT, error))
    }

    fn read(&self, name: &str) -> Result<String, IdentityError> {
        let path = self.path.join(name);
        fs::read_to_string(&path).map_err(|source| IdentityError::File { path, source })
    }

    fn write(&self, name: &str, text: &str) -> Result<(), IdentityError> {
        self.write_bytes(name, text.as_bytes())
    }

    fn write_bytes(&self, name: &str, bytes: &[u8]) -> Result<(), IdentityError> {
        let path = self.path.join(name);
        create_private_dir(&self.path)
            .and_then(|()| write_private(&path, bytes))
            .map_err(|source| IdentityError::File { path, source })
    }

    fn corrupt(&self, name: &str, source: IdentityError) -> IdentityError {
        IdentityError::Corrupt { path: self.path.join(name), source: Box::new(source) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::SystemTime;

    use mesh_core::id::{ClusterId, NodeId};
    use mesh_core::spec::Role;
    use zeroize::Zeroizing;

    use super::*;
    use crate::authority::{CertificateRequest, NODE_CERTIFICATE_LIFE};
    use crate::autolock::{ManagerKeys, UnlockKey};
    use crate::data_keys::DataKeys;
    use crate::handshake::Counting;

    fn saved(dir: &Path) -> IdentityDir {
        let now = SystemTime::now();
        let subject = (NodeId::from_bits(1), Role::Manager, ClusterId::from_bits(2));
        let authority = Authority::create(subject.2, now).unwrap();
        let request = CertificateRequest::create().unwrap();
        let certificate = authority.issue(&request.request_pem, subject, now, NODE_CERTIFICATE_LIFE).unwrap();
        let identity = NodeIdentity::new(authority.root().clone(), certificate, request.key_pem).unwrap();
        let files = IdentityDir::new(dir.join("identity"));
        files.save_node(&identity).unwrap();
        files.save_authority(&authority).unwrap();
        files
    }

    #[test]
    fn keys_are_for_their_owner_alone_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let files = saved(dir.path());
        for name in [ROOT_KEY, NODE_KEY, NODE] {
            let mode = fs::metadata(files.path.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert_eq!(files.load_node().unwrap().peer().node, NodeId::from_bits(1));
        assert!(files.load_authority().is_ok());
    }

    #[test]
    fn trust_is_the_one_root_until_a_rotation_saves_more() {
        let dir = tempfile::tempdir().unwrap();
        let files = saved(dir.path());
        let old = files.load_authority().unwrap();
        assert_eq!(files.load_trust().unwrap(), TrustBundle::of(old.root().clone()));
        let new = Authority::create(ClusterId::from_bits(2), SystemTime::now()).unwrap();
        let cross = old.cross_sign(&new).unwrap();
        let both = TrustBundle::rotating(old.root().clone(), new.root().clone(), cross).unwrap();
        files.save_trust(&both).unwrap();
        assert_eq!(files.load_trust().unwrap(), both);
        fs::write(files.path.join(TRUST), old.root().pem().repeat(2)).unwrap();
        let error = files.load_trust().unwrap_err().to_string();
        assert!(error.contains("identity/trust.crt is corrupt"), "{error}");
    }

    #[test]
    fn sealed_keys_replace_the_roots_key_in_clear() {
        let dir = tempfile::tempdir().unwrap();
        let files = saved(dir.path());
        let authority = files.load_authority().unwrap();
        let mut entropy = Counting::default();
        let keys = ManagerKeys {
            data: DataKeys::create(&mut entropy),
            authority_pem: Zeroizing::new(authority.key_pem()),
        };
        let unlock = UnlockKey::new(&mut entropy);
        for autolock in [true, false] {
            files.save_keys(&KeyFile::seal(&keys, &unlock, autolock, &mut entropy).unwrap()).unwrap();
            assert!(!files.path.join(ROOT_KEY).exists());
        }
        let opened = files.load_keys().unwrap().open().unwrap();
        assert!(Authority::load(authority.root().clone(), &opened.authority_pem).is_ok());
        fs::write(files.path.join(KEYS), "x").unwrap();
        let error = files.load_keys().unwrap_err().to_string();
        assert!(error.contains("identity/manager.keys is corrupt"), "{error}");
    }

    #[test]
    fn a_corrupt_file_is_refused_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        for name in [ROOT, NODE, NODE_KEY] {
            let files = saved(dir.path());
            fs::write(files.path.join(name), "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
            let error = files.load_node().unwrap_err().to_string();
            assert!(error.contains(&format!("identity/{name} is corrupt")), "{error}");
        }
    }
}
