//! The agent's session with a manager: opened again and again, for as long as the node is a member. What the
//! manager says goes to the worker, what the outbox holds goes to the manager.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mesh_core::assignment::{AssignmentUpdate, ClusterSettings};
use mesh_core::id::NodeId;
use mesh_core::object::NodeDescription;
use rustls::ClientConfig;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::outbox::Outbox;
use super::ways::Event;
use crate::describe::describe;
use crate::error::chain;
use crate::rpc::proto::dispatcher_client::DispatcherClient;
use crate::rpc::proto::{
    AgentMessage, Applied, Heartbeat, Hello, Leave, ManagerMessage, RestartAnnounced, Statuses,
    agent_message, manager_message,
};
use crate::rpc::{MESSAGE_MAX, client, envelope};

/// Waits before a session is opened again: the first, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// What is to be told and comes within this travels together.
const BATCH: Duration = Duration::from_millis(5);

/// The node looks at itself this often: processes begin to listen, routes come and go.
const LOOK: Duration = Duration::from_secs(5);

/// A manager silent for this many heartbeats is given up.
const SILENCE: u32 = 3;

/// How long a manager may take to answer the first message, or to hear the last.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is said at the end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// The daemon comes back; its tasks run on.
    Restart,
    /// The node leaves the cluster.
    Leave,
}

/// Tells a session to end, and what to say.
pub type End = watch::Receiver<Option<Farewell>>;

/// Resolves when the session is to end; with nobody there to say so, it ends as for a restart.
async fn farewell(end: &mut End) -> Farewell {
    end.wait_for(Option::is_some).await.ok().and_then(|told| *told).unwrap_or(Farewell::Restart)
}

/// How the node stands with its managers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionState {
    /// No manager serves this node; with the last error.
    Lost {
        /// What went wrong.
        error: String,
    },
    /// A manager serves this node.
    Open,
}

/// What a session needs.
#[derive(Clone)]
pub struct SessionSettings {
    /// This node's TLS towards managers.
    pub tls: Arc<ClientConfig>,
    /// Address this node is reached at.
    pub advertise_addr: IpAddr,
    /// Address its tunnels end at.
    pub data_path_addr: IpAddr,
    /// What is to be told.
    pub outbox: Outbox,
    /// Where assignments go.
    pub events: mpsc::UnboundedSender<Event>,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("cannot reach the manager at {manager}: {error}")]
    Connect { manager: SocketAddr, error: String },
    #[error("the manager said: {}", .0.message())]
    Refused(#[from] Status),
    #[error(transparent)]
    Envelope(#[from] envelope::EnvelopeError),
    #[error("the manager was silent for {} heartbeats", SILENCE)]
    Silent,
    #[error("the manager ended the session: {reason}")]
    Closed { reason: String },
    #[error("assignments from version {from} came where {have} was held")]
    Gap { have: u64, from: u64 },
    #[error("the agent has ended")]
    NoAgent,
}

/// Keeps a session with one of `managers` until `end` says so; then takes its leave.
pub async fn keep(
    settings: SessionSettings,
    managers: watch::Sender<Vec<SocketAddr>>,
    state: watch::Sender<SessionState>,
    mut end: End,
) {
    let mut wait = BACK_OFF.0;
    let mut turn = 0;
    loop {
        let known = managers.borrow().clone();
        let Some(manager) = known.get(turn % known.len().max(1)).copied() else { return };
        let mut session = Session {
            settings: &settings,
            managers: &managers,
            state: &state,
            end: end.clone(),
            version: None,
            described: NodeDescription::default(),
            heartbeat: ClusterSettings::default().heartbeat,
            book: BTreeMap::new(),
        };
        match session.run(manager).await {
            Ok(()) => return,
            Err(error) => {
                if *state.borrow() == SessionState::Open {
                    wait = BACK_OFF.0;
                }
                tracing::info!(%manager, %error, "no session");
                state.send_replace(SessionState::Lost { error: error.to_string() });
            }
        }
        turn += 1;
        tokio::select! {
            _ = farewell(&mut end) => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(BACK_OFF.1);
    }
}

struct Session<'a> {
    settings: &'a SessionSettings,
    managers: &'a watch::Sender<Vec<SocketAddr>>,
    state: &'a watch::Sender<SessionState>,
    end: End,
    /// Version of the assignments; `None` before the first full set.
    version: Option<u64>,
    /// What was told of the node.
    described: NodeDescription,
    heartbeat: Duration,
    /// Where managers answer.
    book: BTreeMap<NodeId, SocketAddr>,
}

impl Session<'_> {
    /// Runs one session; `Ok` when it was told to stop.
    async fn run(&mut self, manager: SocketAddr) -> Result<(), SessionError> {
        let mut end = self.end.clone();
        let (to, mut from) = tokio::select! {
            _ = farewell(&mut end) => return Ok(()),
            opened = self.open(manager) => opened?,
        };
        self.settings.outbox.all_unsent();
        let mut beat = interval(self.heartbeat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = interval_at(Instant::now() + LOOK, LOOK);
        let (mut number, mut heard) = (0, Instant::now());
        loop {
            tokio::select! {
                farewell = farewell(&mut end) => return part(farewell, to, from).await,
                message = from.message() => {
                    heard = Instant::now();
                    let before = self.heartbeat;
                    self.hear(message?)?;
                    if self.heartbeat != before {
                        beat = interval(self.heartbeat);
                        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
                    }
                }
                () = self.settings.outbox.changed() => {
                    tokio::time::sleep(BATCH).await;
                    self.report(&to).await?;
                }
                _ = look.tick() => self.describe_again(&to).await?,
                _ = beat.tick() => {
                    if heard.elapsed() > self.heartbeat * SILENCE {
                        return Err(SessionError::Silent);
                    }
                    number += 1;
                    send(&to, agent_message::Kind::Heartbeat(Heartbeat { number })).await?;
                }
            }
        }
    }

    async fn open(
        &mut self,
        manager: SocketAddr,
    ) -> Result<(mpsc::Sender<AgentMessage>, Streaming<ManagerMessage>), SessionError> {
        let tls = Arc::clone(&self.settings.tls);
        let channel = client::connect(manager.to_string(), tls)
            .await
            .map_err(|error| SessionError::Connect { manager, error: chain(&error) })?;
        let mut client = DispatcherClient::new(channel)
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX);
        self.described = look_around().await;
        let (to, queue) = mpsc::channel(16);
        send(&to, self.hello()?).await?;
        let answered = timeout(PATIENCE, client.session(ReceiverStream::new(queue))).await;
        Ok((to, answered.map_err(|_| SessionError::Silent)??.into_inner()))
    }

    fn hello(&self) -> Result<agent_message::Kind, SessionError> {
        Ok(agent_message::Kind::Hello(Hello {
            description: Some(envelope::seal("the node's description", &self.described)?),
            advertise_addr: self.settings.advertise_addr.to_string(),
            data_path_addr: self.settings.data_path_addr.to_string(),
            held: None,
        }))
    }

    /// Tells of the node again when it is not as it was told.
    async fn describe_again(&mut self, to: &mpsc::Sender<AgentMessage>) -> Result<(), SessionError> {
        let now = look_around().await;
        if now == self.described {
            return Ok(());
        }
        self.described = now;
        send(to, self.hello()?).await
    }

    fn hear(&mut self, message: Option<ManagerMessage>) -> Result<(), SessionError> {
        let closed = |reason: String| SessionError::Closed { reason };
        let message = message.ok_or_else(|| closed("it went away".to_owned()))?;
        match message.kind {
            Some(manager_message::Kind::Assignments(sealed)) => {
                self.assigned(envelope::open("an assignment update", Some(&sealed))?)
            }
            Some(manager_message::Kind::Close(close)) => Err(closed(close.reason)),
            // The answer to a heartbeat, or a word of a newer manager that does not concern this one.
            Some(manager_message::Kind::Heartbeat(_) | manager_message::Kind::Taken(_)) | None => Ok(()),
        }
    }

    fn assigned(&mut self, update: AssignmentUpdate) -> Result<(), SessionError> {
        match &update {
            AssignmentUpdate::Full { version, set } => {
                self.version = Some(*version);
                self.heartbeat = beat_of(&set.settings);
                self.book.clone_from(&set.managers);
                self.state.send_replace(SessionState::Open);
            }
            AssignmentUpdate::Increment { from, to, changes } => {
                if self.version != Some(*from) {
                    return Err(SessionError::Gap { have: self.version.unwrap_or(0), from: *from });
                }
                self.version = Some(*to);
                self.heartbeat = changes.settings.as_ref().map_or(self.heartbeat, beat_of);
                for (node, addr) in &changes.managers {
                    match addr {
                        Some(addr) => self.book.insert(*node, *addr),
                        None => self.book.remove(node),
                    };
                }
            }
        }
        self.learn();
        self.settings.events.send(Event::Update(update)).map_err(|_| SessionError::NoAgent)
    }

    /// Writes down where managers answer.
    fn learn(&self) {
        let managers: Vec<SocketAddr> = self.book.values().copied().collect();
        if !managers.is_empty() {
            self.managers.send_if_modified(|known| {
                let changed = *known != managers;
                *known = managers;
                changed
            });
        }
    }

    async fn report(&self, to: &mpsc::Sender<AgentMessage>) -> Result<(), SessionError> {
        let statuses = self.settings.outbox.take();
        if !statuses.is_empty() {
            let sealed = envelope::seal("task statuses", &statuses)?;
            let statuses = Statuses { number: 0, statuses: Some(sealed) };
            send(to, agent_message::Kind::Statuses(statuses)).await?;
        }
        match self.settings.outbox.take_applied() {
            Some(version) => send(to, agent_message::Kind::Applied(Applied { version })).await,
            None => Ok(()),
        }
    }
}

async fn look_around() -> NodeDescription {
    tokio::task::spawn_blocking(describe).await.unwrap_or_default()
}

/// A heartbeat interval that can be waited for.
fn beat_of(settings: &ClusterSettings) -> Duration {
    settings.heartbeat.max(Duration::from_millis(50))
}

async fn send(to: &mpsc::Sender<AgentMessage>, kind: agent_message::Kind) -> Result<(), SessionError> {
    let closed = |_| SessionError::Closed { reason: "it went away".to_owned() };
    to.send(AgentMessage { kind: Some(kind) }).await.map_err(closed)
}

/// Says why this session ends, and waits until that was heard.
async fn part(
    farewell: Farewell,
    to: mpsc::Sender<AgentMessage>,
    mut from: Streaming<ManagerMessage>,
) -> Result<(), SessionError> {
    let word = match farewell {
        Farewell::Restart => agent_message::Kind::Restart(RestartAnnounced {}),
        Farewell::Leave => agent_message::Kind::Leave(Leave {}),
    };
    send(&to, word).await?;
    drop(to);
    let ended = async { while let Ok(Some(_)) = from.message().await {} };
    if timeout(PATIENCE, ended).await.is_err() {
        tracing::warn!(?farewell, "the manager did not hear why this session ends");
    }
    Ok(())
}
