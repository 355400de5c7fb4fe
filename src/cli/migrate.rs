//! `weft import --from`: takes over the documents of another server, one at a time, and says what became of each.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use indicatif::ProgressBar;
use serde::Serialize;

use super::Outcome;
use super::backend::Backend;
use super::failure::Failure;
use super::output::{self, Output, printable};
use super::progress;
use crate::hub::ImportReport;
use crate::ids::DocName;
use crate::limits::{ADMIN_BODY_BYTES_MAX, MESSAGE_BYTES_MAX, SKIPPED_LISTED_MAX};
use crate::migrate::{self, Document, Found, Kind, MigrateError, Names, Skipped, Source};
use crate::replica::compaction::squash;

/// Options of `weft import --from`.
#[derive(Debug, clap::Args)]
pub(super) struct MigrateArgs {
    /// Take over the documents of another server instead. KIND is one of hocuspocus-sqlite (FILE is the database), y-sweet
    /// (the directory given to its `serve`), y-leveldb (the directory in YPERSISTENCE), updates (a directory of files
    /// NAME.update)
    #[arg(long, num_args = 2, value_names = ["KIND", "PATH"], conflicts_with_all = ["doc", "file"])]
    from: Option<Vec<OsString>>,
    /// With --from: put this before each name
    #[arg(long, value_name = "P", default_value = "", hide_default_value = true, requires = "from", conflicts_with_all = ["doc", "file"])]
    prefix: String,
    /// With --from: only this name of the source, or all that begin with it if it ends in *; may be given several times
    #[arg(long, value_name = "PATTERN", requires = "from", conflicts_with_all = ["doc", "file"])]
    only: Vec<String>,
    /// With --from y-leveldb: take names as they are stored. Without it they are percent-decoded, because y-websocket's
    /// server stores the path of the URL as it came
    #[arg(long, requires = "from", conflicts_with_all = ["doc", "file"])]
    raw_names: bool,
    /// With --from: read and check everything, write nothing
    #[arg(long, requires = "from", conflicts_with_all = ["doc", "file"])]
    dry_run: bool,
    /// With --from: list all documents, not only those that were skipped
    #[arg(long, requires = "from", conflicts_with_all = ["doc", "file"])]
    list: bool,
}

/// A source that was opened, and what to do with it.
pub(super) struct Migration {
    kind: Kind,
    path: PathBuf,
    source: Box<dyn Source>,
    prefix: String,
    only: Vec<String>,
    pub(super) dry_run: bool,
    list: bool,
    begun: Instant,
}

impl MigrateArgs {
    /// Opens the source.
    pub(super) fn open(&self) -> Result<Migration, Failure> {
        let begun = Instant::now();
        let [kind, path] = self.from.as_deref().unwrap_or_default() else {
            return Err(Failure::usage("name a document and a file, or a source with --from KIND PATH"));
        };
        let Some(kind) = kind.to_str().and_then(Kind::parse) else {
            let kinds = Kind::ALL.map(Kind::name).join(", ");
            return Err(Failure::usage(format!("cannot import from {kind:?}; choose one of {kinds}")));
        };
        let names = if self.raw_names { Names::AsStored } else { Names::Decoded };
        Ok(Migration {
            kind,
            path: path.into(),
            source: migrate::open(kind, path.as_ref(), names)?,
            prefix: self.prefix.clone(),
            only: self.only.clone(),
            dry_run: self.dry_run,
            list: self.list,
            begun,
        })
    }
}

/// What became of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    /// It is in weft now and was not before.
    New,
    /// It had been deleted in weft and was made anew.
    Recreated,
    /// It was there and has got something new.
    Merged,
    /// It was there and had everything already.
    Unchanged,
    /// It has no content, so there is nothing to store.
    Empty,
    /// A dry run found nothing against it.
    Importable,
    /// An update was refused after others were merged.
    Partial,
    /// Nothing of it was imported.
    Skipped,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Status::New => "new",
            Status::Recreated => "recreated",
            Status::Merged => "merged",
            Status::Unchanged => "unchanged",
            Status::Empty => "empty",
            Status::Importable => "importable",
            Status::Partial => "partial",
            Status::Skipped => "skipped",
        }
    }

    fn is_wrong(self) -> bool {
        matches!(self, Status::Partial | Status::Skipped)
    }
}

/// One document in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Line {
    /// In weft, with the prefix; of one whose name is not allowed, as far as it can be shown.
    name: String,
    status: Status,
    /// Updates that the source had.
    updates: u64,
    /// Their bytes.
    bytes: u64,
    /// Bytes that wait for an update that the source did not have either.
    parked_bytes: u64,
    /// Why it was not imported whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// What became of all of them.
#[derive(Debug, Serialize)]
struct Report {
    from: &'static str,
    source: String,
    dry_run: bool,
    documents: u64,
    new: u64,
    recreated: u64,
    merged: u64,
    unchanged: u64,
    empty: u64,
    importable: u64,
    partial: u64,
    skipped: u64,
    /// Bytes of the updates that were read, of documents that were not skipped.
    bytes: u64,
    /// Bytes that wait for a missing update.
    parked_bytes: u64,
    seconds: f64,
    /// With `--list` all documents, else those that were not imported whole, at most [`SKIPPED_LISTED_MAX`].
    docs: Vec<Line>,
    /// What else there is to say about the source.
    remarks: Vec<String>,
}

/// Whether a name is among those asked for with `--only`.
fn is_wanted(only: &[String], name: &DocName) -> bool {
    only.is_empty()
        || only.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.as_str().starts_with(prefix),
            None => name.as_str() == pattern,
        })
}

/// Reads and checks without writing; needs no data directory.
pub(super) fn dry_run(migration: Migration, out: &mut Output<'_>) -> Result<Outcome, Failure> {
    let mut run = Run::begin(migration, out)?;
    let stopped = loop {
        match run.next() {
            Ok(None) => break None,
            Ok(Some(Step::Document { line, .. } | Step::Done(line))) => run.note(line, out)?,
            Err(failure) => break Some(failure),
        }
    };
    let outcome = run.end(out)?;
    stopped.map_or(Ok(outcome), Err)
}

/// Imports each document; durable once this returns.
pub(super) async fn run(migration: Migration, backend: &mut Backend, out: &mut Output<'_>) -> Result<Outcome, Failure> {
    let mut run = Run::begin(migration, out)?;
    let stopped = loop {
        let imported = match run.next() {
            Ok(None) => break None,
            Ok(Some(Step::Done(line))) => Ok(line),
            Ok(Some(Step::Document { name, updates, line })) => import(&name, updates, line, backend).await,
            Err(failure) => Err(failure),
        };
        match imported {
            Ok(line) => run.note(line, out)?,
            Err(failure) => break Some(failure),
        }
    };
    // Also when stopped: what was imported is there.
    let outcome = run.end(out)?;
    stopped.map_or(Ok(outcome), Err)
}

/// Imports one document and says what became of it; an error concerns all documents.
async fn import(name: &DocName, updates: Vec<Bytes>, mut line: Line, backend: &mut Backend) -> Result<Line, Failure> {
    let (mut created, mut recreated, mut changed) = (false, false, false);
    for update in updates {
        match backend.import(name, update).await {
            Ok(ImportReport { created: new, recreated: anew, accepted_bytes, parked_bytes, .. }) => {
                created |= new;
                recreated |= anew;
                changed |= accepted_bytes + parked_bytes > 0;
                line.parked_bytes += parked_bytes;
            }
            Err(failure) if failure.concerns_all_documents() => return Err(failure),
            Err(failure) => {
                line.status = if created || changed { Status::Partial } else { Status::Skipped };
                line.why = Some(failure.text);
                return Ok(line);
            }
        }
    }
    line.status = match (created, recreated, changed) {
        (true, ..) => Status::New,
        (_, true, _) => Status::Recreated,
        (_, _, true) => Status::Merged,
        (false, false, false) => Status::Unchanged,
    };
    Ok(line)
}

/// One migration on its way.
struct Run {
    migration: Migration,
    report: Report,
    bar: ProgressBar,
}

/// What comes of reading one document.
enum Step {
    /// To be imported.
    Document {
        name: DocName,
        /// What to import; the same as the source has in fewer pieces.
        updates: Vec<Bytes>,
        line: Line,
    },
    /// Nothing to import.
    Done(Line),
}

impl Run {
    fn begin(migration: Migration, out: &mut Output<'_>) -> Result<Self, Failure> {
        if migration.list && !out.is_json() {
            out.line("DOCUMENT\tSTATUS\tUPDATES\tBYTES\tWHY")?;
        }
        let bar = progress::documents(migration.source.documents() as usize, out.is_json() || migration.list);
        let report = Report {
            from: migration.kind.name(),
            source: migration.path.display().to_string(),
            dry_run: migration.dry_run,
            documents: 0,
            new: 0,
            recreated: 0,
            merged: 0,
            unchanged: 0,
            empty: 0,
            importable: 0,
            partial: 0,
            skipped: 0,
            bytes: 0,
            parked_bytes: 0,
            seconds: 0.0,
            docs: Vec::new(),
            remarks: Vec::new(),
        };
        Ok(Self { migration, report, bar })
    }

    fn next(&mut self) -> Result<Option<Step>, Failure> {
        let line = |name: String, status| Line { name, status, updates: 0, bytes: 0, parked_bytes: 0, why: None };
        let skipped = |name, why| Line { why: Some(why), ..line(name, Status::Skipped) };
        let Migration { source, only, prefix, .. } = &mut self.migration;
        let Document { name, updates } = match source.next(&|name| is_wanted(only, name))? {
            None => return Ok(None),
            Some(Found::Skipped(Skipped { name, why })) => return Ok(Some(Step::Done(skipped(name, why)))),
            Some(Found::Document(document)) => document,
        };
        let prefixed = format!("{prefix}{name}");
        let name = match DocName::parse(&prefixed) {
            Ok(name) => name,
            Err(error) => return Ok(Some(Step::Done(skipped(prefixed, error.to_string())))),
        };
        if updates.is_empty() {
            return Ok(Some(Step::Done(line(prefixed, Status::Empty))));
        }
        let line = Line {
            updates: updates.len() as u64,
            bytes: updates.iter().map(|update| update.len() as u64).sum(),
            ..line(prefixed, Status::Importable)
        };
        Ok(Some(match combined(updates) {
            Ok(updates) => Step::Document { name, updates, line },
            Err(why) => Step::Done(Line { status: Status::Skipped, why: Some(why), ..line }),
        }))
    }

    fn note(&mut self, line: Line, out: &mut Output<'_>) -> Result<(), Failure> {
        let report = &mut self.report;
        report.documents += 1;
        let count = match line.status {
            Status::New => &mut report.new,
            Status::Recreated => &mut report.recreated,
            Status::Merged => &mut report.merged,
            Status::Unchanged => &mut report.unchanged,
            Status::Empty => &mut report.empty,
            Status::Importable => &mut report.importable,
            Status::Partial => &mut report.partial,
            Status::Skipped => &mut report.skipped,
        };
        *count += 1;
        if line.status != Status::Skipped {
            report.bytes += line.bytes;
        }
        report.parked_bytes += line.parked_bytes;
        self.bar.set_message(printable(&line.name).into_owned());
        self.bar.inc(1);
        if let Some(why) = &line.why {
            let (name, status) = (printable(&line.name).into_owned(), line.status.name());
            self.bar.suspend(|| eprintln!("weft import: {name}: {status}: {why}"));
        }
        if self.migration.list && !out.is_json() {
            let Line { name, status, updates, bytes, why, .. } = &line;
            let (name, why) = (printable(name), printable(why.as_deref().unwrap_or("-")));
            out.line(&format!("{name}\t{}\t{updates}\t{bytes}\t{why}", status.name()))?;
        }
        let listed = self.migration.list || (line.status.is_wrong() && report.docs.len() < SKIPPED_LISTED_MAX);
        if listed && out.is_json() {
            report.docs.push(line);
        }
        Ok(())
    }

    fn end(self, out: &mut Output<'_>) -> Result<Outcome, Failure> {
        self.bar.finish_and_clear();
        let mut report = self.report;
        report.seconds = (self.migration.begun.elapsed().as_secs_f64() * 1_000.0).round() / 1_000.0;
        let remarks = self.migration.source.remarks();
        for remark in &remarks {
            eprintln!("weft import: {}", printable(&remark.text));
        }
        let is_wrong = report.skipped + report.partial > 0 || remarks.iter().any(|remark| remark.wrong);
        report.remarks = remarks.into_iter().map(|remark| remark.text).collect();
        if out.is_json() {
            out.json(&report)?;
        } else {
            out.line(&sentence(&report))?;
        }
        Ok(if is_wrong { Outcome::FoundWrong } else { Outcome::Done })
    }
}

/// The same as few updates, which are merged much faster than many; else as they are. Each fits into one import.
fn combined(updates: Vec<Bytes>) -> Result<Vec<Bytes>, String> {
    let max = output::bytes(ADMIN_BODY_BYTES_MAX as u64);
    let fits = |updates: &[Bytes]| updates.iter().all(|update| update.len() <= ADMIN_BODY_BYTES_MAX);
    let bytes: usize = updates.iter().map(Bytes::len).sum();
    if updates.len() > 1 && bytes <= MESSAGE_BYTES_MAX {
        // What cannot be squashed may still be imported piece by piece; weft says so then.
        if let Ok(squashed) = squash(updates.iter().map(|update| &update[..])) {
            let squashed: Vec<_> =
                squashed.updates.into_iter().filter(|update| update != crate::wire::update::EMPTY).collect();
            if fits(&squashed) {
                return Ok(squashed);
            }
        }
    }
    if fits(&updates) {
        return Ok(updates);
    }
    Err(format!("one of its updates has more than {max}, the most that one update may have"))
}

fn sentence(report: &Report) -> String {
    let documents = match report.documents {
        1 => "1 document".to_owned(),
        n => format!("{n} documents"),
    };
    let counts = [
        (report.new, "new"),
        (report.recreated, "made anew after they had been deleted"),
        (report.merged, "merged into existing ones"),
        (report.unchanged, "already there and unchanged"),
        (report.empty, "empty"),
        (report.importable, "importable"),
        (report.partial, "imported in part"),
        (report.skipped, "skipped"),
    ];
    let counts: Vec<_> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let took = Duration::from_secs_f64(report.seconds.max(0.0));
    let mut text = format!("{documents}, {} in {:.1} s", output::bytes(report.bytes), took.as_secs_f64());
    if !counts.is_empty() {
        text = format!("{text}: {}", counts.join(", "));
    }
    if report.parked_bytes > 0 {
        let parked = output::bytes(report.parked_bytes);
        text.push_str(&format!("; {parked} wait for updates that the source did not have"));
    }
    if report.dry_run {
        text.push_str("; nothing was written (dry run)");
    }
    text
}

impl From<MigrateError> for Failure {
    fn from(error: MigrateError) -> Self {
        Self::open(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_names_or_beginnings_of_names() {
        let wanted = |patterns: &[&str], name: &str| {
            let patterns: Vec<_> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
            is_wanted(&patterns, &DocName::parse(name).expect("a valid name"))
        };
        assert!(wanted(&[], "a") && wanted(&["a"], "a") && wanted(&["x", "a/*"], "a/b") && wanted(&["*"], "a"));
        assert!(!wanted(&["a"], "a/b") && !wanted(&["a/*"], "a") && !wanted(&["a/*/c"], "a/b/c"));
    }

    #[test]
    fn many_updates_become_few_and_none_too_large() {
        let first = Bytes::from_static(&[1, 1, 1, 0, 4, 1, 1, b't', 2, b'w', b'e', 0]);
        let second = Bytes::from_static(&[1, 1, 1, 2, 0x84, 1, 1, 2, b'f', b't', 0]);
        let waiting = Bytes::from_static(&[1, 1, 1, 9, 0x84, 1, 8, 1, b'x', 0]);
        let updates = combined(vec![second, first.clone(), waiting.clone()]).expect("fits");
        assert_eq!(updates.len(), 2, "the state, and what waits: {updates:?}");
        assert_eq!(updates[1], waiting);
        assert_eq!(combined(vec![first.clone()]), Ok(vec![first]));
    }
}
