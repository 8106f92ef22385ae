//! Certificates for nodes, signed by the root that the store says; answered by the leader.

use std::time::SystemTime;

use mesh_core::command::renew_node;
use mesh_core::id::NodeId;
use mesh_core::object::{Cluster, Node};
use mesh_core::spec::Role;
use mesh_core::store::Store;
use mesh_identity::{Authority, IdentityError, PeerIdentity, RootDigest, TrustBundle, read_certificate};
use mesh_raft::Raft;
use tonic::{Request, Response, Status};

use super::authorize::caller;
use super::proto::certificates_server::Certificates;
use super::proto::{RenewRequest, RenewResponse, UsedRequest, UsedResponse};
use super::unmade;
use crate::amend::amend;
use crate::clock::now;

/// Signs a node's certificate as the cluster wants it now; returns it as PEM.
pub fn sign(
    cluster: &Cluster,
    request_pem: &str,
    node: NodeId,
    role: Role,
    now: SystemTime,
) -> Result<String, Status> {
    let authority = authority(cluster).map_err(|error| Status::internal(error.to_string()))?;
    authority
        .issue(request_pem, (node, role, cluster.id), now, cluster.spec.certificate_life)
        .map_err(|error| Status::invalid_argument(error.to_string()))
}

/// What signs in this cluster now.
pub fn authority(cluster: &Cluster) -> Result<Authority, IdentityError> {
    let trust = TrustBundle::from_pem(&cluster.trust)?;
    let root = trust.root(RootDigest(cluster.signer)).ok_or(IdentityError::KeyMismatch)?;
    Authority::load(root.clone(), cluster.signing_key.expose())
}

/// Serves certificates.
pub struct CertificatesService {
    /// The store.
    pub raft: Raft,
}

#[tonic::async_trait]
impl Certificates for CertificatesService {
    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        let caller = caller(&request)?;
        let store = self.read().await?;
        let (cluster, node) = found(&store, caller.node)?;
        let csr = &request.get_ref().certificate_request;
        let certificate = sign(cluster, csr, node.id, role_of(node), SystemTime::now())?;
        tracing::info!(node = %node.id, role = role_of(node).as_str(), "a certificate is renewed");
        Ok(Response::new(RenewResponse { certificate, trust: cluster.trust.clone() }))
    }

    async fn used(&self, request: Request<UsedRequest>) -> Result<Response<UsedResponse>, Status> {
        let caller = caller(&request)?;
        // What it decides on must know the node.
        self.read().await?;
        let change = |store: &Store| {
            let (cluster, node) = found(store, caller.node)?;
            let issuer = issuer(cluster, node.id, &request.get_ref().certificate)?;
            let transaction = renew_node(store, node.id, issuer.0, now())
                .map_err(|refusal| Status::failed_precondition(refusal.to_string()))?;
            Ok((!transaction.writes.is_empty()).then_some(transaction))
        };
        amend(&self.raft, change).await.map_err(unmade)?;
        Ok(Response::new(UsedResponse {}))
    }
}

impl CertificatesService {
    /// The store as the leader knows it.
    async fn read(&self) -> Result<Store, Status> {
        if !self.raft.role().borrow().is_leader() {
            return Err(Status::unavailable("this manager does not lead"));
        }
        self.raft.read().await.map_err(|error| Status::unavailable(error.to_string()))
    }
}

fn found(store: &Store, id: NodeId) -> Result<(&Cluster, &Node), Status> {
    let cluster = store.cluster().ok_or_else(|| Status::unavailable("this manager has no cluster yet"))?;
    let node = store.node(id).ok_or_else(|| Status::permission_denied("the node was removed"))?;
    Ok((cluster, node))
}

/// The role that a node's certificate has to say. One that still votes is heard by the others as the manager
/// that it was, until it is out.
fn role_of(node: &Node) -> Role {
    if node.manager.is_some() { Role::Manager } else { node.spec.role }
}

/// The trusted root that signed this certificate (PEM), which has to be the node's.
fn issuer(cluster: &Cluster, node: NodeId, pem: &str) -> Result<RootDigest, Status> {
    let invalid = |error: IdentityError| Status::invalid_argument(error.to_string());
    let certificate = read_certificate(pem).map_err(invalid)?;
    let peer = PeerIdentity::from_der(&certificate).map_err(invalid)?;
    let trust = TrustBundle::from_pem(&cluster.trust).map_err(|error| Status::internal(error.to_string()))?;
    let issuer = trust.issuer_of(&certificate).map_err(invalid)?;
    issuer.filter(|_| peer.node == node && peer.cluster == cluster.id).ok_or_else(|| {
        Status::permission_denied("this is no certificate of that node that the cluster trusts")
    })
}
