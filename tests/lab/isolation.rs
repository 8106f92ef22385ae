//! Networks with the same subnet do not see one another; a forged source goes nowhere.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::harness::{Lab, RunningTask};
use crate::names::addresses;
use crate::traffic::{met, whoami};

pub fn address(task: &RunningTask) -> Ipv4Addr {
    let attachments = task.value["NetworksAttachments"].as_array().unwrap();
    let address = attachments[0]["Addresses"][0].as_str().unwrap();
    address.split('/').next().unwrap().parse().unwrap()
}

#[test]
fn equal_subnets_are_separate_worlds() {
    let lab = Lab::up("isolate", 3);
    for color in ["red", "blue"] {
        lab.ctl(&["network", "create", "-d", "overlay", "--subnet", "10.77.0.0/24", color]).ok();
        let name = format!("{color}-web");
        lab.ctl(&[
            "service",
            "create",
            "--name",
            &name,
            "--network",
            color,
            "--mode",
            "global",
            "mesh/whoami:1",
        ])
        .ok();
    }
    let (red, blue) = (lab.running("red-web"), lab.running("blue-web"));
    assert_eq!((red.len(), blue.len()), (3, 3));
    for (own, other, names) in
        [(&red, &blue, ["red-web", "blue-web"]), (&blue, &red, ["blue-web", "red-web"])]
    {
        let ids: Vec<&String> = own.iter().map(|task| &task.id).collect();
        for task in own {
            lab.inside_task(task.node, &task.id, || {
                assert_eq!(addresses(names[0]).len(), 1);
                assert_eq!(addresses(&format!("tasks.{}", names[0])).len(), 3);
                assert!(addresses(names[1]).is_empty(), "{} sees {}", names[0], names[1]);
                assert!(addresses(&format!("tasks.{}", names[1])).is_empty());
                let vip = SocketAddrV4::new(addresses(names[0])[0], 80);
                assert_eq!(met(30, || whoami(vip)).len(), 3, "its own peers answer");
                for peer in own {
                    assert_eq!(whoami(SocketAddrV4::new(address(peer), 80)).unwrap()["task"], peer.id);
                }
                for stranger in other {
                    // The same address may belong to a task of its own network, never to the stranger.
                    if let Ok(answer) = whoami(SocketAddrV4::new(address(stranger), 80)) {
                        assert!(ids.contains(&&answer["task"]), "reached a task of {}", names[1]);
                    }
                }
            });
        }
    }
}

#[test]
fn a_forged_source_is_dropped_and_counted() {
    let lab = Lab::up("forged", 2);
    lab.ctl(&["network", "create", "-d", "overlay", "app"]).ok();
    lab.ctl(&["service", "create", "--name", "web", "--network", "app", "--mode", "global", "mesh/whoami:1"])
        .ok();
    let tasks = lab.running("web");
    let (here, there) = (&tasks[0], &tasks[1]);
    let to = SocketAddrV4::new(address(there), 80);
    let forged = Ipv4Addr::from(u32::from(address(here)) ^ 0x40);
    let before = drops(&lab, here.node, "spoofed-address");
    lab.inside_task(here.node, &here.id, || {
        assert!(whoami(to).is_ok(), "its own source passes");
        let prefix = format!("{forged}/32");
        let added =
            std::process::Command::new("ip").args(["addr", "add", &prefix, "dev", "eth0"]).status().unwrap();
        assert!(added.success());
        let socket = std::net::UdpSocket::bind((forged, 0)).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
        for _ in 0..5 {
            socket.send_to(b"hello", to).unwrap();
        }
        assert!(socket.recv(&mut [0; 64]).is_err(), "a forged source got an answer");
        assert!(whoami(to).is_ok(), "its own source still passes");
    });
    assert!(
        drops(&lab, here.node, "spoofed-address") >= before + 5,
        "{}",
        lab.api(here.node, "/mesh/v1/counters")
    );
}

/// Packets that a node dropped for this reason.
fn drops(lab: &Lab, node: u8, reason: &str) -> u64 {
    lab.api(node, "/mesh/v1/counters")["Drops"][reason].as_u64().unwrap_or_default()
}
