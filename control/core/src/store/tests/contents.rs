//! Secrets and configs: names, who needs them, and that they come back.

use super::*;
use crate::content::{Config, Content, ContentKind, ContentSpec, Data, Secret};
use crate::object::{UpdateState, UpdateStatus};
use crate::spec::{ConfigReference, FileTarget, Labels, SecretReference};

fn content<K: ContentKind>(number: u128, name: &str) -> Content<K> {
    let data = Data::new(name.as_bytes());
    let spec = ContentSpec { name: name.parse().unwrap(), labels: Labels::new(), data };
    Content { id: Id::from_bits(number), meta: crate::object::Meta::default(), spec }
}

fn file(path: &str) -> FileTarget {
    FileTarget { path: path.to_owned(), uid: "0".to_owned(), gid: "0".to_owned(), mode: 0o444 }
}

/// `web` with a secret and a config.
fn with_both(store: &Store, secret: u128, config: u128) -> Service {
    let mut service = Service::clone(&web(store));
    let container = &mut service.spec.task.container;
    let name = "x".to_owned();
    container.secrets =
        vec![SecretReference { secret: Id::from_bits(secret), name: name.clone(), file: file("key") }];
    container.configs = vec![ConfigReference { config: Id::from_bits(config), name, file: file("/etc/app") }];
    service
}

fn put(object: impl Into<Object>) -> Write {
    Write::Put { object: object.into(), expect: Expect::Any }
}

fn removal(key: Key) -> Vec<Write> {
    vec![Write::Delete { key, expect: Expect::Any }]
}

#[test]
fn names_are_unique_within_a_kind_without_case() {
    let (mut store, _) = small();
    create(&mut store, content::<SecretKind>(1, "db.key")).unwrap();
    create(&mut store, content::<ConfigKind>(1, "db.key")).unwrap();
    let refusal = refuses(&store, content::<SecretKind>(2, "DB.key"));
    assert!(
        matches!(refusal, Conflict::Taken { what: Claim::Name(name), owner: Key::Secret(_), .. } if name == "DB.key")
    );
    assert_eq!(store.secrets().find("Db.Key").unwrap().id.bits(), 1);
    assert_eq!(store.configs().find("0000000000").unwrap().id.bits(), 1);
    assert_eq!(store.configs().find("nope").unwrap_err().to_string(), "config nope not found");
    apply(&mut store, removal(Key::Secret(Id::from_bits(1)))).unwrap();
    create(&mut store, content::<SecretKind>(2, "DB.key")).unwrap();
    assert_eq!((store.secrets().len(), store.configs().len()), (1, 1));
}

#[test]
fn what_a_service_needs_is_there_and_stays() {
    let (mut store, _) = small();
    let both = with_both(&store, 1, 2);
    let dangling = |store: &Store, target| {
        let conflict = refused(store, vec![put(both.clone())]);
        assert_eq!(conflict, Conflict::Dangling { key: Key::Service(both.id), target });
    };
    let (secret, config) = (Key::Secret(Id::from_bits(1)), Key::Config(Id::from_bits(2)));
    dangling(&store, secret);
    create(&mut store, content::<SecretKind>(1, "key")).unwrap();
    dangling(&store, config);
    // The order of the writes in a transaction does not matter.
    apply(&mut store, vec![put(both.clone()), Write::create(content::<ConfigKind>(2, "app").into())])
        .unwrap();
    for key in [secret, config] {
        let conflict = refused(&store, removal(key));
        assert_eq!(conflict, Conflict::InUse { key, user: Key::Service(both.id) });
    }
    assert!(store.secrets().users(Id::from_bits(1)).eq([both.id]));
    let writes = [removal(secret), removal(config), removal(Key::Service(both.id))].concat();
    apply(&mut store, writes).unwrap();
    assert!(store.secrets().is_empty() && store.configs().is_empty());
    assert!(store.secrets().users(Id::from_bits(1)).next().is_none());
}

#[test]
fn what_an_update_may_go_back_to_is_kept_until_it_ended() {
    let (mut store, _) = small();
    create(&mut store, content::<SecretKind>(1, "key")).unwrap();
    create(&mut store, content::<ConfigKind>(2, "app")).unwrap();
    let mut service = with_both(&store, 1, 2);
    service.previous_spec = Some(Box::new(service.spec.clone()));
    service.spec = web(&store).spec.clone();
    let status = |state| UpdateStatus {
        state,
        started_at: AT,
        completed_at: None,
        message: String::new(),
        slots: 1,
        failed: std::collections::BTreeSet::new(),
    };
    service.update = Some(status(UpdateState::Updating));
    apply(&mut store, vec![put(service.clone())]).unwrap();
    let key = Key::Secret(Id::from_bits(1));
    assert!(matches!(refused(&store, removal(key)), Conflict::InUse { .. }));
    service.update = Some(status(UpdateState::Completed));
    apply(&mut store, vec![put(service)]).unwrap();
    apply(&mut store, removal(key)).unwrap();
}

#[test]
fn they_come_back_from_snapshots_logs_and_the_past() {
    let (mut store, _) = small();
    let empty = store.clone();
    let (secret, config) = (content::<SecretKind>(1, "key"), content::<ConfigKind>(2, "app"));
    let writes =
        vec![Write::create(secret.into()), Write::create(config.into()), put(with_both(&store, 1, 2))];
    let transaction = Transaction { at: AT, writes };
    let transaction = Transaction::from_bytes(&transaction.to_bytes().unwrap()).unwrap();
    let (before, index) = (store.index(), store.index() + 1);
    let changes = store.apply(index, &transaction).unwrap();
    assert_ne!(store.digest(), empty.digest());
    let restored = Store::from_snapshot(&store.to_snapshot().unwrap()).unwrap();
    assert_eq!(restored.digest(), store.digest());
    let found: &Arc<Secret> = restored.secrets().by_name("KEY").unwrap();
    assert_eq!((found.spec.data.expose(), found.meta.version), (&b"key"[..], index));
    let found: &Arc<Config> = restored.configs().get(Id::from_bits(2)).unwrap();
    assert_eq!(found.spec.data.expose(), b"app");
    assert!(matches!(refused(&restored, removal(Key::Config(found.id))), Conflict::InUse { .. }));
    let mut replica = empty.clone();
    replica.replay(index, &changes);
    assert_eq!(replica.digest(), store.digest());
    replica.take_back(before, &changes);
    assert_eq!(replica.digest(), empty.digest());
    assert!(replica.secrets().users(Id::from_bits(1)).next().is_none());
    let taken = replica.secrets().by_name("key");
    assert!(taken.is_none(), "its name is free again");
}

#[test]
fn a_task_that_is_wanted_keeps_what_it_was_made_with() {
    let (mut store, _) = small();
    create(&mut store, content::<SecretKind>(1, "key")).unwrap();
    let mut made = task(&store, 1, 1, "10.0.1.9");
    made.spec = with_both(&store, 1, 2).spec.task.into();
    create(&mut store, made.clone()).unwrap();
    let remove = |store: &Store| command::remove_content::<SecretKind>(store, Id::from_bits(1), AT);
    let refusal = remove(&store).unwrap_err().to_string();
    assert_eq!(refusal, "secret 'key' is in use by the following service: web");
    made.desired_state = TaskState::Shutdown;
    apply(&mut store, vec![put(made)]).unwrap();
    let removal = remove(&store).unwrap();
    apply(&mut store, removal.writes).unwrap();
}
