//! The cluster: inspect, make, join, leave, update.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use mesh_api::engine::swarm::{InitRequest, JoinRequest, JoinTokens, Swarm, SwarmSpec};
use mesh_core::command::{UpdateCluster, update_cluster};
use mesh_core::id::Entropy;
use mesh_core::secret::Secret;
use mesh_core::store::Store;
use mesh_identity::TokenSecret;

use super::Api;
use super::change::{commit, now};
use super::convert::{cluster, node};
use super::error::ApiError;
use super::extract::{Json, Params};
use crate::daemon;
use crate::error::DaemonError;

/// `GET /swarm`
pub async fn inspect(State(api): State<Api>) -> Result<Answer<Swarm>, ApiError> {
    let store = api.backend.manager()?.read().await?;
    let found = store.cluster().ok_or(DaemonError::NoCluster)?;
    let tokens = api.backend.join_tokens()?;
    let tokens = JoinTokens { worker: tokens.worker, manager: tokens.manager };
    Ok(Answer(cluster::show(found, Some(tokens))))
}

/// `POST /swarm/init`
pub async fn init(
    State(api): State<Api>,
    Json(request): Json<InitRequest>,
) -> Result<Answer<String>, ApiError> {
    let spec = cluster::init_spec(&request)?;
    let node = api
        .backend
        .init(daemon::InitRequest {
            listen_addr: said(&request.listen_addr),
            advertise_addr: said(&request.advertise_addr),
            data_path_addr: said(&request.data_path_addr),
            spec,
            availability: node::availability(&request.availability)?,
            force_new_cluster: request.force_new_cluster,
        })
        .await?;
    Ok(Answer(node.to_string()))
}

/// `POST /swarm/join`
pub async fn join(State(api): State<Api>, Json(request): Json<JoinRequest>) -> Result<StatusCode, ApiError> {
    if request.remote_addrs.is_empty() {
        return Err(ApiError::field("RemoteAddrs", "the address of a manager is needed"));
    }
    if request.join_token.is_empty() {
        return Err(ApiError::field(
            "JoinToken",
            "a token is needed (swarm join-token shows it on a manager)",
        ));
    }
    api.backend
        .join(daemon::JoinRequest {
            remotes: request.remote_addrs,
            token: request.join_token,
            listen_addr: said(&request.listen_addr),
            advertise_addr: said(&request.advertise_addr),
            data_path_addr: said(&request.data_path_addr),
            availability: node::availability(&request.availability)?,
        })
        .await?;
    Ok(StatusCode::OK)
}

/// The daemon's own setting stands for what the client left out, or sent as Docker's default.
fn said(text: &str) -> Option<String> {
    (!text.is_empty() && text != DEFAULT_LISTEN_ADDR).then(|| text.to_owned())
}

/// What docker's CLI sends for `--listen-addr` when the user says nothing.
const DEFAULT_LISTEN_ADDR: &str = "0.0.0.0:2377";

/// `POST /swarm/leave`
pub async fn leave(State(api): State<Api>, params: Params) -> Result<StatusCode, ApiError> {
    api.backend.leave(params.switch("force")).await?;
    Ok(StatusCode::OK)
}

/// `POST /swarm/update`
pub async fn update(
    State(api): State<Api>,
    params: Params,
    Json(wanted): Json<SwarmSpec>,
) -> Result<StatusCode, ApiError> {
    let ledger = api.backend.manager()?;
    let version = params.version("swarm")?;
    if params.switch("rotateManagerUnlockKey") {
        return Err(ApiError::unsupported("rotateManagerUnlockKey", "managers cannot be locked"));
    }
    let (worker, manager) = (params.switch("rotateWorkerToken"), params.switch("rotateManagerToken"));
    commit(ledger.as_ref(), |store, entropy| {
        let request = UpdateCluster {
            version,
            spec: Some(changed(store, &wanted)?),
            worker_token: worker.then(|| secret(entropy)),
            manager_token: manager.then(|| secret(entropy)),
            unlock_key: None,
        };
        Ok(((), update_cluster(store, request, now())?))
    })
    .await?;
    Ok(StatusCode::OK)
}

fn changed(store: &Store, wanted: &SwarmSpec) -> Result<mesh_core::spec::ClusterSpec, ApiError> {
    let mut spec = store.cluster().ok_or(DaemonError::NoCluster)?.spec.clone();
    cluster::change(&mut spec, wanted)?;
    Ok(spec)
}

fn secret(entropy: &mut dyn Entropy) -> Secret {
    Secret::new(TokenSecret::from_random(entropy.next_u128()).to_string())
}

/// `POST /swarm/unlock`
pub async fn unlock(State(api): State<Api>) -> Result<StatusCode, ApiError> {
    api.backend.manager()?;
    Err(ApiError::Refused { status: StatusCode::CONFLICT, message: "swarm is not locked".to_owned() })
}
