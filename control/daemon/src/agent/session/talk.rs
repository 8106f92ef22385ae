//! One session with one manager.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_core::assignment::{AssignmentUpdate, Held};
use mesh_core::object::NodeDescription;
use mesh_identity::PeerIdentity;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{Farewell, Keeper, SessionError, SessionState, farewell, look_around, look_at_ports};
use crate::agent::pulse::{ANSWER, Beat, Pulse};
use crate::agent::ways::Event;
use crate::entropy::SystemEntropy;
use crate::rpc::client::{self, Liveness};
use crate::rpc::proto::dispatcher_client::DispatcherClient;
use crate::rpc::proto::{
    self, AgentMessage, Applied, Heartbeat, Hello, Leave, ManagerMessage, RestartAnnounced, Statuses,
    agent_message, manager_message,
};
use crate::rpc::{MESSAGE_MAX, envelope};

/// What is to be told and comes within this travels together.
const BATCH: Duration = Duration::from_millis(5);

/// The node looks at itself this often: routes come and go.
const LOOK: Duration = Duration::from_secs(5);

/// The node looks this often at what its processes listen on: a task that waits for a port has a node within a
/// second after a process let go of it.
const PORTS: Duration = Duration::from_millis(500);

/// What the node has is compared with what the manager would send this often.
const COMPARE: Duration = Duration::from_secs(30);

/// How long a manager may take to answer the first message, or to hear the last.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a daemon that stops waits until what it has to tell is durable.
const FLUSH: Duration = Duration::from_millis(500);

/// The way to the manager.
type To = mpsc::Sender<AgentMessage>;

/// A session.
pub(super) struct Talk<'a> {
    keeper: &'a mut Keeper,
    manager: Option<SocketAddr>,
    /// What was told of the node.
    described: NodeDescription,
    /// When the manager began to serve this node.
    open: Option<Instant>,
    /// The agent was asked what it has.
    asked: Option<oneshot::Receiver<Option<Held>>>,
}

/// What comes by itself in a session.
struct Clocks {
    pulse: Pulse,
    look: Interval,
    ports: Interval,
    compare: Interval,
    /// When what is to be told is sent.
    report: Option<Instant>,
}

impl<'a> Talk<'a> {
    pub fn new(keeper: &'a mut Keeper) -> Self {
        let described = NodeDescription::default();
        Self { keeper, manager: None, described, open: None, asked: None }
    }

    /// How long the manager has served this node.
    pub fn lasted(&self) -> Duration {
        self.open.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Runs the session; `Ok` when it was told to stop. `patience` is for the connection to be made.
    pub async fn run(&mut self, manager: SocketAddr, patience: Duration) -> Result<(), SessionError> {
        self.manager = Some(manager);
        let mut end = self.keeper.end.clone();
        let (to, mut from) = tokio::select! {
            _ = farewell(&mut end) => return Ok(()),
            opened = self.connect(manager, patience) => opened?,
        };
        let outbox = self.keeper.settings.outbox.clone();
        outbox.begin_session();
        let now = Instant::now();
        let mut clocks = Clocks {
            pulse: Pulse::new(self.keeper.following.heartbeat(), now),
            look: every(LOOK, now),
            ports: every(PORTS, now),
            compare: every(COMPARE, now),
            report: None,
        };
        loop {
            tokio::select! {
                // What the manager said comes before its silence: this process may have slept itself.
                biased;
                farewell = farewell(&mut end) => return self.part(farewell, to, from).await,
                message = from.message() => {
                    clocks.pulse.heard();
                    self.hear(message?)?;
                    clocks.pulse.pace(self.keeper.following.heartbeat(), Instant::now());
                }
                () = sleep_until(clocks.pulse.wake_at()) => self.beat(&mut clocks.pulse, &to).await?,
                () = at(clocks.report) => {
                    clocks.report = None;
                    self.report(&to).await?;
                }
                () = outbox.changed(), if clocks.report.is_none() => clocks.report = Some(Instant::now() + BATCH),
                held = recalled(&mut self.asked) => self.compare(held, &to).await?,
                _ = clocks.compare.tick() => self.asked = Some(self.keeper.memory.ask()),
                _ = clocks.look.tick() => {
                    let node = look_around().await;
                    self.describe_again(node, &to).await?;
                }
                _ = clocks.ports.tick() => self.look_at_ports(&to).await?,
            }
        }
    }

    async fn connect(
        &mut self,
        manager: SocketAddr,
        patience: Duration,
    ) -> Result<(To, Streaming<ManagerMessage>), SessionError> {
        let tls = Arc::new(self.keeper.settings.tls.client_config()?);
        let liveness = Liveness { connect: patience, ..Liveness::QUICK };
        let channel = client::connect_with(manager.to_string(), tls, liveness).await.map_err(|error| {
            SessionError::Connect { manager, error: client::unreached(&error, &self.own()) }
        })?;
        let mut client = DispatcherClient::new(channel)
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX);
        self.described = look_around().await;
        let held = self.keeper.memory.held().await;
        let held = self.keeper.following.open(held);
        let (to, queue) = mpsc::channel(16);
        send(&to, self.hello(held)?).await?;
        let answered = timeout(PATIENCE, client.session(ReceiverStream::new(queue))).await;
        let silent = |_| SessionError::Silent { after: PATIENCE };
        let answered = answered.map_err(silent)?;
        Ok((to, answered.map_err(|status| self.refused(manager, status))?.into_inner()))
    }

    /// What this node's certificate says.
    fn own(&self) -> PeerIdentity {
        self.keeper.settings.tls.own()
    }

    /// A manager that does not take this node's certificate says so after the handshake only.
    fn refused(&self, manager: SocketAddr, status: Status) -> SessionError {
        match client::tls_error(&status) {
            Some(error) => {
                SessionError::Connect { manager, error: client::explained(error, Some(&self.own())) }
            }
            None => status.into(),
        }
    }

    fn hello(&self, held: Option<Held>) -> Result<agent_message::Kind, SessionError> {
        let settings = &self.keeper.settings;
        Ok(agent_message::Kind::Hello(Hello {
            description: Some(envelope::seal("the node's description", &self.described)?),
            advertise_addr: settings.advertise_addr.to_string(),
            data_path_addr: settings.data_path_addr.to_string(),
            held: held.map(said),
        }))
    }

    /// Tells of the node again when it is not as it was told.
    async fn describe_again(&mut self, node: NodeDescription, to: &To) -> Result<(), SessionError> {
        if node == self.described {
            return Ok(());
        }
        self.described = node;
        send(to, self.hello(None)?).await
    }

    async fn look_at_ports(&mut self, to: &To) -> Result<(), SessionError> {
        match look_at_ports().await {
            Some(listening) if listening != self.described.listening => {
                let node = NodeDescription { listening, ..self.described.clone() };
                self.describe_again(node, to).await
            }
            _ => Ok(()),
        }
    }

    fn hear(&mut self, message: Option<ManagerMessage>) -> Result<(), SessionError> {
        let message = message.ok_or_else(gone)?;
        match message.kind {
            Some(manager_message::Kind::Assignments(sealed)) => {
                self.assigned(envelope::open("an assignment update", Some(&sealed))?)
            }
            Some(manager_message::Kind::Close(close)) => Err(SessionError::Closed { reason: close.reason }),
            Some(manager_message::Kind::Taken(taken)) => {
                self.keeper.settings.outbox.taken(taken.number);
                Ok(())
            }
            // The answer to a heartbeat, or a word of a newer manager that does not concern this one.
            Some(manager_message::Kind::Heartbeat(_)) | None => Ok(()),
        }
    }

    fn assigned(&mut self, update: AssignmentUpdate) -> Result<(), SessionError> {
        self.keeper.following.take_in(&update)?;
        self.keeper.learn();
        let resumed = matches!(update, AssignmentUpdate::Increment { .. });
        self.keeper.settings.events.send(Event::Update(update)).map_err(|_| SessionError::NoAgent)?;
        if let (None, Some(manager)) = (self.open, self.manager) {
            self.open = Some(Instant::now());
            if resumed {
                // That all went well is known when both have the same.
                self.asked = Some(self.keeper.memory.ask());
            }
            tracing::info!(%manager, resumed, "a manager serves this node");
            self.keeper.state.send_replace(SessionState::Open { manager, resumed });
        }
        Ok(())
    }

    async fn beat(&mut self, pulse: &mut Pulse, to: &To) -> Result<(), SessionError> {
        match pulse.wake(Instant::now(), &mut SystemEntropy) {
            Some(Beat::Send(number)) => send(to, agent_message::Kind::Heartbeat(Heartbeat { number })).await,
            Some(Beat::Silent) => Err(SessionError::Silent { after: ANSWER }),
            None => Ok(()),
        }
    }

    async fn report(&self, to: &To) -> Result<(), SessionError> {
        let outbox = &self.keeper.settings.outbox;
        if let Some((number, statuses)) = outbox.report() {
            let statuses = Some(envelope::seal("task statuses", &statuses)?);
            send(to, agent_message::Kind::Statuses(Statuses { number, statuses })).await?;
        }
        match outbox.take_applied() {
            Some(version) => send(to, agent_message::Kind::Applied(Applied { version })).await,
            None => Ok(()),
        }
    }

    /// Tells the manager what the agent has.
    async fn compare(&mut self, held: Option<Held>, to: &To) -> Result<(), SessionError> {
        match held {
            Some(held) => send(to, agent_message::Kind::Held(said(held))).await,
            None => Ok(()),
        }
    }

    /// Says why this session ends, and waits until that was heard.
    async fn part(
        &mut self,
        farewell: Farewell,
        to: To,
        mut from: Streaming<ManagerMessage>,
    ) -> Result<(), SessionError> {
        let word = match farewell {
            Farewell::Restart => {
                self.flush(&to, &mut from).await?;
                agent_message::Kind::Restart(RestartAnnounced {})
            }
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

    /// Tells what is left to tell, and waits until it is durable, but not for long: it is told again by the next
    /// daemon.
    async fn flush(&self, to: &To, from: &mut Streaming<ManagerMessage>) -> Result<(), SessionError> {
        self.report(to).await?;
        let outbox = &self.keeper.settings.outbox;
        let taken = async {
            while !outbox.is_taken() {
                let Ok(Some(message)) = from.message().await else { return };
                if let Some(manager_message::Kind::Taken(taken)) = message.kind {
                    outbox.taken(taken.number);
                }
            }
        };
        if timeout(FLUSH, taken).await.is_err() {
            tracing::debug!("not all that this node has to tell is durable");
        }
        Ok(())
    }
}

fn said(held: Held) -> proto::Held {
    proto::Held { version: held.version, digest: held.digest.to_vec() }
}

fn gone() -> SessionError {
    SessionError::Closed { reason: "it went away".to_owned() }
}

/// Says something to the manager. One that takes nothing any more is as good as silent.
async fn send(to: &To, kind: agent_message::Kind) -> Result<(), SessionError> {
    match timeout(ANSWER, to.send(AgentMessage { kind: Some(kind) })).await {
        Ok(sent) => sent.map_err(|_| gone()),
        Err(_) => Err(SessionError::Silent { after: ANSWER }),
    }
}

/// A clock that, when this process slept, does not make up for it.
fn every(period: Duration, now: Instant) -> Interval {
    let mut clock = interval_at(now + period, period);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    clock
}

/// Resolves at this time; `None` is never.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The agent's answer, once it was asked and has given it.
async fn recalled(asked: &mut Option<oneshot::Receiver<Option<Held>>>) -> Option<Held> {
    match asked {
        Some(answer) => {
            let held = answer.await.ok().flatten();
            *asked = None;
            held
        }
        None => std::future::pending().await,
    }
}
