//! The cluster: inspect, make, join, leave, update, lock and unlock.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use mesh_api::engine::swarm::{
    InitRequest, JoinRequest, JoinTokens, Swarm, SwarmSpec, UnlockKey as WireUnlockKey,
};
use mesh_core::command::{UpdateCluster, update_cluster};
use mesh_core::id::Entropy;
use mesh_core::secret::Secret;
use mesh_identity::{TokenSecret, UnlockKey};

use super::Api;
use super::change::commit;
use super::convert::{cluster, forced, node};
use super::error::ApiError;
use super::extract::{Json, Params};
use crate::clock::now;
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

/// `POST /swarm/init`: the node's id; with `dryRun=1`, which goes with `ForceNewCluster` alone, what that would
/// keep and drop
pub async fn init(
    State(api): State<Api>,
    params: Params,
    Json(request): Json<InitRequest>,
) -> Result<Response, ApiError> {
    if params.switch("dryRun") {
        if !request.force_new_cluster {
            return Err(ApiError::field("dryRun", "it goes with ForceNewCluster"));
        }
        let survey = api.backend.survey_new_cluster().await?;
        return Ok(Answer(forced::show(&survey)).into_response());
    }
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
    Ok(Answer(node.to_string()).into_response())
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
    let (worker, manager) = (params.switch("rotateWorkerToken"), params.switch("rotateManagerToken"));
    let unlock_key = params.switch("rotateManagerUnlockKey");
    commit(ledger.as_ref(), |store, entropy| {
        let before = &store.cluster().ok_or(DaemonError::NoCluster)?.spec;
        let mut spec = before.clone();
        cluster::change(&mut spec, &wanted)?;
        if unlock_key && !spec.autolock {
            let reason = "cannot rotate because autolock is not turned on";
            return Err(ApiError::field("rotateManagerUnlockKey", reason));
        }
        // While managers were not locked their key lay beside what it seals: from now on it has to be another.
        let fresh_key = unlock_key || spec.autolock && !before.autolock;
        let request = UpdateCluster {
            version,
            spec: Some(spec),
            worker_token: worker.then(|| secret(entropy)),
            manager_token: manager.then(|| secret(entropy)),
            unlock_key: fresh_key.then(|| Secret::new(UnlockKey::new(entropy).to_string())),
        };
        Ok(((), update_cluster(store, request, now())?))
    })
    .await?;
    // Docker counts it up; what is shown is 0, so anything else asks for a new root.
    if wanted.ca_config.force_rotate != 0 {
        api.backend.rotate_root().await?;
    }
    Ok(StatusCode::OK)
}

fn secret(entropy: &mut dyn Entropy) -> Secret {
    Secret::new(TokenSecret::from_random(entropy.next_u128()).to_string())
}

/// `GET /swarm/unlockkey`: the key is empty when managers are not locked
pub async fn unlock_key(State(api): State<Api>) -> Result<Answer<WireUnlockKey>, ApiError> {
    let store = api.backend.manager()?.read().await?;
    let found = store.cluster().ok_or(DaemonError::NoCluster)?;
    let key = if found.spec.autolock { found.unlock_key.expose() } else { "" };
    Ok(Answer(WireUnlockKey { unlock_key: key.to_owned() }))
}

/// `POST /swarm/unlock`
pub async fn unlock(
    State(api): State<Api>,
    Json(given): Json<WireUnlockKey>,
) -> Result<StatusCode, ApiError> {
    api.backend.unlock(&given.unlock_key).await?;
    Ok(StatusCode::OK)
}
