//! What the docker CLI does, request by request.

use axum::http::StatusCode;
use futures_util::StreamExt;
use mesh_core::command::leave_raft;
use mesh_core::id::NodeId;
use mesh_core::object::{ManagerStatus, Node};
use mesh_core::spec::Role;
use mesh_core::store::{Transaction, Write};
use mesh_core::time::Timestamp;
use serde_json::{Value, json};

use super::super::backend::Ledger;
use super::double::{Client, Standing};

const WEB: &str = r#"{"Name":"web","Labels":{},"TaskTemplate":{"ContainerSpec":{"Image":"mesh/whoami:1","Init":false,
    "DNSConfig":{}},"Resources":{"Limits":{},"Reservations":{}},"Placement":{},"ForceUpdate":0},"Mode":{"Replicated":
    {"Replicas":3}},"EndpointSpec":{"Mode":"vip","Ports":[{"Protocol":"tcp","TargetPort":80,"PublishedPort":8080,
    "PublishMode":"ingress"}]}}"#;

#[tokio::test]
async fn ping_carries_what_clients_negotiate_with() {
    for (standing, swarm) in [
        (Standing::Outside, "inactive"),
        (Standing::Worker, "active/worker"),
        (Standing::Manager, "active/manager"),
    ] {
        let client = Client::new(standing);
        for method in ["GET", "HEAD"] {
            let answer = client.send(method, "/_ping", "").await;
            let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
            assert_eq!(header("api-version"), mesh_api::API_VERSION);
            assert_eq!(header("docker-experimental"), "false");
            assert_eq!(header("ostype"), "linux");
            assert!(header("server").starts_with("meshd/"));
            assert_eq!(header("cache-control"), "no-cache, no-store, must-revalidate");
            assert_eq!(header("pragma"), "no-cache");
            assert_eq!(header("swarm"), swarm);
        }
    }
}

#[tokio::test]
async fn versioned_and_unversioned_paths_are_one() {
    let client = Client::manager();
    for path in ["/nodes", "/v1.24/nodes", "/v1.41/nodes", "/v1.50/nodes"] {
        assert_eq!(client.get(path).await[0]["Description"]["Hostname"], "n1", "{path}");
    }
    let (status, message) = client.refusal("GET", "/v1.99/nodes", "").await;
    assert_eq!((status, message.contains("is too new")), (400, true), "{message}");
    let (status, message) = client.refusal("GET", "/v1.12/nodes", "").await;
    assert_eq!((status, message.contains("is too old")), (400, true), "{message}");
}

#[tokio::test]
async fn a_service_is_made_listed_scaled_and_removed() {
    let client = Client::manager();
    let (status, made) = client.ask("POST", "/v1.50/services/create", WEB).await;
    assert_eq!(status, StatusCode::CREATED);
    let id = made["ID"].as_str().unwrap();
    assert_eq!(id.len(), 25);

    let shown = client.get("/services/web?insertDefaults=false").await;
    assert_eq!(shown["ID"], id);
    assert_eq!(shown["Endpoint"]["Ports"][0]["PublishedPort"], 8080);
    let grace = |shown: &Value| shown["Spec"]["TaskTemplate"]["ContainerSpec"]["StopGracePeriod"].clone();
    assert_eq!(grace(&shown), Value::Null, "what goes back in an update is what came");
    assert_eq!(grace(&client.get("/services/web?insertDefaults=true").await), 10_000_000_000_i64);

    let listed = client.get("/services?status=true").await;
    assert_eq!(
        listed[0]["ServiceStatus"],
        json!({"RunningTasks": 0, "DesiredTasks": 3, "CompletedTasks": 0})
    );
    assert!(client.get("/services").await[0].get("ServiceStatus").is_none());

    let mut spec = shown["Spec"].clone();
    spec["Mode"]["Replicated"]["Replicas"] = json!(5);
    let path = format!("/services/{id}/update?version={}", shown["Version"]["Index"]);
    client.post(&path, &spec.to_string()).await;
    let scaled = client.get("/services/web").await;
    assert_eq!(scaled["Spec"]["Mode"]["Replicated"]["Replicas"], 5);
    assert_eq!(scaled["PreviousSpec"]["Mode"]["Replicated"]["Replicas"], 3);

    let (status, message) = client.refusal("POST", &path, &spec.to_string()).await;
    assert_eq!((status, message.as_str()), (500, "update out of sequence"));

    assert_eq!(client.ask("DELETE", "/services/web", "").await.0, StatusCode::OK);
    assert_eq!(client.refusal("GET", "/services/web", "").await, (404, "service web not found".to_owned()));
}

#[tokio::test]
async fn a_service_without_a_name_gets_one() {
    let client = Client::manager();
    let body = r#"{"TaskTemplate":{"ContainerSpec":{"Image":"mesh/whoami:1"}}}"#;
    client.post("/services/create", body).await;
    let listed = client.get("/services").await;
    assert!(listed[0]["Spec"]["Name"].as_str().unwrap().contains('_'), "{listed}");
}

#[tokio::test]
async fn a_host_name_may_have_an_underscore_as_in_docker() {
    let client = Client::manager();
    let body =
        r#"{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"mesh/whoami:1","Hostname":"app_1"}}}"#;
    client.post("/services/create", body).await;
    let shown = client.get("/services/web").await;
    assert_eq!(shown["Spec"]["TaskTemplate"]["ContainerSpec"]["Hostname"], "app_1");
}

#[tokio::test]
async fn a_request_that_lost_a_race_is_decided_anew() {
    let client = Client::manager();
    *client.ledger.conflicts.lock().unwrap() = 3;
    client.post("/services/create", WEB).await;
    *client.ledger.conflicts.lock().unwrap() = 1000;
    let (status, message) = client.refusal("DELETE", "/services/web", "").await;
    assert_eq!((status, message.ends_with("try again")), (503, true), "{message}");
}

/// What it decides on its own store is checked by the log, and it refuses on the newest store alone.
#[tokio::test]
async fn a_manager_that_is_behind_decides_as_one_that_is_not() {
    let client = Client::manager();
    let create = || client.ask("POST", "/services/create", WEB);
    *client.ledger.behind.lock().unwrap() = Some(client.ledger.store());
    assert_eq!(create().await.0, StatusCode::CREATED);
    assert_eq!(create().await.0, StatusCode::CONFLICT, "the name is free only in what it sees");

    *client.ledger.behind.lock().unwrap() = Some(client.ledger.read().await.unwrap());
    let id = client.get("/services").await[0]["ID"].as_str().unwrap().to_owned();
    assert_eq!(client.ask("DELETE", &format!("/services/{id}"), "").await.0, StatusCode::OK);
    assert_eq!(create().await.0, StatusCode::CREATED, "the name is taken only in what it sees");
}

#[tokio::test]
async fn lists_are_filtered_as_docker_filters() {
    let client = Client::manager();
    client.post("/services/create", WEB).await;
    let body = r#"{"Name":"db","Labels":{"tier":"back"},"TaskTemplate":{"ContainerSpec":{"Image":"x"}},"Mode":{"Global":{}}}"#;
    client.post("/services/create", body).await;
    for (filters, names) in [
        ("{}", vec!["db", "web"]),
        (r#"{"name":["w"]}"#, vec!["web"]),
        (r#"{"name":{"web":true,"db":true}}"#, vec!["db", "web"]),
        (r#"{"mode":["global"]}"#, vec!["db"]),
        (r#"{"label":["tier=back"]}"#, vec!["db"]),
        (r#"{"label":["tier"],"name":["web"]}"#, vec![]),
    ] {
        let path = format!("/services?filters={}", escape(filters));
        let listed = client.get(&path).await;
        let mut found: Vec<_> =
            listed.as_array().unwrap().iter().map(|one| one["Spec"]["Name"].as_str().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, names, "{filters}");
    }
    assert_eq!(client.get("/tasks?filters=%7B%22_up-to-date%22%3A%5B%22true%22%5D%7D").await, json!([]));
    for state in ["running", "Running", "PENDING", "complete", "remove", "orphaned"] {
        let path = format!("/tasks?filters={}", escape(&format!(r#"{{"desired-state":["{state}"]}}"#)));
        assert_eq!(client.get(&path).await, json!([]), "{state}");
    }
    for (path, message) in [
        ("/services?filters=%7B%22bad%22%3A%5B%22x%22%5D%7D", "Invalid filter 'bad'"),
        ("/services?filters=%7B%22mode%22%3A%5B%22x%22%5D%7D", "Invalid filter 'mode=x'"),
        ("/tasks?filters=%7B%22desired-state%22%3A%5B%22x%22%5D%7D", "Invalid filter 'desired-state=x'"),
        ("/nodes?filters=%7B%22bad%22%3A%5B%22x%22%5D%7D", "Invalid filter 'bad'"),
        ("/networks?filters=%7B%22bad%22%3A%5B%22x%22%5D%7D", "Invalid filter 'bad'"),
    ] {
        assert_eq!(client.refusal("GET", path, "").await, (400, message.to_owned()), "{path}");
    }
    let (status, _) = client.refusal("GET", "/services?filters=nonsense", "").await;
    assert_eq!(status, 400);
}

pub fn escape(text: &str) -> String {
    text.bytes().flat_map(|byte| ['%'.to_string(), format!("{byte:02X}")]).collect()
}

#[tokio::test]
async fn networks_are_made_joined_and_kept_while_in_use() {
    let client = Client::manager();
    let (status, made) = client
        .ask("POST", "/networks/create", r#"{"Name":"back","Driver":"overlay","IPAM":{"Driver":"default","Options":{},"Config":[{"Subnet":"10.9.0.0/24"}]}}"#)
        .await;
    assert_eq!(status, StatusCode::CREATED);
    let id = made["Id"].as_str().unwrap();
    let shown = client.get("/networks/back?scope=swarm").await;
    assert_eq!(shown["Id"], id);
    assert_eq!(shown["IPAM"]["Config"][0]["Subnet"], "10.9.0.0/24");
    let names: Vec<_> =
        client.get("/networks").await.as_array().unwrap().iter().map(|one| one["Name"].clone()).collect();
    assert!(names.contains(&json!("ingress")) && names.contains(&json!("back")), "{names:?}");

    let body = format!(
        r#"{{"Name":"api","TaskTemplate":{{"ContainerSpec":{{"Image":"x"}},"Networks":[{{"Target":"{id}"}},{{"Target":"back","Aliases":["a1"]}}]}}}}"#
    );
    client.post("/services/create", &body).await;
    let service = client.get("/services/api").await;
    let joined = &service["Spec"]["TaskTemplate"]["Networks"];
    assert_eq!(*joined, json!([{"Target": id, "Aliases": ["a1"]}]), "joined once, with the alias");
    assert_eq!(service["Endpoint"]["VirtualIPs"][0]["NetworkID"], id);

    let (status, message) = client.refusal("DELETE", "/networks/back", "").await;
    assert_eq!((status, message.as_str()), (400, "network back is in use by service api"));
    client.ask("DELETE", "/services/api", "").await;
    assert_eq!(client.ask("DELETE", "/networks/back", "").await.0, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_manager_that_is_removed_by_force_is_demoted_and_let_go_by_the_others_first() {
    let client = Client::manager();
    let store = client.ledger.store();
    let id = NodeId::from_bits(2);
    let second = Node {
        id,
        manager: Some(ManagerStatus { raft_id: 2, addr: ([192, 0, 2, 12], 2377).into() }),
        ..Node::clone(store.node(NodeId::from_bits(1)).unwrap())
    };
    let joined = Transaction { at: Timestamp(1), writes: vec![Write::create(second.into())] };
    client.ledger.apply(&joined).unwrap();
    client.ledger.peers.send_modify(|peers| peers.heard = [2].into());
    let mut feed = client.ledger.feed();
    let others = async {
        let demoted = loop {
            feed.next().await.unwrap();
            let store = client.ledger.store();
            let node = store.node(id).expect("it is there as long as it is a member");
            if node.spec.role == Role::Worker {
                break store;
            }
        };
        client.ledger.apply(&leave_raft(&demoted, id, Timestamp(2)).unwrap()).unwrap();
    };
    let path = format!("/nodes/{id}?force=1");
    let ((status, body), ()) = tokio::join!(client.ask("DELETE", &path, ""), others);
    assert_eq!(status, 200, "{body}");
    assert!(client.ledger.store().node(id).is_none());
}

#[tokio::test]
async fn nodes_are_updated_by_their_version() {
    let client = Client::manager();
    let node = client.get("/nodes/n1").await;
    assert_eq!(
        node["ManagerStatus"],
        json!({"Leader": true, "Reachability": "reachable", "Addr": "192.0.2.11:2377"})
    );
    let id = node["ID"].as_str().unwrap();
    let path = format!("/nodes/{id}/update?version={}", node["Version"]["Index"]);
    client.post(&path, r#"{"Labels":{"zone":"a"},"Role":"manager","Availability":"drain"}"#).await;
    let drained = client.get(&format!("/nodes/{id}")).await;
    assert_eq!(drained["Spec"], json!({"Labels": {"zone": "a"}, "Role": "manager", "Availability": "drain"}));
    let (status, message) =
        client.refusal("POST", &path, r#"{"Role":"manager","Availability":"active"}"#).await;
    assert_eq!((status, message.as_str()), (500, "update out of sequence"));
    let (status, message) = client.refusal("DELETE", &format!("/nodes/{id}"), "").await;
    assert_eq!((status, message.contains("cluster manager")), (400, true), "{message}");
    let (status, message) = client.refusal("DELETE", &format!("/nodes/{id}?force=1"), "").await;
    assert_eq!((status, message.contains("last manager")), (400, true), "{message}");
    let path = format!("/nodes/{id}/update?version={}", drained["Version"]["Index"]);
    let (status, message) =
        client.refusal("POST", &path, r#"{"Role":"worker","Availability":"active"}"#).await;
    assert_eq!((status, message.as_str()), (400, "attempting to demote the last manager of the swarm"));
}

#[tokio::test]
async fn the_cluster_is_shown_and_changed() {
    let client = Client::manager();
    let swarm = client.get("/swarm").await;
    assert_eq!(swarm["JoinTokens"]["Worker"], "SWMTKN-1-root-worker");
    assert_eq!(swarm["DefaultAddrPool"], json!(["10.0.0.0/8"]));
    let info = client.get("/info").await;
    assert_eq!(info["Swarm"]["LocalNodeState"], "active");
    assert_eq!(info["Swarm"]["ControlAvailable"], true);
    assert_eq!(info["Swarm"]["Cluster"]["ID"], swarm["ID"]);
    assert!(info["Swarm"]["Cluster"].get("JoinTokens").is_none(), "no secrets in info");

    let path = format!("/swarm/update?version={}&rotateWorkerToken=true", swarm["Version"]["Index"]);
    let mut spec = swarm["Spec"].clone();
    spec["Orchestration"]["TaskHistoryRetentionLimit"] = json!(3);
    let before = client.ledger.store().index();
    client.post(&path, &spec.to_string()).await;
    assert_eq!(client.ledger.store().index(), before + 1);
    let changed = client.get("/swarm").await;
    assert_eq!(changed["Spec"]["Orchestration"]["TaskHistoryRetentionLimit"], 3);
    let (status, _) = client.refusal("POST", &path, &spec.to_string()).await;
    assert_eq!(status, 500);
}

#[tokio::test]
async fn what_the_life_cycle_refuses_has_swarms_status() {
    let outside = Client::new(Standing::Outside);
    assert_eq!(outside.post("/swarm/init", "{}").await, "0000000000000000000000001");
    for path in [
        "/nodes",
        "/services",
        "/tasks",
        "/networks",
        "/swarm",
        "/mesh/v1/digest",
        "/mesh/v1/settled",
        "/mesh/v1/watch",
    ] {
        let (status, message) = outside.refusal("GET", path, "").await;
        assert_eq!(
            (status, message.starts_with("This node is not a swarm manager. Use")),
            (503, true),
            "{path}"
        );
        let worker = Client::new(Standing::Worker);
        let (status, message) = worker.refusal("GET", path, "").await;
        assert_eq!((status, message.contains("Worker nodes can't")), (503, true), "{path}");
    }
    let manager = Client::manager();
    assert_eq!(manager.refusal("POST", "/swarm/init", "{}").await.0, 503);
    assert_eq!(manager.refusal("POST", "/swarm/leave", "").await.0, 503);
    assert_eq!(manager.ask("POST", "/swarm/leave?force=1", "").await.0, StatusCode::OK);
    assert_eq!(manager.refusal("POST", "/swarm/unlock", "{}").await, (409, "swarm is not locked".to_owned()));
    let join = r#"{"RemoteAddrs":["192.0.2.11:2377"],"JoinToken":"SWMTKN-1-x"}"#;
    let (status, message) = outside.refusal("POST", "/swarm/join", join).await;
    assert_eq!((status, message.starts_with("Timeout was reached before node joined.")), (503, true));
}

#[tokio::test]
async fn what_is_not_answered_says_so_in_one_line() {
    let client = Client::manager();
    for (method, path, status) in [
        ("GET", "/containers/json", 501),
        ("GET", "/v1.50/images/json", 501),
        ("POST", "/plugins/pull", 501),
        ("GET", "/services/web/logs?stdout=1", 501),
        ("GET", "/distribution/mesh/whoami:1/json", 404),
        ("GET", "/nothing", 404),
        ("PUT", "/services", 404),
    ] {
        let (found, message) = client.refusal(method, path, "").await;
        assert_eq!(found, status, "{method} {path}: {message}");
        assert!(!message.contains('\n') && !message.is_empty());
    }
}

#[tokio::test]
async fn settled_tells_of_an_index_and_who_is_waited_for() {
    let client = Client::manager();
    let index = client.ledger.store().index();
    let now = json!({"Settled": true, "Index": index, "Waiting": []});
    assert_eq!(client.get("/mesh/v1/settled").await, now);
    assert_eq!(client.get(&format!("/mesh/v1/settled?index={index}&timeout=500ms")).await, now);
    let later = client.get(&format!("/mesh/v1/settled?index={}&timeout=10s", index + 1)).await;
    assert_eq!(later, json!({"Settled": false, "Index": index + 1, "Waiting": ["n1"]}));
    for (query, words) in [
        ("timeout=11s", "invalid value for timeout: 11s is more than 10s"),
        ("timeout=soon", "invalid value for timeout: \"soon\" is no time such as 2s or 500ms"),
        ("index=x", "invalid value for index: \"x\" is no number"),
    ] {
        let (status, message) = client.refusal("GET", &format!("/mesh/v1/settled?{query}"), "").await;
        assert_eq!((status, message.as_str()), (400, words));
    }
}
