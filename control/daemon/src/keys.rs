//! Where a node keeps what proves who it is, and a manager also what seals its state.
//!
//! A worker's certificate and key lie in a file of their own. A manager's lie in its key file, together with
//! the data keys that seal raft's log and snapshots; that file is sealed with the cluster's unlock key, which
//! lies in it too unless the cluster says autolock. Every change is on disk before it is acted upon.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mesh_core::object::Cluster;
use mesh_core::store::Change;
use mesh_identity::files::IdentityDir;
use mesh_identity::tls::NodeIdentity;
use mesh_identity::{DataKeys, IdentityError, KeyFile, LockError, ManagerKeys, UnlockKey};
use mesh_raft::disk::{DataKey, Keys as RaftKeys};
use mesh_raft::{Raft, ReadError, ResealError};
use tokio::time::sleep;

use crate::entropy::SystemEntropy;
use crate::news::touched;

/// Wait before keys that could not be changed are tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// A node's keys; clones are the same.
#[derive(Clone)]
pub struct Keys {
    inner: Arc<Inner>,
}

struct Inner {
    files: IdentityDir,
    kept: Mutex<Kept>,
}

/// What is on disk.
#[derive(Clone)]
struct Kept {
    identity: NodeIdentity,
    /// What a manager has beside it.
    office: Option<OfficeKeys>,
}

#[derive(Clone)]
struct OfficeKeys {
    data: DataKeys,
    unlock: UnlockKey,
    autolock: bool,
}

/// Keys as the last daemon left them.
pub enum Stored {
    /// They can be used.
    Open(Keys),
    /// Somebody has to bring the unlock key.
    Locked(LockedKeys),
}

/// A manager's keys that are sealed.
#[derive(Debug, Clone)]
pub struct LockedKeys {
    files: IdentityDir,
    file: KeyFile,
}

/// Keys that could not be changed.
#[derive(Debug, thiserror::Error)]
enum KeysError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("sealing this manager's state with a new key: {0}")]
    Reseal(#[from] ResealError),
    #[error("what the cluster says now is not known: {0}")]
    Read(#[from] ReadError),
    #[error("the keys were not written: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl LockedKeys {
    /// Opens them.
    pub fn unlock(&self, key: &UnlockKey) -> Result<Keys, IdentityError> {
        let keys = self.file.unlock(key)?;
        opened(self.files.clone(), &keys, key.clone(), true)
    }
}

fn opened(
    files: IdentityDir,
    keys: &ManagerKeys,
    unlock: UnlockKey,
    autolock: bool,
) -> Result<Keys, IdentityError> {
    let identity = NodeIdentity::from_pem(&keys.node_pem)?;
    let office = OfficeKeys { data: keys.data.clone(), unlock, autolock };
    Ok(Keys::of(files, Kept { identity, office: Some(office) }))
}

impl Keys {
    fn of(files: IdentityDir, kept: Kept) -> Self {
        Self { inner: Arc::new(Inner { files, kept: Mutex::new(kept) }) }
    }

    /// Keys of a node that has just joined.
    pub fn joined(files: IdentityDir, identity: NodeIdentity) -> Result<Self, IdentityError> {
        files.save_node(&identity)?;
        Ok(Self::of(files, Kept { identity, office: None }))
    }

    /// Keys of a cluster's first manager.
    pub fn founded(
        files: IdentityDir,
        identity: NodeIdentity,
        unlock: UnlockKey,
        autolock: bool,
    ) -> Result<Self, IdentityError> {
        let data = DataKeys::create(&mut SystemEntropy);
        let kept = Kept { identity, office: Some(OfficeKeys { data, unlock, autolock }) };
        save(&files, &kept)?;
        Ok(Self::of(files, kept))
    }

    /// Takes up the keys that the last daemon left.
    pub fn load(files: IdentityDir) -> Result<Stored, IdentityError> {
        let Some(file) = files.load_keys()? else {
            let identity = files.load_node()?;
            return Ok(Stored::Open(Self::of(files, Kept { identity, office: None })));
        };
        if file.is_locked() {
            return Ok(Stored::Locked(LockedKeys { files, file }));
        }
        let (keys, unlock) = (file.open()?, file.unlock_key()?.clone());
        Ok(Stored::Open(opened(files, &keys, unlock, false)?))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is kept; on an error nothing has changed.
    fn change(&self, change: impl FnOnce(&mut Kept)) -> Result<(), IdentityError> {
        let mut kept = self.kept();
        let mut next = kept.clone();
        change(&mut next);
        save(&self.inner.files, &next)?;
        *kept = next;
        Ok(())
    }

    /// The node's certificate and key.
    pub fn identity(&self) -> NodeIdentity {
        self.kept().identity.clone()
    }

    /// Keeps a new certificate and key.
    pub fn renew(&self, identity: NodeIdentity) -> Result<(), IdentityError> {
        self.change(|kept| kept.identity = identity)
    }

    /// The keys of a manager's state. A node that was none gets some; until it knows the cluster's unlock key
    /// they are not locked.
    pub fn take_office(&self) -> Result<RaftKeys, IdentityError> {
        if let Some(office) = &self.kept().office {
            return Ok(raft_keys(&office.data));
        }
        let entropy = &mut SystemEntropy;
        let data = DataKeys::create(entropy);
        let keys = raft_keys(&data);
        let office = OfficeKeys { data, unlock: UnlockKey::new(entropy), autolock: false };
        self.change(|kept| kept.office = Some(office))?;
        Ok(keys)
    }

    /// Forgets what only a manager has: nothing that its data keys sealed can be read any more.
    pub fn lay_down(&self) -> Result<(), IdentityError> {
        if self.kept().office.is_none() {
            return Ok(());
        }
        self.change(|kept| kept.office = None)
    }

    /// Seals with this unlock key, and locks or not. True when the key is another than before.
    fn relock(&self, unlock: &UnlockKey, autolock: bool) -> Result<bool, IdentityError> {
        let (same_key, same_lock) = match &self.kept().office {
            Some(office) => (office.unlock.matches(unlock), office.autolock == autolock),
            None => return Ok(false),
        };
        if !(same_key && same_lock) {
            self.change(|kept| {
                if let Some(office) = &mut kept.office {
                    (office.unlock, office.autolock) = (unlock.clone(), autolock);
                    if !same_key {
                        office.data.rotate(&mut SystemEntropy);
                    }
                }
            })?;
        }
        Ok(!same_key)
    }

    /// The data keys, when there are older ones that still open something.
    fn rotating(&self) -> Option<RaftKeys> {
        let kept = self.kept();
        let data = &kept.office.as_ref()?.data;
        data.older().next().map(|_| raft_keys(data))
    }

    fn retire_older(&self) -> Result<(), IdentityError> {
        self.change(|kept| {
            if let Some(office) = &mut kept.office {
                office.data.retire_older();
            }
        })
    }

    /// Makes the key file as the cluster wants it. A new unlock key brings a new data key with it: who has the
    /// old one, and an old copy of the file, can open nothing that is written from then on, nor what is resealed.
    async fn settle(&self, cluster: &Cluster, raft: &Raft) -> Result<(), KeysError> {
        let unlock: UnlockKey = cluster.unlock_key.expose().parse()?;
        let (keys, autolock) = (self.clone(), cluster.spec.autolock);
        let relocked = tokio::task::spawn_blocking(move || keys.relock(&unlock, autolock)).await??;
        if relocked {
            tracing::info!(autolock, "this manager's keys are sealed with a new unlock key");
        }
        if let Some(keys) = self.rotating() {
            raft.reseal(keys).await?;
            let keys = self.clone();
            tokio::task::spawn_blocking(move || keys.retire_older()).await??;
            tracing::info!("this manager's state is sealed with a new key");
        }
        Ok(())
    }

    /// Settles by what the cluster says now. A manager that has just started may know what it said once alone:
    /// by that the key file would be given a lock that was taken away, or lose one.
    async fn settle_now(&self, raft: &Raft) -> Result<(), KeysError> {
        match raft.read().await?.cluster() {
            Some(cluster) => self.settle(cluster, raft).await,
            None => Ok(()),
        }
    }

    /// Follows what the store says of the unlock key and of autolock, for as long as raft runs.
    pub async fn follow(self, raft: Raft) {
        let mut changes = raft.changes();
        loop {
            let settled = self.settle_now(&raft).await;
            let waited = async {
                match &settled {
                    Ok(()) => std::future::pending().await,
                    // Without a quorum there is nothing new to follow.
                    Err(KeysError::Read(_)) => sleep(AGAIN).await,
                    Err(error) => {
                        tracing::error!(%error, "this manager's keys are not as the cluster wants them");
                        sleep(AGAIN).await;
                    }
                }
            };
            tokio::select! {
                open = touched(&mut changes, |change| matches!(change, Change::Cluster(_))) => {
                    if !open { return }
                }
                () = waited => {}
            }
        }
    }
}

fn save(files: &IdentityDir, kept: &Kept) -> Result<(), IdentityError> {
    let Some(office) = &kept.office else { return files.save_node(&kept.identity) };
    let keys = ManagerKeys { data: office.data.clone(), node_pem: kept.identity.to_pem().clone() };
    files.save_keys(&KeyFile::seal(&keys, &office.unlock, office.autolock, &mut SystemEntropy)?)
}

/// The data keys as raft takes them.
fn raft_keys(data: &DataKeys) -> RaftKeys {
    let key = |(id, bytes): (u32, &[u8; 32])| DataKey { id, bytes: *bytes };
    data.older().map(key).fold(RaftKeys::new(key(data.newest())), RaftKeys::after)
}

#[cfg(test)]
mod tests;
