//! Where the dataplane's BPF objects are pinned, and whether they may be trusted.
//!
//! `RUN/bpf` is a BPF file system; maps lie in `v<schema>/maps`, links in `v<schema>/links`. aya opens a pinned
//! map without looking at it, so every pin is compared with what the ABI says before anything is loaded. One
//! that does not fit is removed and made anew: it can only come from somebody else's hand.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use aya::Pod;
use aya::maps::{Array, HashMap, Map, MapData, MapError, MapInfo, MapType, PerCpuArray, RingBuf};
use mesh_abi::conntrack::{Affinity, Flow, FlowKey, FragmentKey, Ports};
use mesh_abi::counter::{COUNTERS_LEN, Count};
use mesh_abi::drop::DROPS_LEN;
use mesh_abi::net::{
    DnsClient, Endpoint, EndpointKey, Frontend, Local, NodeConfig, Peer, PublishedKey, TaskPort,
};
use mesh_abi::{Be32, SCHEMA_VERSION, map};

use crate::host::{self, HostError};
use crate::name;
use crate::plan::{Attachment, Hook};
use crate::tcx::deepest;

/// Bytes of the ring buffer of flow records.
pub const RECORD_BYTES: u32 = 256 << 10;

/// A map could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} BPF map {map}: {}", deepest(source))]
pub struct TableError {
    /// What was tried.
    pub action: &'static str,
    /// The map.
    pub map: &'static str,
    /// The kernel's answer.
    pub source: MapError,
}

impl TableError {
    /// For `map_err`.
    pub fn new(action: &'static str, map: &'static str) -> impl Fn(MapError) -> Self {
        move |source| Self { action, map, source }
    }
}

/// How large the tables of flows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowCapacity {
    /// Entries of flows that both sides take part in; each flow has two.
    pub established: u32,
    /// Entries of flows that are opening.
    pub opening: u32,
    /// Flows of clients that come in here for backends of other nodes.
    pub affinity: u32,
}

impl FlowCapacity {
    /// For a machine with so many bytes of memory: an entry takes about 150 bytes, and all of them together no
    /// more than 1.5 % of the memory. Only the smaller tables are allocated at once.
    pub fn of_memory(bytes: u64) -> Self {
        let established = u32::try_from(bytes / 16_384).unwrap_or(u32::MAX).clamp(1 << 16, 1 << 22);
        Self {
            established,
            opening: (established / 8).max(1 << 15),
            affinity: (established / 8).max(1 << 15),
        }
    }
}

struct Shape {
    name: &'static str,
    kind: MapType,
    key: usize,
    value: usize,
    /// Number of entries, where it is part of the ABI.
    entries: Option<u32>,
}

fn shape<K, V>(name: &'static str, kind: MapType, entries: Option<u32>) -> Shape {
    Shape { name, kind, key: size_of::<K>(), value: size_of::<V>(), entries }
}

fn shapes() -> Vec<Shape> {
    vec![
        shape::<u32, NodeConfig>(map::CONFIG, MapType::Array, Some(1)),
        shape::<u32, TaskPort>(map::PORTS, MapType::Hash, None),
        shape::<EndpointKey, Endpoint>(map::ENDPOINTS, MapType::Hash, None),
        shape::<u32, Endpoint>(map::BACKENDS, MapType::Hash, None),
        shape::<Be32, Peer>(map::PEERS, MapType::Hash, None),
        shape::<Be32, Local>(map::LOCALS, MapType::Hash, None),
        shape::<EndpointKey, Frontend>(map::VIPS, MapType::Hash, None),
        shape::<PublishedKey, Frontend>(map::PUBLISHED, MapType::Hash, None),
        shape::<u32, u32>(map::SLICES, MapType::Array, Some(map::SLICES_LEN)),
        shape::<u32, u32>(map::TURNS, MapType::PerCpuArray, Some(map::TURNS_LEN)),
        shape::<Be32, DnsClient>(map::DNS_CLIENTS, MapType::Hash, None),
        shape::<FlowKey, Flow>(map::FLOWS_OPENING, MapType::LruHash, None),
        shape::<FlowKey, Flow>(map::FLOWS, MapType::Hash, None),
        shape::<FlowKey, Affinity>(map::AFFINITY, MapType::LruHash, None),
        shape::<FragmentKey, Ports>(map::FRAGMENTS, MapType::LruHash, None),
        shape::<(), ()>(map::FLOW_RECORDS, MapType::RingBuf, Some(RECORD_BYTES)),
        shape::<u32, Count>(map::COUNTERS, MapType::PerCpuArray, Some(COUNTERS_LEN)),
        shape::<u32, u64>(map::DROPS, MapType::PerCpuArray, Some(DROPS_LEN)),
    ]
}

/// The folders of the pins.
#[derive(Debug, Clone)]
pub struct Pins {
    bpffs: PathBuf,
}

impl Pins {
    /// Pins under `run_dir`.
    pub fn new(run_dir: &Path) -> Self {
        Self { bpffs: run_dir.join("bpf") }
    }

    /// Mounts the file system if need be and makes the folders.
    pub fn prepare(&self) -> Result<(), HostError> {
        host::mount_bpffs(&self.bpffs)?;
        for folder in [self.maps(), self.links()] {
            fs::create_dir_all(&folder).map_err(HostError::file("make", &folder))?;
        }
        Ok(())
    }

    /// Names of the maps that are pinned by name, all but the lab's own.
    pub fn pinned_maps() -> impl Iterator<Item = &'static str> {
        map::ALL.into_iter().filter(|name| *name != map::FABRIC)
    }

    /// Where a map is pinned.
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// Where the link of an attachment is pinned.
    pub fn link(&self, at: &Attachment) -> PathBuf {
        self.links().join(name::link_pin(at.hook.program(), &at.interface))
    }

    /// Attachments whose links are pinned. What is no link of the dataplane there is left alone.
    pub fn attachments(&self) -> Result<BTreeSet<Attachment>, HostError> {
        let folder = self.links();
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(&folder).map_err(HostError::file("read", &folder))? {
            let entry = entry.map_err(HostError::file("read", &folder))?;
            let file_name = entry.file_name();
            let read = file_name.to_str().and_then(name::read_link_pin);
            if let Some((program, interface)) = read
                && let Some(hook) = Hook::of_program(program)
            {
                found.insert(Attachment { hook, interface });
            }
        }
        Ok(found)
    }

    /// Removes pinned maps that are not what the ABI says; gives their names.
    pub fn remove_strangers(&self) -> Result<Vec<&'static str>, HostError> {
        let mut removed = Vec::new();
        for shape in shapes() {
            let path = self.map(shape.name);
            if path.exists() && !MapInfo::from_pin(&path).is_ok_and(|info| fits(&shape, &info)) {
                fs::remove_file(&path).map_err(HostError::file("remove", &path))?;
                removed.push(shape.name);
            }
        }
        Ok(removed)
    }

    /// Size of a pinned map, which a restarted daemon keeps.
    pub fn entries(&self, name: &str) -> Option<u32> {
        let path = self.map(name);
        path.exists().then(|| MapInfo::from_pin(&path).ok().map(|info| info.max_entries())).flatten()
    }

    /// Removes every pin and the file system; goes on after an error and gives all of them.
    pub fn remove_all(&self) -> Vec<HostError> {
        let mut errors = Vec::new();
        for folder in [self.links(), self.maps()] {
            errors.extend(remove_files(&folder).err());
            errors.extend(host::remove_dir(&folder).err());
        }
        errors.extend(host::remove_dir(&self.schema()).err());
        if errors.is_empty() {
            errors.extend(host::unmount_bpffs(&self.bpffs).err());
        }
        errors
    }

    /// Opens a pinned hash.
    pub fn hash<K: Pod, V: Pod>(&self, name: &'static str) -> Result<HashMap<MapData, K, V>, TableError> {
        let open = || HashMap::try_from(Map::from_map_data(MapData::from_pin(self.map(name))?)?);
        open().map_err(TableError::new("open", name))
    }

    /// Opens a pinned array.
    pub fn array<V: Pod>(&self, name: &'static str) -> Result<Array<MapData, V>, TableError> {
        let open = || Array::try_from(Map::from_map_data(MapData::from_pin(self.map(name))?)?);
        open().map_err(TableError::new("open", name))
    }

    /// Opens a pinned array with a value for each CPU.
    pub fn per_cpu<V: Pod>(&self, name: &'static str) -> Result<PerCpuArray<MapData, V>, TableError> {
        let open = || PerCpuArray::try_from(Map::from_map_data(MapData::from_pin(self.map(name))?)?);
        open().map_err(TableError::new("open", name))
    }

    /// Opens the pinned ring buffer.
    pub fn ring(&self, name: &'static str) -> Result<RingBuf<MapData>, TableError> {
        let open = || RingBuf::try_from(Map::from_map_data(MapData::from_pin(self.map(name))?)?);
        open().map_err(TableError::new("open", name))
    }

    fn schema(&self) -> PathBuf {
        self.bpffs.join(format!("v{SCHEMA_VERSION}"))
    }

    fn maps(&self) -> PathBuf {
        self.schema().join("maps")
    }

    fn links(&self) -> PathBuf {
        self.schema().join("links")
    }
}

fn fits(shape: &Shape, info: &MapInfo) -> bool {
    info.map_type().is_ok_and(|kind| kind == shape.kind)
        && usize::try_from(info.key_size()) == Ok(shape.key)
        && usize::try_from(info.value_size()) == Ok(shape.value)
        && shape.entries.is_none_or(|entries| entries == info.max_entries())
}

fn remove_files(folder: &Path) -> Result<(), HostError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(HostError::file("read", folder))?,
    };
    for entry in entries {
        let path = entry.map_err(HostError::file("read", folder))?.path();
        fs::remove_file(&path).map_err(HostError::file("remove", &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pinned_map_has_a_shape() {
        let known: BTreeSet<_> = shapes().iter().map(|shape| shape.name).collect();
        assert_eq!(known, Pins::pinned_maps().collect());
    }

    #[test]
    fn flow_tables_grow_with_the_memory_within_bounds() {
        let small = FlowCapacity::of_memory(256 << 20);
        assert_eq!(small, FlowCapacity { established: 65_536, opening: 32_768, affinity: 32_768 });
        assert_eq!(FlowCapacity::of_memory(16 << 30).established, 1 << 20);
        assert_eq!(FlowCapacity::of_memory(u64::MAX).established, 1 << 22);
    }
}
