//! Secrets and configs, and the services that get them.

use super::*;
use crate::content::{ContentKind, ContentSpec, Data};
use crate::id::{ConfigId, ConfigKind, Id, SecretId, SecretKind};
use crate::spec::{ConfigReference, FileTarget, Labels, SecretReference};

fn spec(name: &str, bytes: usize) -> ContentSpec {
    ContentSpec { name: name.parse().unwrap(), labels: Labels::new(), data: Data::new(vec![7; bytes]) }
}

impl Bench {
    fn content<K: ContentKind>(&mut self, name: &str, bytes: usize) -> Result<Id<K>, Refusal> {
        let (id, made) = create_content(&self.store, spec(name, bytes), AT, &mut self.entropy)?;
        self.apply(&made);
        Ok(id)
    }

    fn discard<K: ContentKind>(&mut self, id: Id<K>) -> Result<(), Refusal> {
        let made = remove_content(&self.store, id, AT)?;
        self.apply(&made);
        Ok(())
    }
}

fn file(path: &str) -> FileTarget {
    FileTarget { path: path.to_owned(), uid: "0".to_owned(), gid: "0".to_owned(), mode: 0o444 }
}

fn secret(secret: SecretId, name: &str, path: &str) -> SecretReference {
    SecretReference { secret, name: name.to_owned(), file: file(path) }
}

fn config(config: ConfigId, name: &str, path: &str) -> ConfigReference {
    ConfigReference { config, name: name.to_owned(), file: file(path) }
}

fn getting(name: &str, secrets: Vec<SecretReference>, configs: Vec<ConfigReference>) -> ServiceSpec {
    let mut spec = service_spec(name, 1);
    (spec.task.container.secrets, spec.task.container.configs) = (secrets, configs);
    spec
}

#[test]
fn sizes_are_swarms() {
    let mut bench = Bench::new();
    for bytes in [0, 500 << 10] {
        assert_eq!(
            words(bench.content::<SecretKind>("a", bytes)),
            (
                RefusalKind::InvalidArgument,
                "secret data must be larger than 0 and less than 512000 bytes".into()
            )
        );
    }
    bench.content::<SecretKind>("least", 1).unwrap();
    bench.content::<SecretKind>("most", (500 << 10) - 1).unwrap();
    for bytes in [0, (1000 << 10) + 1] {
        assert_eq!(
            words(bench.content::<ConfigKind>("a", bytes)).1,
            "config data must be larger than 0 and at most 1024000 bytes"
        );
    }
    bench.content::<ConfigKind>("most", 1000 << 10).unwrap();
}

#[test]
fn names_of_contents_are_taken_once() {
    let mut bench = Bench::new();
    bench.content::<SecretKind>("key", 1).unwrap();
    let taken = (RefusalKind::AlreadyExists, "secret key already exists".to_owned());
    assert_eq!(words(bench.content::<SecretKind>("key", 2)), taken);
    bench.content::<ConfigKind>("key", 1).unwrap();
    assert_eq!(words(bench.content::<ConfigKind>("KEY", 1)).1, "config KEY already exists");
    let nobody = create_content::<SecretKind>(&Store::default(), spec("key", 1), AT, &mut Seeded(1));
    assert_eq!(words(nobody).1, "this cluster has not been initialized");
}

#[test]
fn only_labels_are_updated_and_at_the_version_that_was_read() {
    let mut bench = Bench::new();
    let id = bench.content::<ConfigKind>("app", 3).unwrap();
    let labels = Labels::from([("a".to_owned(), "1".to_owned())]);
    let version = bench.store.configs().get(id).unwrap().meta.version;
    let update = |store: &Store, version, name, data: Option<&[u8]>| {
        let data = data.map(Data::new);
        update_content(store, id, version, name, data.as_ref(), labels.clone(), AT)
    };
    let only = (RefusalKind::InvalidArgument, "only updates to Labels are allowed".to_owned());
    assert_eq!(words(update(&bench.store, version, "other", None)), only);
    assert_eq!(words(update(&bench.store, version, "app", Some(&[7, 7]))), only);
    assert_eq!(words(update(&bench.store, version + 1, "app", None)).0, RefusalKind::OutOfSequence);
    let made = update(&bench.store, version, "app", Some(&[7, 7, 7])).unwrap();
    bench.apply(&made);
    let found = bench.store.configs().get(id).unwrap();
    assert_eq!((&found.spec.labels, found.spec.data.expose()), (&labels, &[7, 7, 7][..]));
    let gone = update_content(&bench.store, SecretId::from_bits(9), 1, "x", None, Labels::new(), AT);
    assert_eq!(words(gone), (RefusalKind::NotFound, format!("secret {} not found", SecretId::from_bits(9))));
}

#[test]
fn what_is_in_use_stays_and_says_by_whom() {
    let mut bench = Bench::new();
    let key = bench.content::<SecretKind>("key", 1).unwrap();
    let app = bench.content::<ConfigKind>("app", 1).unwrap();
    let web = bench.service(getting("web", vec![secret(key, "key", "key")], vec![])).unwrap();
    assert_eq!(
        words(bench.discard(key)),
        (RefusalKind::FailedPrecondition, "secret 'key' is in use by the following service: web".into())
    );
    let api = bench
        .service(getting("api", vec![secret(key, "key", "key")], vec![config(app, "app", "/app")]))
        .unwrap();
    assert_eq!(words(bench.discard(key)).1, "secret 'key' is in use by the following services: api, web");
    assert_eq!(words(bench.discard(app)).1, "config 'app' is in use by the following service: api");
    for service in [web, api] {
        let made = remove_service(&bench.store, service, AT).unwrap();
        bench.apply(&made);
    }
    bench.discard(key).unwrap();
    bench.discard(app).unwrap();
    assert_eq!(words(bench.discard(app)).0, RefusalKind::NotFound);
}

#[test]
fn references_name_what_is_there() {
    let mut bench = Bench::new();
    let key = bench.content::<SecretKind>("key", 1).unwrap();
    let app = bench.content::<ConfigKind>("app", 1).unwrap();
    let other = SecretId::from_bits(9);
    for (secrets, configs, refusal) in [
        (vec![secret(key, "kez", "a")], vec![], "secret not found: kez"),
        (
            vec![secret(other, "key", "a"), secret(key, "key", "b"), secret(other, "x", "c")],
            vec![],
            "secrets not found: key, x",
        ),
        (vec![], vec![config(app, "ap", "/a")], "config not found: ap"),
    ] {
        let refused = words(bench.service(getting("web", secrets, configs)));
        assert_eq!(refused, (RefusalKind::InvalidArgument, refusal.to_owned()));
    }
    let id = bench.service(service_spec("web", 1)).unwrap();
    let update = bench.update(id, |spec| spec.task.container.secrets = vec![secret(other, "gone", "a")]);
    assert_eq!(words(update).1, "secret not found: gone");
}

#[test]
fn each_becomes_a_file_of_its_own() {
    let mut bench = Bench::new();
    let key = bench.content::<SecretKind>("key", 1).unwrap();
    let app = bench.content::<ConfigKind>("app", 1).unwrap();
    let conflict = "have a conflicting target:";
    for (secrets, configs, refusal) in [
        (
            vec![secret(key, "key", "a"), secret(key, "key", "./a")],
            vec![],
            format!("secret references 'key' and 'key' {conflict} './a'"),
        ),
        (
            vec![secret(key, "key", "a")],
            vec![config(app, "app", "run/secrets//a")],
            format!("config references 'key' and 'app' {conflict} 'run/secrets//a'"),
        ),
        (
            vec![],
            vec![config(app, "app", "/a"), config(app, "app", "a")],
            format!("config references 'app' and 'app' {conflict} 'a'"),
        ),
    ] {
        assert_eq!(words(bench.service(getting("web", secrets, configs))).1, refusal);
    }
    let both = vec![config(app, "app", "/a"), config(app, "app", "/b")];
    bench
        .service(getting("web", vec![secret(key, "key", "a"), secret(key, "key", "/etc/key")], both))
        .unwrap();
}

/// What is wrong with a file.
type Change<'a> = &'a dyn Fn(&mut FileTarget);

#[test]
fn files_are_checked() {
    let mut bench = Bench::new();
    let key = bench.content::<SecretKind>("key", 1).unwrap();
    let changed = |change: &dyn Fn(&mut FileTarget)| {
        let mut reference = secret(key, "key", "key");
        change(&mut reference.file);
        getting("web", vec![reference], vec![])
    };
    let cases: [(Change<'_>, &str); 7] = [
        (&|file| file.path.clear(), "\"\" is no file name"),
        (&|file| file.path = "dir/".into(), "\"dir/\" is no file name"),
        (&|file| file.path = "a/../b".into(), "\"a/../b\": \"..\" is not followed"),
        (&|file| file.path = "a\0".into(), "\"a\\0\" is no file name"),
        (&|file| file.uid.clear(), "uid \"\" is neither a number nor a name"),
        (&|file| file.gid = "a b".into(), "gid \"a b\" is neither a number nor a name"),
        (&|file| file.mode = 0o10_000, "mode 10000 has more than permission bits"),
    ];
    for (change, reason) in cases {
        let refusal = format!("invalid target of secret key: {reason}");
        assert_eq!(words(bench.service(changed(change))).1, refusal);
    }
    let many = (0..=REFERENCES_MAX).map(|at| secret(key, "key", &at.to_string())).collect();
    let refusal = "invalid secrets: 257 entries are more than the 256 allowed";
    assert_eq!(words(bench.service(getting("web", many, vec![]))).1, refusal);
}
