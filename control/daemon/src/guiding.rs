//! How a node finds the cluster again that was away while every manager it knew was replaced: the manager that
//! leads goes to each node that does not come to it, and says where managers answer. A manager hears that where
//! it always listens; any other node listens there for as long as no manager serves it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::iter;
use mesh_core::id::NodeId;
use mesh_core::leader::Settled;
use mesh_core::object::{Node, NodeState};
use mesh_core::spec::Role;
use mesh_core::store::Store;
use mesh_identity::LiveTls;
use mesh_raft::{Raft, Role as RaftRole};
use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::{Channel, Server};

use crate::acquaintance::Acquaintance;
use crate::agent::session::SessionState;
use crate::error::{DaemonError, chain};
use crate::leader::managers;
use crate::office::listen;
use crate::record::Record;
use crate::rpc::client::{Liveness, connect_as, tls_error};
use crate::rpc::guide::GuideService;
use crate::rpc::listener;
use crate::rpc::proto::ShowRequest;
use crate::rpc::proto::guide_client::GuideClient;
use crate::stop::{Stop, raised};

/// The leader looks this often who is missing. A node that was missing twice is gone to.
const ROUND: Duration = Duration::from_secs(2);

/// Nodes that are gone to at the same time.
const AT_ONCE: usize = 16;

/// How long a node may take to answer.
const ANSWER: Duration = Duration::from_secs(3);

/// A node that no manager serves for this long listens.
const LOST: Duration = Duration::from_secs(1);

/// How soon a node that could not listen tries again.
const AGAIN: Duration = Duration::from_secs(1);

/// What the leader goes about with.
pub struct Guiding {
    /// The store, and whether this manager leads.
    pub raft: Raft,
    /// This manager's own address; other nodes are taken to listen at the same port.
    pub own: SocketAddr,
    /// What it shows and trusts.
    pub tls: LiveTls,
    /// Which nodes have sessions.
    pub nodes: watch::Receiver<Settled>,
}

impl Guiding {
    /// Goes about whenever this manager leads, until raft ends or `stop` says so.
    pub async fn run(self, mut stop: Stop) {
        let mut role = self.raft.role();
        loop {
            let leads = tokio::select! {
                () = raised(&mut stop) => return,
                state = role.wait_for(|state| matches!(state.role, RaftRole::Leader | RaftRole::Stopped)) => {
                    state.is_ok_and(|state| state.role == RaftRole::Leader)
                }
            };
            if !leads {
                return;
            }
            tokio::select! {
                () = raised(&mut stop) => return,
                _ = role.wait_for(|state| state.role != RaftRole::Leader) => {}
                () = self.go_about() => {}
            }
        }
    }

    async fn go_about(&self) {
        let mut missing = BTreeSet::new();
        loop {
            sleep(ROUND).await;
            let store = self.raft.store();
            let now = missed(&store, &self.nodes.borrow().nodes());
            self.visit(&store, missing.intersection(&now)).await;
            missing = now;
        }
    }

    async fn visit(&self, store: &Store, nodes: impl Iterator<Item = &NodeId>) {
        let request = &ShowRequest { managers: managers(store) };
        let visits = nodes.filter_map(|id| store.node(*id)).map(|node| async move {
            let addr = self.place(node);
            match timeout(ANSWER, self.show(addr, request.clone())).await {
                Ok(Ok(())) => {
                    tracing::info!(node = %node.id, %addr, "a node was told where managers answer");
                }
                Ok(Err(error)) => tracing::debug!(node = %node.id, %addr, error, "a node is missing"),
                Err(_) => tracing::debug!(node = %node.id, %addr, "a node is missing, and does not answer"),
            }
        });
        iter(visits).for_each_concurrent(AT_ONCE, |visit| visit).await;
    }

    /// Where a node may listen.
    fn place(&self, node: &Node) -> SocketAddr {
        let usual = SocketAddr::new(node.status.addr, self.own.port());
        node.manager.as_ref().map_or(usual, |manager| manager.addr)
    }

    async fn show(&self, addr: SocketAddr, request: ShowRequest) -> Result<(), String> {
        let tls = Arc::new(self.tls.client_config().map_err(|error| error.to_string())?);
        let channel = connect(addr, &tls).await.map_err(|error| chain(&error))?;
        let shown = GuideClient::new(channel).show(request).await;
        shown.map(drop).map_err(|status| status.message().to_owned())
    }
}

/// Nodes that should have a session and have none.
fn missed(store: &Store, served: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let there = store.nodes().filter(|node| node.status.state != NodeState::Disconnected);
    there.map(|node| node.id).filter(|id| !served.contains(id)).collect()
}

/// Connects to a node that may be a manager still by its certificate, or be none.
async fn connect(addr: SocketAddr, tls: &Arc<ClientConfig>) -> Result<Channel, tonic::transport::Error> {
    let connect = |role| connect_as(addr.to_string(), Arc::clone(tls), Liveness::QUICK, role);
    match connect(Role::Manager).await {
        Err(error) if tls_error(&error).is_some() => connect(Role::Worker).await,
        connected => connected,
    }
}

/// What a node listens with that is no manager.
pub struct Listening {
    /// Its membership.
    pub record: Record,
    /// What it shows and trusts.
    pub tls: LiveTls,
    /// Where it writes down what it hears.
    pub managers: Acquaintance,
}

impl Listening {
    /// Listens whenever no manager serves the node, until `stop` says so.
    pub async fn run(self, mut session: watch::Receiver<SessionState>, mut stop: Stop) {
        loop {
            tokio::select! {
                () = raised(&mut stop) => return,
                lost = lost(&mut session) => if !lost { return },
            }
            tokio::select! {
                () = raised(&mut stop) => return,
                _ = session.wait_for(SessionState::is_open) => continue,
                // A manager, or one that begins to be it, listens itself.
                () = self.is_manager() => {}
                ended = self.listen() => if let Err(error) = ended {
                    tracing::debug!(%error, "this node does not hear where managers answer");
                }
            }
            sleep(AGAIN).await;
        }
    }

    /// Resolves when the node has a part in raft; never when its membership does not change any more.
    async fn is_manager(&self) {
        if self.record.watch().wait_for(|now| now.raft_id.is_some()).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Listens until it is dropped, or cannot.
    async fn listen(&self) -> Result<(), DaemonError> {
        let membership = self.record.now();
        let listener = listen(membership.listen_addr).await?;
        let incoming = ReceiverStream::new(listener::incoming(listener, self.tls.server_config()?));
        let service = GuideService::new(membership.cluster, self.managers.clone());
        let server = Server::builder().add_routes(Routes::new(service.into_server()));
        tracing::info!(addr = %membership.listen_addr, "no manager serves this node: it listens for one");
        server.serve_with_incoming(incoming).await.map_err(|error| DaemonError::part("listening", &error))
    }
}

/// Resolves when no manager has served the node for a while; false when nobody ever will again.
async fn lost(session: &mut watch::Receiver<SessionState>) -> bool {
    loop {
        if session.wait_for(|state| !state.is_open()).await.is_err() {
            return false;
        }
        match timeout(LOST, session.wait_for(SessionState::is_open)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return false,
            Err(_) => return true,
        }
    }
}
