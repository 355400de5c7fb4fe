//! A disk that fails when it is told to, put under a program by `LD_PRELOAD`: the real binary then runs on it unchanged.
//!
//! It takes the place of glibc's file functions, counts the operations on paths under one directory, and lets the Nth of
//! them fail. What it does is said in the environment, which the program itself never reads:
//!
//! | variable | meaning |
//! |---|---|
//! | `FAULTY_DISK_UNDER` | the directory, absolute; nothing elsewhere is touched or counted |
//! | `FAULTY_DISK_NTH` | which operation fails, from 1; absent or 0: none, they are only counted |
//! | `FAULTY_DISK_HOW` | a name in [`how::How`] |
//! | `FAULTY_DISK_STICKS` | `1`: all later operations fail too, as on a disk that has died |
//! | `FAULTY_DISK_WHILE` | a file elsewhere: nothing fails as long as it is not there |
//! | `FAULTY_DISK_READS` | `1`: reads are operations too |
//! | `FAULTY_DISK_RECORD` | a file that says afterwards what was written when, and with what ([`recording`]) |
//! | `FAULTY_DISK_REPORT` | a file that says afterwards how many operations there were, and which failed |
//!
//! Operations are: open and create, write in all its forms, sync in all its forms, truncate and allocate, rename, link,
//! unlink, make and remove a directory. Each is carried out by a plain system call, so nothing here depends on the order
//! in which libraries are loaded.
//!
//! Linux and glibc only; elsewhere the library is empty and the tests that need it say that they are skipped. System
//! calls that a program makes past libc (rustix does, for locks and limits) are not seen. All of it is unsafe code of
//! necessity: each function has the contract of the C function whose name it bears.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod calls;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod disk;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod how;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod recording;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod unsynced;
