//! Packages from npm, as their lock files want them.

use std::path::Path;
use std::process::{Command, Stdio};

/// Installs the packages of the lock file in `folder` if they are missing or older than it; one process at a time.
pub fn install(folder: &Path) {
    let lock = std::fs::File::create(folder.join(".npm-ci.lock")).expect("cannot make a lock file");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("cannot lock");
    let changed = |name: &str| std::fs::metadata(folder.join(name)).and_then(|meta| meta.modified()).ok();
    // npm writes this file last, so a broken installation has none.
    if changed("node_modules/.package-lock.json") >= changed("package-lock.json") {
        return;
    }
    let output = Command::new("npm")
        .args(["ci", "--no-progress"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("cannot run npm: these tests need Node.js 20 or later with npm");
    assert!(
        output.status.success(),
        "npm ci in {} failed:\n{}",
        folder.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}
