//! A directory of update files, for servers that weft does not know: their admins write one file for each document.
//!
//! `NAME.update` (also `.bin` and `.yjs`) holds one v1 update of the document `NAME`, which is percent-decoded; below a
//! directory, its name and a slash come first. A document in several updates is a directory `NAME.updates`, whose files
//! are taken in the order of their names. Symbolic links to directories are not followed.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode;

use super::{Found, Gathered, MigrateError, Remark, Source, entries, read_file, skipped};
use crate::ids::{DocName, DocNameError};
use crate::limits::MIGRATE_DIRECTORY_DEPTH_MAX;

/// What a file with an update may be called.
const FILE_SUFFIXES: [&str; 3] = ["update", "bin", "yjs"];
/// What a directory with the updates of one document is called.
const DIR_SUFFIX: &str = "updates";
const EXPECTED: &str = "a directory of updates";

/// Documents by the names of their files.
pub(super) struct Updates {
    walk: Walk,
    documents: u64,
}

pub(super) fn open(root: &Path) -> Result<Updates, MigrateError> {
    let mut counting = Walk::begin(root)?;
    let mut documents = 0;
    while counting.next()?.is_some() {
        documents += 1;
    }
    if documents == 0 && counting.others > 0 {
        let why = "no file in it ends in .update, .bin or .yjs".to_owned();
        return Err(MigrateError::Foreign { path: root.to_owned(), expected: EXPECTED, why });
    }
    Ok(Updates { walk: Walk::begin(root)?, documents })
}

impl Source for Updates {
    fn documents(&self) -> u64 {
        self.documents
    }

    fn next(&mut self, wanted: &dyn Fn(&DocName) -> bool) -> Result<Option<Found>, MigrateError> {
        while let Some(path) = self.walk.next()? {
            let name = match self.walk.name_of(&path) {
                Ok(name) if wanted(&name) => name,
                Ok(_) => continue,
                Err(error) => {
                    let shown = path.strip_prefix(&self.walk.root).unwrap_or(&path);
                    return Ok(Some(skipped(shown.to_string_lossy(), error)));
                }
            };
            let files = if path.is_dir() { entries(&path)? } else { vec![path] };
            let mut gathered = Gathered::default();
            for file in files {
                match read_file(&file)? {
                    Some(bytes) => gathered.push(bytes),
                    None => gathered.full = true,
                }
            }
            return Ok(Some(gathered.finish(name)));
        }
        Ok(None)
    }

    fn remarks(&self) -> Vec<Remark> {
        match self.walk.others {
            0 => Vec::new(),
            n => vec![Remark { text: format!("{n} files that are no update files were passed over"), wrong: false }],
        }
    }
}

/// Files and directories that stand for a document, depth first in the order of their names. Holds the entries of the
/// directories on the way, not of all.
struct Walk {
    root: PathBuf,
    open: Vec<VecDeque<PathBuf>>,
    others: u64,
}

impl Walk {
    fn begin(root: &Path) -> Result<Self, MigrateError> {
        Ok(Self { root: root.to_owned(), open: vec![entries(root)?.into()], others: 0 })
    }

    fn next(&mut self) -> Result<Option<PathBuf>, MigrateError> {
        while let Some(dir) = self.open.last_mut() {
            let Some(path) = dir.pop_front() else {
                self.open.pop();
                continue;
            };
            let kind = std::fs::symlink_metadata(&path).map_err(MigrateError::io(&path))?;
            if kind.is_dir() && path.extension() == Some(OsStr::new(DIR_SUFFIX)) {
                return Ok(Some(path));
            }
            if kind.is_dir() {
                if self.open.len() >= MIGRATE_DIRECTORY_DEPTH_MAX {
                    let why = format!("{} is nested too deep", path.display());
                    return Err(MigrateError::Foreign { path: self.root.clone(), expected: EXPECTED, why });
                }
                self.open.push(entries(&path)?.into());
            } else if path.is_file()
                && path.extension().is_some_and(|suffix| FILE_SUFFIXES.iter().any(|s| suffix == *s))
            {
                return Ok(Some(path));
            } else {
                self.others += 1;
            }
        }
        Ok(None)
    }

    fn name_of(&self, path: &Path) -> Result<DocName, DocNameError> {
        let mut name = Vec::new();
        let below = path.strip_prefix(&self.root).unwrap_or(path).with_extension("");
        for part in &below {
            if !name.is_empty() {
                name.push(b'/');
            }
            name.extend(percent_decode(part.as_encoded_bytes()));
        }
        DocName::parse_bytes(&name)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::migrate::{Document, Skipped};

    fn all(root: &Path) -> Vec<Found> {
        let mut source = open(root).unwrap();
        let found: Vec<_> = std::iter::from_fn(|| source.next(&|_| true).unwrap()).collect();
        assert_eq!(found.len() as u64, source.documents());
        found
    }

    const UPDATE: &[u8] = &[1, 1, 1, 0, 4, 1, 1, b't', 4, b'w', b'e', b'f', b't', 0];

    #[test]
    fn names_come_from_paths() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("notes/b%2Fc")).unwrap();
        for file in ["plain.update", "notes/a.b.yjs", "notes/b%2Fc/%C3%A4 %25.bin", "100%.update", "x%00y.bin", "f.txt"]
        {
            fs::write(at(file), UPDATE).unwrap();
        }
        fs::create_dir(at("many.updates")).unwrap();
        fs::write(at("many.updates/2"), UPDATE).unwrap();
        fs::write(at("many.updates/1"), [0, 0]).unwrap();
        let names: Vec<_> = all(dir.path())
            .into_iter()
            .map(|found| match found {
                Found::Document(Document { name, updates }) => format!("{name} {}", updates.len()),
                Found::Skipped(Skipped { name, why }) => format!("{name}: {why}"),
            })
            .collect();
        let expected = [
            "100% 1",
            "many 1",
            "notes/a.b 1",
            "notes/b/c/ä % 1",
            "plain 1",
            "x%00y.bin: the document name contains a NUL byte",
        ];
        assert_eq!(names, expected);
        assert!(open(dir.path()).unwrap().remarks().is_empty(), "nothing was passed over yet");
    }

    #[test]
    fn what_is_no_update_is_skipped_by_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.update"), "garbage").unwrap();
        assert!(matches!(&all(dir.path())[..], [Found::Skipped(Skipped { name, .. })] if name == "a"));
        fs::remove_file(dir.path().join("a.update")).unwrap();
        fs::write(dir.path().join("letter.txt"), "dear").unwrap();
        assert!(matches!(open(dir.path()), Err(MigrateError::Foreign { .. })));
        assert!(matches!(open(&dir.path().join("nowhere")), Err(MigrateError::Io { .. })));
    }
}
