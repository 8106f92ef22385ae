//! Durable proposals a second, printed for whoever asks (`--nocapture`): one client, and sixteen that share
//! syncs.

use std::time::{Duration, Instant};

use crate::testing::{TempDir, put};
use crate::{Raft, RaftConfig};

/// Proposals a second by `clients` that each wait for their own.
async fn measure(raft: &Raft, clients: u128, each: u128, first: u128) -> f64 {
    let begun = Instant::now();
    let work = (0..clients).map(|client| {
        let raft = raft.clone();
        tokio::spawn(async move {
            for number in 0..each {
                raft.propose(put(first + client * each + number)).await.expect("committed");
            }
        })
    });
    for client in work.collect::<Vec<_>>() {
        client.await.expect("no panic");
    }
    let proposals = u32::try_from(clients * each).expect("few");
    f64::from(proposals) / begun.elapsed().max(Duration::from_millis(1)).as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proposals_a_second() {
    let dir = TempDir::new("speed");
    let raft = Raft::bootstrap(RaftConfig::new(dir.file(), 1, 3), put(0)).await.expect("made");
    let one = measure(&raft, 1, 1_000, 1_000).await;
    let sixteen = measure(&raft, 16, 500, 1_000_000).await;
    println!("durable proposals/s: {one:.0} by one client, {sixteen:.0} by sixteen");
    assert!(sixteen > one, "{sixteen:.0}/s by sixteen clients, {one:.0}/s by one: they share no sync");
    raft.shutdown().await;
}
