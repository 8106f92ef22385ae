//! Lookups over one table: two networks with equal subnets, a client of each, of both, and an internal one.

use std::collections::BTreeMap;

use super::*;

const FRONT: ZoneId = 0x1001;
const BACK: ZoneId = 0x1002;

fn source(last: u8) -> IpAddr {
    Ipv4Addr::new(198, 18, 0, last).into()
}

fn zone(network: &str, names: &[(&str, &[&str])], pointers: &[(&str, &str)]) -> Zone {
    let addresses = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
    Zone {
        network: network.to_owned(),
        names: names.iter().map(|(name, list)| ((*name).to_owned(), addresses(list))).collect(),
        pointers: pointers.iter().map(|(at, name)| (at.parse().unwrap(), (*name).to_owned())).collect(),
    }
}

fn table() -> Table {
    let client = |zones: &[ZoneId], internal| Client { zones: zones.to_vec(), internal };
    let front = zone(
        "Front",
        &[
            ("web", &["10.0.1.2"]),
            ("www", &["10.0.1.2"]),
            ("tasks.web", &["10.0.1.3", "10.0.1.4", "10.0.1.5"]),
            ("web.1.abcdefghijklmnopqrstuvwxy", &["10.0.1.3"]),
            ("c0ffee", &["10.0.1.3"]),
            ("six", &["fd00::1", "10.0.1.9"]),
            ("idle", &[]),
        ],
        &[("10.0.1.3", "web.1.abcdefghijklmnopqrstuvwxy"), ("fd00::1", "six")],
    );
    let back = zone(
        "back",
        &[("web", &["10.0.1.7"]), ("db", &["10.0.1.3"]), ("tasks.db", &["10.0.1.4"])],
        &[("10.0.1.3", "db.1.x"), ("10.0.1.4", "db.2.y")],
    );
    Table {
        version: 7,
        clients: BTreeMap::from([
            (Ipv4Addr::new(198, 18, 0, 1), client(&[FRONT], false)),
            (Ipv4Addr::new(198, 18, 0, 2), client(&[BACK], false)),
            (Ipv4Addr::new(198, 18, 0, 3), client(&[BACK, FRONT], false)),
            (Ipv4Addr::new(198, 18, 0, 4), client(&[BACK], true)),
            (Ipv4Addr::new(198, 18, 0, 5), client(&[0xdead], false)),
        ]),
        zones: BTreeMap::from([(FRONT, front), (BACK, back)]),
        upstreams: vec!["192.0.2.53:53".parse().unwrap()],
    }
}

/// What is answered, as text: addresses in order, `ptr NAME`, or the name of the answer.
fn ask(index: &Index, from: u8, name: &str, kind: RecordType) -> String {
    match index.lookup(source(from), &Key::parse(name).unwrap(), kind) {
        Answer::Addresses(list) => list.iter().map(|at| at.to_string()).collect::<Vec<_>>().join(" "),
        Answer::Pointer(name) => format!("ptr {name}"),
        Answer::Empty => "empty".to_owned(),
        Answer::Forward => "forward".to_owned(),
        Answer::NxDomain => "nxdomain".to_owned(),
        Answer::Refused => "refused".to_owned(),
    }
}

#[test]
fn every_kind_of_name() {
    use RecordType::{A, AAAA, ANY, MX, PTR, SRV, TXT};
    let rows = [
        // a service, its alias, with the network, in any case, with a trailing dot
        (1, "web", A, "10.0.1.2"),
        (1, "WEB.", A, "10.0.1.2"),
        (1, "www", A, "10.0.1.2"),
        (1, "web.front", A, "10.0.1.2"),
        (1, "Web.FRONT.", A, "10.0.1.2"),
        (1, "www.front", A, "10.0.1.2"),
        (1, "web.back", A, "forward"),
        (1, "web.other", A, "forward"),
        // tasks
        (1, "tasks.web", A, "10.0.1.3 10.0.1.4 10.0.1.5"),
        (1, "tasks.web.front", A, "10.0.1.4 10.0.1.5 10.0.1.3"),
        (1, "web.1.abcdefghijklmnopqrstuvwxy", A, "10.0.1.3"),
        (1, "web.1.abcdefghijklmnopqrstuvwxy.front", A, "10.0.1.3"),
        (1, "c0ffee", A, "10.0.1.3"),
        // every other type of an own name is empty, never asked elsewhere
        (1, "web", AAAA, "empty"),
        (1, "web.front", AAAA, "empty"),
        (1, "tasks.web", AAAA, "empty"),
        (1, "web", MX, "empty"),
        (1, "web", TXT, "empty"),
        (1, "web", SRV, "empty"),
        (1, "web", PTR, "empty"),
        (1, "web", ANY, "10.0.1.2"),
        (1, "idle", A, "empty"),
        (1, "six", AAAA, "fd00::1"),
        (1, "six", A, "10.0.1.9"),
        // pointers
        (1, "3.1.0.10.in-addr.arpa", PTR, "ptr web.1.abcdefghijklmnopqrstuvwxy."),
        (1, "3.1.0.10.in-addr.arpa", A, "empty"),
        (1, "2.1.0.10.in-addr.arpa", PTR, "nxdomain"),
        (1, "7.1.0.10.in-addr.arpa", PTR, "nxdomain"),
        (1, "8.8.8.8.in-addr.arpa", PTR, "forward"),
        (2, "3.1.0.10.in-addr.arpa", PTR, "ptr db.1.x."),
        // not ours
        (1, "nosuch", A, "forward"),
        (1, "example.com", A, "forward"),
        (1, "front", A, "forward"),
        // equal subnets: each sees its own network only
        (2, "web", A, "10.0.1.7"),
        (1, "db", A, "forward"),
        (2, "db", A, "10.0.1.3"),
        (2, "www", A, "forward"),
        (2, "web.front", A, "forward"),
        // of both networks: the first one named wins, the network's name decides
        (3, "web", A, "10.0.1.7"),
        (3, "web.front", A, "10.0.1.2"),
        (3, "www", A, "10.0.1.2"),
        // internal networks only
        (4, "web", A, "10.0.1.7"),
        (4, "web", AAAA, "empty"),
        (4, "nosuch", A, "nxdomain"),
        (4, "example.com", A, "nxdomain"),
        (4, "8.8.8.8.in-addr.arpa", PTR, "nxdomain"),
        // a zone that does not exist, and one who is not known
        (5, "web", A, "forward"),
        (9, "web", A, "refused"),
        (9, "example.com", A, "refused"),
    ];
    let (index, unusable) = Index::build(&table());
    assert_eq!(unusable, []);
    for (from, name, kind, expected) in rows {
        assert_eq!(ask(&index, from, name, kind), expected, "{from} asks {name} {kind}");
    }
}

#[test]
fn addresses_take_turns() {
    let (index, _) = Index::build(&table());
    let first: Vec<_> = (0..6)
        .map(|_| ask(&index, 1, "tasks.web", RecordType::A).split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(first, ["10.0.1.3", "10.0.1.4", "10.0.1.5", "10.0.1.3", "10.0.1.4", "10.0.1.5"]);
}

#[test]
fn a_client_by_mapped_address_is_the_same_client() {
    let (index, _) = Index::build(&table());
    let mapped = Ipv4Addr::new(198, 18, 0, 1).to_ipv6_mapped().into();
    let web = Key::parse("web").unwrap();
    assert!(matches!(index.lookup(mapped, &web, RecordType::A), Answer::Addresses(_)));
    let six = "fd00::1".parse().unwrap();
    assert!(matches!(index.lookup(six, &web, RecordType::A), Answer::Refused));
}

#[test]
fn a_dot_inside_a_label_does_not_reach_tasks() {
    let (index, _) = Index::build(&table());
    let name = Name::from_labels([b"tasks.web".as_slice()]).unwrap();
    let answer = index.lookup(source(1), &Key::of(&name).unwrap(), RecordType::A);
    assert!(matches!(answer, Answer::Forward));
}

#[test]
fn names_that_are_none_are_left_out_and_told() {
    let mut table = table();
    let back = table.zones.get_mut(&BACK).unwrap();
    back.names.insert("a..b".to_owned(), vec!["10.0.1.8".parse().unwrap()]);
    let (index, unusable) = Index::build(&table);
    assert_eq!(unusable, [UnusableName { zone: BACK, name: "a..b".to_owned() }]);
    assert_eq!(ask(&index, 2, "web", RecordType::A), "10.0.1.7");
}
