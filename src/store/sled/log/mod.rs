//! Reads the files of sled 0.34 without sled, for when they are damaged: sled itself stops at the first damage it meets
//! and overwrites with zeros what comes after it, good or bad. Looks only; tells every readable value from what is not.
//!
//! sled keeps a log of messages in segments of 512 KiB, each a new state of a page of its tree (a *node*: keys and values)
//! or a change of one (a *link*: one key). A segment in use again begins with another number, and so does each message
//! in it, so what is left of its former use is told apart. All checksums are crc32. Little-endian, except that integers
//! marked *var* take 1 to 9 bytes:
//!
//! | segment | message | node | link |
//! |---|---|---|---|
//! | checksum:4 | checksum:4 | next:var, child:var, merging:1 | kind:1 (0 set, 1 remove, others) |
//! | number in bytes:8 | kind:1 | prefix:1, low:bytes, high:bytes | key:bytes |
//! | stable:8 | length:var, segment:var, page:var | kind:1 (0 leaf, 1 index), count:var | value:bytes |
//! | messages | bytes | keys:bytes each, values:bytes each | |
//!
//! where *bytes* is a length:var and so many bytes. Keys in nodes and links leave out the node's prefix, which is the
//! first so many bytes of its low key.
//!
//! A message that is lost costs what it alone held: the state of its page before it, which is often still there, is kept,
//! with the changes after it. So a value can be older than the one lost, and a key can come back that was removed; the
//! store's own checksums and catalogue (`super::super::record`) tell what that means for a document.

mod check;
mod message;
mod page_table;
mod reading;
mod segment;

pub(super) use check::{Bad, check};
pub(super) use page_table::snapshot_holds;
pub(super) use reading::{LogReading, read};
