//! Tasks: list, inspect.

use axum::Json as Answer;
use axum::extract::{Path, State};
use axum::response::Response;
use mesh_api::engine::filter::{FilterError, Filters};
use mesh_api::engine::task::Task as WireTask;
use mesh_core::command::Refusal;
use mesh_core::object::{Task, TaskState};
use mesh_core::store::Store;

use super::Api;
use super::answer;
use super::convert::task;
use super::error::ApiError;
use super::extract::Params;

const FILTERS: [&str; 8] =
    ["id", "name", "label", "service", "node", "desired-state", "_up-to-date", "runtime"];

/// `GET /tasks`
pub async fn list(State(api): State<Api>, params: Params) -> Result<Response, ApiError> {
    let ledger = api.backend.manager()?;
    let filters = params.filters(&FILTERS)?;
    let store = ledger.read().await?;
    let wanted = Wanted::read(filters, &store)?;
    let found = wanted.candidates(&store).into_iter().filter(|task| wanted.matches(task, &store));
    answer::list(found.map(|found| task::show(found, &store)))
}

/// `GET /tasks/ID`
pub async fn inspect(State(api): State<Api>, Path(id): Path<String>) -> Result<Answer<WireTask>, ApiError> {
    let store = api.backend.manager()?.read().await?;
    let found = store.find_task(&id).map_err(Refusal::from)?;
    Ok(Answer(task::show(found, &store)))
}

/// The filters, names resolved.
struct Wanted {
    filters: Filters,
    services: Option<Vec<mesh_core::id::ServiceId>>,
    nodes: Option<Vec<mesh_core::id::NodeId>>,
    up_to_date: Option<bool>,
}

impl Wanted {
    fn read(filters: Filters, store: &Store) -> Result<Self, ApiError> {
        let refused = |name: &str, value: &str| {
            ApiError::from(FilterError::Value { name: name.to_owned(), value: value.to_owned() })
        };
        let values = |name: &str| filters.get(name).into_iter().flatten();
        let is_state =
            |text: &str| TaskState::ALL.iter().any(|state| state.as_str().eq_ignore_ascii_case(text));
        if let Some(bad) = values("desired-state").find(|text| !is_state(text)) {
            return Err(refused("desired-state", bad));
        }
        let mut up_to_date = None;
        for value in values("_up-to-date") {
            up_to_date = Some(value.parse().map_err(|_| refused("_up-to-date", value))?);
        }
        let service = |text: &String| store.find_service(text).map(|found| found.id);
        let node = |text: &String| store.find_node(text).map(|found| found.id);
        let services = filters.get("service").map(|texts| texts.iter().map(service).collect());
        let nodes = filters.get("node").map(|texts| texts.iter().map(node).collect());
        Ok(Self {
            services: services.transpose().map_err(Refusal::Lookup)?,
            nodes: nodes.transpose().map_err(Refusal::Lookup)?,
            up_to_date,
            filters,
        })
    }

    /// Tasks that may match, by the narrowest index.
    fn candidates<'a>(&self, store: &'a Store) -> Vec<&'a Task> {
        let all: Vec<_> = match (&self.services, &self.nodes) {
            (Some(services), _) => services.iter().flat_map(|id| store.service_tasks(*id)).collect(),
            (None, Some(nodes)) => nodes.iter().flat_map(|id| store.node_tasks(*id)).collect(),
            (None, None) => store.tasks().collect(),
        };
        all.into_iter().map(AsRef::as_ref).collect()
    }

    fn matches(&self, found: &Task, store: &Store) -> bool {
        let current = |wanted: bool| store.is_outdated(found) != wanted;
        let on_node = |nodes: &Vec<_>| found.node.is_some_and(|node| nodes.contains(&node));
        self.nodes.as_ref().is_none_or(on_node)
            && self.up_to_date.is_none_or(current)
            && self.filters.any("id", |id| found.id.to_string().starts_with(id.as_str()))
            && self.filters.any("name", |name| found.name().starts_with(name.as_str()))
            && self
                .filters
                .any("desired-state", |state| task::desired_word(found).eq_ignore_ascii_case(state))
            && self.filters.any("runtime", |runtime| runtime == "container")
            && self.filters.labels("label", &mesh_api::engine::Map::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::samples;

    fn wanted(state: &str) -> Result<Wanted, ApiError> {
        let mut filters = Filters::default();
        filters.add("desired-state", state);
        Wanted::read(filters, &Store::default())
    }

    #[test]
    fn every_desired_state_can_be_asked_for_in_any_case() {
        for state in TaskState::ALL {
            let task = Task { desired_state: state, ..samples::task(1, 1) };
            for word in [state.as_str().to_owned(), state.as_str().to_uppercase()] {
                assert!(wanted(&word).unwrap().matches(&task, &Store::default()), "{word}");
            }
            let other = if state == TaskState::Running { "shutdown" } else { "Running" };
            assert!(!wanted(other).unwrap().matches(&task, &Store::default()), "{state}");
        }
        let run = Task { job_iteration: Some(1), ..samples::task(1, 1) };
        assert!(wanted("Complete").unwrap().matches(&run, &Store::default()), "a job's task");
        for word in ["", "run", "runnings"] {
            assert!(wanted(word).is_err(), "{word:?}");
        }
    }
}
