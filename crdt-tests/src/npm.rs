//! Packages from npm, as their lock files want them.

use std::path::Path;
use std::process::{Command, Stdio};

/// Installs the packages of the lock file in `folder` if they are missing or older than it; one process at a time.
pub fn install(folder: &Path) {
    try_install(folder).unwrap_or_else(|e| panic!("{e}; these tests need Node.js 20 or later with npm"));
}

/// As [`install`]; an error says why it cannot be done.
pub fn try_install(folder: &Path) -> Result<(), String> {
    let lock =
        std::fs::File::create(folder.join(".npm-ci.lock")).map_err(|e| format!("cannot make a lock file: {e}"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).map_err(|e| format!("cannot lock: {e}"))?;
    let changed = |name: &str| std::fs::metadata(folder.join(name)).and_then(|meta| meta.modified()).ok();
    // npm writes this file last, so a broken installation has none.
    if changed("node_modules/.package-lock.json") >= changed("package-lock.json") {
        return Ok(());
    }
    let output = Command::new("npm")
        .args(["ci", "--no-progress"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cannot run npm: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("npm ci in {} failed:\n{said}", folder.display()))
        }
    }
}
