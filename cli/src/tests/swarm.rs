//! What `meshctl swarm …` says, word for word.

use super::fake::Fake;

const INFO: &str = r#"{"Swarm":{"NodeID":"n1id","LocalNodeState":"active","ControlAvailable":true}}"#;
const NODE: &str =
    r#"{"ID":"n1id","ManagerStatus":{"Leader":true,"Reachability":"reachable","Addr":"192.0.2.11:2377"}}"#;
const SWARM: &str = r#"{"ID":"c","Version":{"Index":7},"Spec":{"Name":"default","Orchestration":
    {"TaskHistoryRetentionLimit":5},"EncryptionConfig":{"AutoLockManagers":false}},"TLSInfo":{"TrustRoot":"ROOT\n",
    "CertIssuerPublicKey":"old"},"JoinTokens":{"Worker":"SWMTKN-1-w","Manager":"SWMTKN-1-m"}}"#;

fn locked() -> String {
    SWARM.replace("false", "true")
}

#[tokio::test]
async fn init_says_how_others_join_and_how_managers_are_unlocked() {
    let fake = Fake::new(&[
        ("POST /swarm/init", 200, "\"n1id\"\n"),
        ("GET /swarm", 200, SWARM),
        ("GET /info", 200, INFO),
        ("GET /nodes/n1id", 200, NODE),
        ("GET /swarm/unlockkey", 200, r#"{"UnlockKey":"SWMKEY-1-abc"}"#),
    ]);
    assert_eq!(
        fake.says(&["swarm", "init", "--autolock", "--cert-expiry", "720h"]).await,
        "Swarm initialized: current node (n1id) is now a manager.\n\n\
         To add a worker to this swarm, run the following command:\n\n    \
         meshctl swarm join --token SWMTKN-1-w 192.0.2.11:2377\n\n\
         To add a manager to this swarm, run 'meshctl swarm join-token manager' and follow the instructions.\n\n\
         To unlock a swarm manager after it restarts, run the `meshctl swarm unlock`\n\
         command and provide the following key:\n\n    SWMKEY-1-abc\n\n\
         Remember to store this key in a password manager, since without it you\n\
         will not be able to restart the manager.\n"
    );
    let sent = fake.changes().remove(0);
    for part in [r#""AutoLockManagers":true"#, r#""NodeCertExpiry":2592000000000000"#, r#""SubnetSize":24"#] {
        assert!(sent.contains(part), "{sent}");
    }
}

#[tokio::test]
async fn wrong_flags_are_refused_by_name_before_anything_is_asked() {
    let fake = Fake::new(&[]);
    for (words, said) in [
        (
            &["swarm", "init", "--max-snapshots", "3"][..],
            "invalid --max-snapshots 3: only 0 is possible, for a snapshot takes the place of the one before it\n",
        ),
        (
            &["swarm", "update", "--external-ca", "protocol=cfssl,url=https://x"],
            "--external-ca is not supported: the managers sign the nodes' certificates themselves; leave it out\n",
        ),
        (
            &["swarm", "update"],
            "nothing to change: name a setting, such as --task-history-limit (meshctl swarm update --help)\n",
        ),
        (
            &["swarm", "ca", "--cert-expiry", "1h"],
            "`--cert-expiry` flag requires the `--rotate` flag to update the CA (`meshctl swarm update \
             --cert-expiry` changes it alone)\n",
        ),
        (
            &["swarm", "ca", "--rotate", "--ca-cert", "x.pem"],
            "--ca-cert is not supported: the managers make the root certificate and its key themselves; --rotate \
             alone makes a new one\n",
        ),
    ] {
        assert_eq!(fake.says(words).await, said);
    }
    let said = fake.says(&["swarm", "init", "--dry-run"]).await;
    assert!(said.contains("--force-new-cluster"), "{said}");
    assert_eq!(fake.changes(), Vec::<String>::new());
}

#[tokio::test]
async fn locking_shows_the_key_and_so_does_its_rotation() {
    let (open, locked) = (SWARM, locked());
    let key = r#"{"UnlockKey":"SWMKEY-1-abc"}"#;
    let fake = Fake::new(&[
        ("GET /swarm", 200, open),
        ("GET /swarm", 200, &locked),
        ("POST /swarm/update", 200, ""),
        ("GET /swarm/unlockkey", 200, key),
    ]);
    let said = fake.says(&["swarm", "update", "--autolock"]).await;
    assert!(said.starts_with("Swarm updated.\nTo unlock a swarm manager after it restarts"), "{said}");
    assert_eq!(fake.says(&["swarm", "unlock-key", "-q"]).await, "SWMKEY-1-abc\n");
    fake.changes();
    let said = fake.says(&["swarm", "unlock-key", "--rotate"]).await;
    assert!(
        said.starts_with("Successfully rotated manager unlock key.\n\nTo unlock a swarm manager"),
        "{said}"
    );
    let sent = fake.changes().remove(0);
    assert!(sent.contains("version=7") && sent.contains("rotateManagerUnlockKey=true"), "{sent}");
}

#[tokio::test]
async fn without_autolock_there_is_no_key() {
    let fake = Fake::new(&[("GET /swarm", 200, SWARM), ("GET /swarm/unlockkey", 200, r#"{"UnlockKey":""}"#)]);
    assert_eq!(
        fake.says(&["swarm", "unlock-key"]).await,
        "no unlock key is set (`meshctl swarm update --autolock` locks managers)\n"
    );
    assert_eq!(
        fake.says(&["swarm", "unlock-key", "--rotate"]).await,
        "cannot rotate because autolock is not turned on (`meshctl swarm update --autolock` does it)\n"
    );
    assert_eq!(fake.changes(), Vec::<String>::new());
}

#[tokio::test]
async fn unlock_asks_only_where_something_is_locked() {
    let state = |word: &str| INFO.replace("active", word);
    let fake = Fake::new(&[("GET /info", 200, &state("inactive")), ("GET /info", 200, &state("active"))]);
    assert_eq!(fake.says(&["swarm", "unlock"]).await, "this node is not part of a swarm\n");
    assert_eq!(fake.says(&["swarm", "unlock"]).await, "swarm is not locked\n");
    assert_eq!(fake.changes(), Vec::<String>::new());
}

#[tokio::test]
async fn tokens_are_shown_and_renewed() {
    let fake = Fake::new(&[
        ("GET /swarm", 200, SWARM),
        ("GET /info", 200, INFO),
        ("GET /nodes/n1id", 200, NODE),
        ("POST /swarm/update", 200, ""),
    ]);
    assert_eq!(fake.says(&["swarm", "join-token", "-q", "manager"]).await, "SWMTKN-1-m\n");
    assert_eq!(
        fake.says(&["swarm", "join-token", "--rotate", "manager"]).await,
        "Successfully rotated manager join token.\n\nTo add a manager to this swarm, run the following command:\n\n    \
         meshctl swarm join --token SWMTKN-1-m 192.0.2.11:2377\n\n"
    );
    let sent = fake.changes().remove(0);
    assert!(sent.contains("rotateWorkerToken=false&rotateManagerToken=true"), "{sent}");
}

#[tokio::test]
async fn a_new_root_is_followed_until_every_node_has_it() {
    let changing = SWARM
        .replace("\"old\"", "\"new\"")
        .replace(r#""JoinTokens""#, r#""RootRotationInProgress":true,"JoinTokens""#);
    let done = SWARM.replace("\"old\"", "\"new\"").replace("ROOT", "NEW ROOT");
    let node = |key: &str| {
        format!(
            r#"[{{"Description":{{"TLSInfo":{{"CertIssuerPublicKey":"{key}"}}}},"Status":{{"State":"ready"}}}}]"#
        )
    };
    let fake = Fake::new(&[
        ("GET /swarm", 200, SWARM),
        ("GET /swarm", 200, &changing),
        ("GET /swarm", 200, &done),
        ("POST /swarm/update", 200, ""),
        ("GET /nodes", 200, &node("old")),
        ("GET /nodes", 200, &node("new")),
    ]);
    assert_eq!(
        fake.says(&["swarm", "ca", "--rotate"]).await,
        "rotated TLS certificates: 0/1 nodes\nrotated TLS certificates: 1/1 nodes\nNEW ROOT\n"
    );
    let sent = fake.changes().remove(0);
    assert!(sent.contains(r#""ForceRotate":1"#), "{sent}");
    assert_eq!(fake.says(&["swarm", "ca"]).await, "NEW ROOT\n");
}

#[tokio::test]
async fn what_going_on_alone_means_is_told_first() {
    let survey =
        r#"{"Dropped":[{"NodeID":"b","Hostname":"n2","Addr":"192.0.2.12:2377"}],"Index":9,"Nodes":2}"#;
    let fake = Fake::new(&[("POST /swarm/init", 200, survey)]);
    let said = fake.says(&["swarm", "init", "--force-new-cluster", "--dry-run"]).await;
    assert!(said.contains("Nothing was changed.") && said.contains("  n2 b 192.0.2.12:2377\n"), "{said}");
    let sent = fake.changes().remove(0);
    assert!(
        sent.starts_with("POST /swarm/init?dryRun=1 ") && sent.contains(r#""ForceNewCluster":true"#),
        "{sent}"
    );
}

#[tokio::test]
async fn a_join_says_everything_that_was_asked_for() {
    let worker = INFO.replace("true", "false");
    let fake = Fake::new(&[("POST /swarm/join", 200, ""), ("GET /info", 200, &worker)]);
    let words =
        ["swarm", "join", "--token", "SWMTKN-1-x", "--availability", "drain", "--data-path-addr", "eth1"];
    let said = fake.says(&[&words[..], &["192.0.2.11"]].concat()).await;
    assert_eq!(said, "This node joined a swarm as a worker.\n");
    let sent = fake.changes().remove(0);
    for part in [r#""Availability":"drain""#, r#""DataPathAddr":"eth1""#, r#""RemoteAddrs":["192.0.2.11"]"#] {
        assert!(sent.contains(part), "{sent}");
    }
}
