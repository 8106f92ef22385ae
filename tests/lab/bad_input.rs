//! Bad input is refused with the field and the reason, and changes nothing.

use crate::harness::Lab;

/// What is asked, on which node, the exit status, and what the error must say.
struct Case {
    ask: &'static [&'static str],
    node: u8,
    code: i32,
    says: &'static [&'static str],
}

const fn case(ask: &'static [&'static str], code: i32, says: &'static [&'static str]) -> Case {
    Case { ask, node: 1, code, says }
}

const CREATE: &str = "service";

const CASES: &[Case] = &[
    case(&[CREATE, "create", "--bogus", "mesh/whoami:1"], 64, &["--bogus"]),
    case(&[CREATE, "create", "--name", "bad name", "mesh/whoami:1"], 1, &["name", "DNS name component"]),
    case(&[CREATE, "create", "--name", "taken", "mesh/whoami:1"], 1, &["taken", "already exists"]),
    case(&[CREATE, "create", "--name", "p1", "-p", "99999:80", "mesh/whoami:1"], 64, &["99999"]),
    case(
        &[CREATE, "create", "--name", "p2", "-p", "8081:80", "mesh/whoami:1"],
        1,
        &["8081", "in use", "taken"],
    ),
    case(&[CREATE, "create", "--name", "p3", "-p", "2377:80", "mesh/whoami:1"], 1, &["2377"]),
    case(
        &[CREATE, "create", "--name", "n1", "--network", "nowhere", "mesh/whoami:1"],
        1,
        &["nowhere", "not found"],
    ),
    case(&[CREATE, "create", "--name", "r1", "--replicas", "-1", "mesh/whoami:1"], 64, &["replicas"]),
    case(
        &[CREATE, "create", "--name", "c1", "--constraint", "node.color=red", "mesh/whoami:1"],
        1,
        &["node.color"],
    ),
    case(&[CREATE, "scale", "nobody=3"], 1, &["nobody", "no such service"]),
    case(
        &["network", "create", "-d", "overlay", "--subnet", "10.0.0.0/33", "x"],
        1,
        &["Subnet", "10.0.0.0/33"],
    ),
    case(
        &["network", "create", "-d", "overlay", "--subnet", "10.9.0.0/24", "small"],
        1,
        &["small", "already exists"],
    ),
    case(
        &[CREATE, "create", "--name", "full", "--network", "small", "mesh/whoami:1"],
        1,
        &["small", "available IP"],
    ),
    case(&["network", "rm", "small"], 1, &["small", "in use"]),
    Case { ask: &[CREATE, "ls"], node: 2, code: 1, says: &["not a swarm manager"] },
    Case { ask: &[CREATE, "create", "mesh/whoami:1"], node: 2, code: 1, says: &["not a swarm manager"] },
];

#[test]
fn bad_input_is_refused_by_name_and_leaves_the_store_as_it_was() {
    let lab = Lab::up("refuse", 2);
    // Eight addresses: network, gateway, five VIPs, broadcast.
    lab.ctl(&["network", "create", "-d", "overlay", "--subnet", "10.9.0.0/29", "small"]).ok();
    lab.ctl(&["service", "create", "--name", "taken", "-p", "8081:80", "mesh/whoami:1"]).ok();
    for name in ["v1", "v2", "v3", "v4", "v5"] {
        let create = ["service", "create", "-d", "--name", name, "--replicas", "0", "--network", "small"];
        lab.ctl(&[&create[..], &["mesh/whoami:1"]].concat()).ok();
    }
    for case in CASES {
        let before = digest(&lab);
        let ran = lab.ctl_on(case.node, case.ask);
        assert_eq!(ran.code, case.code, "{:?}: {ran:?}", case.ask);
        for word in case.says {
            assert!(ran.stderr.contains(word), "{:?} should say {word:?}: {ran:?}", case.ask);
        }
        assert_eq!(ran.stderr.trim_end().lines().count(), 1, "one line: {:?}: {ran:?}", case.ask);
        assert_eq!(digest(&lab), before, "{:?} changed the store", case.ask);
    }
    let absent = crate::harness::meshctl(&["-H", "unix:///run/mesh-nowhere.sock", "service", "ls"]);
    assert_eq!(absent.code, 1);
    assert!(absent.stderr.contains("/run/mesh-nowhere.sock"), "{absent:?}");
}

fn digest(lab: &Lab) -> String {
    lab.api(1, "/mesh/v1/digest").to_string()
}
