//! Requests that only the manager that leads can answer: passed on to it by the others, and answered there for
//! them.
//!
//! A manager that does not lead passes on what concerns the cluster and answers itself what concerns the node.
//! The leader answers it under [`API_PREFIX`] on its endpoint for nodes, to managers alone.

use std::sync::{Arc, PoisonError, RwLock};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Router, http};
use tower::ServiceExt;

use super::Api;
use super::error::ApiError;
use super::router::is_under;
use crate::rpc::forward::{API_PREFIX, ForwardError, Lane, Passed, ToLeader};

/// Paths under which the cluster answers. Events are not among them: every manager tells them from its own store,
/// so that they go on when the leader changes;
const CLUSTERS: [&str; 8] =
    ["/services", "/tasks", "/nodes", "/networks", "/secrets", "/configs", "/swarm", "/mesh/v1"];

/// but for these, which are about a node and its dataplane.
const OWN: [&str; 7] = [
    "/swarm/init",
    "/swarm/join",
    "/swarm/leave",
    "/swarm/unlock",
    "/mesh/v1/vips",
    "/mesh/v1/flows",
    "/mesh/v1/counters",
];

/// Whether a path (without a version in front) is for the manager that leads.
fn is_clusters(path: &str) -> bool {
    let under = |prefix: &&str| is_under(path, prefix);
    CLUSTERS.iter().any(under) && !OWN.iter().any(under)
}

/// The layer before the API of this node's socket.
pub async fn pass_on(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let to_leader = api.backend.to_leader().filter(|_| is_clusters(request.uri().path()));
    let Some(to_leader) = to_leader else { return next.run(request).await };
    let safe = matches!(*request.method(), Method::GET | Method::HEAD);
    let Some(target) = prefixed(request.uri()) else { return next.run(request).await };
    let asked = std::mem::replace(request.uri_mut(), target);
    // What concerns the client's connection alone; the other one has its own.
    for name in [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::EXPECT]
    {
        request.headers_mut().remove(name);
    }
    match to_leader.pass(Lane::Users, request, None).await {
        Ok(Passed::Here(mut request)) => {
            *request.uri_mut() = asked;
            next.run(request).await
        }
        Ok(Passed::Answered(mut response)) => {
            if let Some(denied) = denial(&response) {
                // The connection may be from before this node's certificate said that it is a manager.
                to_leader.hang_up(Lane::Users).await;
                return denied.into_response();
            }
            *response.version_mut() = http::Version::HTTP_11;
            response
        }
        Err(error) => refused(&error, safe).into_response(),
    }
}

fn prefixed(uri: &Uri) -> Option<Uri> {
    let target = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    format!("{API_PREFIX}{target}").parse().ok()
}

fn refused(error: &ForwardError, safe: bool) -> ApiError {
    let message = match error {
        ForwardError::Broken if safe => {
            "the manager that leads went away before it answered: try again".to_owned()
        }
        other => other.to_string(),
    };
    ApiError::Cluster { message, retry: true }
}

/// The leader's gate refuses this manager in gRPC's manner, which is status 200 in HTTP's: nothing was done.
fn denial(response: &Response) -> Option<ApiError> {
    let status = tonic::Status::from_header_map(response.headers())?;
    let message = format!("the manager that leads does not serve this one ({}): try again", status.message());
    Some(ApiError::Cluster { message, retry: true })
}

/// The API as a manager's endpoint serves it to other managers. It is there before the API is: until that is
/// put in, requests are asked to come again. Clones share it.
#[derive(Clone, Default)]
pub struct RemoteApi {
    router: Arc<RwLock<Option<Router>>>,
}

impl RemoteApi {
    /// Serves this from now on; `None`: nothing any more.
    pub fn set(&self, router: Option<Router>) {
        *self.router.write().unwrap_or_else(PoisonError::into_inner) = router;
    }

    /// What is under [`API_PREFIX`]. `to_leader` tells whether this manager leads.
    pub fn routes(&self, to_leader: ToLeader) -> Router {
        let api = self.clone();
        let serve = move |request: Request| {
            let (api, to_leader) = (api.clone(), to_leader.clone());
            async move { api.answer(&to_leader, request).await }
        };
        Router::new().nest_service(
            API_PREFIX,
            tower::service_fn(move |request| {
                let answer = serve(request);
                async move { Ok::<_, std::convert::Infallible>(answer.await) }
            }),
        )
    }

    async fn answer(&self, to_leader: &ToLeader, request: Request<Body>) -> Response {
        let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
        if !is_clusters(&path) {
            return ApiError::NoEndpoint { method, path }.into_response();
        }
        // It has just won, or the manager that passed this on is behind the times.
        if !to_leader.leads_here().await {
            return refused(&ForwardError::NoLeader, false).into_response();
        }
        let router = self.router.read().unwrap_or_else(PoisonError::into_inner).clone();
        match router {
            Some(router) => router.oneshot(request).await.into_response(),
            None => refused(&ForwardError::NoLeader, false).into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_the_cluster_is_for_the_leader_and_what_concerns_the_node_is_not() {
        for path in [
            "/services",
            "/services/create",
            "/services/web/update",
            "/tasks/x",
            "/nodes/n/update",
            "/networks",
            "/secrets/create",
            "/configs",
            "/swarm",
            "/swarm/update",
            "/swarm/unlockkey",
            "/mesh/v1/digest",
            "/mesh/v1/settled",
            "/mesh/v1/watch",
        ] {
            assert!(is_clusters(path), "{path}");
        }
        for path in [
            "/_ping",
            "/version",
            "/info",
            "/events",
            "/swarm/init",
            "/swarm/join",
            "/swarm/leave",
            "/swarm/unlock",
            "/mesh/v1/vips",
            "/mesh/v1/flows",
            "/mesh/v1/counters",
            "/servicesx",
            "/containers/json",
            "/",
        ] {
            assert!(!is_clusters(path), "{path}");
        }
    }

    #[test]
    fn a_target_keeps_its_query() {
        let uri: Uri = "/tasks?filters=%7B%7D".parse().unwrap();
        assert_eq!(prefixed(&uri).unwrap().to_string(), "/mesh.api/tasks?filters=%7B%7D");
    }

    #[test]
    fn a_refusal_at_the_leaders_gate_is_no_success() {
        let refused = tonic::Status::permission_denied("node x is a manager no longer").into_http::<Body>();
        assert_eq!(refused.status(), 200, "gRPC's manner");
        let error = denial(&refused).unwrap();
        assert_eq!(error.status(), 503);
        assert!(error.to_string().contains("node x is a manager no longer"), "{error}");
        assert!(denial(&Response::new(Body::empty())).is_none());
    }

    #[test]
    fn only_a_change_may_have_been_made() {
        assert!(refused(&ForwardError::Broken, false).to_string().contains("not known whether"));
        assert!(refused(&ForwardError::Broken, true).to_string().contains("try again"));
        assert_eq!(refused(&ForwardError::NoLeader, false).status(), 503);
    }
}
