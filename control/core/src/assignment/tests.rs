//! Updates and their effect.

use super::*;
use crate::port::DYNAMIC_PORTS;

fn network(name: &str) -> NetworkView {
    NetworkView {
        name: name.to_owned(),
        vni: Vni(1),
        subnet: "10.0.0.0/24".parse().unwrap(),
        gateway: "10.0.0.1".parse().unwrap(),
        internal: false,
        ingress: false,
        mtu: None,
    }
}

#[test]
fn changes_put_replace_and_remove() {
    let id = NetworkId::from_bits;
    let mut set = AssignmentSet::default();
    let change = |networks: Vec<(u128, Option<NetworkView>)>| AssignmentChanges {
        networks: networks.into_iter().map(|(bits, view)| (id(bits), view)).collect(),
        ..AssignmentChanges::default()
    };
    set.apply_changes(change(vec![(1, Some(network("a"))), (2, Some(network("b")))]));
    set.apply_changes(change(vec![(1, None), (2, Some(network("c"))), (3, None)]));
    let names: Vec<_> = set.networks.values().map(|view| view.name.as_str()).collect();
    assert_eq!(names, ["c"]);
    let settings = ClusterSettings { data_path_port: *DYNAMIC_PORTS.start(), ..ClusterSettings::default() };
    set.apply_changes(AssignmentChanges { settings: Some(settings), ..AssignmentChanges::default() });
    assert_eq!(set.settings, settings);
    set.apply_changes(AssignmentChanges::default());
    assert_eq!(set.settings, settings, "what is not told stays");
}

#[test]
fn updates_survive_the_wire() {
    let mut set = AssignmentSet::default();
    set.networks.insert(NetworkId::from_bits(1), network("a"));
    Arc::make_mut(&mut set.peers).insert(NodeId::from_bits(2), "192.0.2.2".parse().unwrap());
    let update = AssignmentUpdate::Full { version: 7, set: Box::new(set) };
    let bytes = postcard::to_stdvec(&update).unwrap();
    assert_eq!(postcard::from_bytes::<AssignmentUpdate>(&bytes).unwrap(), update);
}

#[test]
fn a_difference_turns_one_set_into_the_other() {
    let sets = [AssignmentSet::default(), sample(1), sample(2), sample(7)];
    for old in &sets {
        for new in &sets {
            let mut set = old.clone();
            let changes = old.difference(new);
            assert_eq!(changes.is_empty(), old == new);
            set.apply_changes(changes);
            assert_eq!(&set, new);
            assert_eq!(
                old.digest() == new.digest(),
                old == new,
                "nothing of a set is left out of its digest"
            );
        }
    }
}

/// A set with something in every table but tasks; what differs in `bits` differs there.
fn sample(bits: u8) -> AssignmentSet {
    let number = u128::from(bits);
    let address: IpAddr = [192, 0, 2, bits].into();
    let endpoint = EndpointView {
        network: NetworkId::from_bits(1),
        address,
        node: NodeId::from_bits(1),
        task: TaskId::from_bits(number),
        task_name: format!("web.1.{bits}"),
        hostname: None,
        service: ServiceId::from_bits(1),
        active: bits.is_multiple_of(2),
    };
    let service = ServiceView {
        name: format!("web{bits}"),
        vips: [(NetworkId::from_bits(1), address)].into(),
        aliases: BTreeMap::new(),
        published: Vec::new(),
    };
    AssignmentSet {
        tasks: BTreeMap::new(),
        settings: ClusterSettings { data_path_port: 4000 + u16::from(bits), ..ClusterSettings::default() },
        standing: Standing { signer: [bits; 32], ..Standing::default() },
        managers: [(NodeId::from_bits(number), (address, 2377).into())].into(),
        peers: Arc::new([(NodeId::from_bits(1), address), (NodeId::from_bits(number + 1), address)].into()),
        networks: [(NetworkId::from_bits(1), network(&format!("net{bits}")))].into(),
        endpoints: [(EndpointId(1), endpoint)].into(),
        services: [(ServiceId::from_bits(1), service)].into(),
    }
}

#[test]
fn every_table_counts_in_the_digest() {
    type Change = fn(&mut AssignmentSet);
    let other = |change: Change| {
        let mut set = sample(1);
        change(&mut set);
        set
    };
    let changes: [Change; 7] = [
        |set| set.settings = ClusterSettings::default(),
        |set| set.standing = Standing::default(),
        |set| set.managers.clear(),
        |set| set.peers = Arc::default(),
        |set| set.networks.clear(),
        |set| set.endpoints.clear(),
        |set| set.services.clear(),
    ];
    let mut digests: Vec<_> = changes.iter().map(|change| other(*change).digest()).collect();
    digests.push(sample(1).digest());
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), changes.len() + 1);
    // The same entry under another key is another set.
    let (mut first, mut second) = (AssignmentSet::default(), AssignmentSet::default());
    first.networks.insert(NetworkId::from_bits(1), network("a"));
    second.networks.insert(NetworkId::from_bits(2), network("a"));
    assert_ne!(first.digest(), second.digest());
}
