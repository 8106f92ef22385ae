//! Nodes on a switch, made of namespaces: each node has its uplink, its BPF file system and its dataplane; a
//! client outside of the mesh hangs on the same switch. Everything goes away with the value, also after a
//! panic.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use aya::maps::{Map, MapData};
use ipnet::IpNet;
use mesh_dataplane::desired::{
    DesiredState, Endpoint, EndpointId, IngressReply, LocalEndpoint, LocalNode, Location, Network, Protocol,
    PublishedPort, Vip, Vni,
};
use mesh_dataplane::netlink::{Netlink, Veth, VethEnd};
use mesh_dataplane::netns::Netns;
use mesh_dataplane::{Config, Dataplane, FlowCapacity};
use nix::mount::{MntFlags, umount2};

/// The client's address.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 200);

/// The first network.
pub const VNI: Vni = 4097;

/// Its virtual address.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);

/// The published port, and what it leads to.
pub const PUBLISHED: u16 = 8080;
/// Port that backends listen on.
pub const TARGET: u16 = 80;

/// A folder of this test alone, with whatever is mounted and bound below it.
struct Folder(PathBuf);

const FOLDER: &str = "mesh-dataplane-test-";

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            remove_leftovers();
        }
        let path = PathBuf::from(format!("/run/{FOLDER}{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Mount points below the folder, deepest first.
    fn mounts(&self) -> Vec<PathBuf> {
        let table = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let points = table.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
        let mut below: Vec<PathBuf> = points.filter(|point| point.starts_with(&self.0)).collect();
        below.reverse();
        below
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for point in self.mounts() {
            let _ = umount2(&point, MntFlags::MNT_DETACH);
        }
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Folders of test processes that were killed.
fn remove_leftovers() {
    for entry in std::fs::read_dir("/run").unwrap().flatten() {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(FOLDER));
        let process = rest.and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            drop(Folder(entry.path()));
        }
    }
}

/// One node.
pub struct Node {
    pub netns: Netns,
    pub address: Ipv4Addr,
    pub run_dir: PathBuf,
    netns_path: PathBuf,
    pub dataplane: Option<Dataplane>,
}

impl Node {
    /// An open handle of a pinned map.
    pub fn map(&self, name: &str) -> Map {
        let path = self.run_dir.join(format!("bpf/v{}/maps/{name}", mesh_abi::SCHEMA_VERSION));
        Map::from_map_data(MapData::from_pin(path).unwrap()).unwrap()
    }

    pub fn dataplane(&self) -> &Dataplane {
        self.dataplane.as_ref().unwrap()
    }

    /// Opens the dataplane, as a (re)started daemon does.
    pub async fn open(&mut self) {
        let config = Config {
            run_dir: self.run_dir.clone(),
            netns: Some(self.netns_path.clone()),
            flow_capacity: Some(FlowCapacity { established: 65_536, opening: 4_096, affinity: 4_096 }),
            resync_every: None,
        };
        self.dataplane = Some(Dataplane::open(config).await.unwrap());
    }

    /// Names of the node's devices.
    pub async fn devices(&self) -> BTreeSet<String> {
        let links = Netlink::open(&self.netns).unwrap().links().await.unwrap();
        links.into_iter().map(|link| link.name).collect()
    }

    pub async fn drops(&self, reason: &str) -> u64 {
        self.dataplane().counters().await.unwrap().drops.get(reason).copied().unwrap_or(0)
    }

    pub async fn packets(&self, path: &str) -> u64 {
        self.dataplane().counters().await.unwrap().paths.get(path).map_or(0, |traffic| traffic.packets)
    }
}

/// A task's namespace and its place in a network.
pub struct Task {
    pub id: EndpointId,
    pub node: usize,
    pub vni: Vni,
    pub address: Ipv4Addr,
    pub netns: Netns,
    path: PathBuf,
    ifname: &'static str,
}

/// All of it.
pub struct World {
    pub nodes: Vec<Node>,
    pub tasks: Vec<Task>,
    pub client: Netns,
    pub networks: BTreeMap<Vni, Network>,
    pub vips: Vec<Vip>,
    pub published: Vec<PublishedPort>,
    pub reply: IngressReply,
    _switch: Netns,
    folder: Folder,
}

impl World {
    /// Nodes and a client on a switch; no tasks yet.
    pub async fn new(nodes: u8) -> Self {
        let folder = Folder::new();
        let switch = Netns::anonymous().unwrap();
        let fabric = Netlink::open(&switch).unwrap();
        fabric.add_bridge("br0").await.unwrap();
        fabric.set_up("br0", true).await.unwrap();
        let client = Netns::anonymous().unwrap();
        plug(&fabric, &client, "client", CLIENT).await;
        let mut world = Self {
            nodes: Vec::new(),
            tasks: Vec::new(),
            client,
            networks: BTreeMap::from([(VNI, network("10.0.1.0/24", "10.0.1.1"))]),
            vips: Vec::new(),
            published: Vec::new(),
            reply: IngressReply::Through,
            _switch: switch,
            folder,
        };
        for index in 0..nodes {
            let run_dir = world.folder.0.join(format!("n{index}"));
            let netns_path = world.folder.0.join(format!("n{index}.netns"));
            let netns = Netns::create(&netns_path).unwrap();
            let address = Ipv4Addr::new(192, 0, 2, 11 + index);
            plug(&fabric, &netns, &format!("n{index}"), address).await;
            let mut node = Node { netns, address, run_dir, netns_path, dataplane: None };
            node.open().await;
            world.nodes.push(node);
        }
        world
    }

    /// A world with one task on each node, all of them behind a VIP and a published port over TCP and UDP.
    pub async fn with_service(nodes: u8, backends: u8) -> Self {
        let mut world = Self::new(nodes).await;
        for index in 0..nodes {
            world.add_task(u32::from(index) + 1, index.into(), VNI, Ipv4Addr::new(10, 0, 1, 3 + index));
        }
        let backends: BTreeSet<EndpointId> = (1..=u32::from(backends)).collect();
        world.vips.push(Vip {
            vni: VNI,
            address: VIP.into(),
            service: "web".to_owned(),
            backends: backends.clone(),
        });
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            world.published.push(PublishedPort {
                published: NonZeroU16::new(PUBLISHED).unwrap(),
                target: NonZeroU16::new(TARGET).unwrap(),
                protocol,
                service: "web".to_owned(),
                backends: backends.clone(),
            });
        }
        world.apply().await;
        world
    }

    pub fn add_task(&mut self, id: EndpointId, node: usize, vni: Vni, address: Ipv4Addr) {
        let path = self.folder.0.join(format!("task-{id}"));
        let netns = Netns::create(&path).unwrap();
        self.tasks.push(Task { id, node, vni, address, netns, path, ifname: "eth0" });
    }

    /// Gives the task of endpoint `of` a second interface, `eth1`.
    pub fn add_interface(&mut self, id: EndpointId, of: EndpointId, vni: Vni, address: Ipv4Addr) {
        let Task { node, netns, path, .. } = self.task(of);
        let task =
            Task { id, node: *node, vni, address, netns: netns.clone(), path: path.clone(), ifname: "eth1" };
        self.tasks.push(task);
    }

    pub fn task(&self, id: EndpointId) -> &Task {
        self.tasks.iter().find(|task| task.id == id).unwrap()
    }

    /// What a node should be.
    pub fn state(&self, node: usize) -> DesiredState {
        let here = self.nodes[node].address;
        let others = self.nodes.iter().map(|node| IpAddr::V4(node.address));
        DesiredState {
            node: LocalNode {
                data_path_addr: here.into(),
                data_path_port: 4789,
                uplinks: vec!["eth0".to_owned()],
                ingress_reply: self.reply,
            },
            peers: others.filter(|address| *address != here).collect(),
            networks: self.networks.clone(),
            endpoints: self.tasks.iter().map(|task| (task.id, self.endpoint(task, node))).collect(),
            vips: self.vips.clone(),
            published: self.published.clone(),
        }
    }

    fn endpoint(&self, task: &Task, node: usize) -> Endpoint {
        let location = if task.node == node {
            Location::Local(LocalEndpoint {
                netns: task.path.clone(),
                ifname: task.ifname.to_owned(),
                default_route: task.ifname == "eth0",
                dns_client: (task.ifname == "eth0").then(|| dns_client(task.id)),
            })
        } else {
            Location::Remote(self.nodes[task.node].address.into())
        };
        Endpoint { vni: task.vni, address: task.address.into(), location }
    }

    /// Tells every node what it should be.
    pub async fn apply(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            node.dataplane().apply(self.state(index)).await.unwrap();
        }
    }

    /// Mount points that are left.
    pub fn mounts(&self, below: &Path) -> usize {
        self.folder.mounts().iter().filter(|point| point.starts_with(below)).count()
    }
}

/// Source of a task's DNS questions.
pub fn dns_client(id: EndpointId) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, u8::try_from(id).unwrap())
}

pub fn network(subnet: &str, gateway: &str) -> Network {
    Network { subnet: subnet.parse().unwrap(), gateway: gateway.parse().unwrap(), mtu: 1450, internal: false }
}

/// Joins a namespace to the switch, as `eth0` with this address.
async fn plug(switch: &Netlink, netns: &Netns, port: &str, address: Ipv4Addr) {
    let here = VethEnd { name: port, mac: None, netns: None };
    let there = VethEnd { name: "eth0", mac: None, netns: Some(netns) };
    switch.add_veth(&Veth { here, there, mtu: 1500 }).await.unwrap();
    switch.set_controller(port, Some("br0")).await.unwrap();
    switch.set_up(port, true).await.unwrap();
    let inside = Netlink::open(netns).unwrap();
    inside.add_address("eth0", IpNet::new(address.into(), 24).unwrap()).await.unwrap();
    inside.set_up("lo", true).await.unwrap();
    inside.set_up("eth0", true).await.unwrap();
}
