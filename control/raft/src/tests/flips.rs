//! Bits of the state file flip: what opens is exactly what was committed, and everything else is refused.
//!
//! `FLIPS=n` sets how many; without it they are 2,000, and 10,000 in `make test-long` (`MESH_LONG`). Half of them hit a file that a killed
//! process left, half one that was closed; of each a part hits the two headers, a part the pages that redb
//! reads, a part the whole file.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use mesh_core::command::{create_network, create_service, init_cluster};
use mesh_core::id::Entropy;
use mesh_core::secret::Secret;
use mesh_core::store::{Store, Transaction};
use mesh_core::testing::{init_request, network_spec, service_spec};
use mesh_core::time::Timestamp;
use redb::StorageBackend;

use crate::disk::{DataKey, DiskError, Keys, Medium, Overlay, RedbDisk, Saved, Sealing};
use crate::envelope::{self, ProposalId};
use crate::node::mix;
use crate::replica::{Driver, Replica, Settings, genesis};
use crate::testing::Seen;

/// Flips without `FLIPS`, and where everything is done as often as it should be.
const FLIPS: u64 = 2_000;
const FLIPS_LONG: u64 = 10_000;

/// Bytes of a page, ours and redb's.
const PAGE: u64 = 4096;

/// Services in the store; with what goes with them some megabytes.
const SERVICES: u64 = 4_500;

/// Texts of the cluster that nobody may read in its file.
const TOKENS: [&str; 4] = ["SWMTKN-1-worker-token", "SWMTKN-1-manager-token", "SWMKEY-1-key", "PRIVATE KEY"];

fn sealing() -> Sealing {
    Sealing::Key(Keys::new(DataKey { id: 7, bytes: [0x42; 32] }))
}

struct Counted(u64);

impl Entropy for Counted {
    fn next_u128(&mut self) -> u128 {
        self.0 += 1;
        u128::from(mix(self.0)) << 64 | u128::from(mix(!self.0))
    }
}

/// The cluster's first transaction.
fn founding() -> Transaction {
    let mut request = init_request();
    request.worker_token = Secret::new(TOKENS[0]);
    request.manager_token = Secret::new(TOKENS[1]);
    request.unlock_key = Secret::new(TOKENS[2]);
    request.signing_key = Secret::new(TOKENS[3]);
    (request.spec.snapshot_interval, request.spec.entries_kept) = (3_000, 2_500);
    init_cluster(&Store::default(), request, Timestamp(1), &mut Counted(0)).expect("a cluster")
}

/// What a user asks for next.
fn wish(store: &Store, number: u64) -> Transaction {
    let now = Timestamp(number + 1);
    let mut entropy = Counted(number << 20);
    if number.is_multiple_of(50) {
        let spec = network_spec(&format!("network-of-users-{number}"));
        return create_network(store, spec, now, &mut entropy).expect("there is room").1;
    }
    let spec = service_spec(&format!("service-of-users-{number}"), 3);
    create_service(store, spec, now, &mut entropy).expect("there is room").1
}

/// A manager's file after some work, as it is while it is open and after it was closed, and what it holds.
struct Used {
    killed: Vec<u8>,
    closed: Vec<u8>,
    saved: Saved,
}

fn work() -> Used {
    let mut store = Store::default();
    store.apply(1, &founding()).expect("it fits an empty store");
    let first = genesis(1, &[1], &store).expect("encodes");
    let medium: Medium = Arc::new(redb::backends::InMemoryBackend::new());
    let mut disk = RedbDisk::create_bytes(&sealing(), &first, Arc::clone(&medium)).expect("made");
    let mut driver = Driver::new(Replica::new(first, Settings::default()).expect("a sound disk"));
    let mut seen = Seen::default();
    driver.flush(&mut disk, &mut seen).expect("a sound disk");
    for number in 1..=SERVICES {
        let id = ProposalId(number.into());
        let entry = envelope::encode(id, &wish(driver.replica().store(), number)).expect("encodes");
        driver.replica_mut().propose(id, entry).expect("it leads");
        driver.flush(&mut disk, &mut seen).expect("a sound disk");
    }
    assert_eq!(seen.applied.len() as u64, SERVICES);
    let killed = bytes(&medium);
    drop(disk);
    let closed = bytes(&medium);
    let saved = open(Arc::new(Image::new(&Arc::from(killed.clone()), None))).expect("opens");
    assert!(saved.entries.len() >= 2_500 && saved.snapshot.get_metadata().index > 3_000);
    Used { killed, closed, saved }
}

fn bytes(medium: &Medium) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(medium.len().expect("in memory")).expect("small")];
    medium.read(0, &mut bytes).expect("in memory");
    bytes
}

/// Opens a file that is not written to: what redb repairs is kept beside it.
fn open(image: Arc<Image>) -> Result<Saved, DiskError> {
    let medium = Arc::new(Overlay::new(Shared(image)).expect("a view"));
    RedbDisk::open_bytes(&sealing(), medium).map(|(_, saved)| saved)
}

/// A file in memory with a bit flipped, which remembers the pages that were read.
#[derive(Debug)]
struct Image {
    bytes: Arc<[u8]>,
    flipped: Option<u64>,
    read: Mutex<BTreeSet<u64>>,
}

impl Image {
    fn new(bytes: &Arc<[u8]>, flipped: Option<u64>) -> Self {
        Self { bytes: Arc::clone(bytes), flipped, read: Mutex::default() }
    }
}

#[derive(Debug)]
struct Shared(Arc<Image>);

impl StorageBackend for Shared {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).expect("small");
        let bytes = self.0.bytes.get(start..start + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        if self.0.flipped.is_none() {
            let last = (offset + out.len() as u64).saturating_sub(1) / PAGE;
            self.0.read.lock().expect("no panic").extend(offset / PAGE..=last);
        }
        let within = self.0.flipped.and_then(|bit| Some((bit, (bit / 8).checked_sub(offset)?)));
        if let Some((bit, at)) = within.filter(|(_, at)| *at < out.len() as u64) {
            out[usize::try_from(at).expect("small")] ^= 1 << (bit % 8);
        }
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

/// How flips of one file ended.
#[derive(Debug, Default)]
struct Tally {
    flips: u64,
    refused: u64,
    /// Flips in pages that are read when nothing is wrong, and how many such pages there are.
    live: u64,
    live_pages: usize,
}

/// The bits to flip: some in our page and redb's header, some in pages that are read, some anywhere.
fn bits(count: u64, live: &[u64], length: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |number| {
        let draw = mix(number ^ length);
        let at = mix(draw);
        match number % 8 {
            0 => at % (2 * 512 * 8) + 512 * 8,
            1 => PAGE * 8 + at % (320 * 8),
            2 => at % (length * 8),
            _ => {
                let page = usize::try_from(draw % live.len() as u64).expect("small");
                live[page] * PAGE * 8 + at % (PAGE * 8)
            }
        }
    })
}

fn flip(bytes: &Arc<[u8]>, count: u64, saved: &Saved) -> Tally {
    let whole = Arc::new(Image::new(bytes, None));
    assert!(open(Arc::clone(&whole)).expect("opens") == *saved);
    let live: Vec<u64> = whole.read.lock().expect("no panic").iter().copied().collect();
    let mut tally = Tally { live_pages: live.len(), ..Tally::default() };
    for bit in bits(count, &live, bytes.len() as u64) {
        tally.flips += 1;
        tally.live += u64::from(live.binary_search(&(bit / 8 / PAGE)).is_ok());
        match open(Arc::new(Image::new(bytes, Some(bit)))) {
            Ok(found) => assert!(found == *saved, "bit {bit} changed what is served"),
            Err(DiskError::Corrupt { .. } | DiskError::Sealed { .. }) => tally.refused += 1,
            Err(error) => panic!("bit {bit}: {error}"),
        }
    }
    tally
}

/// Panics of threads of this name.
static PANICS: AtomicU64 = AtomicU64::new(0);
const NAME: &str = "flips";

/// What is refused is refused without a panic on the way.
fn count_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let ours = std::thread::current().name() == Some(NAME);
        PANICS.fetch_add(u64::from(ours), Ordering::Relaxed);
        before(panic);
    }));
}

#[test]
fn no_flipped_bit_changes_what_is_served() {
    count_panics();
    let count = if std::env::var_os("MESH_LONG").is_some() { FLIPS_LONG } else { FLIPS };
    let flips = std::env::var("FLIPS").ok().map_or(count, |text| text.parse().expect("a number"));
    let used = work();
    let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|found| found == text.as_bytes());
    for text in TOKENS.iter().copied().chain(["service-of-users", "network-of-users", "whoami"]) {
        assert!(holds(used.saved.snapshot.get_data(), text), "{text} is not even there");
        for file in [&used.killed, &used.closed] {
            assert!(!holds(file, text), "{text} can be read");
        }
    }
    let files: [(&str, Arc<[u8]>); 2] = [("killed", used.killed.into()), ("closed", used.closed.into())];
    let saved = &used.saved;
    std::thread::scope(|scope| {
        let runs = files.map(|(name, bytes)| {
            let thread = std::thread::Builder::new().name(NAME.to_owned());
            let run = thread.spawn_scoped(scope, move || flip(&bytes, flips / 2, saved));
            (name, run.expect("a thread"))
        });
        for (name, run) in runs {
            let tally = run.join().expect("no flip changed what is served");
            println!("{name}: {tally:?}");
            assert!(tally.live_pages >= 300, "{tally:?}");
            assert!(tally.live * 2 >= tally.flips && tally.refused * 3 >= tally.flips, "{tally:?}");
        }
    });
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "their words are above");
}
