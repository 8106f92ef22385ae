//! Answers without an end: the watch and the flows.

use mesh_api::mesh::{Object, ObjectKind, WatchEvent};
use mesh_core::object::Task;
use mesh_core::store::{Transaction, Write};
use mesh_core::time::Timestamp;

use super::super::backend::{Ledger, Peers};
use super::double::Client;
use super::lines::Lines;
use crate::agent::samples;

impl Lines {
    /// Events up to and with the one that ends the beginning.
    async fn beginning(&mut self) -> (Vec<WatchEvent>, u64, Vec<String>) {
        let mut events = Vec::new();
        loop {
            match self.next::<WatchEvent>().await.expect("a beginning") {
                WatchEvent::Synced { index, present } => return (events, index, present),
                event => events.push(event),
            }
        }
    }
}

const WEB: &str = r#"{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"mesh/whoami:1"}}}"#;

#[tokio::test]
async fn a_watch_tells_what_is_then_what_changes() {
    let client = Client::manager();
    let mut lines = Lines::open(&client, "/mesh/v1/watch").await;
    let (events, index, present) = lines.beginning().await;
    let kinds: Vec<_> = events
        .iter()
        .map(|event| match event {
            WatchEvent::Put { object, .. } => object.kind(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, [ObjectKind::Node, ObjectKind::Network], "the first node and the ingress network");
    assert_eq!(present.len(), 2);

    let made = client.post("/services/create", WEB).await;
    match lines.next().await {
        Some(WatchEvent::Put { index: at, object: Object::Service(service), .. }) => {
            assert_eq!(service.id, made["ID"].as_str().unwrap());
            assert_eq!(at, index + 1);
        }
        other => panic!("{other:?}"),
    }
    client.ask("DELETE", "/services/web", "").await;
    match lines.next().await {
        Some(WatchEvent::Delete { kind: ObjectKind::Service, id, .. }) => {
            assert_eq!(id, made["ID"].as_str().unwrap());
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_watch_tells_who_leads() {
    let client = Client::manager();
    let mut lines = Lines::open(&client, "/mesh/v1/watch?kinds=node").await;
    lines.beginning().await;
    client.ledger.peers.send_replace(Peers { leader: Some(2), ..Peers::default() });
    match lines.next().await {
        Some(WatchEvent::Put { object: Object::Node(node), .. }) => {
            assert!(!node.manager_status.expect("a manager").leader);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_watch_resumes_where_it_was() {
    let client = Client::manager();
    let (_, index, before) = Lines::open(&client, "/mesh/v1/watch").await.beginning().await;
    client.post("/services/create", WEB).await;
    let path = format!("/mesh/v1/watch?since={index}");
    let (events, later, present) = Lines::open(&client, &path).await.beginning().await;
    assert!(matches!(&events[..], [WatchEvent::Put { object: Object::Service(_), .. }]), "{events:?}");
    assert_eq!(present.len(), before.len() + 1);

    client.ask("DELETE", "/services/web", "").await;
    let path = format!("/mesh/v1/watch?since={later}");
    let (events, _, present) = Lines::open(&client, &path).await.beginning().await;
    assert_eq!(
        (events, present),
        (Vec::new(), before),
        "the service is gone without a word, but not present"
    );
}

#[tokio::test]
async fn a_watch_is_narrowed_to_kinds_and_a_service() {
    let client = Client::manager();
    client.post("/services/create", WEB).await;
    client.post("/services/create", &WEB.replace("web", "db")).await;
    let path = "/mesh/v1/watch?kinds=service,task&service=web";
    let (events, _, present) = Lines::open(&client, path).await.beginning().await;
    assert!(
        matches!(&events[..], [WatchEvent::Put { object: Object::Service(found), .. }] if found.spec.name == "web")
    );
    assert_eq!(present.len(), 1);
    assert_eq!(client.refusal("GET", "/mesh/v1/watch?kinds=pod", "").await.0, 400);
    assert_eq!(client.refusal("GET", "/mesh/v1/watch?service=nope", "").await.0, 404);
}

#[tokio::test]
async fn a_reader_that_fell_behind_is_told_the_whole_again() {
    let client = Client::manager();
    let mut lines = Lines::open(&client, "/mesh/v1/watch?kinds=service").await;
    lines.beginning().await;
    // More than the double's feed keeps and the watch's queue takes, while nobody reads.
    for number in 0..200 {
        client.post("/services/create", &WEB.replace("web", &format!("s{number}"))).await;
    }
    let mut known = std::collections::BTreeSet::new();
    while known.len() < 200 {
        match lines.next().await.expect("more") {
            WatchEvent::Put { object, .. } => match object {
                Object::Service(found) => {
                    known.insert(found.id);
                }
                other => panic!("{other:?}"),
            },
            WatchEvent::Synced { present, .. } => assert!(present.len() <= 200),
            other @ WatchEvent::Delete { .. } => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn endless_answers_end_when_the_server_closes() {
    let client = Client::manager();
    let mut watch = Lines::open(&client, "/mesh/v1/watch").await;
    watch.beginning().await;
    let mut flows = Lines::open(&client, "/mesh/v1/flows?follow=1").await;
    assert!(flows.next_line().await.is_some());
    client.close.send(true).unwrap();
    assert!(watch.next_line().await.is_none());
    assert!(flows.next_line().await.is_none());
}

#[tokio::test]
async fn flows_without_follow_end_by_themselves() {
    let client = Client::manager();
    let mut flows = Lines::open(&client, "/mesh/v1/flows").await;
    assert!(flows.next_line().await.is_some());
    assert!(flows.next_line().await.is_none());
}

/// The task that an event tells, and whether it is outdated.
fn task(event: WatchEvent) -> Option<(String, bool)> {
    match event {
        WatchEvent::Put { object: Object::Task(task), outdated, .. } => Some((task.id, outdated)),
        _ => None,
    }
}

#[tokio::test]
async fn tasks_are_told_again_when_their_service_wants_other_ones() {
    let client = Client::manager();
    client.post("/services/create", WEB).await;
    let service = client.ledger.store().service_by_name("web").unwrap().clone();
    let made = Task {
        service: service.id,
        spec: service.spec.task.clone().into(),
        spec_version: service.spec_version,
        endpoints: Vec::new(),
        host_ports: Vec::new(),
        ..samples::task(1, 1)
    };
    let id = made.id.to_string();
    let create = Transaction { at: Timestamp::ZERO, writes: vec![Write::create(made.into())] };
    client.ledger.apply(&create).unwrap();

    let mut lines = Lines::open(&client, "/mesh/v1/watch?kinds=service,task&service=web").await;
    let (events, ..) = lines.beginning().await;
    assert_eq!(events.into_iter().filter_map(task).collect::<Vec<_>>(), [(id.clone(), false)]);

    let shown = client.get("/services/web").await;
    let mut spec = shown["Spec"].clone();
    spec["TaskTemplate"]["ForceUpdate"] = 1.into();
    let path = format!("/services/web/update?version={}", shown["Version"]["Index"]);
    client.post(&path, &spec.to_string()).await;
    assert!(matches!(lines.next().await, Some(WatchEvent::Put { object: Object::Service(_), .. })));
    assert_eq!(lines.next().await.and_then(task), Some((id, true)));
    let current = client.get("/tasks?filters=%7B%22_up-to-date%22%3A%5B%22true%22%5D%7D").await;
    assert_eq!(current.as_array().map(Vec::len), Some(0), "{current}");
}
