//! All maps, as `mesh_abi::map` describes them. Sizes are defaults; the loader sets those that depend on the
//! machine's memory.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use mesh_abi::{
    Be32,
    conntrack::{Affinity, Flow, FlowKey, FragmentKey, Ports},
    counter::{COUNTERS_LEN, Count},
    drop::DROPS_LEN,
    map::{SLICES_LEN, TURNS_LEN},
    net::{
        DnsClient, Endpoint, EndpointKey, FabricKey, Frontend, Local, NodeConfig, Peer, PublishedKey,
        TaskPort,
    },
};

/// See [`mesh_abi::map::CONFIG`].
#[map]
pub static CONFIG: Array<NodeConfig> = Array::with_max_entries(1, 0);
/// See [`mesh_abi::map::PORTS`].
#[map]
pub static PORTS: HashMap<u32, TaskPort> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);
/// See [`mesh_abi::map::ENDPOINTS`].
#[map]
pub static ENDPOINTS: HashMap<EndpointKey, Endpoint> = HashMap::with_max_entries(262_144, BPF_F_NO_PREALLOC);
/// See [`mesh_abi::map::BACKENDS`].
#[map]
pub static BACKENDS: HashMap<u32, Endpoint> = HashMap::with_max_entries(262_144, BPF_F_NO_PREALLOC);
/// See [`mesh_abi::map::PEERS`].
#[map]
pub static PEERS: HashMap<Be32, Peer> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);
/// See [`mesh_abi::map::LOCALS`].
#[map]
pub static LOCALS: HashMap<Be32, Local> = HashMap::with_max_entries(1_024, BPF_F_NO_PREALLOC);
/// See [`mesh_abi::map::VIPS`].
#[map]
pub static VIPS: HashMap<EndpointKey, Frontend> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);
/// See [`mesh_abi::map::PUBLISHED`].
#[map]
pub static PUBLISHED: HashMap<PublishedKey, Frontend> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);
/// See [`mesh_abi::map::SLICES`].
#[map]
pub static SLICES: Array<u32> = Array::with_max_entries(SLICES_LEN, BPF_F_MMAPABLE);
/// See [`mesh_abi::map::TURNS`].
#[map]
pub static TURNS: PerCpuArray<u32> = PerCpuArray::with_max_entries(TURNS_LEN, 0);
/// See [`mesh_abi::map::DNS_CLIENTS`].
#[map]
pub static DNS_CLIENTS: HashMap<Be32, DnsClient> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);
/// See [`mesh_abi::map::FLOWS_OPENING`].
#[map]
pub static FLOWS_OPENING: LruHashMap<FlowKey, Flow> = LruHashMap::with_max_entries(32_768, 0);
/// See [`mesh_abi::map::FLOWS`].
#[map]
pub static FLOWS: HashMap<FlowKey, Flow> = HashMap::with_max_entries(262_144, BPF_F_NO_PREALLOC);
/// See [`mesh_abi::map::AFFINITY`].
#[map]
pub static AFFINITY: LruHashMap<FlowKey, Affinity> = LruHashMap::with_max_entries(65_536, 0);
/// See [`mesh_abi::map::FRAGMENTS`].
#[map]
pub static FRAGMENTS: LruHashMap<FragmentKey, Ports> = LruHashMap::with_max_entries(4_096, 0);
/// See [`mesh_abi::map::FLOW_RECORDS`].
#[map]
pub static FLOW_RECORDS: RingBuf = RingBuf::with_byte_size(262_144, 0);
/// See [`mesh_abi::map::COUNTERS`].
#[map]
pub static COUNTERS: PerCpuArray<Count> = PerCpuArray::with_max_entries(COUNTERS_LEN, 0);
/// See [`mesh_abi::map::DROPS`].
#[map]
pub static DROPS: PerCpuArray<u64> = PerCpuArray::with_max_entries(DROPS_LEN, 0);
/// See [`mesh_abi::map::FABRIC`].
#[map]
pub static FABRIC: HashMap<FabricKey, u32> = HashMap::with_max_entries(4_096, BPF_F_NO_PREALLOC);
