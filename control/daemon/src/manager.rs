//! What a manager runs beside its agent: raft, the leader, and the endpoint for other nodes.

use std::sync::Arc;
use std::time::Duration;

use axum::middleware::from_fn_with_state;
use mesh_core::id::ClusterId;
use mesh_core::leader::Settled;
use mesh_identity::LiveTls;
use mesh_raft::{Raft, Role};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::acquaintance::Acquaintance;
use crate::api::forward::RemoteApi;
use crate::error::DaemonError;
use crate::guiding::Guiding;
use crate::leader;
use crate::roles::{self, Entering};
use crate::rotation;
use crate::rpc::authorize::Gate;
use crate::rpc::authorize::layer::authorize;
use crate::rpc::certificates::CertificatesService;
use crate::rpc::dispatcher::DispatcherService;
use crate::rpc::forward::{ToLeader, pass_on};
use crate::rpc::guide::GuideService;
use crate::rpc::join::JoinService;
use crate::rpc::managers::ManagersService;
use crate::rpc::proto::certificates_server::CertificatesServer;
use crate::rpc::proto::dispatcher_server::DispatcherServer;
use crate::rpc::proto::join_server::JoinServer;
use crate::rpc::proto::managers_server::ManagersServer;
use crate::rpc::raft::RaftService;
use crate::rpc::{JOIN_MESSAGE_MAX, MESSAGE_MAX, listener};
use crate::settling::Settling;
use crate::stop::raised;
use crate::transport::{Carrying, Own, PeerTransport};

/// How long sessions may take to end when the manager stops.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of one request that may wait to be read.
const STREAM_WINDOW: u32 = 256 << 10;

/// Bytes of all requests of a connection together: never what holds one of them up.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// A running manager.
pub struct Manager {
    raft: Raft,
    settling: Settling,
    to_leader: ToLeader,
    stop: watch::Sender<bool>,
    /// The leader, the roles, the endpoint: they end in this order.
    parts: [JoinHandle<()>; 3],
    carrying: Carrying,
}

/// What a manager is made of.
pub struct Parts {
    /// The store.
    pub raft: Raft,
    /// What carries raft's messages.
    pub transport: PeerTransport,
    /// This manager, as its peers are told.
    pub own: Own,
    /// What the node shows and trusts.
    pub tls: LiveTls,
    /// Where other nodes connect.
    pub listener: TcpListener,
    /// The API, for other managers.
    pub api: RemoteApi,
    /// The cluster.
    pub cluster: ClusterId,
    /// Managers that the node knows.
    pub managers: Acquaintance,
}

impl Manager {
    /// Starts to lead (when raft says so) and to serve.
    pub fn start(parts: Parts) -> Result<Self, DaemonError> {
        let Parts { raft, transport, own, tls, listener, api, cluster, managers: known } = parts;
        let (stop, stopping) = watch::channel(false);
        let (inbox, leader) = watch::channel(None);
        let (nodes, nodes_seen) = watch::channel(Settled::default());
        let guiding =
            Guiding { raft: raft.clone(), own: own.addr, tls: tls.clone(), nodes: nodes_seen.clone() };
        let settling = Settling { leader: leader.clone(), nodes: nodes_seen };
        let dispatcher = DispatcherServer::new(DispatcherService { leader, raft: raft.clone() })
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX);
        let join =
            JoinServer::new(JoinService { raft: raft.clone() }).max_decoding_message_size(JOIN_MESSAGE_MAX);
        let entering = Entering::default();
        let managers = ManagersServer::new(ManagersService::new(raft.clone(), tls.clone(), entering.clone()));
        let messages =
            RaftService::new(own.raft_id, cluster, raft.clone(), transport.clone(), stopping.clone());
        let messages = messages.into_server();
        let carrying = transport.start(raft.clone(), own, Arc::new(tls.client_config()?));
        let incoming = ReceiverStream::new(listener::incoming(listener, tls.server_config()?));
        let to_leader = ToLeader::new(raft.clone(), Arc::new(tls.client_config()?));
        // What only the leader answers.
        let routes = Routes::new(dispatcher)
            .add_service(join)
            .add_service(CertificatesServer::new(CertificatesService { raft: raft.clone() }))
            .add_service(managers)
            .into_axum_router()
            .layer(from_fn_with_state(to_leader.clone(), pass_on))
            .merge(api.routes(to_leader.clone()));
        let routes = Routes::from(routes)
            .add_service(messages)
            .add_service(GuideService::new(cluster, known).into_server())
            .into_axum_router()
            .layer(from_fn_with_state(Gate::new(cluster, raft.clone()), authorize));
        let mut server_stop = stopping.clone();
        let endpoint = tokio::spawn(async move {
            let stopped = async move { raised(&mut server_stop).await };
            let server = Server::builder()
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .add_routes(routes.into());
            if let Err(error) = server.serve_with_incoming_shutdown(incoming, stopped).await {
                tracing::error!(%error, "the endpoint for other nodes has ended");
            }
        });
        let roles = tokio::spawn(roles::run(raft.clone(), own.raft_id, entering, stopping.clone()));
        tokio::spawn(rotation::see_through(raft.clone(), stopping.clone()));
        tokio::spawn(guiding.run(stopping.clone()));
        let leader = tokio::spawn(leader::run(raft.clone(), inbox, nodes, stopping));
        Ok(Self { raft, settling, to_leader, stop, parts: [leader, roles, endpoint], carrying })
    }

    /// The replicated store.
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// What tells whether the nodes have what the store says.
    pub fn settling(&self) -> &Settling {
        &self.settling
    }

    /// The way to the manager that leads.
    pub fn to_leader(&self) -> &ToLeader {
        &self.to_leader
    }

    /// Hands leadership over while this manager can still be reached, then ends the sessions, the endpoint and
    /// raft; what is on disk is complete on return.
    pub async fn stop(self) {
        if self.raft.role().borrow().role == Role::Leader {
            match tokio::time::timeout(PATIENCE, self.raft.transfer(None)).await {
                Ok(Ok(heir)) => tracing::info!(heir, "leadership was handed over"),
                Ok(Err(error)) => tracing::info!(%error, "leadership was not handed over"),
                Err(_) => tracing::warn!("nobody took leadership over in time"),
            }
        }
        self.stop.send_replace(true);
        self.to_leader.close();
        for mut part in self.parts {
            if tokio::time::timeout(PATIENCE, &mut part).await.is_err() {
                part.abort();
            }
        }
        self.raft.shutdown().await;
        drop(self.carrying);
    }
}
