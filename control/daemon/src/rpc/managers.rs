//! How managers come and go, on the leader: what is asked of raft's members here, the store says afterwards.
//!
//! Every step may be repeated: a manager that was interrupted asks again and goes on where it was.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_core::command::{Refusal, depart_node, enter_raft};
use mesh_core::id::NodeId;
use mesh_core::object::ManagerStatus;
use mesh_core::spec::Role;
use mesh_core::store::{Store, Transaction};
use mesh_identity::{LiveTls, PeerIdentity};
use mesh_raft::{ChangeError, ChangeOptions, ChangeRefused, MemberChange, Part, Raft};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status};

use super::authorize::{Caller, caller};
use super::client::dial;
use super::proto::managers_server::Managers;
use super::proto::{
    DepartRequest, DepartResponse, EnterRequest, EnterResponse, Member, MembersRequest, MembersResponse,
};
use super::unmade;
use crate::amend::amend;
use crate::clock::now;
use crate::roles::Entering;

/// How long a manager may take to answer when it is dialled back.
const ANSWER: Duration = Duration::from_secs(3);

/// Serves managers that come and go.
pub struct ManagersService {
    raft: Raft,
    tls: LiveTls,
    entering: Entering,
    /// Held by the one that enters or departs.
    turn: Mutex<()>,
}

impl ManagersService {
    /// Serves with this raft; `tls` is what this manager shows to those that it dials back, `entering` hears of
    /// those that it lets in.
    pub fn new(raft: Raft, tls: LiveTls, entering: Entering) -> Self {
        Self { raft, tls, entering, turn: Mutex::new(()) }
    }

    /// The manager that asks; only the leader answers it.
    fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let peer = caller(request)?;
        if self.raft.role().borrow().is_leader() {
            Ok(peer)
        } else {
            Err(Status::unavailable("this manager does not lead"))
        }
    }

    async fn read(&self) -> Result<Store, Status> {
        self.raft.read().await.map_err(|error| Status::unavailable(error.to_string()))
    }

    async fn admit(&self, id: NodeId, status: ManagerStatus) -> Result<(), Status> {
        let _turn = self.turn.lock().await;
        let store = self.read().await?;
        let node = store.node(id).filter(|node| node.spec.role == Role::Manager);
        let node = node.ok_or_else(|| {
            Status::permission_denied("the cluster does not want this node to be a manager")
        })?;
        if let Some(old) = node.manager.as_ref().filter(|old| old.raft_id != status.raft_id) {
            self.remove(old.raft_id, false).await?;
        }
        let members = self.raft.members().borrow().clone();
        let (raft_id, addr) = (status.raft_id, status.addr);
        if members.is_removed(raft_id) {
            return Err(Status::already_exists(format!("number {raft_id} was a manager's before")));
        }
        let known = members.get(raft_id);
        let moved = known.is_none_or(|known| known.addr != Some(addr));
        if moved {
            self.check(id, addr).await?;
        }
        let _entry = self.entering.begin(raft_id);
        match known {
            None => self.change(MemberChange::AddLearner { id: raft_id, addr }, false).await?,
            Some(_) if moved => self.change(MemberChange::Move { id: raft_id, addr }, false).await?,
            Some(_) => {}
        }
        if known.is_none_or(|known| known.part == Part::Learner) {
            self.change(MemberChange::Promote { id: raft_id }, false).await?;
        }
        let noted = self.note(|store| enter_raft(store, id, status.clone(), now())).await;
        if let Err(refusal) = noted {
            // It is not wanted any more; it is there to consent now.
            if refusal.code() == Code::PermissionDenied {
                self.remove(raft_id, false).await?;
            }
            return Err(refusal);
        }
        tracing::info!(node = %id, raft_id, %addr, "a manager votes");
        Ok(())
    }

    /// Whether the node answers at the address with its own certificate.
    async fn check(&self, id: NodeId, addr: SocketAddr) -> Result<(), Status> {
        let tls = self.tls.client_config().map_err(|error| Status::internal(error.to_string()))?;
        let refused = |reason: String| Status::failed_precondition(unreachable(&addr.to_string(), &reason));
        let stream = timeout(ANSWER, dial(&addr.to_string(), Arc::new(tls), ANSWER))
            .await
            .map_err(|_| refused(format!("no answer within {} s", ANSWER.as_secs())))?
            .map_err(|error| refused(error.to_string()))?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let found =
            shown.map(PeerIdentity::from_der).transpose().map_err(|error| refused(error.to_string()))?;
        match found {
            Some(found) if found.node == id => Ok(()),
            Some(found) => Err(refused(format!("node {} answers there", found.node))),
            None => Err(refused("no certificate is shown there".to_owned())),
        }
    }

    async fn change(&self, change: MemberChange, force: bool) -> Result<(), Status> {
        let options = ChangeOptions { force, ..ChangeOptions::default() };
        self.raft.change_with(change, options).await.map(drop).map_err(|error| unchanged(&error))
    }

    /// Removes a member, if it is one.
    async fn remove(&self, id: u64, force: bool) -> Result<(), Status> {
        if self.raft.members().borrow().get(id).is_none() {
            return Ok(());
        }
        self.change(MemberChange::Remove { id }, force).await
    }

    /// Writes down what became of a node; `decide` is asked anew when the store has moved on.
    async fn note(&self, decide: impl Fn(&Store) -> Result<Transaction, Refusal>) -> Result<(), Status> {
        let change = |store: &Store| {
            let transaction =
                decide(store).map_err(|refusal| Status::permission_denied(refusal.to_string()))?;
            Ok((!transaction.writes.is_empty()).then_some(transaction))
        };
        amend(&self.raft, change).await.map_err(unmade)
    }
}

#[tonic::async_trait]
impl Managers for ManagersService {
    async fn members(&self, request: Request<MembersRequest>) -> Result<Response<MembersResponse>, Status> {
        self.caller(&request)?;
        let members = self.raft.members().borrow().clone();
        let members = members.iter().map(|(raft_id, member)| Member {
            raft_id,
            addr: member.addr.map(|addr| addr.to_string()).unwrap_or_default(),
            votes: member.part == Part::Voter,
        });
        Ok(Response::new(MembersResponse { members: members.collect() }))
    }

    async fn enter(&self, request: Request<EnterRequest>) -> Result<Response<EnterResponse>, Status> {
        let peer = self.caller(&request)?;
        let EnterRequest { raft_id, addr } = request.into_inner();
        let addr = addr
            .parse()
            .map_err(|_| Status::invalid_argument(format!("invalid address of a manager {addr:?}")))?;
        self.admit(peer.node, ManagerStatus { raft_id, addr }).await?;
        Ok(Response::new(EnterResponse {}))
    }

    async fn depart(&self, request: Request<DepartRequest>) -> Result<Response<DepartResponse>, Status> {
        let peer = self.caller(&request)?;
        let force = request.into_inner().force;
        let _turn = self.turn.lock().await;
        let store = self.read().await?;
        let reachable = self.raft.answering().await;
        let depart = |store: &Store| depart_node(store, peer.node, force, &reachable, now());
        if depart(&store).is_err() && store.node(peer.node).is_none() {
            return Ok(Response::new(DepartResponse {}));
        }
        // Raft first, while this manager can still consent to it.
        if let Some(status) = store.node(peer.node).and_then(|node| node.manager.as_ref()) {
            self.remove(status.raft_id, force).await?;
        }
        self.note(depart).await?;
        Ok(Response::new(DepartResponse {}))
    }
}

/// Why a manager is not let in, with what to do.
pub fn unreachable(addr: &str, reason: &str) -> String {
    format!(
        "manager could not be added: {addr} does not answer ({reason}): open the port, or set --advertise-addr \
         to an address that the other managers reach"
    )
}

/// A number that was used before is told apart: the caller draws another.
fn unchanged(error: &ChangeError) -> Status {
    match error {
        ChangeError::Refused(ChangeRefused::Used { .. }) => Status::already_exists(error.to_string()),
        ChangeError::Refused(ChangeRefused::Quorum { .. }) => Status::failed_precondition(error.to_string()),
        _ => Status::unavailable(error.to_string()),
    }
}
