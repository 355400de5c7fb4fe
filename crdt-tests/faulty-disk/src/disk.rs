//! What the environment says, the count of operations, and the report.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::how::How;

/// The disk under the program.
pub struct Disk {
    pub under: PathBuf,
    /// The same directory as open files name it, if that differs: in another mount namespace, paths begin at the mount.
    under_as_seen: Option<PathBuf>,
    nth: u64,
    pub how: How,
    sticks: bool,
    /// Nothing fails while this file is not there.
    only_while: Option<CString>,
    reads: bool,
    report: RawFd,
    /// Where [`crate::recording`] goes; negative: nowhere.
    pub record: RawFd,
    operations: AtomicU64,
}

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not on this disk, or not counted.
    Elsewhere,
    Passes,
    Fails(How),
}

/// The disk, or none where the environment names no directory.
pub fn disk() -> Option<&'static Disk> {
    static DISK: OnceLock<Option<Disk>> = OnceLock::new();
    DISK.get_or_init(Disk::from_env).as_ref()
}

impl Disk {
    fn from_env() -> Option<Disk> {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let under = PathBuf::from(std::env::var_os("FAULTY_DISK_UNDER")?);
        let how = std::env::var("FAULTY_DISK_HOW").ok().and_then(|name| How::parse(&name)).unwrap_or(How::Eio);
        let appended = |name| {
            let path = std::env::var_os(name);
            path.map_or(-1, |path| open(path, libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND))
        };
        let (report, record) = (appended("FAULTY_DISK_REPORT"), appended("FAULTY_DISK_RECORD"));
        let under_as_seen = path_of(open(under.clone().into(), libc::O_PATH));
        Some(Disk {
            under_as_seen: under_as_seen.filter(|seen| *seen != under && *seen != Path::new("/")),
            under,
            nth: number("FAULTY_DISK_NTH"),
            how,
            sticks: number("FAULTY_DISK_STICKS") == 1,
            only_while: std::env::var_os("FAULTY_DISK_WHILE").and_then(|path| CString::new(path.into_vec()).ok()),
            reads: number("FAULTY_DISK_READS") == 1,
            report,
            record,
            operations: AtomicU64::new(0),
        })
    }

    /// The path from the directory on, if it is in there.
    pub fn below<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        let seen = || path.strip_prefix(self.under_as_seen.as_ref()?).ok();
        path.strip_prefix(&self.under).ok().or_else(seen)
    }

    /// Whether this operation counts, and if so what becomes of it.
    pub fn judge(&self, name: &str, path: &Path, is_read: bool) -> Verdict {
        if self.below(path).is_none() || (is_read && !self.reads) {
            return Verdict::Elsewhere;
        }
        let number = self.operations.fetch_add(1, Ordering::SeqCst) + 1;
        let is_due = self.nth != 0 && (number == self.nth || (self.sticks && number > self.nth));
        if is_due && self.only_while.as_deref().is_none_or(is_there) {
            self.say(&format!("failed {number} {name} {}\n", path.display()));
            return Verdict::Fails(self.how);
        }
        self.say(&format!("done {number} {name} {}\n", path.display()));
        Verdict::Passes
    }

    /// One line in one write, so that lines of several threads stay whole, and are there however the program ends.
    fn say(&self, line: &str) {
        if self.report >= 0 {
            // SAFETY: the bytes outlive the call. A report that cannot be written is the harness's to miss.
            unsafe { libc::syscall(libc::SYS_write, self.report, line.as_ptr(), line.len()) };
        }
    }
}

fn is_there(path: &CStr) -> bool {
    // SAFETY: a C string.
    unsafe { libc::syscall(libc::SYS_faccessat, libc::AT_FDCWD, path.as_ptr(), libc::F_OK) == 0 }
}

/// Opens a file without passing through ourselves, who ask for the disk that is being made.
fn open(path: OsString, flags: libc::c_int) -> RawFd {
    let mut path = path.into_vec();
    path.push(0);
    // SAFETY: `path` ends in NUL and outlives the call.
    unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags | libc::O_CLOEXEC, 0o644) as RawFd }
}

/// The path of an open file; none for sockets and pipes.
pub fn path_of(fd: RawFd) -> Option<PathBuf> {
    let link = format!("/proc/self/fd/{fd}\0");
    let mut buf = [0u8; libc::PATH_MAX as usize];
    // SAFETY: `link` ends in NUL; at most `buf.len()` bytes are written to `buf`.
    let len =
        unsafe { libc::syscall(libc::SYS_readlinkat, libc::AT_FDCWD, link.as_ptr(), buf.as_mut_ptr(), buf.len()) };
    let path = buf.get(..usize::try_from(len).ok()?)?;
    path.starts_with(b"/").then(|| PathBuf::from(OsStr::from_bytes(path)))
}

/// The absolute form of a path given to a `…at` function.
///
/// # Safety
/// `path` points to a C string.
pub unsafe fn path_at(dir: RawFd, path: *const libc::c_char) -> Option<PathBuf> {
    if path.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let path = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()));
    if path.is_absolute() {
        return Some(path.to_owned());
    }
    let base = if dir == libc::AT_FDCWD { std::env::current_dir().ok()? } else { path_of(dir)? };
    Some(base.join(path))
}
