//! Writes `fixtures/backup/version-1.bak`: a backup in the present format, to be read by all later versions. Run once for
//! each format, `cargo run -p crdt-tests --bin golden_backup`; an existing file is never replaced (BK4).

use std::process::ExitCode;

use crdt_tests::golden_backup;
use weft::backup::VERSION;

fn main() -> ExitCode {
    let path = golden_backup::path(VERSION);
    if path.exists() {
        eprintln!("{} exists; a released format does not change", path.display());
        return ExitCode::FAILURE;
    }
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("cannot make the folder");
    let (bytes, summary) = golden_backup::make();
    std::fs::write(&path, bytes).expect("cannot write the fixture");
    println!("{} {}", path.display(), summary.sha256);
    ExitCode::SUCCESS
}
