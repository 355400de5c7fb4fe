//! Bytes to messages and back, for every dialect; refuses what is malformed before anyone else sees it.
//!
//! Pure: no clock, no socket, no document contents. Everything here borrows from the frame it was given, allocates
//! nothing by a peer's claim and recurses into nothing.

pub mod awareness;
pub mod close;
pub mod dialect;
pub mod frame;
pub mod hocuspocus;
pub mod join;
pub mod json;
pub mod lib0;
pub mod merge;
pub mod message;
pub mod state_vector;
pub mod update;
pub mod ysweet;
pub mod ywebsocket;

/// What is wrong with bytes from outside. A peer's mistake: it costs that peer its frame or its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A length or a field reaches past the end.
    #[error("the bytes end early")]
    Truncated,
    /// Something follows a complete value.
    #[error("{0} bytes follow the end of the value")]
    TrailingBytes(usize),
    /// More than 53 bits.
    #[error("an integer is larger than 53 bits")]
    IntegerTooLarge,
    /// Written in more bytes than it needs: nothing honest does that.
    #[error("an integer is written in more bytes than it needs")]
    IntegerPadded,
    /// Entries announced that cannot fit into the bytes left.
    #[error("{count} entries are announced but only {remaining} bytes are left")]
    CountTooLarge {
        /// What the bytes claim.
        count: u64,
        /// Bytes left to hold them.
        remaining: usize,
    },
    /// A bound of [`crate::limits`].
    #[error("{what} is {size}, at most {max} is allowed")]
    TooLarge {
        /// What was measured.
        what: &'static str,
        /// Its size.
        size: u64,
        /// The bound.
        max: u64,
    },
    /// Values nested too deeply.
    #[error("values are nested too deeply")]
    TooDeep,
    /// Text that is not UTF-8.
    #[error("text is not valid UTF-8")]
    NotUtf8,
    /// Text that should be JSON and is not.
    #[error("text is not valid JSON")]
    NotJson,
    /// A type number that this version does not know.
    #[error("unknown {what} {tag}")]
    UnknownTag {
        /// What the number stands for.
        what: &'static str,
        /// The number.
        tag: u64,
    },
    /// A rule of the update format is broken.
    #[error("{0}")]
    Malformed(&'static str),
}
