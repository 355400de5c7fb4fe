//! Which calls are acts of an admin's, to be recorded, and how.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::call::Call;
use crate::audit::{Audit, Entry};
use crate::budget::Seldom;
use crate::ids::DocName;
use crate::limits::{AUDIT_REFUSAL_EVERY, AUDIT_REFUSALS, DOC_NAME_BYTES_MAX, SUBJECT_BYTES_MAX};
use crate::metrics::Counter;
use crate::server::body::RequestBody;
use crate::server::error::Problem;

/// What is recorded of a call.
pub(super) struct Act {
    pub(super) entry: Entry,
    pub(super) detail: Option<String>,
}

/// The act that a call is; `None` when it only looks. Reading one document is looking: back ends do it all day.
pub(super) fn of(call: &Call) -> Option<Act> {
    let act = |act: &str, doc: Option<&DocName>, detail: Option<String>| {
        let entry = Entry { act: act.to_owned(), doc: doc.map(|doc| doc.as_str().to_owned()), ..Entry::default() };
        Some(Act { entry, detail })
    };
    match call {
        Call::Health
        | Call::Ready
        | Call::Metrics
        | Call::OpenApi
        | Call::Connections(_)
        | Call::Top { .. }
        | Call::List(_)
        | Call::Show(_)
        | Call::Encode(..)
        | Call::StateVector(_)
        | Call::Content(_)
        | Call::Text(_)
        | Call::Storage
        | Call::Compact { dry_run: true, .. }
        | Call::CompactAll { dry_run: true, .. }
        | Call::Vacuum { dry_run: true } => None,
        Call::Verify(query) if !query.repair => None,
        Call::VerifyDocument { repair: false, .. } => None,
        Call::Disconnect(id) => act("disconnect", None, Some(id.0.to_string())),
        Call::Drain => act("drain", None, None),
        Call::Delete(doc) => act("delete", Some(doc), None),
        Call::BroadcastStateless(doc) => act("broadcast-stateless", Some(doc), None),
        Call::Import(doc) => act("import", Some(doc), None),
        Call::Compact { doc, .. } => act("compact", Some(doc), None),
        Call::CompactAll { .. } => act("compact", None, None),
        Call::Verify(_) => act("repair", None, None),
        Call::VerifyDocument { doc, .. } => act("repair", Some(doc), None),
        Call::Backup => act("backup", None, None),
        Call::Revoke => act("revoke", None, None),
        Call::Vacuum { .. } => act("vacuum", None, None),
    }
}

/// Calls of those who have no good credential: all are counted, some recorded.
pub(super) struct Refusals {
    pub(super) counted: Counter,
    recorded: Seldom,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { counted: Counter::default(), recorded: Seldom::new(AUDIT_REFUSAL_EVERY, AUDIT_REFUSALS) }
    }
}

impl Refusals {
    /// Counts one. What cannot be recorded of it changes nothing: it is refused either way.
    pub(super) async fn note(&self, audit: Option<&Arc<Audit>>, from: Option<String>) {
        self.counted.add(1);
        let (Some(audit), Some(passed_over)) = (audit, self.recorded.now()) else { return };
        let detail = (passed_over > 0).then(|| format!("and {passed_over} more since the last that is recorded"));
        let entry = Entry { who: "stranger".to_owned(), from, act: "call".to_owned(), detail, ..Entry::default() };
        let _ = record(audit, entry, Problem::unauthorized().kind().to_owned()).await;
    }
}

/// Whom a revocation is about and in which document, which only its body says; as far as that fits a record.
pub(super) async fn revocation(body: RequestBody) -> Result<(RequestBody, Option<String>, Option<String>), Problem> {
    let bytes: Bytes = body.whole().await?;
    let said: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let text = |name: &str, bytes_max: usize| {
        let text = said.get(name).and_then(|value| value.as_str()).filter(|text| text.len() <= bytes_max);
        text.map(str::to_owned)
    };
    let (sub, doc) = (text("sub", SUBJECT_BYTES_MAX), text("doc", DOC_NAME_BYTES_MAX));
    Ok((RequestBody::read(bytes), sub, doc))
}

/// Records, and comes back when that is on disk.
///
/// # Errors
/// When it cannot be recorded; then nothing may be done.
pub(super) async fn record(audit: &Arc<Audit>, entry: Entry, result: String) -> Result<(), Problem> {
    let audit = audit.clone();
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let written = tokio::task::spawn_blocking(move || audit.append(Entry { at, result, ..entry })).await;
    written.map_err(|panic| Problem::unavailable(panic.to_string()))?.map_err(|error| Problem::not_recorded(&error))
}
