//! y-leveldb's database (0.1 and 0.2), as y-websocket's server keeps it below `YPERSISTENCE`.
//!
//! Keys are lists: a text is `00` and its length before its bytes, a number `01` and four bytes, big-endian.
//! `[v1, name, update, clock]` is one update (v1) · `[v1, name, meta, key]` what a program noted of the document ·
//! `[v1_sv, name]` its state vector, from which y-leveldb tells which documents there are. So the updates of a document lie
//! side by side in their order.

use std::path::Path;

use bytes::Bytes;
use percent_encoding::percent_decode;

use super::leveldb::{Entries, LevelDb};
use super::{Found, Gathered, MigrateError, Names, Remark, Source, skipped};
use crate::ids::{DocName, DocNameError};
use crate::wire::lib0::Reader;

const TEXT: u8 = 0;
const NUMBER: u8 = 1;

/// What a key stands for.
#[derive(Debug, PartialEq, Eq)]
enum Key<'a> {
    Update(&'a [u8]),
    Meta,
    StateVector,
    Foreign,
}

/// Documents in the order of their keys.
pub(super) struct YLeveldb {
    entries: Entries<'static>,
    names: Names,
    documents: u64,
    remarks: Vec<Remark>,
    /// Read already, and belongs to the next document.
    ahead: Option<(Vec<u8>, Bytes)>,
}

pub(super) fn open(dir: &Path, names: Names) -> Result<YLeveldb, MigrateError> {
    let db = LevelDb::open(dir)?;
    // Every checksum, before the first document is given out.
    let (mut documents, mut metas, mut foreign) = (0, 0, 0u64);
    let mut entries = db.entries()?;
    let mut last: Option<Vec<u8>> = None;
    while let Some((key, _)) = entries.next()? {
        match parse(&key) {
            Key::Update(name) => {
                if last.as_deref() != Some(name) {
                    documents += 1;
                    last = Some(name.to_vec());
                }
            }
            Key::Meta => metas += 1,
            Key::StateVector => {}
            Key::Foreign => foreign += 1,
        }
    }
    drop(entries);
    if documents == 0 && foreign > 0 {
        let why = "its keys are not those of y-leveldb".to_owned();
        return Err(MigrateError::Foreign { path: dir.to_owned(), expected: "a database of y-leveldb", why });
    }
    let mut remarks = Vec::new();
    let mut remark = |wrong, text| remarks.push(Remark { text, wrong });
    if metas > 0 {
        remark(false, format!("{metas} metadata values (setMeta) are not carried over: weft has no place for them"));
    }
    if foreign > 0 {
        remark(true, format!("{foreign} keys are not y-leveldb's and were passed over"));
    }
    if let Some((log, bytes)) = &db.torn {
        let text = "ends in a write that was cut short when its server was killed; y-leveldb would drop it too";
        remark(true, format!("{} {text} ({bytes} bytes)", log.display()));
    }
    if let Some(table) = &db.unknown_table {
        let text =
            "is newer than the manifest knows: left by an interrupted compaction, or the manifest has lost its end";
        remark(true, format!("{} {text}", table.display()));
    }
    Ok(YLeveldb { entries: db.into_entries()?, names, documents, remarks, ahead: None })
}

impl YLeveldb {
    fn name_of(&self, stored: &[u8]) -> Result<DocName, DocNameError> {
        match self.names {
            Names::Decoded => DocName::parse_bytes(&percent_decode(stored).collect::<Vec<u8>>()),
            Names::AsStored => DocName::parse_bytes(stored),
        }
    }

    /// The next update with the name of its document.
    fn next_update(&mut self) -> Result<Option<(Vec<u8>, Bytes)>, MigrateError> {
        if let Some(ahead) = self.ahead.take() {
            return Ok(Some(ahead));
        }
        while let Some((key, value)) = self.entries.next()? {
            if let Key::Update(name) = parse(&key) {
                return Ok(Some((name.to_vec(), value.into())));
            }
        }
        Ok(None)
    }
}

impl Source for YLeveldb {
    fn documents(&self) -> u64 {
        self.documents
    }

    fn next(&mut self, wanted: &dyn Fn(&DocName) -> bool) -> Result<Option<Found>, MigrateError> {
        while let Some((name, first)) = self.next_update()? {
            let mut gathered = Gathered::default();
            gathered.push(first);
            while let Some((of, update)) = self.next_update()? {
                if of != name {
                    self.ahead = Some((of, update));
                    break;
                }
                gathered.push(update);
            }
            match self.name_of(&name) {
                Ok(name) if wanted(&name) => return Ok(Some(gathered.finish(name))),
                Ok(_) => {}
                Err(error) => return Ok(Some(skipped(String::from_utf8_lossy(&name), error))),
            }
        }
        Ok(None)
    }

    fn remarks(&self) -> Vec<Remark> {
        self.remarks.clone()
    }
}

fn parse(key: &[u8]) -> Key<'_> {
    let mut reader = Reader::new(key);
    let mut text = || if reader.u8() == Ok(TEXT) { reader.var_bytes().ok() } else { None };
    let found = match (text(), text(), text()) {
        (Some(b"v1_sv"), Some(_), None) => return Key::StateVector,
        (Some(b"v1"), Some(name), Some(b"update")) => Key::Update(name),
        (Some(b"v1"), Some(_), Some(b"meta")) => return Key::Meta,
        _ => return Key::Foreign,
    };
    let numbered = reader.u8() == Ok(NUMBER) && reader.remaining() == 4;
    if numbered { found } else { Key::Foreign }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[&str], clock: Option<u32>) -> Vec<u8> {
        let mut key = Vec::new();
        for part in parts {
            key.extend([TEXT, part.len() as u8]);
            key.extend(part.as_bytes());
        }
        if let Some(clock) = clock {
            key.push(NUMBER);
            key.extend(clock.to_be_bytes());
        }
        key
    }

    #[test]
    fn keys_are_told_apart() {
        assert_eq!(parse(&key(&["v1", "notes/ä", "update"], Some(7))), Key::Update("notes/ä".as_bytes()));
        assert_eq!(parse(&key(&["v1", "update", "meta", "k"], None)), Key::Meta);
        assert_eq!(parse(&key(&["v1_sv", "a"], None)), Key::StateVector);
        for foreign in [&b""[..], b"k", &key(&["v1", "a", "update"], None), &key(&["v2", "a", "update"], Some(1))] {
            assert_eq!(parse(foreign), Key::Foreign);
        }
    }
}
