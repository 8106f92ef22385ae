//! The stream of events.

use std::time::Duration;

use mesh_api::engine::event::Event;
use mesh_core::command::create_network;
use mesh_core::spec::{Labels, NetworkSpec};
use mesh_core::time::Timestamp;
use serde_json::json;

use super::super::backend::{Ledger, Peers};
use super::double::{Client, Counter};
use super::engine::escape;
use super::lines::Lines;

const WEB: &str = r#"{"Name":"web","Labels":{"tier":"front"},"TaskTemplate":{"ContainerSpec":{"Image":"mesh/whoami:1"}},
    "Mode":{"Replicated":{"Replicas":1}}}"#;

fn filtered(filters: &str) -> String {
    format!("/events?filters={}", escape(filters))
}

async fn next(lines: &mut Lines) -> Event {
    lines.next().await.expect("an event")
}

/// `TYPE ACTION NAME`
fn words(event: &Event) -> String {
    format!("{} {} {}", event.kind, event.action, event.actor.attributes["name"])
}

async fn scale(client: &Client, replicas: u32) {
    let mut shown = client.get("/services/web").await;
    shown["Spec"]["Mode"]["Replicated"]["Replicas"] = json!(replicas);
    let path = format!("/services/web/update?version={}", shown["Version"]["Index"]);
    client.post(&path, &shown["Spec"].to_string()).await;
}

#[tokio::test]
async fn a_service_is_told_from_its_making_to_its_end() {
    let client = Client::manager();
    let mut lines = Lines::open(&client, "/v1.50/events").await;
    let id = client.post("/services/create", WEB).await["ID"].clone();
    let made = next(&mut lines).await;
    assert_eq!(words(&made), "service create web");
    assert_eq!((json!(made.actor.id), made.scope.as_str()), (id, "swarm"));
    assert_eq!(made.time, made.time_nano / 1_000_000_000);
    assert!(made.time > 1_700_000_000);
    scale(&client, 4).await;
    let scaled = next(&mut lines).await;
    assert_eq!(
        json!(scaled.actor.attributes),
        json!({"name": "web", "replicas.old": "1", "replicas.new": "4"})
    );
    client.ask("DELETE", "/services/web", "").await;
    assert_eq!(words(&next(&mut lines).await), "service remove web");
}

#[tokio::test]
async fn a_node_is_told_with_what_changed() {
    let client = Client::manager();
    let mut lines = Lines::open(&client, &filtered(r#"{"type":["node"]}"#)).await;
    let node = client.get("/nodes/n1").await;
    client.post("/services/create", WEB).await;
    let path = format!("/nodes/n1/update?version={}", node["Version"]["Index"]);
    client.post(&path, r#"{"Role":"manager","Availability":"drain"}"#).await;
    let told = next(&mut lines).await;
    assert_eq!(words(&told), "node update n1");
    assert_eq!(told.actor.attributes["availability.old"], "active");
    assert_eq!(told.actor.attributes["availability.new"], "drain");
}

#[tokio::test]
async fn a_change_of_the_leader_is_told_once() {
    let client = Client::manager();
    let mut lines = Lines::open(&client, "/events").await;
    // Nobody leads for a while, then another does, and then this one again.
    for leader in [None, Some(2), None, Some(1)] {
        client.ledger.peers.send_replace(Peers { leader, leads: leader == Some(1), ..Peers::default() });
    }
    client.post("/services/create", WEB).await;
    let mut told = Vec::new();
    loop {
        let event = next(&mut lines).await;
        if event.kind == "service" {
            break;
        }
        told.push((
            event.actor.attributes["leader.old"].clone(),
            event.actor.attributes["leader.new"].clone(),
        ));
    }
    // What came to pass while nobody listened may be left out, never told twice.
    let alternate = told.windows(2).all(|pair| pair[0].1 == pair[1].0);
    assert!(alternate && told.iter().all(|(old, new)| old != new), "{told:?}");
}

#[tokio::test]
async fn events_are_filtered() {
    let client = Client::manager();
    let mut lines = Lines::open(&client, &filtered(r#"{"label":["tier=back"],"event":["create"]}"#)).await;
    client.post("/services/create", WEB).await;
    client.post("/services/create", &WEB.replace("web", "db").replace("front", "back")).await;
    assert_eq!(words(&next(&mut lines).await), "service create db");
    for (query, words) in [
        ("filters=%7B%22bad%22%3A%5B%22x%22%5D%7D", "Invalid filter 'bad'"),
        ("since=soon", "invalid value for since: \"soon\" is no time in seconds since 1970"),
        ("until=1.0000000001", "invalid value for until: \"1.0000000001\" is no time in seconds since 1970"),
        ("since=10&until=5", "invalid value for until: it is before since"),
    ] {
        let refusal = client.refusal("GET", &format!("/events?{query}"), "").await;
        assert_eq!(refusal, (400, words.to_owned()));
    }
}

#[tokio::test]
async fn the_past_is_told_as_far_as_it_is_known_and_the_stream_ends_in_time() {
    let client = Client::manager();
    client.post("/services/create", WEB).await;
    scale(&client, 2).await;
    // The cluster was made at 1700000000 in the double's store; the service by the clock.
    let mut lines = Lines::open(&client, "/events?since=1600000000&until=1700000001.5").await;
    let mut told = Vec::new();
    while let Some(event) = lines.next::<Event>().await {
        told.push(words(&event));
    }
    told.sort_unstable();
    assert_eq!(told, ["network create ingress", "node create n1"], "and the stream has ended");
    let mut lines = Lines::open(&client, "/events?since=1700000001").await;
    assert_eq!(words(&next(&mut lines).await), "service create web");
    assert_eq!(words(&next(&mut lines).await), "service update web");
}

#[tokio::test]
async fn a_reader_that_fell_behind_is_told_what_came_of_it() {
    let client = Client::manager();
    let mut lines = Lines::open(&client, "/events").await;
    let before = client.ledger.store().services().count();
    // More than the double's feed keeps and the stream's queue takes, while nobody reads.
    for number in 0..200 {
        client.post("/services/create", &WEB.replace("web", &format!("s{number}"))).await;
    }
    let mut made = std::collections::BTreeSet::new();
    while made.len() < 200 - before {
        let event = next(&mut lines).await;
        assert!(made.insert(event.actor.id.clone()), "told twice: {event:?}");
    }
}

#[tokio::test]
async fn a_long_past_is_told_whole_though_its_time_is_up() {
    let client = Client::manager();
    // More than the stream's queue takes, all made when the double's cluster was.
    for number in 0..200 {
        let store = client.ledger.store();
        let spec = NetworkSpec {
            name: format!("net{number}").parse().unwrap(),
            labels: Labels::new(),
            subnet: None,
            gateway: None,
            internal: false,
            attachable: false,
            ingress: false,
            mtu: None,
        };
        let at = Timestamp(1_700_000_000_000_000_000);
        let (_, made) = create_network(&store, spec, at, &mut Counter(1_000 * (number + 1))).unwrap();
        client.ledger.apply(&made).unwrap();
    }
    let filters = escape(r#"{"type":["network"]}"#);
    let path = format!("/events?since=1&until=1700000001&filters={filters}");
    let mut lines = Lines::open(&client, &path).await;
    // A reader that begins late: the queue is full, and the time is up.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut told = 0;
    while lines.next::<Event>().await.is_some() {
        told += 1;
    }
    assert_eq!(told, 201, "with the ingress network");
}
