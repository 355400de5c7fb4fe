//! Does what a [`Call`] asks for.

use serde::Serialize;

use super::Api;
use super::call::Call;
use super::{compact, metrics, revoke, vacuum};
use crate::hub::{DocSummary, Hub, ListQuery, Readiness};
use crate::ids::DocName;
use crate::limits::LIST_DEFAULT;
use crate::server::body::{Answer, RequestBody, accepted, binary, json, streamed};
use crate::server::error::{Problem, not_ready};
use crate::server::routes::{alive, content, readiness};

/// The description of all routes, kept by hand beside them; a test holds it against the table in `call`.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

/// The answer of `GET docs`.
#[derive(Serialize)]
struct DocPage {
    docs: Vec<DocSummary>,
    /// What to send as `after` for the next page; null on the last one.
    next: Option<DocName>,
}

impl Api {
    /// Answers one call. Only an arm that wants the body reads it.
    pub(super) async fn execute(&self, call: Call, body: RequestBody) -> Result<Answer, Problem> {
        let hub = &self.hub;
        Ok(match call {
            Call::Health => alive().into(),
            Call::Ready => {
                let state = if self.draining.is_set() { Readiness::Draining } else { hub.readiness() };
                readiness(not_ready(&state)).into()
            }
            Call::Metrics => content(metrics::TEXT, self.metrics().await?).into(),
            Call::OpenApi => content("application/json", OPENAPI).into(),
            Call::Connections(query) => json(&self.list_connections(query)),
            Call::Disconnect(id) => json(&self.disconnect(id)?),
            Call::Top { limit } => json(&self.top(limit).await),
            Call::Drain => self.drain(),
            Call::List(query) => json(&list(hub, query).await?),
            Call::Show(doc) => json(&hub.show(&doc).await?),
            Call::Delete(doc) => json(&hub.delete(&doc).await?),
            Call::Encode(doc, sv) => binary(hub.encode(&doc, sv).await?),
            Call::StateVector(doc) => binary(hub.state_vector(&doc).await?),
            Call::BroadcastStateless(doc) => broadcast_stateless(hub, &doc, body).await?,
            Call::Content(doc) => json(&hub.content(&doc).await?),
            Call::Text(doc) => content("text/plain; charset=utf-8", hub.text(&doc).await?).into(),
            Call::Import(doc) => json(&hub.import(&doc, body.whole().await?).await?),
            Call::Compact { doc, dry_run } => json(&hub.compact(&doc, dry_run).await?),
            Call::Storage => json(&hub.storage().await?),
            Call::Vacuum { dry_run } => vacuum::vacuum(hub.clone(), dry_run).await,
            Call::Verify(query) => json(&hub.verify(query).await?),
            Call::VerifyDocument { doc, repair } => json(&hub.verify_document(&doc, repair).await?),
            Call::CompactAll { min_log_bytes, dry_run } => compact::all(hub.clone(), min_log_bytes, dry_run).await?,
            Call::Backup => self.backup().await?,
            Call::Revoke => revoke::revoke(self, body).await?,
        })
    }
}

/// The body is the text, as it arrives at the clients.
async fn broadcast_stateless(hub: &Hub, doc: &DocName, body: RequestBody) -> Result<Answer, Problem> {
    let text = body.whole().await?;
    if std::str::from_utf8(&text).is_err() {
        return Err(Problem::bad_request("the body is not valid UTF-8"));
    }
    let clients = hub.broadcast_stateless(doc, text).await?;
    Ok(json(&serde_json::json!({ "clients": clients })))
}

/// Should it be broken off, the backup itself says so or lacks its end.
impl Api {
    async fn backup(&self) -> Result<Answer, Problem> {
        let read = self.revoked.clone();
        let revoked = tokio::task::spawn_blocking(move || read()).await.map_err(|panic| panic.to_string());
        let revoked = revoked.and_then(|read| read).map_err(Problem::unavailable)?;
        let mut pieces = self.hub.backup(revoked).await?;
        Ok(streamed("application/octet-stream", async move |pen| {
            while let Some(piece) = pieces.next().await {
                if pen.write(piece).await.is_err() {
                    return;
                }
            }
        }))
    }

    /// Asks for a drain, and answers that it has begun.
    fn drain(&self) -> Answer {
        self.draining.ask();
        let drain_ms = self.drain.as_millis() as u64;
        accepted(&serde_json::json!({ "draining": true, "drain_ms": drain_ms }))
    }
}

/// One page; one more than it holds is asked for, to know whether another follows.
async fn list(hub: &Hub, mut query: ListQuery) -> Result<DocPage, Problem> {
    let limit = query.limit.unwrap_or(LIST_DEFAULT);
    query.limit = Some(limit + 1);
    Ok(page(hub.list(query).await?, limit))
}

fn page(mut docs: Vec<DocSummary>, limit: usize) -> DocPage {
    let more = docs.len() > limit;
    docs.truncate(limit);
    let next = if more { docs.last().map(|doc| doc.name.clone()) } else { None };
    DocPage { docs, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_say_whether_another_follows() {
        let doc = |name: &str| DocName::parse(name).unwrap();
        let summary = |name: &str| DocSummary {
            name: doc(name),
            snapshot_bytes: 0,
            log_bytes: 0,
            log_records: 0,
            updated_ms: 0,
            peers: 0,
            deleted_ms: None,
            damaged: false,
        };
        let docs = vec![summary("a"), summary("b"), summary("c")];
        let full = page(docs.clone(), 2);
        assert_eq!((full.docs.len(), full.next), (2, Some(doc("b"))));
        let last = page(docs, 3);
        assert_eq!((last.docs.len(), last.next), (3, None));
    }
}
