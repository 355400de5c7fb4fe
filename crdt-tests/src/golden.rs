//! A small data directory as a killed server leaves it, packed into one file: formats are for ever (S10).

use std::fs::File;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::cli::Cli;
use crate::message::{self, Writer};
use crate::server::{DataDir, Server, workspace};
use crate::socket::Socket;
use crate::used;

/// The documents in it, and what each says in the text that [`Writer`] writes.
pub const DOCUMENTS: [(&str, &str); 4] = [
    // A snapshot and a log record after it.
    ("folded and edited", "one two three four "),
    // Log records only, under a name that needs two bytes a letter.
    ("läuft/über", "eins zwei "),
    // In the journal only: acknowledged, then the process was killed.
    ("journal only", "acked "),
    // Its second update came first and waits for this one.
    ("waiting", ""),
];

/// Documents in it that were deleted, since format 2: one whose tombstone is in the store, one whose deletion is in the
/// journal only.
pub const DELETED: [&str; 2] = ["deleted/long ago", "deleted/just now"];

/// What the waiting document says once its first update has come.
pub const WAITED: &str = "first second ";

/// The first update of the waiting document.
pub fn missing_update() -> Vec<u8> {
    Writer::new(9).append("first ")
}

/// Where the directory of a format version is kept.
pub fn path(version: u32) -> PathBuf {
    workspace().join(format!("fixtures/store/format-{version}.tar.gz"))
}

/// Makes such a directory with the present binary and packs it.
pub fn make(into: &Path) {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let cli = Cli::of(&server);
    let send = |server: &Server, doc: &str, updates: &[Vec<u8>]| {
        let mut socket = Socket::connect(server.addr(), &percent_encoded(doc));
        socket.pull(&[0]);
        for update in updates {
            socket.send(message::update(update));
        }
        socket.ack();
    };
    let [(folded, _), (named, _), (journal_only, _), (waiting, _)] = DOCUMENTS;
    let mut writer = Writer::new(7);
    let updates: Vec<_> = ["one ", "two ", "three "].map(|text| writer.append(text)).into();
    send(&server, folded, &updates);
    cli.done(&["compact", folded]);
    send(&server, folded, &[writer.append("four ")]);
    let mut writer = Writer::new(8);
    send(&server, named, &[writer.append("eins "), writer.append("zwei ")]);
    let mut late = Writer::new(9);
    late.append("first ");
    send(&server, waiting, &[late.append("second ")]);
    let [long_ago, just_now] = DELETED;
    for doc in DELETED {
        send(&server, doc, &[Writer::new(11).append("secret ")]);
    }
    cli.done(&["compact", long_ago]);
    cli.done(&["rm", long_ago]);
    // Carries all of these into the store.
    cli.done(&["ls"]);
    send(&server, journal_only, &[Writer::new(10).append("acked ")]);
    cli.done(&["rm", just_now]);
    server.kill();

    let file = File::create(into).expect("cannot write the fixture");
    let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::best()));
    tar.append_dir_all("data", data.path()).expect("packed");
    tar.into_inner().and_then(GzEncoder::finish).expect("packed");
}

/// Whether each document says what it should.
///
/// # Panics
/// When one does not.
pub fn check(cli: &Cli, when: &str) {
    for (doc, text) in DOCUMENTS {
        assert_eq!(cli.done(&["export", doc, "--format", "text"]).text(), text, "{when}: {doc}");
    }
}

/// Unpacks a directory to be opened; it lies in `data` below `dir`, which may be on a file system that is mounted for
/// another process only, and so has no name that tar could make out.
pub fn unpack(version: u32, dir: &Path) -> PathBuf {
    let file = File::open(path(version)).expect("the fixture is part of the repository");
    let unpacked = tempfile::tempdir().expect("a temporary directory");
    tar::Archive::new(GzDecoder::new(file)).unpack(unpacked.path()).expect("unpacked");
    let data = dir.join("data");
    used::copy(&unpacked.path().join("data"), &data);
    data
}

fn percent_encoded(doc: &str) -> String {
    doc.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).into() } else { format!("%{byte:02X}") })
        .collect()
}
