//! Members and leaders change behind the handle.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use raft::eraftpb::Message;
use tokio::sync::watch;

use crate::testing::{TempDir, has, put};
use crate::{
    ChangeError, ChangeOptions, ChangeRefused, MemberChange, Members, ProposeError, Raft, RaftConfig, Role,
    TransferError, Transport,
};

/// Every manager reaches every other that is there.
#[derive(Clone, Default)]
struct Wires(Arc<RwLock<BTreeMap<u64, Raft>>>);

impl Transport for Wires {
    fn send(&self, messages: Vec<Message>) {
        let peers = self.0.read().expect("no panic");
        for message in messages {
            if let Some(peer) = peers.get(&message.to) {
                peer.receive(message);
            }
        }
    }
}

impl Wires {
    fn plug(&self, id: u64, raft: &Raft) {
        self.0.write().expect("no panic").insert(id, raft.clone());
    }

    fn unplug(&self, id: u64) {
        self.0.write().expect("no panic").remove(&id);
    }
}

/// Managers in one directory.
pub(super) struct Site {
    dir: TempDir,
    wires: Wires,
    pub rafts: BTreeMap<u64, Raft>,
}

fn addr(id: u64) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, u8::try_from(id).expect("small")], 2377))
}

pub(super) fn add(id: u64) -> MemberChange {
    MemberChange::AddLearner { id, addr: addr(id) }
}

impl Site {
    pub async fn new(name: &str) -> Self {
        let mut site = Self { dir: TempDir::new(name), wires: Wires::default(), rafts: BTreeMap::new() };
        let raft = Raft::bootstrap(site.config(1), put(0)).await.expect("made");
        site.plug(1, raft);
        site
    }

    pub fn config(&self, id: u64) -> RaftConfig {
        let mut config = RaftConfig::new(self.dir.path().join(format!("{id}.redb")), id, 100 + id);
        config.voters = vec![1];
        config.addrs = [(1, addr(1))].into();
        config.tick = Duration::from_millis(10);
        config.transport = Arc::new(self.wires.clone());
        config
    }

    pub fn plug(&mut self, id: u64, raft: Raft) {
        self.wires.plug(id, &raft);
        self.rafts.insert(id, raft);
    }

    /// A new manager, learner first.
    pub async fn grow(&mut self, id: u64) -> Members {
        let raft = Raft::join(self.config(id)).await.expect("made");
        self.plug(id, raft);
        self.rafts[&1].change(add(id)).await.expect("added");
        self.rafts[&1].change(MemberChange::Promote { id }).await.expect("promoted once it has caught up")
    }

    /// Ends a manager; its file stays.
    pub async fn stop(&mut self, id: u64) {
        self.wires.unplug(id);
        self.rafts.remove(&id).expect("a manager").shutdown().await;
    }

    /// The manager that leads, once one does.
    pub async fn leader(&self) -> Raft {
        let any = self.rafts.values().next().expect("a manager");
        let led = |state: &crate::RoleState| {
            state
                .leader
                .and_then(|leader| self.rafts.get(&leader))
                .is_some_and(|raft| raft.role().borrow().is_leader())
        };
        loop {
            let known =
                wait(any.role(), |state| state.leader.is_some_and(|id| self.rafts.contains_key(&id))).await;
            let leader = &self.rafts[&known.leader.expect("waited for")];
            if led(&known) {
                return leader.clone();
            }
            wait(leader.role(), |state| state.is_leader() || state.leader != known.leader).await;
        }
    }

    pub async fn end(self) {
        for raft in self.rafts.values() {
            raft.shutdown().await;
        }
        self.wires.0.write().expect("no panic").clear();
    }
}

pub(super) async fn wait<T: Clone>(mut seen: watch::Receiver<T>, wanted: impl FnMut(&T) -> bool) -> T {
    tokio::time::timeout(Duration::from_secs(20), seen.wait_for(wanted))
        .await
        .expect("within 20 s")
        .expect("the thread tells")
        .clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_manager_becomes_three_and_one_goes() {
    let mut site = Site::new("grow").await;
    for number in 1..30 {
        site.rafts[&1].propose(put(number)).await.expect("committed");
    }
    site.grow(2).await;
    let members = site.grow(3).await;
    assert_eq!(members.voters(), BTreeSet::from([1, 2, 3]));
    let seen =
        wait(site.rafts[&3].members(), |members| members.voters().len() == 3 && !members.is_joint()).await;
    assert_eq!(seen.get(1).and_then(|member| member.addr), Some(addr(1)));
    assert!(has(&site.rafts[&3].read().await.expect("answered"), 29));
    assert_eq!(wait(site.rafts[&1].heard(), |heard| heard.len() == 2).await, BTreeSet::from([2, 3]));

    let members = site.rafts[&1].change(MemberChange::Remove { id: 2 }).await.expect("removed");
    assert_eq!(members.voters(), BTreeSet::from([1, 3]));
    let again = site.rafts[&1].change(add(2)).await;
    assert_eq!(again, Err(ChangeError::Refused(ChangeRefused::Used { id: 2 })));
    site.rafts[&1].propose(put(50)).await.expect("committed");

    site.rafts[&3].shutdown().await;
    let raft = Raft::open(site.config(3)).await.expect("opens");
    assert_eq!(raft.members().borrow().voters(), BTreeSet::from([1, 3]), "kept over a restart");
    site.plug(3, raft);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_cannot_be_is_refused_in_time() {
    let mut site = Site::new("refused").await;
    let leader = site.rafts[&1].clone();
    let last = leader.change(MemberChange::Remove { id: 1 }).await;
    assert_eq!(last, Err(ChangeError::Refused(ChangeRefused::LastVoter { id: 1 })));
    leader.change(add(2)).await.expect("added, though nobody answers there");
    let soon = ChangeOptions { deadline: Duration::from_millis(200), ..ChangeOptions::default() };
    let behind = leader.change_with(MemberChange::Promote { id: 2 }, soon).await;
    assert_eq!(behind, Err(ChangeError::Refused(ChangeRefused::Behind { id: 2 })));
    assert_eq!(leader.transfer(None).await, Err(TransferError::NoHeir));
    site.grow(3).await;
    // A queue of changes is made one by one.
    let (fourth, fifth) = tokio::join!(leader.change(add(4)), leader.change(add(5)));
    assert!(fourth.is_ok() && fifth.is_ok(), "{fourth:?} {fifth:?}");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_before_a_leader_goes() {
    let mut site = Site::new("hand-over").await;
    site.grow(2).await;
    site.grow(3).await;
    assert_eq!(site.rafts[&1].transfer(Some(2)).await, Ok(2));
    wait(site.rafts[&2].role(), crate::RoleState::is_leader).await;
    let refused = site.rafts[&1].transfer(None).await;
    assert_eq!(refused, Err(TransferError::NotLeader { leader: Some(2) }));

    let own = site.rafts[&2].change(MemberChange::Remove { id: 2 }).await;
    let Err(ChangeError::Refused(ChangeRefused::NotLeader { leader: Some(next) })) = own else {
        panic!("{own:?}");
    };
    wait(site.rafts[&next].role(), crate::RoleState::is_leader).await;
    let members = site.rafts[&next].change(MemberChange::Remove { id: 2 }).await.expect("removed");
    assert_eq!(members.voters(), BTreeSet::from([1, 3]));
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_shuts_down_leaves_a_leader_behind() {
    let mut site = Site::new("farewell").await;
    site.grow(2).await;
    site.grow(3).await;
    let term = site.rafts[&1].role().borrow().term;
    site.rafts[&1].shutdown().await;
    assert_eq!(site.rafts[&1].role().borrow().role, Role::Stopped);
    assert!(matches!(site.rafts[&1].propose(put(9)).await, Err(ProposeError::ReadOnly(_))));
    site.wires.unplug(1);
    let known = wait(site.rafts[&2].role(), |state| state.leader.is_some_and(|leader| leader != 1)).await;
    assert_eq!(known.term, term + 1, "by one transfer, without an election that failed");
    let next = known.leader.expect("waited for");
    wait(site.rafts[&next].role(), crate::RoleState::is_leader).await;
    site.rafts[&next].propose(put(10)).await.expect("committed");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_one_that_is_left_goes_on_alone_with_everything_and_grows_again() {
    let mut site = Site::new("forced").await;
    site.grow(2).await;
    site.grow(3).await;
    for number in 1..20 {
        site.rafts[&1].propose(put(number)).await.expect("committed");
    }
    site.rafts[&3].read().await.expect("it has them too");
    for id in [1, 2, 3] {
        site.wires.unplug(id);
        site.rafts.remove(&id).expect("a manager").shutdown().await;
    }

    let alone = site.config(3);
    let report = Raft::survey_new_cluster(alone.clone()).await.expect("looked at");
    assert_eq!(report.dropped, BTreeMap::from([(1, Some(addr(1))), (2, Some(addr(2)))]));
    assert!(has(&report.store, 19) && report.node == 3);
    let (raft, forced) = Raft::force_new_cluster(alone.clone()).await.expect("alone");
    assert_eq!((forced.last, forced.store.digest()), (report.last, report.store.digest()), "as it was told");
    assert!(raft.role().borrow().is_leader());
    assert_eq!(raft.members().borrow().voters(), BTreeSet::from([3]));
    assert_eq!(raft.members().borrow().get(3).and_then(|member| member.addr), Some(addr(3)));
    assert_eq!(raft.store().digest(), forced.store.digest());
    raft.propose(put(20)).await.expect("committed");
    raft.shutdown().await;

    let raft = Raft::open(alone).await.expect("opens as any other");
    assert!(has(&raft.store(), 20));
    site.plug(3, raft.clone());
    let used = raft.change(add(2)).await;
    assert_eq!(used, Err(ChangeError::Refused(ChangeRefused::Used { id: 2 })));
    let mut config = site.config(4);
    config.voters = vec![3];
    let fourth = Raft::join(config).await.expect("made");
    site.plug(4, fourth);
    raft.change(add(4)).await.expect("added");
    let members = raft.change(MemberChange::Promote { id: 4 }).await.expect("promoted");
    assert_eq!(members.voters(), BTreeSet::from([3, 4]));
    assert!(has(&site.rafts[&4].read().await.expect("answered"), 20));
    site.end().await;
}

#[tokio::test]
async fn a_manager_that_was_never_taken_in_cannot_go_on_alone() {
    let site = Site::new("empty").await;
    let raft = Raft::join(site.config(2)).await.expect("made");
    raft.shutdown().await;
    let refused = Raft::survey_new_cluster(site.config(2)).await.expect_err("it has nothing");
    assert!(refused.to_string().contains("never taken in"), "{refused}");
    site.end().await;
}
