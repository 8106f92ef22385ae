//! Which path is answered by whom, with and without a version in front (`/v1.41/services`).

use axum::Router;
use axum::extract::Request;
use axum::http::Uri;
use axum::middleware::{from_fn_with_state, map_response};
use axum::routing::{delete, get, post};
use mesh_api::{API_VERSION, MIN_API_VERSION};
use mesh_core::id::{ConfigKind, SecretKind};
use tower::Layer;
use tower::util::{MapRequest, MapRequestLayer};

use super::error::ApiError;
use super::forward::pass_on;
use super::{Api, contents, events, mesh, networks, nodes, services, swarm, system, tasks, watch};

/// The router behind the rewriting of versioned paths.
pub type Service = MapRequest<Router, fn(Request) -> Request>;

/// The whole API.
pub fn service(api: Api) -> Service {
    let strip: fn(Request) -> Request = strip_version;
    let passing = from_fn_with_state(api.clone(), pass_on);
    MapRequestLayer::new(strip).layer(router(api).layer(passing).layer(map_response(system::add_headers)))
}

/// What other managers are answered.
pub fn remote(api: Api) -> Router {
    router(api)
}

fn router(api: Api) -> Router {
    let engine = Router::new()
        .route("/_ping", get(system::ping))
        .route("/version", get(system::version))
        .route("/info", get(system::info))
        .route("/swarm", get(swarm::inspect))
        .route("/swarm/init", post(swarm::init))
        .route("/swarm/join", post(swarm::join))
        .route("/swarm/leave", post(swarm::leave))
        .route("/swarm/update", post(swarm::update))
        .route("/swarm/unlock", post(swarm::unlock))
        .route("/swarm/unlockkey", get(swarm::unlock_key))
        .route("/nodes", get(nodes::list))
        .route("/nodes/{id}", get(nodes::inspect))
        .route("/nodes/{id}", delete(nodes::remove))
        .route("/nodes/{id}/update", post(nodes::update))
        .route("/services", get(services::list))
        .route("/services/create", post(services::create))
        .route("/services/{id}", get(services::inspect))
        .route("/services/{id}", delete(services::remove))
        .route("/services/{id}/update", post(services::update))
        .route("/events", get(events::events))
        .route("/tasks", get(tasks::list))
        .route("/tasks/{id}", get(tasks::inspect))
        .route("/networks", get(networks::list))
        .route("/networks/create", post(networks::create))
        .route("/networks/{id}", get(networks::inspect))
        .route("/networks/{id}", delete(networks::remove))
        .route("/distribution/{*name}", get(system::distribution));
    let own = Router::new()
        .route("/mesh/v1/vips", get(mesh::vips))
        .route("/mesh/v1/flows", get(mesh::flows))
        .route("/mesh/v1/counters", get(mesh::counters))
        .route("/mesh/v1/digest", get(mesh::digest))
        .route("/mesh/v1/settled", get(mesh::settled))
        .route("/mesh/v1/services/{id}/rebalance", post(services::rebalance))
        .route("/mesh/v1/watch", get(watch::watch));
    let engine = engine
        .merge(contents::routes::<SecretKind>("/secrets"))
        .merge(contents::routes::<ConfigKind>("/configs"));
    engine.merge(own).method_not_allowed_fallback(unknown).fallback(unknown).with_state(api)
}

/// Parts of Docker's API that the mesh does not answer; the rest of what is unknown is no part of it.
const NOT_ANSWERED: [(&str, &str); 10] = [
    ("/containers", "the API of containers"),
    ("/exec", "exec"),
    ("/images", "the API of images"),
    ("/volumes", "the API of volumes"),
    ("/plugins", "plugins"),
    ("/build", "building images"),
    ("/commit", "committing containers"),
    ("/auth", "registries"),
    ("/system", "disk usage"),
    ("/session", "sessions of builders"),
];

async fn unknown(request: Request) -> ApiError {
    if let Some(VersionRefused(message)) = request.extensions().get() {
        return ApiError::ApiVersion(message.clone());
    }
    let (method, path) = (request.method(), request.uri().path());
    let logs = (path.starts_with("/services/") || path.starts_with("/tasks/")) && path.ends_with("/logs");
    let joining = path.starts_with("/networks/") && (path.ends_with("connect") || path.ends_with("/prune"));
    let known = NOT_ANSWERED.iter().find(|(prefix, _)| is_under(path, prefix)).map(|(_, what)| *what);
    match known {
        Some(what) => ApiError::NotImplemented { what: what.to_owned() },
        None if logs => ApiError::NotImplemented { what: "reading logs".to_owned() },
        None if joining => ApiError::NotImplemented { what: format!("{method} {path}") },
        None => ApiError::NoEndpoint { method: method.to_string(), path: path.to_owned() },
    }
}

/// Whether a path is this one, or below it.
pub(super) fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Marks a request whose version is not spoken here; no route matches it.
#[derive(Debug, Clone)]
struct VersionRefused(String);

/// Takes `/v1.NN` off the path.
fn strip_version(mut request: Request) -> Request {
    let path = request.uri().path();
    let Some((version, rest)) = split_version(path) else { return request };
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let target = match check_version(version) {
        Ok(()) => format!("{rest}{query}"),
        Err(message) => {
            request.extensions_mut().insert(VersionRefused(message));
            "/version-refused".to_owned()
        }
    };
    if let Ok(uri) = target.parse::<Uri>() {
        *request.uri_mut() = uri;
    }
    request
}

/// Splits `/v1.41/services` into `1.41` and `/services`.
fn split_version(path: &str) -> Option<(&str, &str)> {
    let (version, rest) = path.strip_prefix("/v")?.split_once('/')?;
    let numeric = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let start = path.len() - rest.len() - 1;
    numeric.then(|| (version, path.get(start..).unwrap_or("/")))
}

fn check_version(version: &str) -> Result<(), String> {
    let number = |text: &str| {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse::<u16>().ok()?, minor.parse::<u16>().ok()?))
    };
    let Some(asked) = number(version) else { return Err(format!("invalid API version {version}")) };
    if Some(asked) < number(MIN_API_VERSION) {
        return Err(format!(
            "client version {version} is too old. Minimum supported API version is {MIN_API_VERSION}, please \
             upgrade your client to a newer version"
        ));
    }
    if Some(asked) > number(API_VERSION) {
        return Err(format!(
            "client version {version} is too new. Maximum supported API version is {API_VERSION}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_taken_off() {
        assert_eq!(split_version("/v1.41/services"), Some(("1.41", "/services")));
        assert_eq!(split_version("/v1.41/services/a/b"), Some(("1.41", "/services/a/b")));
        for path in ["/services", "/version", "/volumes/v1", "/v1.41", "/mesh/v1/vips", "/vx/y"] {
            assert_eq!(split_version(path), None, "{path}");
        }
    }

    #[test]
    fn versions_have_bounds() {
        for version in ["1.24", "1.41", "1.50", API_VERSION] {
            assert_eq!(check_version(version), Ok(()), "{version}");
        }
        assert!(check_version("1.23").unwrap_err().starts_with("client version 1.23 is too old"));
        assert!(check_version("1.99").unwrap_err().starts_with("client version 1.99 is too new"));
        assert!(check_version("2.0").is_err());
        assert!(check_version("1").is_err());
    }
}
