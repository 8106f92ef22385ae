//! Networks, and who joins them.

use super::*;

#[test]
fn services_join_networks_that_they_can_tell_apart() {
    let mut bench = Bench::new();
    let first = bench.network(in_subnet("first", "10.9.0.0/24")).unwrap();
    let second = bench.network(in_subnet("second", "10.9.0.0/24")).unwrap();
    let around = bench.network(in_subnet("around", "10.8.0.0/14")).unwrap();
    let ingress = bench.store.ingress_network().unwrap().id;
    let refusals = [
        (
            joining("a", &[first, second]),
            "network first (10.9.0.0/24) and network second (10.9.0.0/24) overlap: a service cannot join both",
        ),
        (
            joining("a", &[around, first]),
            "network around (10.8.0.0/14) and network first (10.9.0.0/24) overlap: a service cannot join both",
        ),
        (
            joining("a", &[ingress]),
            "invalid networks: service cannot be explicitly attached to the ingress network \"ingress\"",
        ),
        (joining("a", &[first, first]), &format!("invalid networks: network {first} is listed twice")),
    ];
    for (spec, refusal) in refusals {
        assert_eq!(words(bench.service(spec)).1, refusal);
    }
    bench.service(joining("a", &[first])).unwrap();
    bench.service(joining("b", &[second])).unwrap();
    let over = bench.network(in_subnet("over", "10.0.0.0/24")).unwrap();
    bench.service(joining("c", &[over])).unwrap();
    let mut spec = joining("d", &[over]);
    spec.endpoint.ports = vec![tcp(8080)];
    let refusal =
        "network ingress (10.0.0.0/24) and network over (10.0.0.0/24) overlap: a service cannot join both";
    assert_eq!(words(bench.service(spec)), (RefusalKind::FailedPrecondition, refusal.into()));
    let mut spec = joining("e", &[first]);
    spec.task.networks[0].aliases = vec!["no name".into()];
    assert_eq!(words(bench.service(spec)).1, "invalid network aliases: \"no name\" is not a DNS name");
}

#[test]
fn network_fields_are_checked() {
    let gateway = |subnet: Option<&str>, gateway: &str| NetworkSpec {
        subnet: subnet.map(|subnet| subnet.parse().unwrap()),
        gateway: Some(gateway.parse().unwrap()),
        ..network_spec("net")
    };
    let cases = [
        (
            in_subnet("net", "10.9.0.1/24"),
            "invalid subnet: 10.9.0.1/24 has bits set beyond its prefix: 10.9.0.0/24 is meant",
        ),
        (in_subnet("net", "10.9.0.0/30"), "invalid subnet: 10.9.0.0/30 is not between /8 and /29"),
        (in_subnet("net", "0.0.0.0/0"), "invalid subnet: 0.0.0.0/0 is not between /8 and /29"),
        (in_subnet("net", "127.0.0.0/16"), "invalid subnet: 127.0.0.0/16 is not a range that hosts can have"),
        (in_subnet("net", "224.0.0.0/16"), "invalid subnet: 224.0.0.0/16 is not a range that hosts can have"),
        (in_subnet("net", "250.0.0.0/16"), "invalid subnet: 250.0.0.0/16 is not a range that hosts can have"),
        (
            in_subnet("net", "198.18.5.0/24"),
            "invalid subnet: 198.18.5.0/24 overlaps 198.18.0.0/15, which every node uses inside",
        ),
        (in_subnet("net", "fd00::/64"), "invalid subnet: fd00::/64 is IPv6, which is not available"),
        (gateway(None, "10.9.0.1"), "invalid gateway: needs a subnet that it is in"),
        (gateway(Some("10.9.0.0/24"), "10.8.0.1"), "invalid gateway: 10.8.0.1 is no host of 10.9.0.0/24"),
        (gateway(Some("10.9.0.0/24"), "10.9.0.0"), "invalid gateway: 10.9.0.0 is no host of 10.9.0.0/24"),
        (gateway(Some("10.9.0.0/24"), "10.9.0.255"), "invalid gateway: 10.9.0.255 is no host of 10.9.0.0/24"),
        (
            NetworkSpec { mtu: Some(500), ..network_spec("net") },
            "invalid mtu: 500 is not between 576 and 65535",
        ),
        (
            NetworkSpec { labels: [(String::new(), String::new())].into(), ..network_spec("net") },
            "invalid labels: a label's key is empty",
        ),
    ];
    let mut bench = Bench::new();
    for (spec, refusal) in cases {
        assert_eq!(words(bench.network(spec)), (RefusalKind::InvalidArgument, refusal.into()));
    }
    let id = bench.network(gateway(Some("10.9.0.0/24"), "10.9.0.254")).unwrap();
    assert_eq!(bench.store.network(id).unwrap().gateway.to_string(), "10.9.0.254");
}

#[test]
fn a_network_in_use_stays() {
    let mut bench = Bench::new();
    let net = bench.network(network_spec("net")).unwrap();
    let web = bench.service(joining("web", &[net])).unwrap();
    let kind = RefusalKind::FailedPrecondition;
    assert_eq!(
        words(remove_network(&bench.store, net, AT)),
        (kind, "network net is in use by service web".into())
    );
    bench.service(publishing("door", &[tcp(80)])).unwrap();
    let ingress = bench.store.ingress_network().unwrap().id;
    assert_eq!(
        words(remove_network(&bench.store, ingress, AT)),
        (kind, "network ingress is in use by service door".into())
    );
    let gone = remove_service(&bench.store, web, AT).unwrap();
    bench.apply(&gone);
    let gone = remove_network(&bench.store, net, AT).unwrap();
    bench.apply(&gone);
    assert!(bench.store.network(net).is_none());
}
