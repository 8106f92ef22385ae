//! Keys on disk through everything that happens to a node, and a manager's state that follows them.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use mesh_core::command::{InitCluster, JoinNode, UpdateCluster, init_cluster, update_cluster};
use mesh_core::id::{ClusterId, NodeId};
use mesh_core::object::NodeDescription;
use mesh_core::secret::Secret;
use mesh_core::spec::{ClusterSpec, NodeSpec, Role};
use mesh_core::store::Store;
use mesh_core::time::Timestamp;
use mesh_identity::{Authority, CertificateRequest, NODE_CERTIFICATE_LIFE};
use mesh_raft::RaftConfig;
use mesh_raft::disk::Sealing;

use super::*;

const TOKEN: &str = "a-token-that-nobody-may-read";

fn identity(role: Role) -> NodeIdentity {
    let (node, cluster) = (NodeId::from_bits(1), ClusterId::from_bits(2));
    let authority = Authority::create(cluster, SystemTime::now()).unwrap();
    let csr = CertificateRequest::create().unwrap();
    let subject = (node, role, cluster);
    let certificate =
        authority.issue(&csr.request_pem, subject, SystemTime::now(), NODE_CERTIFICATE_LIFE).unwrap();
    NodeIdentity::new(&certificate, &csr.key_pem).unwrap()
}

fn files(dir: &Path) -> IdentityDir {
    IdentityDir::new(dir.join("identity"))
}

fn unlock_key() -> UnlockKey {
    UnlockKey::new(&mut SystemEntropy)
}

fn open(dir: &Path) -> Keys {
    match Keys::load(files(dir)).unwrap() {
        Stored::Open(keys) => keys,
        Stored::Locked(_) => panic!("it is locked"),
    }
}

fn locked(dir: &Path) -> LockedKeys {
    match Keys::load(files(dir)).unwrap() {
        Stored::Locked(keys) => keys,
        Stored::Open(_) => panic!("it is not locked"),
    }
}

fn same(one: &Keys, other: &Keys) -> bool {
    one.identity().to_pem() == other.identity().to_pem()
        && one.take_office().unwrap() == other.take_office().unwrap()
}

/// Whether one of these texts can be read in a file below `dir`.
fn readable(dir: &Path, texts: &[&str]) -> Option<String> {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if let Some(found) = readable(&path, texts) {
                return Some(found);
            }
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let has = |text: &&&str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        if let Some(text) = texts.iter().find(has) {
            return Some(format!("{text:?} in {}", path.display()));
        }
    }
    None
}

#[test]
fn a_locked_manager_opens_with_the_unlock_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (identity, unlock) = (identity(Role::Manager), unlock_key());
    let keys = Keys::founded(files(dir.path()), identity.clone(), unlock.clone(), true).unwrap();
    let stored = locked(dir.path());
    let wrong = stored.unlock(&unlock_key()).map(drop).unwrap_err();
    assert!(matches!(wrong, IdentityError::Lock(LockError::WrongKey)), "{wrong}");
    assert!(same(&stored.unlock(&unlock).unwrap(), &keys));
    let secrets = ["PRIVATE KEY", &identity.to_pem()[identity.to_pem().len() - 80..][..40]];
    assert_eq!(readable(dir.path(), &secrets), None);

    assert!(!keys.relock(&unlock, false).unwrap(), "the key is the same");
    assert!(same(&open(dir.path()), &keys));
    assert!(keys.relock(&unlock_key(), true).unwrap());
    let refused = locked(dir.path()).unlock(&unlock).map(drop);
    assert!(refused.is_err(), "the old key opens nothing any more");
}

#[test]
fn a_node_takes_up_an_office_and_lays_it_down_and_keeps_its_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let keys = Keys::joined(files(dir.path()), identity(Role::Worker)).unwrap();
    let manager = identity(Role::Manager);
    keys.renew(manager.clone()).unwrap();
    assert_eq!(open(dir.path()).identity().to_pem(), manager.to_pem());
    let raft = keys.take_office().unwrap();
    assert_eq!(keys.take_office().unwrap(), raft, "it is taken up once");
    assert!(same(&open(dir.path()), &keys));

    let renewed = identity(Role::Manager);
    keys.renew(renewed.clone()).unwrap();
    assert_eq!(open(dir.path()).identity().to_pem(), renewed.to_pem());
    keys.lay_down().unwrap();
    keys.lay_down().unwrap();
    let worker = open(dir.path());
    assert_eq!(worker.identity().to_pem(), renewed.to_pem());
    assert!(worker.take_office().unwrap() != raft, "what they sealed is gone for good");
}

fn founded(dir: &Path, unlock: &UnlockKey) -> (Keys, RaftConfig) {
    let keys = Keys::founded(files(dir), identity(Role::Manager), unlock.clone(), false).unwrap();
    let sealing = Sealing::Key(keys.take_office().unwrap());
    (keys, RaftConfig { sealing, ..RaftConfig::new(dir.join("state.redb"), 1, 1) })
}

fn first(unlock: &UnlockKey) -> mesh_core::store::Transaction {
    let node = JoinNode {
        id: NodeId::from_bits(1),
        spec: NodeSpec { role: Role::Manager, ..NodeSpec::default() },
        description: NodeDescription { hostname: "m1".into(), ..NodeDescription::default() },
        addr: [192, 0, 2, 11].into(),
        data_path_addr: [192, 0, 2, 11].into(),
        manager: None,
        issuer: [1; 32],
    };
    let init = InitCluster {
        id: ClusterId::from_bits(2),
        spec: ClusterSpec::default(),
        trust: String::new(),
        signer: [1; 32],
        signing_key: Secret::default(),
        worker_token: Secret::new(TOKEN),
        manager_token: Secret::default(),
        unlock_key: Secret::new(unlock.to_string()),
        node,
    };
    init_cluster(&Store::default(), init, Timestamp::default(), &mut SystemEntropy).unwrap()
}

async fn change(raft: &Raft, unlock: Option<&UnlockKey>, autolock: bool) -> Arc<Cluster> {
    let store = raft.store();
    let cluster = store.cluster().unwrap();
    let request = UpdateCluster {
        version: cluster.meta.version,
        spec: Some(ClusterSpec { autolock, ..cluster.spec.clone() }),
        unlock_key: unlock.map(|key| Secret::new(key.to_string())),
        ..UpdateCluster::default()
    };
    raft.propose(update_cluster(&store, request, Timestamp::default()).unwrap()).await.unwrap();
    raft.store().cluster().unwrap().clone()
}

#[tokio::test]
async fn a_new_unlock_key_brings_a_new_data_key_and_the_old_ones_open_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (unlock_key(), unlock_key());
    let (keys, config) = founded(dir.path(), &old);
    let raft = Raft::bootstrap(config.clone(), first(&old)).await.unwrap();
    let before = keys.take_office().unwrap();

    let cluster = change(&raft, None, true).await;
    keys.settle(&cluster, &raft).await.unwrap();
    assert!(locked(dir.path()).unlock(&old).is_ok());
    assert_eq!(keys.take_office().unwrap(), before, "to lock is no reason to seal anew");

    let cluster = change(&raft, Some(&new), true).await;
    keys.settle(&cluster, &raft).await.unwrap();
    assert!(locked(dir.path()).unlock(&old).is_err());
    let opened = locked(dir.path()).unlock(&new).unwrap();
    assert!(same(&opened, &keys) && keys.rotating().is_none(), "the old data key is forgotten");
    raft.shutdown().await;
    assert!(Raft::open(config.clone()).await.is_err(), "the old data key opens nothing");
    let sealing = Sealing::Key(opened.take_office().unwrap());
    let raft = Raft::open(RaftConfig { sealing, ..config }).await.unwrap();
    assert_eq!(raft.store().cluster().unwrap().worker_token.expose(), TOKEN);
    raft.shutdown().await;
    assert_eq!(readable(dir.path(), &[TOKEN, "PRIVATE KEY", &new.to_string()]), None);
}

#[tokio::test]
async fn a_data_key_that_was_being_changed_when_the_daemon_died_is_changed_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (unlock_key(), unlock_key());
    let (keys, config) = founded(dir.path(), &old);
    let raft = Raft::bootstrap(config.clone(), first(&old)).await.unwrap();
    let cluster = change(&raft, Some(&new), false).await;
    assert!(keys.relock(&new, false).unwrap());
    // Here it dies: the state is sealed with the old key, the file has both.
    raft.shutdown().await;
    let keys = open(dir.path());
    let sealing = Sealing::Key(keys.take_office().unwrap());
    let raft = Raft::open(RaftConfig { sealing, ..config.clone() }).await.unwrap();
    assert!(keys.rotating().is_some());
    keys.settle(&cluster, &raft).await.unwrap();
    raft.shutdown().await;
    assert!(keys.rotating().is_none());
    let sealing = Sealing::Key(open(dir.path()).take_office().unwrap());
    Raft::open(RaftConfig { sealing, ..config }).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn a_lock_is_not_taken_away_by_what_the_cluster_said_once() {
    let dir = tempfile::tempdir().unwrap();
    let (once, now) = (unlock_key(), unlock_key());
    let keys = Keys::founded(files(dir.path()), identity(Role::Manager), now.clone(), true).unwrap();
    let sealing = Sealing::Key(keys.take_office().unwrap());
    // A manager that has just started: another one knows what was said since, and does not answer yet.
    let config = RaftConfig {
        sealing,
        voters: vec![1, 2],
        read_deadline: Duration::from_millis(50),
        ..RaftConfig::new(dir.path().join("state.redb"), 1, 1)
    };
    let raft = Raft::bootstrap(config, first(&once)).await.unwrap();
    assert!(!raft.store().cluster().unwrap().spec.autolock);
    let unsettled = keys.settle_now(&raft).await.unwrap_err();
    assert!(matches!(unsettled, KeysError::Read(_)), "{unsettled}");
    assert!(locked(dir.path()).unlock(&now).is_ok());
    raft.shutdown().await;
}
