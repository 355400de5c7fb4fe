//! `weft verify`: reads everything there is, says what is wrong and where, and with `--repair` puts it right.
//!
//! On a stopped directory the files are looked at before anything is opened, because opening changes them. If they are
//! damaged and there is no `--repair`, it ends there with nothing changed.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::backend::{Backend, IfAbsent};
use super::failure::Failure;
use super::output::{Cell, Output, Table, printable};
use super::{At, Outcome, serve, with_output};
use crate::data_dir::{self, DataDir};
use crate::hub::{KeptUpdate, VerifyPage, VerifyQuery, VerifyReport};
use crate::ids::DocName;
use crate::journal::{DamagedSegment, Journal};
use crate::limits::VERIFY_DEFAULT;
use crate::store::{SalvageReport, SledStore};

/// Arguments of `weft verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weft verify
  weft verify notes/today
  weft verify --repair
  weft verify --json | jq '.problems[]'

Exit code 1 when anything is wrong, or was and nobody has acknowledged it. --repair moves damaged records into
DIR/quarantine, keeps everything else, says what was lost, and acknowledges what lies in quarantine. If the server does
not start because its database is damaged, stop it, and --repair builds a new one from all that can be read.")]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    at: At,
    /// The documents; all if none are named
    #[arg(value_name = "DOC", value_parser = DocName::parse)]
    docs: Vec<DocName>,
    /// Put right what is wrong; the bytes of whatever is damaged are kept
    #[arg(long)]
    repair: bool,
}

/// What `--json` prints.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// Documents that were read.
    documents: u64,
    /// Updates in them.
    updates: u64,
    problems: Vec<Problem>,
    /// Files in quarantine that nobody has acknowledged before.
    kept: Vec<String>,
    /// Of those, the updates that break whoever integrates them.
    kept_updates: Vec<KeptUpdate>,
    /// Whether what is wrong was put right.
    repaired: bool,
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
struct Problem {
    /// A document, or a file of the data directory.
    #[serde(rename = "where")]
    place: String,
    what: String,
    why: String,
    repaired: bool,
}

pub(super) fn main(args: &VerifyArgs) -> Result<Outcome, Failure> {
    let runtime = serve::runtime()?;
    let mut report = Report { repaired: args.repair, ..Report::default() };
    if args.repair {
        // A repair that was cut short has left no store in its place, and such a directory does not open.
        let finished = SledStore::finish_salvage(&data_dir::store_of(&args.at.data)).map_err(Failure::open)?;
        if finished {
            report.note("store", "the database", "a repair was cut short; its new database is in its place now", true);
        }
    }
    with_output(&args.at, |out| {
        let (_locked, result) = runtime.block_on(async {
            let look = |dir: &DataDir| report.look_at_files(dir, args.repair);
            let mut backend = match Backend::open_after(&args.at.data, IfAbsent::Fail, look).await {
                Ok(backend) => backend,
                Err(_) if !args.repair && !report.problems.is_empty() => return (None, Ok(())),
                Err(failure) => return (None, Err(failure)),
            };
            let verified = documents(args, &mut backend, out, &mut report).await;
            let (locked, closed) = backend.close().await;
            (Some(locked), verified.and(closed))
        });
        runtime.shutdown_timeout(serve::RUNTIME_END);
        print(&report, out)?;
        result?;
        let wrong =
            report.problems.iter().any(|problem| !problem.repaired) || (!report.kept.is_empty() && !args.repair);
        Ok(if wrong { Outcome::FoundWrong } else { Outcome::Done })
    })
}

async fn documents(
    args: &VerifyArgs,
    backend: &mut Backend,
    out: &Output<'_>,
    report: &mut Report,
) -> Result<(), Failure> {
    let bar = progress_bar(out.is_json());
    for doc in &args.docs {
        bar.set_message(printable(doc.as_str()).into_owned());
        report.add(backend.verify_document(doc, args.repair).await?);
        bar.inc(1);
    }
    let mut after = None;
    while args.docs.is_empty() {
        let query =
            VerifyQuery { prefix: String::new(), after: after.clone(), limit: VERIFY_DEFAULT, repair: args.repair };
        let VerifyPage { docs, next, kept, kept_updates } = backend.verify(query).await?;
        bar.inc(docs.len() as u64);
        docs.into_iter().for_each(|doc| report.add(doc));
        report.kept.extend(kept);
        report.kept_updates.extend(kept_updates);
        match next {
            Some(next) if Some(&next) > after.as_ref() => {
                bar.set_message(printable(next.as_str()).into_owned());
                after = Some(next);
            }
            Some(_) => return Err(Failure::open("the server repeats a page; is it another version?")),
            None => break,
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Drawn on stderr, and only for people. How many documents there are is only known at the end.
fn progress_bar(json: bool) -> ProgressBar {
    let hidden = json || !io::stderr().is_terminal();
    let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let style = ProgressStyle::with_template("{spinner} {pos} documents verified, {per_sec}  {wide_msg}");
    ProgressBar::with_draw_target(None, target).with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

impl Report {
    fn note(&mut self, place: impl Into<String>, what: impl Into<String>, why: impl Into<String>, repaired: bool) {
        self.problems.push(Problem { place: place.into(), what: what.into(), why: why.into(), repaired });
    }

    /// Looks at the files of a directory that nobody has open. Damage ends the command unless it is repaired.
    fn look_at_files(&mut self, dir: &DataDir, repair: bool) -> Result<(), Failure> {
        let journal = Journal::survey(&dir.journal()).map_err(Failure::open)?;
        // Opening the journal, which comes next, puts these aside.
        for damage in &journal.damaged {
            self.note_segment(damage, repair);
        }
        let store = dir.store();
        let survey = SledStore::survey(&store).map_err(Failure::open)?;
        for flaw in &survey.flaws {
            self.note("store", "the database", flaw, repair);
        }
        let mut salvage = !survey.flaws.is_empty();
        if repair && !salvage {
            // What only sled itself finds wrong.
            if let Err(why) = SledStore::open(&store) {
                self.note("store", "the database", why.to_string(), true);
                salvage = true;
            }
        }
        if repair && salvage {
            let salvaged = SledStore::salvage(&store, &free_name(&dir.quarantine())).map_err(Failure::open)?;
            self.note_salvage(&salvaged);
        }
        if !repair && !self.problems.is_empty() {
            return Err(Failure::found("the files are damaged; nothing was changed"));
        }
        Ok(())
    }

    fn note_segment(&mut self, damage: &DamagedSegment, repair: bool) {
        let place = format!("journal/{}", damage.segment);
        let why = format!(
            "{} at byte {}; {} records are readable, {} bytes are not",
            damage.why, damage.offset, damage.records_kept, damage.unreadable_bytes
        );
        self.note(&*place, "the journal", why, repair);
        for unreadable in &damage.unreadable {
            if let Some((doc, seq)) = &unreadable.perhaps {
                let what = format!("the journal record at byte {}", unreadable.offset);
                self.note(&*place, what, format!("perhaps update {seq} of document {doc:?}, which is lost"), repair);
            }
        }
    }

    fn note_salvage(&mut self, salvaged: &SalvageReport) {
        let SalvageReport { kept_in, keys, documents, counted, unreadable_bytes } = salvaged;
        let lost = counted.and_then(|counted| counted.checked_sub(*documents)).filter(|lost| *lost > 0);
        let lost = lost.map(|lost| format!("; the entries of {lost} documents are lost")).unwrap_or_default();
        let why = format!(
            "a new one was built from {keys} readable values ({documents} documents{lost}); {unreadable_bytes} bytes were \
             not readable; the old one is kept in {}",
            kept_in.display()
        );
        self.note("store", "the database", why, true);
    }

    fn add(&mut self, doc: VerifyReport) {
        self.documents += 1;
        self.updates += doc.updates;
        for problem in doc.problems {
            self.note(doc.name.as_str(), problem.what, problem.why, doc.repaired);
        }
        for kept in doc.kept_in {
            self.note(doc.name.as_str(), "a damaged record", format!("its bytes are kept in {kept}"), true);
        }
        if doc.brought_back > 0 {
            let why = format!("{} updates that could not be stored before are in the document again", doc.brought_back);
            self.note(doc.name.as_str(), "the quarantine", why, true);
        }
    }
}

/// A name for a database in quarantine that is not taken.
fn free_name(quarantine: &Path) -> PathBuf {
    let mut number = 1;
    loop {
        let path = quarantine.join(format!("store-{number}"));
        if !path.exists() {
            return path;
        }
        number += 1;
    }
}

fn print(report: &Report, out: &mut Output<'_>) -> Result<(), Failure> {
    if out.is_json() {
        return Ok(out.json(report)?);
    }
    if !report.problems.is_empty() {
        let mut table = Table::new(&["WHERE", "WHAT", "WHY", "REPAIRED"]);
        for Problem { place, what, why, repaired } in &report.problems {
            let repaired = if *repaired { "yes" } else { "no" };
            table.row(vec![Cell::text(place), Cell::text(what), Cell::text(why), Cell::text(repaired)]);
        }
        out.table(&table)?;
    }
    for kept in &report.kept {
        let state = if report.repaired { "acknowledged now" } else { "`weft verify --repair` acknowledges it" };
        out.line(&format!("kept in quarantine: {} ({state})", printable(kept)))?;
        if let Some(update) = report.kept_updates.iter().find(|update| update.file == *kept) {
            let KeptUpdate { document, seq, why, senders, .. } = update;
            let what = seq.map_or_else(|| "the whole document".to_owned(), |seq| format!("update {seq}"));
            let senders = printable(&senders.join("; ")).into_owned();
            out.line(&format!("  {what} of {document:?}: {}; sent by: {senders}", printable(why)))?;
        }
    }
    let Report { documents, updates, .. } = report;
    let wrong = report.problems.iter().filter(|problem| !problem.repaired).count();
    let verdict = if wrong == 0 { "nothing is wrong".to_owned() } else { format!("{wrong} problems") };
    Ok(out.line(&format!("{documents} documents with {updates} updates were read; {verdict}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::VerifyProblem;

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let problem = VerifyProblem { what: "snapshot 3".to_owned(), why: "its checksum does not match".to_owned() };
        let mut report = Report::default();
        report.add(VerifyReport {
            name: DocName::parse("notes/a").expect("a valid name"),
            updates: 2,
            bytes: 9,
            problems: vec![problem],
            repaired: false,
            kept_in: Vec::new(),
            brought_back: 0,
        });
        let mut bytes = Vec::new();
        print(&report, &mut Output::new(&mut bytes, false, false, 0)).expect("prints");
        let text = String::from_utf8(bytes).expect("is text");
        assert!(text.contains("notes/a\tsnapshot 3\tits checksum does not match\tno\n"), "{text}");
        assert!(text.ends_with("1 documents with 2 updates were read; 1 problems\n"), "{text}");
    }

    #[test]
    fn databases_in_quarantine_do_not_take_each_others_place() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(free_name(dir.path()), dir.path().join("store-1"));
        std::fs::create_dir(dir.path().join("store-1")).expect("made");
        assert_eq!(free_name(dir.path()), dir.path().join("store-2"));
    }
}
