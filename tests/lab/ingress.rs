//! A published port answers on every node, from every replica, with the client's own address.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use mesh_lab::layout::CLIENT_ADDRESS;

use crate::harness::{Lab, node_name};
use crate::traffic::{met, whoami, whoami_udp};

pub fn on(node: u8, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(node_name(node).address(), port)
}

pub fn task_ids(lab: &Lab, service: &str) -> BTreeSet<String> {
    lab.running(service).into_iter().map(|task| task.id).collect()
}

#[test]
fn a_published_port_answers_on_every_node_from_every_replica() {
    let lab = Lab::up("ingress", 3);
    lab.ctl(&["service", "create", "--name", "web", "--replicas", "6", "-p", "8080:80", "mesh/whoami:1"])
        .ok();
    let all = task_ids(&lab, "web");
    assert_eq!(all.len(), 6);
    for node in 1..=3 {
        let to = on(node, 8080);
        let seen = lab.client(|| {
            met(200, || {
                let answer = whoami(to)?;
                let address = answer["client"].split(':').next().unwrap_or_default().to_owned();
                assert_eq!(address, CLIENT_ADDRESS.to_string(), "{answer:?}");
                assert_eq!((answer["version"].as_str(), answer["service"].as_str()), ("1", "web"));
                Ok(answer)
            })
        });
        assert_eq!(seen, all, "through n{node}");
    }
}

#[test]
fn a_node_without_a_task_answers_too_and_scaling_moves_the_answers() {
    let lab = Lab::up("scale", 3);
    lab.ctl(&["service", "create", "--name", "web", "--replicas", "2", "-p", "8080:80", "mesh/whoami:1"])
        .ok();
    let two = task_ids(&lab, "web");
    let hosts: BTreeSet<u8> = lab.running("web").into_iter().map(|task| task.node).collect();
    let empty = (1..=3).find(|node| !hosts.contains(node)).expect("three nodes, two tasks");
    let to = on(empty, 8080);
    assert_eq!(lab.client(|| met(50, || whoami(to))), two);

    lab.ctl(&["service", "scale", "web=4"]).ok();
    let four = task_ids(&lab, "web");
    assert_eq!(lab.client(|| met(100, || whoami(to))), four);

    lab.ctl(&["service", "rm", "web"]).ok();
    lab.wait("the port to be closed", || lab.client(|| whoami(to)).err());
    let refused = lab.client(|| whoami(to)).expect_err("nothing is published");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "answered with RST, not with silence");
}

#[test]
fn published_udp_answers_on_every_node() {
    let lab = Lab::up("udp", 3);
    let ports = ["-p", "5353:80/udp"];
    lab.ctl(
        &[&["service", "create", "--name", "echo", "--replicas", "3"], &ports[..], &["mesh/whoami:1"]]
            .concat(),
    )
    .ok();
    let all = task_ids(&lab, "echo");
    for node in 1..=3 {
        let to = on(node, 5353);
        assert_eq!(lab.client(|| met(200, || whoami_udp(to))), all, "through n{node}");
    }
}
