//! The handle: cheap to clone, never blocking, and of any thread.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use mesh_core::store::{Store, Transaction};
use raft::eraftpb::Message;
use tokio::sync::{broadcast, oneshot, watch};

use super::config::RaftConfig;
use super::error::{OpenError, ProposeError, ReadError, ResealError};
use super::role::{Alarm, Role, RoleState};
use super::surface::Published;
use super::worker::{Command, Worker};
use crate::disk::{Disk, Keys, RedbDisk, Saved, Sealing};
use crate::envelope::{self, ProposalId};
use crate::members::Members;
use crate::node::mix;
use crate::replica::{Committed, founder, joiner};

/// Commands that wait for the thread. More are refused (proposals, reads) or lost (messages).
const QUEUE: usize = 8_192;

/// Entries that a receiver of [`Raft::changes`] may be behind before it is told that it missed some.
const CHANGES: usize = 4_096;

/// A manager's raft. The thread behind it ends with [`Raft::shutdown`], or with the last handle.
#[derive(Clone)]
pub struct Raft {
    shared: Arc<Shared>,
}

struct Shared {
    commands: SyncSender<Command>,
    seen: Seen,
    store: Arc<ArcSwap<Store>>,
    changes: broadcast::WeakSender<Arc<Committed>>,
    role: watch::Receiver<RoleState>,
    origin: u64,
    proposals: AtomicU64,
    propose_deadline: Duration,
    read_deadline: Duration,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread shows of the group.
pub(super) struct Seen {
    pub members: watch::Receiver<Members>,
    pub heard: watch::Receiver<BTreeSet<u64>>,
    pub heard_all: watch::Receiver<bool>,
    /// A little more than the election timeout after which raft gives a transfer up.
    pub transfer_patience: Duration,
}

impl Raft {
    /// Goes on with the state in `config.path`. Returns when everything known to be committed is applied; a
    /// manager that is alone leads by then.
    pub async fn open(config: RaftConfig) -> Result<Self, OpenError> {
        Self::start(config, open_own).await
    }

    /// Makes a new group whose store begins with `first`. There must be no state in `config.path`; when this
    /// fails, there is none afterwards either. Every one of `config.voters` begins with the same `first`.
    pub async fn bootstrap(config: RaftConfig, first: Transaction) -> Result<Self, OpenError> {
        Self::start(config, move |config| {
            let mut store = Store::default();
            store.apply(1, &first)?;
            let saved = founder(config.node, &config.voters, config.addrs.clone(), &store)?;
            let disk = RedbDisk::create_sealed(&config.path, &config.sealing, &saved)?;
            Ok((disk, saved))
        })
        .await
    }

    /// Makes the state of a manager that a group which exists is to take in: `config.voters` and
    /// `config.addrs` are the members that it has. It has nothing and votes for nobody until their leader adds
    /// it by [`Raft::change`]. There must be no state in `config.path`.
    pub async fn join(config: RaftConfig) -> Result<Self, OpenError> {
        Self::start(config, |config| {
            let saved = joiner(config.node, &config.voters, &config.addrs)?;
            let disk = RedbDisk::create_sealed(&config.path, &config.sealing, &saved)?;
            Ok((disk, saved))
        })
        .await
    }

    /// Runs a thread on the disk that `open` gives; `open` runs on that thread.
    pub(crate) async fn start<D, F>(config: RaftConfig, open: F) -> Result<Self, OpenError>
    where
        D: Disk + 'static,
        F: FnOnce(&RaftConfig) -> Result<(D, Saved), OpenError> + Send + 'static,
    {
        let (commands, receiver) = sync_channel(QUEUE);
        let (changes, _) = broadcast::channel(CHANGES);
        let (role, role_seen) = watch::channel(RoleState::default());
        let (members, members_seen) = watch::channel(Members::default());
        let (heard, heard_seen) = watch::channel(BTreeSet::new());
        let (heard_all, heard_all_seen) = watch::channel(true);
        let store = Arc::new(ArcSwap::from_pointee(Store::default()));
        let election = u32::try_from(config.settings.pace.election).unwrap_or(u32::MAX);
        let transfer_patience = config.tick.saturating_mul(election.saturating_add(5));
        let shared = Shared {
            commands,
            seen: Seen {
                members: members_seen,
                heard: heard_seen,
                heard_all: heard_all_seen,
                transfer_patience,
            },
            store: Arc::clone(&store),
            changes: changes.downgrade(),
            role: role_seen,
            origin: mix(config.settings.seed ^ mix(config.node)),
            proposals: AtomicU64::new(0),
            propose_deadline: config.propose_deadline,
            read_deadline: config.read_deadline,
            thread: Mutex::new(None),
        };
        let (opened, is_open) = oneshot::channel();
        let published = Published { store, changes, role, members, heard, heard_all };
        let body = move || run(&config, &receiver, published, open, opened);
        let thread = std::thread::Builder::new()
            .name("raft".to_owned())
            .spawn(body)
            .map_err(|error| OpenError::Thread { reason: error.to_string() })?;
        *shared.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        let ended = |_| Err(OpenError::Thread { reason: "it ended while it opened the state".to_owned() });
        is_open.await.unwrap_or_else(ended)?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Puts a transaction through the log, and returns when it is durable on a quorum and applied here.
    pub async fn propose(&self, transaction: Transaction) -> Result<Arc<Committed>, ProposeError> {
        self.propose_within(transaction, self.shared.propose_deadline).await
    }

    /// [`Raft::propose`] with a deadline of its own.
    pub async fn propose_within(
        &self,
        transaction: Transaction,
        deadline: Duration,
    ) -> Result<Arc<Committed>, ProposeError> {
        self.alive().map_err(ProposeError::ReadOnly)?;
        let id = self.next_id();
        let entry = envelope::encode(id, &transaction)?;
        let (reply, outcome) = oneshot::channel();
        self.shared.commands.try_send(Command::Propose { id, entry, reply }).map_err(
            |error| match error {
                TrySendError::Full(_) => ProposeError::Busy,
                TrySendError::Disconnected(_) => ProposeError::ReadOnly(self.stopped()),
            },
        )?;
        match tokio::time::timeout(deadline, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(ProposeError::Interrupted { reason: self.stopped().to_string() }),
            Err(_) => Err(ProposeError::Timeout { after: deadline }),
        }
    }

    pub(super) fn next_id(&self) -> ProposalId {
        let number = self.shared.proposals.fetch_add(1, Ordering::Relaxed);
        ProposalId(u128::from(self.shared.origin) << 64 | u128::from(number))
    }

    pub(super) fn seen(&self) -> &Seen {
        &self.shared.seen
    }

    /// Hands in a command that has an answer.
    pub(super) fn ask(&self, command: Command) -> Result<(), Alarm> {
        self.alive()?;
        self.shared.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => Alarm::Stopped { reason: "too many commands wait".to_owned() },
            TrySendError::Disconnected(_) => self.stopped(),
        })
    }

    /// The store, at least as new as whatever any manager acknowledged before the call. Works on followers
    /// too.
    pub async fn read(&self) -> Result<Store, ReadError> {
        self.alive().map_err(ReadError::Alarm)?;
        let after = self.shared.read_deadline;
        let (reply, answer) = oneshot::channel();
        self.shared.commands.try_send(Command::Read { reply }).map_err(|error| match error {
            TrySendError::Full(_) => ReadError::Timeout { after: Duration::ZERO },
            TrySendError::Disconnected(_) => ReadError::Alarm(self.stopped()),
        })?;
        match tokio::time::timeout(after, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ReadError::Alarm(self.stopped())),
            Err(_) => Err(ReadError::Timeout { after }),
        }
    }

    /// Seals the state file with `keys` from here on, and returns when nothing in it is sealed otherwise: the
    /// key before may go then. Until that is so `keys` must open it too ([`Keys::after`]), or this is refused
    /// and nothing is changed. Proposals go on meanwhile.
    pub async fn reseal(&self, keys: Keys) -> Result<(), ResealError> {
        let (reply, sealed) = oneshot::channel();
        let command = Command::Reseal { sealing: Sealing::Key(keys), reply };
        self.ask(command).map_err(ResealError::Alarm)?;
        Ok(sealed.await.map_err(|_| ResealError::Alarm(self.stopped()))??)
    }

    /// The store as of the last entry applied here: without a lock, without waiting, and possibly behind.
    pub fn store(&self) -> Store {
        Store::clone(&self.shared.store.load())
    }

    /// Every entry that changes the store from here on, in order. Subscribe first, then take
    /// [`Raft::store`], and skip what is not newer than it. A receiver that is told that it lagged takes the
    /// store anew. The stream ends with the thread.
    pub fn changes(&self) -> broadcast::Receiver<Arc<Committed>> {
        match self.shared.changes.upgrade() {
            Some(sender) => sender.subscribe(),
            None => broadcast::channel(1).1,
        }
    }

    /// This manager's part, as it changes.
    pub fn role(&self) -> watch::Receiver<RoleState> {
        self.shared.role.clone()
    }

    /// Hands in a message from a peer. Lost when the thread is far behind, as on a network.
    pub fn receive(&self, message: Message) {
        self.hand(Command::Message(Box::new(message)));
    }

    /// A message to this peer was lost.
    pub fn unreachable(&self, peer: u64) {
        self.hand(Command::Unreachable(peer));
    }

    /// A snapshot for this peer arrived, or did not.
    pub fn snapshot_sent(&self, to: u64, arrived: bool) {
        self.hand(Command::SnapshotSent { to, arrived });
    }

    fn hand(&self, command: Command) {
        // Full or ended: raft sends again what matters.
        let _ = self.shared.commands.try_send(command);
    }

    /// Ends the thread once what it has taken is durable, and closes the state file. A leader hands leadership
    /// over first, if anybody can take it within two election timeouts.
    pub async fn shutdown(&self) {
        let commands = self.shared.commands.clone();
        let thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ended = tokio::task::spawn_blocking(move || {
            // An error says that it has ended.
            let _ = commands.send(Command::Shutdown);
            thread.map(JoinHandle::join)
        });
        let mut role = self.role();
        let _ = ended.await;
        // Whoever calls this second waits for the first.
        let _ = role.wait_for(|state| state.role == Role::Stopped).await;
    }

    /// Whoever has seen that the thread has stopped gets no unknown outcome from it.
    fn alive(&self) -> Result<(), Alarm> {
        if self.shared.role.borrow().role == Role::Stopped { Err(self.stopped()) } else { Ok(()) }
    }

    pub(super) fn stopped(&self) -> Alarm {
        let state = self.shared.role.borrow();
        state.alarm.clone().unwrap_or_else(|| Alarm::Stopped { reason: "it was shut down".to_owned() })
    }
}

/// The thread.
fn run<D: Disk>(
    config: &RaftConfig,
    commands: &Receiver<Command>,
    published: Published,
    open: impl FnOnce(&RaftConfig) -> Result<(D, Saved), OpenError>,
    opened: oneshot::Sender<Result<(), OpenError>>,
) {
    let worker = open(config).and_then(|(disk, saved)| Worker::start(config, disk, saved, published));
    match worker {
        // Nobody waits when the caller gave up: the commands' sender is gone too, and the worker ends.
        Ok(worker) => {
            let _ = opened.send(Ok(()));
            worker.run(commands);
        }
        Err(error) => {
            let _ = opened.send(Err(error));
        }
    }
}

/// The state that is there, if it is this node's.
fn open_own(config: &RaftConfig) -> Result<(RedbDisk, Saved), OpenError> {
    own(config, RedbDisk::open_sealed(&config.path, &config.sealing)?)
}

/// [`open_own`] for one that is to go on alone: its last writes may have rotted away.
pub(super) fn open_survivor(config: &RaftConfig) -> Result<(RedbDisk, Saved), OpenError> {
    own(config, RedbDisk::open_older(&config.path, &config.sealing)?)
}

fn own(config: &RaftConfig, (disk, saved): (RedbDisk, Saved)) -> Result<(RedbDisk, Saved), OpenError> {
    if saved.node != config.node {
        let (found, wanted) = (saved.node, config.node);
        return Err(OpenError::OtherNode { path: config.path.clone(), found, wanted });
    }
    Ok((disk, saved))
}
