//! `weft audit verify`: whether the log of what admins did is as it was written.

use clap::Subcommand;

use super::failure::Failure;
use super::output::Output;
use super::{At, Outcome};
use crate::audit::{self, Report};
use crate::data_dir;

const EXAMPLES: &str = "\
Examples:
  weft audit verify                        exit code 0: as it was written, 1: not
  weft audit verify --expect 7:5f0c…       and record 7 is the one whose hash was noted elsewhere
  tail weft-data/audit/*.jsonl             the log itself: one JSON object a line

Whoever can write to the data directory can also write a whole new log. Note what this command prints somewhere else from
time to time, and --expect tells whether the log up to there is still the same.";

/// Arguments of `weft audit`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct AuditArgs {
    #[command(flatten)]
    pub(super) at: At,
    #[command(subcommand)]
    pub(super) command: AuditCommand,
}

/// What to do with the log.
#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Read the log of what admins did, and say whether anything was changed, dropped, moved or cut
    Verify(VerifyArgs),
}

/// Arguments of `weft audit verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct VerifyArgs {
    /// Number and hash of a record, as this command printed them earlier
    #[arg(long, value_name = "NUMBER:HASH", value_parser = expected)]
    expect: Option<(u64, String)>,
}

fn expected(text: &str) -> Result<(u64, String), String> {
    let wrong = || format!("{text:?} is not a number, a colon and a hash of 64 digits");
    let (number, hash) = text.split_once(':').ok_or_else(wrong)?;
    let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = number.parse().map_err(|_| wrong())?;
    if is_hash { Ok((number, hash.to_owned())) } else { Err(wrong()) }
}

/// Reads the log as it is on disk, whether or not a server runs.
pub(super) fn verify(at: &At, args: &VerifyArgs, out: &mut Output<'_>) -> Result<Outcome, Failure> {
    let data = at.data.display();
    if !data_dir::exists(&at.data) {
        return Err(Failure::open(format!("{data} is not a weft data directory; name the right one with --data")));
    }
    let dir = data_dir::audit_dir(&at.data);
    let expected = args.expect.as_ref().map(|(number, hash)| (*number, hash.as_str()));
    let report = if dir.exists() {
        let cannot = |error| Failure::open(format!("cannot read the audit log {}: {error}", dir.display()));
        audit::verify(&dir, expected).map_err(cannot)?
    } else if expected.is_some() {
        return Err(Failure::found(format!("there is no audit log in {data}")));
    } else {
        Report::default()
    };
    if out.is_json() {
        out.json(&report)?;
    } else {
        for flaw in &report.flaws {
            let file = flaw.file.as_deref().unwrap_or("the log");
            let line = flaw.line.map(|line| format!(", line {line}")).unwrap_or_default();
            out.line(&format!("{file}{line}: {}", flaw.what))?;
        }
        let Report { records, first, last, hash, .. } = &report;
        match records {
            0 => out.line("no records")?,
            _ => out.line(&format!("{records} records, {first} to {last}; the newest is {last}:{hash}"))?,
        }
    }
    Ok(if report.flaws.is_empty() { Outcome::Done } else { Outcome::FoundWrong })
}
