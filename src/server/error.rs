//! The one map outwards: what went wrong inside, as close codes for WebSocket clients and as statuses for HTTP clients.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use warp::http::{Response, StatusCode, header};

use crate::audit::AuditError;
use crate::auth::{Denied, RevokeError};
use crate::hub::{HubError, Readiness};
use crate::ids::{ConnId, DocNameError};
use crate::wire::close::CloseReason;
use crate::wire::dialect::Dialect;
use crate::wire::frame::{self, FrameError};
use crate::wire::ysweet::DocIdError;

/// The close frame that tells a client of `dialect` why (WIRE §6).
pub(super) fn close_frame(reason: CloseReason, dialect: Dialect) -> Bytes {
    frame::close(Some(reason.code(dialect)), reason.text())
}

/// Why a session ends when its document could not be joined, or takes no more messages.
pub(super) fn close_reason(error: &HubError) -> CloseReason {
    match error {
        HubError::Draining => CloseReason::Restart,
        HubError::Storage(_) => CloseReason::StorageFailed,
        HubError::BadUpdate(_) => CloseReason::UpdateRefused,
        HubError::Deleted { .. } => CloseReason::Deleted,
        HubError::DiskFull(_) => CloseReason::DiskFull,
        HubError::CannotOpen { .. } => CloseReason::Unreadable,
        HubError::TooManyDocuments | HubError::MemoryFull => CloseReason::Overloaded,
        HubError::CannotCompact { .. } | HubError::CannotRead { .. } | HubError::CannotVacuum(_) => {
            CloseReason::StorageFailed
        }
        HubError::NoSuchDocument(_) | HubError::Reloading(_) | HubError::BackupRunning => CloseReason::Reload,
    }
}

/// Why a session ends when its client breaks the WebSocket protocol. A message that is too large will be sent again
/// after every reconnect, so 1009 would loop; 4413 stops clients that can be stopped (WIRE g7).
pub(super) fn frame_reason(error: FrameError) -> CloseReason {
    match error {
        FrameError::TooLarge { .. } => CloseReason::UpdateRefused,
        FrameError::Protocol(_) | FrameError::NotUtf8 => CloseReason::Protocol(error.code()),
    }
}

/// An HTTP error as `application/problem+json` (RFC 9457, contract 2.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    /// Stable name of the kind of problem, for programs.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The kind, for people.
    title: &'static str,
    /// The HTTP status, repeated.
    status: u16,
    /// What happened this time.
    detail: String,
    /// For the `Allow` header.
    #[serde(skip)]
    allow: Option<String>,
    /// When the document was deleted, milliseconds since 1970; only of `document-deleted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_ms: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { kind, title, status: status.as_u16(), detail: detail.into(), allow: None, deleted_ms: None }
    }

    /// 400: the request cannot be understood.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "The request cannot be understood", detail)
    }

    /// 401: no credential, or a wrong one. A token that is good but says nothing of `admin` is no better than none: who
    /// asks learns nothing from the difference.
    pub(super) fn unauthorized() -> Self {
        let detail = "send the credential of the server's admin.json, or a token with the claim `admin`, as \
                      `Authorization: Bearer …`";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "A valid credential is required", detail)
    }

    /// 401 or 403: a client of a dialect that is told by status may not open the document (WIRE §6).
    pub(super) fn denied(denied: &Denied) -> Self {
        match denied {
            Denied::NoToken | Denied::BadToken(_) => {
                Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "A valid token is required", denied.text())
            }
            Denied::Unknown => Self::unavailable(denied.text()),
            Denied::NoAccess => {
                Self::new(StatusCode::FORBIDDEN, "forbidden", "The token does not open this document", denied.text())
            }
        }
    }

    /// 401: what only an application's own back end may ask for.
    pub(super) fn not_a_back_end() -> Self {
        let detail = "send a token with the claim `admin` as `Authorization: Bearer …`; in a y-sweet connection string it \
                      stands before the host: ys://TOKEN@HOST";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "A valid credential is required", detail)
    }

    /// 403: a page from somewhere that is not let in. Says nothing of who is.
    pub(super) fn foreign_page() -> Self {
        let detail = "pages of this origin are not let in here; the server's operator can name it with --allow-origin";
        Self::new(StatusCode::FORBIDDEN, "foreign-page", "This page may not use this server", detail)
    }

    /// 403: a reader would write.
    pub(super) fn read_only() -> Self {
        let detail = "permission denied: the token is for reading";
        Self::new(StatusCode::FORBIDDEN, "forbidden", "The token does not allow this", detail)
    }

    /// 501: tokens are checked here with keys that cannot make any.
    pub(super) fn no_secret() -> Self {
        let detail = "this server has only public keys, so it can check tokens but not make them; give it a secret with \
                      --auth-secret, or have your back end make the tokens that it passes to its clients";
        Self::new(StatusCode::NOT_IMPLEMENTED, "no-secret", "Tokens cannot be made here", detail)
    }

    /// Its name.
    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }

    /// 503: what admins do is recorded, and that failed.
    pub(super) fn not_recorded(error: &AuditError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "storage-failed", "Storage has failed", error.to_string())
    }

    /// 409: tokens are not checked here, so there are none to revoke.
    pub(super) fn no_keys() -> Self {
        let detail = "this server has no key to check tokens with, so everybody is let in; start it with --auth-secret";
        Self::new(StatusCode::CONFLICT, "no-keys", "Tokens are not checked here", detail)
    }

    /// 404: no such route.
    pub(super) fn no_such_route(path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "no-such-route", "There is nothing at this path", format!("no route {path:?}"))
    }

    /// 404: no such connection, or not any more.
    pub(super) fn no_such_connection(id: ConnId) -> Self {
        let detail = format!("no connection {} is open", id.0);
        Self::new(StatusCode::NOT_FOUND, "no-such-connection", "The connection does not exist", detail)
    }

    /// 405: the route exists for other methods. Where GET is allowed, HEAD is.
    pub(super) fn method_not_allowed(allowed: &[&str]) -> Self {
        let allow = allowed.join(", ").replace("GET", "GET, HEAD");
        let detail = format!("this path takes {allow}");
        let mut problem =
            Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The method is not allowed here", detail);
        problem.allow = Some(allow);
        problem
    }

    /// 408: a body that does not go on.
    pub(super) fn request_timeout(waited: Duration) -> Self {
        let detail = format!("nothing more of the body came for {} s", waited.as_secs());
        Self::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", "The request does not go on", detail)
    }

    /// 413: a body over the limit.
    pub(super) fn too_large(bytes_max: usize) -> Self {
        let detail = format!("at most {bytes_max} bytes are allowed");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request body is too large", detail)
    }

    /// 426: not a WebSocket handshake, or not version 13.
    pub(super) fn upgrade_required(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UPGRADE_REQUIRED, "upgrade-required", "This path speaks WebSocket", detail)
    }

    /// What keeps a y-sweet document from being opened. One that was deleted is not there, for its clients (WIRE §6).
    pub(super) fn gone_missing(error: HubError) -> Self {
        match error {
            HubError::Deleted { .. } | HubError::NoSuchDocument(_) => {
                Self::new(StatusCode::NOT_FOUND, "no-such-document", "The document does not exist", error.to_string())
            }
            other => other.into(),
        }
    }

    /// 503: not now.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The server does not take this now", detail)
    }

    /// 503: there are too many connections of the same address or user.
    pub(super) fn no_seat() -> Self {
        Self::unavailable("too many connections from here; come back when there are fewer")
    }

    /// 429: more than the share of an address or a user.
    pub(super) fn over_budget() -> Self {
        let detail = "more than your share of this server; come back later";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "over-budget", "Too much is asked", detail)
    }

    /// The response; its body is this problem as JSON.
    pub(super) fn into_response(self) -> Response<Bytes> {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
        match status {
            StatusCode::METHOD_NOT_ALLOWED => {
                let allow = self.allow.and_then(|allow| header::HeaderValue::try_from(allow).ok());
                headers.extend(allow.map(|allow| (header::ALLOW, allow)));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            }
            StatusCode::UPGRADE_REQUIRED => {
                headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
                headers.insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
                headers.insert(header::SEC_WEBSOCKET_VERSION, header::HeaderValue::from_static("13"));
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

impl From<HubError> for Problem {
    fn from(error: HubError) -> Self {
        let detail = error.to_string();
        match error {
            HubError::NoSuchDocument(_) => {
                Self::new(StatusCode::NOT_FOUND, "no-such-document", "The document does not exist", detail)
            }
            HubError::Deleted { deleted_ms, .. } => {
                let gone = Self::new(StatusCode::GONE, "document-deleted", "The document was deleted", detail);
                Self { deleted_ms: Some(deleted_ms), ..gone }
            }
            HubError::Draining | HubError::Reloading(_) | HubError::TooManyDocuments | HubError::MemoryFull => {
                Self::unavailable(detail)
            }
            HubError::CannotOpen { .. } | HubError::CannotRead { .. } | HubError::CannotCompact { .. } => {
                let title = "The document's stored form cannot be used";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "document-damaged", title, detail)
            }
            HubError::Storage(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "storage-failed", "Storage has failed", detail)
            }
            HubError::DiskFull(_) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk-full", "The disk is full", detail)
            }
            HubError::BadUpdate(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-update", "The update is not acceptable", detail)
            }
            HubError::CannotVacuum(_) => {
                Self::new(StatusCode::CONFLICT, "cannot-vacuum", "The store was not vacuumed and is as it was", detail)
            }
            HubError::BackupRunning => {
                Self::new(StatusCode::CONFLICT, "backup-running", "One backup at a time can be taken", detail)
            }
        }
    }
}

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        let detail = error.to_string();
        match error {
            RevokeError::BadSubject => Self::bad_request(detail),
            RevokeError::Full => {
                Self::new(StatusCode::CONFLICT, "revocations-full", "No more revocations can be remembered", detail)
            }
            RevokeError::NotSaved(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "storage-failed", "Storage has failed", detail)
            }
        }
    }
}

impl From<DocNameError> for Problem {
    fn from(error: DocNameError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-document-name", "The document name is not allowed", error.to_string())
    }
}

impl From<DocIdError> for Problem {
    fn from(error: DocIdError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-document-name", "The document name is not allowed", error.to_string())
    }
}

/// Why `/ready` says no, or `None` when it says yes.
pub(super) fn not_ready(readiness: &Readiness) -> Option<String> {
    match readiness {
        Readiness::Ready => None,
        Readiness::Draining => Some("the server is shutting down".to_owned()),
        Readiness::StorageFailed(cause) => Some(format!("storage failed: {cause}")),
        Readiness::DiskFull(why) => Some(format!("the disk is full: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::DocName;

    #[test]
    fn close_codes_follow_wire_6() {
        for (reason, code) in
            [(CloseReason::Unauthorized, 4401), (CloseReason::Forbidden, 4403), (CloseReason::TokenExpired, 4501)]
        {
            assert_eq!(reason.code(Dialect::YWebsocket), code);
        }
        assert_eq!(close_reason(&HubError::Draining).code(Dialect::YWebsocket), 1012);
        assert_eq!(close_reason(&HubError::Storage("disk full".into())).code(Dialect::YWebsocket), 1013);
        let deleted = HubError::Deleted { doc: DocName::parse("d").unwrap(), deleted_ms: 1 };
        assert_eq!(close_reason(&deleted).code(Dialect::YWebsocket), 4404);
        assert_eq!(frame_reason(FrameError::TooLarge { bytes: 1 << 40 }).code(Dialect::YWebsocket), 4413);
        assert_eq!(frame_reason(FrameError::NotUtf8).code(Dialect::YWebsocket), 1007);
        assert_eq!(frame_reason(FrameError::Protocol("x")).code(Dialect::YWebsocket), 1002);
    }

    #[test]
    fn problems_have_a_stable_type_and_the_right_status() {
        let name = DocName::parse("notes/a").unwrap();
        for (problem, status, kind) in [
            (Problem::from(HubError::NoSuchDocument(name.clone())), 404, "no-such-document"),
            (Problem::from(HubError::Deleted { doc: name, deleted_ms: 1 }), 410, "document-deleted"),
            (Problem::from(HubError::Draining), 503, "unavailable"),
            (Problem::from(HubError::Storage("x".into())), 503, "storage-failed"),
            (Problem::from(HubError::DiskFull("x".into())), 507, "disk-full"),
            (Problem::from(HubError::BadUpdate("x".into())), 422, "bad-update"),
            (Problem::from(DocNameError::Nul), 400, "bad-document-name"),
            (Problem::unauthorized(), 401, "unauthorized"),
        ] {
            let response = problem.into_response();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
            let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!((&body["type"], &body["status"]), (&kind.into(), &status.into()));
        }
    }
}
