//! S10: data directories of every format open for ever.

use crdt_tests::cli::Cli;
use crdt_tests::golden::{self, DOCUMENTS, WAITED};
use weft::data_dir::FORMAT;

#[test]
fn s10_data_directories_of_every_format_open() {
    for version in 1..FORMAT {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let cli = Cli::on(golden::unpack(version, dir.path()));
        for (doc, text) in DOCUMENTS {
            assert_eq!(cli.done(&["export", doc, "--format", "text"]).text(), text, "format {version}, {doc}");
        }
        let (waiting, _) = DOCUMENTS[3];
        assert_eq!(cli.show(waiting)["parked_updates"], 1, "format {version}");
        let missing = dir.path().join("missing");
        std::fs::write(&missing, golden::missing_update()).expect("written");
        cli.done(&["import", waiting, missing.to_str().expect("UTF-8")]);
        assert_eq!(cli.done(&["export", waiting, "--format", "text"]).text(), WAITED, "format {version}");
        assert_eq!(cli.done(&["ls", "--json"]).json()["docs"].as_array().map(Vec::len), Some(DOCUMENTS.len()));
        cli.done(&["compact", "--all"]);
        for (doc, text) in &DOCUMENTS[..3] {
            assert_eq!(
                cli.done(&["export", doc, "--format", "text"]).text(),
                *text,
                "compacted format {version}, {doc}"
            );
        }
    }
}
