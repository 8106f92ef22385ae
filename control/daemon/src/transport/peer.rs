//! The task that carries messages to one peer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_raft::wire::{self, WireError};
use mesh_raft::{Message, MessageType};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::backoff::Backoff;
use super::snapshot::Snapshots;
use super::{Calling, Waiting};
use crate::error::chain;
use crate::rpc::client::{Liveness, connect_with};
use crate::rpc::proto::raft_client::RaftClient;
use crate::rpc::proto::{RaftHello, RaftMessages, Received};
use crate::rpc::raft::STREAM_MESSAGE_MAX;

/// A peer that freezes or is cut off is noticed within about three seconds; managers are near each other.
const LIVENESS: Liveness = Liveness {
    connect: Duration::from_secs(1),
    keep_alive: Duration::from_secs(1),
    keep_alive_timeout: Duration::from_secs(2),
    unacknowledged: Duration::from_secs(2),
};

/// What has waited longer than this, for a connection or for a peer that does not read, is dropped.
const STALE: Duration = Duration::from_millis(500);

/// A peer that reads nothing for this long is dialled anew, though its connection lives.
const DEAF: Duration = Duration::from_secs(5);

/// A connection that lasts this long was a good one.
const STOOD: Duration = Duration::from_secs(1);

/// What waits is sent together up to this many bytes.
const BATCH_BYTES: usize = 1 << 20;

/// One peer.
pub(super) struct Peer {
    id: u64,
    addr: SocketAddr,
    calling: Calling,
    /// The peer called: it is there.
    awake: Arc<Notify>,
    snapshots: Snapshots,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{}", chain(.0))]
    Dial(#[source] tonic::transport::Error),
    #[error("{}", .0.message())]
    Stream(#[source] Box<Status>),
    #[error("it ended the stream")]
    Closed,
    #[error("it read nothing for {} s", DEAF.as_secs())]
    Deaf,
}

impl Peer {
    pub fn new(id: u64, addr: SocketAddr, calling: Calling, awake: Arc<Notify>) -> Self {
        let snapshots = Snapshots::new(id, calling.raft.clone());
        Self { id, addr, calling, awake, snapshots }
    }

    /// Carries what comes in `queue`; ends when nobody can put anything into it.
    pub async fn run(mut self, mut queue: mpsc::Receiver<Waiting>) {
        let mut backoff = Backoff::default();
        let mut told = String::new();
        while !queue.is_closed() {
            let began = Instant::now();
            let (connected, ended) = self.attempt(&mut queue).await;
            let now = Instant::now();
            let stood = connected.is_some_and(|since| now - since > STOOD);
            if stood {
                backoff.reset();
            }
            self.calling.raft.unreachable(self.id);
            self.drop_waiting(&mut queue);
            let error = ended.to_string();
            if stood || error != told {
                tracing::info!(peer = self.id, addr = %self.addr, error, "no connection to a manager");
                told = error;
            }
            tokio::select! {
                () = sleep_until(backoff.after(began, now)) => {}
                () = self.awake.notified() => backoff.reset(),
            }
        }
    }

    /// One connection, from dialling to its end, and since when it stood.
    async fn attempt(&mut self, queue: &mut mpsc::Receiver<Waiting>) -> (Option<Instant>, Ended) {
        let tls = Arc::clone(&self.calling.tls);
        match connect_with(self.addr.to_string(), tls, LIVENESS).await {
            Ok(channel) => {
                let since = Instant::now();
                (Some(since), self.carry(channel, queue).await)
            }
            Err(error) => (None, Ended::Dial(error)),
        }
    }

    async fn carry(&mut self, channel: Channel, queue: &mut mpsc::Receiver<Waiting>) -> Ended {
        let (batches, stream) = mpsc::channel(1);
        let mut client = client(channel.clone());
        let call = async move { client.messages(ReceiverStream::new(stream)).await };
        let feed = self.feed(&channel, &batches, queue);
        tokio::select! {
            ended = call => reason(ended),
            ended = feed => ended,
        }
    }

    /// Batches what waits, until nothing can come or go any more; why.
    async fn feed(
        &mut self,
        channel: &Channel,
        batches: &mpsc::Sender<RaftMessages>,
        queue: &mut mpsc::Receiver<Waiting>,
    ) -> Ended {
        let own = self.calling.own;
        let hello = RaftHello { from: own.raft_id, to: self.id, addr: own.addr.to_string() };
        let mut batch = RaftMessages { messages: Vec::new(), hello: Some(hello) };
        let mut deaf = Duration::ZERO;
        loop {
            match timeout(STALE, batches.send(batch)).await {
                Ok(Ok(())) => deaf = Duration::ZERO,
                Ok(Err(_)) => return Ended::Closed,
                Err(_) if deaf >= DEAF => return Ended::Deaf,
                Err(_) => {
                    deaf += STALE;
                    self.calling.raft.unreachable(self.id);
                    self.drop_waiting(queue);
                }
            }
            let Some(messages) = self.gather(channel, queue).await else { return Ended::Closed };
            batch = RaftMessages { messages, hello: None };
        }
    }

    /// Waits for a message, and takes what else is there up to the size of a batch. Snapshots go their own way.
    async fn gather(
        &mut self,
        channel: &Channel,
        queue: &mut mpsc::Receiver<Waiting>,
    ) -> Option<Vec<Vec<u8>>> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let mut next = queue.recv().await?;
        loop {
            if let Some(message) = self.sort(channel, next) {
                bytes += message.len();
                batch.push(message);
            }
            let more = (bytes < BATCH_BYTES).then(|| queue.try_recv().ok()).flatten();
            next = match more {
                Some(waiting) => waiting,
                None if batch.is_empty() => queue.recv().await?,
                None => return Some(batch),
            };
        }
    }

    /// The message as bytes, when it is one for the stream and not too old.
    fn sort(&mut self, channel: &Channel, Waiting { message, since }: Waiting) -> Option<Vec<u8>> {
        if since.elapsed() > STALE {
            self.lose(&message);
            return None;
        }
        if message.get_msg_type() == MessageType::MsgSnapshot {
            self.snapshots.send(client(channel.clone()), message);
            return None;
        }
        self.encoded(&message)
    }

    fn encoded(&self, message: &Message) -> Option<Vec<u8>> {
        let told = |error: &WireError| {
            tracing::error!(peer = self.id, %error, "a message for a manager was not sent");
        };
        wire::encode(message).inspect_err(told).ok()
    }

    fn drop_waiting(&self, queue: &mut mpsc::Receiver<Waiting>) {
        while let Ok(waiting) = queue.try_recv() {
            self.lose(&waiting.message);
        }
    }

    fn lose(&self, message: &Message) {
        match message.get_msg_type() {
            MessageType::MsgSnapshot => self.calling.raft.snapshot_sent(self.id, false),
            // Of all others these alone count on being received.
            MessageType::MsgAppend => self.calling.raft.unreachable(self.id),
            _ => {}
        }
    }
}

fn client(channel: Channel) -> RaftClient<Channel> {
    RaftClient::new(channel).max_encoding_message_size(STREAM_MESSAGE_MAX)
}

fn reason(ended: Result<Response<Received>, Status>) -> Ended {
    match ended {
        Ok(_) => Ended::Closed,
        Err(status) => Ended::Stream(Box::new(status)),
    }
}
