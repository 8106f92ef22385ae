//! A process that is killed while it writes loses nothing that it acknowledged.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use crate::testing::{TempDir, has, put};
use crate::{Raft, RaftConfig};

const FILE: &str = "MESH_RAFT_KILL_TEST_FILE";
const FIRST: &str = "MESH_RAFT_KILL_TEST_FIRST";

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The process that is killed. Does nothing unless the test below started it.
#[test]
fn child_that_proposes_for_ever() {
    let (Ok(file), Ok(first)) = (std::env::var(FILE), std::env::var(FIRST)) else { return };
    let first: u128 = first.parse().expect("a number");
    runtime().block_on(async {
        let config = RaftConfig::new(file, 1, u64::try_from(first).expect("small") + 1);
        let raft =
            if first == 0 { Raft::bootstrap(config, put(u128::MAX)).await } else { Raft::open(config).await };
        let raft = raft.expect("opens");
        let mut proposals = tokio::task::JoinSet::new();
        for number in first.. {
            let raft = raft.clone();
            proposals.spawn(async move { (number, raft.propose(put(number)).await) });
            if proposals.len() < 8 {
                continue;
            }
            let (number, outcome) = proposals.join_next().await.expect("8 of them").expect("no panic");
            outcome.expect("committed");
            // One write of one line: the parent reads it whole or not at all.
            std::io::stdout().write_all(format!("acked {number}\n").as_bytes()).expect("written");
        }
    });
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the child until it has acknowledged `count` writes, kills it, and gives all that it acknowledged.
fn run_child(dir: &TempDir, first: u128, count: usize) -> Vec<u128> {
    let child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "tests::kill::child_that_proposes_for_ever", "--nocapture"])
        .env(FILE, dir.file())
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut child = Killed(child);
    let mut lines = BufReader::new(child.0.stdout.take().expect("piped")).lines();
    let mut acked = Vec::new();
    let number = |line: String| line.strip_prefix("acked ").and_then(|number| number.parse::<u128>().ok());
    while acked.len() < count {
        acked.extend(lines.next().and_then(Result::ok).map(number).expect("the child goes on"));
    }
    child.0.kill().expect("killed");
    acked.extend(lines.map_while(Result::ok).filter_map(number));
    acked
}

#[test]
fn kill_at_any_moment_loses_nothing_acknowledged() {
    let dir = TempDir::new("kill");
    let mut acked = vec![u128::MAX];
    for round in 0..4_u128 {
        let count = 20 + 17 * usize::try_from(round).expect("small");
        acked.extend(run_child(&dir, round * 1_000_000, count));
    }
    runtime().block_on(async {
        let open = || Raft::open(RaftConfig::new(dir.file(), 1, 99));
        let raft = open().await.expect("opens");
        let store = raft.store();
        let missing: Vec<_> = acked.iter().filter(|number| !has(&store, **number)).collect();
        assert!(missing.is_empty(), "{} acknowledged, {missing:?} missing", acked.len());
        raft.shutdown().await;
        assert_eq!(open().await.expect("opens again").store().digest(), store.digest());
    });
}
