//! What carries the traffic: BPF programs, and nothing else.

use std::fs;
use std::process::Command;

use mesh_lab::layout::Member;

use crate::harness::{Lab, node_name};
use crate::ingress::{on, task_ids};
use crate::names::addresses;
use crate::traffic::{met, whoami};
use std::net::SocketAddrV4;

/// Local ports on which anything listens in the network namespace of the calling thread (TCP state 0A).
fn listening() -> Vec<u16> {
    ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"]
        .iter()
        .flat_map(|file| {
            fs::read_to_string(file).unwrap().lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
        })
        .filter(|line| line.split_whitespace().nth(3) == Some("0A"))
        .map(|line| {
            let local = line.split_whitespace().nth(1).unwrap();
            u16::from_str_radix(local.rsplit(':').next().unwrap(), 16).unwrap()
        })
        .collect()
}

#[test]
fn no_netfilter_rule_and_no_proxy_carries_the_traffic() {
    let lab = Lab::up("path", 3);
    lab.ctl(&["network", "create", "-d", "overlay", "app"]).ok();
    let create =
        ["service", "create", "--name", "web", "--network", "app", "--replicas", "3", "-p", "8080:80"];
    lab.ctl(&[&create[..], &["mesh/whoami:1"]].concat()).ok();
    let all = task_ids(&lab, "web");
    for node in 1..=3 {
        let member = Member::Node(node_name(node));
        let ports = lab.inside(member, listening);
        assert!(ports.contains(&2377) == (node == 1), "the check sees listeners: n{node} {ports:?}");
        assert!(!ports.contains(&8080), "a process listens on 8080 of n{node}");
        let rules = lab.inside(member, || Command::new("nft").args(["list", "ruleset"]).output().unwrap());
        assert!(rules.status.success(), "{rules:?}");
        assert_eq!(String::from_utf8_lossy(&rules.stdout).trim(), "", "nft rules in n{node}");
        let tables = lab.inside(member, || {
            fs::read_to_string("/proc/thread-self/net/ip_tables_names").unwrap_or_default()
        });
        assert_eq!(tables, "", "iptables tables in n{node}");

        let before = packets(&lab, node);
        let to = on(node, 8080);
        assert_eq!(lab.client(|| met(50, || whoami(to))), all);
        assert!(packets(&lab, node) >= before + 50, "the BPF path of n{node} counted the requests");
    }
}

/// Packets that the ingress path of a node's BPF programs took.
fn packets(lab: &Lab, node: u8) -> u64 {
    let counters = lab.api(node, "/mesh/v1/counters");
    let ways = counters["Paths"].as_object().unwrap().iter();
    ways.filter(|(name, _)| name.starts_with("ingress-"))
        .map(|(_, way)| way["Packets"].as_u64().unwrap())
        .sum()
}

#[test]
fn with_every_daemon_stopped_ports_names_and_vips_answer_on() {
    let lab = Lab::up("stopped", 3);
    lab.ctl(&["network", "create", "-d", "overlay", "app"]).ok();
    let create =
        ["service", "create", "--name", "web", "--network", "app", "--replicas", "3", "-p", "8080:80"];
    lab.ctl(&[&create[..], &["mesh/whoami:1"]].concat()).ok();
    let tasks = lab.running("web");
    let all = task_ids(&lab, "web");
    for node in 1..=3 {
        lab.fault(&["stop", &node_name(node).to_string()]);
    }
    for node in 1..=3 {
        let to = on(node, 8080);
        assert_eq!(lab.client(|| met(200, || whoami(to))), all, "n{node}:8080");
    }
    for task in &tasks {
        lab.inside_task(task.node, &task.id, || {
            let to = SocketAddrV4::new(addresses("web")[0], 80);
            assert_eq!(met(50, || whoami(to)), all, "VIP from n{}", task.node);
        });
    }
    for node in 1..=3 {
        lab.fault(&["start", &node_name(node).to_string()]);
    }
}
