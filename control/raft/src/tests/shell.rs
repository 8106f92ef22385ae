//! The thread and its handle.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use mesh_core::store::{Conflict, Transaction};
use raft::eraftpb::{Message, MessageType};

use crate::disk::{Disk, DiskError, MemoryDisk, Write};
use crate::testing::{TempDir, first_disk, has, put};
use crate::{Alarm, OpenError, ProposeError, Raft, RaftConfig, ReadError, Role, RoleState, Transport};

/// A disk that the test holds too.
#[derive(Clone)]
struct Shared(Arc<Mutex<MemoryDisk>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, MemoryDisk> {
        self.0.lock().expect("no panic")
    }
}

impl Disk for Shared {
    fn append(&mut self, write: &Write) -> Result<(), DiskError> {
        self.lock().append(write)
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        // As slow as a real one, so that proposals meet.
        std::thread::sleep(Duration::from_millis(2));
        self.lock().sync()
    }

    fn recover(&mut self) -> Result<(), DiskError> {
        self.lock().recover()
    }
}

fn config(name: &str) -> RaftConfig {
    let mut config = RaftConfig::new(format!("/nonexistent/{name}"), 1, 5);
    config.tick = Duration::from_millis(5);
    config
}

async fn on_shared_disk(config: RaftConfig) -> (Raft, Shared) {
    let disk = Shared(Arc::new(Mutex::new(MemoryDisk::create(first_disk(config.node, &config.voters)))));
    let held = disk.clone();
    let open = move |_: &RaftConfig| {
        let saved = disk.lock().crash();
        Ok((disk, saved))
    };
    (Raft::start(config, open).await.expect("starts"), held)
}

async fn wait(raft: &Raft, wanted: impl FnMut(&RoleState) -> bool) -> RoleState {
    let mut role = raft.role();
    tokio::time::timeout(Duration::from_secs(20), role.wait_for(wanted))
        .await
        .expect("within 20 s")
        .expect("the thread tells")
        .clone()
}

#[tokio::test]
async fn a_manager_that_is_alone_writes_restarts_and_has_it_all() {
    let dir = TempDir::new("restart");
    let raft = Raft::bootstrap(RaftConfig::new(dir.file(), 1, 1), put(0)).await.expect("made");
    assert!(raft.role().borrow().is_leader());
    let mut changes = raft.changes();
    for number in 1..20 {
        let committed = raft.propose(put(number)).await.expect("committed");
        assert_eq!(changes.recv().await.expect("told").index, committed.index);
        assert!(has(&raft.store(), number), "acknowledged means applied");
    }
    assert!(has(&raft.read().await.expect("answered"), 19));
    let digest = raft.store().digest();
    raft.shutdown().await;
    assert!(matches!(raft.propose(put(99)).await, Err(ProposeError::ReadOnly(Alarm::Stopped { .. }))));
    assert!(matches!(raft.read().await, Err(ReadError::Alarm(Alarm::Stopped { .. }))));
    assert!(changes.recv().await.is_err(), "the stream ends with the thread");

    let raft = Raft::open(RaftConfig::new(dir.file(), 1, 2)).await.expect("opens");
    assert_eq!(raft.store().digest(), digest);
    raft.propose(put(20)).await.expect("it goes on");
}

#[tokio::test]
async fn a_group_begins_once_and_whole_or_not_at_all() {
    let dir = TempDir::new("begin");
    let config = || RaftConfig::new(dir.file(), 1, 1);
    assert!(matches!(Raft::open(config()).await, Err(OpenError::Disk(DiskError::Missing { .. }))));
    let twice = Transaction { writes: [put(0).writes, put(0).writes].concat(), ..put(0) };
    assert!(matches!(Raft::bootstrap(config(), twice).await, Err(OpenError::First(Conflict::Exists { .. }))));
    assert!(!dir.file().exists());
    let raft = Raft::bootstrap(config(), put(0)).await.expect("made");
    assert!(matches!(Raft::open(config()).await, Err(OpenError::Disk(DiskError::InUse { .. }))));
    raft.shutdown().await;
    let again = Raft::bootstrap(config(), put(1)).await;
    assert!(matches!(again, Err(OpenError::Disk(DiskError::Exists { .. }))));
    let mut other = config();
    other.node = 2;
    assert!(matches!(Raft::open(other).await, Err(OpenError::OtherNode { found: 1, wanted: 2, .. })));
    assert!(has(&Raft::open(config()).await.expect("opens").store(), 0));
}

#[tokio::test]
async fn a_conflict_changes_nothing_and_is_told() {
    let dir = TempDir::new("conflict");
    let raft = Raft::bootstrap(RaftConfig::new(dir.file(), 1, 1), put(0)).await.expect("made");
    let digest = raft.store().digest();
    let refused = raft.propose(put(0)).await.expect_err("it is there already");
    assert!(matches!(refused, ProposeError::Conflict(Conflict::Exists { .. })));
    assert!(!refused.is_unknown());
    assert_eq!(raft.store().digest(), digest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_proposals_share_syncs() {
    let (raft, disk) = on_shared_disk(config("batch")).await;
    let before = disk.lock().syncs();
    let all = (0..200).map(|number| {
        let raft = raft.clone();
        tokio::spawn(async move { raft.propose(put(number)).await })
    });
    for proposal in all.collect::<Vec<_>>() {
        proposal.await.expect("no panic").expect("committed");
    }
    let syncs = disk.lock().syncs() - before;
    assert!(syncs <= 50, "{syncs} syncs for 200 concurrent proposals");
    assert_eq!(raft.store().nodes().count(), 200);
}

#[tokio::test]
async fn a_full_disk_makes_it_read_only_until_there_is_space() {
    let (raft, disk) = on_shared_disk(config("full")).await;
    raft.propose(put(1)).await.expect("committed");
    disk.lock().limit(Some(0));
    let unknown = raft.propose(put(2)).await.expect_err("no space");
    assert!(matches!(unknown, ProposeError::Interrupted { .. }) && unknown.is_unknown(), "{unknown}");
    let state = wait(&raft, |state| state.alarm.is_some()).await;
    assert!(matches!(state.alarm, Some(Alarm::DiskFull { .. })) && !state.is_leader());
    assert!(matches!(raft.propose(put(3)).await, Err(ProposeError::ReadOnly(Alarm::DiskFull { .. }))));
    assert!(matches!(raft.read().await, Err(ReadError::Alarm(Alarm::DiskFull { .. }))));
    assert!(has(&raft.store(), 1), "what is there can be looked at");

    disk.lock().limit(None);
    wait(&raft, RoleState::is_leader).await;
    raft.propose(put(4)).await.expect("it goes on");
    assert!(has(&raft.store(), 2) && !has(&raft.store(), 3));
    raft.shutdown().await;
    assert!(disk.lock().crash().entries.len() >= 3);
}

/// Two peers: one grants its vote, and then the disk is full; the other is silent.
#[derive(Clone, Default)]
struct LastVote(Arc<Mutex<Option<(Raft, Shared)>>>);

impl Transport for LastVote {
    fn send(&self, messages: Vec<Message>) {
        let held = self.0.lock().expect("no panic");
        let Some((raft, disk)) = &*held else { return };
        for message in messages.into_iter().filter(|message| message.to == 2) {
            let answer = match message.get_msg_type() {
                MessageType::MsgRequestPreVote => MessageType::MsgRequestPreVoteResponse,
                MessageType::MsgRequestVote => {
                    disk.lock().limit(Some(0));
                    MessageType::MsgRequestVoteResponse
                }
                _ => continue,
            };
            let mut vote = Message { from: 2, to: 1, term: message.term, ..Message::default() };
            vote.set_msg_type(answer);
            raft.receive(vote);
        }
    }
}

#[tokio::test]
async fn a_leader_whose_disk_is_full_waits_for_nobody() {
    let wires = LastVote::default();
    let mut config = config("elected");
    config.voters = vec![1, 2, 3];
    config.transport = Arc::new(wires.clone());
    let (raft, disk) = on_shared_disk(config).await;
    *wires.0.lock().expect("no panic") = Some((raft.clone(), disk));
    let state = wait(&raft, |state| state.alarm.is_some()).await;
    assert_eq!(state.leader, Some(1));
    let answering = tokio::time::timeout(Duration::from_secs(5), raft.answering()).await;
    assert_eq!(answering.expect("it takes no ticks that could be waited for"), [1, 2].into());
    wires.0.lock().expect("no panic").take();
}

/// A disk whose driver has a fault.
struct Panics;

impl Disk for Panics {
    fn append(&mut self, _write: &Write) -> Result<(), DiskError> {
        Ok(())
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        if std::thread::panicking() { Ok(()) } else { self.recover() }
    }

    fn recover(&mut self) -> Result<(), DiskError> {
        static SYNCS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        // The election goes through.
        assert!(SYNCS.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 1, "planted");
        Ok(())
    }
}

#[tokio::test]
async fn a_panic_of_the_thread_is_an_error_of_the_handle() {
    let open = |config: &RaftConfig| Ok((Panics, first_disk(config.node, &config.voters)));
    let raft = Raft::start(config("panic"), open).await.expect("starts");
    let interrupted = raft.propose(put(1)).await.expect_err("the thread panics");
    assert!(matches!(&interrupted, ProposeError::Interrupted { reason } if reason.contains("planted")));
    let state = wait(&raft, |state| state.role == Role::Stopped).await;
    assert!(matches!(state.alarm, Some(Alarm::Stopped { reason }) if reason.contains("planted")));
    assert!(matches!(raft.propose(put(2)).await, Err(ProposeError::ReadOnly(Alarm::Stopped { .. }))));
    raft.shutdown().await;
}

/// A network of channels: every manager reaches every other, but for those cut off.
#[derive(Clone, Default)]
struct Channels {
    peers: Arc<RwLock<BTreeMap<u64, Raft>>>,
    cut: Arc<Mutex<Option<u64>>>,
}

impl Transport for Channels {
    fn send(&self, messages: Vec<Message>) {
        let cut = *self.cut.lock().expect("no panic");
        let peers = self.peers.read().expect("no panic");
        for message in messages {
            let (from, to) = (message.from, message.to);
            if cut.is_some_and(|cut| cut == from || cut == to) {
                continue;
            }
            let bytes = crate::wire::encode(&message).expect("encodes");
            if let Some(peer) = peers.get(&to) {
                peer.receive(crate::wire::decode(&bytes).expect("decodes"));
            }
        }
    }
}

async fn three(dir: &TempDir) -> (Vec<Raft>, Channels) {
    let channels = Channels::default();
    let mut rafts = Vec::new();
    for node in 1..=3 {
        let mut config = RaftConfig::new(dir.path().join(format!("{node}.redb")), node, 77 + node);
        config.voters = vec![1, 2, 3];
        config.tick = Duration::from_millis(10);
        config.propose_deadline = Duration::from_millis(1_500);
        config.read_deadline = Duration::from_millis(1_500);
        config.transport = Arc::new(channels.clone());
        let raft = Raft::bootstrap(config, put(0)).await.expect("made");
        channels.peers.write().expect("no panic").insert(node, raft.clone());
        rafts.push(raft);
    }
    (rafts, channels)
}

async fn leader_among(rafts: &[Raft]) -> usize {
    let watches = rafts.iter().enumerate().map(|(at, raft)| {
        let raft = raft.clone();
        Box::pin(async move {
            wait(&raft, RoleState::is_leader).await;
            at
        })
    });
    let mut set = tokio::task::JoinSet::new();
    watches.for_each(|watch| drop(set.spawn(watch)));
    set.join_next().await.expect("some").expect("a leader")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_managers_over_channels() {
    let dir = TempDir::new("three");
    let (rafts, channels) = three(&dir).await;
    let leader = leader_among(&rafts).await;
    let follower = (leader + 1) % 3;
    for number in 1..30 {
        rafts[leader].propose(put(number)).await.expect("committed");
    }
    let known = wait(&rafts[follower], |state| state.leader.is_some()).await.leader;
    let refused = rafts[follower].propose(put(99)).await.expect_err("it follows");
    assert!(matches!(refused, ProposeError::NotLeader { leader } if leader == known));
    assert!(
        has(&rafts[follower].read().await.expect("answered"), 29),
        "a follower reads what was acknowledged"
    );

    *channels.cut.lock().expect("no panic") = Some(u64::try_from(leader).expect("small") + 1);
    let (lost, stale) = tokio::join!(rafts[leader].propose(put(50)), rafts[leader].read());
    assert!(lost.expect_err("nobody hears it").is_unknown());
    assert!(matches!(stale, Err(ReadError::Timeout { .. })), "a leader without a quorum answers nothing");
    let others: Vec<Raft> = (0..3).filter(|at| *at != leader).map(|at| rafts[at].clone()).collect();
    let next = leader_among(&others).await;
    others[next].propose(put(51)).await.expect("the others go on");

    *channels.cut.lock().expect("no panic") = None;
    let store = rafts[leader].read().await.expect("it is back");
    assert!(has(&store, 51) && !has(&store, 50));
    for raft in &rafts {
        raft.shutdown().await;
    }
    channels.peers.write().expect("no panic").clear();
}
