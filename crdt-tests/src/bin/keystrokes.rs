//! Writes the git history of text files as keystrokes of several authors, for tests that need real input in a fresh clone.
//!
//! `cargo run -p crdt-tests --bin keystrokes -- [--repo DIR] [--out FOLDER] [--authors N] PATH…`

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crdt_tests::history;
use crdt_tests::server::workspace;
use flate2::Compression;
use flate2::write::GzEncoder;

fn main() -> ExitCode {
    let mut repo = workspace().to_owned();
    let mut out = workspace().join("fixtures/keystrokes");
    let mut authors = 3;
    let mut paths: Vec<String> = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| usage(&format!("{arg} needs a value")));
        match arg.as_str() {
            "--repo" => repo = PathBuf::from(value()),
            "--out" => out = PathBuf::from(value()),
            "--authors" => authors = value().parse().unwrap_or_else(|_| usage("--authors needs a number")),
            flag if flag.starts_with("--") => usage(&format!("unknown option {flag}")),
            _ => paths.push(arg),
        }
    }
    if paths.is_empty() || authors == 0 {
        usage("name the files whose history is to be typed");
    }
    std::fs::create_dir_all(&out).expect("cannot make the output folder");
    let mut missing = false;
    for path in paths {
        let Some(keystrokes) = history::of_file(&repo, &path, authors) else {
            eprintln!("{path}: no history");
            missing = true;
            continue;
        };
        let file = out.join(format!("{}.json.gz", path.replace(['/', '.'], "-")));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        serde_json::to_writer(&mut encoder, &keystrokes).expect("JSON");
        encoder.flush().expect("flushed");
        let bytes = encoder.finish().expect("compressed");
        std::fs::write(&file, &bytes).expect("cannot write the output file");
        let merges = keystrokes.txns.iter().filter(|edit| edit.parents.len() > 1).count();
        println!(
            "{}: {} edits by {authors} authors, {merges} merges, {} characters in the end, {} bytes",
            file.display(),
            keystrokes.txns.len(),
            keystrokes.end_content.chars().count(),
            bytes.len(),
        );
    }
    if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn usage(problem: &str) -> ! {
    eprintln!("{problem}\nusage: keystrokes [--repo DIR] [--out FOLDER] [--authors N] PATH…");
    std::process::exit(2);
}
