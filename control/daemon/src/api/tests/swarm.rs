//! The cluster's settings, its keys and its managers, request by request.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::super::backend::{Ledger, Peers};
use super::double::{Client, Standing, UNLOCK_KEY};

/// Changes the cluster's spec as docker's CLI does: reads it, changes a part, sends it back.
async fn update(client: &Client, query: &str, change: impl FnOnce(&mut Value)) {
    let mut swarm = client.get("/swarm").await;
    change(&mut swarm["Spec"]);
    let path = format!("/swarm/update?version={}{query}", swarm["Version"]["Index"]);
    client.post(&path, &swarm["Spec"].to_string()).await;
}

#[tokio::test]
async fn every_setting_is_shown_as_it_was_set() {
    let client = Client::manager();
    update(&client, "", |spec| {
        spec["Raft"]["SnapshotInterval"] = json!(500);
        spec["Raft"]["LogEntriesForSlowFollowers"] = json!(50);
        spec["Dispatcher"]["HeartbeatPeriod"] = json!(2_000_000_000_i64);
        spec["CAConfig"]["NodeCertExpiry"] = json!(7_200_000_000_000_i64);
        spec["EncryptionConfig"]["AutoLockManagers"] = json!(true);
    })
    .await;
    let spec = client.get("/swarm").await["Spec"].clone();
    assert_eq!(spec["Raft"]["SnapshotInterval"], 500);
    assert_eq!(spec["Raft"]["LogEntriesForSlowFollowers"], 50);
    assert_eq!(spec["Raft"]["KeepOldSnapshots"], 0);
    assert_eq!(spec["Dispatcher"]["HeartbeatPeriod"], 2_000_000_000_i64);
    assert_eq!(spec["CAConfig"]["NodeCertExpiry"], 7_200_000_000_000_i64);
    assert_eq!(spec["EncryptionConfig"]["AutoLockManagers"], true);
    let before = client.ledger.store().cluster().unwrap().spec.clone();
    update(&client, "", |_| {}).await;
    assert_eq!(client.ledger.store().cluster().unwrap().spec, before, "sent back as shown, nothing changes");
}

#[tokio::test]
async fn locking_makes_a_new_key_and_so_does_its_rotation() {
    let client = Client::manager();
    let key = || async { client.get("/swarm/unlockkey").await["UnlockKey"].as_str().unwrap().to_owned() };
    assert_eq!(key().await, "", "managers are not locked");
    let in_the_open = client.ledger.store().cluster().unwrap().unlock_key.clone();
    let swarm = client.get("/swarm").await;
    let path = format!("/swarm/update?version={}&rotateManagerUnlockKey=true", swarm["Version"]["Index"]);
    let (status, message) = client.refusal("POST", &path, &swarm["Spec"].to_string()).await;
    assert_eq!(status, 400);
    assert_eq!(
        message,
        "invalid value for rotateManagerUnlockKey: cannot rotate because autolock is not turned on"
    );

    update(&client, "", |spec| spec["EncryptionConfig"]["AutoLockManagers"] = json!(true)).await;
    let first = key().await;
    assert!(first.starts_with("SWMKEY-1-") && first != in_the_open.expose(), "{first}");
    update(&client, "", |spec| spec["Dispatcher"]["HeartbeatPeriod"] = json!(3_000_000_000_i64)).await;
    assert_eq!(key().await, first, "it stays");
    update(&client, "&rotateManagerUnlockKey=true", |_| {}).await;
    let second = key().await;
    assert!(second.starts_with("SWMKEY-1-") && second != first);
    update(&client, "", |spec| spec["EncryptionConfig"]["AutoLockManagers"] = json!(false)).await;
    assert_eq!(key().await, "");
}

#[tokio::test]
async fn a_locked_manager_says_so_and_is_unlocked_by_its_key() {
    let client = Client::new(Standing::Locked);
    for path in ["/nodes", "/services", "/swarm", "/swarm/unlockkey", "/events", "/mesh/v1/watch"] {
        let (status, message) = client.refusal("GET", path, "").await;
        assert_eq!(
            (status, message.as_str()),
            (
                503,
                "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm \
                 unlock\" to unlock it."
            ),
            "{path}"
        );
    }
    let info = client.get("/info").await;
    assert_eq!(info["Swarm"]["LocalNodeState"], "locked");
    assert_eq!(info["Swarm"]["ControlAvailable"], false);
    let ping = client.send("GET", "/_ping", "").await;
    assert_eq!(ping.headers()["swarm"], "locked");

    let key = |text: &str| json!({"UnlockKey": text}).to_string();
    let other = UNLOCK_KEY.replace("-AAA", "-BBB");
    for (body, status, words) in [
        (key(&other), 400, "swarm could not be unlocked: invalid key provided"),
        (key("x"), 400, "invalid unlock key: it does not begin with SWMKEY-1-"),
        ("{}".to_owned(), 400, "invalid unlock key"),
    ] {
        let (found, message) = client.refusal("POST", "/swarm/unlock", &body).await;
        assert_eq!((found, message.starts_with(words)), (status, true), "{message}");
        assert!(!message.contains("BBB"), "the key is not said back");
    }
    assert_eq!(client.ask("POST", "/swarm/unlock", &key(UNLOCK_KEY)).await.0, StatusCode::OK);
    let open = Client::manager();
    let refusal = open.refusal("POST", "/swarm/unlock", &key(UNLOCK_KEY)).await;
    assert_eq!(refusal, (409, "swarm is not locked".to_owned()));
}

#[tokio::test]
async fn a_new_root_is_asked_for_by_counting_up() {
    let client = Client::manager();
    update(&client, "", |_| {}).await;
    assert_eq!(client.rotations.load(Ordering::SeqCst), 0);
    update(&client, "", |spec| spec["CAConfig"]["ForceRotate"] = json!(1)).await;
    assert_eq!(client.rotations.load(Ordering::SeqCst), 1);
    let swarm = client.get("/swarm").await;
    assert_eq!(swarm["RootRotationInProgress"], false);
    let info = &swarm["TLSInfo"];
    assert!(info["TrustRoot"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----\n"), "{info}");
    let node = client.get("/nodes/n1").await;
    assert_eq!(node["Description"]["TLSInfo"], *info, "the node's certificate is of this root");
    assert!(!info["CertIssuerSubject"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn what_goes_on_alone_would_keep_is_told_before() {
    let client = Client::manager();
    let body = json!({"ForceNewCluster": true}).to_string();
    let told = client.post("/swarm/init?dryRun=1", &body).await;
    assert_eq!(
        told,
        json!({"Dropped": [{"Addr": "192.0.2.12:2377"}, {}], "Uncertain": 2,
            "Index": client.ledger.store().index(), "Nodes": 1, "Services": 0, "Networks": 1, "Tasks": 0})
    );
    assert_eq!(client.post("/swarm/init", &body).await, "0000000000000000000000001");
    let (status, message) = client.refusal("POST", "/swarm/init?dryRun=1", "{}").await;
    assert_eq!((status, message.as_str()), (400, "invalid value for dryRun: it goes with ForceNewCluster"));
}

#[tokio::test]
async fn who_leads_and_who_is_reachable_is_rafts_word() {
    let client = Client::manager();
    let status = || async { client.get("/nodes/n1").await["ManagerStatus"].clone() };
    let seen = |leader, leads, heard: &[u64]| {
        let heard: BTreeSet<u64> = heard.iter().copied().collect();
        client.ledger.peers.send_replace(Peers { leader, leads, heard });
    };
    for (leader, leads, heard, words) in [
        (Some(1), true, vec![], json!({"Leader": true, "Reachability": "reachable"})),
        (Some(2), true, vec![1], json!({"Reachability": "reachable"})),
        (Some(2), true, vec![], json!({"Reachability": "unreachable"})),
        (Some(2), false, vec![2], json!({"Reachability": "unknown"})),
    ] {
        seen(leader, leads, &heard);
        let mut words = words;
        words["Addr"] = json!("192.0.2.11:2377");
        assert_eq!(status().await, words);
    }
}

#[tokio::test]
async fn nodes_are_filtered_as_docker_filters() {
    let client = Client::manager();
    for (filter, found) in [
        (r#"{"role":["manager"]}"#, 1),
        (r#"{"role":["worker"]}"#, 0),
        (r#"{"role":["worker","manager"]}"#, 1),
        (r#"{"membership":["accepted"]}"#, 1),
        (r#"{"membership":["pending"]}"#, 0),
        (r#"{"name":["n1"]}"#, 1),
        (r#"{"node.label":["zone=a"]}"#, 0),
        (r#"{"label":["x"]}"#, 0),
    ] {
        let listed = client.get(&format!("/nodes?filters={}", super::engine::escape(filter))).await;
        assert_eq!(listed.as_array().unwrap().len(), found, "{filter}");
    }
    for (filter, words) in [
        (r#"{"role":["king"]}"#, "Invalid filter 'role=king'"),
        (r#"{"membership":["x"]}"#, "Invalid filter 'membership=x'"),
    ] {
        let path = format!("/nodes?filters={}", super::engine::escape(filter));
        assert_eq!(client.refusal("GET", &path, "").await, (400, words.to_owned()));
    }
}

#[tokio::test]
async fn info_warns_of_what_endangers_the_cluster() {
    let client = Client::manager();
    assert_eq!(client.get("/info").await["Warnings"], json!([]));
    *client.ledger.alarm.lock().unwrap() = Some("no space left for /x: free some".to_owned());
    let warned = client.get("/info").await["Warnings"].clone();
    assert_eq!(warned, json!(["WARNING: this manager takes no writes: no space left for /x: free some"]));
}
