//! `weft compact`: folds update logs into snapshots, and says what that saved.

use std::cmp::Reverse;

use serde::Serialize;

use super::backend::Backend;
use super::failure::Failure;
use super::output::{self, Cell, Output, Table, printable};
use super::{At, Outcome, progress};
use crate::hub::{CompactReport, DocSummary};
use crate::ids::DocName;

/// Rows shown to people, those that saved most first; pipes and `--json` get all.
const ROWS_SHOWN: usize = 40;

/// Arguments of `weft compact`.
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("which").required(true).multiple(true).args(["docs", "all", "min_log_bytes"]),
    after_help = "\
Examples:
  weft compact notes/today
  weft compact --all
  weft compact --min-log-bytes 100000 --dry-run

Live editors are not disturbed. Killed at any moment, every document is whole. Exit code 1 when a document could not be
compacted; its log is then as it was."
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
    // Also when stopped: what was done is done.
    print(&report, out)?;
    match stopped {
        Some(failure) => Err(failure),
        None if report.failed.is_empty() => Ok(Outcome::Done),
        None => Ok(Outcome::FoundWrong),
    }
}

async fn candidates(args: &CompactArgs, backend: &mut Backend) -> Result<Vec<DocName>, Failure> {
    let least = args.min_log_bytes.unwrap_or(0);
    if args.docs.is_empty() {
        let listed = backend.list("", None).await?;
        return Ok(listed.into_iter().filter(|d| is_worth(d, least)).map(|d| d.name).collect());
    }
    let mut docs = Vec::new();
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

fn print(report: &Report, out: &mut Output<'_>) -> Result<(), Failure> {
    if out.is_json() {
        return Ok(out.json(report)?);
    }
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
        print(report, &mut Output::new(&mut bytes, terminal, json, 0)).expect("prints");
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
