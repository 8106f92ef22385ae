//! The managers' side of raft's messages: takes them from a peer's stream and hands them to raft.
//!
//! Who may speak is decided by raft's members and not by what the store wants of a node: a leader that is
//! demoted must still be heard, or its own removal could never be committed. See [`admit`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mesh_core::id::{ClusterId, NodeId};
use mesh_core::spec::Role as NodeRole;
use mesh_core::store::Store;
use mesh_raft::wire::parts::{Gatherer, PART_BYTES};
use mesh_raft::wire::{self, MAX_MESSAGE_BYTES};
use mesh_raft::{Members, Message, MessageType, Raft};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::listener::member;
use super::proto::raft_server::{Raft as RaftRpc, RaftServer};
use super::proto::{RaftHello, RaftMessages, RaftPart, Received};
use crate::stop::{Stop, raised};
use crate::transport::{Met, PeerTransport};

/// The largest that travels on a stream: one message of the largest kind, or many small ones.
pub const STREAM_MESSAGE_MAX: usize = MAX_MESSAGE_BYTES + (4 << 20);

/// Snapshots that are taken at the same time; a leader sends one.
const SNAPSHOTS: usize = 2;

/// A snapshot of which no part comes for this long is given up.
const PART_PATIENCE: Duration = Duration::from_secs(10);

/// Serves raft's messages.
pub struct RaftService {
    own: u64,
    cluster: ClusterId,
    raft: Raft,
    transport: PeerTransport,
    /// The stream of each peer; a new one ends the old.
    streams: Arc<Mutex<BTreeMap<u64, oneshot::Sender<()>>>>,
    snapshots: Semaphore,
    stop: Stop,
}

/// Why a manager's messages are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotHeard {
    /// They are for another.
    #[error("this manager's number in raft is {own}, not {to}")]
    Misdelivered {
        /// Whom they are for.
        to: u64,
        /// Who this is.
        own: u64,
    },
    /// The number is this manager's own, or none.
    #[error("{from} is no other manager's number in raft")]
    NoPeer {
        /// The number.
        from: u64,
    },
    /// The number belonged to a manager that is gone.
    #[error("manager {from} was removed")]
    Removed {
        /// The number.
        from: u64,
    },
    /// The number is another node's.
    #[error("manager {from} is another node")]
    Foreign {
        /// The number.
        from: u64,
    },
    /// Neither raft nor the store know of it.
    #[error("manager {from} is not known here")]
    Stranger {
        /// The number.
        from: u64,
    },
}

impl From<NotHeard> for Status {
    fn from(reason: NotHeard) -> Self {
        match reason {
            NotHeard::Misdelivered { .. } | NotHeard::NoPeer { .. } => {
                Self::failed_precondition(reason.to_string())
            }
            NotHeard::Removed { .. } | NotHeard::Foreign { .. } | NotHeard::Stranger { .. } => {
                Self::permission_denied(reason.to_string())
            }
        }
    }
}

/// Whether `node`, whose certificate is a manager's, is heard as raft's number `from`.
///
/// One whom neither the members nor the store know is heard only while no other leads (`leader` is what raft
/// takes for it): a manager that missed much may have missed that it was let in, and would never hear of it
/// otherwise; one that has a leader has missed nothing of the kind.
pub fn admit(
    store: &Store,
    members: &Members,
    leader: Option<u64>,
    node: NodeId,
    from: u64,
) -> Result<(), NotHeard> {
    if members.is_removed(from) {
        return Err(NotHeard::Removed { from });
    }
    let owner =
        store.nodes().find(|node| node.manager.as_ref().is_some_and(|manager| manager.raft_id == from));
    if let Some(owner) = owner {
        return if owner.id == node { Ok(()) } else { Err(NotHeard::Foreign { from }) };
    }
    let enters =
        store.node(node).is_some_and(|node| node.spec.role == NodeRole::Manager && node.manager.is_none());
    if members.get(from).is_some() || enters || leader.is_none_or(|leader| leader == from) {
        return Ok(());
    }
    Err(NotHeard::Stranger { from })
}

impl RaftService {
    /// The service of the manager with the number `own`. `transport` hears where callers are. Streams end when
    /// `stop` is raised, and with raft.
    pub fn new(own: u64, cluster: ClusterId, raft: Raft, transport: PeerTransport, stop: Stop) -> Self {
        let streams = Arc::default();
        Self { own, cluster, raft, transport, streams, snapshots: Semaphore::new(SNAPSHOTS), stop }
    }

    /// The service with its limits.
    pub fn into_server(self) -> RaftServer<Self> {
        RaftServer::new(self).max_decoding_message_size(STREAM_MESSAGE_MAX)
    }

    fn caller<T>(&self, request: &Request<T>) -> Result<NodeId, Status> {
        let peer = member(request, self.cluster)?;
        if peer.role == NodeRole::Manager {
            Ok(peer.node)
        } else {
            Err(Status::permission_denied("raft's messages are for managers alone"))
        }
    }

    fn admit(&self, node: NodeId, from: u64) -> Result<(), NotHeard> {
        if from == 0 || from == self.own {
            return Err(NotHeard::NoPeer { from });
        }
        let leader = self.raft.role().borrow().leader;
        let members = self.raft.members();
        let members = members.borrow();
        admit(&self.raft.store(), &members, leader, node, from)
    }

    fn opened(&self, node: NodeId, first: Option<RaftMessages>) -> Result<(Sender, RaftMessages), Status> {
        let first = first.ok_or_else(|| Status::invalid_argument("the stream is empty"))?;
        let hello = first.hello.as_ref();
        let RaftHello { from, to, addr } =
            hello.ok_or_else(|| Status::invalid_argument("the stream begins with a hello"))?;
        if *to != self.own {
            return Err(NotHeard::Misdelivered { to: *to, own: self.own }.into());
        }
        let addr: SocketAddr =
            addr.parse().map_err(|_| Status::invalid_argument(format!("invalid address {addr:?}")))?;
        self.admit(node, *from)?;
        let (ended, end) = oneshot::channel();
        // What was there ends with its sender.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).insert(*from, ended);
        Ok((Sender { node, from: *from, end, _met: self.transport.met(*from, addr) }, first))
    }

    async fn listen(&self, sender: &mut Sender, mut inbound: Streaming<RaftMessages>) -> Result<(), Status> {
        let (mut members, mut stop) = (self.raft.members(), self.stop.clone());
        let stops = || Status::unavailable("this manager stops");
        loop {
            let batch = tokio::select! {
                () = raised(&mut stop) => return Err(stops()),
                batch = inbound.message() => batch?,
                _ = &mut sender.end => return Err(Status::cancelled("a newer stream takes the place of this")),
                changed = members.changed() => match changed {
                    Ok(()) => {
                        self.admit(sender.node, sender.from)?;
                        continue;
                    }
                    Err(_) => return Err(stops()),
                },
            };
            let Some(batch) = batch else { return Ok(()) };
            self.take(sender, &batch)?;
        }
    }

    fn take(&self, sender: &Sender, batch: &RaftMessages) -> Result<(), Status> {
        // One that was let in while there was no leader is not heard when there is.
        if self.raft.members().borrow().get(sender.from).is_none() {
            self.admit(sender.node, sender.from)?;
        }
        for bytes in &batch.messages {
            let message = wire::decode(bytes).map_err(|error| Status::invalid_argument(error.to_string()))?;
            self.hand(sender.from, message);
        }
        Ok(())
    }

    /// Gives raft a message that is the sender's own; followers pass others' read requests on, which those
    /// repeat at the leader.
    fn hand(&self, from: u64, message: Message) {
        if message.from == from && message.to == self.own {
            self.raft.receive(message);
        } else {
            let (kind, author, to) = (message.get_msg_type(), message.from, message.to);
            tracing::debug!(from, author, to, ?kind, "a message was not taken");
        }
    }
}

/// Who is at the other end of a stream.
struct Sender {
    node: NodeId,
    from: u64,
    /// Resolves when a newer stream has come.
    end: oneshot::Receiver<()>,
    _met: Met,
}

#[tonic::async_trait]
impl RaftRpc for RaftService {
    async fn messages(
        &self,
        request: Request<Streaming<RaftMessages>>,
    ) -> Result<Response<Received>, Status> {
        let node = self.caller(&request)?;
        let mut inbound = request.into_inner();
        let first = inbound.message().await?;
        let (mut sender, first) = self.opened(node, first)?;
        self.take(&sender, &first)?;
        self.listen(&mut sender, inbound).await?;
        Ok(Response::new(Received {}))
    }

    async fn snapshot(&self, request: Request<Streaming<RaftPart>>) -> Result<Response<Received>, Status> {
        let node = self.caller(&request)?;
        let mut inbound = request.into_inner();
        let busy = |_| Status::resource_exhausted("other snapshots are on their way");
        let _permit = self.snapshots.try_acquire().map_err(busy)?;
        let message = gather(&mut inbound).await?;
        let (from, to) = (message.from, message.to);
        if to != self.own {
            return Err(NotHeard::Misdelivered { to, own: self.own }.into());
        }
        if message.get_msg_type() != MessageType::MsgSnapshot {
            return Err(Status::invalid_argument("these parts are no snapshot"));
        }
        self.admit(node, from)?;
        self.raft.receive(message);
        Ok(Response::new(Received {}))
    }
}

async fn gather(inbound: &mut Streaming<RaftPart>) -> Result<Message, Status> {
    let mut gatherer = Gatherer::default();
    loop {
        let part = timeout(PART_PATIENCE, inbound.message()).await;
        let part = part.map_err(|_| Status::deadline_exceeded("no part came in time"))??;
        let part = part.ok_or_else(|| Status::invalid_argument("the snapshot is not whole"))?.part;
        if part.len() > 2 * PART_BYTES {
            return Err(Status::invalid_argument("the part is too large"));
        }
        // The last part brings the digest over the whole.
        let taken = tokio::task::spawn_blocking(move || {
            let taken = gatherer.take(&part);
            (gatherer, taken)
        });
        let taken = taken.await.map_err(|error| Status::internal(error.to_string()))?;
        gatherer = taken.0;
        if let Some(message) = taken.1.map_err(|error| Status::invalid_argument(error.to_string()))? {
            return Ok(message);
        }
    }
}

#[cfg(test)]
mod tests;
