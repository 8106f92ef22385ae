//! The rows of the state file: what stands in which table, written and read inside one transaction.

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{Entry, HardState, Snapshot, SnapshotMetadata};
use redb::{
    ReadTransaction, ReadableTable as _, ReadableTableMetadata as _, TableDefinition, WriteTransaction,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::frame::{self, FrameError, Place, RowKey};
use super::sealing::Sealing;
use super::{Saved, Truncate, Write};
use crate::log::Position;

const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
const LOG: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("log");
/// The newest snapshot's data, cut in pieces, by number from 0.
const SNAPSHOT: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("snapshot");

const PIECE_BYTES: usize = 1 << 20;

/// Why rows cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowError {
    #[error(transparent)]
    Redb(#[from] redb::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("{what}: {source}")]
    Proto { what: &'static str, source: protobuf::ProtobufError },
    #[error("{what}: {source}")]
    Postcard { what: &'static str, source: postcard::Error },
    #[error("{what} is missing")]
    Missing { what: &'static str },
    #[error("log entry {found} where {wanted} was expected")]
    Gap { found: u64, wanted: u64 },
    #[error("snapshot of {found} bytes instead of {wanted}")]
    SnapshotLength { found: u64, wanted: u64 },
}

impl From<redb::TableError> for RowError {
    fn from(error: redb::TableError) -> Self {
        Self::Redb(error.into())
    }
}

impl From<redb::StorageError> for RowError {
    fn from(error: redb::StorageError) -> Self {
        Self::Redb(error.into())
    }
}

#[derive(Serialize, Deserialize)]
struct Mark {
    index: u64,
    term: u64,
}

/// What is kept of a snapshot beside its data.
#[derive(Serialize, Deserialize)]
struct SnapshotHead {
    metadata: Vec<u8>,
    bytes: u64,
}

/// Writes the rows of a new node.
pub(super) fn create(txn: &WriteTransaction, sealing: &Sealing, saved: &Saved) -> Result<(), RowError> {
    put(txn, sealing, "node", &saved.node)?;
    write(
        txn,
        sealing,
        &Write {
            snapshot: Some(saved.snapshot.clone()),
            truncate: Some(Truncate::All(saved.truncated)),
            entries: saved.entries.clone(),
            hard_state: Some(saved.hard_state.clone()),
        },
    )
}

/// Writes one change.
pub(super) fn write(txn: &WriteTransaction, sealing: &Sealing, write: &Write) -> Result<(), RowError> {
    if let Some(snapshot) = &write.snapshot {
        put_snapshot(txn, sealing, snapshot)?;
    }
    if let Some(truncate) = write.truncate {
        truncate_log(txn, sealing, truncate)?;
    }
    append(txn, sealing, &write.entries)?;
    if let Some(hard_state) = &write.hard_state {
        let bytes = hard_state.write_to_bytes().map_err(proto("hard state"))?;
        put(txn, sealing, "hard_state", &bytes)?;
    }
    Ok(())
}

fn append(txn: &WriteTransaction, sealing: &Sealing, entries: &[Entry]) -> Result<(), RowError> {
    let Some(first) = entries.first() else { return Ok(()) };
    let mut log = txn.open_table(LOG)?;
    log.retain_in(first.index.., |_, _| false)?;
    for entry in entries {
        let bytes = entry.write_to_bytes().map_err(proto("log entry"))?;
        log.insert(entry.index, frame::seal(sealing, numbered("log", entry.index), &bytes)?.as_slice())?;
    }
    Ok(())
}

fn truncate_log(txn: &WriteTransaction, sealing: &Sealing, truncate: Truncate) -> Result<(), RowError> {
    let mut log = txn.open_table(LOG)?;
    let position = match truncate {
        Truncate::UpTo(position) => {
            log.retain_in(..=position.index, |_, _| false)?;
            position
        }
        Truncate::All(position) => {
            log.retain(|_, _| false)?;
            position
        }
    };
    put(txn, sealing, "truncated", &Mark { index: position.index, term: position.term })
}

fn put_snapshot(txn: &WriteTransaction, sealing: &Sealing, snapshot: &Snapshot) -> Result<(), RowError> {
    let mut table = txn.open_table(SNAPSHOT)?;
    table.retain(|_, _| false)?;
    for (number, piece) in (0_u64..).zip(snapshot.get_data().chunks(PIECE_BYTES)) {
        table.insert(number, frame::seal(sealing, numbered("snapshot", number), piece)?.as_slice())?;
    }
    let metadata = snapshot.get_metadata().write_to_bytes().map_err(proto("snapshot"))?;
    put(txn, sealing, "snapshot", &SnapshotHead { metadata, bytes: snapshot.get_data().len() as u64 })
}

/// Reads everything.
pub(super) fn read(txn: &ReadTransaction, sealing: &Sealing) -> Result<Saved, RowError> {
    let hard_state: Vec<u8> = get(txn, sealing, "hard_state")?;
    let truncated: Mark = get(txn, sealing, "truncated")?;
    let truncated = Position { index: truncated.index, term: truncated.term };
    Ok(Saved {
        node: get(txn, sealing, "node")?,
        hard_state: HardState::parse_from_bytes(&hard_state).map_err(proto("hard state"))?,
        truncated,
        entries: read_log(txn, sealing, truncated.index)?,
        snapshot: read_snapshot(txn, sealing)?,
    })
}

fn read_log(txn: &ReadTransaction, sealing: &Sealing, truncated: u64) -> Result<Vec<Entry>, RowError> {
    let table = txn.open_table(LOG)?;
    let mut entries = Vec::with_capacity(usize::try_from(table.len()?).unwrap_or(0));
    for (row, wanted) in table.iter()?.zip(truncated + 1..) {
        let (key, row) = row?;
        let bytes = frame::open(sealing, numbered("log", key.value()), row.value())?;
        let entry = Entry::parse_from_bytes(&bytes).map_err(proto("log entry"))?;
        if key.value() != wanted || entry.index != wanted {
            return Err(RowError::Gap { found: key.value(), wanted });
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn read_snapshot(txn: &ReadTransaction, sealing: &Sealing) -> Result<Snapshot, RowError> {
    let head: SnapshotHead = get(txn, sealing, "snapshot")?;
    let mut data = Vec::with_capacity(usize::try_from(head.bytes).unwrap_or(0).min(1 << 30));
    for row in txn.open_table(SNAPSHOT)?.iter()? {
        let (number, row) = row?;
        data.extend_from_slice(&frame::open(sealing, numbered("snapshot", number.value()), row.value())?);
    }
    if data.len() as u64 != head.bytes {
        return Err(RowError::SnapshotLength { found: data.len() as u64, wanted: head.bytes });
    }
    let metadata = SnapshotMetadata::parse_from_bytes(&head.metadata).map_err(proto("snapshot"))?;
    let mut snapshot = Snapshot { data: Bytes::from(data), ..Snapshot::default() };
    snapshot.set_metadata(metadata);
    Ok(snapshot)
}

/// Writes the number of the commit that it is part of.
pub(super) fn put_commit(txn: &WriteTransaction, sealing: &Sealing, commit: u64) -> Result<(), RowError> {
    put(txn, sealing, "commit", &commit)
}

/// The number of the commit that is read.
pub(super) fn commit(txn: &ReadTransaction, sealing: &Sealing) -> Result<u64, RowError> {
    get(txn, sealing, "commit")
}

/// Where a walk over all rows goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Walk {
    #[default]
    Meta,
    Log(u64),
    Snapshot(u64),
}

/// Seals rows anew that have another key than the current one, from `walk` on, until about `budget` bytes are
/// done. `None`: that was the last. What is written meanwhile has the current key already.
pub(super) fn reseal(
    txn: &WriteTransaction,
    sealing: &Sealing,
    walk: Walk,
    budget: usize,
) -> Result<Option<Walk>, RowError> {
    let next = match walk {
        Walk::Meta => {
            reseal_meta(txn, sealing)?;
            Some(Walk::Log(0))
        }
        Walk::Log(from) => {
            let next = reseal_numbered(txn, sealing, (LOG, "log"), from, budget)?;
            Some(next.map_or(Walk::Snapshot(0), Walk::Log))
        }
        Walk::Snapshot(from) => {
            reseal_numbered(txn, sealing, (SNAPSHOT, "snapshot"), from, budget)?.map(Walk::Snapshot)
        }
    };
    Ok(next)
}

fn reseal_meta(txn: &WriteTransaction, sealing: &Sealing) -> Result<(), RowError> {
    let mut meta = txn.open_table(META)?;
    for key in ["node", "commit", "hard_state", "truncated", "snapshot"] {
        let value = match meta.get(key)? {
            Some(row) => frame::open(sealing, named(key), row.value())?.into_owned(),
            None => continue,
        };
        meta.insert(key, frame::seal(sealing, named(key), &value)?.as_slice())?;
    }
    Ok(())
}

fn reseal_numbered(
    txn: &WriteTransaction,
    sealing: &Sealing,
    (definition, name): (TableDefinition<'static, u64, &'static [u8]>, &'static str),
    from: u64,
    budget: usize,
) -> Result<Option<u64>, RowError> {
    let mut table = txn.open_table(definition)?;
    let (mut fresh, mut bytes, mut next) = (Vec::new(), 0, None);
    for row in table.range(from..)? {
        let (number, row) = row?;
        if bytes > budget {
            next = Some(number.value());
            break;
        }
        if !frame::is_current(sealing, row.value()) {
            bytes += row.value().len();
            let place = numbered(name, number.value());
            fresh.push((
                number.value(),
                frame::seal(sealing, place, &frame::open(sealing, place, row.value())?)?,
            ));
        }
    }
    for (number, row) in fresh {
        table.insert(number, row.as_slice())?;
    }
    Ok(next)
}

fn named(key: &'static str) -> Place<'static> {
    Place { table: "meta", key: RowKey::Name(key) }
}

fn numbered(table: &'static str, number: u64) -> Place<'static> {
    Place { table, key: RowKey::Number(number) }
}

fn put<T: Serialize>(
    txn: &WriteTransaction,
    sealing: &Sealing,
    key: &'static str,
    value: &T,
) -> Result<(), RowError> {
    let bytes = postcard::to_stdvec(value).map_err(|source| RowError::Postcard { what: key, source })?;
    txn.open_table(META)?.insert(key, frame::seal(sealing, named(key), &bytes)?.as_slice())?;
    Ok(())
}

fn get<T: DeserializeOwned>(
    txn: &ReadTransaction,
    sealing: &Sealing,
    key: &'static str,
) -> Result<T, RowError> {
    let row = txn.open_table(META)?.get(key)?.ok_or(RowError::Missing { what: key })?;
    postcard::from_bytes(&frame::open(sealing, named(key), row.value())?)
        .map_err(|source| RowError::Postcard { what: key, source })
}

fn proto(what: &'static str) -> impl Fn(protobuf::ProtobufError) -> RowError {
    move |source| RowError::Proto { what, source }
}
