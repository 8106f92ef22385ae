//! Certificates through their lives, over real TLS: renewed in time, for another role and under another root, by
//! nodes that look at a clock of the test's own.

// Clippy knows test functions only; this whole crate is a test.
#![allow(clippy::unwrap_used)]

// Each of these crates uses a part of it.
#[allow(dead_code)]
mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use common::{Cluster, PATIENCE, amended, node};
use mesh_core::assignment::Standing;
use mesh_core::command::{begin_root_rotation, update_node};
use mesh_core::id::NodeId;
use mesh_core::spec::{NodeSpec, Role};
use mesh_identity::files::IdentityDir;
use mesh_identity::tls::NodeIdentity;
use mesh_identity::{CertificateRequest, JoinToken, LiveTls, NODE_CERTIFICATE_LIFE, RootDigest, TrustBundle};
use meshd::clock::now;
use meshd::error::DaemonError;
use meshd::joining::Application;
use meshd::keys::{Keys, Stored};
use meshd::office::Post;
use meshd::renewing::{Renewing, StepError};
use meshd::rotation;
use tempfile::TempDir;
use tokio::sync::watch;

/// A node of which nothing runs but the care for its certificate.
struct Node {
    renewing: Renewing,
    tls: LiveTls,
    /// How far its clock goes ahead, in seconds.
    ahead: Arc<AtomicU64>,
    standing: watch::Sender<Option<Standing>>,
    _managers: watch::Sender<Vec<SocketAddr>>,
    _post: watch::Sender<Post>,
    dir: TempDir,
}

impl Node {
    async fn join(cluster: &Cluster) -> Self {
        let admission = cluster.application(cluster.token(Role::Worker)).pursue(drop).await.unwrap();
        let tls = LiveTls::new(&admission.identity, admission.trust.clone()).unwrap();
        Self::of(cluster, admission.identity, tls, Post::Vacant)
    }

    /// The manager itself.
    fn manager(cluster: &Cluster) -> Self {
        Self::of(
            cluster,
            cluster.identity().clone(),
            cluster.tls().clone(),
            Post::Entering { error: String::new() },
        )
    }

    fn of(cluster: &Cluster, identity: NodeIdentity, tls: LiveTls, post: Post) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = IdentityDir::new(dir.path().to_owned());
        files.save_trust(&tls.trusted()).unwrap();
        let keys = Keys::joined(files.clone(), identity).unwrap();
        let (standing, standing_of) = watch::channel(None);
        let (managers, known) = watch::channel(vec![cluster.addr()]);
        let (post, posts) = watch::channel(post);
        let ahead = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&ahead);
        let renewing = Renewing {
            keys,
            files,
            tls: tls.clone(),
            managers: known,
            standing: standing_of,
            post: posts,
            clock: Arc::new(move || SystemTime::now() + Duration::from_secs(clock.load(Ordering::SeqCst))),
            told: None,
        };
        Self { renewing, tls, ahead, standing, _managers: managers, _post: post, dir }
    }

    fn id(&self) -> NodeId {
        self.tls.own().node
    }

    /// Lets its clock go on; it hears nothing of that.
    fn pass(&self, part_of_life: f64) {
        let ahead = NODE_CERTIFICATE_LIFE.mul_f64(part_of_life).as_secs();
        self.ahead.store(ahead, Ordering::SeqCst);
    }

    /// Hears from the managers what the store wants of it now.
    fn hear(&self, cluster: &Cluster) {
        let store = cluster.raft().store();
        let made = store.cluster().unwrap();
        let role = store.node(self.id()).unwrap().spec.role;
        let standing = Standing { role, trust: made.trust.clone(), signer: made.signer };
        self.standing.send_replace(Some(standing));
    }

    async fn step(&mut self) -> Result<Duration, StepError> {
        self.renewing.step().await
    }

    /// What the next daemon finds.
    fn kept(&self) -> NodeIdentity {
        match Keys::load(IdentityDir::new(self.dir.path().to_owned())).unwrap() {
            Stored::Open(keys) => keys.identity(),
            Stored::Locked(_) => panic!("it is locked"),
        }
    }

    fn issuer(&self, cluster: &Cluster) -> RootDigest {
        RootDigest(cluster.raft().store().node(self.id()).unwrap().issuer)
    }
}

/// That a connection is made and a call is served, whatever certificates are shown and trusted now.
async fn assert_served(node: &Node) {
    let mut fresh = Renewing { told: None, ..copy(&node.renewing) };
    fresh.standing = watch::channel(node.standing.borrow().clone()).1;
    let served = fresh.step().await;
    assert!(served.is_ok(), "{}: {}", node.id(), served.unwrap_err());
}

fn copy(renewing: &Renewing) -> Renewing {
    let Renewing { keys, files, tls, managers, standing, post, clock, told } = renewing;
    Renewing {
        keys: keys.clone(),
        files: files.clone(),
        tls: tls.clone(),
        managers: managers.clone(),
        standing: standing.clone(),
        post: post.clone(),
        clock: Arc::clone(clock),
        told: told.clone(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_in_time_and_is_on_disk_before_it_is_shown() {
    let cluster = Cluster::start().await;
    let mut node = Node::join(&cluster).await;
    let first = node.kept();
    node.hear(&cluster);
    let wait = node.step().await.unwrap();
    assert!(wait > Duration::ZERO);
    assert_eq!(node.kept().certificate(), first.certificate());
    node.pass(0.81);
    node.step().await.unwrap();
    let second = node.kept();
    assert_ne!(second.certificate(), first.certificate());
    let (was, is) = (first.peer(), second.peer());
    assert_eq!((is.node, is.role, node.tls.own()), (was.node, was.role, *is));
    node.pass(0.0);
    assert_served(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_node_gets_a_managers_certificate_and_a_demoted_one_a_workers() {
    let cluster = Cluster::start().await;
    let mut node = Node::join(&cluster).await;
    for role in [Role::Manager, Role::Worker] {
        amended(cluster.raft(), |store| {
            let known = store.node(node.id()).unwrap();
            let spec = NodeSpec { role, ..known.spec.clone() };
            update_node(store, known.id, known.meta.version, spec, &[1].into(), now())
        })
        .await;
        node.hear(&cluster);
        node.step().await.unwrap();
        assert_eq!((node.tls.own().role, node.kept().peer().role), (role, role));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_node_gets_no_certificate() {
    let cluster = Cluster::start().await;
    let mut node = Node::join(&cluster).await;
    node.hear(&cluster);
    cluster.remove_node(node.id()).await;
    node.pass(0.9);
    let refused = node.step().await.unwrap_err();
    assert!(refused.to_string().contains("was removed"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_changes_under_three_nodes_and_none_is_refused_meanwhile() {
    let cluster = Cluster::start().await;
    let mut nodes = vec![Node::manager(&cluster), Node::join(&cluster).await, Node::join(&cluster).await];
    let old = cluster.trust().named();
    let store = cluster.raft().store();
    let root = rotation::new_root(store.cluster().unwrap(), SystemTime::now()).unwrap();
    let new = RootDigest(root.signer);
    amended(cluster.raft(), |store| begin_root_rotation(store, root.clone(), now())).await;
    assert_eq!(cluster.token(Role::Worker).root, old, "every manager can prove the old one");
    // A worker first: the manager still knows the old root alone.
    for renewing in [1, 0, 2] {
        for node in &nodes {
            assert_served(node).await;
        }
        let joined = cluster.application(cluster.token(Role::Worker)).pursue(drop).await.unwrap();
        assert_eq!(joined.trust.roots().count(), 2);
        cluster.remove_node(joined.membership.node).await;

        let node = &mut nodes[renewing];
        node.hear(&cluster);
        node.step().await.unwrap();
        assert_eq!((node.issuer(&cluster), node.tls.trusted().roots().count()), (new, 2));
    }
    // Nobody told the leader to end it.
    cluster
        .wait("the end of the rotation", |store| {
            (!store.cluster().unwrap().trust.contains(&pem_of(&cluster, old))).then_some(())
        })
        .await;
    assert_eq!(cluster.token(Role::Worker).root, new);
    for index in [2, 0, 1] {
        for node in &nodes {
            assert_served(node).await;
        }
        nodes[index].hear(&cluster);
        nodes[index].step().await.unwrap();
        assert_eq!(nodes[index].tls.trusted().roots().count(), 1);
    }
    for node in &nodes {
        assert_served(node).await;
    }
    let joined = cluster.application(cluster.token(Role::Worker)).pursue(drop).await.unwrap();
    assert_eq!(joined.trust.named(), new);
    let late = JoinToken { root: old, ..cluster.token(Role::Worker) };
    let refused = cluster.application(late).pursue(drop).await.unwrap_err();
    assert!(refused.to_string().contains("does not match fingerprint"), "{refused}");
}

/// Whole nodes: nobody tells them what to do but the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_managers_and_a_worker_change_their_root_by_themselves() {
    let first = node::Node::found().await;
    let second = node::Node::join(&first, Role::Manager).await;
    second.seated().await;
    let third = node::Node::join(&first, Role::Manager).await;
    third.seated().await;
    let worker = node::Node::join(&first, Role::Worker).await;
    worker.served().await;
    let managers = [&first, &second, &third];
    let leads = node::leader(&managers).await;
    let store = leads.store();
    let root = rotation::new_root(store.cluster().unwrap(), SystemTime::now()).unwrap();
    let new = RootDigest(root.signer);
    amended(&leads.raft(), |store| begin_root_rotation(store, root.clone(), now())).await;
    let over = |store: &mesh_core::store::Store| {
        let trust = TrustBundle::from_pem(&store.cluster().unwrap().trust).unwrap();
        (trust.roots().count() == 1 && trust.named() == new).then_some(trust)
    };
    for manager in managers {
        let trust = manager.wait("the new root alone", over).await;
        for node in [&first, &second, &third, &worker] {
            let issuer = trust.issuer_of(node.keys.identity().certificate()).unwrap();
            assert_eq!(issuer, Some(new), "{}", node.node());
        }
    }
    // Every connection that is made from here on is made with the new certificates.
    let stopped = [worker.stop().await, second.stop().await];
    for stopped in stopped {
        stopped.start().await.served().await;
    }
}

/// The base64 of a root that the cluster began with.
fn pem_of(cluster: &Cluster, root: RootDigest) -> String {
    cluster.trust().root(root).unwrap().pem().to_owned()
}

/// A node with a certificate that ended two hours ago.
fn lapsed(cluster: &Cluster, node: NodeId) -> LiveTls {
    let csr = CertificateRequest::create().unwrap();
    let subject = (node, Role::Worker, cluster.id());
    let made = SystemTime::now() - Duration::from_hours(4);
    let certificate =
        cluster.authority().issue(&csr.request_pem, subject, made, Duration::from_hours(2)).unwrap();
    let identity = NodeIdentity::new(&certificate, &csr.key_pem).unwrap();
    LiveTls::new(&identity, cluster.trust().clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_certificate_is_over_is_told_so_and_comes_back_as_the_node_it_was() {
    let cluster = Cluster::start().await;
    let node = Node::join(&cluster).await;
    let tls = lapsed(&cluster, node.id());
    let mut away =
        Node { tls: tls.clone(), renewing: Renewing { tls: tls.clone(), ..node.renewing }, ..node };
    away.hear(&cluster);
    away.pass(0.9);
    let refused = away.step().await.unwrap_err().to_string();
    for words in ["is over", "swarm join --token", &tls.own().ends().to_string()] {
        assert!(refused.contains(words), "{refused}");
    }

    let back = Some(tls.clone());
    let wrong =
        JoinToken { secret: mesh_identity::TokenSecret::from_random(1), ..cluster.token(Role::Worker) };
    let application = Application { back, ..cluster.application(wrong) };
    let error = application.pursue(drop).await.unwrap_err();
    assert!(error.to_string().contains("A valid join token is necessary"), "{error}");

    let nodes = cluster.raft().store().nodes().count();
    let application = Application { token: cluster.token(Role::Worker), ..application };
    let back = tokio::time::timeout(PATIENCE, application.pursue(drop)).await.unwrap().unwrap();
    assert_eq!(back.membership.node, away.id());
    assert!(back.identity.peer().ends() > tls.own().ends());
    assert_eq!(cluster.raft().store().nodes().count(), nodes);

    // But not when it was removed meanwhile.
    cluster.remove_node(away.id()).await;
    let error = application.pursue(drop).await.unwrap_err();
    assert!(matches!(&error, DaemonError::JoinRefused { .. }), "{error}");
    assert!(error.to_string().contains("was removed"), "{error}");
}
