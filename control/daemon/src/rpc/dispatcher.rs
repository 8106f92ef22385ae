//! The managers' side of sessions: turns streams into the leader's inputs.

use std::net::IpAddr;
use std::time::Duration;

use mesh_core::assignment::Held;
use mesh_core::id::{NodeId, SessionId};
use mesh_core::object::NodeDescription;
use mesh_raft::Raft;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::authorize::caller;
use super::envelope;
use super::proto::dispatcher_server::Dispatcher;
use super::proto::{
    self, AgentMessage, Applied, Heartbeat, Hello, ManagerMessage, Statuses, agent_message, manager_message,
};
use crate::entropy::SystemEntropy;
use crate::leader::{Input, Opened};

/// Messages that may wait for a slow agent; with more its session is ended, and it starts anew.
const QUEUE: usize = 256;

/// How long a manager that leads may take to begin with it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Serves agents' sessions while this manager leads.
pub struct DispatcherService {
    /// The leader's inbox; `None` while this manager does not lead.
    pub leader: watch::Receiver<Option<mpsc::Sender<Input>>>,
    /// Says whether this manager leads still.
    pub raft: Raft,
}

/// The way to an agent.
pub type Outbound = mpsc::Sender<Result<ManagerMessage, Status>>;

#[tonic::async_trait]
impl Dispatcher for DispatcherService {
    type SessionStream = ReceiverStream<Result<ManagerMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let peer = caller(&request)?;
        let leader = self.leader().await?;
        let mut inbound = request.into_inner();
        let first = inbound.message().await?.and_then(|message| message.kind);
        let Some(agent_message::Kind::Hello(hello)) = first else {
            return Err(Status::invalid_argument("a session begins with a hello"));
        };
        let (outbound, queue) = mpsc::channel(QUEUE);
        self.confirm().await?;
        let session = SessionId::new(&mut SystemEntropy);
        let opened = opened(peer.node, session, &hello, outbound.clone())?;
        give(&leader, Input::Opened(Box::new(opened))).await?;
        tokio::spawn(listen(peer.node, session, inbound, leader, outbound));
        Ok(Response::new(ReceiverStream::new(queue)))
    }
}

impl DispatcherService {
    /// The leader's inbox. One that has just won comes by it in a moment.
    async fn leader(&self) -> Result<mpsc::Sender<Input>, Status> {
        let mut leader = self.leader.clone();
        let there = timeout(PATIENCE, leader.wait_for(Option::is_some)).await;
        let inbox = there.ok().and_then(Result::ok).and_then(|inbox| inbox.clone());
        inbox.ok_or_else(|| Status::unavailable("this manager does not lead: try again"))
    }

    /// Has a quorum say that this manager leads. One that is cut off, and does not know that another leads,
    /// would have an agent stop what that other gave it, and take its reports on tasks that it never heard of
    /// for old.
    async fn confirm(&self) -> Result<(), Status> {
        let unconfirmed = || Status::unavailable("no quorum of managers answers this one: try another");
        match timeout(PATIENCE, self.raft.read()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(unconfirmed()),
        }
    }
}

fn opened(node: NodeId, session: SessionId, hello: &Hello, outbound: Outbound) -> Result<Opened, Status> {
    let description: NodeDescription = envelope::open("the node's description", hello.description.as_ref())?;
    Ok(Opened {
        node,
        session,
        description,
        addr: address("advertise address", &hello.advertise_addr)?,
        data_path_addr: address("data path address", &hello.data_path_addr)?,
        held: hello.held.as_ref().map(held).transpose()?,
        outbound,
    })
}

/// Reads what an agent has out of a message.
fn held(held: &proto::Held) -> Result<Held, Status> {
    let digest = held.digest.as_slice().try_into();
    let digest = digest.map_err(|_| Status::invalid_argument("a digest of 32 bytes is expected"))?;
    Ok(Held { version: held.version, digest })
}

/// Reads an address out of a message.
pub fn address(what: &str, text: &str) -> Result<IpAddr, Status> {
    text.parse().map_err(|_| Status::invalid_argument(format!("invalid {what} {text:?}")))
}

async fn give(leader: &mpsc::Sender<Input>, input: Input) -> Result<(), Status> {
    leader.send(input).await.map_err(|_| Status::unavailable("this manager leads no longer"))
}

/// Hands everything the agent says to the leader, and tells it when the stream is over.
async fn listen(
    node: NodeId,
    session: SessionId,
    mut inbound: Streaming<AgentMessage>,
    leader: mpsc::Sender<Input>,
    outbound: Outbound,
) {
    while let Some(kind) = next(&mut inbound, &leader, &outbound).await {
        match understand(node, session, kind, &outbound) {
            Ok(input) => {
                if give(&leader, input).await.is_err() {
                    return;
                }
            }
            Err(status) => {
                tracing::warn!(%node, error = status.message(), "a node's session is ended");
                // An agent that does not listen learns it from the end of the stream.
                let _ = outbound.try_send(Err(status));
                break;
            }
        }
    }
    // Without a leader nobody has to know.
    let _ = give(&leader, Input::Closed { node, session }).await;
}

fn understand(
    node: NodeId,
    session: SessionId,
    kind: agent_message::Kind,
    outbound: &Outbound,
) -> Result<Input, Status> {
    Ok(match kind {
        agent_message::Kind::Hello(hello) => {
            Input::Opened(Box::new(opened(node, session, &hello, outbound.clone())?))
        }
        agent_message::Kind::Heartbeat(Heartbeat { number }) => {
            let kind = Some(manager_message::Kind::Heartbeat(Heartbeat { number }));
            // An agent whose queue is full hears other things from the manager meanwhile.
            let _ = outbound.try_send(Ok(ManagerMessage { kind }));
            Input::Heartbeat { node, session }
        }
        agent_message::Kind::Statuses(Statuses { number, statuses }) => {
            let statuses = envelope::open("task statuses", statuses.as_ref())?;
            Input::Statuses { node, session, number, statuses }
        }
        agent_message::Kind::Applied(Applied { version }) => Input::Applied { node, session, version },
        agent_message::Kind::Held(told) => Input::Held { node, session, held: held(&told)? },
        agent_message::Kind::Restart(_) => Input::Restart { node, session },
        agent_message::Kind::Leave(_) => Input::Leave { node, session },
    })
}

/// The next word of the agent; `None` when the session is over on either side.
async fn next(
    inbound: &mut Streaming<AgentMessage>,
    leader: &mpsc::Sender<Input>,
    outbound: &Outbound,
) -> Option<agent_message::Kind> {
    loop {
        let message = tokio::select! {
            message = inbound.message() => message,
            () = outbound.closed() => return None,
            () = leader.closed() => return None,
        };
        match message {
            // A word of a newer agent, unknown here, is passed over.
            Ok(Some(AgentMessage { kind: None })) => {}
            Ok(Some(AgentMessage { kind: Some(kind) })) => return Some(kind),
            Ok(None) | Err(_) => return None,
        }
    }
}
