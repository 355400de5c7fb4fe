//! Why a command ends without having done what was asked: a line or two for the person at the terminal, and an exit
//! code for the script (contract 2.1).

use std::fmt;
use std::io;

use super::output;
use crate::hub::HubError;

/// What went wrong, where, and what to try next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) text: String,
    pub(super) code: Code,
}

/// Exit codes other than 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// 0: whoever read our output has seen enough.
    Unread,
    /// 1: something asked about is wrong or missing.
    FoundWrong,
    /// 2: the command line makes no sense.
    Usage,
    /// 3: could not reach or open.
    CannotOpen,
}

impl Code {
    pub(super) fn number(self) -> u8 {
        match self {
            Code::Unread => 0,
            Code::FoundWrong => 1,
            Code::Usage => 2,
            Code::CannotOpen => 3,
        }
    }
}

impl Failure {
    /// Something asked about is wrong or missing.
    pub(super) fn found(text: impl ToString) -> Self {
        Self { text: text.to_string(), code: Code::FoundWrong }
    }

    /// The command line makes no sense.
    pub(super) fn usage(text: impl ToString) -> Self {
        Self { text: text.to_string(), code: Code::Usage }
    }

    /// Something cannot be opened or reached.
    pub(super) fn open(text: impl ToString) -> Self {
        Self { text: text.to_string(), code: Code::CannotOpen }
    }

    /// "The document … was deleted".
    pub(super) fn deleted(what: impl fmt::Display, deleted_ms: u64) -> Self {
        let when = output::utc(deleted_ms);
        Self::found(format!("{what} on {when} UTC; `weft import` makes it anew, `weft ls --deleted` lists all such"))
    }

    /// Whether trying another document is pointless.
    pub(super) fn concerns_all_documents(&self) -> bool {
        match self.code {
            Code::FoundWrong => false,
            Code::Unread | Code::Usage | Code::CannotOpen => true,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Of writing to stdout. `weft ls | head` is no error.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self { text: String::new(), code: Code::Unread },
            _ => Self::open(format!("cannot write the result: {error}; check the disk or pipe that stdout goes to")),
        }
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        match error {
            HubError::NoSuchDocument(_) => Self::found(format!("{error}; `weft ls` lists those that do")),
            HubError::Deleted { deleted_ms, .. } => Self::deleted(error, deleted_ms),
            HubError::BadUpdate(_) => Self::found(format!("{error}; it must be one Yjs update in v1 encoding")),
            HubError::CannotOpen { .. } | HubError::CannotRead { .. } | HubError::CannotCompact { .. } => {
                Self::found(format!("{error}; other documents are not affected"))
            }
            HubError::CannotVacuum(_) => Self::found(error),
            HubError::Draining
            | HubError::Reloading(_)
            | HubError::BackupRunning
            | HubError::TooManyDocuments
            | HubError::MemoryFull => Self::open(format!("{error}; try again in a moment")),
            HubError::DiskFull(_) => Self::open(format!("{error}; free some space there, then try again")),
            HubError::Storage(_) => Self::open(format!("{error}; check the disk, then try again")),
        }
    }
}
