//! `POST /api/v1/compact?vacuum=true`: gives disk space back, and says meanwhile how far that has come.

use std::ops::ControlFlow;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use crate::hub::{Hub, HubError, VacuumProgress, VacuumReport};
use crate::server::body::{Answer, Left, NDJSON, Pen, streamed};
use crate::server::error::Problem;

/// Shortest time between two lines about progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// One line of the answer; the last one is [`Line::Done`] or [`Line::Stopped`].
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Progress(VacuumProgress),
    Done(VacuumReport),
    /// The store is as it was.
    Stopped {
        problem: Problem,
    },
}

/// Begins a vacuum. It ends with nothing changed when the caller leaves.
pub(super) async fn vacuum(hub: Hub, dry_run: bool) -> Answer {
    streamed(NDJSON, async move |pen| {
        let (told, mut progress) = watch::channel(None);
        let vacuuming = tokio::spawn(async move {
            hub.vacuum(dry_run, move |now| {
                // Never waits: a caller who reads slowly would hold up whoever wants to write to the store.
                told.send_replace(Some(now));
                if told.is_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .await
        });
        if tell(&pen, &mut progress).await.is_err() {
            return; // and the vacuum hears of it, for nobody is told any more
        }
        let line = match vacuuming.await {
            Ok(Ok(report)) => Line::Done(report),
            Ok(Err(error)) => Line::Stopped { problem: error.into() },
            Err(panic) => Line::Stopped { problem: HubError::CannotVacuum(panic.to_string()).into() },
        };
        // Who has left does not want to know.
        let _ = pen.line(&line).await;
    })
}

/// Passes on the newest word until no more comes.
async fn tell(pen: &Pen, progress: &mut watch::Receiver<Option<VacuumProgress>>) -> Result<(), Left> {
    while progress.changed().await.is_ok() {
        let now = *progress.borrow_and_update();
        if let Some(now) = now {
            pen.line(&Line::Progress(now)).await?;
            tokio::time::sleep(PROGRESS_EVERY).await;
        }
    }
    Ok(())
}
