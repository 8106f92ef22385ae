//! What lies on a manager's disk: nothing that is secret in clear, and with autolock no key that opens it.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use mesh_identity::KeyFile;
use serde_json::Value;

use crate::failover::whole;
use crate::harness::{Lab, meshctl_told, node_name};
use crate::ingress::{on, task_ids};
use crate::traffic::{met, whoami};

const MANAGERS: u8 = 3;

/// Words that appear nowhere but in what the tests create.
const NAME: &str = "quillwort";
const PASSWORD: &str = "zygodactyl";
const SECRET: &str = "hippocrepiform";
const CONFIG: &str = "borborygmus";

/// How an unlock key begins.
const PREFIX: &str = "SWMKEY-1-";

/// Log entries between snapshots: fewer than the tests write.
const SNAPSHOT: &str = "20";

/// Every file below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                files(&path)
            } else if kind.is_file() {
                vec![path]
            } else {
                Vec::new()
            }
        })
        .collect()
}

/// The files below `dir` that hold these bytes.
fn holding(dir: &Path, wanted: &[u8]) -> Vec<PathBuf> {
    assert!(wanted.len() >= 8, "{wanted:?} is too short to look for");
    files(dir).into_iter().filter(|path| holds(&fs::read(path).unwrap(), wanted)).collect()
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Makes what is to be looked for: a secret, a config, services that need both, a password in a task's
/// environment, and enough writes for snapshots. Answers the words. None of the services has a task: a node's view names those that it runs.
fn fill(lab: &Lab) -> Vec<String> {
    lab.ctl(&["swarm", "update", "--snapshot-interval", SNAPSHOT]).ok();
    for (kind, data) in [("secret", SECRET), ("config", CONFIG)] {
        let create = [kind, "create", &format!("{NAME}-{kind}"), "-"];
        meshctl_told(&lab.socket(MANAGERS), &create, data).ok();
    }
    let password = format!("SECRET={PASSWORD}");
    let (secret, config) = (format!("{NAME}-secret"), format!("{NAME}-config"));
    for number in 0..40 {
        let name = format!("{NAME}-{number}");
        let create =
            ["service", "create", "-d", "-q", "--name", &name, "--replicas", "0", "--env", &password];
        let image = ["--secret", &secret, "--config", &config, "mesh/whoami:1"];
        lab.ctl(&[&create[..], &image].concat()).ok();
    }
    let token = |role: &str| {
        let token = lab.ctl(&["swarm", "join-token", "-q", role]).ok();
        token.trim().rsplit('-').next().unwrap().to_owned()
    };
    let encoded = [SECRET, CONFIG].map(|data| BASE64_STANDARD_NO_PAD.encode(data));
    let given = [NAME, PASSWORD, SECRET, CONFIG].map(str::to_owned);
    [given.to_vec(), encoded.to_vec(), vec![token("worker"), token("manager")]].concat()
}

/// Turns autolock on and waits until the keys of every manager are sealed. Answers the unlock key.
fn lock(lab: &Lab) -> String {
    assert!((1..=MANAGERS).all(|node| !is_locked(lab, node)), "not before it is asked for");
    let told = lab.ctl(&["swarm", "update", "--autolock=true"]).ok();
    let key = lab.ctl(&["swarm", "unlock-key", "-q"]).ok().trim().to_owned();
    assert!(key.starts_with(PREFIX) && key.len() == 52, "Swarm's form: {key}");
    assert!(told.contains(&key), "the key is shown when it is made: {told}");
    lab.wait("every manager's keys to be sealed", || {
        (1..=MANAGERS).all(|node| is_locked(lab, node)).then_some(())
    });
    key
}

fn is_locked(lab: &Lab, node: u8) -> bool {
    let bytes = fs::read(lab.disk(node).join("cluster/identity/manager.keys")).unwrap();
    KeyFile::from_bytes(&bytes).unwrap().is_locked()
}

#[test]
fn nothing_secret_lies_in_clear_on_a_managers_disk() {
    let lab = Lab::with_managers("atrest", MANAGERS, MANAGERS);
    let mut words: Vec<Vec<u8>> = fill(&lab).into_iter().map(String::into_bytes).collect();
    let key = lock(&lab);
    words.push(BASE64_STANDARD_NO_PAD.decode(&key[PREFIX.len()..]).unwrap());
    words.extend([key.as_str(), "PRIVATE KEY"].map(|word| word.as_bytes().to_vec()));
    for node in 1..=MANAGERS {
        let disk = lab.disk(node);
        let sizes =
            files(&disk.join("cluster/raft")).into_iter().map(|file| fs::metadata(file).unwrap().len());
        assert!(sizes.sum::<u64>() > 10_000, "log and snapshot of n{node}");
        assert!(!holding(&disk, own_id(&lab, node).as_bytes()).is_empty(), "the search finds what is there");
        for word in &words {
            let shown = String::from_utf8_lossy(word);
            assert_eq!(holding(&disk, word), Vec::<PathBuf>::new(), "{shown} on n{node}");
            assert!(!holds(&lab.log(node), word), "{shown} in the log of n{node}");
        }
    }
}

/// A node's id, which is no secret and stands in its files.
fn own_id(lab: &Lab, node: u8) -> String {
    lab.api(node, "/info")["Swarm"]["NodeID"].as_str().unwrap().to_owned()
}

#[test]
fn a_locked_manager_serves_traffic_and_waits_for_its_key() {
    let lab = Lab::with_managers("autolock", MANAGERS, MANAGERS);
    lab.ctl(&["service", "create", "--name", "web", "--replicas", "3", "-p", "8080:80", "mesh/whoami:1"])
        .ok();
    let key = lock(&lab);
    let tasks = task_ids(&lab, "web");
    let locked = 2;
    for fault in ["kill", "start"] {
        lab.fault(&[fault, &node_name(locked).to_string()]);
    }
    let refused = lab.ctl_on(locked, &["node", "ls"]);
    let words = "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm \
                 unlock\" to unlock it.";
    assert!(refused.code == 1 && refused.stderr.contains(words), "{refused:?}");
    assert_eq!(lab.api(locked, "/info")["Swarm"]["LocalNodeState"], Value::from("locked"));
    let to = on(locked, 8080);
    assert_eq!(lab.client(|| met(60, || whoami(to))), tasks, "a locked manager's node serves on");

    let other = if key[PREFIX.len()..].starts_with('A') { "B" } else { "A" };
    let wrong = format!("{PREFIX}{other}{}\n", &key[PREFIX.len() + 1..]);
    let wrong = meshctl_told(&lab.socket(locked), &["swarm", "unlock"], &wrong);
    assert_eq!(wrong.code, 1, "{wrong:?}");
    assert_eq!(lab.ctl_on(locked, &["node", "ls"]).code, 1, "still locked");
    meshctl_told(&lab.socket(locked), &["swarm", "unlock"], &format!("{key}\n")).ok();
    lab.wait("every manager to count again", || whole(&lab, MANAGERS).then_some(()));
    assert_eq!(task_ids(&lab, "web"), tasks, "the lock moved nothing");
    let again = meshctl_told(&lab.socket(locked), &["swarm", "unlock"], &format!("{key}\n"));
    assert!(again.code == 1 && again.stderr.contains("swarm is not locked"), "{again:?}");
}
