//! A manager's state is damaged: it is refused with the way out in the words, and the way out is gone.

use std::fs;
use std::path::Path;

use crate::disk::{DiskError, RedbDisk};
use crate::members::MemberChange;
use crate::testing::{has, put};
use crate::{OpenError, Raft, RaftConfig};

use super::moves::{Site, add, wait};

/// Flips a bit of what the file holds, wherever one is noticed.
fn damage(path: &Path) {
    let bytes = fs::read(path).expect("read");
    for at in (8_192..bytes.len()).step_by(1_024) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        fs::write(path, &damaged).expect("written");
        if matches!(RedbDisk::open(path), Err(DiskError::Corrupt { .. })) {
            return;
        }
    }
    panic!("no flip of {} bytes is noticed", bytes.len());
}

async fn assert_refused(config: RaftConfig) {
    let path = config.path.clone();
    let before = fs::read(&path).expect("read");
    let refused = Raft::open(config).await.err().expect("it is damaged");
    assert!(matches!(refused, OpenError::Disk(DiskError::Corrupt { .. })), "{refused}");
    let words = refused.to_string();
    for word in [path.to_str().expect("text"), "swarm leave --force", "swarm init --force-new-cluster"] {
        assert!(words.contains(word), "{word} is not in: {words}");
    }
    assert!(fs::read(&path).expect("read") == before, "it was left as it is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_manager_joins_again_as_a_new_one() {
    let mut site = Site::new("damaged-one").await;
    site.grow(2).await;
    site.grow(3).await;
    for number in 1..40 {
        site.rafts[&1].propose(put(number)).await.expect("committed");
    }
    site.stop(2).await;
    damage(&site.config(2).path);
    assert_refused(site.config(2)).await;

    let leader = site.leader().await;
    leader.propose(put(40)).await.expect("the others go on");
    leader.change(MemberChange::Remove { id: 2 }).await.expect("removed");
    fs::remove_file(site.config(2).path).expect("left");
    let raft = Raft::join(site.config(4)).await.expect("made");
    site.plug(4, raft.clone());
    let leader = site.leader().await;
    leader.change(add(4)).await.expect("added");
    leader.change(MemberChange::Promote { id: 4 }).await.expect("promoted");
    let store = raft.read().await.expect("answered");
    assert!((1..=40).all(|number| has(&store, number)), "it has everything again");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_one_that_is_whole_goes_on_alone() {
    let mut site = Site::new("damaged-two").await;
    site.grow(2).await;
    site.grow(3).await;
    for number in 1..40 {
        site.rafts[&1].propose(put(number)).await.expect("committed");
    }
    site.rafts[&3].read().await.expect("it has them too");
    for id in [1, 2, 3] {
        site.stop(id).await;
    }
    for id in [1, 2] {
        damage(&site.config(id).path);
        assert_refused(site.config(id)).await;
    }
    let (raft, _) = Raft::force_new_cluster(site.config(3)).await.expect("alone");
    site.plug(3, raft.clone());
    assert!((1..40).all(|number| has(&raft.store(), number)), "it has everything");
    fs::remove_file(site.config(1).path).expect("left");
    let mut config = site.config(4);
    config.voters = vec![3];
    let fourth = Raft::join(config).await.expect("made");
    site.plug(4, fourth.clone());
    raft.change(add(4)).await.expect("added");
    raft.change(MemberChange::Promote { id: 4 }).await.expect("promoted");
    wait(fourth.members(), |members| members.voters().len() == 2).await;
    assert!(has(&fourth.read().await.expect("answered"), 39));
    site.end().await;
}
