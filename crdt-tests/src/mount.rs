//! A small disk of its own for a data directory, to see what happens when it is full.
//!
//! A tmpfs, or an ext4 in a file, in a mount namespace of its own, so it needs the privilege to make one; where that is
//! missing, tests say so and are skipped. It lives as long as this value, so a server can be killed and started on it again.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::skip::skipped;

/// A mounted file system.
pub struct SmallDisk {
    keeper: Child,
    dir: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts a tmpfs of `bytes`; none, with a visible line, where mounting is not allowed.
    pub fn mount(bytes: u64) -> Option<Self> {
        Self::mount_by(bytes, r#"mount -t tmpfs -o "size=$1" weft-test "$0""#)
    }

    /// Mounts an ext4 of `bytes`, none of it kept for the administrator.
    pub fn mount_ext4(bytes: u64) -> Option<Self> {
        // The image's name goes once it is mounted, and its space with the mount.
        let script = r#"truncate -s "$1" "$0.img" && mkfs.ext4 -q -F -m 0 "$0.img" && mount -o loop "$0.img" "$0";
            mounted=$?; rm -f "$0.img"; test "$mounted" = 0"#;
        Self::mount_by(bytes, script)
    }

    fn mount_by(bytes: u64, script: &str) -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("weft-disk-").tempdir().expect("a temporary directory");
        let script = format!("{{ {script}; }} && echo mounted && exec sleep infinity");
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script]).arg(dir.path()).arg(bytes.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mounted = command.spawn().ok().and_then(|mut keeper| {
            let mut line = String::new();
            let _ = BufReader::new(keeper.stdout.take().expect("piped")).read_line(&mut line);
            if line.trim() == "mounted" {
                return Some(keeper);
            }
            let _ = keeper.kill();
            let _ = keeper.wait();
            None
        });
        if mounted.is_none() {
            skipped("a file system cannot be mounted here");
        }
        mounted.map(|keeper| Self { keeper, dir })
    }

    /// What starts a program where this disk is seen, to be put before its name.
    pub fn wrapper(&self) -> Vec<String> {
        ["nsenter", "-m", "-t", &self.keeper.id().to_string(), "--"].map(str::to_owned).to_vec()
    }

    /// Where the server inside sees it.
    pub fn inside(&self) -> &Path {
        self.dir.path()
    }

    /// Where this process sees it.
    pub fn outside(&self) -> PathBuf {
        let inside = self.dir.path().strip_prefix("/").expect("an absolute path");
        Path::new("/proc").join(self.keeper.id().to_string()).join("root").join(inside)
    }

    /// Takes the space that is left but for `bytes`.
    pub fn fill_but(&self, bytes: u64) {
        self.fill();
        let file = std::fs::File::options().write(true).open(self.outside().join("filler")).expect("opened");
        let len = file.metadata().expect("a length").len();
        file.set_len(len.checked_sub(bytes).expect("so much was free")).expect("cut");
    }

    /// Takes all the space that is left; give it back by dropping the file's name with [`SmallDisk::free`].
    pub fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::File::create(self.outside().join("filler")).expect("created");
        let block = vec![1; 64 << 10];
        while file.write_all(&block).is_ok() {}
        while file.write_all(&[1]).is_ok() {}
    }

    /// Gives back what [`SmallDisk::fill`] took.
    pub fn free(&self) {
        std::fs::remove_file(self.outside().join("filler")).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
