//! `weft show`: all about one document.

use super::backend::Backend;
use super::failure::Failure;
use super::output::{Cell, Output};
use super::{At, Outcome};
use crate::hub::DocReport;
use crate::ids::DocName;

/// Clients listed for people; programs get all with `--json`.
const CLIENTS_SHOWN: usize = 20;

/// Arguments of `weft show`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weft show notes/today
  weft show notes/today --json | jq .state_vector")]
pub(super) struct ShowArgs {
    #[command(flatten)]
    pub(super) at: At,
    /// The document
    #[arg(value_name = "DOC", value_parser = DocName::parse)]
    doc: DocName,
}

pub(super) async fn run(args: &ShowArgs, backend: &mut Backend, out: &mut Output<'_>) -> Result<Outcome, Failure> {
    let report = backend.show(&args.doc).await?;
    if out.is_json() {
        out.json(&report)?;
    } else {
        print(&report, out)?;
    }
    Ok(Outcome::Done)
}

fn print(report: &DocReport, out: &mut Output<'_>) -> Result<(), Failure> {
    let summary = &report.summary;
    let deleted = if report.ticks == 0 { 0.0 } else { report.deleted_ticks as f64 * 100.0 / report.ticks as f64 };
    let roots: Vec<String> = report.roots.iter().map(|(name, kind)| format!("{name} ({kind})")).collect();
    // Whoever has written most is listed first.
    let mut clocks = report.state_vector.clone();
    clocks.sort_by_key(|(client, clock)| (std::cmp::Reverse(*clock), *client));
    let mut vector: Vec<String> =
        clocks.iter().take(CLIENTS_SHOWN).map(|(client, clock)| format!("{client}:{clock}")).collect();
    if clocks.len() > CLIENTS_SHOWN {
        vector.push(format!("and {} more (--json shows all)", clocks.len() - CLIENTS_SHOWN));
    }
    out.pairs(&[
        ("document", Cell::text(summary.name.as_str())),
        ("created", Cell::When(report.created_ms)),
        ("updated", Cell::When(summary.updated_ms)),
        ("editors connected", Cell::Count(summary.peers)),
        ("state as one update", Cell::Bytes(report.state_bytes)),
        ("snapshot", Cell::Bytes(summary.snapshot_bytes)),
        ("snapshot covers", Cell::Count(report.snapshot_seq.0)),
        ("log", Cell::Bytes(summary.log_bytes)),
        ("log records", Cell::Count(summary.log_records)),
        ("last position", Cell::Count(report.last_seq.0)),
        ("bytes in the store", Cell::Bytes(report.live_bytes)),
        ("shared types", Cell::text(if roots.is_empty() { "-".to_owned() } else { roots.join(", ") })),
        ("clients ever", Cell::Count(report.clients)),
        ("clock ticks", Cell::Count(report.ticks)),
        ("of them deleted", Cell::Share(deleted)),
        ("state vector", Cell::text(if vector.is_empty() { "-".to_owned() } else { vector.join(" ") })),
        ("updates waiting", Cell::Count(report.parked_updates)),
        ("their bytes", Cell::Bytes(report.parked_bytes)),
    ])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::DocSummary;
    use crate::ids::Seq;

    #[test]
    fn a_report_is_one_line_for_each_thing() {
        let name = DocName::parse("notes/\u{7}a").expect("a valid name");
        let report = DocReport {
            summary: DocSummary {
                name,
                snapshot_bytes: 1,
                log_bytes: 2,
                log_records: 3,
                updated_ms: 0,
                peers: 4,
                deleted_ms: None,
                damaged: false,
            },
            live_bytes: 0,
            created_ms: 1_000,
            last_seq: Seq(9),
            snapshot_seq: Seq(6),
            state_bytes: 5,
            state_vector: (0..25).map(|client| (client, client as u32)).collect(),
            clients: 25,
            deleted_ticks: 75,
            ticks: 300,
            parked_updates: 0,
            parked_bytes: 0,
            roots: vec![("t".to_owned(), "text".to_owned())],
        };
        let mut bytes = Vec::new();
        print(&report, &mut Output::new(&mut bytes, false, false, 0)).expect("prints");
        let text = String::from_utf8(bytes).expect("is text");
        assert_eq!(text.lines().count(), 18);
        for line in [
            "document\tnotes/\\u{7}a",
            "created\t1970-01-01T00:00:01Z",
            "of them deleted\t25.0",
            "shared types\tt (text)",
        ] {
            assert!(text.lines().any(|l| l == line), "{line:?} is not in\n{text}");
        }
        assert!(text.contains("state vector\t24:24 23:23 ") && text.contains(" 5:5 and 5 more"), "{text}");
    }
}
