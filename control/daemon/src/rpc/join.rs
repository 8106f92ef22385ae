//! Letting machines in: a token in, a certificate out.

use std::time::{Duration, SystemTime};

use mesh_core::command::{JoinNode, Refusal, join_node, rejoin_node};
use mesh_core::id::NodeId;
use mesh_core::object::{Cluster, NodeDescription};
use mesh_core::spec::{Availability, NodeSpec, Role};
use mesh_core::store::Store;
use mesh_identity::TokenSecret;
use mesh_raft::Raft;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use super::authorize::Caller;
use super::dispatcher::address;
use super::managers::unreachable;
use super::proto::join_server::Join;
use super::proto::{JoinRequest, JoinResponse};
use super::{certificates, envelope, unmade};
use crate::amend::amend;
use crate::clock::now;
use crate::leader::managers;

/// How long a node that is to be a manager may take to accept a connection.
const ANSWER: Duration = Duration::from_secs(3);

/// Serves joins.
pub struct JoinService {
    /// The store.
    pub raft: Raft,
}

#[tonic::async_trait]
impl Join for JoinService {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        // A node that shows its certificate comes back; one that was removed does not get this far.
        let back = request.extensions().get::<Caller>().map(|caller| caller.node);
        let request = request.into_inner();
        let store = self.raft.read().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let cluster =
            store.cluster().ok_or_else(|| Status::unavailable("this manager has no cluster yet"))?;
        let role = role_of(cluster, &request.secret)?;
        if role == Role::Manager {
            check_reach(&request.manager_addr).await?;
        }
        let id = back.unwrap_or_else(|| id_of(&request.certificate_request));
        // One that still votes is heard as a manager until it is out.
        let votes = store.node(id).is_some_and(|node| node.manager.is_some());
        let shown = if votes { Role::Manager } else { role };
        let certificate =
            certificates::sign(cluster, &request.certificate_request, id, shown, SystemTime::now())?;
        self.add(&joining(id, role, cluster, &request)?, back.is_some()).await?;
        tracing::info!(node = %id, addr = request.advertise_addr, back = back.is_some(), "a node joins");
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
    async fn add(&self, node: &JoinNode, back: bool) -> Result<(), Status> {
        let reachable = self.raft.answering().await;
        let change = |store: &Store| {
            let node = node.clone();
            let transaction = if back {
                rejoin_node(store, node, &reachable, now())
            } else {
                join_node(store, node, now())
            };
            transaction.map(Some).map_err(refused)
        };
        amend(&self.raft, change).await.map_err(unmade)
    }
}

/// The identifier of a machine that becomes a node: one that asks again, because it missed the answer, is the
/// same node.
fn id_of(certificate_request: &str) -> NodeId {
    let digest = Sha256::digest(certificate_request);
    NodeId::from_bits(digest.iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte)))
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

/// A manager that the others cannot reach is not let in.
async fn check_reach(addr: &str) -> Result<(), Status> {
    let refused = |reason: &str| Status::failed_precondition(unreachable(addr, reason));
    if addr.is_empty() {
        return Err(Status::failed_precondition("manager could not be added: it does not listen for others"));
    }
    match timeout(ANSWER, TcpStream::connect(addr)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(refused(&error.to_string())),
        Err(_) => Err(refused(&format!("no answer within {} s", ANSWER.as_secs()))),
    }
}

/// The role that a token's secret gives. Both are compared whatever the first comparison says.
fn role_of(cluster: &Cluster, secret: &str) -> Result<Role, Status> {
    let given: TokenSecret = secret
        .parse()
        .map_err(|error: mesh_identity::IdentityError| Status::invalid_argument(error.to_string()))?;
    let is = |kept: &str| kept.parse::<TokenSecret>().is_ok_and(|kept| kept.matches(&given));
    match (is(cluster.worker_token.expose()), is(cluster.manager_token.expose())) {
        (true, _) => Ok(Role::Worker),
        (_, true) => Ok(Role::Manager),
        _ => Err(Status::permission_denied("A valid join token is necessary to join this cluster")),
    }
}
