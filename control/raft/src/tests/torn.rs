//! The power goes in the middle of a commit: what was written since the last sync is there in part, and in any
//! order. What was acknowledged is there whole; what was not is there whole or not at all.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use raft::eraftpb::{Entry, HardState, Snapshot};
use redb::StorageBackend;

use crate::Position;
use crate::disk::{DataKey, Disk, Keys, MemoryDisk, RedbDisk, Saved, Sealing, Truncate, Write};
use crate::node::mix;
use crate::testing::first_disk;

/// What a power cut leaves whole.
const SECTOR: usize = 512;

/// A disk that forgets what was not synced, but for what it likes to keep.
#[derive(Debug, Clone, Default)]
struct Platter(Arc<Mutex<Surface>>);

#[derive(Debug, Default)]
struct Surface {
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
    /// Syncs until the power goes.
    left: Option<u64>,
}

impl Surface {
    fn whole(&self) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        self.unsynced.iter().for_each(|(at, data)| bytes[*at..at + data.len()].copy_from_slice(data));
        bytes
    }

    /// Each sector of what was not synced is there or not.
    fn after_power_cut(&self, seed: u64) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let sectors = self.unsynced.iter().flat_map(|(at, data)| {
            data.chunks(SECTOR).enumerate().map(move |(number, sector)| (at + number * SECTOR, sector))
        });
        // Some cuts leave next to nothing, some next to everything.
        let share = mix(seed) % 101;
        for (number, (at, sector)) in (0_u64..).zip(sectors) {
            if mix(seed ^ mix(number)) % 100 < share {
                bytes[at..at + sector.len()].copy_from_slice(sector);
            }
        }
        bytes
    }
}

impl Platter {
    fn lock(&self) -> MutexGuard<'_, Surface> {
        self.0.lock().expect("no panic")
    }
}

impl StorageBackend for Platter {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().durable.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).expect("small");
        let whole = self.lock().whole();
        out.copy_from_slice(whole.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut surface = self.lock();
        let whole = surface.whole();
        (surface.durable, surface.unsynced) = (whole, Vec::new());
        surface.durable.resize(usize::try_from(len).expect("small"), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut surface = self.lock();
        match &mut surface.left {
            Some(0) => return Err(io::Error::other("the power is gone")),
            Some(left) => *left -= 1,
            None => {}
        }
        let whole = surface.whole();
        (surface.durable, surface.unsynced) = (whole, Vec::new());
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.lock().unsynced.push((usize::try_from(offset).expect("small"), data.to_vec()));
        Ok(())
    }
}

fn key(id: u32) -> DataKey {
    DataKey { id, bytes: [7; 32] }
}

/// The keys of a node that has just changed them.
fn both() -> Sealing {
    Sealing::Key(Keys::new(key(2)).after(key(1)))
}

/// The work of a node: entries, a tail that is replaced now and then, a snapshot now and then.
fn write(number: u64, seed: u64) -> Write {
    let term = 1 + number / 10;
    let index = 2 + number;
    let bytes = usize::try_from(mix(seed ^ number) % 6_000).expect("small");
    let entry = Entry { index, term, data: vec![number.to_le_bytes()[0]; bytes].into(), ..Entry::default() };
    let hard_state = Some(HardState { term, vote: 1, commit: index - 1, ..HardState::default() });
    let mut write = Write { entries: vec![entry], hard_state, ..Write::default() };
    if number % 7 == 6 {
        let mut snapshot = Snapshot { data: vec![9; bytes * 3].into(), ..Snapshot::default() };
        let at = Position { index: index - 2, term: 1 + (number - 2) / 10 };
        (snapshot.mut_metadata().index, snapshot.mut_metadata().term) = (at.index, at.term);
        snapshot.mut_metadata().mut_conf_state().set_voters(vec![1]);
        (write.snapshot, write.truncate) = (Some(snapshot), Some(Truncate::UpTo(at)));
    }
    write
}

/// Works until the power goes, and gives what was acknowledged, what was on its way, and what is left.
fn work(seed: u64) -> (Saved, Saved, Vec<u8>) {
    let first = first_disk(1, &[1]);
    let platter = Platter::default();
    let mut disk =
        RedbDisk::create_bytes(&Sealing::Key(Keys::new(key(1))), &first, Arc::new(platter.clone()))
            .expect("made");
    let mut model = MemoryDisk::create(first);
    platter.lock().left = Some(mix(seed) % 40);
    for number in 0.. {
        let write = write(number, seed);
        let acknowledged = model.crash();
        model.append(&write).and_then(|()| model.sync()).expect("in memory");
        if disk.append(&write).and_then(|()| disk.sync()).is_err() {
            let left = platter.lock().after_power_cut(seed);
            return (acknowledged, model.crash(), left);
        }
        if number == 8 {
            disk.reseal(&both()).expect("it opens what is there");
        }
        let looked_after =
            disk.reseal_some().and_then(|_| if number % 5 == 0 { disk.rest() } else { Ok(()) });
        if looked_after.is_err() {
            let left = platter.lock().after_power_cut(seed);
            return (model.crash(), model.crash(), left);
        }
    }
    unreachable!("the power goes")
}

#[test]
fn a_power_cut_leaves_every_acknowledged_write_and_of_the_last_all_or_nothing() {
    let (mut kept, mut cut) = (0, 0);
    for seed in 0..400 {
        let (acknowledged, on_its_way, left) = work(seed);
        let platter = Platter::default();
        platter.lock().durable = left;
        let opened = RedbDisk::open_bytes(&both(), Arc::new(platter));
        let found = opened.unwrap_or_else(|error| panic!("seed {seed}: {error}")).1;
        assert!(found == acknowledged || found == on_its_way, "seed {seed}: neither before nor after");
        kept += u32::from(found == on_its_way);
        cut += u32::from(found == acknowledged);
    }
    assert!(kept > 20 && cut > 20, "{kept} kept, {cut} cut");
}
