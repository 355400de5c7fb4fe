//! Keeps bytes that broke a document, for whoever has to find out why.

use std::path::Path;

use tracing::{error, warn};

use crate::ids::DocName;
use crate::limits::QUARANTINE_FILES_MAX;

/// Writes `update` into `dir` unless that is full. Best effort: the document goes on either way.
pub(super) fn keep(dir: Option<&Path>, doc: &DocName, update: &[u8]) {
    let Some(dir) = dir.filter(|_| !update.is_empty()) else { return };
    // The name tells equal bytes apart from new ones, so that a client that sends them again fills nothing.
    let path = dir.join(format!("{:08x}-{}.update", crc32c::crc32c(update), update.len()));
    let kept = std::fs::create_dir_all(dir).and_then(|()| {
        if std::fs::read_dir(dir)?.count() >= QUARANTINE_FILES_MAX {
            return Err(std::io::Error::other("the quarantine is full"));
        }
        std::fs::write(&path, update)
    });
    match kept {
        Ok(()) => warn!(?doc, path = %path.display(), "quarantined the update that broke the document"),
        Err(error) => error!(?doc, %error, path = %path.display(), "could not quarantine an update"),
    }
}
