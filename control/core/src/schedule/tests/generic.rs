//! Generic resources and platforms.

use std::collections::BTreeSet;

use super::*;
use crate::spec::{GenericAmount, Platform};

fn named<const N: usize>(names: [&str; N]) -> GenericAmount {
    GenericAmount::Named(names.map(str::to_owned).into())
}

fn has(cluster: &mut VirtualCluster, number: u32, kind: &str, amount: GenericAmount) {
    cluster.describe(node(number), |node| drop(node.generic.insert(kind.to_owned(), amount)));
}

fn wants(kind: &str, pieces: u64) -> impl Fn(&mut ServiceSpec) {
    move |spec| {
        spec.task.resources.generic.insert(kind.to_owned(), pieces);
    }
}

/// The pieces that the live tasks of a service were given, and must be distinct.
fn given(cluster: &VirtualCluster, service: ServiceId, kind: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for task in cluster.live(service) {
        if let Some(GenericAmount::Named(names)) = task.generic.get(kind) {
            for name in names {
                assert!(all.insert(name.clone()), "{name} was given twice");
            }
        }
    }
    all
}

#[test]
fn each_task_gets_pieces_of_its_own_and_gives_them_back() {
    let mut cluster = VirtualCluster::new(2, 1);
    has(&mut cluster, 2, "gpu", named(["a", "b", "c"]));
    cluster.run_for(SOON);
    let service = create(&mut cluster, "web", 4, wants("gpu", 1));
    assert_eq!(placed(&cluster, service), [(2, 3)].into());
    assert_eq!(given(&cluster, service, "gpu").len(), 3);
    assert_eq!(explained(&cluster, service), "no suitable node (insufficient resources on 2 nodes)");
    let ended = cluster.live(service).into_iter().find(|task| task.node.is_some()).unwrap();
    let now = cluster.now;
    cluster.agent(node(2)).end(ended.id, TaskState::Failed, now);
    cluster.run_for(SOON);
    assert_eq!(given(&cluster, service, "gpu").len(), 3, "what it had is given to another");
    cluster.remove_service(service).unwrap();
    cluster.run_for(SOON);
    let both = create(&mut cluster, "both", 1, wants("gpu", 2));
    assert_eq!(given(&cluster, both, "gpu"), ["a".to_owned(), "b".to_owned()].into());
}

#[test]
fn pieces_that_are_alike_are_counted() {
    let mut cluster = VirtualCluster::new(1, 1);
    has(&mut cluster, 1, "ssd", GenericAmount::Discrete(5));
    cluster.run_for(SOON);
    let service = create(&mut cluster, "web", 3, wants("ssd", 2));
    assert_eq!(cluster.running(service), 2);
    for task in cluster.live(service).iter().filter(|task| task.node.is_some()) {
        assert_eq!(task.generic, [("ssd".to_owned(), GenericAmount::Discrete(2))].into());
    }
    let other = create(&mut cluster, "other", 1, wants("ssd", 1));
    assert_eq!(cluster.running(other), 1, "one is left");
    let third = create(&mut cluster, "third", 1, wants("fpga", 1));
    assert_eq!(explained(&cluster, third), "no suitable node (insufficient resources on 1 node)");
}

#[test]
fn a_global_services_task_waits_for_its_own_node() {
    let mut cluster = VirtualCluster::new(2, 1);
    has(&mut cluster, 1, "gpu", named(["a"]));
    cluster.run_for(SOON);
    let service = create(&mut cluster, "web", 1, |spec| {
        spec.mode = ServiceMode::Global;
        wants("gpu", 1)(spec);
    });
    assert_eq!(cluster.running(service), 1);
    let waits = |cluster: &VirtualCluster| {
        cluster.live(service).into_iter().find(|task| task.status.state == TaskState::Pending)
    };
    let task = waits(&cluster).unwrap();
    assert_eq!(
        (task.node, task.status.err.as_str()),
        (Some(node(2)), "no suitable node (insufficient resources on 1 node)")
    );
    has(&mut cluster, 2, "gpu", named(["b"]));
    cluster.run_for(SOON);
    assert_eq!((waits(&cluster), cluster.running(service)), (None, 2));
}

#[test]
fn images_go_to_nodes_that_run_them() {
    let mut cluster = VirtualCluster::new(3, 1);
    cluster.describe(node(2), |node| "aarch64".clone_into(&mut node.arch));
    cluster.run_for(SOON);
    let on = |os: &str, arch: &str| Platform { os: os.to_owned(), arch: arch.to_owned() };
    let cases = [
        ("any", vec![], vec![1, 2, 3]),
        ("amd", vec![on("linux", "amd64")], vec![1, 3]),
        ("x86", vec![on("linux", "x86_64")], vec![1, 3]),
        ("arm", vec![on("linux", "arm64")], vec![2]),
        ("both", vec![on("linux", "aarch64"), on("linux", "amd64")], vec![1, 2, 3]),
        ("os", vec![on("linux", "")], vec![1, 2, 3]),
    ];
    for (name, platforms, nodes) in cases {
        let service = create(&mut cluster, name, 3, |spec| spec.task.placement.platforms = platforms);
        assert_eq!(placed(&cluster, service).into_keys().collect::<Vec<_>>(), nodes, "{name}");
    }
    // What fails at both is counted for the platform, which comes first.
    let service = create(&mut cluster, "windows", 1, |spec| {
        spec.task.placement.platforms = vec![on("windows", "amd64")];
        spec.task.placement.constraints = vec!["node.labels.zone==a".parse().unwrap()];
    });
    assert_eq!(explained(&cluster, service), "no suitable node (unsupported platform on 3 nodes)");
}

proptest! {
    #![proptest_config(crate::testing::cases(16))]

    /// No piece is ever given twice, nor more than there are; and nothing waits for a piece that is free.
    #[test]
    fn nodes_give_what_they_have(seed: u64) {
        let mut cluster = VirtualCluster::new(2, seed);
        has(&mut cluster, 1, "gpu", named(["a", "b", "c"]));
        has(&mut cluster, 2, "gpu", GenericAmount::Discrete(4));
        cluster.run_for(SOON);
        let mut services = Vec::new();
        for round in 0..12 {
            if services.is_empty() || cluster.below(2) == 0 {
                let mut spec = service_spec(&format!("s{round}"), u32::try_from(cluster.below(4)).unwrap());
                wants("gpu", 1 + cluster.below(2))(&mut spec);
                services.push(cluster.create_service(spec).unwrap());
            } else {
                let at = usize::try_from(cluster.below(services.len() as u64)).unwrap();
                let replicas = u32::try_from(cluster.below(4)).unwrap();
                cluster.update_service(services[at], |spec| spec.mode = ServiceMode::Replicated { replicas }).unwrap();
            }
            let pause = Duration::from_millis(cluster.below(60));
            cluster.run_for(pause);
            let mut names = BTreeSet::new();
            for task in carried(&cluster, 1) {
                let Some(GenericAmount::Named(own)) = task.generic.get("gpu") else { panic!("{task:?}") };
                prop_assert_eq!(own.len() as u64, task.spec.resources.generic["gpu"]);
                for name in own {
                    prop_assert!(names.insert(name.clone()));
                }
            }
            let pieces: u64 = carried(&cluster, 2).iter().map(|task| task.spec.resources.generic["gpu"]).sum();
            prop_assert!(pieces <= 4);
        }
        cluster.run_for(SOON);
        let used = |number: u32| -> u64 {
            carried(&cluster, number).iter().map(|task| task.spec.resources.generic["gpu"]).sum()
        };
        for task in services.iter().flat_map(|service| waiting(&cluster, *service)) {
            let wanted = task.spec.resources.generic["gpu"];
            prop_assert!(3 - used(1) < wanted && 4 - used(2) < wanted, "it would fit");
        }
    }
}
