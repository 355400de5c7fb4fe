//! `weft ls`: which documents there are, and how large.

use std::cmp::Reverse;

use clap::ValueEnum;
use serde::Serialize;

use super::backend::Backend;
use super::failure::Failure;
use super::output::{Cell, Output, Table};
use super::{At, Outcome};
use crate::hub::{DocSummary, ListQuery};

/// Arguments of `weft ls`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weft ls
  weft ls --prefix notes/ --sort bytes --limit 20
  weft ls --deleted                 documents that `weft rm` deleted, and when
  weft ls --data /var/lib/weft --json | jq -r '.docs[].name'")]
pub(super) struct LsArgs {
    #[command(flatten)]
    pub(super) at: At,
    /// Only documents whose names start with this
    #[arg(long, value_name = "PREFIX", default_value = "")]
    prefix: String,
    /// What comes first: names in order, or the largest, or the last changed
    #[arg(long, value_name = "KEY", value_enum, default_value_t = SortKey::Name)]
    sort: SortKey,
    /// At most this many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Documents that were deleted, instead of those that are there
    #[arg(long)]
    deleted: bool,
}

/// What documents are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SortKey {
    /// By the bytes of their names
    Name,
    /// Snapshot and log together, largest first
    Bytes,
    /// Log alone, largest first: what compaction would work on
    Log,
    /// Last changed first
    Updated,
}

pub(super) async fn run(args: &LsArgs, backend: &mut Backend, out: &mut Output<'_>) -> Result<Outcome, Failure> {
    // In any other order the first few are only known when all are.
    let asked = if args.sort == SortKey::Name { args.limit } else { None };
    let query = ListQuery { prefix: args.prefix.clone(), after: None, limit: asked, deleted: args.deleted };
    let mut docs = backend.find(query).await?;
    sort(&mut docs, args.sort);
    docs.truncate(args.limit.unwrap_or(usize::MAX));
    print(&docs, args.deleted, out)?;
    Ok(Outcome::Done)
}

fn sort(docs: &mut [DocSummary], key: SortKey) {
    match key {
        SortKey::Name => {} // as they come
        SortKey::Bytes => docs.sort_by_key(|d| Reverse(d.snapshot_bytes + d.log_bytes)),
        SortKey::Log => docs.sort_by_key(|d| Reverse(d.log_bytes)),
        SortKey::Updated => docs.sort_by_key(|d| Reverse(d.updated_ms)),
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Listing<'a> {
    docs: &'a [DocSummary],
}

fn print(docs: &[DocSummary], deleted: bool, out: &mut Output<'_>) -> Result<(), Failure> {
    if out.is_json() {
        return Ok(out.json(&Listing { docs })?);
    }
    if docs.is_empty() && out.is_terminal() {
        return Ok(out.line(if deleted { "no deleted documents" } else { "no documents" })?);
    }
    if deleted {
        let mut table = Table::new(&["DOCUMENT", "DELETED"]);
        for doc in docs {
            table.row(vec![Cell::text(doc.name.as_str()), Cell::When(doc.deleted_ms.unwrap_or(0))]);
        }
        return Ok(out.table(&table)?);
    }
    let mut table = Table::new(&["DOCUMENT", "SNAPSHOT", "LOG", "RECORDS", "UPDATED"]);
    for doc in docs {
        table.row(vec![
            Cell::text(doc.name.as_str()),
            Cell::Bytes(doc.snapshot_bytes),
            Cell::Bytes(doc.log_bytes),
            Cell::Count(doc.log_records),
            Cell::When(doc.updated_ms),
        ]);
    }
    Ok(out.table(&table)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::DocName;

    fn doc(name: &str, snapshot_bytes: u64, log_bytes: u64, updated_ms: u64) -> DocSummary {
        let name = DocName::parse(name).expect("a valid name");
        DocSummary { name, snapshot_bytes, log_bytes, log_records: 1, updated_ms, peers: 0, deleted_ms: None }
    }

    #[test]
    fn the_largest_and_the_latest_come_first_and_equals_by_name() {
        let docs = || vec![doc("a", 10, 0, 5), doc("b", 0, 10, 9), doc("c", 30, 1, 5)];
        let names = |key| {
            let mut docs = docs();
            sort(&mut docs, key);
            docs.iter().map(|d| d.name.to_string()).collect::<String>()
        };
        assert_eq!(
            [SortKey::Name, SortKey::Bytes, SortKey::Log, SortKey::Updated].map(names),
            ["abc", "cab", "bca", "bac"]
        );
    }

    #[test]
    fn nothing_is_an_empty_table_or_list() {
        let mut bytes = Vec::new();
        print(&[], false, &mut Output::new(&mut bytes, false, true, 0)).expect("prints");
        assert_eq!(bytes, b"{\"docs\":[]}\n");
        let mut bytes = Vec::new();
        print(&[doc("a", 1, 2, 0)], false, &mut Output::new(&mut bytes, false, false, 0)).expect("prints");
        assert_eq!(String::from_utf8_lossy(&bytes), "DOCUMENT\tSNAPSHOT\tLOG\tRECORDS\tUPDATED\na\t1\t2\t1\t-\n");
    }
}
