//! Secrets and configs roll out like an image, and stay as long as an update may go back to them.

use super::*;
use crate::content::{ContentSpec, Data};
use crate::id::{ConfigKind, SecretId, SecretKind};
use crate::spec::{ConfigReference, FileTarget, Labels, SecretReference};

fn content(name: &str) -> ContentSpec {
    ContentSpec { name: name.parse().unwrap(), labels: Labels::new(), data: Data::new(name.as_bytes()) }
}

fn file(path: &str) -> FileTarget {
    FileTarget { path: path.to_owned(), uid: "0".to_owned(), gid: "0".to_owned(), mode: 0o444 }
}

fn secret(secret: SecretId, name: &str) -> Vec<SecretReference> {
    vec![SecretReference { secret, name: name.to_owned(), file: file("key") }]
}

/// A service of two whose tasks have secret `v1`; there is `v2`, too.
fn keyed(config: UpdateConfig) -> (VirtualCluster, ServiceId, [SecretId; 2]) {
    let (mut cluster, service) = updating(2, 2, config);
    let keys = ["v1", "v2"].map(|name| cluster.create_content::<SecretKind>(content(name)).unwrap());
    let first = |spec: &mut crate::spec::ServiceSpec| spec.task.container.secrets = secret(keys[0], "v1");
    cluster.update_service(service, first).unwrap();
    until_state(&mut cluster, service, UpdateState::Completed);
    (cluster, service, keys)
}

fn has(cluster: &VirtualCluster, service: ServiceId, key: SecretId) -> bool {
    cluster.live(service).iter().all(|task| task.spec.container.secrets[0].secret == key)
}

const IN_USE: &str = "secret 'v1' is in use by the following service: web";

#[test]
fn a_new_version_of_a_secret_or_config_replaces_every_task() {
    let (mut cluster, service, [old, new]) = keyed(UpdateConfig::default());
    let before = ids(&cluster.live(service));
    cluster.update_service(service, |spec| spec.task.container.secrets = secret(new, "v2")).unwrap();
    assert_eq!(words(cluster.remove_content(old)), IN_USE, "it may have to go back");
    until_state(&mut cluster, service, UpdateState::Completed);
    assert!(has(&cluster, service, new));
    assert!(cluster.live(service).iter().all(|task| !before.contains(&task.id)));
    cluster.remove_content(old).unwrap();

    let before = ids(&cluster.live(service));
    let config = cluster.create_content::<ConfigKind>(content("app")).unwrap();
    let configs = vec![ConfigReference { config, name: "app".to_owned(), file: file("/app") }];
    cluster.update_service(service, |spec| spec.task.container.configs = configs).unwrap();
    until_state(&mut cluster, service, UpdateState::Completed);
    assert!(cluster.live(service).iter().all(|task| !before.contains(&task.id)));
}

#[test]
fn labels_of_a_secret_replace_no_task() {
    let (mut cluster, service, [key, _]) = keyed(UpdateConfig::default());
    let before = ids(&cluster.live(service));
    let version = cluster.store.secrets().get(key).unwrap().meta.version;
    let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
    let update =
        crate::command::update_content(&cluster.store, key, version, "v1", None, labels, cluster.now)
            .unwrap();
    cluster.commit(&update).unwrap();
    cluster.run_for(secs(30));
    assert_eq!(ids(&cluster.live(service)), before);
}

#[test]
fn nobody_goes_back_to_a_secret_that_is_gone() {
    let (mut cluster, service, [old, new]) = keyed(UpdateConfig::default());
    cluster.update_service(service, |spec| spec.task.container.secrets = secret(new, "v2")).unwrap();
    until_state(&mut cluster, service, UpdateState::Completed);
    cluster.remove_content(old).unwrap();
    assert_eq!(words(cluster.rollback_service(service)), "secret not found: v1");
    cluster.run_for(secs(30));
    assert!(has(&cluster, service, new));
}

#[test]
fn an_update_that_fails_goes_back_to_the_secret_before() {
    let config = UpdateConfig { failure_action: FailureAction::Rollback, ..UpdateConfig::default() };
    let (mut cluster, service, [old, new]) = keyed(config);
    let to_bad = |spec: &mut crate::spec::ServiceSpec| {
        (spec.task.container.secrets, spec.task.container.image) = (secret(new, "v2"), BAD.to_owned());
    };
    cluster.update_service(service, to_bad).unwrap();
    assert_eq!(words(cluster.remove_content(old)), IN_USE);
    until_state(&mut cluster, service, UpdateState::RollbackCompleted);
    assert!(has(&cluster, service, old));
    assert_eq!(words(cluster.remove_content(old)), IN_USE);
    cluster.remove_content(new).unwrap();
}

#[test]
fn tasks_of_a_paused_update_keep_their_secret() {
    let (mut cluster, service, [old, new]) = keyed(UpdateConfig::default());
    let to_bad = |spec: &mut crate::spec::ServiceSpec| {
        (spec.task.container.secrets, spec.task.container.image) = (secret(new, "v2"), BAD.to_owned());
    };
    cluster.update_service(service, to_bad).unwrap();
    until_state(&mut cluster, service, UpdateState::Paused);
    assert_eq!(words(cluster.remove_content(old)), IN_USE);
    let good = |spec: &mut crate::spec::ServiceSpec| GOOD.clone_into(&mut spec.task.container.image);
    cluster.update_service(service, good).unwrap();
    until_state(&mut cluster, service, UpdateState::Completed);
    cluster.remove_content(old).unwrap();
}
