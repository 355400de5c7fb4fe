//! Writes `fixtures/store/format-N.tar.gz`: a data directory of the present format, to be opened by all later versions.
//! Run once for each format, `cargo run -p crdt-tests --bin golden`; an existing file is never replaced (S10).

use std::process::ExitCode;

use crdt_tests::golden;
use weft::data_dir::FORMAT;

fn main() -> ExitCode {
    let path = golden::path(FORMAT);
    if path.exists() {
        eprintln!("{} exists; a released format does not change", path.display());
        return ExitCode::FAILURE;
    }
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("cannot make the folder");
    golden::make(&path);
    println!("{}", path.display());
    ExitCode::SUCCESS
}
