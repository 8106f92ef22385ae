//! Plans as text. Each story starts on an empty node and ends with "delete, and it is empty".

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{
    DesiredTables, EndpointLink, Facts, LinkOperation, Links, ServiceNumbers, Tables, Uplink, finish,
    prepare, tables,
};
use crate::desired::DesiredState;
use crate::name;
use crate::slices::Slices;

/// A node that does what a plan says, without a kernel: devices get numbers as they are made.
struct Model {
    links: Links,
    tables: Tables,
    slices: Slices,
    facts: Facts,
    next_number: u32,
    now: Instant,
}

impl Model {
    fn new() -> Self {
        let uplink = Uplink {
            ifindex: 2,
            mac: [2, 0, 0, 0, 0, 2],
            mtu: 1500,
            addresses: BTreeSet::from([Ipv4Addr::new(192, 0, 2, 11)]),
        };
        Self {
            links: Links::default(),
            tables: Tables::default(),
            slices: Slices::new(1 << 20),
            facts: Facts { uplinks: BTreeMap::from([("eth0".to_owned(), uplink)]), ..Facts::default() },
            next_number: 10,
            now: Instant::now(),
        }
    }

    /// The steps to `to`, as text; afterwards there is nothing left to do.
    fn change(&mut self, to: &Links, wanted: impl Fn(&Facts) -> DesiredTables) -> Vec<String> {
        let mut steps = Vec::new();
        for operation in prepare(&self.links, to) {
            self.devices(&operation, &mut steps);
        }
        let operations = tables(&self.tables, &wanted(&self.facts), &mut self.slices, self.now).unwrap();
        for operation in operations {
            self.tables.note(&operation);
            steps.push(operation.to_string());
        }
        for operation in finish(&self.links, to) {
            self.devices(&operation, &mut steps);
        }
        self.now += Duration::from_secs(2);
        assert_eq!(&self.links, to);
        assert_eq!(prepare(&self.links, to), []);
        assert_eq!(finish(&self.links, to), []);
        assert_eq!(tables(&self.tables, &wanted(&self.facts), &mut self.slices, self.now), Ok(vec![]));
        steps
    }

    fn apply(&mut self, state: &DesiredState) -> Vec<String> {
        crate::check::check(state).unwrap();
        let services = ServiceNumbers::of(state);
        self.change(&Links::desired(state), |facts| DesiredTables::new(state, facts, &services))
    }

    fn leave(&mut self) -> Vec<String> {
        let steps = self.change(&Links::default(), |_| DesiredTables::default());
        assert_eq!(self.tables, Tables::default());
        assert_eq!(self.slices.take(1 << 20, self.now).map(|slice| slice.len), Ok(1 << 20));
        steps
    }

    fn devices(&mut self, operation: &LinkOperation, steps: &mut Vec<String>) {
        let mut number = |device: &str| {
            self.facts.numbers.insert(device.to_owned(), self.next_number);
            self.next_number += 1;
        };
        match operation {
            LinkOperation::AddOverlay(_) => number(name::OVERLAY),
            LinkOperation::AddDns => number(name::DNS),
            LinkOperation::AddEndpoint(id, _) => number(&name::host_side(*id)),
            LinkOperation::DeleteEndpoints(ids) => {
                for id in ids {
                    self.facts.numbers.remove(&name::host_side(*id));
                }
            }
            _ => {}
        }
        self.links.note(operation);
        steps.push(operation.to_string());
    }
}

fn state(json: &str) -> DesiredState {
    serde_json::from_str(json).unwrap()
}

fn example() -> DesiredState {
    state(include_str!("golden/web.json"))
}

/// Compares with a golden file; `MESH_BLESS=1` writes it.
fn golden(file: &str, told: &[(&str, Vec<String>)]) {
    let chapters =
        told.iter().flat_map(|(title, steps)| [format!("# {title}")].into_iter().chain(steps.clone()));
    let text = chapters.map(|line| line + "\n").collect::<String>();
    let path = format!("{}/src/plan/golden/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("MESH_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, expected, "{path} differs; MESH_BLESS=1 writes it");
}

#[test]
fn a_service_comes_grows_moves_and_goes() {
    let mut model = Model::new();
    let first = example();
    let mut told = vec![("create", model.apply(&first)), ("the same again", model.apply(&first))];

    let mut second = first.clone();
    second.networks.get_mut(&4097).unwrap().mtu = 1400;
    told.push(("the path is narrower", model.apply(&second)));

    second.vips[0].backends.remove(&1);
    second.published[0].backends.remove(&1);
    told.push(("task 1 is drained", model.apply(&second)));

    second.endpoints.remove(&1);
    told.push(("task 1 is gone", model.apply(&second)));

    second.node.data_path_port = 4790;
    told.push(("the overlay's port is another", model.apply(&second)));

    told.push(("delete, and it is empty", model.leave()));
    golden("service.txt", &told);
}

#[test]
fn a_new_task_takes_the_place_of_an_old_one_in_the_same_namespace() {
    let mut model = Model::new();
    let mut first = example();
    let mut told = vec![("create", model.apply(&first))];
    let mut endpoint = first.endpoints.remove(&1).unwrap();
    endpoint.address = "10.0.1.9".parse().unwrap();
    first.endpoints.insert(77, endpoint);
    for backends in [&mut first.vips[0].backends, &mut first.published[0].backends] {
        backends.remove(&1);
        backends.insert(77);
    }
    told.push(("replace", model.apply(&first)));
    told.push(("delete, and it is empty", model.leave()));
    golden("replace.txt", &told);
}

#[test]
fn an_uplinks_new_address_gets_every_published_port() {
    let mut model = Model::new();
    let wanted = example();
    model.apply(&wanted);
    let uplink = model.facts.uplinks.get_mut("eth0").unwrap();
    uplink.addresses.insert(Ipv4Addr::new(192, 0, 2, 99));
    let mut told = vec![("an address comes", model.apply(&wanted))];
    model.facts.uplinks.get_mut("eth0").unwrap().addresses.remove(&Ipv4Addr::new(192, 0, 2, 99));
    told.push(("and goes", model.apply(&wanted)));
    told.push(("delete, and it is empty", model.leave()));
    golden("address.txt", &told);
}

#[test]
fn entries_that_somebody_altered_or_deleted_are_put_right() {
    let mut model = Model::new();
    let wanted = example();
    model.apply(&wanted);
    let keys: Vec<_> = model.tables.entries.keys().copied().collect();
    for key in keys {
        let before = model.tables.clone();
        model.tables.entries.remove(&key);
        assert_eq!(model.apply(&wanted).len(), 1, "{key}");
        assert_eq!(model.tables, before);
    }
    let (key, placed) = model.tables.frontends.iter_mut().next().unwrap();
    let key = *key;
    placed.backends[0] = 0;
    assert_eq!(model.apply(&wanted).len(), 1, "{key}");
    assert_eq!(model.tables.frontends[&key].backends, [1, 2]);
}

#[test]
fn an_orphan_goes_before_anything_is_made() {
    let mut model = Model::new();
    let wanted = example();
    let nowhere = EndpointLink {
        netns: PathBuf::new(),
        inside: String::new(),
        mac: None,
        address: None,
        mtu: 0,
        gateway: None,
        dns: false,
        up: true,
    };
    // One of a task that is gone, and one of endpoint 1 whose inner end is not where it should be.
    model.links.endpoints.extend([(99, nowhere.clone()), (1, nowhere)]);
    let steps = model.apply(&wanted);
    let position = |text: &str| steps.iter().position(|step| step.starts_with(text));
    assert!(position("delete veth mv1 mv63").unwrap() < position("add veth mv1").unwrap());
}

#[test]
fn one_more_service_among_many_is_one_step() {
    let mut model = Model::new();
    let mut wanted = example();
    for index in 0..200_u8 {
        let mut vip = wanted.vips[0].clone();
        vip.address = Ipv4Addr::new(10, 0, 1, 50 + index).into();
        vip.service = format!("service-{index}");
        wanted.vips.push(vip);
    }
    let last = wanted.vips.pop().unwrap();
    model.apply(&wanted);
    wanted.vips.push(last);
    assert_eq!(model.apply(&wanted).len(), 1);
}
