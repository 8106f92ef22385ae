//! The redb file: the same as the memory disk, and never silently less.

use std::fs;
use std::path::Path;

use raft::eraftpb::{Entry, HardState, Snapshot};

use crate::Position;
use crate::disk::{Disk, DiskError, MemoryDisk, RedbDisk, Saved, Truncate, Write};
use crate::node::mix;
use crate::testing::{TempDir, first_disk};

fn entry(index: u64, term: u64, bytes: usize) -> Entry {
    Entry {
        index,
        term,
        data: vec![u8::try_from(index % 251).expect("small"); bytes].into(),
        ..Entry::default()
    }
}

fn snapshot(index: u64, term: u64, bytes: usize) -> Snapshot {
    let mut snapshot = Snapshot { data: vec![0x5a; bytes].into(), ..Snapshot::default() };
    let meta = snapshot.mut_metadata();
    (meta.index, meta.term) = (index, term);
    meta.mut_conf_state().set_voters(vec![1]);
    snapshot
}

fn appends(entries: Vec<Entry>) -> Write {
    Write { entries, ..Write::default() }
}

/// A file with some history: conflicting tails, a checkpoint, a snapshot of several rows.
fn used(path: &Path) -> (RedbDisk, MemoryDisk) {
    let first = first_disk(1, &[1]);
    let mut disk = RedbDisk::create(path, &first).expect("created");
    let mut model = MemoryDisk::create(first);
    let mut both = |write: &Write| {
        disk.append(write).and_then(|()| disk.sync()).expect("written");
        model.append(write).and_then(|()| model.sync()).expect("written");
    };
    for index in 2..40 {
        both(&appends(vec![entry(index, 1, 100)]));
    }
    both(&appends(vec![entry(20, 2, 5_000), entry(21, 2, 10)]));
    both(&Write {
        hard_state: Some(HardState { term: 2, vote: 1, commit: 21, ..HardState::default() }),
        ..Write::default()
    });
    both(&Write {
        snapshot: Some(snapshot(20, 2, (1 << 20) + 100)),
        truncate: Some(Truncate::UpTo(Position { index: 10, term: 1 })),
        ..Write::default()
    });
    both(&appends((22..30).map(|index| entry(index, 2, 200)).collect()));
    (disk, model)
}

fn open(path: &Path) -> Result<Saved, DiskError> {
    RedbDisk::open(path).map(|(_, saved)| saved)
}

#[test]
fn the_file_holds_what_the_model_holds() {
    let dir = TempDir::new("model");
    let (disk, mut model) = used(&dir.file());
    drop(disk);
    let (mut disk, saved) = RedbDisk::open(&dir.file()).expect("opens");
    assert!(saved == model.crash());
    let installed = Write {
        snapshot: Some(snapshot(90, 3, 10)),
        truncate: Some(Truncate::All(Position { index: 90, term: 3 })),
        ..Write::default()
    };
    disk.append(&installed).and_then(|()| disk.sync()).expect("written");
    model.append(&installed).and_then(|()| model.sync()).expect("written");
    drop(disk);
    assert!(open(&dir.file()).expect("opens") == model.crash());
}

#[test]
fn many_appends_share_a_sync_and_without_it_they_are_gone() {
    let dir = TempDir::new("unsynced");
    let mut disk = RedbDisk::create(&dir.file(), &first_disk(1, &[1])).expect("created");
    disk.append(&appends(vec![entry(2, 1, 10)])).expect("taken");
    disk.append(&appends(vec![entry(3, 1, 10)])).expect("taken");
    disk.sync().expect("synced");
    disk.append(&appends(vec![entry(4, 1, 10)])).expect("taken");
    drop(disk);
    assert_eq!(open(&dir.file()).expect("opens").entries, [entry(2, 1, 10), entry(3, 1, 10)]);
}

#[test]
fn a_file_is_made_once_and_held_by_one() {
    let dir = TempDir::new("once");
    assert!(matches!(open(&dir.file()), Err(DiskError::Missing { .. })));
    let (disk, mut model) = used(&dir.file());
    let first = first_disk(1, &[1]);
    assert!(matches!(RedbDisk::create(&dir.file(), &first), Err(DiskError::Exists { .. })));
    assert!(matches!(open(&dir.file()), Err(DiskError::InUse { .. })));
    drop(disk);
    assert!(open(&dir.file()).expect("opens") == model.crash());
    assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1, "nothing else is left");
}

/// What a killed process leaves: the file as it is while it is open.
fn left_by_a_kill(dir: &TempDir) -> (Vec<u8>, Saved) {
    let (disk, mut model) = used(&dir.file());
    let bytes = fs::read(dir.file()).expect("read");
    drop(disk);
    fs::remove_file(dir.file()).expect("removed");
    (bytes, model.crash())
}

#[test]
fn a_kill_leaves_a_file_that_opens() {
    let dir = TempDir::new("killed");
    let (bytes, wanted) = left_by_a_kill(&dir);
    fs::write(dir.file(), bytes).expect("written");
    assert!(open(&dir.file()).expect("opens") == wanted);
}

#[test]
fn damage_is_refused_with_the_path_and_the_file_stays_as_it_is() {
    let dir = TempDir::new("damaged");
    let (bytes, wanted) = left_by_a_kill(&dir);
    let mut refused = 0;
    for round in 0..80 {
        let mut damaged = bytes.clone();
        // Half of them where redb keeps its header and where what was written first lies.
        let reach = if round % 2 == 0 { bytes.len() } else { 300_000.min(bytes.len()) };
        let bit = usize::try_from(mix(round)).expect("64 bits") % (reach * 8);
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(dir.file(), &damaged).expect("written");
        match open(&dir.file()) {
            Ok(saved) => assert!(saved == wanted, "bit {bit} changed what is served"),
            Err(error @ (DiskError::Corrupt { .. } | DiskError::Format { .. })) => {
                refused += 1;
                assert!(error.to_string().contains(dir.file().to_str().expect("text")), "{error}");
                assert!(fs::read(dir.file()).expect("read") == damaged, "bit {bit}: the file was changed");
            }
            Err(error) => panic!("bit {bit}: {error}"),
        }
    }
    assert!(refused > 5, "only {refused} of 80 flips met anything");
}

#[test]
fn what_is_no_state_file_is_refused() {
    let dir = TempDir::new("garbage");
    let (bytes, _) = left_by_a_kill(&dir);
    let middle = bytes.len() / 2;
    let zeros = vec![0; 100_000];
    for content in [&b""[..], b"hello", &zeros, &bytes[..100], &bytes[..middle]] {
        fs::write(dir.file(), content).expect("written");
        let error = open(&dir.file()).expect_err("no state file");
        assert!(matches!(error, DiskError::Corrupt { .. }), "{error}");
        assert!(fs::read(dir.file()).expect("read") == content);
    }
}

/// A file system of its own, small enough to fill.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(bytes: usize) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root to mount a small file system");
            return None;
        }
        let dir = TempDir::new("full");
        let size = format!("size={bytes}");
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), dir.path(), Some("tmpfs"), flags, Some(size.as_str()))
            .expect("mounted");
        Some(Self(dir))
    }

    fn grow(&self, bytes: usize) {
        let size = format!("size={bytes}");
        let flags = nix::mount::MsFlags::MS_REMOUNT;
        nix::mount::mount(Some("tmpfs"), self.0.path(), Some("tmpfs"), flags, Some(size.as_str()))
            .expect("grown");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_full_disk_is_told_apart_and_loses_nothing() {
    let Some(small) = SmallDisk::mount(8 << 20) else { return };
    let path = small.0.file();
    let mut disk = RedbDisk::create(&path, &first_disk(1, &[1])).expect("created");
    let mut written = 1;
    let error = loop {
        let write = appends(vec![entry(written + 1, 1, 100_000)]);
        match disk.append(&write).and_then(|()| disk.sync()) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1_000, "the disk never fills");
    };
    assert!(error.is_full(), "{error}");
    assert!(error.to_string().contains(path.to_str().expect("text")));

    small.grow(64 << 20);
    disk.recover().expect("there is space again");
    disk.append(&appends(vec![entry(written + 1, 1, 100_000)])).and_then(|()| disk.sync()).expect("written");
    drop(disk);
    let saved = open(&path).expect("opens");
    let wanted: Vec<Entry> = (2..=written + 1).map(|index| entry(index, 1, 100_000)).collect();
    assert!(saved.entries == wanted);
}
