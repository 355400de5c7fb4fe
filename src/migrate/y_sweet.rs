//! The store of `y-sweet serve DIR` (y-sweet 0.9): one directory for each document, and in it `data.ysweet`.
//!
//! That file is a `BTreeMap<Vec<u8>, Vec<u8>>` in bincode 1 (counts and lengths as `u64`, little-endian), in which
//! yrs-kvstore 0.3 keeps one document called `doc`. Its keys, with numbers in big-endian:
//! `00 00 name 00` → the document's number; `00 01 number 00` → its state (v1) · `… 01` → its state vector ·
//! `… 02 clock 00` → an update on top (v1) · `… 03 name 00` → metadata, which y-sweet does not use.

use std::path::{Path, PathBuf};
use std::vec;

use bytes::Bytes;

use super::{Found, Gathered, MigrateError, Remark, Source, entries, read_file, skipped, too_large};
use crate::ids::DocName;

const FILE: &str = "data.ysweet";
const EXPECTED: &str = "a y-sweet store";
/// The only document in each file.
const DOC: &[u8] = b"doc";

/// Documents by the names of their directories.
pub(super) struct YSweet {
    dirs: vec::IntoIter<PathBuf>,
    documents: u64,
    /// Directories and files that hold no document.
    others: u64,
}

pub(super) fn open(dir: &Path) -> Result<YSweet, MigrateError> {
    let all = entries(dir)?;
    let total = all.len() as u64;
    let dirs: Vec<_> = all.into_iter().filter(|path| path.join(FILE).exists()).collect();
    if dirs.is_empty() && total > 0 {
        let why = format!("none of its directories holds a {FILE}");
        return Err(MigrateError::Foreign { path: dir.to_owned(), expected: EXPECTED, why });
    }
    let documents = dirs.len() as u64;
    Ok(YSweet { dirs: dirs.into_iter(), documents, others: total - documents })
}

impl Source for YSweet {
    fn documents(&self) -> u64 {
        self.documents
    }

    fn next(&mut self, wanted: &dyn Fn(&DocName) -> bool) -> Result<Option<Found>, MigrateError> {
        for dir in self.dirs.by_ref() {
            let name = dir.file_name().unwrap_or_default();
            let name = match DocName::parse_bytes(name.as_encoded_bytes()) {
                Ok(name) if wanted(&name) => name,
                Ok(_) => continue,
                Err(error) => return Ok(Some(skipped(name.to_string_lossy(), error))),
            };
            let found = match read_file(&dir.join(FILE))? {
                None => skipped(name.as_str(), too_large()),
                Some(file) => match updates(&file) {
                    Ok(gathered) => gathered.finish(name),
                    Err(why) => skipped(name.as_str(), format!("{FILE}: {why}")),
                },
            };
            return Ok(Some(found));
        }
        Ok(None)
    }

    fn remarks(&self) -> Vec<Remark> {
        match self.others {
            0 => Vec::new(),
            n => vec![Remark { text: format!("{n} entries without a {FILE} were passed over"), wrong: false }],
        }
    }
}

/// The state and the updates on top of it, in the order in which y-sweet would apply them.
fn updates(file: &Bytes) -> Result<Gathered, String> {
    let mut number = None;
    let mut state = Vec::new();
    let mut reader = Bincode { bytes: file, at: 0 };
    let mut previous: Option<Bytes> = None;
    for _ in 0..reader.count()? {
        let (key, value) = (reader.bytes()?, reader.bytes()?);
        if previous.is_some_and(|previous| previous >= key) {
            return Err("its keys are out of order".to_owned());
        }
        match &key[..] {
            [0, 0, name @ .., 0] if name == DOC => number = Some(value),
            [0, 1, a, b, c, d, 0] => state.push(([*a, *b, *c, *d], value)),
            [0, 1, a, b, c, d, 2, _, _, _, _, 0] => state.push(([*a, *b, *c, *d], value)),
            [0, 1, _, _, _, _, 1] | [0, 1, _, _, _, _, 3, .., 0] => {}
            _ => return Err(format!("it has an entry of an unknown kind ({:02x?})", &key[..key.len().min(8)])),
        }
        previous = Some(key);
    }
    if reader.at != file.len() {
        return Err(format!("{} bytes follow its last entry", file.len() - reader.at));
    }
    // Keys are sorted, so the state comes first and the updates follow by their clocks.
    let mut gathered = Gathered::default();
    for (of, update) in state {
        if number.as_deref() != Some(&of[..]) {
            return Err("it has updates of a document that it does not name".to_owned());
        }
        gathered.push(update);
    }
    Ok(gathered)
}

/// bincode 1 as far as it is needed. No length is believed before the bytes are there.
struct Bincode<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Bincode<'_> {
    /// A number of entries, each of which has two lengths at least.
    fn count(&mut self) -> Result<u64, String> {
        let count = self.u64()?;
        let left = self.bytes.len() - self.at;
        if count > left as u64 / 16 {
            return Err(format!("it claims {count} entries in {left} bytes"));
        }
        Ok(count)
    }

    fn bytes(&mut self) -> Result<Bytes, String> {
        let len = self.u64()?;
        let left = self.bytes.len() - self.at;
        if len > left as u64 {
            return Err(format!("it is cut short: {len} bytes are announced where {left} are left"));
        }
        let from = self.at;
        self.at += len as usize;
        Ok(self.bytes.slice(from..self.at))
    }

    fn u64(&mut self) -> Result<u64, String> {
        let rest = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<8>());
        let number = rest.ok_or_else(|| "it is cut short".to_owned())?;
        self.at += 8;
        Ok(u64::from_le_bytes(*number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::Document;

    /// Puts a file together from its entries.
    fn packed(entries: &[(&[u8], &[u8])]) -> Bytes {
        let mut out = (entries.len() as u64).to_le_bytes().to_vec();
        for part in entries.iter().flat_map(|(key, value)| [key, value]) {
            out.extend((part.len() as u64).to_le_bytes());
            out.extend(*part);
        }
        out.into()
    }

    const OID: (&[u8], &[u8]) = (b"\0\0doc\0", &[0, 0, 0, 1]);
    const STATE: &[u8] = &[1, 1, 1, 0, 4, 1, 1, b't', 2, b'w', b'e', 0];
    const UPDATE: &[u8] = &[1, 1, 1, 2, 0x84, 1, 1, 2, b'f', b't', 0];

    #[test]
    fn updates_on_top_of_the_state_come_along_in_order() {
        let file = packed(&[
            OID,
            (&[0, 1, 0, 0, 0, 1, 0], STATE),
            (&[0, 1, 0, 0, 0, 1, 1], &[1, 1, 2]),
            (&[0, 1, 0, 0, 0, 1, 2, 0, 0, 0, 1, 0], UPDATE),
            (&[0, 1, 0, 0, 0, 1, 3, b'm', 0], b"meta"),
        ]);
        let name = DocName::parse("d").unwrap();
        let Found::Document(Document { updates, .. }) = updates(&file).unwrap().finish(name) else { panic!("skipped") };
        assert_eq!(updates, [STATE, UPDATE]);
        assert!(super::updates(&packed(&[])).unwrap().updates.is_empty());
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let why = |file: Bytes| updates(&file).map(|_| ()).unwrap_err();
        let state: (&[u8], &[u8]) = (&[0, 1, 0, 0, 0, 1, 0], STATE);
        assert!(why(packed(&[state])).contains("does not name"));
        assert!(why(packed(&[state, OID])).contains("order"));
        assert!(why(packed(&[OID, (b"odd", b"")])).contains("unknown kind"));
        assert!(why(Bytes::from_static(&[255; 8])).contains("claims"));
        assert!(why(Bytes::from_static(&[1])).contains("cut short"));
        let whole = packed(&[OID, state]);
        for to in 0..whole.len() {
            let _ = why(whole.slice(..to));
        }
        let more = [&whole[..], &[0]].concat();
        assert!(why(more.into()).contains("follow"));
    }

    #[test]
    fn a_directory_of_something_else_is_not_taken_for_an_empty_store() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(open(dir.path()).map(|source| source.documents()).unwrap(), 0);
        std::fs::write(dir.path().join("letter.txt"), "dear").unwrap();
        assert!(matches!(open(dir.path()), Err(MigrateError::Foreign { .. })));
    }
}
