//! Secrets and configs from the command line to the services that need them, through managers that lead and
//! managers that do not.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::harness::{Lab, meshctl_told};

/// A manager that does not lead when the lab is new.
const FOLLOWER: u8 = 2;

/// The rows of a table, cut into words.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn secrets_and_configs_are_made_shown_used_and_removed() {
    let lab = Lab::with_managers("contents", 2, 2);
    let told = |words: &[&str], input: &str| meshctl_told(&lab.socket(FOLLOWER), words, input);
    let key = told(&["secret", "create", "-l", "tier=back", "key", "-"], "hunter2\n").ok();
    let next = told(&["secret", "create", "key.v2", "-"], "hunter3\n").ok();
    let largest = "x".repeat(1000 << 10);
    told(&["config", "create", "app", "-"], &largest).ok();
    assert_eq!((key.trim().len(), next.trim().len()), (25, 25));
    for (words, input, refusal) in [
        (["secret", "create", "key", "-"], "x", "secret key already exists"),
        (["secret", "create", "a b", "-"], "x", "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed"),
        (
            ["secret", "create", "none", "-"],
            "",
            "secret data must be larger than 0 and less than 512000 bytes",
        ),
        (["secret", "create", "big", "-"], &largest[..500 << 10], "secret data must be larger than 0"),
        (
            ["config", "create", "big", "-"],
            &"x".repeat((1000 << 10) + 1),
            "config data must be larger than 0",
        ),
    ] {
        let refused = told(&words, input);
        let line = format!("Error response from daemon: {refusal}");
        assert!(refused.code == 1 && refused.stderr.starts_with(&line), "{refused:?}");
    }

    for node in [1, FOLLOWER] {
        let listed = lab.ctl_on(node, &["secret", "ls"]).ok();
        let found: Vec<_> = rows(&listed).iter().map(|row| (row[0], row[1])).collect();
        assert_eq!(found, [(key.trim(), "key"), (next.trim(), "key.v2")]);
        let shown = lab.ctl_on(node, &["secret", "inspect", "key"]).ok();
        assert!(shown.contains("\"tier\": \"back\"") && !shown.contains("Data"), "{shown}");
        let data = lab.ctl_on(node, &["config", "inspect", "--format", "{{.Spec.Data}}", "app"]).ok();
        assert_eq!(BASE64_STANDARD.decode(data.trim()).unwrap(), largest.as_bytes());
    }

    let create = ["service", "create", "-d", "--name", "web", "--replicas", "0", "--secret", "key"];
    let config = ["--config", "source=app,target=/etc/app,mode=0440", "mesh/whoami:1"];
    lab.ctl_on(FOLLOWER, &[&create[..], &config].concat()).ok();
    let page = lab.ctl(&["service", "inspect", "--pretty", "web"]).ok();
    let files = "Configs:\n Target:\t/etc/app\n  Source:\tapp\nSecrets:\n Target:\tkey\n  Source:\tkey\n";
    assert!(page.contains(files), "{page}");
    let refused = lab.ctl_on(FOLLOWER, &["secret", "rm", "key"]);
    let words = "Error response from daemon: secret 'key' is in use by the following service: web";
    assert!(refused.code == 1 && refused.stderr.starts_with(words), "{refused:?}");

    let swap = ["service", "update", "-d", "--secret-rm", "key", "--secret-add", "source=key.v2,target=key"];
    lab.ctl(&[&swap[..], &["--config-rm", "app", "web"]].concat()).ok();
    let container = lab.api(1, "/services/web")["Spec"]["TaskTemplate"]["ContainerSpec"].clone();
    assert_eq!(container["Secrets"][0]["SecretID"], next.trim());
    assert!(container.get("Configs").is_none(), "{container}");
    lab.wait("the old secret to be needed no more", || {
        let removed = lab.ctl_on(FOLLOWER, &["secret", "rm", "key"]);
        (removed.code == 0).then_some(removed.stdout)
    });
    let back = lab.ctl(&["service", "rollback", "-d", "web"]);
    let words = "Error response from daemon: secret not found: key";
    assert!(back.code == 1 && back.stderr.starts_with(words), "{back:?}");
    lab.ctl(&["service", "rm", "web"]).ok();
    let removed = lab.ctl_on(FOLLOWER, &["secret", "rm", "key.v2", "nope"]);
    assert_eq!((removed.code, removed.stdout.as_str()), (1, "key.v2\n"));
    lab.ctl(&["config", "rm", "app"]).ok();
    assert_eq!(lab.ctl_on(FOLLOWER, &["secret", "ls", "-q"]).ok(), "");
}

#[test]
fn a_task_that_cannot_be_brought_its_secret_says_so() {
    let lab = Lab::up("bring", 1);
    meshctl_told(&lab.socket(1), &["secret", "create", "key", "-"], "hunter2").ok();
    lab.ctl(&["service", "create", "-d", "--name", "web", "--secret", "key", "mesh/whoami:1"]).ok();
    let told = lab.wait("the task's error", || {
        let told = lab.ctl(&["service", "ps", "--no-trunc", "web"]).ok();
        told.contains("Rejected").then_some(told)
    });
    assert!(told.contains("this runtime cannot deliver secrets yet"), "{told}");
}
