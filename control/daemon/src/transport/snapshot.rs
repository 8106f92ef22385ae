//! A snapshot on its way to one peer: in parts, beside the other messages, so that heartbeats go on.

use std::pin::pin;
use std::time::Duration;

use mesh_raft::wire::parts::{PartError, cut};
use mesh_raft::{Message, Raft};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

use super::Task;
use crate::rpc::proto::RaftPart;
use crate::rpc::proto::raft_client::RaftClient;

/// A peer that takes no part for this long does not take the snapshot.
const PART_PATIENCE: Duration = Duration::from_secs(10);

/// How long the peer may take to put the parts together.
const WHOLE_PATIENCE: Duration = Duration::from_secs(30);

/// The snapshots for one peer: one at a time.
pub(super) struct Snapshots {
    peer: u64,
    raft: Raft,
    transfers: u64,
    underway: Option<Task>,
}

/// Why a snapshot did not arrive.
#[derive(Debug, thiserror::Error)]
enum NotSent {
    #[error(transparent)]
    Part(#[from] PartError),
    #[error("{}", .0.message())]
    Refused(#[source] Box<Status>),
    #[error("the peer took nothing for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the task that cuts it has ended")]
    Cut(#[source] tokio::task::JoinError),
}

impl Snapshots {
    pub fn new(peer: u64, raft: Raft) -> Self {
        Self { peer, raft, transfers: 0, underway: None }
    }

    /// Sends it, and tells raft how it fared. While one is on its way, another is not begun: raft gives one
    /// that takes long up, though it comes closer to its end.
    pub fn send(&mut self, client: RaftClient<Channel>, message: Message) {
        if self.underway.as_ref().is_some_and(|Task(handle)| !handle.is_finished()) {
            return;
        }
        self.transfers += 1;
        let (peer, raft, transfer) = (self.peer, self.raft.clone(), self.transfers);
        let index = message.get_snapshot().get_metadata().index;
        self.underway = Some(Task(tokio::spawn(async move {
            let sent = carry(client, message, transfer).await;
            match &sent {
                Ok(()) => tracing::info!(peer, index, "a manager has a snapshot"),
                Err(error) => tracing::info!(peer, index, %error, "a snapshot for a manager did not arrive"),
            }
            raft.snapshot_sent(peer, sent.is_ok());
        })));
    }
}

async fn carry(mut client: RaftClient<Channel>, message: Message, transfer: u64) -> Result<(), NotSent> {
    // Serialized and digested whole: too long for a thread that others wait for.
    let cutting = tokio::task::spawn_blocking(move || cut(&message, transfer));
    let parts = cutting.await.map_err(NotSent::Cut)??;
    let (sender, stream) = mpsc::channel(1);
    let mut call = pin!(client.snapshot(ReceiverStream::new(stream)));
    let refused = |status| NotSent::Refused(Box::new(status));
    tokio::select! {
        answer = &mut call => return answer.map(drop).map_err(refused),
        fed = feed(parts, sender) => fed?,
    }
    let answer = timeout(WHOLE_PATIENCE, call).await;
    answer.map_err(|_| NotSent::Silent(WHOLE_PATIENCE))?.map(drop).map_err(refused)
}

/// Hands over part after part. When the call does not listen any more, it has the answer.
async fn feed(
    parts: impl Iterator<Item = Result<Vec<u8>, PartError>>,
    sender: mpsc::Sender<RaftPart>,
) -> Result<(), NotSent> {
    for part in parts {
        let taken = timeout(PART_PATIENCE, sender.send(RaftPart { part: part? })).await;
        if taken.map_err(|_| NotSent::Silent(PART_PATIENCE))?.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
