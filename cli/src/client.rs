//! The daemon, as commands ask it. What bollard models goes through bollard; services, and what is shown
//! raw, go through [`crate::http`], because bollard's models lose fields of them.

use std::collections::HashMap;
use std::path::PathBuf;

use bollard::Docker;
use bollard::errors::Error as BollardError;
use bollard::query_parameters as query;
use mesh_api::decode::decode_value;
use mesh_api::engine::CreateResponse;
use mesh_api::engine::content::{Content, ContentSpec};
use mesh_api::engine::filter::Filters;
use mesh_api::engine::network::{Network, NetworkCreate, NetworkCreated};
use mesh_api::engine::node::{Node, NodeSpec};
use mesh_api::engine::service::{Service, ServiceSpec};
use mesh_api::engine::swarm::{InitRequest, JoinRequest, Swarm, SwarmSpec, UnlockKey};
use mesh_api::engine::system::{SystemInfo, VersionResponse};
use mesh_api::engine::task::Task;
use mesh_api::mesh::{NewCluster, Settled};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::commands::content::Kind;
use crate::error::CliError;
use crate::http::Http;

/// Seconds that the daemon may take for an answer. A join answers after 20.
const TIMEOUT: u64 = 120;

/// What of the cluster's secrets is to be made anew.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rotate {
    /// The workers' join token.
    pub worker: bool,
    /// The managers' join token.
    pub manager: bool,
    /// The key that unlocks managers.
    pub unlock_key: bool,
}

/// The daemon.
pub struct Client {
    docker: Docker,
    http: Http,
}

impl Client {
    /// The daemon at `host`, `unix:///PATH`. Nothing is sent yet.
    pub fn new(host: &str) -> Result<Self, CliError> {
        let path = socket_path(host)?;
        let http = Http::new(&path);
        let docker =
            Docker::connect_with_unix(&path.to_string_lossy(), TIMEOUT, bollard::API_DEFAULT_VERSION)
                .map_err(|error| failure(&http, error))?;
        Ok(Self { docker, http })
    }

    /// What bollard does not model.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// `GET /version`
    pub async fn version(&self) -> Result<VersionResponse, CliError> {
        let answer = self.docker.version().await;
        self.model(answer)
    }

    /// `GET /info`
    pub async fn info(&self) -> Result<SystemInfo, CliError> {
        // bollard's model has no place for what is empty or new here; the raw answer has.
        self.http.get("/info").await
    }

    /// `POST /swarm/init`; the node's id
    pub async fn init(&self, request: &InitRequest) -> Result<String, CliError> {
        self.http.post("/swarm/init", request).await
    }

    /// `POST /swarm/init` of a new cluster by force, without doing it: what it would keep and drop
    pub async fn survey_new_cluster(&self, request: &InitRequest) -> Result<NewCluster, CliError> {
        self.http.post("/swarm/init?dryRun=1", request).await
    }

    /// `POST /swarm/join`
    pub async fn join(&self, request: &JoinRequest) -> Result<(), CliError> {
        // bollard's model has no place for the availability.
        self.http.post::<Value>("/swarm/join", request).await.map(|_| ())
    }

    /// `POST /swarm/leave`
    pub async fn leave(&self, force: bool) -> Result<(), CliError> {
        let options = query::LeaveSwarmOptions { force };
        self.docker.leave_swarm(Some(options)).await.map_err(|error| failure(&self.http, error))
    }

    /// `GET /swarm`
    pub async fn swarm(&self) -> Result<Swarm, CliError> {
        self.http.get("/swarm").await
    }

    /// `POST /swarm/update`
    pub async fn update_swarm(&self, version: u64, spec: &SwarmSpec, rotate: Rotate) -> Result<(), CliError> {
        let Rotate { worker, manager, unlock_key } = rotate;
        let path = format!(
            "/swarm/update?version={version}&rotateWorkerToken={worker}&rotateManagerToken={manager}\
             &rotateManagerUnlockKey={unlock_key}"
        );
        self.http.post::<Value>(&path, spec).await.map(|_| ())
    }

    /// `GET /swarm/unlockkey`; empty when managers are not locked
    pub async fn unlock_key(&self) -> Result<String, CliError> {
        self.http.get::<UnlockKey>("/swarm/unlockkey").await.map(|answer| answer.unlock_key)
    }

    /// `POST /swarm/unlock`
    pub async fn unlock(&self, key: &str) -> Result<(), CliError> {
        let body = UnlockKey { unlock_key: key.to_owned() };
        self.http.post::<Value>("/swarm/unlock", &body).await.map(|_| ())
    }

    /// `GET /nodes`
    pub async fn nodes(&self, filters: &Filters) -> Result<Vec<Node>, CliError> {
        let options = query::ListNodesOptions { filters: map(filters) };
        let answer = self.docker.list_nodes(Some(options)).await;
        self.model(answer)
    }

    /// `GET /nodes`, with what bollard's model has no place for
    pub async fn nodes_in_full(&self, filters: &Filters) -> Result<Vec<Node>, CliError> {
        self.http.get(&format!("/nodes?filters={}", escape(&filters.to_json()))).await
    }

    /// `GET /nodes/ID`
    pub async fn node(&self, reference: &str) -> Result<Node, CliError> {
        let answer = self.docker.inspect_node(&escape(reference)).await;
        self.model(answer)
    }

    /// `POST /nodes/ID/update`
    pub async fn update_node(&self, id: &str, version: u64, spec: &NodeSpec) -> Result<(), CliError> {
        let path = format!("/nodes/{}/update?version={version}", escape(id));
        self.http.post::<Value>(&path, spec).await.map(|_| ())
    }

    /// `DELETE /nodes/ID`
    pub async fn remove_node(&self, reference: &str, force: bool) -> Result<(), CliError> {
        let options = query::DeleteNodeOptions { force };
        self.docker
            .delete_node(&escape(reference), Some(options))
            .await
            .map_err(|error| failure(&self.http, error))
    }

    /// `GET /networks`
    pub async fn networks(&self, filters: &Filters) -> Result<Vec<Network>, CliError> {
        let options = query::ListNetworksOptions { filters: map(filters) };
        let answer = self.docker.list_networks(Some(options)).await;
        self.model(answer)
    }

    /// `POST /networks/create`
    pub async fn create_network(&self, request: &NetworkCreate) -> Result<NetworkCreated, CliError> {
        let request = self.model(Ok(request))?;
        let answer = self.docker.create_network(request).await;
        self.model(answer)
    }

    /// `DELETE /networks/ID`
    pub async fn remove_network(&self, reference: &str) -> Result<(), CliError> {
        self.docker.remove_network(&escape(reference)).await.map_err(|error| failure(&self.http, error))
    }

    /// `GET /services`, with counts of tasks
    pub async fn services(&self, filters: &Filters) -> Result<Vec<Service>, CliError> {
        let path = format!("/services?status=true&filters={}", escape(&filters.to_json()));
        self.http.get(&path).await
    }

    /// `GET /services/ID`
    pub async fn service(&self, reference: &str) -> Result<Service, CliError> {
        self.http.get(&format!("/services/{}", escape(reference))).await
    }

    /// `POST /services/create`; the id
    pub async fn create_service(&self, spec: &ServiceSpec) -> Result<String, CliError> {
        self.http.post::<CreateResponse>("/services/create", spec).await.map(|made| made.id)
    }

    /// `POST /services/ID/update`
    pub async fn update_service(
        &self,
        id: &str,
        version: u64,
        spec: &ServiceSpec,
        rollback: bool,
    ) -> Result<(), CliError> {
        let rollback = if rollback { "&rollback=previous" } else { "" };
        let path = format!("/services/{}/update?version={version}{rollback}", escape(id));
        self.http.post::<CreateResponse>(&path, spec).await.map(|_| ())
    }

    /// `POST /mesh/v1/services/ID/rebalance`
    pub async fn rebalance_service(&self, id: &str, parallelism: u32) -> Result<(), CliError> {
        let path = format!("/mesh/v1/services/{}/rebalance?parallelism={parallelism}", escape(id));
        self.http.post::<Value>(&path, &Value::Null).await.map(|_| ())
    }

    /// `DELETE /services/ID`
    pub async fn remove_service(&self, reference: &str) -> Result<(), CliError> {
        self.docker.delete_service(&escape(reference)).await.map_err(|error| failure(&self.http, error))
    }

    /// `GET /secrets` or `GET /configs`
    pub async fn contents(&self, kind: Kind, filters: &Filters) -> Result<Vec<Content>, CliError> {
        self.http.get(&format!("/{}?filters={}", kind.collection(), escape(&filters.to_json()))).await
    }

    /// `GET /secrets/ID` or `GET /configs/ID`
    pub async fn content(&self, kind: Kind, reference: &str) -> Result<Content, CliError> {
        self.http.get(&format!("/{}/{}", kind.collection(), escape(reference))).await
    }

    /// `POST /secrets/create` or `POST /configs/create`; the id
    pub async fn create_content(&self, kind: Kind, spec: &ContentSpec) -> Result<String, CliError> {
        let path = format!("/{}/create", kind.collection());
        self.http.post::<CreateResponse>(&path, spec).await.map(|made| made.id)
    }

    /// `DELETE /secrets/ID` or `DELETE /configs/ID`
    pub async fn remove_content(&self, kind: Kind, reference: &str) -> Result<(), CliError> {
        let name = escape(reference);
        let removed = match kind {
            Kind::Secret => self.docker.delete_secret(&name).await,
            Kind::Config => self.docker.delete_config(&name).await,
        };
        removed.map_err(|error| failure(&self.http, error))
    }

    /// `GET /tasks`
    pub async fn tasks(&self, filters: &Filters) -> Result<Vec<Task>, CliError> {
        let options = query::ListTasksOptions { filters: map(filters) };
        let answer = self.docker.list_tasks(Some(options)).await;
        self.model(answer)
    }

    /// `GET /mesh/v1/settled`
    pub async fn settled(&self) -> Result<Settled, CliError> {
        self.http.get("/mesh/v1/settled").await
    }

    /// Any object as the daemon shows it, nothing lost, with what holds by default.
    pub async fn raw(&self, collection: &str, reference: &str) -> Result<Value, CliError> {
        self.http.get(&format!("/{collection}/{}?insertDefaults=true", escape(reference))).await
    }

    /// From bollard's model to ours, or back.
    fn model<T: Serialize, U: DeserializeOwned>(
        &self,
        answer: Result<T, BollardError>,
    ) -> Result<U, CliError> {
        let answer = answer.map_err(|error| failure(&self.http, error))?;
        let value = serde_json::to_value(answer).map_err(|error| self.http.unreadable(&error))?;
        decode_value(value).map_err(|error| self.http.unreadable(&error))
    }
}

/// The socket's path out of `unix:///PATH`.
fn socket_path(host: &str) -> Result<PathBuf, CliError> {
    let path = host.strip_prefix("unix://").unwrap_or(host);
    if path.starts_with('/') {
        return Ok(path.into());
    }
    Err(CliError::Usage(format!(
        "invalid host {host:?}: unix:///PATH is expected, such as unix:///run/meshd.sock"
    )))
}

fn failure(http: &Http, error: BollardError) -> CliError {
    let host = http.host().to_owned();
    match error {
        BollardError::DockerResponseServerError { status_code, message } => {
            CliError::Daemon { status: status_code, message }
        }
        BollardError::SocketNotFoundError(_) => {
            CliError::Unreachable { host, reason: "there is no such socket".to_owned() }
        }
        BollardError::RequestTimeoutError => {
            CliError::Broken { host, reason: format!("no answer within {TIMEOUT} s") }
        }
        BollardError::IOError { err } => CliError::Unreachable { host, reason: err.to_string() },
        BollardError::HyperLegacyError { err } if err.is_connect() => {
            CliError::Unreachable { host, reason: innermost(&err) }
        }
        other => CliError::Broken { host, reason: innermost(&other) },
    }
}

/// The last cause of an error, which names what happened.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

fn map(filters: &Filters) -> Option<HashMap<String, Vec<String>>> {
    if filters.is_empty() {
        return None;
    }
    serde_json::from_str(&filters.to_json()).ok()
}

/// Text as one segment of a path or value of a query.
pub fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            escaped.push(char::from(byte));
        } else {
            escaped.extend(["%", &format!("{byte:02X}")]);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_unix_sockets() {
        for host in ["unix:///run/meshd.sock", "/run/meshd.sock"] {
            assert_eq!(socket_path(host).unwrap(), PathBuf::from("/run/meshd.sock"));
        }
        for host in ["tcp://1.2.3.4:2375", "unix://run", "", "http://x"] {
            assert_eq!(socket_path(host).unwrap_err().exit(), 64, "{host}");
        }
    }

    #[test]
    fn segments_are_escaped() {
        assert_eq!(escape("web-1.a_b"), "web-1.a_b");
        assert_eq!(escape("a/b?c d"), "a%2Fb%3Fc%20d");
    }
}
