//! The layer before the services that only the leader has.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tonic::Status;

use super::{Lane, ON_BEHALF_OF, Passed, ToLeader, caller_header};
use crate::rpc::authorize::Caller;

/// Answers a call here when this manager leads, and has the leader answer it otherwise.
pub async fn pass_on(State(to_leader): State<ToLeader>, request: Request, next: Next) -> Response {
    if request.headers().contains_key(ON_BEHALF_OF) {
        // It has just won, or the manager that passed this on is behind the times.
        return if to_leader.leads_here().await {
            next.run(request).await
        } else {
            unavailable("this manager does not lead: try again")
        };
    }
    let caller = caller_header(request.extensions().get::<Caller>().map(|caller| caller.node));
    match to_leader.pass(Lane::Nodes, request, Some(caller)).await {
        Ok(Passed::Here(request)) => next.run(request).await,
        Ok(Passed::Answered(response)) => response,
        Err(error) => unavailable(&error.to_string()),
    }
}

fn unavailable(why: &str) -> Response {
    Status::unavailable(why).into_http()
}
