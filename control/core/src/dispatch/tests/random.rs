//! Everything at once, at random.

use proptest::prelude::*;

use super::*;
use crate::command::{self, NewRoot};
use crate::id::ServiceId;
use crate::leader::History;
use crate::object::ManagerStatus;
use crate::spec::{Availability, Role, ServiceMode};

/// One random thing happens to the cluster.
fn disturb(cluster: &mut VirtualCluster, services: &mut Vec<ServiceId>, nets: &[NetworkId], round: u32) {
    let pick =
        |cluster: &mut VirtualCluster, of: usize| usize::try_from(cluster.below(of.max(1) as u64)).unwrap();
    let number = 1 + u32::try_from(cluster.below(4)).unwrap();
    let what = cluster.below(14);
    let service = services.get(pick(cluster, services.len())).copied();
    match (what, service) {
        (0 | 1, _) | (2..=4, None) => {
            let nets: Vec<_> = nets.iter().filter(|_| cluster.below(2) == 0).copied().collect();
            let replicas = u32::try_from(cluster.below(5)).unwrap();
            let mut spec = joining(&format!("s{round}"), replicas, &nets);
            if cluster.below(2) == 0 {
                spec.endpoint.ports = vec![PublishedPort { published: None, ..ingress_port(80) }];
            }
            services.extend(cluster.create_service(spec).ok());
        }
        (2, Some(service)) => {
            let replicas = u32::try_from(cluster.below(6)).unwrap();
            cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas }).unwrap();
        }
        (3, Some(service)) => {
            cluster.update_service(service, |spec| spec.endpoint.ports.clear()).unwrap();
        }
        (4, Some(service)) => {
            services.retain(|other| *other != service);
            cluster.remove_service(service).unwrap();
        }
        (5, _) => cluster.silence(node(number)),
        (6, _) => cluster.resume(node(number)),
        (7, _) => {
            let all = [Availability::Active, Availability::Pause, Availability::Drain];
            let availability = all[pick(cluster, 3)];
            cluster.update_node(node(number), |spec| spec.availability = availability).unwrap();
        }
        (8, _) => cluster.new_leader(),
        (9, _) => cluster.new_leader_with(History::default()),
        (10, _) => cluster.describe(node(number), |_| {}),
        (11, _) => drop(cluster.depart(node(number))),
        (12, _) => change_root(cluster),
        _ => change_role(cluster, node(number)),
    }
}

/// A node is promoted and enters raft, or is demoted and leaves it.
fn change_role(cluster: &mut VirtualCluster, id: NodeId) {
    let role = cluster.node(id).spec.role;
    let other = if role == Role::Manager { Role::Worker } else { Role::Manager };
    let status = ManagerStatus { raft_id: cluster.below(u64::MAX) + 1, addr: ([192, 0, 2, 1], 2377).into() };
    let step = match cluster.node(id).manager {
        None if role == Role::Manager => command::enter_raft(&cluster.store, id, status, cluster.now),
        Some(_) if role == Role::Worker => command::leave_raft(&cluster.store, id, cluster.now),
        _ => return drop(cluster.update_node(id, |spec| spec.role = other)),
    };
    cluster.commit(&step.unwrap()).unwrap();
}

/// A new root signs, or the old one is given up.
fn change_root(cluster: &mut VirtualCluster) {
    let signer = [u8::try_from(cluster.below(200)).unwrap(); 32];
    let trust = "-----BEGIN CERTIFICATE-----".repeat(3);
    let root = NewRoot { trust, signer, signing_key: crate::secret::Secret::new("key") };
    let begun = command::begin_root_rotation(&cluster.store, root, cluster.now);
    let step =
        begun.or_else(|_| command::finish_root_rotation(&cluster.store, "new".to_owned(), cluster.now));
    if let Ok(step) = step {
        cluster.commit(&step).unwrap();
    }
}

proptest! {
    #![proptest_config(crate::testing::cases(16))]

    /// Whatever happens, and however much of what the leader proposes is lost, every agent that is connected has
    /// exactly what a full set would give it, and when all is quiet the cluster is as its services want it and
    /// nothing that an agent saw is left to be said.
    #[test]
    fn increments_add_up_to_full_sets(seed: u64, loss in prop_oneof![Just(0_u64), Just(20), Just(60)]) {
        let mut cluster = VirtualCluster::new(4, seed);
        cluster.loss = loss;
        let nets: Vec<_> = (0..3).map(|n| cluster.create_network(network_spec(&format!("net{n}"))).unwrap()).collect();
        let mut services = Vec::new();
        for round in 0..40 {
            disturb(&mut cluster, &mut services, &nets, round);
            for _ in 0..cluster.below(4) {
                let pause = Duration::from_millis(cluster.below(400));
                cluster.run_for(pause);
                cluster.check_assignments();
            }
        }
        for number in 1..=4 {
            cluster.resume(node(number));
            cluster.update_node(node(number), |spec| spec.availability = Availability::Active).unwrap();
        }
        cluster.loss = 0;
        cluster.run_for(Duration::from_secs(20));
        cluster.check_assignments();
        prop_assert_eq!(cluster.unsaid(), 0);
        for service in services {
            let ServiceMode::Replicated { replicas } = cluster.store.service(service).unwrap().spec.mode else { continue };
            prop_assert_eq!(cluster.running(service), replicas as usize);
            let slots: BTreeSet<_> = cluster.live(service).iter().map(|task| task.slot).collect();
            prop_assert_eq!(slots.len(), replicas as usize, "one live task a slot");
        }
    }
}
