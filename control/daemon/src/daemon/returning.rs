//! A node that was away until its certificate was over comes back as the node it was: it joins again with its old
//! certificate and keeps everything else, its tasks first of all.

use std::sync::Arc;
use std::time::SystemTime;

use mesh_identity::Moment;

use super::{Daemon, JOIN_PATIENCE, Status, served};
use crate::addresses::Addresses;
use crate::error::DaemonError;
use crate::joining::Application;
use crate::member::Member;

impl Daemon {
    /// This node, when it is in a cluster whose managers take its certificate no more.
    pub(super) fn lapsed(&self, now: SystemTime) -> Option<Arc<Member>> {
        let member = match &*self.status() {
            Status::Active(member) => Arc::clone(member),
            _ => return None,
        };
        (member.keys().identity().peer().ends() < Moment::from(now)).then_some(member)
    }

    /// Joins with the certificate that is over; on success the node goes on with a new one.
    pub(super) async fn come_back(
        &self,
        member: Arc<Member>,
        application: Application,
    ) -> Result<(), DaemonError> {
        let membership = member.record().now();
        let application = Application {
            back: Some(member.tls().clone()),
            addresses: Addresses {
                listen: membership.listen_addr,
                advertise: membership.advertise_addr,
                advertise_port: membership.manager_addr().port(),
                data_path: membership.data_path_addr,
            },
            unheard: (!member.is_manager()).then(|| "this node is a worker".to_owned()),
            ..application
        };
        let pursued = tokio::time::timeout(JOIN_PATIENCE, application.pursue(drop)).await;
        let admission = pursued.map_err(|_| DaemonError::NotBack)??;
        if admission.membership.node != membership.node {
            return Err(DaemonError::NotMember);
        }
        member.take_back(&admission)?;
        tracing::info!("this node is back with a new certificate");
        served(&member, JOIN_PATIENCE).await;
        Ok(())
    }
}
