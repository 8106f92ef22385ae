//! Fields of a service, one by one.

use super::*;

/// Checks that each change to a good service is refused, with these words.
fn refuse_each(cases: Vec<(Change, &str)>) {
    let bench = Bench::new();
    for (change, refusal) in cases {
        let mut spec = service_spec("web", 1);
        change(&mut spec);
        let outcome = create_service(&bench.store, spec, AT, &mut Seeded(1));
        assert_eq!(words(outcome), (RefusalKind::InvalidArgument, refusal.into()));
    }
}

#[test]
fn service_fields_are_checked() {
    let cases: Vec<(Change, &str)> = vec![
        (
            |spec| spec.labels = [(String::new(), String::new())].into(),
            "invalid labels: a label's key is empty",
        ),
        (
            |spec| spec.labels = (0..257).map(|n| (n.to_string(), String::new())).collect(),
            "invalid labels: 257 entries are more than the 256 allowed",
        ),
        (
            |spec| spec.task.container.labels = [("k".into(), "v".repeat(65536))].into(),
            "invalid container labels: 65537 bytes are more than the 65536 allowed",
        ),
        (
            |spec| spec.mode = ServiceMode::Replicated { replicas: 100_001 },
            "invalid replicas: 100001 is more than the 100000 allowed",
        ),
        (|spec| spec.task.container.image.clear(), "invalid image: image reference must be provided"),
        (|spec| spec.task.container.image = "A".into(), "invalid image: invalid reference format: \"A\""),
        (
            |spec| spec.task.container.env = vec!["A=1".into(), "B".into()],
            "invalid env[1]: not KEY=value: \"B\"",
        ),
        (|spec| spec.task.container.env = vec!["=1".into()], "invalid env[0]: not KEY=value: \"=1\""),
        (|spec| spec.task.container.env = vec!["A=\0".into()], "invalid env: a NUL character"),
        (
            |spec| spec.task.container.args = vec![String::new(); 4097],
            "invalid args: 4097 entries are more than the 4096 allowed",
        ),
        (
            |spec| spec.task.container.command = vec!["x".repeat(262_145)],
            "invalid command: 262145 bytes are more than the 262144 allowed",
        ),
        (
            |spec| spec.task.container.hostname = Some("ab_".into()),
            "invalid hostname: \"ab_\" is not a host name",
        ),
        (
            |spec| spec.task.container.hostname = Some(String::new()),
            "invalid hostname: \"\" is not a host name",
        ),
        (
            |spec| spec.task.container.dir = Some("tmp".into()),
            "invalid workdir: \"tmp\" is not an absolute path",
        ),
        (
            |spec| spec.task.container.user = Some("a b".into()),
            "invalid user: \"a b\" is neither uid[:gid] nor a name",
        ),
        (
            |spec| spec.task.container.stop_signal = Some("SIGNOPE".into()),
            "invalid stop signal: \"SIGNOPE\" is not a signal",
        ),
        (
            |spec| spec.task.container.stop_signal = Some("65".into()),
            "invalid stop signal: \"65\" is not a signal",
        ),
        (
            |spec| spec.task.container.stop_grace_period = Some(Duration::MAX),
            "invalid stop grace period: longer than a year",
        ),
    ];
    refuse_each(cases);
}

#[test]
fn numbers_and_durations_of_a_service_are_checked() {
    let cases: Vec<(Change, &str)> = vec![
        (|spec| spec.task.restart.delay = Duration::MAX, "invalid restart delay: longer than a year"),
        (|spec| spec.task.restart.window = Duration::MAX, "invalid restart window: longer than a year"),
        (|spec| spec.update.monitor = Duration::MAX, "invalid update monitor: longer than a year"),
        (|spec| spec.rollback.delay = Duration::MAX, "invalid rollback delay: longer than a year"),
        (
            |spec| spec.update.max_failure_ratio = 1.5,
            "invalid update max failure ratio: cannot be less than 0 or bigger than 1",
        ),
        (
            |spec| spec.rollback.max_failure_ratio = f32::NAN,
            "invalid rollback max failure ratio: cannot be less than 0 or bigger than 1",
        ),
        (
            |spec| spec.task.resources.limits.memory_bytes = 1024,
            "invalid memory limit: 1024 bytes: must be at least 4MiB",
        ),
        (
            |spec| spec.task.resources.reservations.nano_cpus = 5,
            "invalid cpu reservation: 5 billionths of a core: must be at least 1000000",
        ),
        (|spec| spec.task.resources.pids_limit = u64::MAX, "invalid pids limit: too large"),
        (
            |spec| spec.task.placement.constraints = vec!["node.id==a".parse().unwrap(); 65],
            "invalid placement constraints: 65 entries are more than the 64 allowed",
        ),
        (
            |spec| spec.endpoint.ports = vec![tcp(80), tcp(80)],
            "invalid ports: duplicate published ports provided",
        ),
        (
            |spec| (spec.endpoint.mode, spec.endpoint.ports) = (EndpointMode::Dnsrr, vec![tcp(80)]),
            "invalid ports: port published with ingress mode can't be used with dnsrr mode",
        ),
        (
            |spec| spec.endpoint.ports = (1..=257).map(tcp).collect(),
            "invalid ports: 257 entries are more than the 256 allowed",
        ),
    ];
    refuse_each(cases);
}

#[test]
fn service_fields_that_are_good_are_taken() {
    let cases: Vec<Change> = vec![
        |spec| spec.task.container.env = vec!["A=".into(), "B=x=y".into()],
        |spec| spec.task.container.hostname = Some("a.b-c.d".into()),
        |spec| spec.task.container.hostname = Some("app_1".into()),
        |spec| spec.task.container.hostname = Some("x".repeat(63)),
        |spec| spec.task.container.hostname = Some(format!("{}.y", "x".repeat(62))),
        |spec| spec.task.container.user = Some("1000:1000".into()),
        |spec| spec.task.container.stop_signal = Some("SIGUSR1".into()),
        |spec| spec.task.container.stop_signal = Some("QUIT".into()),
        |spec| spec.task.container.stop_signal = Some("9".into()),
        |spec| spec.endpoint.ports = vec![tcp(80), port(80, PublishMode::Ingress, Protocol::Udp)],
        |spec| {
            (spec.endpoint.mode, spec.endpoint.ports) =
                (EndpointMode::Dnsrr, vec![port(80, PublishMode::Host, Protocol::Tcp)]);
        },
        |spec| spec.mode = ServiceMode::Replicated { replicas: 0 },
        |spec| spec.mode = ServiceMode::Global,
        |spec| spec.update.max_failure_ratio = 1.0,
    ];
    for change in cases {
        let mut spec = service_spec("web", 1);
        change(&mut spec);
        Bench::new().service(spec).unwrap();
    }
}

#[test]
fn an_image_without_a_tag_gets_latest() {
    let mut bench = Bench::new();
    let mut spec = service_spec("web", 1);
    spec.task.container.image = "mesh/whoami".to_owned();
    let id = bench.service(spec).unwrap();
    assert_eq!(bench.store.service(id).unwrap().spec.task.container.image, "mesh/whoami:latest");
    bench.update(id, |spec| spec.task.container.image = "mesh/whoami".to_owned()).unwrap();
}
