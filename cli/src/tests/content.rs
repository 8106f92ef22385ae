//! What `meshctl secret …` and `meshctl config …` say, word for word, and what services are sent.

use super::fake::Fake;

const SECRETS: &str = r#"[{"ID":"s2id","CreatedAt":"2026-01-01T00:00:00Z","UpdatedAt":"2026-01-01T00:00:00Z","Spec":
    {"Name":"key","Labels":{"tier":"back"}}},{"ID":"s1id","CreatedAt":"2026-01-01T00:00:00Z","UpdatedAt":
    "2026-01-01T00:00:00Z","Spec":{"Name":"cert","Labels":{}}}]"#;

const CONFIGS: &str = r#"[{"ID":"c1id","Spec":{"Name":"app","Data":"YT0xCg=="}}]"#;

const WEB: &str = r#"{"ID":"webid","Version":{"Index":7},"Spec":{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":
    "mesh/whoami:1","Secrets":[{"File":{"Name":"old","UID":"0","GID":"0","Mode":292},"SecretID":"s0id","SecretName":
    "old"}]}},"Mode":{"Replicated":{"Replicas":1}}}}"#;

#[tokio::test]
async fn a_file_becomes_a_secret_or_config() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    std::fs::write(&path, "hunter2").unwrap();
    let path = path.to_str().unwrap();
    let fake = Fake::new(&[
        ("POST /secrets/create", 201, r#"{"ID":"s1id"}"#),
        ("POST /configs/create", 409, r#"{"message":"config app already exists"}"#),
    ]);
    assert_eq!(fake.says(&["secret", "create", "-l", "tier=back", "key", path]).await, "s1id\n");
    assert_eq!(
        fake.says(&["config", "create", "app", path]).await,
        "Error response from daemon: config app already exists\n"
    );
    assert_eq!(
        fake.changes(),
        [
            r#"POST /secrets/create {"Name":"key","Labels":{"tier":"back"},"Data":"aHVudGVyMg=="}"#,
            r#"POST /configs/create {"Name":"app","Labels":{},"Data":"aHVudGVyMg=="}"#,
        ]
    );
    let missing = fake.says(&["secret", "create", "key", "/nowhere/at/all"]).await;
    assert_eq!(missing, "cannot read /nowhere/at/all: No such file or directory (os error 2)\n");
    let refused = fake.says(&["secret", "create", "-d", "vault", "key", path]).await;
    assert!(refused.starts_with("--driver is not supported"), "{refused}");
    assert!(fake.says(&["secret", "create", "key"]).await.contains("<FILE|->"));
    assert_eq!(fake.changes(), Vec::<String>::new());
}

#[tokio::test]
async fn what_never_ends_is_not_read_for_ever() {
    let fake =
        Fake::new(&[("POST /secrets/create", 400, r#"{"message":"secret data must be larger than 0"}"#)]);
    let said = fake.says(&["secret", "create", "key", "/dev/zero"]).await;
    assert_eq!(said, "Error response from daemon: secret data must be larger than 0\n");
    assert!(fake.changes()[0].len() < 2 << 20, "it fits into a request");
}

#[tokio::test]
async fn lists_are_dockers() {
    let fake = Fake::new(&[("GET /secrets", 200, SECRETS), ("GET /configs", 200, CONFIGS)]);
    let listed = fake.says(&["secret", "ls"]).await;
    let lines: Vec<Vec<_>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["ID", "NAME", "DRIVER", "CREATED", "UPDATED"]);
    assert_eq!((lines[1][0], lines[1][1], lines[2][0], lines[2][1]), ("s1id", "cert", "s2id", "key"));
    assert_eq!(fake.says(&["secret", "ls", "-q"]).await, "s1id\ns2id\n");
    assert_eq!(
        fake.says(&["secret", "ls", "--format", "{{.Name}} {{.Labels}}"]).await,
        "cert \nkey tier=back\n"
    );
    let listed = fake.says(&["config", "ls", "-f", "name=app"]).await;
    assert!(listed.starts_with("ID        NAME      CREATED"), "{listed}");
}

#[tokio::test]
async fn several_are_shown_and_removed_and_failures_are_told() {
    let fake = Fake::new(&[
        ("GET /configs/app", 200, r#"{"ID":"c1id","Spec":{"Name":"app","Data":"YT0xCg=="}}"#),
        ("GET /configs/nope", 404, r#"{"message":"config nope not found"}"#),
        ("DELETE /secrets/key", 400, r#"{"message":"secret 'key' is in use by the following service: web"}"#),
        ("DELETE /secrets/cert", 204, ""),
        ("DELETE /secrets/nope", 404, r#"{"message":"secret nope not found"}"#),
    ]);
    assert_eq!(
        fake.says(&["config", "inspect", "nope", "app", "--format", "{{.Spec.Data}}"]).await,
        "no such config: nope\nYT0xCg==\n"
    );
    let page = fake.says(&["config", "inspect", "--pretty", "app"]).await;
    assert!(
        page.starts_with("ID:\t\t\tc1id\nName:\t\t\tapp\n") && page.ends_with("Data:\na=1\n\n"),
        "{page}"
    );
    assert_eq!(
        fake.says(&["secret", "rm", "key", "nope", "cert"]).await,
        "Error response from daemon: secret 'key' is in use by the following service: web (`meshctl service \
         update` takes it from a service)\nno such secret: nope\ncert\n"
    );
}

#[tokio::test]
async fn services_are_made_with_the_ids_that_names_stand_for() {
    let fake = Fake::new(&[
        ("GET /secrets", 200, SECRETS),
        ("GET /configs", 200, CONFIGS),
        ("POST /services/create", 201, r#"{"ID":"webid"}"#),
    ]);
    let create = |flags: &[&'static str]| {
        let words: Vec<_> =
            ["service", "create", "-d", "--name", "web"].iter().chain(flags).copied().collect();
        [words, vec!["mesh/whoami:1"]].concat()
    };
    let words = create(&["--secret", "source=key,target=k,mode=0400", "--secret", "cert", "--config", "app"]);
    assert_eq!(fake.says(&words).await, "webid\n");
    let sent = fake.changes().concat();
    for part in [
        r#""Secrets":[{"File":{"Name":"k","UID":"0","GID":"0","Mode":256},"SecretID":"s2id","SecretName":"key"},"#,
        r#"{"File":{"Name":"cert","UID":"0","GID":"0","Mode":292},"SecretID":"s1id","SecretName":"cert"}]"#,
        r#""Configs":[{"File":{"Name":"app","UID":"0","GID":"0","Mode":292},"ConfigID":"c1id","ConfigName":"app"}]"#,
    ] {
        assert!(sent.contains(part), "{part} in {sent}");
    }
    for (flags, refusal) in [
        (&["--secret", "nope"][..], "secret not found: nope\n"),
        (&["--config", "nope"], "config not found: nope\n"),
        (
            &["--secret", "key", "--secret", "source=cert,target=key"],
            "duplicate secret target for cert not allowed\n",
        ),
    ] {
        assert_eq!(fake.says(&create(flags)).await, refusal);
    }
    assert_eq!(fake.changes(), Vec::<String>::new());
}

#[tokio::test]
async fn updates_take_away_and_add() {
    let fake = Fake::new(&[
        ("GET /services/web", 200, WEB),
        ("GET /secrets", 200, SECRETS),
        ("GET /configs", 200, CONFIGS),
        ("POST /services/webid/update", 200, "{}"),
    ]);
    let words = [
        "service",
        "update",
        "-d",
        "--secret-rm",
        "old",
        "--secret-add",
        "key",
        "--config-add",
        "app",
        "web",
    ];
    assert_eq!(fake.says(&words).await, "web\n");
    let sent = fake.changes().concat();
    assert!(
        !sent.contains("s0id")
            && sent.contains(r#""SecretID":"s2id""#)
            && sent.contains(r#""ConfigID":"c1id""#),
        "{sent}"
    );
}

#[tokio::test]
async fn a_new_version_goes_to_every_service_that_has_an_older_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    std::fs::write(&path, "hunter3").unwrap();
    let path = path.to_str().unwrap();
    let other = WEB.replace("webid", "otherid").replace("\"old\"", "\"other\"").replace("s0id", "s9id");
    let old = r#"{"ID":"s0id","Spec":{"Name":"old","Labels":{"tier":"back"}}}"#;
    let fake = Fake::new(&[
        ("GET /secrets", 200, &format!("[{old}]")),
        ("GET /services", 200, &format!("[{WEB},{other}]")),
        ("POST /secrets/create", 201, r#"{"ID":"s1id"}"#),
        ("POST /services/webid/update", 200, "{}"),
    ]);
    assert_eq!(fake.says(&["secret", "rotate", "-d", "old", path]).await, "old.v2\nweb gets old.v2\n");
    let sent = fake.changes();
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert_eq!(
        sent[0],
        r#"POST /secrets/create {"Name":"old.v2","Labels":{"tier":"back"},"Data":"aHVudGVyMw=="}"#
    );
    let reference =
        r#"[{"File":{"Name":"old","UID":"0","GID":"0","Mode":292},"SecretID":"s1id","SecretName":"old.v2"}]"#;
    assert!(
        sent[1].starts_with("POST /services/webid/update?version=7 ") && sent[1].contains(reference),
        "{sent:?}"
    );
    assert_eq!(fake.says(&["secret", "rotate", "-d", "nope", path]).await, "no such secret: nope\n");

    let last = old.replace("\"old\"", "\"old.v18446744073709551615\"");
    let fake = Fake::new(&[("GET /secrets", 200, &format!("[{old},{last}]"))]);
    assert_eq!(
        fake.says(&["secret", "rotate", "-d", "old", path]).await,
        "old.v18446744073709551615 is the last version that there can be\n"
    );
    assert_eq!(fake.changes(), Vec::<String>::new());
}
