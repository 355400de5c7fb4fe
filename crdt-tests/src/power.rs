//! A file system whose power can be cut: ext4 or XFS on a loop device.
//!
//! The cut is the file systems' own shutdown: from that instant nothing more is written, not even the log, so that after
//! the next mount only what had been synced is certain. It needs root, loop devices and the tool that makes the file
//! system; where one is missing, tests say so and are skipped.
//!
//! Mounted in a mount namespace of its own, which goes, mount and loop device with it, when this process does.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::skip::skipped;

/// Sparse, so it takes what is written. XFS takes no less than 300 MB, and weft keeps a tenth free.
const BYTES: u64 = 4 << 30;
/// `EXT4_IOC_SHUTDOWN` and `XFS_IOC_GOINGDOWN` have one number.
const SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587d;
/// Drop everything, the file system's log too.
const WITHOUT_LOG_FLUSH: u32 = 2;

/// A kind of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Most servers.
    Ext4,
    /// Most others.
    Xfs,
}

impl Kind {
    /// All there are.
    pub const ALL: [Kind; 2] = [Kind::Ext4, Kind::Xfs];

    /// As `mount` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
        }
    }

    fn make(self, image: &Path) -> bool {
        let (program, args): (_, &[&str]) = match self {
            Kind::Ext4 => ("mkfs.ext4", &["-q", "-F"]),
            Kind::Xfs => ("mkfs.xfs", &["-q", "-f"]),
        };
        let mut command = Command::new(program);
        command.args(args).arg(image).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

/// A mounted file system.
pub struct Disk {
    kind: Kind,
    /// Holds the mount namespace; ends with our end of its stdin.
    keeper: Child,
    place: tempfile::TempDir,
}

impl Disk {
    /// Makes and mounts one below `place`; none, with a visible line, where that is not possible.
    pub fn mount(kind: Kind, place: tempfile::TempDir) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skipped("a power cut needs root");
            return None;
        }
        let (image, dir) = (place.path().join("image"), place.path().join("mounted"));
        File::create(&image).and_then(|file| file.set_len(BYTES)).expect("a sparse file");
        std::fs::create_dir(&dir).expect("made");
        if !kind.make(&image) {
            skipped(&format!("mkfs.{} is not installed", kind.name()));
            return None;
        }
        let script = r#"mount -t "$0" -o loop "$1" "$2" && echo mounted && exec cat"#;
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script, kind.name()]).args([&image, &dir]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut keeper = command.spawn().ok()?;
        let mut line = String::new();
        let _ = BufReader::new(keeper.stdout.take().expect("piped")).read_line(&mut line);
        if line.trim() == "mounted" {
            return Some(Self { kind, keeper, place });
        }
        let _ = keeper.kill();
        let _ = keeper.wait();
        skipped(&format!("{} cannot be mounted on a loop device here", kind.name()));
        None
    }

    /// Its root, as every process of root sees it.
    pub fn path(&self) -> PathBuf {
        let inside = self.mounted();
        let inside = inside.strip_prefix("/").expect("an absolute path");
        Path::new("/proc").join(self.keeper.id().to_string()).join("root").join(inside)
    }

    /// Which file system it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    fn mounted(&self) -> PathBuf {
        self.place.path().join("mounted")
    }

    /// Cuts the power: nothing reaches the disk any more, and everybody who tries gets EIO.
    pub fn cut(&self) {
        let root = File::open(self.path()).expect("the root of the file system");
        // SAFETY: this number takes a pointer to 32 bits, which the kernel only reads, on both file systems; others do
        // not know it.
        let cut =
            unsafe { rustix::ioctl::ioctl(&root, rustix::ioctl::Setter::<SHUTDOWN, u32>::new(WITHOUT_LOG_FLUSH)) };
        cut.expect("the file system shuts down");
    }

    /// Mounts it anew, once every process has let go of it.
    pub fn restore(&self) {
        let script = r#"umount "$2" && mount -t "$0" -o loop "$1" "$2""#;
        let mut command = Command::new("nsenter");
        command.args(["-m", "-t", &self.keeper.id().to_string(), "--", "sh", "-c", script, self.kind.name()]);
        let output = command.arg(self.place.path().join("image")).arg(self.mounted()).output().expect("nsenter runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} cannot be mounted after a power cut: {said}", self.kind.name());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
