//! Inputs on disk: `corpus/TARGET/`, which is committed, and `found/TARGET/`, where a run leaves what made it fail.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// A named input.
pub struct Input {
    /// The name of its file.
    pub name: String,
    /// What a target is given.
    pub bytes: Vec<u8>,
}

/// Where a target's inputs lie.
pub fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// A target's inputs, by name.
///
/// # Panics
/// When they cannot be read, or there are none: a target without a beginning finds nothing.
pub fn read(target: &str) -> Vec<Input> {
    let folder = folder(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("cannot read {}: {e}", folder.display()));
    let mut inputs: Vec<Input> = entries
        .map(|entry| {
            let entry = entry.expect("an entry");
            let bytes = fs::read(entry.path()).expect("a readable file");
            Input { name: entry.file_name().to_string_lossy().into_owned(), bytes }
        })
        .collect();
    inputs.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!inputs.is_empty(), "{} is empty", folder.display());
    inputs
}

/// Keeps an input that made a target fail, and says where.
pub fn keep_found(target: &str, bytes: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("found").join(target);
    let path = folder.join(name_of(bytes));
    // The failure is told in any case, and the input with its seed.
    let _ = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, bytes));
    path
}

/// A name for an input that has none: equal for equal bytes.
pub fn name_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
