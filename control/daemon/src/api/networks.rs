//! Networks: list, create, inspect, delete.

use axum::Json as Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use mesh_api::engine::filter::Filters;
use mesh_api::engine::network::{Network as WireNetwork, NetworkCreate, NetworkCreated, OVERLAY};
use mesh_core::command::{Refusal, create_network, remove_network};
use mesh_core::id::NodeId;
use mesh_core::object::{Network, TaskState};
use mesh_core::store::Store;

use super::Api;
use super::change::commit;
use super::convert::network;
use super::error::ApiError;
use super::extract::{Json, Params};
use crate::clock::now;

const FILTERS: [&str; 7] = ["id", "name", "label", "driver", "scope", "type", "dangling"];

/// `GET /networks`
pub async fn list(State(api): State<Api>, params: Params) -> Result<Answer<Vec<WireNetwork>>, ApiError> {
    let ledger = api.backend.manager()?;
    let filters = params.filters(&FILTERS)?;
    let store = ledger.read().await?;
    let wanted = store.networks().filter(|found| matches(found, &filters, &store));
    Ok(Answer(wanted.map(|found| network::show(found)).collect()))
}

fn matches(network: &Network, filters: &Filters, store: &Store) -> bool {
    let unused = || store.network_services(network.id).next().is_none();
    filters.any("id", |id| network.id.to_string().starts_with(id.as_str()))
        && filters.any("name", |name| network.spec.name.as_str().contains(name.as_str()))
        && filters.any("driver", |driver| driver == OVERLAY)
        && filters.any("scope", |scope| scope == "swarm")
        && filters.any("type", |kind| (kind == "builtin") == network.spec.ingress)
        && filters.any("dangling", |dangling| matches!(dangling.as_str(), "true" | "1") == unused())
        && filters.labels("label", &network.spec.labels)
}

/// `POST /networks/create`
pub async fn create(
    State(api): State<Api>,
    Json(wanted): Json<NetworkCreate>,
) -> Result<(StatusCode, Answer<NetworkCreated>), ApiError> {
    let ledger = api.backend.manager()?;
    let spec = network::spec(&wanted)?;
    let id =
        commit(ledger.as_ref(), |store, entropy| Ok(create_network(store, spec.clone(), now(), entropy)?))
            .await?;
    Ok((StatusCode::CREATED, Answer(NetworkCreated { id: id.to_string(), warning: String::new() })))
}

/// `GET /networks/ID`
pub async fn inspect(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Answer<WireNetwork>, ApiError> {
    let store = api.backend.manager()?.read().await?;
    if !matches!(params.text("scope"), "" | "swarm" | "global") {
        return Err(ApiError::NotFound { kind: "network", reference: id });
    }
    let found = store.find_network(&id).map_err(Refusal::from)?;
    let mut shown = network::show(found);
    if let Some(node) = api.backend.info().node {
        shown.containers = containers(found, node, &store);
    }
    Ok(Answer(shown))
}

/// Running tasks of this node that are in the network.
fn containers(
    network: &Network,
    node: NodeId,
    store: &Store,
) -> std::collections::BTreeMap<String, serde_json::Value> {
    let here = store.node_tasks(node).filter(|task| task.status.state == TaskState::Running);
    here.filter_map(|task| {
        let place = task.endpoints.iter().find(|endpoint| endpoint.network == network.id)?;
        let shown = serde_json::json!({
            "Name": task.name(),
            "EndpointID": place.id.0.to_string(),
            "MacAddress": mac(place.address),
            "IPv4Address": format!("{}/{}", place.address, network.subnet.prefix_len()),
            "IPv6Address": "",
        });
        Some((task.id.to_string(), shown))
    })
    .collect()
}

/// The address that the dataplane gives the task's interface: `02:42` and the IPv4 address.
fn mac(address: std::net::IpAddr) -> String {
    match address {
        std::net::IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
        }
        std::net::IpAddr::V6(_) => String::new(),
    }
}

/// `DELETE /networks/ID`
pub async fn remove(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let ledger = api.backend.manager()?;
    commit(ledger.as_ref(), |store, _| {
        let found = store.find_network(&id).map_err(Refusal::from)?.id;
        Ok(((), remove_network(store, found, now())?))
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
