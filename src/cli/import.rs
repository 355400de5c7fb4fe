//! `weft import`: merges an update into a document, or makes the document from it. With `--from` it is
//! [`super::migrate`].

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::backend::Backend;
use super::failure::Failure;
use super::migrate::{self, MigrateArgs, Migration};
use super::output::{self, Output};
use super::{At, Outcome};
use crate::hub::ImportReport;
use crate::ids::DocName;
use crate::limits::ADMIN_BODY_BYTES_MAX;

/// Arguments of `weft import`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weft import notes/today today.yjs
  curl -s https://example.com/state.yjs | weft import notes/today -
  weft import --from hocuspocus-sqlite db.sqlite
  weft import --from y-leveldb ./yjs-wss-db --dry-run
  weft import --from y-sweet ./data --prefix old/ --only 'notes-*'
  weft import --from updates ./files --list

The file holds one Yjs update in v1 encoding, as `weft export` or Y.encodeStateAsUpdate(doc) write it. It is merged with
what the document already has; importing it twice changes nothing. A document that was deleted is made anew from it
alone, and the command says so. Once the command returns, it is on disk.

With --from, all documents of another server are merged in the same way; what that server stored is only read. Exit code
1 when one could not be imported: it is named, and the others are there.")]
pub(super) struct ImportArgs {
    #[command(flatten)]
    pub(super) at: At,
    /// The document; made if it does not exist
    #[arg(value_name = "DOC", value_parser = DocName::parse, required_unless_present = "from")]
    doc: Option<DocName>,
    /// The update; `-` reads stdin
    #[arg(value_name = "FILE", required_unless_present = "from")]
    file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) migrate: MigrateArgs,
}

/// What is to be imported.
pub(super) enum Work {
    /// One update into one document.
    Update(DocName, Bytes),
    /// The documents of another server.
    Migration(Box<Migration>),
}

impl ImportArgs {
    /// What there is to import, opened and read as far as possible before a data directory is made.
    pub(super) fn read(&self) -> Result<Work, Failure> {
        match (&self.doc, &self.file) {
            (Some(doc), Some(file)) => Ok(Work::Update(doc.clone(), read(file)?)),
            _ => Ok(Work::Migration(Box::new(self.migrate.open()?))),
        }
    }
}

/// The update in a file, or on stdin.
fn read(path: &Path) -> Result<Bytes, Failure> {
    let file = path.display();
    let read =
        if path == Path::new("-") { read_bounded(io::stdin().lock()) } else { File::open(path).and_then(read_bounded) };
    let bytes =
        read.map_err(|e| Failure::open(format!("cannot read {file}: {e}; name another file, or - for stdin")))?;
    match bytes.len() {
        0 => Err(Failure::found(format!("{file} is empty; an update has at least two bytes"))),
        n if n > ADMIN_BODY_BYTES_MAX => {
            let max = output::bytes(ADMIN_BODY_BYTES_MAX as u64);
            Err(Failure::found(format!("{file} is larger than {max}, the most one update may have; split it")))
        }
        _ => Ok(bytes.into()),
    }
}

/// Reads at most one byte more than is allowed.
fn read_bounded(file: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(ADMIN_BODY_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(super) async fn run(work: Work, backend: &mut Backend, out: &mut Output<'_>) -> Result<Outcome, Failure> {
    let (doc, update) = match work {
        Work::Update(doc, update) => (doc, update),
        Work::Migration(migration) => return migrate::run(*migration, backend, out).await,
    };
    let report = backend.import(&doc, update).await?;
    if out.is_json() {
        out.json(&report)?;
    } else {
        out.line(&sentence(&report))?;
    }
    Ok(Outcome::Done)
}

fn sentence(report: &ImportReport) -> String {
    let name = output::printable(report.name.as_str());
    let [offered, accepted, parked] =
        [report.offered_bytes, report.accepted_bytes, report.parked_bytes].map(output::bytes);
    let merged = match report.accepted_bytes {
        0 if report.parked_bytes > 0 => format!("{name}: none of {offered} could be merged yet"),
        0 => format!("{name}: nothing new in {offered}"),
        _ => format!("{name}: {accepted} of {offered} merged"),
    };
    let merged = match report.parked_bytes {
        0 => merged,
        _ => format!("{merged}; {parked} are kept until an update arrives that they build on"),
    };
    if report.recreated { format!("{merged}; the document had been deleted and was made anew") } else { merged }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_became_of_the_bytes() {
        let of = |accepted_bytes, parked_bytes, recreated| {
            let name = DocName::parse("d").expect("a valid name");
            sentence(&ImportReport { name, offered_bytes: 10, accepted_bytes, parked_bytes, recreated, created: false })
        };
        let report = |accepted_bytes, parked_bytes| of(accepted_bytes, parked_bytes, false);
        assert_eq!(of(10, 0, true), "d: 10 B of 10 B merged; the document had been deleted and was made anew");
        assert_eq!(report(10, 0), "d: 10 B of 10 B merged");
        assert_eq!(report(0, 0), "d: nothing new in 10 B");
        assert!(report(0, 10).starts_with("d: none of 10 B could be merged yet; 10 B are kept"));
        assert!(report(4, 6).contains("4 B of 10 B merged; 6 B are kept"));
    }

    #[test]
    fn files_that_cannot_be_updates_are_told_apart() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("f");
        assert_eq!(read(&path).expect_err("is not there").code.number(), 3);
        assert_eq!(read(dir.path()).expect_err("is a directory").code.number(), 3);
        std::fs::write(&path, b"").expect("writes");
        assert_eq!(read(&path).expect_err("is empty").code.number(), 1);
        std::fs::write(&path, b"ab").expect("writes");
        assert_eq!(read(&path).expect("reads"), "ab");
        File::create(&path).and_then(|f| f.set_len(ADMIN_BODY_BYTES_MAX as u64 + 1)).expect("writes");
        assert!(read(&path).expect_err("is too large").text.contains("268.4 MB"));
    }
}
