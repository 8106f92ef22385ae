//! Services: create, list, inspect, update, delete.

use axum::Json as Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use mesh_api::engine::CreateResponse;
use mesh_api::engine::filter::Filters;
use mesh_api::engine::service::{Service as WireService, ServiceSpec};
use mesh_core::command::{
    Refusal, create_service, rebalance_service, remove_service, rollback_service, update_service,
};
use mesh_core::id::Entropy;
use mesh_core::object::Service;
use mesh_core::store::Store;

use super::Api;
use super::answer;
use super::change::commit;
use super::convert::{mode, service, standing};
use super::error::ApiError;
use super::extract::{Json, Params};
use super::names;
use crate::clock::now;

const FILTERS: [&str; 4] = ["id", "name", "label", "mode"];

/// `POST /services/create`
pub async fn create(
    State(api): State<Api>,
    Json(wanted): Json<ServiceSpec>,
) -> Result<(StatusCode, Answer<CreateResponse>), ApiError> {
    let ledger = api.backend.manager()?;
    let id = commit(ledger.as_ref(), |store, entropy| {
        let wanted = with_name(&wanted, store, entropy);
        let spec = service::spec(&wanted, store)?;
        Ok(create_service(store, spec, now(), entropy)?)
    })
    .await?;
    Ok((StatusCode::CREATED, Answer(CreateResponse { id: id.to_string(), warnings: None })))
}

/// The spec, with a free name drawn for it when the user gave none.
fn with_name(wanted: &ServiceSpec, store: &Store, entropy: &mut dyn Entropy) -> ServiceSpec {
    let mut wanted = wanted.clone();
    if wanted.name.is_empty() {
        let mut name = names::random(entropy);
        while store.service_by_name(&name).is_some() {
            name.push_str(&entropy.below(10).to_string());
        }
        wanted.name = name;
    }
    wanted
}

/// `GET /services`
pub async fn list(State(api): State<Api>, params: Params) -> Result<Response, ApiError> {
    let ledger = api.backend.manager()?;
    let filters = params.filters(&FILTERS)?;
    filters.check_values("mode", &MODES)?;
    let with_status = params.switch("status");
    let store = ledger.read().await?;
    let show = |found: &std::sync::Arc<Service>| {
        let status = with_status.then(|| standing::counts(found, &store));
        WireService { service_status: status, ..service::show(found, &store) }
    };
    answer::list(store.services().filter(|found| matches(found, &filters)).map(show))
}

const MODES: [&str; 4] = ["replicated", "global", "replicated-job", "global-job"];

fn matches(service: &Service, filters: &Filters) -> bool {
    filters.any("id", |id| service.id.to_string().starts_with(id.as_str()))
        && filters.any("name", |name| service.spec.name.as_str().starts_with(name.as_str()))
        && filters.any("mode", |wanted| wanted == mode::word(service.spec.mode))
        && filters.labels("label", &service.spec.labels)
}

/// `GET /services/ID`; with `insertDefaults=true` it shows what holds where nothing was said.
pub async fn inspect(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Answer<WireService>, ApiError> {
    let store = api.backend.manager()?.read().await?;
    let found = store.find_service(&id).map_err(Refusal::from)?;
    let mut shown = service::show(found, &store);
    if params.switch("insertDefaults") {
        service::insert_defaults(&mut shown.spec);
    }
    Ok(Answer(shown))
}

/// `POST /services/ID/update`
pub async fn update(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
    Json(wanted): Json<ServiceSpec>,
) -> Result<Answer<CreateResponse>, ApiError> {
    let ledger = api.backend.manager()?;
    let version = params.version("service")?;
    check_update(&params)?;
    let back = params.text("rollback") == "previous";
    commit(ledger.as_ref(), |store, _| {
        let found = store.find_service(&id).map_err(Refusal::from)?.id;
        if back {
            return Ok(((), rollback_service(store, found, version, now())?));
        }
        let spec = service::spec(&wanted, store)?;
        Ok(((), update_service(store, found, version, spec, now())?))
    })
    .await?;
    Ok(Answer(CreateResponse::default()))
}

/// Refuses words of an update that Docker does not know.
fn check_update(params: &Params) -> Result<(), ApiError> {
    for (name, known) in
        [("rollback", ["", "none", "previous"]), ("registryAuthFrom", ["", "spec", "previous-spec"])]
    {
        let text = params.text(name);
        if !known.contains(&text) {
            return Err(ApiError::field(name, format!("{text:?}: {} or {} is expected", known[1], known[2])));
        }
    }
    Ok(())
}

/// `POST /mesh/v1/services/ID/rebalance`: `parallelism` tasks at once, one when nothing is said
pub async fn rebalance(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
) -> Result<StatusCode, ApiError> {
    let ledger = api.backend.manager()?;
    let wanted = params.number("parallelism")?.unwrap_or(1);
    let parallelism = u32::try_from(wanted)
        .map_err(|_| ApiError::field("parallelism", format!("{wanted} are more than {}", u32::MAX)))?;
    commit(ledger.as_ref(), |store, _| {
        let found = store.find_service(&id).map_err(Refusal::from)?.id;
        Ok(((), rebalance_service(store, found, parallelism, now())?))
    })
    .await?;
    Ok(StatusCode::OK)
}

/// `DELETE /services/ID`
pub async fn remove(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let ledger = api.backend.manager()?;
    commit(ledger.as_ref(), |store, _| {
        let found = store.find_service(&id).map_err(Refusal::from)?.id;
        Ok(((), remove_service(store, found, now())?))
    })
    .await?;
    Ok(StatusCode::OK)
}
