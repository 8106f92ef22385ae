//! Secrets and configs: list, create, inspect, update, delete. One handler for both; the kind says which.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json as Answer, Router};
use mesh_api::engine::CreateResponse;
use mesh_api::engine::content::{Content as WireContent, ContentSpec};
use mesh_api::engine::filter::Filters;
use mesh_core::command::{Refusal, create_content, remove_content, update_content};
use mesh_core::content::{Content, ContentKind};

use super::Api;
use super::answer;
use super::change::commit;
use super::convert::content;
use super::error::ApiError;
use super::extract::{Json, Params};
use crate::clock::now;

const FILTERS: [&str; 4] = ["id", "name", "names", "label"];

/// The routes of a kind below `path`.
pub fn routes<K: ContentKind>(path: &str) -> Router<Api> {
    Router::new()
        .route(path, get(list::<K>))
        .route(&format!("{path}/create"), post(create::<K>))
        .route(&format!("{path}/{{id}}"), get(inspect::<K>).delete(remove::<K>))
        .route(&format!("{path}/{{id}}/update"), post(update::<K>))
}

async fn list<K: ContentKind>(State(api): State<Api>, params: Params) -> Result<Response, ApiError> {
    let ledger = api.backend.manager()?;
    let filters = params.filters(&FILTERS)?;
    let store = ledger.read().await?;
    let wanted = K::table(&store).iter().filter(|found| matches(found, &filters));
    answer::list(wanted.map(|found| content::show(found)))
}

/// As Swarm does: any of the names, beginnings of names and beginnings of ids, and all of the labels.
fn matches<K: ContentKind>(content: &Content<K>, filters: &Filters) -> bool {
    let name = content.spec.name.as_str();
    let named = ["id", "name", "names"].into_iter().filter_map(|filter| Some((filter, filters.get(filter)?)));
    let mut named = named.peekable();
    let begins = named.peek().is_none()
        || named.any(|(filter, values)| {
            values.iter().any(|value| match filter {
                "id" => content.id.to_string().starts_with(value.as_str()),
                "name" => name.to_ascii_lowercase().starts_with(&value.to_ascii_lowercase()),
                _ => name.eq_ignore_ascii_case(value),
            })
        });
    begins && filters.labels("label", &content.spec.labels)
}

async fn create<K: ContentKind>(
    State(api): State<Api>,
    Json(wanted): Json<ContentSpec>,
) -> Result<(StatusCode, Answer<CreateResponse>), ApiError> {
    let ledger = api.backend.manager()?;
    let spec = content::spec(&wanted)?;
    let made = commit(ledger.as_ref(), |store, entropy| {
        Ok(create_content::<K>(store, spec.clone(), now(), entropy)?)
    });
    let id = made.await?.to_string();
    Ok((StatusCode::CREATED, Answer(CreateResponse { id, ..CreateResponse::default() })))
}

async fn inspect<K: ContentKind>(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Answer<WireContent>, ApiError> {
    let store = api.backend.manager()?.read().await?;
    let found = K::table(&store).find(&id).map_err(Refusal::from)?;
    Ok(Answer(content::show(found)))
}

async fn update<K: ContentKind>(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
    Json(wanted): Json<ContentSpec>,
) -> Result<StatusCode, ApiError> {
    let ledger = api.backend.manager()?;
    let version = params.version(K::KIND.as_str())?;
    let (labels, data) = content::update(&wanted)?;
    commit(ledger.as_ref(), |store, _| {
        let found = K::table(store).find(&id).map_err(Refusal::from)?.id;
        let made = update_content(store, found, version, &wanted.name, data.as_ref(), labels.clone(), now())?;
        Ok(((), made))
    })
    .await?;
    Ok(StatusCode::OK)
}

async fn remove<K: ContentKind>(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let ledger = api.backend.manager()?;
    commit(ledger.as_ref(), |store, _| {
        let found = K::table(store).find(&id).map_err(Refusal::from)?.id;
        Ok(((), remove_content(store, found, now())?))
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
