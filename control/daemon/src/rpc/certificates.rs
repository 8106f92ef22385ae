//! Certificates for nodes, signed by the root that the store says.

use std::time::SystemTime;

use mesh_core::id::NodeId;
use mesh_core::object::Cluster;
use mesh_core::spec::Role;
use mesh_identity::{Authority, IdentityError, RootDigest, TrustBundle};
use tonic::Status;

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
