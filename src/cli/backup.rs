//! `weft backup`: all documents in one file, also while they are edited; and whether such a file is whole.

use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::{Buf, Bytes};
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::sync::mpsc;

use super::backend::Backend;
use super::failure::Failure;
use super::output::{Cell, Output, printable};
use super::part::Part;
use super::{At, Outcome, progress};
use crate::backup::{BackupError, Head, Item, LeftOut, Reader, Summary};
use crate::limits::BACKUP_PIECES_MAX;

/// Arguments of `weft backup`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weft backup /backups/weft-$(date +%F).bak
  weft backup - | zstd > weft.bak.zst
  weft backup --check /backups/weft-2026-01-31.bak

All documents in it are from one instant; everything acknowledged before the command began is in it. Editors and the
server go on as ever. The file appears under its name once it is whole, checked and on disk. Exit code 1: a document
could not be read and is not in it; the others are. `weft restore` makes a data directory of it.")]
pub(super) struct BackupArgs {
    #[command(flatten)]
    pub(super) at: At,
    /// Where to write; `-` is stdout
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace FILE if it exists, once the new one is whole
    #[arg(long, conflicts_with = "check")]
    force: bool,
    /// Read FILE (`-` is stdin) and say whether it is a whole backup; needs no data directory
    #[arg(long)]
    pub(super) check: bool,
}

/// What a backup holds, as it was found to be by reading it.
#[derive(Debug, Serialize)]
pub(super) struct Verified {
    #[serde(flatten)]
    head: Head,
    #[serde(flatten)]
    pub(super) summary: Summary,
    /// Documents that could not be read when it was made.
    pub(super) failed: Vec<LeftOut>,
    /// Bytes of the list of revoked tokens.
    pub(super) revoked_bytes: u64,
    /// The list itself.
    #[serde(skip)]
    pub(super) revoked: Vec<u8>,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    file: String,
    #[serde(flatten)]
    verified: &'a Verified,
    took_ms: u64,
}

impl BackupArgs {
    fn is_piped(&self) -> bool {
        self.file == Path::new("-")
    }

    /// What can be said against the command line and the file before anything is opened.
    pub(super) fn admit(&self, stdout_is_terminal: bool) -> Result<(), Failure> {
        if !self.is_piped() {
            return Part::create(&self.file, self.force).map(drop).map_err(|error| self.cannot_write(&error));
        }
        if stdout_is_terminal {
            return Err(Failure::usage(
                "a backup is binary and would garble this terminal; name a file, or pipe it on",
            ));
        }
        Ok(())
    }

    fn cannot_write(&self, error: &io::Error) -> Failure {
        let file = self.file.display();
        Failure::open(match error.kind() {
            io::ErrorKind::AlreadyExists => {
                format!("{file} exists and was not touched; name another file, or replace it with --force")
            }
            io::ErrorKind::ResourceBusy => format!("{file} is being written by another weft backup; wait for it"),
            io::ErrorKind::StorageFull => {
                format!("cannot write {file}: {error}; nothing is left of it, free some space")
            }
            _ => format!("cannot write {file}: {error}; nothing is left of it, choose another file"),
        })
    }
}

/// Takes a backup.
pub(super) async fn run(args: &BackupArgs, backend: &mut Backend, out: &mut Output<'_>) -> Result<Outcome, Failure> {
    let started = Instant::now();
    let mut pieces = backend.backup().await?;
    let mut part = match args.is_piped() {
        true => None,
        false => Some(Part::create(&args.file, args.force).map_err(|error| args.cannot_write(&error))?),
    };
    // What is written is read at once, by another thread: a backup that was not checked is none.
    let (sender, receiver) = mpsc::channel(BACKUP_PIECES_MAX);
    let json = out.is_json();
    let reading = tokio::task::spawn_blocking(move || {
        verify(Received { pieces: receiver, piece: Bytes::new() }, json, &mut |_| Ok(()))
    });
    let mut broken = None;
    loop {
        match pieces.next().await {
            Ok(Some(piece)) => {
                match &mut part {
                    Some(part) => part.write_all(&piece).map_err(|error| args.cannot_write(&error))?,
                    None => out.raw(&piece)?,
                }
                // Who reads has found a fault, and will say which.
                if sender.send(piece).await.is_err() {
                    break;
                }
            }
            Ok(None) => break,
            Err(failure) => {
                broken = Some(failure);
                break;
            }
        }
    }
    drop(sender);
    let verified = reading.await.unwrap_or_else(|panic| Err(Failure::open(panic)));
    let verified = match (verified, broken) {
        (Err(failure), None) => return Err(Failure::open(format!("the backup failed: {failure}"))),
        (_, Some(broken)) => return Err(broken),
        (Ok(verified), None) => verified,
    };
    let Some(part) = part else {
        // stdout is full of the backup itself.
        let mut stderr = io::stderr();
        let is_terminal = stderr.is_terminal();
        return report(&args.file, &verified, started, &mut Output::new(&mut stderr, is_terminal, json, 0));
    };
    let placed = part.put_in_place().map_err(|error| args.cannot_write(&error))?;
    placed.sync().map_err(|error| {
        let file = args.file.display();
        Failure::open(format!(
            "{file} is whole, but a power cut may take it: its directory cannot be synced: {error}; copy it to another disk"
        ))
    })?;
    report(&args.file, &verified, started, out)
}

/// Reads a backup and says what is in it.
pub(super) fn check(args: &BackupArgs, out: &mut Output<'_>) -> Result<Outcome, Failure> {
    let started = Instant::now();
    let verified = verify_file(&args.file, out.is_json())?;
    report(&args.file, &verified, started, out)
}

/// Reads a backup to its end.
pub(super) fn verify_file(file: &Path, json: bool) -> Result<Verified, Failure> {
    let read = open(file)?;
    verify(read, json, &mut |_| Ok(())).map_err(|failure| named(file, failure))
}

/// Opens a backup; `-` is stdin.
pub(super) fn open(file: &Path) -> Result<Box<dyn Read>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let opened = File::open(file)
        .map_err(|error| Failure::open(format!("cannot open {}: {error}; name a backup file", file.display())))?;
    Ok(Box::new(BufReader::new(opened)))
}

/// Says which file a failure is about.
pub(super) fn named(file: &Path, failure: Failure) -> Failure {
    Failure { text: format!("{}: {}", file.display(), failure.text), ..failure }
}

/// Reads a backup to its end and hands on what is in it.
pub(super) fn verify(
    from: impl Read,
    json: bool,
    each: &mut dyn FnMut(Item) -> Result<(), Failure>,
) -> Result<Verified, Failure> {
    let mut reader = Reader::open(from).map_err(refused)?;
    let head = reader.head().clone();
    let bar = progress::documents(usize::try_from(head.documents).unwrap_or(usize::MAX), json);
    let verified = read_on(&mut reader, &bar, each);
    bar.finish_and_clear();
    let (failed, summary) = verified?;
    let revoked = reader.revoked().to_vec();
    Ok(Verified { head, summary, failed, revoked_bytes: revoked.len() as u64, revoked })
}

fn read_on<R: Read>(
    reader: &mut Reader<R>,
    bar: &ProgressBar,
    each: &mut dyn FnMut(Item) -> Result<(), Failure>,
) -> Result<(Vec<LeftOut>, Summary), Failure> {
    let mut failed = Vec::new();
    while let Some(item) = reader.next().map_err(refused)? {
        match &item {
            Item::Document(document) => bar.set_message(printable(document.name.as_str()).into_owned()),
            Item::LeftOut(left_out) => failed.push(left_out.clone()),
        }
        bar.inc(1);
        each(item)?;
    }
    match reader.summary() {
        Some(summary) => Ok((failed, summary.clone())),
        None => Err(Failure::found("it has no end")),
    }
}

fn refused(error: BackupError) -> Failure {
    match error {
        BackupError::Io { .. } | BackupError::Newer(_) => Failure::open(error),
        BackupError::Foreign | BackupError::CutShort(_) | BackupError::BrokenOff(_) | BackupError::Damaged { .. } => {
            Failure::found(format!("{error}; it is not used, take another one"))
        }
    }
}

/// Says what is in a backup, and names what is not.
fn report(file: &Path, verified: &Verified, started: Instant, out: &mut Output<'_>) -> Result<Outcome, Failure> {
    let took_ms = started.elapsed().as_millis() as u64;
    let report = Report { file: file.display().to_string(), verified, took_ms };
    if out.is_json() {
        out.json(&report)?;
    } else {
        let mut pairs = vec![("file", Cell::text(&report.file))];
        pairs.extend(pairs_of(verified));
        pairs.push(("milliseconds", Cell::Count(took_ms)));
        out.pairs(&pairs)?;
    }
    Ok(outcome("backup", verified))
}

/// What is in a backup, for people.
pub(super) fn pairs_of(verified: &Verified) -> Vec<(&'static str, Cell)> {
    let Verified { head, summary, revoked_bytes, .. } = verified;
    vec![
        ("made", Cell::When(head.created_ms)),
        ("by weft", Cell::text(&head.weft)),
        ("documents", Cell::Count(summary.totals.documents)),
        ("deleted documents", Cell::Count(summary.totals.deleted)),
        ("left out", Cell::Count(summary.totals.left_out)),
        ("updates", Cell::Count(summary.totals.updates)),
        ("their bytes", Cell::Bytes(summary.totals.update_bytes)),
        ("list of revoked tokens", Cell::Bytes(*revoked_bytes)),
        ("size", Cell::Bytes(summary.bytes)),
        ("SHA-256", Cell::text(summary.sha256.to_string())),
    ]
}

/// Exit code 1 when documents are missing, each of which is named on stderr.
pub(super) fn outcome(command: &str, verified: &Verified) -> Outcome {
    for LeftOut { name, error } in &verified.failed {
        eprintln!("weft {command}: {:?} is not in the backup: {}", name.as_str(), printable(error));
    }
    if verified.failed.is_empty() { Outcome::Done } else { Outcome::FoundWrong }
}

/// What comes through a channel, for who reads and blocks.
struct Received {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Received {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let n = self.piece.len().min(buf.len());
        self.piece.split_to(n).copy_to_slice(buf.get_mut(..n).unwrap_or_default());
        Ok(n)
    }
}
