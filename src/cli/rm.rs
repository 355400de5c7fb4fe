//! `weft rm`: deletes documents.

use std::collections::BTreeSet;

use serde::Serialize;

use super::backend::Backend;
use super::failure::Failure;
use super::output::{self, Cell, Output, Table};
use super::{At, Outcome, progress};
use crate::hub::DeleteReport;
use crate::ids::DocName;

/// Arguments of `weft rm`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weft rm notes/today
  weft rm drafts/1 drafts/2 --json
  weft export notes/today -o today.yjs && weft rm notes/today

Asks nothing. Once the command returns, the deletion is on disk: editors that have the document open are closed with code
4404, and a client that still has a copy cannot bring it back. `weft ls --deleted` lists what was deleted; only
`weft import` makes such a document anew. Exit code 1 when a name does not exist; the others are deleted all the same.")]
pub(super) struct RmArgs {
    #[command(flatten)]
    pub(super) at: At,
    /// The documents
    #[arg(value_name = "DOC", value_parser = DocName::parse, required = true)]
    docs: Vec<DocName>,
}

/// What became of all documents.
#[derive(Debug, Default, Serialize)]
struct Report {
    deleted: Vec<DeleteReport>,
    failed: Vec<Failed>,
}

#[derive(Debug, Serialize)]
struct Failed {
    name: DocName,
    error: String,
}

pub(super) async fn run(args: &RmArgs, backend: &mut Backend, out: &mut Output<'_>) -> Result<Outcome, Failure> {
    let bar = progress::documents(args.docs.len(), out.is_json());
    let mut report = Report::default();
    let mut stopped = None;
    // Named twice is meant once.
    let mut named = BTreeSet::new();
    for doc in args.docs.iter().filter(|doc| named.insert(*doc)) {
        bar.set_message(output::printable(doc.as_str()).into_owned());
        match backend.delete(doc).await {
            Ok(deleted) => report.deleted.push(deleted),
            Err(failure) if failure.concerns_all_documents() => {
                stopped = Some(failure);
                break;
            }
            Err(failure) => {
                bar.suspend(|| eprintln!("weft rm: {failure}"));
                report.failed.push(Failed { name: doc.clone(), error: failure.text });
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    // Also when stopped: what is deleted is deleted.
    print(&report, out)?;
    match stopped {
        Some(failure) => Err(failure),
        None if report.failed.is_empty() => Ok(Outcome::Done),
        None => Ok(Outcome::FoundWrong),
    }
}

fn print(report: &Report, out: &mut Output<'_>) -> Result<(), Failure> {
    if out.is_json() {
        return Ok(out.json(report)?);
    }
    if report.deleted.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["DELETED", "AT", "EDITORS CLOSED"]);
    for deleted in &report.deleted {
        table.row(vec![Cell::text(deleted.name.as_str()), Cell::When(deleted.deleted_ms), Cell::Count(deleted.peers)]);
    }
    Ok(out.table(&table)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_deleted_is_a_row_each() {
        let name = DocName::parse("a").expect("a valid name");
        let deleted = vec![DeleteReport { name, deleted_ms: 1_000, peers: 2 }];
        let report = Report { deleted, failed: Vec::new() };
        let shown = |report: &Report, json| {
            let mut bytes = Vec::new();
            print(report, &mut Output::new(&mut bytes, false, json, 0)).expect("prints");
            String::from_utf8(bytes).expect("is text")
        };
        assert_eq!(shown(&report, false), "DELETED\tAT\tEDITORS CLOSED\na\t1970-01-01T00:00:01Z\t2\n");
        let json = r#"{"deleted":[{"name":"a","deleted_ms":1000,"peers":2}],"failed":[]}"#;
        assert_eq!(shown(&report, true), format!("{json}\n"));
        assert_eq!(shown(&Report::default(), false), "");
    }
}
