//! `POST /api/v1/compact`: folds the logs of all documents, and says after each one what that saved.

use serde::Serialize;

use crate::hub::{CompactReport, DocSummary, Hub, HubError, ListQuery};
use crate::ids::DocName;
use crate::limits::LIST_DEFAULT;
use crate::server::body::{Answer, Left, NDJSON, Pen, streamed};
use crate::server::error::Problem;

/// One line of the answer; the last one is [`Line::Done`] or [`Line::Stopped`].
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Compacted(CompactReport),
    /// This document's log is as it was; the others are tried all the same.
    Failed {
        name: DocName,
        problem: Problem,
    },
    Done {
        compacted: u64,
        failed: u64,
    },
    /// Trying the others would be pointless.
    Stopped {
        problem: Problem,
    },
}

/// Begins to compact every document whose log has records, and at least `min_log_bytes`.
///
/// # Errors
/// When the documents cannot even be listed; what goes wrong later is in the answer.
pub(super) async fn all(hub: Hub, min_log_bytes: u64, dry_run: bool) -> Result<Answer, Problem> {
    let first = page(&hub, None).await?;
    Ok(streamed(NDJSON, async move |pen| {
        // Who has left does not want to know.
        let _ = compact(&hub, &pen, first, min_log_bytes, dry_run).await;
    }))
}

async fn page(hub: &Hub, after: Option<DocName>) -> Result<Vec<DocSummary>, HubError> {
    hub.list(ListQuery { after, limit: Some(LIST_DEFAULT), ..ListQuery::default() }).await
}

async fn compact(
    hub: &Hub,
    pen: &Pen,
    mut docs: Vec<DocSummary>,
    min_log_bytes: u64,
    dry_run: bool,
) -> Result<(), Left> {
    let (mut compacted, mut failed) = (0, 0);
    while let Some(last) = docs.last().map(|doc| doc.name.clone()) {
        for doc in docs.into_iter().filter(|doc| doc.log_records > 0 && doc.log_bytes >= min_log_bytes) {
            let line = match hub.compact(&doc.name, dry_run).await {
                Ok(report) => {
                    compacted += 1;
                    Line::Compacted(report)
                }
                // Removed since it was listed.
                Err(HubError::NoSuchDocument(_)) => continue,
                Err(error @ (HubError::Draining | HubError::Storage(_))) => {
                    return pen.line(&Line::Stopped { problem: error.into() }).await;
                }
                Err(error) => {
                    failed += 1;
                    Line::Failed { name: doc.name, problem: error.into() }
                }
            };
            pen.line(&line).await?;
        }
        docs = match page(hub, Some(last)).await {
            Ok(docs) => docs,
            Err(error) => return pen.line(&Line::Stopped { problem: error.into() }).await,
        };
    }
    pen.line(&Line::Done { compacted, failed }).await
}
