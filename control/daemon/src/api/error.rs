//! What the API answers when it does not do what was asked: one closed list, each with its HTTP status and
//! the words that Docker's users know.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use mesh_api::decode::DecodeError;
use mesh_api::engine::ErrorResponse;
use mesh_api::engine::filter::FilterError;

use mesh_core::command::{Refusal, RefusalKind};

use crate::error::{DaemonError, ErrorKind};

/// A request that was not done.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The body is no JSON, or a field has the wrong type.
    #[error(transparent)]
    Body(#[from] DecodeError),
    /// The body is larger than any request needs.
    #[error("the request's body is larger than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// A field has a value that it cannot have.
    #[error("invalid value for {field}: {reason}")]
    Field {
        /// The field, as `EndpointSpec.Ports[0].TargetPort`.
        field: String,
        /// Why.
        reason: String,
    },
    /// A field asks for something that this mesh does not do.
    #[error("{field} is not supported: {reason}")]
    Unsupported {
        /// The field.
        field: String,
        /// What to do instead.
        reason: String,
    },
    /// A filter cannot be used.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// An update without the version it was made from.
    #[error("invalid {kind} version '{text}': a number is expected, as inspect shows it under Version.Index")]
    NoVersion {
        /// Kind of the object.
        kind: &'static str,
        /// What was given.
        text: String,
    },
    /// Nothing of that name or id.
    #[error("{kind} {reference} not found")]
    NotFound {
        /// Kind of the object.
        kind: &'static str,
        /// What was asked for.
        reference: String,
    },
    /// A version of the API that is not spoken here.
    #[error("{0}")]
    ApiVersion(String),
    /// No such endpoint.
    #[error("{method} {path} is not part of this API")]
    NoEndpoint {
        /// Method.
        method: String,
        /// Path.
        path: String,
    },
    /// An endpoint of Docker's that the mesh does not answer.
    #[error("{what} is not supported by meshd")]
    NotImplemented {
        /// What it would do.
        what: String,
    },
    /// A change that the rules of the cluster do not allow.
    #[error("{message}")]
    Refused {
        /// The status that Docker answers.
        status: StatusCode,
        /// The rule, in words.
        message: String,
    },
    /// The node's life cycle did not do it.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The cluster could not be asked.
    #[error("{message}")]
    Cluster {
        /// What went wrong.
        message: String,
        /// Whether asking again may help.
        retry: bool,
    },
}

impl ApiError {
    /// A field with a value that it cannot have.
    pub fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Field { field: field.into(), reason: reason.into() }
    }

    /// A field that asks for something that is not done here.
    pub fn unsupported(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unsupported { field: field.into(), reason: reason.into() }
    }

    /// The status that goes with it.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Body(_)
            | Self::Field { .. }
            | Self::Unsupported { .. }
            | Self::Filter(_)
            | Self::NoVersion { .. }
            | Self::ApiVersion(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotFound { .. } | Self::NoEndpoint { .. } => StatusCode::NOT_FOUND,
            Self::NotImplemented { .. } => StatusCode::NOT_IMPLEMENTED,
            Self::Refused { status, .. } => *status,
            Self::Daemon(error) => match error.kind() {
                ErrorKind::InvalidArgument => StatusCode::BAD_REQUEST,
                ErrorKind::Conflict => StatusCode::CONFLICT,
                ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Self::Cluster { retry: true, .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Cluster { retry: false, .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let message = self.to_string();
        if status.is_server_error() {
            tracing::debug!(%status, %message, "request failed");
        }
        (status, Json(ErrorResponse { message })).into_response()
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { status: refusal_status(refusal.kind()), message: refusal.to_string() }
    }
}

/// The status of each kind of refusal, as Swarm answers it.
fn refusal_status(kind: RefusalKind) -> StatusCode {
    match kind {
        RefusalKind::NotFound => StatusCode::NOT_FOUND,
        RefusalKind::AlreadyExists | RefusalKind::Exhausted => StatusCode::CONFLICT,
        RefusalKind::OutOfSequence => StatusCode::INTERNAL_SERVER_ERROR,
        RefusalKind::Ambiguous | RefusalKind::InvalidArgument | RefusalKind::FailedPrecondition => {
            StatusCode::BAD_REQUEST
        }
        RefusalKind::NotAvailable => StatusCode::NOT_IMPLEMENTED,
    }
}

#[cfg(test)]
mod tests {
    use mesh_identity::LockError;

    use super::*;

    /// The whole table: a kind that is added has to be placed here.
    #[test]
    fn each_kind_of_refusal_has_swarms_status() {
        for (kind, status) in [
            (RefusalKind::NotFound, 404),
            (RefusalKind::Ambiguous, 400),
            (RefusalKind::AlreadyExists, 409),
            (RefusalKind::OutOfSequence, 500),
            (RefusalKind::InvalidArgument, 400),
            (RefusalKind::FailedPrecondition, 400),
            (RefusalKind::Exhausted, 409),
            (RefusalKind::NotAvailable, 501),
        ] {
            assert_eq!(refusal_status(kind).as_u16(), status, "{kind:?}");
        }
    }

    #[test]
    fn the_apis_own_refusals_have_a_status_each() {
        let cluster = |retry| ApiError::Cluster { message: "no quorum".to_owned(), retry };
        for (error, status) in [
            (ApiError::field("Name", "bad"), 400),
            (ApiError::unsupported("Mounts", "leave it out"), 400),
            (ApiError::NoVersion { kind: "service", text: String::new() }, 400),
            (ApiError::ApiVersion("too new".to_owned()), 400),
            (ApiError::NotFound { kind: "network", reference: "x".to_owned() }, 404),
            (ApiError::NotImplemented { what: "exec".to_owned() }, 501),
            (ApiError::TooLarge { limit: 1 }, 413),
            (ApiError::Daemon(DaemonError::NotManager), 503),
            (ApiError::Daemon(DaemonError::NoAddress), 400),
            (ApiError::Daemon(LockError::Locked.into()), 503),
            (ApiError::Daemon(LockError::NotLocked.into()), 409),
            (ApiError::Daemon(LockError::WrongKey.into()), 400),
            (ApiError::Daemon(LockError::Text { reason: "x" }.into()), 400),
            (ApiError::Daemon(LockError::Corrupt { reason: "x" }.into()), 500),
            (cluster(true), 503),
            (cluster(false), 500),
        ] {
            assert_eq!(error.status().as_u16(), status, "{error}");
        }
    }
}
