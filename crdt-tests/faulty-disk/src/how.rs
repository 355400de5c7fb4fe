//! The ways an operation fails.

/// How the Nth operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// `eio`: nothing is done, the answer is EIO.
    Eio,
    /// `enospc`: nothing is done, the answer is ENOSPC.
    Enospc,
    /// `short`: a write puts half of its bytes there and says so, which is no failure; others are not touched.
    Short,
    /// `torn`: a write puts half of its bytes there and answers EIO; others fail as with `eio`.
    Torn,
    /// `lost`: a sync answers EIO, and what was written to the file since the last one is gone, as it is when the kernel
    /// drops pages that it could not write; others fail as with `eio`.
    Lost,
    /// `lie`: a sync says that all is well and syncs nothing; others are not touched. To see that a power cut is noticed.
    Lie,
    /// `slow`: a sync takes [`SLOW`], then all is well; others are not touched.
    Slow,
}

/// How long a slow sync takes: longer than any client's patience that is to be tried.
pub static SLOW: libc::timespec = libc::timespec { tv_sec: 5, tv_nsec: 0 };

impl How {
    pub fn parse(name: &str) -> Option<How> {
        Some(match name {
            "eio" => How::Eio,
            "enospc" => How::Enospc,
            "short" => How::Short,
            "torn" => How::Torn,
            "lost" => How::Lost,
            "lie" => How::Lie,
            "slow" => How::Slow,
            _ => return None,
        })
    }

    pub fn errno(self) -> i32 {
        match self {
            How::Enospc => libc::ENOSPC,
            How::Eio | How::Short | How::Torn | How::Lost | How::Lie | How::Slow => libc::EIO,
        }
    }
}
