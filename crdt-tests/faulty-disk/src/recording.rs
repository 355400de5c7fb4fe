//! What happens to the files, in order, for whoever wants to know what a power cut could have left of them.
//!
//! A write is on the disk in part from when it begins until it has ended, so both are said, and between them it waits for a
//! while: writes of several threads then overlap as they seldom do. A record is a line, and the bytes that it announces:
//!
//! | line | bytes | meaning |
//! |---|---|---|
//! | `begin ID OFFSET LENGTH PATH` | `LENGTH` | a write at an offset begins |
//! | `end ID WRITTEN` | | it has ended; -1 if it failed |
//! | `length LENGTH PATH` | | a file has this length now |
//! | `file LENGTH PATH` | `LENGTH` | a file has taken this name |
//! | `removed PATH` | | a file has gone |
//!
//! Paths are below the directory. What a file was given otherwise than at an offset is known once it takes its last name.

use std::ffi::c_void;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use libc::{c_char, c_int, c_long, off_t, size_t, ssize_t};

use crate::disk::{Disk, disk, path_at, path_of};

/// Number of the last write that began; held while something is said, so that the order is that of the disk.
static LAST: Mutex<u64> = Mutex::new(0);

/// The disk and the path below its directory, if what happens there is recorded; where nothing is, nobody asks for the path.
fn recorded(path: impl FnOnce() -> Option<PathBuf>) -> Option<(&'static Disk, String)> {
    let disk = disk().filter(|disk| disk.record >= 0)?;
    let below = disk.below(&path()?)?.to_str()?.to_owned();
    Some((disk, below))
}

fn say(disk: &Disk, line: &str, bytes: &[u8]) {
    let record = [line.as_bytes(), b"\n", bytes].concat();
    // SAFETY: the bytes outlive the call. A record that cannot be written is the harness's to miss.
    unsafe { libc::syscall(libc::SYS_write, disk.record, record.as_ptr(), record.len()) };
}

/// # Safety
/// `bytes` points to `len` of them.
pub unsafe fn write(
    fd: RawFd,
    bytes: *const c_void,
    len: size_t,
    offset: off_t,
    call: impl FnOnce() -> ssize_t,
) -> ssize_t {
    let Some((disk, path)) = recorded(|| path_of(fd)) else { return call() };
    let id = {
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        *last += 1;
        // SAFETY: the caller's promise.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), len) };
        say(disk, &format!("begin {last} {offset} {len} {path}"), bytes);
        *last
    };
    // The delays are what this is for: long for some, so that others overtake them. Nobody relies on their length.
    let chance = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let wait = Duration::from_micros(chance % 2_000 * if chance.is_multiple_of(4) { 6 } else { 1 });
    std::thread::sleep(wait);
    let done = call();
    std::thread::sleep(wait / 4);
    let _order = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    say(disk, &format!("end {id} {done}"), &[]);
    done
}

pub fn length(fd: RawFd, len: off_t, call: impl FnOnce() -> c_long) -> c_long {
    let Some((disk, path)) = recorded(|| path_of(fd)) else { return call() };
    let _order = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let done = call();
    if done == 0 {
        say(disk, &format!("length {len} {path}"), &[]);
    }
    done
}

/// # Safety
/// `to` points to a C string, or is null.
pub unsafe fn rename(dir: c_int, to: *const c_char, call: impl FnOnce() -> c_long) -> c_long {
    // SAFETY: the caller's promise.
    let Some((disk, path)) = recorded(|| unsafe { path_at(dir, to) }) else { return call() };
    let _order = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let done = call();
    if done == 0
        && let Ok(bytes) = std::fs::read(disk.under.join(&path))
    {
        say(disk, &format!("file {} {path}", bytes.len()), &bytes);
    }
    done
}

/// # Safety
/// `path` points to a C string, or is null.
pub unsafe fn remove(dir: c_int, path: *const c_char, call: impl FnOnce() -> c_long) -> c_long {
    // SAFETY: the caller's promise.
    let Some((disk, path)) = recorded(|| unsafe { path_at(dir, path) }) else { return call() };
    let _order = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let done = call();
    if done == 0 {
        say(disk, &format!("removed {path}"), &[]);
    }
    done
}
