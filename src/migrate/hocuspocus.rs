//! The database of `@hocuspocus/extension-sqlite`: one table, `documents(name, data)`, a row for each document, whose
//! `data` is `Y.encodeStateAsUpdate` of it (v1).
//!
//! A database that is whole in its one file is read in place, read-only. One with a write-ahead log or a rollback journal
//! beside it (the server was killed, or uses `journal_mode = WAL`) would be changed by whoever opens it, so a copy of its
//! files in a temporary directory is opened instead, and what the log holds is not missed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};
use tempfile::TempDir;

use super::{Found, Gathered, MigrateError, Remark, Source, skipped, too_large};
use crate::ids::DocName;
use crate::limits::MIGRATE_DOCUMENT_BYTES_MAX;

const EXPECTED: &str = "a database of @hocuspocus/extension-sqlite";
/// How long a server that writes right now is waited for.
const BUSY_FOR: Duration = Duration::from_secs(5);
/// How often copying is begun anew because a server wrote meanwhile.
const COPIES_MAX: usize = 5;
/// The files that make up a database.
const SIDE_FILES: [&str; 2] = ["-wal", "-journal"];

/// Documents by the rows of the table.
pub(super) struct Hocuspocus {
    path: PathBuf,
    db: Connection,
    documents: u64,
    /// The last row given out.
    row: i64,
    /// Keeps the copy, if there is one.
    _copy: Option<TempDir>,
}

pub(super) fn open(path: &Path) -> Result<Hocuspocus, MigrateError> {
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(20).read_to_end(&mut head)).map_err(MigrateError::io(path))?;
    if !head.starts_with(b"SQLite format 3\0") {
        let why = "it does not begin as SQLite files do".to_owned();
        return Err(MigrateError::Foreign { path: path.to_owned(), expected: EXPECTED, why });
    }
    // Bytes 16 and 17 are the size of a page, 1 for 65,536. A file that ends within a page has lost its end.
    let page_bytes = match head.get(16..18) {
        Some([0, 1]) => 65_536,
        Some([high, low]) => u64::from(*high) << 8 | u64::from(*low),
        _ => 0,
    };
    let bytes = fs::metadata(path).map_err(MigrateError::io(path))?.len();
    if bytes.checked_rem(page_bytes) != Some(0) {
        return Err(MigrateError::damaged(path, format!("its {bytes} bytes are not whole pages of {page_bytes}")));
    }
    // Byte 18 is 2 in a database that uses a write-ahead log.
    let is_whole = head.get(18) == Some(&1) && !side_files(path).any(|file| file.exists());
    let (db, copy) = if is_whole {
        (connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY), None)
    } else {
        let dir = copy(path)?;
        (connect(&dir.path().join("copy"), OpenFlags::SQLITE_OPEN_READ_WRITE), Some(dir))
    };
    let failed = |error| failed(path, error);
    let db = db.map_err(failed)?;
    // SQLite has no checksums, but contradictions between pages, and between table and index, come to light here.
    let verdict: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if verdict != "ok" {
        return Err(MigrateError::damaged(path, format!("SQLite finds that {verdict}")));
    }
    let columns = "SELECT count(*) FROM pragma_table_info('documents') WHERE name IN ('name', 'data')";
    if db.query_row(columns, [], |row| row.get::<_, i64>(0)).map_err(failed)? != 2 {
        let why = "it has no table `documents` with the columns `name` and `data`".to_owned();
        return Err(MigrateError::Foreign { path: path.to_owned(), expected: EXPECTED, why });
    }
    let documents: i64 = db.query_row("SELECT count(*) FROM documents", [], |row| row.get(0)).map_err(failed)?;
    Ok(Hocuspocus { path: path.to_owned(), db, documents: documents as u64, row: i64::MIN, _copy: copy })
}

fn connect(path: &Path, how: OpenFlags) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, how | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY_FOR)?;
    // Nothing in a schema from outside is executed.
    db.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0")?;
    Ok(db)
}

fn side_files(path: &Path) -> impl Iterator<Item = PathBuf> {
    SIDE_FILES.into_iter().map(|suffix| with_suffix(path, suffix))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Copies the database and what lies beside it, all of one moment: anew if anything changed meanwhile.
fn copy(path: &Path) -> Result<TempDir, MigrateError> {
    let dir = tempfile::tempdir().map_err(MigrateError::io(&std::env::temp_dir()))?;
    let to = dir.path().join("copy");
    for _ in 0..COPIES_MAX {
        let before = state(path).map_err(MigrateError::io(path))?;
        fs::copy(path, &to).map_err(MigrateError::io(path))?;
        for suffix in SIDE_FILES {
            let (from, to) = (with_suffix(path, suffix), with_suffix(&to, suffix));
            let copied = match fs::copy(&from, &to) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => remove(&to),
                other => other.map(drop),
            };
            copied.map_err(MigrateError::io(&from))?;
        }
        if state(path).map_err(MigrateError::io(path))? == before {
            return Ok(dir);
        }
    }
    Err(MigrateError::Busy { path: path.to_owned(), by: " by a server that writes to it".to_owned() })
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What tells that a file was written to; `None` where there is none.
type FileState = Option<(u64, SystemTime)>;

fn state(path: &Path) -> io::Result<Vec<FileState>> {
    let of = |path: PathBuf| match fs::metadata(path) {
        Ok(meta) => Ok(Some((meta.len(), meta.modified()?))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    [path.to_owned()].into_iter().chain(side_files(path)).map(of).collect()
}

fn failed(path: &Path, error: rusqlite::Error) -> MigrateError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            MigrateError::Busy { path, by: " by a server that writes to it".to_owned() }
        }
        Some(ErrorCode::NotADatabase) => {
            let why = "SQLite does not recognise it".to_owned();
            MigrateError::Foreign { path, expected: EXPECTED, why }
        }
        Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure | ErrorCode::PermissionDenied) => {
            MigrateError::Io { path, error: io::Error::other(error) }
        }
        _ => MigrateError::Damaged { path, what: format!("SQLite says: {error}") },
    }
}

/// A row without its data.
struct Row {
    id: i64,
    name: Result<DocName, Found>,
    kind: String,
    bytes: i64,
}

impl Hocuspocus {
    fn next_row(&self) -> rusqlite::Result<Option<Row>> {
        let sql = "SELECT rowid, name, typeof(data), octet_length(data) FROM documents WHERE rowid > ?1 ORDER BY rowid \
                   LIMIT 1";
        let row = |row: &rusqlite::Row<'_>| {
            let name = match row.get_ref(1)? {
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                    DocName::parse_bytes(bytes).map_err(|error| skipped(String::from_utf8_lossy(bytes), error))
                }
                ValueRef::Integer(number) => {
                    DocName::parse(&number.to_string()).map_err(|error| skipped(number.to_string(), error))
                }
                ValueRef::Null | ValueRef::Real(_) => Err(skipped("", "its name is no text")),
            };
            let bytes = row.get::<_, Option<i64>>(3)?.unwrap_or_default();
            Ok(Row { id: row.get(0)?, name, kind: row.get(2)?, bytes })
        };
        self.db.prepare(sql)?.query_row([self.row], row).optional()
    }

    fn data(&self, row: i64) -> rusqlite::Result<Bytes> {
        let mut statement = self.db.prepare("SELECT data FROM documents WHERE rowid = ?1")?;
        statement.query_row([row], |row| match row.get_ref(0)? {
            ValueRef::Blob(bytes) => Ok(Bytes::copy_from_slice(bytes)),
            other => Err(rusqlite::Error::InvalidColumnType(0, "data".to_owned(), other.data_type())),
        })
    }
}

impl Source for Hocuspocus {
    fn documents(&self) -> u64 {
        self.documents
    }

    fn next(&mut self, wanted: &dyn Fn(&DocName) -> bool) -> Result<Option<Found>, MigrateError> {
        while let Some(row) = self.next_row().map_err(|error| failed(&self.path, error))? {
            self.row = row.id;
            let name = match row.name {
                Ok(name) if wanted(&name) => name,
                Ok(_) => continue,
                Err(found) => return Ok(Some(found)),
            };
            let found = match &*row.kind {
                "blob" if row.bytes > MIGRATE_DOCUMENT_BYTES_MAX as i64 => skipped(name.as_str(), too_large()),
                "blob" => {
                    let mut gathered = Gathered::default();
                    gathered.push(self.data(row.id).map_err(|error| failed(&self.path, error))?);
                    gathered.finish(name)
                }
                kind => skipped(name.as_str(), format!("its data is {kind} where a blob is expected")),
            };
            return Ok(Some(found));
        }
        Ok(None)
    }

    fn remarks(&self) -> Vec<Remark> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const SCHEMA: &str =
        r#"CREATE TABLE "documents" ("name" varchar(255) NOT NULL, "data" blob NOT NULL, UNIQUE(name))"#;
    const UPDATE: &[u8] = &[1, 1, 1, 0, 4, 1, 1, b't', 4, b'w', b'e', b'f', b't', 0];

    fn insert(db: &Connection, name: &dyn rusqlite::ToSql, data: &dyn rusqlite::ToSql) {
        db.execute("INSERT INTO documents VALUES (?1, ?2)", [name, data]).unwrap();
    }

    fn all(path: &Path) -> Vec<Found> {
        let mut source = open(path).unwrap();
        std::iter::from_fn(|| source.next(&|_| true).unwrap()).collect()
    }

    fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        super::super::entries(dir).unwrap().into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    #[test]
    fn rows_that_are_no_documents_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db.sqlite");
        let db = Connection::open(&path).unwrap();
        db.execute_batch(SCHEMA).unwrap();
        insert(&db, &"good", &UPDATE);
        insert(&db, &"a\0b", &UPDATE);
        insert(&db, &"x".repeat(513), &UPDATE);
        insert(&db, &"text", &"text");
        insert(&db, &"bad", &b"garbage".as_slice());
        db.execute("INSERT INTO documents VALUES (CAST(x'ff' AS TEXT), x'0000')", []).unwrap();
        drop(db);
        let before = files(dir.path());
        let found = all(&path);
        assert!(matches!(&found[0], Found::Document(document) if document.updates == [UPDATE]));
        let why: Vec<_> = found[1..]
            .iter()
            .map(|found| match found {
                Found::Skipped(skipped) => &*skipped.why,
                Found::Document(document) => panic!("{document:?}"),
            })
            .collect();
        for (why, part) in why.iter().zip(["NUL", "513", "text where a blob", "not an acceptable", "UTF-8"]) {
            assert!(why.contains(part), "{why}");
        }
        assert_eq!(why.len(), 5);
        assert_eq!(files(dir.path()), before, "the source was changed");
    }

    #[test]
    fn a_log_that_was_not_carried_over_is_read_and_left_alone() {
        for mode in ["WAL", "DELETE"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("db.sqlite");
            let db = Connection::open(&path).unwrap();
            db.execute_batch(&format!("PRAGMA journal_mode = {mode}; PRAGMA cache_size = 1; {SCHEMA}")).unwrap();
            insert(&db, &"one", &UPDATE);
            // The files as a killed server leaves them: in the middle of a transaction, or with an unfinished log.
            if mode == "DELETE" {
                db.execute_batch("BEGIN").unwrap();
                (0..50).for_each(|n| insert(&db, &format!("rolled back {n}"), &vec![0; 4_000]));
            }
            let killed = tempfile::tempdir().unwrap();
            for (file, bytes) in files(dir.path()) {
                fs::write(killed.path().join(file.file_name().unwrap()), bytes).unwrap();
            }
            assert!(files(killed.path()).len() > 1, "{mode}: there is nothing beside the database");
            let before = files(killed.path());
            let found = all(&killed.path().join("db.sqlite"));
            assert!(matches!(&found[..], [Found::Document(d)] if d.name.as_str() == "one"), "{mode}: {found:?}");
            assert_eq!(files(killed.path()), before, "{mode}: the source was changed");
        }
    }

    #[test]
    fn what_is_no_such_database_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        assert!(matches!(open(&path), Err(MigrateError::Io { .. })));
        fs::write(&path, "letter").unwrap();
        assert!(matches!(open(&path), Err(MigrateError::Foreign { .. })));
        fs::remove_file(&path).unwrap();
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE documents (id, body)").unwrap();
        assert!(matches!(open(&path), Err(MigrateError::Foreign { .. })));
    }

    #[test]
    fn a_server_that_writes_is_not_disturbed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db.sqlite");
        let mut db = Connection::open(&path).unwrap();
        db.execute_batch(SCHEMA).unwrap();
        insert(&db, &"one", &UPDATE);
        let mut source = open(&path).unwrap();
        // What a server writes while weft reads: never in its way for longer than one row.
        let txn = db.transaction().unwrap();
        insert(&txn, &"two", &UPDATE);
        txn.commit().unwrap();
        assert!(source.next(&|_| true).unwrap().is_some());
        assert!(source.next(&|_| true).unwrap().is_some());
        assert_eq!(source.next(&|_| true).unwrap(), None);
    }
}
