//! Names with rules, shared by all rooms. A value of one of these types has been checked; later code takes it on trust.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::limits::DOC_NAME_BYTES_MAX;

/// What users edit, by the name it has on the wire: valid UTF-8, 1..=[`DOC_NAME_BYTES_MAX`] bytes, no NUL.
///
/// Names are compared by bytes and never normalised (contract 2.2). A clone shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocName(Arc<str>);

/// Why a document name was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DocNameError {
    /// The name has no bytes.
    #[error("the document name is empty")]
    Empty,
    /// The name is longer than [`DOC_NAME_BYTES_MAX`].
    #[error("the document name has {0} bytes, at most {DOC_NAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// The name holds a NUL byte, which separates fields in keys and in some dialects.
    #[error("the document name contains a NUL byte")]
    Nul,
    /// The bytes are not UTF-8.
    #[error("the document name is not valid UTF-8")]
    NotUtf8,
}

impl DocName {
    /// Checks `name` against the rules of contract 2.2.
    pub fn parse(name: &str) -> Result<Self, DocNameError> {
        match name.len() {
            0 => Err(DocNameError::Empty),
            n if n > DOC_NAME_BYTES_MAX => Err(DocNameError::TooLong(n)),
            _ if name.as_bytes().contains(&0) => Err(DocNameError::Nul),
            _ => Ok(Self(name.into())),
        }
    }

    /// As [`DocName::parse`], for bytes that may not be UTF-8.
    pub fn parse_bytes(name: &[u8]) -> Result<Self, DocNameError> {
        Self::parse(std::str::from_utf8(name).map_err(|_| DocNameError::NotUtf8)?)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as it is compared and stored.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for DocName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Quoted and escaped, so that a hostile name cannot forge a log line.
impl fmt::Debug for DocName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Borrow<str> for DocName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl serde::Serialize for DocName {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for DocName {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let name = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        Self::parse(&name).map_err(serde::de::Error::custom)
    }
}

/// Position of a record in its document's log: dense, rising, the first is 1; 0 means "before the first".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first record.
    pub const ZERO: Seq = Seq(0);

    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a session may do with a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Follow the document and show presence; edits are refused.
    Read,
    /// Edit it as well.
    Write,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Read => "read",
            Access::Write => "write",
        })
    }
}

/// One session's place in one document; unique while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// One WebSocket; unique while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// Somebody who may have several connections: a user, or an address where users have no names. Two that are equal are the
/// same one while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal(pub u64);

/// A Yjs client id, below 2^53 (larger ones are refused by `wire`, because yrs would alias them).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many clock ticks of a client are known, or where one of its structs starts. Below 2^31.
pub type Clock = u32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doc_names_follow_contract_2_2() {
        assert_eq!(DocName::parse(""), Err(DocNameError::Empty));
        assert_eq!(DocName::parse("a\0b"), Err(DocNameError::Nul));
        assert_eq!(DocName::parse_bytes(&[0xff]), Err(DocNameError::NotUtf8));
        assert_eq!(DocName::parse(&"x".repeat(513)), Err(DocNameError::TooLong(513)));
        assert!(DocName::parse(&"x".repeat(512)).is_ok());
        assert!(DocName::parse("notes/2026/ä b?c").is_ok());
    }
}
