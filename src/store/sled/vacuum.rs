//! Gives disk space back (S12). sled never shrinks its file, so the live entries move into a fresh database, which then
//! takes the old one's place.
//!
//! Reads go on meanwhile, but for the moment in which the databases change places; writers wait.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::PoisonError;

use super::super::record::Root;
use super::super::{StoreError, VacuumProgress, Vacuumed, keys, record};
use super::SledStore;
use super::copy::{self, Copied, STOPPED, Watch};
use super::engine::{Engine, Failed, Found, caught};
use super::marker::write_marker;
use super::reopen::free_bytes;
use super::swap;
use crate::limits::STORE_VACUUM_FREE_BYTES_SPARE;

/// Where a vacuum has got to; for tests that stop it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VacuumStep {
    Begun,
    Copied,
    CopyDurable,
    Verified,
    Complete,
    Exchanged,
    Opened,
    Removed,
}

/// Pages the copy keeps in memory, bytes: it is written once from end to end.
const COPY_CACHE_BYTES: u64 = 8 << 20;

impl SledStore {
    /// As [`super::super::Store::vacuum`]; `reached` is told of each step once it is done.
    ///
    /// Each step may be the last before a crash. What the next start then finds ([`swap::settle`] tells them apart), after
    ///
    /// - *begun*, *copied*, *copy durable*, *verified*: the old database, untouched, and beside it a copy without a
    ///   marker, which goes.
    /// - *complete*: the copy has its marker, one checkpoint ahead of the old database. Nothing was written to the old
    ///   one since it was copied, so the next start makes the exchange.
    /// - *exchanged*: the directories have traded names, in one step that is durable before the new database is opened
    ///   for writing. The old one is one checkpoint behind, and goes.
    /// - *opened*: the same.
    /// - *removed*: the new database and nothing else.
    pub(super) fn vacuum_engine(
        &self,
        watch: Watch<'_>,
        reached: &mut dyn FnMut(VacuumStep),
    ) -> Result<Vacuumed, StoreError> {
        const OP: &str = "vacuum";
        let failed = |why: String| StoreError::Engine { op: OP, source: why.into() };
        let mut writer = self.writer(OP)?;
        let copy_dir = swap::copy_dir(&self.dir);
        swap::can_exchange(&self.dir).map_err(failed)?;
        // The marker must say what the database does, or a whole copy would not be known by its own.
        self.checkpoint(&mut writer, OP)?;
        let mut report = Vacuumed {
            disk_bytes_before: self.disk_bytes()?,
            live_bytes_before: writer.root.live_bytes.unwrap_or(0),
            ..Vacuumed::default()
        };
        self.has_room_to_copy(&report).map_err(failed)?;
        let copied = match self.make_copy(&copy_dir, &writer.root, watch, reached) {
            Ok(copied) => copied,
            Err(why) => {
                // What remains is known for what it is at the next start.
                let _ = swap::remove(&copy_dir);
                return Err(failed(why));
            }
        };
        reached(VacuumStep::Complete);

        let mut unsure = None;
        let exchanged = self.replace_engine(&mut writer, || {
            let exchanged = swap::exchange(&self.dir, &copy_dir);
            reached(VacuumStep::Exchanged);
            exchanged.inspect_err(|why| unsure = Some(why.clone()))
        });
        if let Some(why) = unsure {
            // Whether the names were traded, and would be after a power cut, is not known, so nothing may be written.
            writer.failed = Some(Failed::Sync(why));
        }
        exchanged.map_err(failed)?;
        reached(VacuumStep::Opened);

        swap::remove(&copy_dir).map_err(failed)?;
        reached(VacuumStep::Removed);
        report.disk_bytes_after = self.disk_bytes()?;
        report.live_bytes_after = copied.bytes;
        report.entries = copied.entries;
        report.documents = copied.documents;
        report.damaged = copied.damaged;
        report.damaged_records = copied.damaged_records;
        Ok(report)
    }

    /// Makes a copy that is whole, durable, verified and says so.
    fn make_copy(
        &self,
        copy_dir: &Path,
        root: &Root,
        watch: Watch<'_>,
        reached: &mut dyn FnMut(VacuumStep),
    ) -> Result<Copied, String> {
        swap::remove(copy_dir)?;
        let original = self.db().map_err(|e| e.to_string())?;
        let Found { engine, .. } = Engine::open(copy_dir, COPY_CACHE_BYTES)?;
        reached(VacuumStep::Begun);

        let copied = copy::copy(&original, engine.db(), root, watch)?;
        let root = Root { checkpoint: root.checkpoint + 1, live_bytes: Some(copied.bytes), ..*root };
        caught(|| engine.db().insert(keys::ROOT, record::encode_root(&root)))?;
        reached(VacuumStep::Copied);

        engine.sync().map_err(|failed| failed.cause().to_owned())?;
        reached(VacuumStep::CopyDurable);

        // Opened anew, so that what is compared comes from the file.
        drop(engine);
        let Found { engine, root: found, .. } = Engine::open(copy_dir, COPY_CACHE_BYTES)?;
        if found != root {
            return Err("the copy does not read back as written".to_owned());
        }
        copy::compare(&engine, &original, &copied, watch)?;
        if watch(VacuumProgress::Exchanging) == ControlFlow::Break(()) {
            return Err(STOPPED.to_owned());
        }
        drop(engine);
        // sled writes while it opens.
        swap::sync_all(copy_dir).map_err(|e| format!("{} cannot be synced: {e}", copy_dir.display()))?;
        reached(VacuumStep::Verified);

        write_marker(copy_dir, root.checkpoint).map_err(|failed| failed.cause().to_owned())?;
        Ok(copied)
    }

    fn has_room_to_copy(&self, report: &Vacuumed) -> Result<(), String> {
        let needed = report.copy_bytes_estimated().saturating_add(STORE_VACUUM_FREE_BYTES_SPARE);
        let at = self.dir.display();
        let free = free_bytes(&self.dir).map_err(|e| format!("{at} cannot be asked for its free space: {e}"))?;
        if free < needed {
            return Err(format!(
                "a fresh copy of what is live needs about {needed} bytes, and {free} are free on the disk of {at}; nothing \
                 has changed, make room and try again"
            ));
        }
        Ok(())
    }

    fn disk_bytes(&self) -> Result<u64, StoreError> {
        let open = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        let size = match &*open {
            Ok(engine) => caught(|| engine.db().size_on_disk()),
            Err(why) => Err(why.clone()),
        };
        size.map_err(|why| StoreError::Engine { op: "size", source: why.into() })
    }
}
