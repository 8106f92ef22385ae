//! Taking a manager's word on where managers answer.

use std::net::SocketAddr;
use std::time::SystemTime;

use mesh_core::id::ClusterId;
use mesh_core::spec::Role;
use mesh_identity::Moment;
use tonic::{Request, Response, Status};

use super::JOIN_MESSAGE_MAX;
use super::listener::member;
use super::proto::guide_server::{Guide, GuideServer};
use super::proto::{ShowRequest, ShowResponse};
use crate::acquaintance::Acquaintance;

/// Serves those who show this node the way. What they say is asked before it is believed: a session needs a
/// manager's certificate on the other side.
pub struct GuideService {
    cluster: ClusterId,
    managers: Acquaintance,
}

impl GuideService {
    /// The service of a node of `cluster`, which writes down in `managers` what it hears.
    pub fn new(cluster: ClusterId, managers: Acquaintance) -> Self {
        Self { cluster, managers }
    }

    /// The service with its limits.
    pub fn into_server(self) -> GuideServer<Self> {
        GuideServer::new(self).max_decoding_message_size(JOIN_MESSAGE_MAX)
    }
}

#[tonic::async_trait]
impl Guide for GuideService {
    async fn show(&self, request: Request<ShowRequest>) -> Result<Response<ShowResponse>, Status> {
        let peer = member(&request, self.cluster)?;
        if peer.role != Role::Manager {
            return Err(Status::permission_denied("the way is shown by managers alone"));
        }
        peer.check_life(Moment::from(SystemTime::now()))
            .map_err(|refusal| Status::unauthenticated(refusal.to_string()))?;
        let addr = |text: &String| {
            text.parse::<SocketAddr>()
                .map_err(|_| Status::invalid_argument(format!("invalid address of a manager {text:?}")))
        };
        let managers = request.get_ref().managers.iter().map(addr).collect::<Result<Vec<_>, _>>()?;
        tracing::info!(by = %peer.node, ?managers, "this node is told where managers answer");
        self.managers.hear(&managers);
        Ok(Response::new(ShowResponse {}))
    }
}
