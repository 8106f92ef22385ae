//! The netlink and namespace layer that the dataplane, the lab and these tests stand on.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use ipnet::IpNet;
use mesh_dataplane::netlink::{LinkKind, Mac, NetEvent, NetEvents, Netlink, Route, Veth, VethEnd, Vxlan};
use mesh_dataplane::netns::Netns;
use mesh_dataplane::sysctl;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn end<'a>(name: &'a str, netns: Option<&'a Netns>) -> VethEnd<'a> {
    VethEnd { name, mac: None, netns }
}

#[tokio::test]
async fn a_veth_pair_joins_two_namespaces() {
    let (left, right) = (Netns::anonymous().unwrap(), Netns::anonymous().unwrap());
    let (left_link, right_link) = (Netlink::open(&left).unwrap(), Netlink::open(&right).unwrap());
    let mac = Mac::of_ipv4(Ipv4Addr::new(10, 9, 0, 2));
    let there = VethEnd { name: "eth0", mac: Some(mac), netns: Some(&right) };
    left_link.add_veth(&Veth { here: end("host0", None), there, mtu: 1400 }).await.unwrap();
    for (link, name, address) in [(&left_link, "host0", "10.9.0.1/24"), (&right_link, "eth0", "10.9.0.2/24")]
    {
        link.add_address(name, net(address)).await.unwrap();
        link.add_address(name, net(address)).await.unwrap();
        link.set_up(name, true).await.unwrap();
    }

    let inside = right_link.link("eth0").await.unwrap();
    assert_eq!((inside.mac, inside.mtu, inside.up, inside.kind), (Some(mac), 1400, true, LinkKind::Veth));
    assert!(inside.peer_elsewhere);
    assert_eq!(inside.peer, Some(left_link.link("host0").await.unwrap().index));
    assert!(left_link.find_link("eth0").await.unwrap().is_none());
    assert!(right_link.addresses("eth0").await.unwrap().contains(&net("10.9.0.2/24")));

    let echoed = right
        .run(|| {
            let server = UdpSocket::bind("10.9.0.2:7").unwrap();
            left.run(|| UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"hello", "10.9.0.2:7").unwrap())
                .unwrap();
            let mut buffer = [0; 16];
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            (buffer[..length].to_vec(), from.ip())
        })
        .unwrap();
    assert_eq!(echoed, (b"hello".to_vec(), IpAddr::from([10, 9, 0, 1])));

    assert!(left_link.delete_link("host0").await.unwrap());
    assert!(!left_link.delete_link("host0").await.unwrap());
    assert!(right_link.find_link("eth0").await.unwrap().is_none());
}

#[tokio::test]
async fn bridges_routes_settings_and_the_overlay_device() {
    let netns = Netns::anonymous().unwrap();
    let netlink = Netlink::open(&netns).unwrap();
    netlink.add_bridge("br0").await.unwrap();
    netlink.add_veth(&Veth { here: end("a", None), there: end("b", None), mtu: 1500 }).await.unwrap();
    netlink.set_controller("a", Some("br0")).await.unwrap();
    let bridge = netlink.link("br0").await.unwrap();
    assert_eq!(
        (netlink.link("a").await.unwrap().controller, bridge.kind),
        (Some(bridge.index), LinkKind::Bridge)
    );
    assert!(netlink.add_bridge("br0").await.unwrap_err().is_present());

    netlink.add_address("b", net("192.0.2.1/24")).await.unwrap();
    for link in ["a", "b", "br0"] {
        netlink.set_up(link, true).await.unwrap();
    }
    let route = Route::default_via(IpAddr::from([192, 0, 2, 254]), "b");
    netlink.set_route(&route).await.unwrap();
    netlink.set_route(&Route::on_link(net("169.254.53.53/32"), "b")).await.unwrap();
    let routes = netlink.routes().await.unwrap();
    assert!(routes.contains(&route) && routes.len() == 3, "{routes:?}");
    assert!(netlink.delete_route(&route).await.unwrap());
    assert!(!netlink.delete_route(&route).await.unwrap());

    netlink.add_vxlan(&Vxlan { name: "vx", port: 4790, mtu: 8950 }).await.unwrap();
    let vxlan = netlink.link("vx").await.unwrap();
    assert_eq!((vxlan.kind, vxlan.mtu), (LinkKind::Vxlan { port: 4790, external: true }, 8950));

    sysctl::write(&netns, "net/ipv4/conf/b/rp_filter", "0").unwrap();
    assert_eq!(sysctl::read(&netns, "net/ipv4/conf/b/rp_filter").unwrap(), "0");
    assert!(sysctl::write(&netns, "net/ipv4/no_such_thing", "0").is_err());
}

#[tokio::test]
async fn changes_are_announced() {
    let netns = Netns::anonymous().unwrap();
    let netlink = Netlink::open(&netns).unwrap();
    let mut events = NetEvents::open(&netns).unwrap();
    netlink.add_bridge("br0").await.unwrap();
    assert_eq!(events.next().await, Some(NetEvent::Link("br0".to_owned())));
    netlink.add_address("br0", net("192.0.2.1/24")).await.unwrap();
    let index = netlink.link("br0").await.unwrap().index;
    while events.next().await != Some(NetEvent::Addresses(index)) {}
}
