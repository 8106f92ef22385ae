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

/// Format of the file as a whole, counted up when a reader of this one would go wrong.
pub(super) const FORMAT: u32 = 1;

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
    #[error("format {found}")]
    Format { found: u32 },
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
    put(txn, &Sealing::Plain, "format", &FORMAT)?;
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
        reseal_node(txn, sealing)?;
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
    let found: u32 = get(txn, &Sealing::Plain, "format")?;
    if found != FORMAT {
        return Err(RowError::Format { found });
    }
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

/// The node's number is written once; it gets the current key when a snapshot does.
fn reseal_node(txn: &WriteTransaction, sealing: &Sealing) -> Result<(), RowError> {
    let mut meta = txn.open_table(META)?;
    let place = named("node");
    let Some(node) = meta.get("node")?.map(|row| frame::open(sealing, place, row.value()).map(Vec::from))
    else {
        return Ok(());
    };
    meta.insert("node", frame::seal(sealing, place, &node?)?.as_slice())?;
    Ok(())
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
