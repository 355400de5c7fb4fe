//! What was written to each file since it was last synced, so that a failed sync can lose it ([`crate::how::How::Lost`]).

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::{LazyLock, Mutex, PoisonError};

/// What lay where something was written, oldest first.
#[derive(Default)]
struct Before {
    /// Length of the file when the first of these was written.
    len: i64,
    spans: Vec<(i64, Vec<u8>)>,
}

/// Device and inode.
type FileId = (u64, u64);

static UNSYNCED: LazyLock<Mutex<HashMap<FileId, Before>>> = LazyLock::new(Mutex::default);

fn stat(fd: RawFd) -> Option<(FileId, i64)> {
    // SAFETY: zeros are a valid `stat`, and the call fills it.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        (libc::fstat(fd, &raw mut stat) == 0).then_some(((stat.st_dev, stat.st_ino), stat.st_size))
    }
}

/// Opens the file of `fd` once more, for reading and writing; `fd` itself may be for one of them only.
fn reopened<T>(fd: RawFd, f: impl FnOnce(RawFd) -> T) -> Option<T> {
    let link = format!("/proc/self/fd/{fd}\0");
    let flags = libc::O_RDWR | libc::O_CLOEXEC;
    // SAFETY: `link` ends in NUL; the descriptor is ours to close.
    unsafe {
        let again = libc::syscall(libc::SYS_openat, libc::AT_FDCWD, link.as_ptr(), flags) as RawFd;
        (again >= 0).then(|| {
            let result = f(again);
            libc::syscall(libc::SYS_close, again);
            result
        })
    }
}

/// Remembers what is at `offset` before `len` bytes are written there.
pub fn remember(fd: RawFd, offset: i64, len: usize) {
    let Some((id, file_len)) = stat(fd) else { return };
    let mut old = vec![0u8; len];
    let read = reopened(fd, |fd| {
        // SAFETY: at most `len` bytes are written to `old`.
        unsafe { libc::syscall(libc::SYS_pread64, fd, old.as_mut_ptr(), len, offset) }
    });
    old.truncate(usize::try_from(read.unwrap_or(0)).unwrap_or(0));
    let mut unsynced = UNSYNCED.lock().unwrap_or_else(PoisonError::into_inner);
    let before = unsynced.entry(id).or_insert_with(|| Before { len: file_len, spans: Vec::new() });
    before.spans.push((offset, old));
}

/// The file was synced: nothing of it can be lost any more.
pub fn settle(fd: RawFd) {
    if let Some((id, _)) = stat(fd) {
        UNSYNCED.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

/// Puts back what was there at the last sync.
pub fn lose(fd: RawFd) {
    let Some((id, _)) = stat(fd) else { return };
    let Some(before) = UNSYNCED.lock().unwrap_or_else(PoisonError::into_inner).remove(&id) else { return };
    reopened(fd, |fd| {
        for (offset, old) in before.spans.iter().rev() {
            // SAFETY: `old` outlives the call.
            unsafe { libc::syscall(libc::SYS_pwrite64, fd, old.as_ptr(), old.len(), *offset) };
        }
        // SAFETY: a plain system call on a descriptor of ours.
        unsafe { libc::syscall(libc::SYS_ftruncate, fd, before.len) };
    });
}
