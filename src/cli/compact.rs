//! `weft compact`: folds update logs into snapshots, gives disk space back, and says what that saved.

use std::cmp::Reverse;

use serde::Serialize;

use super::backend::Backend;
use super::failure::Failure;
use super::output::{self, Cell, Output, Table, printable};
use super::{At, Outcome, progress};
use crate::hub::{CompactReport, DamagedEntry, DocSummary, ListQuery, VacuumProgress, VacuumReport};
use crate::ids::DocName;

/// Rows shown to people, those that saved most first; pipes and `--json` get all.
const ROWS_SHOWN: usize = 40;

/// Arguments of `weft compact`.
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("which").required(true).multiple(true).args(["docs", "all", "min_log_bytes", "vacuum"]),
    after_help = "\
Examples:
  weft compact notes/today
  weft compact --all
  weft compact --min-log-bytes 100000 --dry-run
  weft compact --vacuum --dry-run      about how much disk space could be had back
  weft compact --all --vacuum          fold all logs, then give the space back

The database reuses the space of what is gone but never returns it to the disk; --vacuum moves what is live into a fresh
one. That takes room for it meanwhile. Live editors are not disturbed. Killed at any moment, every document is whole. Exit
code 1 when a document could not be compacted; its log is then as it was."
)]
pub(super) struct CompactArgs {
    #[command(flatten)]
    pub(super) at: At,
    /// The documents
    #[arg(value_name = "DOC", value_parser = DocName::parse)]
    docs: Vec<DocName>,
    /// All documents that have a log
    #[arg(long, conflicts_with = "docs")]
    all: bool,
    /// Only documents whose logs have at least this many bytes; of all documents if none are named
    #[arg(long, value_name = "N")]
    min_log_bytes: Option<u64>,
    /// Give disk space back: move what is live into a fresh database (after folding, if logs are to be folded)
    #[arg(long)]
    vacuum: bool,
    /// Build and check the snapshots, say what would be saved, write nothing
    #[arg(long)]
    dry_run: bool,
}

/// What became of all documents.
#[derive(Debug, Default, Serialize)]
struct Report {
    dry_run: bool,
    docs: Vec<CompactReport>,
    failed: Vec<Failed>,
    /// Log and snapshots of `docs` before.
    bytes_before: u64,
    /// The same after.
    bytes_after: u64,
    /// What `--vacuum` did.
    #[serde(skip_serializing_if = "Option::is_none")]
    vacuum: Option<VacuumReport>,
}

#[derive(Debug, Serialize)]
struct Failed {
    name: DocName,
    error: String,
}

pub(super) async fn run(args: &CompactArgs, backend: &mut Backend, out: &mut Output<'_>) -> Result<Outcome, Failure> {
    let docs = candidates(args, backend).await?;
    let bar = progress::documents(docs.len(), out.is_json());
    let mut report = Report { dry_run: args.dry_run, ..Report::default() };
    let mut stopped = None;
    for doc in docs {
        bar.set_message(printable(doc.as_str()).into_owned());
        match backend.compact(&doc, args.dry_run).await {
            Ok(compacted) => report.add(compacted),
            Err(failure) if failure.concerns_all_documents() => {
                stopped = Some(failure);
                break;
            }
            Err(failure) => {
                bar.suspend(|| eprintln!("weft compact: {failure}"));
                report.failed.push(Failed { name: doc, error: failure.text });
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if args.vacuum && stopped.is_none() {
        match vacuum(args, backend, out.is_json()).await {
            Ok(vacuumed) => report.vacuum = Some(vacuumed),
            Err(failure) => stopped = Some(failure),
        }
    }
    // Also when stopped: what was done is done.
    print(&report, args.folds(), out)?;
    let is_damaged = report.vacuum.as_ref().is_some_and(|vacuumed| vacuumed.damaged_records > 0);
    match stopped {
        Some(failure) => Err(failure),
        None if report.failed.is_empty() && !is_damaged => Ok(Outcome::Done),
        None => Ok(Outcome::FoundWrong),
    }
}

impl CompactArgs {
    /// Whether logs are to be folded at all.
    fn folds(&self) -> bool {
        self.all || self.min_log_bytes.is_some() || !self.docs.is_empty()
    }
}

async fn vacuum(args: &CompactArgs, backend: &mut Backend, json: bool) -> Result<VacuumReport, Failure> {
    let bar = progress::bytes(json || args.dry_run);
    let told = bar.clone();
    let vacuumed = backend.vacuum(args.dry_run, move |progress| {
        // Copying is the first half of the way, comparing the second.
        let (message, bytes, of) = match progress {
            VacuumProgress::Copying { bytes, bytes_total } => ("copying", bytes, bytes_total),
            VacuumProgress::Verifying { bytes, bytes_total } => ("comparing", bytes + bytes_total, bytes_total),
            VacuumProgress::Exchanging => ("exchanging", 2, 1),
        };
        told.set_message(message);
        told.set_length(of * 2);
        told.set_position(bytes);
    });
    let vacuumed = vacuumed.await;
    bar.finish_and_clear();
    let vacuumed = vacuumed?;
    for DamagedEntry { doc, what, why } in &vacuumed.damaged {
        let doc = doc.as_ref().map_or("no document".into(), |doc| printable(doc.as_str()));
        eprintln!("weft compact: {doc}: {} is damaged: {}; it was kept as it is", printable(what), printable(why));
    }
    if vacuumed.damaged_records > 0 {
        eprintln!("weft compact: {} damaged records; see `weft verify --repair`", vacuumed.damaged_records);
    }
    Ok(vacuumed)
}

async fn candidates(args: &CompactArgs, backend: &mut Backend) -> Result<Vec<DocName>, Failure> {
    let least = args.min_log_bytes.unwrap_or(0);
    let mut docs = Vec::new();
    if !args.folds() {
        return Ok(docs);
    }
    if args.docs.is_empty() {
        let mut after: Option<DocName> = None;
        loop {
            let query = ListQuery { after: after.clone(), ..ListQuery::default() };
            let page = backend.page(&query).await?;
            let last = page.last().map(|doc| doc.name.clone());
            // Nothing comes after the last one, not even it again.
            if last <= after {
                return Ok(docs);
            }
            after = last;
            docs.extend(page.into_iter().filter(|doc| is_worth(doc, least)).map(|doc| doc.name));
        }
    }
    for doc in &args.docs {
        if docs.contains(doc) {
            continue;
        }
        // Of all names with this prefix, the name itself sorts first.
        let too_small = args.min_log_bytes.is_some()
            && backend.list(doc.as_str(), Some(1)).await?.iter().any(|d| d.name == *doc && !is_worth(d, least));
        if !too_small {
            docs.push(doc.clone());
        }
    }
    Ok(docs)
}

fn is_worth(doc: &DocSummary, least_log_bytes: u64) -> bool {
    doc.log_records > 0 && doc.log_bytes >= least_log_bytes
}

impl Report {
    fn add(&mut self, doc: CompactReport) {
        self.bytes_before += before(&doc);
        self.bytes_after += after(&doc);
        self.docs.push(doc);
    }
}

fn before(doc: &CompactReport) -> u64 {
    doc.log_bytes + doc.snapshot_bytes_before
}

fn after(doc: &CompactReport) -> u64 {
    // Without a log there was nothing to fold in.
    if doc.log_records == 0 { before(doc) } else { doc.snapshot_bytes_after }
}

fn print(report: &Report, folds: bool, out: &mut Output<'_>) -> Result<(), Failure> {
    if out.is_json() {
        return Ok(out.json(report)?);
    }
    if folds {
        print_folded(report, out)?;
    }
    if let Some(vacuumed) = &report.vacuum {
        print_vacuumed(vacuumed, out)?;
    }
    Ok(())
}

fn print_vacuumed(vacuumed: &VacuumReport, out: &mut Output<'_>) -> Result<(), Failure> {
    let dead = |disk: u64, live: u64| Cell::Bytes(disk.saturating_sub(live));
    let mut table = Table::new(&["STORE", "ON DISK", "LIVE", "DEAD"]);
    let (disk, live) = (vacuumed.disk_bytes_before, vacuumed.live_bytes_before);
    table.row(vec![Cell::text("before"), Cell::Bytes(disk), Cell::Bytes(live), dead(disk, live)]);
    let (disk, live) = (vacuumed.disk_bytes_after, vacuumed.live_bytes_after);
    let after = if vacuumed.dry_run { "after, about" } else { "after" };
    table.row(vec![Cell::text(after), Cell::Bytes(disk), Cell::Bytes(live), dead(disk, live)]);
    out.table(&table)?;
    if out.is_terminal() {
        let documents = vacuumed.documents;
        out.line(&if vacuumed.dry_run {
            format!("{documents} documents; nothing was written (dry run)")
        } else {
            format!("{documents} documents in {:.1} s", vacuumed.took_ms as f64 / 1e3)
        })?;
    }
    Ok(())
}

fn print_folded(report: &Report, out: &mut Output<'_>) -> Result<(), Failure> {
    if report.docs.is_empty() && out.is_terminal() {
        return Ok(out.line("nothing to compact")?);
    }
    let mut rows: Vec<&CompactReport> = report.docs.iter().collect();
    if out.is_terminal() && rows.len() > ROWS_SHOWN {
        rows.sort_by_key(|doc| Reverse(before(doc).saturating_sub(after(doc))));
        rows.truncate(ROWS_SHOWN);
    }
    let mut table = Table::new(&["DOCUMENT", "RECORDS", "LOG", "SNAPSHOT BEFORE", "AFTER", "MS"]);
    for doc in &rows {
        table.row(vec![
            Cell::text(doc.name.as_str()),
            Cell::Count(doc.log_records),
            Cell::Bytes(doc.log_bytes),
            Cell::Bytes(doc.snapshot_bytes_before),
            Cell::Bytes(doc.snapshot_bytes_after),
            Cell::Count(doc.took_ms),
        ]);
    }
    out.table(&table)?;
    if out.is_terminal() {
        out.line(&total(report, report.docs.len() - rows.len()))?;
    }
    Ok(())
}

fn total(report: &Report, unseen: usize) -> String {
    let [before, after] = [report.bytes_before, report.bytes_after].map(output::bytes);
    let documents = match report.docs.len() {
        1 => "1 document".to_owned(),
        n => format!("{n} documents"),
    };
    let mut text = format!("{documents}: {before} before, {after} after");
    if report.dry_run {
        text.push_str("; nothing was written (dry run)");
    }
    if unseen > 0 {
        text.push_str(&format!("; {unseen} that saved less are not shown"));
    }
    if !report.failed.is_empty() {
        text.push_str(&format!("; {} failed", report.failed.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compacted(name: &str, log_records: u64, log_bytes: u64, before: u64, after: u64) -> CompactReport {
        CompactReport {
            name: DocName::parse(name).expect("a valid name"),
            log_records,
            log_bytes,
            snapshot_bytes_before: before,
            snapshot_bytes_after: after,
            written: log_records > 0,
            took_ms: 1,
        }
    }

    fn shown(report: &Report, terminal: bool, json: bool) -> String {
        let mut bytes = Vec::new();
        print(report, true, &mut Output::new(&mut bytes, terminal, json, 0)).expect("prints");
        String::from_utf8(bytes).expect("is text")
    }

    #[test]
    fn the_report_adds_up() {
        let mut report = Report::default();
        report.add(compacted("a", 3, 900, 100, 400));
        report.add(compacted("b", 0, 0, 50, 50));
        assert_eq!((report.bytes_before, report.bytes_after), (1_050, 450));
        assert_eq!(total(&report, 0), "2 documents: 1.1 kB before, 450 B after");
        let lines = shown(&report, false, false);
        assert!(lines.ends_with("a\t3\t900\t100\t400\t1\nb\t0\t0\t50\t50\t1\n"), "{lines}");
        let json: serde_json::Value = serde_json::from_str(&shown(&report, false, true)).expect("is JSON");
        assert_eq!((&json["docs"][0]["name"], &json["bytes_after"]), (&"a".into(), &450.into()));
    }

    #[test]
    fn a_vacuum_is_two_lines() {
        let vacuum = Some(VacuumReport {
            dry_run: false,
            documents: 3,
            disk_bytes_before: 9_000,
            disk_bytes_after: 4_000,
            live_bytes_before: 1_000,
            live_bytes_after: 900,
            damaged: Vec::new(),
            damaged_records: 0,
            took_ms: 1_500,
        });
        let report = Report { vacuum, ..Report::default() };
        let text = |terminal| {
            let mut bytes = Vec::new();
            print(&report, false, &mut Output::new(&mut bytes, terminal, false, 0)).expect("prints");
            String::from_utf8(bytes).expect("is text")
        };
        assert_eq!(text(false), "STORE\tON DISK\tLIVE\tDEAD\nbefore\t9000\t1000\t8000\nafter\t4000\t900\t3100\n");
        assert!(text(true).contains("3 documents in 1.5 s"), "{}", text(true));
    }

    #[test]
    fn people_see_what_saved_most() {
        let mut report = Report { dry_run: true, ..Report::default() };
        for n in 0..100 {
            report.add(compacted(&format!("doc{n}x"), 1, n * 10, 0, n));
        }
        let text = shown(&report, true, false);
        assert!(text.contains("doc99x") && text.contains("doc60x") && !text.contains("doc59x"), "{text}");
        assert!(
            text.contains("100 documents: ") && text.contains("dry run") && text.contains("60 that saved less"),
            "{text}"
        );
        assert_eq!(shown(&report, false, false).lines().count(), 101);
    }
}
