//! `weft restore`: a data directory from a backup, whole or not at all.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use super::backup::{Verified, named, open, outcome, pairs_of, verify, verify_file};
use super::failure::Failure;
use super::output::{Cell, Output};
use super::{At, Outcome};
use crate::backup::{Document, Item};
use crate::data_dir::{DataDirError, Unfinished};
use crate::ids::Seq;
use crate::store::sled::SledStore;
use crate::store::{DocHead, Store, StoreError, StoredDocument};

/// Arguments of `weft restore`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weft restore /backups/weft-2026-01-31.bak --data ./weft-data
  zstd -dc weft.bak.zst | weft restore - --data ./weft-data

The directory must be absent or empty: nothing is ever overwritten or merged. The whole backup is checked before anything
is made of it. Killed at any moment, the directory is whole or none; then run the command again. Exit code 1: the backup
is damaged and nothing was made of it, or it names documents that are not in it.")]
pub(super) struct RestoreArgs {
    #[command(flatten)]
    pub(super) at: At,
    /// The backup; `-` reads stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    file: String,
    data: String,
    #[serde(flatten)]
    verified: &'a Verified,
    took_ms: u64,
}

pub(super) fn run(args: &RestoreArgs, out: &mut Output<'_>) -> Result<Outcome, Failure> {
    let started = Instant::now();
    let (file, data, json) = (&args.file, &args.at.data, out.is_json());
    Unfinished::check(data).map_err(refused)?;
    // What comes through a pipe comes once; there it is checked while the directory is filled, which then does not become
    // one if anything is wrong.
    let is_piped = file == Path::new("-");
    let expected = if is_piped { None } else { Some(verify_file(file, json)?) };
    let (unfinished, was_left_over) = Unfinished::begin(data).map_err(refused)?;
    if was_left_over {
        eprintln!("weft restore: {} held a restore that was cut short; it is replaced", data.display());
    }
    let store = SledStore::open(unfinished.store()).map_err(|error| cannot_store(data, &error))?;
    let mut put = |item| match item {
        Item::Document(document) => store_document(&store, document).map_err(|error| cannot_store(data, &error)),
        Item::LeftOut(_) => Ok(()),
    };
    let verified = verify(open(file)?, json, &mut put).map_err(|failure| named(file, failure))?;
    if expected.is_some_and(|expected| expected.summary != verified.summary) {
        return Err(Failure::open(format!("{} changed while it was read; nothing was made of it", file.display())));
    }
    store.make_durable().map_err(|error| cannot_store(data, &error))?;
    drop(store);
    if !verified.revoked.is_empty() {
        unfinished.write_revoked(&verified.revoked).map_err(refused)?;
    }
    let dir = unfinished.finish().map_err(refused)?;
    drop(dir);
    let took_ms = started.elapsed().as_millis() as u64;
    let report =
        Report { file: file.display().to_string(), data: data.display().to_string(), verified: &verified, took_ms };
    if json {
        out.json(&report)?;
    } else {
        let mut pairs = vec![("data directory", Cell::text(&report.data)), ("from", Cell::text(&report.file))];
        pairs.extend(pairs_of(&verified));
        pairs.push(("milliseconds", Cell::Count(took_ms)));
        out.pairs(&pairs)?;
    }
    Ok(outcome("restore", &verified))
}

fn store_document(store: &SledStore, document: Document) -> Result<(), StoreError> {
    let Document { name, created_ms, updated_ms, deleted_ms, last_seq, snapshot_seq, snapshot, log } = document;
    // Tombstones as well: a client that still has a deleted document must not bring it back to the restored server.
    let head = DocHead { last_seq, snapshot_seq, created_ms, updated_ms, deleted_ms, ..DocHead::default() };
    let log = (snapshot_seq.0 + 1..).map(Seq).zip(log).collect();
    store.restore(&name, &StoredDocument { head, snapshot, log })
}

fn refused(error: DataDirError) -> Failure {
    Failure::open(error)
}

fn cannot_store(data: &Path, error: &StoreError) -> Failure {
    let data = data.display();
    Failure::open(format!("cannot fill {data}: {error}; nothing is left of it, check the disk and its free space"))
}
