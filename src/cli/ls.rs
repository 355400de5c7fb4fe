//! `weft ls`: which documents there are, and how large.

use std::cmp::Reverse;

use clap::ValueEnum;
use serde::Serialize;

use super::backend::Backend;
use super::failure::Failure;
use super::output::{self, Cell, Output, Table};
use super::{At, Outcome};
use crate::hub::{DocSummary, ListQuery, StorageReport};
use crate::limits::LIST_MAX;

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
    // In any other order the first few are only known when all were seen.
    let in_order = args.sort == SortKey::Name;
    let mut left = args.limit.filter(|_| in_order).unwrap_or(usize::MAX);
    let mut query = ListQuery { prefix: args.prefix.clone(), after: None, limit: None, deleted: args.deleted };
    let mut listing = Listing::begin(in_order && !out.is_terminal(), args, out)?;
    let mut outcome = Outcome::Done;
    while left > 0 {
        query.limit = Some(left);
        let page = backend.page(&query).await?;
        let Some(last) = page.last().map(|doc| doc.name.clone()) else { break };
        // Whoever repeats himself must not keep us here for ever.
        if query.after.is_some_and(|after| last <= after) {
            return Err(Failure::open("the server repeats a page of documents; is it another version?"));
        }
        query.after = Some(last);
        left -= page.len().min(left);
        for doc in page.iter().filter(|doc| doc.damaged) {
            eprintln!("weft ls: document {:?} is damaged; `weft verify --repair` puts it right", doc.name);
            outcome = Outcome::FoundWrong;
        }
        listing.add(page, args, out)?;
    }
    let store = backend.storage().await?;
    listing.end(args, &store, out)?;
    Ok(outcome)
}

/// Documents on their way to the reader: page by page when they come in the right order and nobody has to measure
/// columns, so that a million of them take no more memory than a few.
struct Listing {
    streams: bool,
    printed: usize,
    kept: Vec<DocSummary>,
}

impl Listing {
    fn begin(streams: bool, args: &LsArgs, out: &mut Output<'_>) -> Result<Self, Failure> {
        if streams {
            if out.is_json() {
                out.raw(b"{\"docs\":[")?;
            } else {
                out.table(&table(&[], args.deleted))?;
            }
        }
        Ok(Self { streams, printed: 0, kept: Vec::new() })
    }

    fn add(&mut self, page: Vec<DocSummary>, args: &LsArgs, out: &mut Output<'_>) -> Result<(), Failure> {
        if !self.streams {
            self.kept.extend(page);
            if let Some(limit) = args.limit.filter(|limit| self.kept.len() > limit.saturating_add(LIST_MAX)) {
                sort(&mut self.kept, args.sort);
                self.kept.truncate(limit);
            }
            return Ok(());
        }
        if out.is_json() {
            let mut text = Vec::new();
            for doc in &page {
                if self.printed > 0 {
                    text.push(b',');
                }
                serde_json::to_writer(&mut text, doc).map_err(std::io::Error::from)?;
                self.printed += 1;
            }
            out.raw(&text)?;
        } else {
            out.rows(&table(&page, args.deleted))?;
        }
        Ok(())
    }

    fn end(mut self, args: &LsArgs, store: &StorageReport, out: &mut Output<'_>) -> Result<(), Failure> {
        if self.streams {
            if out.is_json() {
                let store = serde_json::to_string(store).map_err(std::io::Error::from)?;
                out.raw(format!("],\"store\":{store}}}\n").as_bytes())?;
            }
            return Ok(());
        }
        sort(&mut self.kept, args.sort);
        self.kept.truncate(args.limit.unwrap_or(usize::MAX));
        print(&self.kept, args.deleted, store, out)
    }
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
struct Printed<'a> {
    docs: &'a [DocSummary],
    store: &'a StorageReport,
}

fn print(docs: &[DocSummary], deleted: bool, store: &StorageReport, out: &mut Output<'_>) -> Result<(), Failure> {
    if out.is_json() {
        return Ok(out.json(&Printed { docs, store })?);
    }
    if docs.is_empty() && out.is_terminal() {
        out.line(if deleted { "no deleted documents" } else { "no documents" })?;
    } else {
        out.table(&table(docs, deleted))?;
    }
    if out.is_terminal() {
        out.line(&total(store))?;
    }
    Ok(())
}

fn table(docs: &[DocSummary], deleted: bool) -> Table {
    if deleted {
        let mut table = Table::new(&["DOCUMENT", "DELETED"]);
        for doc in docs {
            table.row(vec![Cell::text(doc.name.as_str()), Cell::When(doc.deleted_ms.unwrap_or(0))]);
        }
        return table;
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
    table
}

fn total(store: &StorageReport) -> String {
    let [live, disk, dead] = [store.live_bytes, store.disk_bytes, store.dead_bytes].map(output::bytes);
    let documents = match store.documents {
        1 => "1 document".to_owned(),
        n => format!("{n} documents"),
    };
    format!(
        "{documents} in all: {live} live, {disk} on disk, of it {dead} dead (`weft compact --vacuum` gives it back)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::DocName;

    fn doc(name: &str, snapshot_bytes: u64, log_bytes: u64, updated_ms: u64) -> DocSummary {
        let name = DocName::parse(name).expect("a valid name");
        DocSummary {
            name,
            snapshot_bytes,
            log_bytes,
            log_records: 1,
            updated_ms,
            peers: 0,
            deleted_ms: None,
            damaged: false,
        }
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
    fn pages_are_printed_as_they_come_and_add_up_to_the_same() {
        let args = |sort, limit| LsArgs {
            at: At { data: "x".into(), json: false },
            prefix: String::new(),
            sort,
            limit,
            deleted: false,
        };
        let docs: Vec<_> = (0..7).map(|n| doc(&format!("d{n}"), n, 0, 0)).collect();
        let store = StorageReport::default();
        for json in [false, true] {
            let [streamed, kept] = [true, false].map(|streams| {
                let mut bytes = Vec::new();
                let mut out = Output::new(&mut bytes, false, json, 0);
                let args = args(SortKey::Name, None);
                let mut listing = Listing::begin(streams, &args, &mut out).expect("prints");
                for page in docs.chunks(3) {
                    listing.add(page.to_vec(), &args, &mut out).expect("prints");
                }
                listing.end(&args, &store, &mut out).expect("prints");
                String::from_utf8(bytes).expect("is text")
            });
            assert_eq!(streamed, kept);
        }
        let mut bytes = Vec::new();
        let mut out = Output::new(&mut bytes, false, false, 0);
        let args = args(SortKey::Bytes, Some(2));
        let mut listing = Listing::begin(false, &args, &mut out).expect("prints");
        let many = (0..LIST_MAX as u64 * 3).map(|n| doc(&format!("d{n}"), n, 0, 0)).collect::<Vec<_>>();
        for page in many.chunks(LIST_MAX) {
            listing.add(page.to_vec(), &args, &mut out).expect("prints");
            assert!(listing.kept.len() <= LIST_MAX + 2);
        }
        listing.end(&args, &store, &mut out).expect("prints");
        let text = String::from_utf8(bytes).expect("is text");
        assert!(text.lines().count() == 3 && text.contains("d29999\t29999") && text.contains("d29998\t"), "{text}");
    }

    #[test]
    fn nothing_is_an_empty_table_or_list() {
        let store = StorageReport { documents: 1, live_bytes: 2, disk_bytes: 5, dead_bytes: 3, journal_bytes: 4 };
        let mut bytes = Vec::new();
        print(&[], false, &store, &mut Output::new(&mut bytes, false, true, 0)).expect("prints");
        let totals = r#"{"documents":1,"live_bytes":2,"disk_bytes":5,"dead_bytes":3,"journal_bytes":4}"#;
        assert_eq!(String::from_utf8_lossy(&bytes), format!("{{\"docs\":[],\"store\":{totals}}}\n"));
        let mut bytes = Vec::new();
        print(&[doc("a", 1, 2, 0)], false, &store, &mut Output::new(&mut bytes, false, false, 0)).expect("prints");
        assert_eq!(String::from_utf8_lossy(&bytes), "DOCUMENT\tSNAPSHOT\tLOG\tRECORDS\tUPDATED\na\t1\t2\t1\t-\n");
    }
}
