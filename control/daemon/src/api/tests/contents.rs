//! Secrets and configs, request by request.

use axum::http::StatusCode;
use mesh_api::engine::event::Event;
use serde_json::{Value, json};

use super::double::{Client, Standing};
use super::lines::Lines;

/// `hunter2` in base64.
const DATA: &str = "aHVudGVyMg==";

fn body(name: &str) -> String {
    json!({"Name": name, "Labels": {"tier": "back"}, "Data": DATA}).to_string()
}

async fn make(client: &Client, plural: &str, name: &str) -> String {
    let made = client.post(&format!("/v1.50/{plural}/create"), &body(name)).await;
    made["ID"].as_str().unwrap().to_owned()
}

fn service(name: &str, container: &Value) -> String {
    let mut spec = json!({"Name": name, "TaskTemplate": {"ContainerSpec": {"Image": "mesh/whoami:1"}}});
    let target = spec["TaskTemplate"]["ContainerSpec"].as_object_mut().unwrap();
    target.extend(container.as_object().unwrap().clone());
    spec.to_string()
}

#[tokio::test]
async fn they_are_made_listed_labelled_and_removed() {
    for plural in ["secrets", "configs"] {
        let client = Client::manager();
        let (status, made) = client.ask("POST", &format!("/v1.50/{plural}/create"), &body("key")).await;
        assert_eq!((status, made["ID"].as_str().unwrap().len()), (StatusCode::CREATED, 25));
        let shown = client.get(&format!("/{plural}/key")).await;
        assert_eq!((&shown["ID"], &shown["Spec"]["Labels"]), (&made["ID"], &json!({"tier": "back"})));
        assert_eq!(shown["Version"]["Index"], 2);

        let path = format!("/{plural}/key/update?version=2");
        let refused = client.refusal("POST", &path, r#"{"Name":"key","Data":"b3RoZXI="}"#).await;
        assert_eq!(refused, (400, "only updates to Labels are allowed".to_owned()));
        let answer = client.ask("POST", &path, r#"{"Name":"key","Labels":{"tier":"front"}}"#).await;
        assert_eq!(answer, (StatusCode::OK, Value::String(String::new())));
        let shown = client.get(&format!("/{plural}/key")).await;
        assert_eq!(shown["Spec"]["Labels"], json!({"tier": "front"}));
        let refused = client.refusal("POST", &path, r#"{"Name":"key"}"#).await;
        assert_eq!(refused, (500, "update out of sequence".to_owned()));

        let (status, _) = client.ask("DELETE", &format!("/{plural}/key"), "").await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        let gone = client.refusal("GET", &format!("/{plural}/key"), "").await;
        assert_eq!(gone, (404, format!("{} key not found", plural.trim_end_matches('s'))));
        assert_eq!(client.get(&format!("/{plural}")).await, json!([]));
    }
}

#[tokio::test]
async fn configs_show_their_data_and_secrets_never_do() {
    let client = Client::manager();
    make(&client, "secrets", "key").await;
    make(&client, "configs", "app").await;
    assert_eq!(client.get("/configs/app").await["Spec"]["Data"], DATA);
    assert_eq!(client.get("/configs").await[0]["Spec"]["Data"], DATA);
    for path in ["/secrets/key", "/secrets"] {
        let (_, answer) = client.ask("GET", path, "").await;
        let text = answer.to_string();
        assert!(!text.contains(DATA) && !text.contains("\"Data\"") && !text.contains("hunter2"), "{text}");
    }
    let mut events = Lines::open(&client, "/events?since=1&filters={%22type%22:[%22secret%22]}").await;
    let event = String::from_utf8(events.next_line().await.unwrap()).unwrap();
    assert!(event.contains("key") && !event.contains(DATA) && !event.contains("hunter2"), "{event}");
}

#[tokio::test]
async fn filters_are_swarms() {
    let client = Client::manager();
    let id = make(&client, "configs", "app.v1").await;
    make(&client, "configs", "app.v2").await;
    make(&client, "configs", "web").await;
    for (filters, names) in [
        (json!({}), &["app.v1", "app.v2", "web"][..]),
        (json!({"name": ["app"]}), &["app.v1", "app.v2"]),
        (json!({"names": ["app"]}), &[]),
        (json!({"names": ["web", "app.v2"]}), &["app.v2", "web"]),
        (json!({"id": [&id]}), &["app.v1"]),
        (json!({"id": [&id], "name": ["we"]}), &["app.v1", "web"]),
        (json!({"label": ["tier=back"], "name": ["web"]}), &["web"]),
        (json!({"label": ["tier=front"]}), &[]),
    ] {
        let path = format!("/configs?filters={}", filters.to_string().replace('"', "%22"));
        let listed = client.get(&path).await;
        let mut found: Vec<_> =
            listed.as_array().unwrap().iter().map(|it| it["Spec"]["Name"].as_str().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, names, "{filters}");
    }
    let refused = client.refusal("GET", "/configs?filters={%22driver%22:[%22x%22]}", "").await;
    assert_eq!(refused, (400, "Invalid filter 'driver'".to_owned()));
}

#[tokio::test]
async fn creations_are_refused_in_swarms_words() {
    let client = Client::manager();
    make(&client, "secrets", "key").await;
    let large = "A".repeat(4 * (512_000 / 3 + 1));
    let named = |name: &str| json!({"Name": name, "Data": DATA}).to_string();
    for (body, status, message) in [
        (named("key"), 409, "secret key already exists"),
        (named("a b"), 400, "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed"),
        (
            json!({"Name": "a"}).to_string(),
            400,
            "secret data must be larger than 0 and less than 512000 bytes",
        ),
        (
            json!({"Name": "a", "Data": large}).to_string(),
            400,
            "secret data must be larger than 0 and less than 512000 bytes",
        ),
        (json!({"Name": "a", "Data": "hunter2"}).to_string(), 400, "invalid value for Data: it is no base64"),
        (json!({"Name": "a", "Driver": {"Name": "x"}}).to_string(), 400, "Driver is not supported"),
    ] {
        let (found, said) = client.refusal("POST", "/secrets/create", &body).await;
        assert!(found == status && said.starts_with(message) && !said.contains("hunter2"), "{found} {said}");
    }
    let outside = Client::new(Standing::Worker).refusal("POST", "/secrets/create", &named("x")).await;
    assert_eq!(outside.0, 503);
}

#[tokio::test]
async fn services_name_what_their_tasks_get() {
    let client = Client::manager();
    let key = make(&client, "secrets", "key").await;
    let app = make(&client, "configs", "app").await;
    let file = |name: &str| json!({"Name": name, "UID": "0", "GID": "0", "Mode": 292});
    let both = json!({
        "Secrets": [{"File": file("key"), "SecretID": key, "SecretName": "key"}],
        "Configs": [{"File": file("/app"), "ConfigID": app, "ConfigName": "app"}],
    });
    client.post("/services/create", &service("web", &both)).await;
    let shown = client.get("/services/web").await;
    let container = &shown["Spec"]["TaskTemplate"]["ContainerSpec"];
    assert_eq!((&container["Secrets"], &container["Configs"]), (&both["Secrets"], &both["Configs"]));
    for (path, message) in [
        ("/secrets/key", "secret 'key' is in use by the following service: web"),
        ("/configs/app", "config 'app' is in use by the following service: web"),
    ] {
        assert_eq!(client.refusal("DELETE", path, "").await, (400, message.to_owned()));
    }
    for (container, message) in [
        (
            json!({"Secrets": [{"File": file("a"), "SecretID": app, "SecretName": "x"}]}),
            "secret not found: x",
        ),
        (
            json!({"Secrets": [{"File": file("a"), "SecretID": "x", "SecretName": "x"}]}),
            "invalid value for TaskTemplate.ContainerSpec.Secrets[0].SecretID: ",
        ),
        (
            json!({"Configs": [{"Runtime": {}, "ConfigID": app, "ConfigName": "app"}]}),
            "TaskTemplate.ContainerSpec.Configs[0].Runtime is not supported",
        ),
    ] {
        let refused = client.refusal("POST", "/services/create", &service("other", &container)).await;
        assert!(refused.0 == 400 && refused.1.starts_with(message), "{refused:?}");
    }
    assert_eq!(client.ask("DELETE", "/services/web", "").await.0, StatusCode::OK);
    assert_eq!(client.ask("DELETE", "/secrets/key", "").await.0, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn events_tell_of_them() {
    let client = Client::manager();
    let mut lines = Lines::open(&client, "/events?filters={%22type%22:[%22secret%22,%22config%22]}").await;
    let id = make(&client, "secrets", "key").await;
    client.post("/secrets/key/update?version=2", r#"{"Name":"key"}"#).await;
    client.ask("DELETE", "/secrets/key", "").await;
    make(&client, "configs", "app").await;
    for (kind, action, name) in [
        ("secret", "create", "key"),
        ("secret", "update", "key"),
        ("secret", "remove", "key"),
        ("config", "create", "app"),
    ] {
        let event: Event = lines.next().await.unwrap();
        assert_eq!((event.kind.as_str(), event.action.as_str()), (kind, action));
        assert_eq!(event.actor.attributes["name"], name);
        assert_eq!(event.actor.id == id, kind == "secret");
    }
    let mut named = Lines::open(&client, "/events?since=1&filters={%22config%22:[%22app%22]}").await;
    let event: Event = named.next().await.unwrap();
    assert_eq!((event.kind.as_str(), event.action.as_str()), ("config", "create"));
}
