//! Whether the disk has room (S9). Edits are refused *before* anything fails, reading goes on, and the state is left by
//! itself when there is room again.
//!
//! Three things make the disk count as full: less is free than `--min-free-bytes`, the journal found no room for its next
//! segment, or the store found none for what was carried into it. The store's database is then opened anew and what the
//! journal still holds is carried over once more, which is safe (ST2). A failed *sync* is another matter, and stays so
//! until a restart (S7).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use super::{HubError, Inner};
use crate::journal::JournalHealth;
use crate::limits::{
    CHECKPOINT_SPACE_BYTES, CHECKPOINT_SPACE_FACTOR, MIN_FREE_BYTES, MIN_FREE_MARGIN_SHARE, MIN_FREE_SHARE,
    SPACE_LOOK_EVERY,
};
use crate::store::StoreError;

/// The file system of a data directory.
#[derive(Clone)]
pub struct Disk {
    free_bytes: Arc<dyn Fn() -> io::Result<u64> + Send + Sync>,
    /// Edits are refused when less is free; 0 never.
    min_free_bytes: u64,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("min_free_bytes", &self.min_free_bytes).finish_non_exhaustive()
    }
}

impl Disk {
    /// The one that `dir` is on. Without `min_free_bytes`: [`MIN_FREE_BYTES`], but of a small one only a part.
    ///
    /// # Errors
    /// When the system does not say how large it is.
    pub fn of(dir: &Path, min_free_bytes: Option<u64>) -> io::Result<Self> {
        let dir: PathBuf = dir.to_owned();
        let size = {
            let stat = rustix::fs::statvfs(&dir)?;
            stat.f_blocks.saturating_mul(stat.f_frsize)
        };
        let min_free_bytes = min_free_bytes.unwrap_or(MIN_FREE_BYTES.min(size / MIN_FREE_SHARE));
        let free_bytes = move || {
            let stat = rustix::fs::statvfs(&dir)?;
            Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
        };
        Ok(Self::with_probe(free_bytes, min_free_bytes))
    }

    /// One whose free bytes are what `free_bytes` says.
    pub fn with_probe(free_bytes: impl Fn() -> io::Result<u64> + Send + Sync + 'static, min_free_bytes: u64) -> Self {
        Self { free_bytes: Arc::new(free_bytes), min_free_bytes }
    }

    /// How many are needed for edits to be taken.
    fn wanted(&self, is_full: bool) -> u64 {
        let margin = if is_full { self.min_free_bytes / MIN_FREE_MARGIN_SHARE } else { 0 };
        self.min_free_bytes.saturating_add(margin)
    }
}

/// What is known of the room there is.
pub(super) struct Space {
    disk: Option<Disk>,
    /// Copy of whether `state.why` is something, for every turn of every document.
    is_full: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Why edits are refused.
    why: Option<String>,
    /// The store's database took no more for want of room, and has to be opened anew.
    store: Option<String>,
}

impl Space {
    pub(super) fn new(disk: Option<Disk>) -> Self {
        Self { disk, is_full: AtomicBool::new(false), state: Mutex::default() }
    }

    /// Whether edits are refused now.
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::SeqCst)
    }

    pub(super) fn why(&self) -> Option<String> {
        self.state().why.clone()
    }

    pub(super) fn error(&self) -> HubError {
        HubError::DiskFull(self.why().unwrap_or_else(|| "there was no room a moment ago".to_owned()))
    }

    /// Whether the store may be given so many bytes. It writes several times what it is given, and one that runs out of
    /// room in the middle has to be opened anew.
    pub(super) fn check_fits(&self, bytes: u64) -> Result<(), HubError> {
        if self.state().store.is_some() {
            return Err(self.error());
        }
        let Some(free) = self.free() else { return Ok(()) };
        let needed = bytes.saturating_mul(CHECKPOINT_SPACE_FACTOR).saturating_add(CHECKPOINT_SPACE_BYTES);
        if free < needed {
            return Err(HubError::DiskFull(format!(
                "{free} bytes are free, {needed} are needed to carry {bytes} over"
            )));
        }
        Ok(())
    }

    /// `None` when nobody is to ask, or the system does not say.
    fn free(&self) -> Option<u64> {
        let disk = self.disk.as_ref()?;
        (disk.free_bytes)().inspect_err(|error| warn!(%error, "cannot ask how much space is free")).ok()
    }

    /// Why edits should be refused, as far as free bytes tell.
    fn too_little(&self) -> Option<String> {
        let (disk, free) = (self.disk.as_ref()?, self.free()?);
        let wanted = disk.wanted(self.is_full());
        (free < wanted).then(|| format!("{free} bytes are free, {wanted} are wanted (--min-free-bytes)"))
    }

    fn set(&self, why: Option<String>) {
        let mut state = self.state();
        match (&state.why, &why) {
            (None, Some(why)) => warn!(why, "the disk is full: edits are refused until there is room"),
            (Some(_), None) => info!("there is room on the disk again: edits are taken"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        self.is_full.store(why.is_some(), Ordering::SeqCst);
        state.why = why;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Takes note of a write that the store did not do, and says what that means to callers.
    pub(super) fn store_failed(&self, error: &StoreError) -> HubError {
        match error {
            StoreError::DiskFull { why, .. } => {
                self.space.state().store.get_or_insert_with(|| why.clone());
                self.space.set(Some(why.clone()));
                HubError::DiskFull(why.clone())
            }
            StoreError::Engine { .. } | StoreError::Damaged { .. } => self.fail(error),
        }
    }

    /// Looks at the disk for as long as the server runs.
    pub(super) async fn watch_space(self: Arc<Self>) {
        let mut look = interval(SPACE_LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut health = self.journal.health();
        loop {
            tokio::select! {
                _ = look.tick() => {}
                changed = health.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
            self.look_at_space().await;
        }
    }

    async fn look_at_space(self: &Arc<Self>) {
        if self.storage_has_failed() {
            return;
        }
        let waiting = match &*self.journal.health().borrow() {
            JournalHealth::Full(why) => Some(why.clone()),
            JournalHealth::Ok | JournalHealth::Failed(_) => None,
        };
        let store = self.space.state().store.clone();
        let mut why = waiting.or_else(|| self.space.too_little());
        if why.is_none() && store.is_some() {
            why = match self.reopen_store().await {
                Ok(()) => None,
                Err(HubError::DiskFull(_)) => store,
                Err(_) => return,
            };
        }
        self.space.set(why);
    }

    /// Opens the store's database anew and carries over what the journal still holds.
    async fn reopen_store(self: &Arc<Self>) -> Result<(), HubError> {
        let store = self.store.clone();
        let reopened = tokio::task::spawn_blocking(move || store.reopen()).await;
        match reopened {
            Ok(Ok(())) => {}
            // Not yet.
            Ok(Err(StoreError::DiskFull { why, .. })) => return Err(HubError::DiskFull(why)),
            Ok(Err(error)) => {
                error!(%error, "the store cannot be opened anew");
                return Err(self.fail(&error));
            }
            Err(panic) => return Err(self.fail(&panic)),
        }
        self.space.state().store = None;
        // Should it not fit after all, nothing is lost, and the next look tries again.
        self.checkpoint().await?;
        info!("the store is open again, and has what the journal held");
        Ok(())
    }
}
