//! The file beside the database that says how far it had come, so that one that has lost its end is noticed (S5).

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use super::super::record::{self, Root};
use super::engine::{Failed, broken};

/// A file beside sled's own. It exists once the database was created and durable, and says which checkpoint was the
/// last durable one; a database without it was never written to, one behind it has lost data (S5).
pub(super) const MARKER: &str = "CHECKPOINT";
const MARKER_NEW: &str = "CHECKPOINT.new";

/// The last durable checkpoint, if the database was ever created.
pub(super) fn read_marker(dir: &Path) -> Result<Option<u64>, String> {
    let path = dir.join(MARKER);
    match fs::read(&path) {
        Ok(bytes) => match record::decode_root(&bytes) {
            Ok(root) => Ok(Some(root.checkpoint)),
            Err(flaw) => Err(broken(dir, &format!("the file {MARKER} is damaged: {flaw}"))),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(format!("{} cannot be read: {e}", path.display())),
    }
}

/// Replaces the marker whole or not at all.
pub(super) fn write_marker(dir: &Path, checkpoint: u64) -> Result<(), Failed> {
    let new = dir.join(MARKER_NEW);
    let mut file = File::create(&new).map_err(Failed::write)?;
    file.write_all(&record::encode_root(&Root { checkpoint, ..Root::default() })).map_err(Failed::write)?;
    file.sync_all().map_err(Failed::sync)?;
    fs::rename(&new, dir.join(MARKER)).map_err(Failed::write)?;
    sync_dir(dir).map_err(Failed::sync)
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
