//! What the store takes on disk, and giving back what it no longer needs (S12).

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::admin::{StorageReport, VacuumReport};
use super::{Hub, HubError};
use crate::store::{VacuumProgress, Vacuumed};

/// Whether a vacuum runs.
#[derive(Default)]
pub(super) struct Vacuums {
    /// One at a time.
    turn: tokio::sync::Mutex<()>,
    running: AtomicBool,
}

impl Vacuums {
    /// Whoever wants to write to the store waits for its end.
    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::SeqCst)
    }
}

/// Says so until it is dropped.
struct Running<'a>(&'a Vacuums);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::SeqCst);
    }
}

impl Hub {
    /// What is stored, live and dead, without reading any of it.
    pub async fn storage(&self) -> Result<StorageReport, HubError> {
        let sizes = |store: &dyn crate::store::Store| {
            Ok(StorageReport::new(store.documents()?, store.live_bytes()?, store.bytes_on_disk()?))
        };
        let report = self.inner.in_store(sizes).await?;
        Ok(StorageReport { journal_bytes: self.inner.journal.bytes_pending(), ..report })
    }

    /// Moves what is live into a fresh database. Edits are taken and acknowledged meanwhile, and documents read; what
    /// is carried into the store, and compactions, wait. `watch` is told how far it has come and may end it, and so
    /// does a drain; then nothing has changed. With `dry_run` only says what could be won, about.
    ///
    /// # Errors
    /// [`HubError::CannotVacuum`], [`HubError::Storage`].
    pub async fn vacuum(
        &self,
        dry_run: bool,
        mut watch: impl FnMut(VacuumProgress) -> ControlFlow<()> + Send + 'static,
    ) -> Result<VacuumReport, HubError> {
        let cannot = |why: &dyn std::fmt::Display| HubError::CannotVacuum(why.to_string());
        let _turn = self.inner.vacuums.turn.try_lock().map_err(|_| cannot(&"another one is running"))?;
        self.inner.checkpoint().await?;
        let StorageReport { documents, live_bytes, disk_bytes, .. } = self.storage().await?;
        if dry_run {
            let before =
                Vacuumed { disk_bytes_before: disk_bytes, live_bytes_before: live_bytes, ..Vacuumed::default() };
            let after = Vacuumed {
                disk_bytes_after: before.copy_bytes_estimated(),
                live_bytes_after: live_bytes,
                documents,
                ..before
            };
            return Ok(VacuumReport::new(true, after, 0));
        }
        let started = Instant::now();
        let hub = self.clone();
        let vacuumed = tokio::task::spawn_blocking(move || {
            let vacuums = &hub.inner.vacuums;
            vacuums.running.store(true, Ordering::SeqCst);
            let _running = Running(vacuums);
            hub.inner.store.vacuum(&mut |progress| {
                if hub.inner.is_draining() { ControlFlow::Break(()) } else { watch(progress) }
            })
        });
        let vacuumed = vacuumed.await.map_err(|panic| cannot(&panic))?.map_err(|error| cannot(&error))?;
        let took_ms = started.elapsed().as_millis() as u64;
        let (before, after) = (vacuumed.disk_bytes_before, vacuumed.disk_bytes_after);
        tracing::info!(before, after, damaged = vacuumed.damaged_records, took_ms, "vacuumed");
        Ok(VacuumReport::new(false, vacuumed, took_ms))
    }
}
