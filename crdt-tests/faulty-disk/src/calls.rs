//! The functions that take the place of glibc's. Each has the contract of its namesake.

use std::os::fd::RawFd;

use libc::{c_char, c_int, c_long, c_uint, c_void, iovec, mode_t, off_t, size_t, ssize_t};

use crate::disk::{Verdict, disk, path_at, path_of};
use crate::how::{How, SLOW};
use crate::recording;
use crate::unsynced;

// The names with and without `64` are one function each only where offsets have 64 bits anyway.
const _: () = assert!(size_of::<off_t>() == 8);

fn fail(errno: c_int) -> c_long {
    // SAFETY: glibc gives each thread a place for it.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// What becomes of an operation on an open file.
fn on_file(name: &str, fd: RawFd, is_read: bool) -> Verdict {
    match disk() {
        // The standard streams are never on the disk, and are written often.
        Some(disk) if fd > 2 => path_of(fd).map_or(Verdict::Elsewhere, |path| disk.judge(name, &path, is_read)),
        _ => Verdict::Elsewhere,
    }
}

/// What becomes of an operation on a name.
///
/// # Safety
/// `path` points to a C string, or is null.
unsafe fn on_name(name: &str, dir: RawFd, path: *const c_char) -> Verdict {
    let Some(disk) = disk() else { return Verdict::Elsewhere };
    // SAFETY: the caller's promise.
    unsafe { path_at(dir, path) }.map_or(Verdict::Elsewhere, |path| disk.judge(name, &path, false))
}

/// Carries out an operation that has no half way.
fn whole(verdict: Verdict, call: impl FnOnce() -> c_long) -> c_long {
    match verdict {
        Verdict::Elsewhere | Verdict::Passes | Verdict::Fails(How::Short | How::Lie | How::Slow) => call(),
        Verdict::Fails(how) => fail(how.errno()),
    }
}

fn sync(name: &str, fd: RawFd, call: impl FnOnce() -> c_long) -> c_long {
    let verdict = on_file(name, fd, false);
    match verdict {
        Verdict::Fails(How::Lost) => unsynced::lose(fd),
        Verdict::Fails(How::Lie) => return 0,
        // SAFETY: a plain system call on a value that outlives it.
        Verdict::Fails(How::Slow) => unsafe {
            libc::syscall(libc::SYS_nanosleep, &raw const SLOW, std::ptr::null_mut::<libc::timespec>());
        },
        Verdict::Elsewhere | Verdict::Passes | Verdict::Fails(_) => {}
    }
    let done = whole(verdict, call);
    // What `sync_file_range` wrote may still be in the disk's own cache.
    if verdict == Verdict::Passes && done == 0 && name != "sync_file_range" {
        unsynced::settle(fd);
    }
    done
}

/// Carries out a write. `call` writes that many of the bytes; `offset` is none where the file's own position counts.
fn write_with(name: &str, fd: RawFd, offset: Option<off_t>, len: size_t, call: impl Fn(size_t) -> c_long) -> ssize_t {
    let verdict = on_file(name, fd, false);
    if verdict != Verdict::Elsewhere && disk().is_some_and(|disk| disk.how == How::Lost) {
        // SAFETY: plain system calls; a file that is always appended to has its position at its end.
        let at = offset.unwrap_or_else(|| unsafe {
            let appends = libc::syscall(libc::SYS_fcntl, fd, libc::F_GETFL) & c_long::from(libc::O_APPEND) != 0;
            libc::syscall(libc::SYS_lseek, fd, 0, if appends { libc::SEEK_END } else { libc::SEEK_CUR })
        });
        unsynced::remember(fd, at, len);
    }
    let done = match verdict {
        Verdict::Elsewhere | Verdict::Passes | Verdict::Fails(How::Lie | How::Slow) => call(len),
        // A write of one byte cannot be short.
        Verdict::Fails(How::Short) => call(len.div_ceil(2)),
        Verdict::Fails(how) => {
            if how == How::Torn {
                call(len / 2);
            }
            fail(how.errno())
        }
    };
    done as ssize_t
}

/// The first `len` bytes of what a vectored write is given.
///
/// # Safety
/// `parts` points to `count` of them.
unsafe fn cut(parts: *const iovec, count: c_int, mut len: size_t) -> Vec<iovec> {
    // SAFETY: the caller's promise.
    let parts = unsafe { std::slice::from_raw_parts(parts, usize::try_from(count).unwrap_or(0)) };
    let mut take = |part: &iovec| {
        let taken = part.iov_len.min(len);
        len -= taken;
        iovec { iov_base: part.iov_base, iov_len: taken }
    };
    parts.iter().map(&mut take).collect()
}

/// Length of what a vectored write is given.
///
/// # Safety
/// As for [`cut`].
unsafe fn total(parts: *const iovec, count: c_int) -> size_t {
    // SAFETY: the caller's promise.
    unsafe { cut(parts, count, size_t::MAX) }.iter().map(|part| part.iov_len).sum()
}

/// Makes a function, or two of the same signature and body that only differ in their names.
macro_rules! interpose {
    ($one:ident, $other:ident $args:tt -> $result:ident $body:tt) => {
        interpose!($one $args -> $result $body);
        interpose!($other $args -> $result $body);
    };
    ($name:ident ($($arg:ident: $type:ty),*) -> $result:ident $body:block) => {
        /// As in libc.
        ///
        /// # Safety
        /// As in libc.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $type),*) -> $result {
            // SAFETY: the caller keeps the contract of the C function of this name, and that is all that is needed.
            (unsafe { $body }) as $result
        }
    };
}

// ---- names --------------------------------------------------------------------------------------------------------

// In C the mode is a variable argument. An integer is passed alike either way on the Linux targets there are, and where
// it was not passed the kernel does not look at it.
interpose!(open, open64 (path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    whole(on_name("open", libc::AT_FDCWD, path), || {
        libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode)
    })
});
interpose!(openat, openat64 (dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    whole(on_name("open", dir, path), || libc::syscall(libc::SYS_openat, dir, path, flags, mode))
});
interpose!(creat, creat64 (path: *const c_char, mode: mode_t) -> c_int {
    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
    whole(on_name("open", libc::AT_FDCWD, path), || {
        libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode)
    })
});
interpose!(mkdir (path: *const c_char, mode: mode_t) -> c_int {
    whole(on_name("mkdir", libc::AT_FDCWD, path), || libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode))
});
interpose!(mkdirat (dir: c_int, path: *const c_char, mode: mode_t) -> c_int {
    whole(on_name("mkdir", dir, path), || libc::syscall(libc::SYS_mkdirat, dir, path, mode))
});
interpose!(rmdir (path: *const c_char) -> c_int {
    whole(on_name("rmdir", libc::AT_FDCWD, path), || {
        libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, libc::AT_REMOVEDIR)
    })
});
interpose!(unlink (path: *const c_char) -> c_int {
    recording::remove(libc::AT_FDCWD, path, || {
        whole(on_name("unlink", libc::AT_FDCWD, path), || libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0))
    })
});
interpose!(unlinkat (dir: c_int, path: *const c_char, flags: c_int) -> c_int {
    recording::remove(dir, path, || {
        whole(on_name("unlink", dir, path), || libc::syscall(libc::SYS_unlinkat, dir, path, flags))
    })
});
interpose!(rename (from: *const c_char, to: *const c_char) -> c_int {
    recording::rename(libc::AT_FDCWD, to, || {
        whole(on_name("rename", libc::AT_FDCWD, from), || {
            libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0)
        })
    })
});
interpose!(renameat (from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char) -> c_int {
    recording::rename(to_dir, to, || {
        whole(on_name("rename", from_dir, from), || libc::syscall(libc::SYS_renameat2, from_dir, from, to_dir, to, 0))
    })
});
interpose!(renameat2 (
    from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char, flags: c_uint
) -> c_int {
    whole(on_name("rename", from_dir, from), || libc::syscall(libc::SYS_renameat2, from_dir, from, to_dir, to, flags))
});
interpose!(link (from: *const c_char, to: *const c_char) -> c_int {
    whole(on_name("link", libc::AT_FDCWD, to), || {
        libc::syscall(libc::SYS_linkat, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0)
    })
});
interpose!(linkat (from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char, flags: c_int) -> c_int {
    whole(on_name("link", to_dir, to), || libc::syscall(libc::SYS_linkat, from_dir, from, to_dir, to, flags))
});

// ---- lengths and syncs --------------------------------------------------------------------------------------------

interpose!(ftruncate, ftruncate64 (fd: c_int, len: off_t) -> c_int {
    recording::length(fd, len, || {
        whole(on_file("truncate", fd, false), || libc::syscall(libc::SYS_ftruncate, fd, len))
    })
});
interpose!(fallocate, fallocate64 (fd: c_int, mode: c_int, offset: off_t, len: off_t) -> c_int {
    whole(on_file("allocate", fd, false), || libc::syscall(libc::SYS_fallocate, fd, mode, offset, len))
});
interpose!(posix_fallocate, posix_fallocate64 (fd: c_int, offset: off_t, len: off_t) -> c_int {
    // Answers the error itself.
    match whole(on_file("allocate", fd, false), || libc::syscall(libc::SYS_fallocate, fd, 0, offset, len)) {
        0 => 0,
        _ => c_long::from(*libc::__errno_location()),
    }
});
interpose!(fsync (fd: c_int) -> c_int {
    sync("fsync", fd, || libc::syscall(libc::SYS_fsync, fd))
});
interpose!(fdatasync (fd: c_int) -> c_int {
    sync("fdatasync", fd, || libc::syscall(libc::SYS_fdatasync, fd))
});
interpose!(syncfs (fd: c_int) -> c_int {
    sync("syncfs", fd, || libc::syscall(libc::SYS_syncfs, fd))
});
interpose!(sync_file_range (fd: c_int, offset: off_t, len: off_t, flags: c_uint) -> c_int {
    sync("sync_file_range", fd, || libc::syscall(libc::SYS_sync_file_range, fd, offset, len, flags))
});

// ---- writes -------------------------------------------------------------------------------------------------------

interpose!(write (fd: c_int, bytes: *const c_void, len: size_t) -> ssize_t {
    write_with("write", fd, None, len, |len| libc::syscall(libc::SYS_write, fd, bytes, len))
});
interpose!(pwrite, pwrite64 (fd: c_int, bytes: *const c_void, len: size_t, offset: off_t) -> ssize_t {
    recording::write(fd, bytes, len, offset, || {
        write_with("write", fd, Some(offset), len, |len| libc::syscall(libc::SYS_pwrite64, fd, bytes, len, offset))
    })
});
interpose!(writev (fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    write_with("write", fd, None, total(parts, count), |len| {
        let parts = cut(parts, count, len);
        libc::syscall(libc::SYS_writev, fd, parts.as_ptr(), parts.len())
    })
});
interpose!(pwritev, pwritev64 (fd: c_int, parts: *const iovec, count: c_int, offset: off_t) -> ssize_t {
    write_with("write", fd, Some(offset), total(parts, count), |len| {
        let parts = cut(parts, count, len);
        // The kernel takes the offset in two halves; on 64-bit targets the first holds all of it.
        libc::syscall(libc::SYS_pwritev, fd, parts.as_ptr(), parts.len(), offset, 0)
    })
});
interpose!(copy_file_range (
    from: c_int, from_at: *mut off_t, to: c_int, to_at: *mut off_t, len: size_t, flags: c_uint
) -> ssize_t {
    write_with("write", to, to_at.as_ref().copied(), len, |len| {
        libc::syscall(libc::SYS_copy_file_range, from, from_at, to, to_at, len, flags)
    })
});
interpose!(sendfile, sendfile64 (to: c_int, from: c_int, from_at: *mut off_t, len: size_t) -> ssize_t {
    write_with("write", to, None, len, |len| libc::syscall(libc::SYS_sendfile, to, from, from_at, len))
});

// ---- reads --------------------------------------------------------------------------------------------------------

interpose!(read (fd: c_int, bytes: *mut c_void, len: size_t) -> ssize_t {
    whole(on_file("read", fd, true), || libc::syscall(libc::SYS_read, fd, bytes, len))
});
interpose!(pread, pread64 (fd: c_int, bytes: *mut c_void, len: size_t, offset: off_t) -> ssize_t {
    whole(on_file("read", fd, true), || libc::syscall(libc::SYS_pread64, fd, bytes, len, offset))
});
