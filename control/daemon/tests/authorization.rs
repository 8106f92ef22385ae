//! Every call of the protocol, tried by everybody who has no right to it: the calls are taken from the
//! protocol's own descriptors, so that a new one is tried without anybody thinking of it.

// Clippy knows test functions only; this whole crate is a test.
#![allow(clippy::unwrap_used)]

// Each of these crates uses a part of it.
#[allow(dead_code)]
mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http;
use common::{Cluster, PATIENCE, Worker};
use http_body_util::{BodyExt, Full};
use mesh_core::id::{ClusterId, NodeId};
use mesh_core::spec::Role;
use mesh_identity::{
    Authority, CLOCK_TOLERANCE, CertificateRequest, JoinToken, LiveTls, TrustBundle, tls::NodeIdentity,
};
use meshd::rpc::authorize::Access;
use meshd::rpc::client;
use meshd::rpc::forward::API_PREFIX;
use meshd::rpc::proto::{DESCRIPTORS, JoinRequest, RaftHello, RaftMessages};
use prost::Message;
use tokio::io::AsyncReadExt;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower::ServiceExt;

/// The path of every call in the protocol.
fn calls() -> Vec<String> {
    let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let mut calls = Vec::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                calls.push(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    assert!(calls.len() >= 8, "{calls:?}");
    calls
}

/// Calls `path` with one message, and gives the code of the answer. A call that is still open after a while is
/// one that is served.
async fn code(channel: &Channel, path: &str, message: &[u8]) -> Code {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let frame = [&[0], length.as_slice(), message].concat();
    let request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(tonic::body::Body::new(Full::new(frame.into())))
        .unwrap();
    let answered = async {
        let response = channel.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        if let Some(status) = Status::from_header_map(&parts.headers) {
            return status.code();
        }
        let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
        Status::from_header_map(&trailers).map_or(Code::Ok, |status| status.code())
    };
    tokio::time::timeout(Duration::from_millis(500), answered).await.unwrap_or(Code::Ok)
}

fn is_refusal(code: Code) -> bool {
    matches!(code, Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented)
}

/// The most that somebody without rights could say in this call.
fn message(path: &str, cluster: &Cluster) -> Vec<u8> {
    if path.starts_with("/mesh.v1.Raft/") {
        let hello = RaftHello { from: 7, to: 1, addr: cluster.addr().to_string() };
        return RaftMessages { messages: Vec::new(), hello: Some(hello) }.encode_to_vec();
    }
    let secret = "0".repeat(25);
    JoinRequest { secret, ..JoinRequest::default() }.encode_to_vec()
}

/// Somebody with a certificate that the cluster's own authority signed.
struct Somebody {
    node: NodeId,
    role: Role,
    cluster: ClusterId,
    made: SystemTime,
}

impl Somebody {
    fn new(node: NodeId, role: Role, cluster: &Cluster) -> Self {
        Self { node, role, cluster: cluster.id(), made: SystemTime::now() }
    }

    async fn connect(&self, cluster: &Cluster) -> Channel {
        let request = CertificateRequest::create().unwrap();
        let subject = (self.node, self.role, self.cluster);
        let life = Duration::from_hours(2);
        let certificate = cluster.authority().issue(&request.request_pem, subject, self.made, life).unwrap();
        let identity = NodeIdentity::new(&certificate, &request.key_pem).unwrap();
        let tls = LiveTls::new(&identity, cluster.trust().clone()).unwrap().client_config().unwrap();
        client::connect(cluster.addr().to_string(), Arc::new(tls)).await.unwrap()
    }
}

/// Tries every call; only those of `served` may be.
async fn try_all(who: &str, channel: &Channel, cluster: &Cluster, served: &[Access]) {
    let api = [format!("{API_PREFIX}/services"), format!("{API_PREFIX}/swarm")];
    for path in calls().into_iter().chain(api) {
        let access = Access::of(&path).unwrap_or_else(|| panic!("{path} is in no table"));
        let code = code(channel, &path, &message(&path, cluster)).await;
        assert_eq!(!is_refusal(code), served.contains(&access), "{who} calls {path}: {code:?}");
    }
    for path in ["/", "/mesh.v1.Join/Other", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"] {
        assert_eq!(code(channel, path, &[]).await, Code::Unimplemented, "{who} calls {path}");
    }
}

#[test]
fn the_table_has_every_call_of_the_protocol_and_no_two_alike() {
    let calls = calls();
    for path in &calls {
        assert!(Access::of(path).is_some(), "{path} is not in the table of rpc/authorize.rs");
    }
    assert_eq!(calls.iter().collect::<BTreeSet<_>>().len(), calls.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_served_without_the_right_certificate_and_role() {
    let cluster = Cluster::start().await;
    let nobody = mesh_identity::tls::joiner_config(cluster.trust().named(), None).unwrap();
    let nobody = client::connect(cluster.addr().to_string(), Arc::new(nobody)).await.unwrap();
    // Even joining is refused, since the token's secret is wrong.
    try_all("nobody", &nobody, &cluster, &[]).await;

    let worker = Worker::join(&cluster).await;
    let channel = Somebody::new(worker.node(), Role::Worker, &cluster).connect(&cluster).await;
    try_all("a worker", &channel, &cluster, &[Access::Node]).await;
    // The store wants no manager of it: a certificate that says otherwise is one from before.
    let channel = Somebody::new(worker.node(), Role::Manager, &cluster).connect(&cluster).await;
    try_all("a demoted manager", &channel, &cluster, &[Access::Node]).await;
    for role in [Role::Worker, Role::Manager] {
        let channel = Somebody::new(NodeId::from_bits(99), role, &cluster).connect(&cluster).await;
        try_all("a removed node", &channel, &cluster, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_served_to_another_clusters_node_or_with_a_certificate_that_is_over() {
    let cluster = Cluster::start().await;
    let own = cluster.node();
    let foreign =
        Somebody { cluster: ClusterId::from_bits(9), ..Somebody::new(own, Role::Manager, &cluster) };
    try_all("another cluster's manager", &foreign.connect(&cluster).await, &cluster, &[]).await;
    let made = SystemTime::now() - Duration::from_hours(2) - CLOCK_TOLERANCE - Duration::from_secs(5);
    let over = Somebody { made, ..Somebody::new(own, Role::Manager, &cluster) };
    try_all("a manager that was away for too long", &over.connect(&cluster).await, &cluster, &[]).await;
    // And what a manager may do, it may.
    let manager = Somebody::new(own, Role::Manager, &cluster).connect(&cluster).await;
    for path in ["/mesh.v1.Managers/Members", "/mesh.v1.Dispatcher/Session"] {
        let code = code(&manager, path, &[]).await;
        assert!(!is_refusal(code), "{path}: {code:?}");
    }
    // A stranger does not even get through TLS.
    let other = Authority::create(ClusterId::from_bits(9), SystemTime::now()).unwrap();
    let request = CertificateRequest::create().unwrap();
    let subject = (NodeId::from_bits(3), Role::Manager, ClusterId::from_bits(9));
    let life = Duration::from_hours(2);
    let certificate = other.issue(&request.request_pem, subject, SystemTime::now(), life).unwrap();
    let stranger = NodeIdentity::new(&certificate, &request.key_pem).unwrap();
    let tls = LiveTls::new(&stranger, TrustBundle::of(other.root().clone())).unwrap();
    let tls = Arc::new(tls.client_config().unwrap());
    assert!(client::connect(cluster.addr().to_string(), tls).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_nodes_session_ends_at_once_and_no_other_is_opened() {
    let cluster = Cluster::start().await;
    let worker = Worker::join(&cluster).await;
    let stays = Worker::join(&cluster).await;
    worker.served().await;
    stays.served().await;
    cluster.remove_node(worker.node()).await;
    let error = worker.lost().await;
    assert!(error.contains("was removed"), "{error}");
    let channel = Somebody::new(worker.node(), Role::Worker, &cluster).connect(&cluster).await;
    assert_eq!(code(&channel, "/mesh.v1.Dispatcher/Session", &[]).await, Code::PermissionDenied);
    stays.served().await;
}

/// A manager of another cluster that counts what it is told once TLS stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_another_root_is_refused_before_anything_is_sent() {
    let (cluster, right) = (ClusterId::from_bits(4), ClusterId::from_bits(5));
    let authority = Authority::create(cluster, SystemTime::now()).unwrap();
    let request = CertificateRequest::create().unwrap();
    let subject = (NodeId::from_bits(1), Role::Manager, cluster);
    let certificate =
        authority.issue(&request.request_pem, subject, SystemTime::now(), Duration::from_hours(2)).unwrap();
    let identity = NodeIdentity::new(&certificate, &request.key_pem).unwrap();
    let tls = LiveTls::new(&identity, TrustBundle::of(authority.root().clone())).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls.server_config().unwrap()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let heard = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        if let Ok(mut stream) = acceptor.accept(stream).await {
            // An error is how a client that was refused leaves.
            let _ = stream.read_to_end(&mut heard).await;
        }
        heard
    });
    let wanted = Authority::create(right, SystemTime::now()).unwrap();
    let secret = mesh_identity::TokenSecret::from_random(3);
    let token = JoinToken { root: wanted.root().digest(), secret };
    let refused = common::application(token, addr.to_string(), 11).pursue(drop).await.unwrap_err();
    assert!(refused.to_string().contains("does not match fingerprint"), "{refused}");
    let heard = tokio::time::timeout(PATIENCE, heard).await.unwrap().unwrap();
    assert_eq!(heard, Vec::<u8>::new());
}
