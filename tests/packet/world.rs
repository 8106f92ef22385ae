//! The node that the fixtures run on.
//!
//! Network 100 (10.0.1.0/24, gateway .1) has the tasks `ANN` and `BOB` here and `RIA` on the peer; network 200
//! has the same subnet and `CID` at BOB's address. `VIP` has no frontend until a fixture gives it one.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use aya::maps::{Array, HashMap, MapData, PerCpuArray, RingBuf};
use aya::programs::SchedClassifier;
use aya::{Ebpf, EbpfLoader, Pod};
use mesh_abi::conntrack::{Affinity, Flow, FlowKey, FragmentKey, Ports, SECOND, Tuple};
use mesh_abi::counter::{Count, Path};
use mesh_abi::drop::DropReason;
use mesh_abi::net::{
    DnsClient, Endpoint, EndpointKey, FabricKey, Frontend, Local, NodeConfig, Peer, PublishedKey, RETIRED,
    TaskPort,
};
use mesh_abi::record::FlowRecord;
use mesh_abi::tunnel::INGRESS_VNI;
use mesh_abi::{Be16, Be32, map, program};
use mesh_dataplane::netns::Netns;

use crate::outcome::Outcome;
use crate::packet::Packet;
use crate::run::{Context, NO_TAIL_CALL, Output, Tunnel, test_run};

pub const BLUE: u32 = 100;
pub const RED: u32 = 200;
pub const GATEWAY: &str = "10.0.1.1";
pub const VIP: &str = "10.0.1.100";
pub const NODE: &str = "192.0.2.11";
pub const PEER: &str = "192.0.2.12";
pub const PEER2: &str = "192.0.2.13";
pub const CLIENT: &str = "192.0.2.200";

pub const ANN: u32 = 1;
pub const BOB: u32 = 2;
pub const RIA: u32 = 3;
pub const CID: u32 = 4;

/// Host sides of veths, and other interfaces: what a fresh namespace numbers from 2.
pub const ANN_IF: u32 = 2;
pub const BOB_IF: u32 = 3;
pub const CID_IF: u32 = 4;
pub const DNS_IF: u32 = 5;
pub const UPLINK: u32 = 6;
pub const VXLAN: u32 = 7;
pub const UPLINK_MAC: [u8; 6] = [2, 0, 0, 0, 0, 6];

/// Entries that the map of established flows has room for.
pub const FLOWS_ROOM: u32 = 66_000;

pub fn ip(text: &str) -> Be32 {
    text.parse::<Ipv4Addr>().unwrap().into()
}

/// The object, loaded once for all fixtures, which take turns.
struct Loaded {
    ebpf: Ebpf,
    netns: Netns,
    tunnel: Tunnel,
}

static LOADED: LazyLock<Mutex<Loaded>> = LazyLock::new(|| Mutex::new(load()));

/// The object under test.
pub fn object() -> Vec<u8> {
    match std::env::var_os("MESH_EBPF_OBJECT") {
        Some(path) => std::fs::read(path).unwrap(),
        None => mesh_dataplane::object::OBJECT.to_vec(),
    }
}

fn load() -> Loaded {
    let netns = Netns::anonymous().unwrap();
    netns.run(make_interfaces).unwrap();
    let mut ebpf = EbpfLoader::new().map_max_entries(map::FLOWS, FLOWS_ROOM).load(&object()).unwrap();
    for name in program::ALL {
        let program: &mut SchedClassifier = ebpf.program_mut(name).unwrap().try_into().unwrap();
        program.load().unwrap();
    }
    let overlay: &SchedClassifier = ebpf.program(program::OVERLAY_INGRESS).unwrap().try_into().unwrap();
    let tunnel = Tunnel::before(overlay.fd().unwrap().as_fd()).unwrap();
    Loaded { ebpf, netns, tunnel }
}

fn make_interfaces() {
    let ip = |arguments: &str| {
        let status = std::process::Command::new("ip").args(arguments.split(' ')).status().unwrap();
        assert!(status.success(), "ip {arguments}");
    };
    for index in [2, 4, 6] {
        let (one, other) = (index, index + 1);
        ip(&format!("link add if{one} index {one} type veth peer name if{other} index {other}"));
    }
}

/// One fixture's view.
pub struct World {
    loaded: MutexGuard<'static, Loaded>,
    drops: BTreeMap<DropReason, u64>,
    counts: BTreeMap<Path, u64>,
    slices: u32,
    /// See [`Context::summed`].
    pub summed: bool,
}

impl World {
    /// A clean node.
    pub fn new() -> Self {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        clear(&mut loaded.ebpf);
        let mut world =
            Self { loaded, drops: BTreeMap::new(), counts: BTreeMap::new(), slices: 0, summed: false };
        world.drops = world.read_drops();
        world.counts = world.read_counts();
        world.populate();
        world
    }

    fn populate(&mut self) {
        self.configure(0);
        self.endpoint(Endpoint {
            id: ANN,
            vni: BLUE,
            address: ip("10.0.1.10"),
            ifindex: ANN_IF,
            node: Be32::ZERO,
            flags: 0,
        });
        self.endpoint(Endpoint {
            id: BOB,
            vni: BLUE,
            address: ip("10.0.1.11"),
            ifindex: BOB_IF,
            node: Be32::ZERO,
            flags: 0,
        });
        self.endpoint(Endpoint {
            id: RIA,
            vni: BLUE,
            address: ip("10.0.1.20"),
            ifindex: 0,
            node: ip(PEER),
            flags: 0,
        });
        self.endpoint(Endpoint {
            id: CID,
            vni: RED,
            address: ip("10.0.1.11"),
            ifindex: CID_IF,
            node: Be32::ZERO,
            flags: 0,
        });
        self.port(ANN_IF, BLUE, "10.0.1.10", "198.18.0.1");
        self.port(BOB_IF, BLUE, "10.0.1.11", "0.0.0.0");
        self.port(CID_IF, RED, "10.0.1.11", "198.18.0.2");
        self.put(map::DNS_CLIENTS, ip("198.18.0.1"), DnsClient { ifindex: ANN_IF, address: ip("10.0.1.10") });
        self.put(map::PEERS, ip(PEER), Peer { tunnel_mtu: 1450, reserved: 0 });
        self.put(map::PEERS, ip(PEER2), Peer { tunnel_mtu: 0, reserved: 0 });
        let local = Local { ifindex: UPLINK, mac: UPLINK_MAC, reserved: [0; 2] };
        self.put(map::LOCALS, ip(NODE), local);
    }

    /// Writes the node's configuration.
    pub fn configure(&mut self, flags: u32) {
        let config = NodeConfig {
            data_path_addr: ip(NODE),
            vxlan_ifindex: VXLAN,
            dns_ifindex: DNS_IF,
            uplink_ifindex: UPLINK,
            tunnel_mtu: 1430,
            flags,
        };
        self.set_config(config);
    }

    pub fn set_config(&mut self, config: NodeConfig) {
        let mut array: Array<_, NodeConfig> = self.map(map::CONFIG);
        array.set(0, config, 0).unwrap();
    }

    pub fn endpoint(&mut self, endpoint: Endpoint) {
        self.put(map::ENDPOINTS, EndpointKey { vni: endpoint.vni, address: endpoint.address }, endpoint);
        self.put(map::BACKENDS, endpoint.id, endpoint);
    }

    /// No frontend gives the endpoint new flows any more.
    pub fn retire(&mut self, id: u32) {
        let endpoint = self.get::<u32, Endpoint>(map::BACKENDS, &id).unwrap();
        self.endpoint(Endpoint { flags: RETIRED, ..endpoint });
    }

    pub fn remove_endpoint(&mut self, id: u32) {
        let endpoint = self.get::<u32, Endpoint>(map::BACKENDS, &id).unwrap();
        self.remove::<u32, Endpoint>(map::BACKENDS, &id);
        let key = EndpointKey { vni: endpoint.vni, address: endpoint.address };
        self.remove::<EndpointKey, Endpoint>(map::ENDPOINTS, &key);
    }

    pub fn port(&mut self, ifindex: u32, vni: u32, address: &str, dns_client: &str) {
        let port = TaskPort {
            vni,
            address: ip(address),
            gateway: ip(GATEWAY),
            mask: ip("255.255.255.0"),
            dns_client: ip(dns_client),
            endpoint: ifindex,
            mtu: 1450,
        };
        self.put(map::PORTS, ifindex, port);
    }

    fn frontend(&mut self, target: u16, backends: &[u32]) -> Frontend {
        let offset = self.slices;
        let mut slices: Array<_, u32> = self.map(map::SLICES);
        for (place, id) in (offset..).zip(backends) {
            slices.set(place, *id, 0).unwrap();
        }
        self.slices += u32::try_from(backends.len()).unwrap();
        let count = u32::try_from(backends.len()).unwrap();
        Frontend { service: 7, turn: 3, offset, count, generation: 1, target: Be16::new(target), reserved: 0 }
    }

    /// Gives [`VIP`] these backends.
    pub fn vip(&mut self, backends: &[u32]) {
        let frontend = self.frontend(0, backends);
        self.put(map::VIPS, EndpointKey { vni: BLUE, address: ip(VIP) }, frontend);
    }

    /// Publishes `port` of this node's address.
    pub fn publish(&mut self, port: u16, target: u16, protocol: u8, backends: &[u32]) {
        let frontend = self.frontend(target, backends);
        let key = PublishedKey { address: ip(NODE), port: Be16::new(port), protocol, reserved: 0 };
        self.put(map::PUBLISHED, key, frontend);
    }

    pub fn unpublish(&mut self, port: u16, protocol: u8) {
        let key = PublishedKey { address: ip(NODE), port: Be16::new(port), protocol, reserved: 0 };
        self.remove::<PublishedKey, Frontend>(map::PUBLISHED, &key);
    }

    /// Sends a packet out of a task.
    pub fn task(&mut self, ifindex: u32, packet: &Packet) -> Outcome<'_> {
        self.frame(program::TASK_EGRESS, ifindex, &packet.bytes())
    }

    /// Receives a packet on the uplink.
    pub fn uplink(&mut self, packet: &Packet) -> Outcome<'_> {
        self.frame(program::UPLINK_INGRESS, UPLINK, &packet.bytes())
    }

    /// Receives a packet out of the tunnel.
    pub fn tunnel(&mut self, vni: u32, node: &str, packet: &Packet) -> Outcome<'_> {
        self.tunnel_frame(vni, node, &packet.bytes())
    }

    pub fn tunnel_frame(&mut self, vni: u32, node: &str, frame: &[u8]) -> Outcome<'_> {
        let cb = [vni, ip(node).get(), 0, 0];
        let context = Context { ifindex: VXLAN, cb, ..Context::default() };
        let output = self.run(None, context, frame);
        assert_ne!(output.result, NO_TAIL_CALL);
        Outcome { world: self, output, sent: frame.to_vec() }
    }

    /// Runs a program on any bytes.
    pub fn frame(&mut self, program: &str, ifindex: u32, frame: &[u8]) -> Outcome<'_> {
        self.with(program, Context { ifindex, ..Context::default() }, frame)
    }

    pub fn with(&mut self, program: &str, context: Context, frame: &[u8]) -> Outcome<'_> {
        let output = self.run(Some(program), context, frame);
        Outcome { world: self, output, sent: frame.to_vec() }
    }

    fn run(&mut self, program: Option<&str>, context: Context, frame: &[u8]) -> Output {
        let context = Context { summed: self.summed, ..context };
        let loaded = &*self.loaded;
        let fd = match program {
            None => loaded.tunnel.fd(),
            Some(name) => {
                let program: &SchedClassifier = loaded.ebpf.program(name).unwrap().try_into().unwrap();
                program.fd().unwrap().as_fd()
            }
        };
        loaded
            .netns
            .run(|| {
                let mut cpus = nix::sched::CpuSet::new();
                cpus.set(0).unwrap();
                nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &cpus).unwrap();
                test_run(fd, context, frame).unwrap()
            })
            .unwrap()
    }

    /// A map by its type.
    pub fn map<'a, T>(&'a mut self, name: &str) -> T
    where
        T: TryFrom<&'a mut aya::maps::Map, Error = aya::maps::MapError>,
    {
        T::try_from(self.loaded.ebpf.map_mut(name).unwrap()).unwrap()
    }

    pub fn put<K: Pod, V: Pod>(&mut self, name: &str, key: K, value: V) {
        self.map::<HashMap<&mut MapData, K, V>>(name).insert(key, value, 0).unwrap();
    }

    pub fn get<K: Pod, V: Pod>(&mut self, name: &str, key: &K) -> Option<V> {
        self.map::<HashMap<&mut MapData, K, V>>(name).get(key, 0).ok()
    }

    pub fn remove<K: Pod, V: Pod>(&mut self, name: &str, key: &K) {
        self.map::<HashMap<&mut MapData, K, V>>(name).remove(key).unwrap();
    }

    /// Everything in a map.
    pub fn all<K: Pod, V: Pod>(&mut self, name: &str) -> Vec<(K, V)> {
        self.map::<HashMap<&mut MapData, K, V>>(name).iter().map(Result::unwrap).collect()
    }

    /// Makes everything that is remembered `seconds` older.
    pub fn age(&mut self, seconds: u64) {
        for name in [map::FLOWS, map::FLOWS_OPENING] {
            for (key, mut flow) in self.all::<FlowKey, Flow>(name) {
                flow.seen = flow.seen.saturating_sub(seconds * SECOND);
                flow.created = flow.created.saturating_sub(seconds * SECOND);
                self.put(name, key, flow);
            }
        }
        for (key, mut entry) in self.all::<FlowKey, Affinity>(map::AFFINITY) {
            entry.seen = entry.seen.saturating_sub(seconds * SECOND);
            entry.created = entry.created.saturating_sub(seconds * SECOND);
            self.put(map::AFFINITY, key, entry);
        }
    }

    /// Entries for flows: still opening, and established.
    pub fn flows(&mut self) -> (usize, usize) {
        (self.all::<FlowKey, Flow>(map::FLOWS_OPENING).len(), self.all::<FlowKey, Flow>(map::FLOWS).len())
    }

    /// Records of flows since the last call.
    pub fn records(&mut self) -> Vec<FlowRecord> {
        let mut ring: RingBuf<&mut MapData> = self.map(map::FLOW_RECORDS);
        let mut records = vec![];
        while let Some(item) = ring.next() {
            records.push(read_record(&item));
        }
        records
    }

    fn read_drops(&mut self) -> BTreeMap<DropReason, u64> {
        let array: PerCpuArray<&mut MapData, u64> = self.map(map::DROPS);
        let sum = |reason: DropReason| array.get(&(reason as u32), 0).unwrap().iter().sum();
        DropReason::ALL.iter().map(|reason| (*reason, sum(*reason))).collect()
    }

    fn read_counts(&mut self) -> BTreeMap<Path, u64> {
        let array: PerCpuArray<&mut MapData, Count> = self.map(map::COUNTERS);
        let sum = |path: Path| array.get(&(path as u32), 0).unwrap().iter().map(|count| count.packets).sum();
        Path::ALL.iter().map(|path| (*path, sum(*path))).collect()
    }

    /// Drops since this was last asked.
    pub fn new_drops(&mut self) -> Vec<DropReason> {
        let now = self.read_drops();
        let before = std::mem::replace(&mut self.drops, now.clone());
        now.iter().filter(|(reason, count)| before[reason] != **count).map(|(reason, _)| *reason).collect()
    }

    /// Asserts that the path counted this many packets since the fixture began.
    pub fn counted(&mut self, path: Path, packets: u64) {
        let now = self.read_counts();
        assert_eq!(now[&path] - self.counts[&path], packets, "packets counted on {path:?}");
    }
}

#[allow(unsafe_code)]
fn read_record(bytes: &[u8]) -> FlowRecord {
    assert_eq!(bytes.len(), size_of::<FlowRecord>());
    // SAFETY: plain old data of this size, read without regard to alignment.
    unsafe { bytes.as_ptr().cast::<FlowRecord>().read_unaligned() }
}

/// Empties every map that a fixture may have written.
fn clear(ebpf: &mut Ebpf) {
    clear_map::<u32, TaskPort>(ebpf, map::PORTS);
    clear_map::<EndpointKey, Endpoint>(ebpf, map::ENDPOINTS);
    clear_map::<u32, Endpoint>(ebpf, map::BACKENDS);
    clear_map::<Be32, Peer>(ebpf, map::PEERS);
    clear_map::<Be32, Local>(ebpf, map::LOCALS);
    clear_map::<EndpointKey, Frontend>(ebpf, map::VIPS);
    clear_map::<PublishedKey, Frontend>(ebpf, map::PUBLISHED);
    clear_map::<Be32, DnsClient>(ebpf, map::DNS_CLIENTS);
    clear_map::<FlowKey, Flow>(ebpf, map::FLOWS_OPENING);
    clear_map::<FlowKey, Flow>(ebpf, map::FLOWS);
    clear_map::<FlowKey, Affinity>(ebpf, map::AFFINITY);
    clear_map::<FragmentKey, Ports>(ebpf, map::FRAGMENTS);
    clear_map::<FabricKey, u32>(ebpf, map::FABRIC);
    let mut ring = RingBuf::try_from(ebpf.map_mut(map::FLOW_RECORDS).unwrap()).unwrap();
    while ring.next().is_some() {}
}

fn clear_map<K: Pod, V: Pod>(ebpf: &mut Ebpf, name: &str) {
    let mut map: HashMap<_, K, V> = ebpf.map_mut(name).unwrap().try_into().unwrap();
    let keys: Vec<K> = map.keys().map(Result::unwrap).collect();
    for key in keys {
        map.remove(&key).unwrap();
    }
}

/// A key of network 100, `10.0.1.10:1` style.
pub fn key(vni: u32, from: &str, to: &str, protocol: u8) -> FlowKey {
    FlowKey::new(vni, tuple(from, to), protocol)
}

/// A key of a request to a published port.
pub fn request_key(from: &str, to: &str, protocol: u8) -> FlowKey {
    key(INGRESS_VNI, from, to, protocol)
}

pub fn tuple(from: &str, to: &str) -> Tuple {
    let split = |text: &str| text.parse::<std::net::SocketAddrV4>().unwrap();
    let (from, to) = (split(from), split(to));
    Tuple {
        src: (*from.ip()).into(),
        dst: (*to.ip()).into(),
        sport: Be16::new(from.port()),
        dport: Be16::new(to.port()),
    }
}
