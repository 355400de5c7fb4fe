//! Other servers' files: what comes out has a name that weft allows and valid updates, or is skipped by name.

use std::fs;
use std::path::{Path, PathBuf};

use weft::migrate::{self, Found, Kind, MigrateError, Names};
use weft::wire::update;

use super::scratch;
use crate::parts::Parts;

/// Reads one source.
pub fn run(input: &[u8]) {
    let mut parts = Parts::of(input);
    let kind = parts.choice();
    let dir = scratch();
    let source = dir.path().join("source");
    fs::create_dir(&source).expect("a directory");
    match kind % 6 {
        0 => {
            for (number, part) in parts.take(4).enumerate() {
                fs::write(source.join(format!("{number}.update")), part).expect("written");
            }
            read(Kind::Updates, &source);
        }
        1 => {
            y_sweet(&source, parts.rest());
            read(Kind::YSweet, &source);
        }
        2 => {
            let mut entries: Vec<(Vec<u8>, &[u8])> = Vec::new();
            let mut clock = 0u32;
            while let Some(key) = parts.next() {
                // Mostly keys that mean something.
                let key = match key {
                    [0, ..] => [&[0, 0][..], b"doc", &[0]].concat(),
                    [1, ..] => vec![0, 1, 0, 0, 0, 1, 0],
                    [2, ..] => {
                        clock += 1;
                        [&[0, 1, 0, 0, 0, 1, 2][..], &clock.to_be_bytes(), &[0]].concat()
                    }
                    other => other.to_vec(),
                };
                entries.push((key, parts.next().unwrap_or_default()));
            }
            entries.sort();
            let mut file = (entries.len() as u64).to_le_bytes().to_vec();
            for bytes in entries.iter().flat_map(|(key, value)| [&key[..], value]) {
                file.extend((bytes.len() as u64).to_le_bytes());
                file.extend(bytes);
            }
            y_sweet(&source, &file);
            read(Kind::YSweet, &source);
        }
        3 => level_db(&source, "000025.log", &log(parts)),
        4 => level_db(&source, "MANIFEST-000023", &log(parts)),
        _ => level_db(&source, "000019.ldb", parts.rest()),
    }
}

fn y_sweet(source: &Path, file: &[u8]) {
    let doc = source.join("doc1");
    fs::create_dir(&doc).expect("a directory");
    fs::write(doc.join("data.ysweet"), file).expect("written");
}

/// A database as y-leveldb left it, one of its files replaced.
fn level_db(source: &Path, replaced: &str, with: &[u8]) {
    let fixture = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/migrate/y-leveldb/db"));
    for file in fs::read_dir(fixture).expect("a fixture") {
        let file = file.expect("a file");
        fs::copy(file.path(), source.join(file.file_name())).expect("copied");
    }
    fs::write(source.join(replaced), with).expect("written");
    read(Kind::YLeveldb, source);
}

/// A log of LevelDB's with right checksums, each record in one piece.
fn log(parts: Parts<'_>) -> Vec<u8> {
    let mut file = Vec::new();
    for part in parts {
        let Some((kind, record)) = part.split_first() else { continue };
        let kind = if kind % 8 == 7 { *kind } else { 1 };
        let record = &record[..record.len().min(30_000)];
        let left = (32 << 10) - file.len() % (32 << 10);
        if left < 7 + record.len() {
            file.resize(file.len() + left, 0);
        }
        let crc = crc32c::crc32c_append(crc32c::crc32c(&[kind]), record);
        file.extend((crc.rotate_right(15).wrapping_add(0xa282_ead8)).to_le_bytes());
        file.extend((record.len() as u16).to_le_bytes());
        file.push(kind);
        file.extend(record);
    }
    file
}

fn read(kind: Kind, path: &Path) {
    let mut source = match migrate::open(kind, path, Names::Decoded) {
        Ok(source) => source,
        Err(error) => return refused(&error),
    };
    let most = source.documents();
    let mut found = 0;
    loop {
        match source.next(&|_| true) {
            Ok(None) => break,
            Ok(Some(Found::Document(document))) => {
                document
                    .updates
                    .iter()
                    .for_each(|bytes| assert_eq!(update::validate(bytes), Ok(()), "{}", document.name));
            }
            Ok(Some(Found::Skipped(skipped))) => assert!(!skipped.why.is_empty()),
            Err(error) => return refused(&error),
        }
        found += 1;
        assert!(found <= most.max(1 << 20), "documents without an end");
    }
    let _ = source.remarks();
}

fn refused(error: &MigrateError) {
    assert!(!error.to_string().is_empty());
}
