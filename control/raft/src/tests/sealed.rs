//! The sealed state file: nothing to read in it, and nothing to change unseen.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use raft::eraftpb::{Entry, Snapshot};
use redb::ReadableTable as _;

use crate::disk::{Behind, DataKey, Disk, DiskError, Keys, RedbDisk, Saved, Sealing, Truncate, Write};
use crate::testing::{TempDir, first_disk, has, put};
use crate::{OpenError, Position, Raft, RaftConfig, ResealError};

const SECRET: &[u8] = b"service-that-nobody-may-read";

fn key(id: u32) -> DataKey {
    DataKey { id, bytes: std::array::from_fn(|at| u8::try_from(at).expect("small") ^ id.to_le_bytes()[0]) }
}

fn sealed(id: u32) -> Sealing {
    Sealing::Key(Keys::new(key(id)))
}

fn entry(index: u64) -> Entry {
    Entry { index, term: 1, data: SECRET.to_vec().into(), ..Entry::default() }
}

fn snapshot(index: u64) -> Write {
    let mut snapshot = Snapshot { data: SECRET.repeat(100).into(), ..Snapshot::default() };
    let meta = snapshot.mut_metadata();
    (meta.index, meta.term) = (index, 1);
    meta.mut_conf_state().set_voters(vec![1]);
    let truncate = Some(Truncate::UpTo(Position { index, term: 1 }));
    Write { snapshot: Some(snapshot), truncate, ..Write::default() }
}

/// A file with entries and a snapshot that hold the secret.
fn fill(path: &Path, sealing: &Sealing) -> Saved {
    let mut disk = RedbDisk::create_sealed(path, sealing, &first_disk(1, &[1])).expect("created");
    let mut write = |write: &Write| disk.append(write).and_then(|()| disk.sync()).expect("written");
    write(&Write { entries: (2..30).map(entry).collect(), ..Write::default() });
    write(&snapshot(10));
    drop(disk);
    open(path, sealing).expect("opens")
}

fn open(path: &Path, sealing: &Sealing) -> Result<Saved, DiskError> {
    RedbDisk::open_sealed(path, sealing).map(|(_, saved)| saved)
}

fn holds(path: &Path, what: &[u8]) -> bool {
    fs::read(path).expect("read").windows(what.len()).any(|found| found == what)
}

#[test]
fn nothing_can_be_read_in_a_sealed_file() {
    let dir = TempDir::new("clear");
    let plain = dir.path().join("plain");
    fill(&plain, &Sealing::Plain);
    assert!(holds(&plain, SECRET), "the search finds what is there");
    let saved = fill(&dir.file(), &sealed(1));
    assert!(saved.entries.len() == 19 && saved.entries.iter().all(|entry| entry.data[..] == *SECRET));
    assert!(!holds(&dir.file(), SECRET));
}

#[test]
fn without_its_key_a_file_is_refused_and_stays() {
    let dir = TempDir::new("key");
    let saved = fill(&dir.file(), &sealed(1));
    for sealing in [Sealing::Plain, sealed(2)] {
        let refused = open(&dir.file(), &sealing).expect_err("no key");
        assert!(matches!(refused, DiskError::Sealed { id: 1, .. }), "{refused}");
    }
    let wrong = Sealing::Key(Keys::new(DataKey { id: 1, bytes: [0; 32] }));
    assert!(matches!(open(&dir.file(), &wrong), Err(DiskError::Corrupt { .. })));
    assert!(open(&dir.file(), &sealed(1)).expect("opens") == saved);
}

#[test]
fn keys_change_without_a_stop_and_the_old_one_can_go_when_all_is_sealed_anew() {
    let dir = TempDir::new("rotate");
    let saved = fill(&dir.file(), &Sealing::Plain);
    let (mut disk, _) = RedbDisk::open(&dir.file()).expect("opens");
    for (sealing, next) in [
        (Sealing::Key(Keys::new(key(1)).after_plain()), sealed(1)),
        (Sealing::Key(Keys::new(key(2)).after(key(1))), sealed(2)),
    ] {
        let refused = disk.reseal(&sealed(7)).expect_err("it does not open what is there");
        assert!(matches!(refused, DiskError::Sealed { .. }), "{refused}");
        disk.reseal(&sealing).expect("both keys");
        let steps = std::iter::from_fn(|| (!disk.reseal_some().expect("written")).then_some(()));
        assert!(steps.count() > 1, "a piece at a time");
        drop(disk);
        assert!(open(&dir.file(), &next).expect("the new key alone opens everything") == saved);
        (disk, _) = RedbDisk::open_sealed(&dir.file(), &next).expect("opens");
    }
}

/// Somebody who can write the file makes redb's own checksums hold again.
fn forge(path: &Path, from: u64, to: u64, flip: bool) {
    const LOG: redb::TableDefinition<'static, u64, &[u8]> = redb::TableDefinition::new("log");
    let file = fs::File::options().read(true).write(true).open(path).expect("opens");
    let behind = Behind(Arc::new(redb::backends::FileBackend::new(file).expect("a file")));
    let database = redb::Database::builder().create_with_backend(behind).expect("opens");
    let txn = database.begin_write().expect("begins");
    {
        let mut log = txn.open_table(LOG).expect("there");
        let mut row = log.get(from).expect("read").expect("there").value().to_vec();
        let last = row.len() - 1;
        row[last] ^= u8::from(flip);
        log.insert(to, row.as_slice()).expect("written");
    }
    txn.commit().expect("committed");
}

#[test]
fn a_forged_row_is_refused_by_its_place() {
    for (from, to, flip) in [(15, 15, true), (15, 16, false)] {
        let dir = TempDir::new("forged");
        fill(&dir.file(), &sealed(1));
        forge(&dir.file(), from, to, flip);
        let refused = open(&dir.file(), &sealed(1)).expect_err("forged").to_string();
        assert!(refused.contains(&format!("row {to} of log was changed")), "{refused}");
    }
}

#[tokio::test]
async fn a_manager_with_a_key_restarts_and_another_cannot_read_it() {
    let dir = TempDir::new("manager");
    let config = |sealing| RaftConfig { sealing, ..RaftConfig::new(dir.file(), 1, 3) };
    let raft = Raft::bootstrap(config(sealed(1)), put(0)).await.expect("made");
    raft.propose(put(1)).await.expect("committed");
    raft.shutdown().await;
    let refused = Raft::open(config(Sealing::Plain)).await.err().expect("it has no key");
    assert!(matches!(refused, OpenError::Disk(DiskError::Sealed { id: 1, .. })), "{refused}");
    let raft = Raft::open(config(sealed(1))).await.expect("opens");
    assert!(has(&raft.store(), 1));
    raft.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_change_under_a_manager_that_goes_on() {
    let dir = TempDir::new("reseal");
    let config = |sealing| RaftConfig { sealing, ..RaftConfig::new(dir.file(), 1, 3) };
    let raft = Raft::bootstrap(config(sealed(1)), put(0)).await.expect("made");
    for number in 1..50 {
        raft.propose(put(number)).await.expect("committed");
    }
    let refused = raft.reseal(Keys::new(key(2))).await.expect_err("the new key alone opens nothing yet");
    assert!(matches!(refused, ResealError::Disk(DiskError::Sealed { id: 1, .. })), "{refused}");
    let (resealed, proposed) =
        tokio::join!(raft.reseal(Keys::new(key(2)).after(key(1))), raft.propose(put(50)));
    resealed.expect("sealed anew");
    proposed.expect("committed");
    raft.shutdown().await;
    let raft = Raft::open(config(sealed(2))).await.expect("the new key alone opens everything");
    assert!((0..=50).all(|number| has(&raft.store(), number)));
    raft.shutdown().await;
}
