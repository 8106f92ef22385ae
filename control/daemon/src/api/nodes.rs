//! Nodes: list, inspect, update, delete.

use std::time::Duration;

use axum::Json as Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use futures_util::StreamExt;
use mesh_api::engine::filter::Filters;
use mesh_api::engine::node::{Node as WireNode, NodeSpec};
use mesh_core::command::{Refusal, remove_node, update_node};
use mesh_core::id::NodeId;
use mesh_core::object::Node;
use mesh_core::spec::{NodeSpec as CoreSpec, Role};
use mesh_core::store::Store;
use tokio::time::timeout;

use super::Api;
use super::backend::Ledger;
use super::change::commit;
use super::convert::node::{self, View};
use super::error::ApiError;
use super::extract::{Json, Params};
use crate::clock::now;

const FILTERS: [&str; 6] = ["id", "name", "label", "node.label", "membership", "role"];

/// How long it may take until a manager that is to be removed is none.
const DISMISSAL: Duration = Duration::from_secs(10);

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
    let answering = ledger.answering().await;
    commit(ledger.as_ref(), |store, _| {
        let id = find(store, &id)?;
        Ok(((), update_node(store, id, version, spec.clone(), &answering, now())?))
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
    if force {
        dismiss(ledger.as_ref(), &id).await?;
    }
    let answering = ledger.answering().await;
    commit(ledger.as_ref(), |store, _| {
        let id = find(store, &id)?;
        Ok(((), remove_node(store, id, force, &answering, now())?))
    })
    .await?;
    Ok(StatusCode::OK)
}

/// Has a manager demoted before it is removed: who is not in the store is heard by nobody, and as long as it is
/// one of raft's members the others may need its vote to let it go.
async fn dismiss(ledger: &dyn Ledger, reference: &str) -> Result<(), ApiError> {
    let mut feed = ledger.feed();
    let store = ledger.read().await?;
    let id = find(&store, reference)?;
    let manages = |store: &Store| store.node(id).is_some_and(|node| node.manager.is_some());
    if !manages(&store) {
        return Ok(());
    }
    let answering = ledger.answering().await;
    commit(ledger, |store, _| {
        let node =
            store.node(id).ok_or_else(|| ApiError::NotFound { kind: "node", reference: id.to_string() })?;
        let spec = CoreSpec { role: Role::Worker, ..node.spec.clone() };
        Ok(((), update_node(store, id, node.meta.version, spec, &answering, now())?))
    })
    .await?;
    let gone = async {
        while manages(&ledger.store()) && ledger.peers().leads {
            if feed.next().await.is_none() {
                return;
            }
        }
    };
    // Whether it is so is looked at below, whatever ended the wait.
    drop(timeout(DISMISSAL, gone).await);
    if manages(&ledger.store()) {
        let message = format!("node {id} is demoted and not removed yet: try again");
        return Err(ApiError::Cluster { message, retry: true });
    }
    Ok(())
}

fn find(store: &Store, reference: &str) -> Result<NodeId, ApiError> {
    Ok(store.find_node(reference).map_err(Refusal::from)?.id)
}
