//! `POST revoke`: takes tokens back, and ends the sessions that came with them.

use serde::Deserialize;

use super::Api;
use crate::auth::RevokeReport;
use crate::ids::DocName;
use crate::server::access::now_s;
use crate::server::body::{Answer, RequestBody, json};
use crate::server::error::Problem;

/// What the body says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    sub: String,
    #[serde(default)]
    doc: Option<DocName>,
}

/// First on disk, then in force for newcomers, then for whoever is here: no session slips through in between.
pub(super) async fn revoke(api: &Api, body: RequestBody) -> Result<Answer, Problem> {
    let body = body.whole().await?;
    let Request { sub, doc } = serde_json::from_slice(&body).map_err(|error| {
        Problem::bad_request(format!(
            "the body is not {{\"sub\": …, \"doc\": …}}, of which `doc` may be left out: {error}"
        ))
    })?;
    let Some(authority) = api.authority.clone() else { return Err(Problem::no_keys()) };
    let revoked =
        tokio::task::spawn_blocking(move || authority.revocations().revoke(&sub, doc.as_ref(), now_s())).await;
    let revocation = revoked.map_err(|panic| Problem::unavailable(panic.to_string()))??;
    let closed = api.sessions.revoke(&revocation) as u64;
    tracing::info!(subject = ?revocation.subject, doc = ?revocation.doc, closed, "tokens revoked");
    Ok(json(&RevokeReport { subject: revocation.subject, doc: revocation.doc, at_s: revocation.at_s, closed }))
}
