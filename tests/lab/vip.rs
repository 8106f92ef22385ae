//! A service answers at its virtual address and by its name, from a task on every node.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::harness::Lab;
use crate::ingress::task_ids;
use crate::names::addresses;
use crate::traffic::{met, whoami, whoami_udp};

#[test]
fn a_vip_reaches_every_replica_from_a_task_on_each_node_over_tcp_and_udp() {
    let lab = Lab::up("vip", 3);
    lab.ctl(&["network", "create", "-d", "overlay", "app"]).ok();
    lab.ctl(&["service", "create", "--name", "web", "--network", "app", "--replicas", "6", "mesh/whoami:1"])
        .ok();
    lab.ctl(&[
        "service",
        "create",
        "--name",
        "probe",
        "--network",
        "app",
        "--mode",
        "global",
        "mesh/whoami:1",
    ])
    .ok();
    let all = task_ids(&lab, "web");
    for probe in lab.running("probe") {
        lab.inside_task(probe.node, &probe.id, || {
            let vips = addresses("web");
            assert_eq!(vips.len(), 1, "one VIP: {vips:?}");
            let to = SocketAddrV4::new(vips[0], 80);
            assert_eq!(met(200, || whoami(to)), all, "TCP from n{}", probe.node);
            assert_eq!(met(200, || whoami_udp(to)), all, "UDP from n{}", probe.node);
            assert_eq!(addresses("tasks.web").len(), 6);
            assert_eq!(addresses("web.app"), vips);
        });
    }
}

#[test]
fn a_task_reaches_itself_through_its_own_vip() {
    let lab = Lab::up("hairpin", 1);
    lab.ctl(&["network", "create", "-d", "overlay", "app"]).ok();
    lab.ctl(&["service", "create", "--name", "web", "--network", "app", "mesh/whoami:1"]).ok();
    let web = lab.running("web").remove(0);
    lab.inside_task(web.node, &web.id, || {
        let to = SocketAddrV4::new(addresses("web")[0], 80);
        assert_eq!(met(20, || whoami(to)), [web.id.clone()].into());
        assert_eq!(met(20, || whoami_udp(to)), [web.id.clone()].into());
        assert!(addresses("nothing.of.this.name").is_empty());
        assert_ne!(addresses("web"), vec![Ipv4Addr::UNSPECIFIED]);
    });
}
