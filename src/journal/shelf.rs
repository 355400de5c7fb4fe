//! Segments that are not being written: sealed ones that wait for a checkpoint, and spare ones that wait to be used
//! again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::JournalError;
use super::files::Files;
use super::segment::{SealedSegment, SegmentId};

#[derive(Default)]
pub(super) struct Shelf {
    contents: Mutex<Contents>,
    /// Held through a whole removal, so that two of them cannot both fill the last place for a spare file. Taken before
    /// `contents`; `contents` is never held during I/O, because the writer needs it.
    removing: Mutex<()>,
}

#[derive(Default)]
struct Contents {
    sealed: BTreeMap<SegmentId, SealedSegment>,
    spares: Vec<PathBuf>,
}

impl Shelf {
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put_sealed(&self, id: SegmentId, segment: SealedSegment) {
        self.contents().sealed.insert(id, segment);
    }

    pub(super) fn put_spare(&self, path: PathBuf) {
        self.contents().spares.push(path);
    }

    pub(super) fn take_spare(&self) -> Option<PathBuf> {
        self.contents().spares.pop()
    }

    pub(super) fn sealed(&self) -> Vec<SegmentId> {
        self.contents().sealed.keys().copied().collect()
    }

    pub(super) fn get(&self, id: SegmentId) -> Option<SealedSegment> {
        self.contents().sealed.get(&id).copied()
    }

    /// Takes sealed segments off the disk and returns how many record bytes they held. Files of the usual length become
    /// spares while there is room for them.
    ///
    /// A crash in between brings back some of the segments, whose records the store already has. The directory is
    /// synced before a file is offered as a spare: were its new header on disk before its new name, the crash would
    /// leave a segment that contradicts its own name.
    pub(super) fn remove(
        &self,
        files: &dyn Files,
        dir: &Path,
        ids: &[SegmentId],
        spare_len: u64,
        spares_max: usize,
    ) -> Result<u64, JournalError> {
        let _removing = self.removing.lock().unwrap_or_else(PoisonError::into_inner);
        let (gone, mut room) = {
            let mut contents = self.contents();
            let gone: Vec<_> = ids.iter().filter_map(|id| contents.sealed.remove_entry(id)).collect();
            (gone, spares_max.saturating_sub(contents.spares.len()))
        };
        if gone.is_empty() {
            return Ok(0);
        }
        let mut spares = Vec::new();
        for &(id, segment) in &gone {
            let path = id.path(dir);
            if room > 0 && segment.file_len == spare_len {
                let spare = id.spare_path(dir);
                files.rename(&path, &spare).map_err(JournalError::io("rename", &path))?;
                spares.push(spare);
                room -= 1;
            } else {
                files.remove(&path).map_err(JournalError::io("remove", &path))?;
            }
        }
        files.sync_dir(dir).map_err(JournalError::io("sync", dir))?;
        self.contents().spares.append(&mut spares);
        Ok(gone.iter().map(|(_, segment)| segment.record_bytes()).sum())
    }
}
