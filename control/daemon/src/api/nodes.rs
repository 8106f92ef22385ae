//! Nodes: list, inspect, update, delete.

use axum::Json as Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use mesh_api::engine::filter::Filters;
use mesh_api::engine::node::{Node as WireNode, NodeSpec};
use mesh_core::command::{Refusal, remove_node, update_node};
use mesh_core::id::NodeId;
use mesh_core::object::Node;
use mesh_core::store::Store;

use super::Api;
use super::change::{commit, now};
use super::convert::node::{self, View};
use super::error::ApiError;
use super::extract::{Json, Params};

const FILTERS: [&str; 6] = ["id", "name", "label", "node.label", "membership", "role"];

/// `GET /nodes`
pub async fn list(State(api): State<Api>, params: Params) -> Result<Answer<Vec<WireNode>>, ApiError> {
    let ledger = api.backend.manager()?;
    let filters = params.filters(&FILTERS)?;
    filters.check_values("role", &["manager", "worker"])?;
    filters.check_values("membership", &["accepted", "pending"])?;
    let store = ledger.read().await?;
    let view = View::new(ledger.peers(), &store);
    let wanted = store.nodes().filter(|node| matches(node, &filters));
    Ok(Answer(wanted.map(|found| node::show(found, &view)).collect()))
}

fn matches(node: &Node, filters: &Filters) -> bool {
    filters.any("id", |id| node.id.to_string().starts_with(id.as_str()))
        && filters.any("name", |name| node.description.hostname.starts_with(name.as_str()))
        && filters.any("role", |role| node.spec.role.as_str() == role)
        && filters.any("membership", |membership| membership == "accepted")
        && filters.labels("label", &node.description.engine_labels)
        && filters.labels("node.label", &node.spec.labels)
}

/// `GET /nodes/ID`
pub async fn inspect(State(api): State<Api>, Path(id): Path<String>) -> Result<Answer<WireNode>, ApiError> {
    let ledger = api.backend.manager()?;
    let store = ledger.read().await?;
    let found = store.find_node(&id).map_err(Refusal::from)?;
    Ok(Answer(node::show(found, &View::new(ledger.peers(), &store))))
}

/// `POST /nodes/ID/update`
pub async fn update(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
    Json(wanted): Json<NodeSpec>,
) -> Result<StatusCode, ApiError> {
    let ledger = api.backend.manager()?;
    let version = params.version("node")?;
    let spec = node::spec(&wanted)?;
    commit(ledger.as_ref(), |store, _| {
        let id = find(store, &id)?;
        Ok(((), update_node(store, id, version, spec.clone(), &ledger.peers().reachable(), now())?))
    })
    .await?;
    Ok(StatusCode::OK)
}

/// `DELETE /nodes/ID`
pub async fn remove(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
) -> Result<StatusCode, ApiError> {
    let ledger = api.backend.manager()?;
    let force = params.switch("force");
    commit(ledger.as_ref(), |store, _| {
        let id = find(store, &id)?;
        Ok(((), remove_node(store, id, force, &ledger.peers().reachable(), now())?))
    })
    .await?;
    Ok(StatusCode::OK)
}

fn find(store: &Store, reference: &str) -> Result<NodeId, ApiError> {
    Ok(store.find_node(reference).map_err(Refusal::from)?.id)
}
