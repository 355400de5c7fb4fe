//! A small backup file with one of everything: the format is for ever.

use std::path::PathBuf;

use bytes::Bytes;
use weft::backup::{Document, Head, LeftOut, Summary, Writer};
use weft::ids::{DocName, Seq};

use crate::message;
use crate::server::workspace;

/// The documents in it, and what each says in the text that [`message::Writer`] writes. The last one waits for an update.
pub const DOCUMENTS: [(&str, &str); 4] =
    [("folded and edited", "one two three "), ("läuft/über", "eins zwei "), ("only folded", "all "), ("waiting", "")];

/// A document that is a tombstone in it, deleted at this time, milliseconds since 1970.
pub const DELETED: (&str, u64) = ("deleted", 1_760_000_000_000);

/// A document that could not be read when it was made.
pub const LEFT_OUT: &str = "left out";

/// The list of revoked tokens in it.
pub const REVOKED: &str = r#"{"version":1,"revocations":[{"sub":"mallory","at":1770000000}]}"#;

/// When its documents were last stored, milliseconds since 1970.
pub const UPDATED_MS: u64 = 1_750_000_000_000;

/// Where the backup of a format version is kept.
pub fn path(version: u8) -> PathBuf {
    workspace().join(format!("fixtures/backup/version-{version}.bak"))
}

/// The bytes of such a file in the present format.
pub fn make() -> (Vec<u8>, Summary) {
    let name = |text: &str| DocName::parse(text).expect("a valid name");
    let [folded, named, snapshot_only, waiting] = DOCUMENTS.map(|(doc, _)| name(doc));
    let document = |name: DocName, covers: u64, snapshot: Vec<Vec<u8>>, log: Vec<Vec<u8>>| Document {
        name,
        created_ms: 1_740_000_000_000,
        updated_ms: UPDATED_MS,
        deleted_ms: None,
        last_seq: Seq(covers + log.len() as u64),
        snapshot_seq: Seq(covers),
        snapshot: snapshot.into_iter().map(Bytes::from).collect(),
        log: log.into_iter().map(Bytes::from).collect(),
    };
    let (mut first, mut second, mut third, mut late) =
        (message::Writer::new(7), message::Writer::new(8), message::Writer::new(9), message::Writer::new(10));
    first.append("one ");
    first.append("two ");
    let state = first.all();
    third.append("all ");
    late.append("first ");
    let documents = [
        document(folded, 2, vec![state], vec![first.append("three ")]),
        document(named, 0, vec![], vec![second.append("eins "), second.append("zwei ")]),
        document(snapshot_only, 5, vec![third.all()], vec![]),
        document(waiting, 0, vec![], vec![late.append("second ")]),
    ];
    let head = Head { weft: "0.1.0".to_owned(), created_ms: 1_770_000_000_000, documents: 5 };
    let mut writer = Writer::new(Vec::new(), &head, REVOKED.as_bytes()).expect("written");
    for document in &documents {
        writer.document(document).expect("written");
    }
    let tombstone = Document {
        deleted_ms: Some(DELETED.1),
        snapshot_seq: Seq(3),
        last_seq: Seq(3),
        ..document(name(DELETED.0), 0, vec![], vec![])
    };
    writer.document(&tombstone).expect("written");
    let error = "snapshot 3 is damaged: it is missing".to_owned();
    writer.left_out(&LeftOut { name: name(LEFT_OUT), error }).expect("written");
    writer.finish().expect("written")
}
