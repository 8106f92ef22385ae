//! Letting machines in: a token in, a certificate out.

use std::sync::Arc;
use std::time::SystemTime;

use mesh_core::command::{JoinNode, Refusal, join_node};
use mesh_core::id::NodeId;
use mesh_core::object::{Cluster, NodeDescription};
use mesh_core::spec::{Availability, NodeSpec, Role};
use mesh_identity::{Authority, NODE_CERTIFICATE_LIFE, TokenSecret};
use mesh_raft::{ProposeError, Raft};
use tonic::{Request, Response, Status};

use super::dispatcher::address;
use super::envelope;
use super::proto::join_server::Join;
use super::proto::{JoinRequest, JoinResponse};
use crate::clock::now;
use crate::entropy::SystemEntropy;
use crate::leader::managers;

/// How often a join is made anew when the store has moved on.
const TRIES: usize = 10;

/// Serves joins.
pub struct JoinService {
    /// The store.
    pub raft: Raft,
    /// What signs certificates.
    pub authority: Arc<Authority>,
}

#[tonic::async_trait]
impl Join for JoinService {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let request = request.into_inner();
        let store = self.raft.read().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let cluster =
            store.cluster().ok_or_else(|| Status::unavailable("this manager has no cluster yet"))?;
        let role = role_of(cluster, &request.secret)?;
        let id = NodeId::new(&mut SystemEntropy);
        let certificate = self
            .authority
            .issue(
                &request.certificate_request,
                (id, role, cluster.id),
                SystemTime::now(),
                NODE_CERTIFICATE_LIFE,
            )
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.add(&joining(id, role, cluster, &request)?).await?;
        tracing::info!(node = %id, addr = request.advertise_addr, "a node joins");
        Ok(Response::new(JoinResponse {
            node_id: id.to_string(),
            cluster_id: cluster.id.to_string(),
            certificate,
            trust: cluster.trust.clone(),
            managers: managers(&store),
        }))
    }
}

impl JoinService {
    async fn add(&self, node: &JoinNode) -> Result<(), Status> {
        for _ in 0..TRIES {
            let transaction = join_node(&self.raft.store(), node.clone(), now()).map_err(refused)?;
            match self.raft.propose(transaction).await {
                Ok(_) => return Ok(()),
                Err(ProposeError::Conflict(_)) => {}
                Err(error) => return Err(Status::unavailable(error.to_string())),
            }
        }
        Err(Status::unavailable("the store changes too fast"))
    }
}

// The refusal is handed over by `map_err`.
#[allow(clippy::needless_pass_by_value)]
fn refused(refusal: Refusal) -> Status {
    Status::failed_precondition(refusal.to_string())
}

fn joining(id: NodeId, role: Role, cluster: &Cluster, request: &JoinRequest) -> Result<JoinNode, Status> {
    let description: NodeDescription =
        envelope::open("the node's description", request.description.as_ref())?;
    let availability: Availability =
        envelope::open("the node's availability", request.availability.as_ref())?;
    Ok(JoinNode {
        id,
        spec: NodeSpec { availability, role, ..NodeSpec::default() },
        description,
        addr: address("advertise address", &request.advertise_addr)?,
        data_path_addr: address("data path address", &request.data_path_addr)?,
        manager: None,
        issuer: cluster.signer,
    })
}

/// The role that a token's secret gives. Both are compared whatever the first comparison says.
fn role_of(cluster: &Cluster, secret: &str) -> Result<Role, Status> {
    let given: TokenSecret = secret
        .parse()
        .map_err(|error: mesh_identity::IdentityError| Status::invalid_argument(error.to_string()))?;
    let is = |kept: &str| kept.parse::<TokenSecret>().is_ok_and(|kept| kept.matches(&given));
    match (is(cluster.worker_token.expose()), is(cluster.manager_token.expose())) {
        (true, _) => Ok(Role::Worker),
        (_, true) => Err(Status::failed_precondition(
            "this token makes the node a manager, and a second manager cannot be added yet: join with the \
             worker token",
        )),
        _ => Err(Status::permission_denied("A valid join token is necessary to join this cluster")),
    }
}
