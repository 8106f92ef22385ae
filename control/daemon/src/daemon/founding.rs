//! What a new cluster begins with: its authority, its first manager, its first transaction.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use mesh_core::command::{InitCluster, JoinNode, init_cluster};
use mesh_core::id::{ClusterId, Entropy, NodeId};
use mesh_core::object::ManagerStatus;
use mesh_core::secret::Secret;
use mesh_core::spec::{ClusterSpec, NodeSpec, Role};
use mesh_core::store::{Store, Transaction};
use mesh_identity::tls::NodeIdentity;
use mesh_identity::{Authority, CertificateRequest, TokenSecret, TrustBundle, UnlockKey};

use super::request::InitRequest;
use crate::addresses::Addresses;
use crate::clock::now;
use crate::config::Config;
use crate::describe::describe;
use crate::entropy::SystemEntropy;
use crate::error::DaemonError;
use crate::office::FIRST_MANAGER;
use crate::state::Membership;

/// Everything a new cluster begins with.
pub struct Founding {
    /// What it trusts.
    pub trust: TrustBundle,
    /// What seals the managers' keys.
    pub unlock: UnlockKey,
    /// Whether they are locked by it.
    pub autolock: bool,
    /// The first manager's certificate and key.
    pub identity: NodeIdentity,
    /// Its membership.
    pub membership: Membership,
    /// What the store begins with.
    pub first: Transaction,
}

impl Founding {
    /// Draws identifiers, keys and tokens, and settles what was asked for.
    pub fn new(config: &Config, request: InitRequest, addresses: &Addresses) -> Result<Self, DaemonError> {
        let entropy = &mut SystemEntropy;
        let (cluster, node) = (ClusterId::new(entropy), NodeId::new(entropy));
        let authority = Authority::create(cluster, SystemTime::now())?;
        let membership = Membership {
            node,
            cluster,
            role: Role::Manager,
            raft_id: Some(FIRST_MANAGER),
            listen_addr: addresses.listen,
            advertise_addr: addresses.advertise,
            advertise_port: Some(addresses.advertise_port),
            data_path_addr: addresses.data_path,
            managers: vec![SocketAddr::new(addresses.advertise, addresses.advertise_port)],
            leaving: false,
            forcing: false,
        };
        let (life, autolock) = (request.spec.certificate_life, request.spec.autolock);
        let unlock = UnlockKey::new(entropy);
        let first = first_transaction(config, request, &membership, &authority, &unlock)?;
        let trust = TrustBundle::of(authority.root().clone());
        let identity = own_identity(&authority, &membership, life)?;
        Ok(Self { trust, unlock, autolock, identity, membership, first })
    }
}

fn own_identity(
    authority: &Authority,
    membership: &Membership,
    life: Duration,
) -> Result<NodeIdentity, DaemonError> {
    let csr = CertificateRequest::create()?;
    let subject = (membership.node, membership.role, membership.cluster);
    let certificate = authority.issue(&csr.request_pem, subject, SystemTime::now(), life)?;
    Ok(NodeIdentity::new(&certificate, &csr.key_pem)?)
}

fn first_transaction(
    config: &Config,
    request: InitRequest,
    membership: &Membership,
    authority: &Authority,
    unlock: &UnlockKey,
) -> Result<Transaction, DaemonError> {
    let entropy = &mut SystemEntropy;
    let mut spec = request.spec;
    if let Some(port) = config.data_path_port
        && spec.data_path_port == ClusterSpec::default().data_path_port
    {
        spec.data_path_port = port;
    }
    let addr = membership.managers.first().copied();
    let node = JoinNode {
        id: membership.node,
        spec: NodeSpec { availability: request.availability, role: Role::Manager, ..NodeSpec::default() },
        description: describe(),
        addr: membership.advertise_addr,
        data_path_addr: membership.data_path_addr,
        manager: addr.map(|addr| ManagerStatus { raft_id: FIRST_MANAGER, addr }),
        issuer: authority.root().digest().0,
    };
    let cluster = InitCluster {
        id: membership.cluster,
        spec,
        trust: authority.root().pem().to_owned(),
        signer: authority.root().digest().0,
        signing_key: Secret::new(authority.key_pem()),
        worker_token: Secret::new(TokenSecret::from_random(entropy.next_u128()).to_string()),
        manager_token: Secret::new(TokenSecret::from_random(entropy.next_u128()).to_string()),
        unlock_key: Secret::new(unlock.to_string()),
        node,
    };
    Ok(init_cluster(&Store::default(), cluster, now(), entropy)?)
}
