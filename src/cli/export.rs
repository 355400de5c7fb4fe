//! `weft export`: a document's state in a file, for a backup, another server or a person.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::backend::Backend;
use super::failure::Failure;
use super::output::{self, Output};
use super::{At, Outcome};
use crate::ids::DocName;

/// Arguments of `weft export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weft export notes/today -o today.yjs
  weft export notes/today --format text
  weft export notes/today | weft import notes/copy - --data ./other-data")]
pub(super) struct ExportArgs {
    #[command(flatten)]
    pub(super) at: At,
    /// The document
    #[arg(value_name = "DOC", value_parser = DocName::parse)]
    doc: DocName,
    /// Write to this file instead of stdout; an existing file is replaced once the new one is whole
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What to write
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Update)]
    format: Format,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The whole state as one Yjs update (v1, binary); `weft import` reads it
    Update,
    /// The shared types as JSON
    Json,
    /// The text of the text types
    Text,
}

impl ExportArgs {
    fn file(&self) -> Option<&Path> {
        self.output.as_deref().filter(|path| *path != Path::new("-"))
    }

    /// What is wrong with the command line, seen from here.
    pub(super) fn check(&self, stdout_is_terminal: bool) -> Result<(), Failure> {
        if self.format == Format::Update && self.file().is_none() && stdout_is_terminal {
            return Err(Failure::usage(
                "an update is binary and would garble this terminal; name a file with -o FILE, or see --format json",
            ));
        }
        Ok(())
    }
}

pub(super) async fn run(args: &ExportArgs, backend: &mut Backend, out: &mut Output<'_>) -> Result<Outcome, Failure> {
    let mut contents = match args.format {
        Format::Update => backend.update(&args.doc).await?,
        Format::Json => backend.content(&args.doc).await?,
        Format::Text => backend.text(&args.doc).await?,
    }
    .to_vec();
    // A text is exported to the byte; JSON is a line.
    if args.format == Format::Json && contents.last() != Some(&b'\n') {
        contents.push(b'\n');
    }
    let Some(path) = args.file() else {
        out.raw(&contents)?;
        return Ok(Outcome::Done);
    };
    write_whole(path, &contents).map_err(|error| {
        let path = path.display();
        Failure::open(format!("cannot write {path}: {error}; nothing there was changed, choose another file with -o"))
    })?;
    if out.is_json() {
        let file = path.display().to_string();
        out.json(&serde_json::json!({ "name": args.doc, "bytes": contents.len(), "file": file }))?;
    } else if out.is_terminal() {
        let size = output::bytes(contents.len() as u64);
        out.line(&format!("{}: {size} written to {}", output::printable(args.doc.as_str()), path.display()))?;
    }
    Ok(Outcome::Done)
}

/// Puts a file in place whole or not at all. What is not a file (`/dev/null`, a named pipe) is written to as it is.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return File::options().write(true).open(path)?.write_all(bytes);
    }
    let mut name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let written = (|| {
        let mut file = File::create_new(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    })();
    if written.is_err() {
        // Only a name of our own making; if it stays, the error says more than this one would.
        let _ = fs::remove_file(&part);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_whole_and_nothing_is_left_over() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("state.yjs");
        write_whole(&path, b"one").expect("writes");
        write_whole(&path, b"two").expect("replaces");
        assert_eq!(fs::read(&path).expect("reads"), b"two");
        write_whole(&dir.path().join("no/such/dir"), b"x").expect_err("fails");
        write_whole(dir.path(), b"x").expect_err("is a directory");
        write_whole(Path::new("/dev/null"), b"x").expect("writes to a device");
        assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 1);
    }
}
