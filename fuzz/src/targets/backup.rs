//! The backup file: any bytes, any frames under right checksums, and whole backups in which something was changed. What is
//! read to its end is what was written (BK1).

use bytes::Bytes;
use sha2::{Digest, Sha256};
use weft::backup::{Document, Head, Item, LeftOut, Reader, Writer};
use weft::ids::{DocName, Seq};

use crate::parts::Parts;
use crate::script::Choices;

/// Reads one file.
pub fn run(input: &[u8]) {
    let mut parts = Parts::of(input);
    match parts.choice() % 3 {
        0 => drop(read(parts.rest())),
        1 => {
            let file = frames(&mut parts);
            if let Some((head, revoked, items)) = read(&file) {
                assert_eq!(read(&write(&head, &revoked, &items)), Some((head, revoked, items)), "written again");
            }
        }
        _ => damaged(&mut parts),
    }
}

type Contents = (Head, Vec<u8>, Vec<Item>);

/// All that is in a file; `None` when it is not whole.
fn read(file: &[u8]) -> Option<Contents> {
    let mut reader = Reader::open(file).ok()?;
    let mut items = Vec::new();
    loop {
        match reader.next() {
            Ok(Some(item)) => items.push(item),
            Ok(None) => break,
            Err(_) => {
                assert!(reader.summary().is_none(), "what is not whole has no summary");
                return None;
            }
        }
    }
    let summary = reader.summary().expect("what was read to its end has a summary");
    assert_eq!(summary.bytes, file.len() as u64, "nothing follows");
    let hex: String = Sha256::digest(file).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(summary.sha256.to_string(), hex);
    Some((reader.head().clone(), reader.revoked().to_vec(), items))
}

fn write(head: &Head, revoked: &[u8], items: &[Item]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), head, revoked).expect("a vector takes all");
    for item in items {
        match item {
            Item::Document(document) => writer.document(document).expect("what was read adds up"),
            Item::LeftOut(left_out) => writer.left_out(left_out).expect("a vector takes all"),
        }
    }
    writer.finish().expect("a vector takes all").0
}

/// Frames of any kind and contents, each where it stands; a trailer gets the right hash.
fn frames(parts: &mut Parts<'_>) -> Vec<u8> {
    let version = parts.choice() % 4;
    let mut file = b"weft-bak".to_vec();
    file.extend([version, 0, 0, 0]);
    file.extend(crc32c::crc32c(&file).to_le_bytes());
    for (number, part) in (0u64..).zip(parts) {
        let Some((kind, body)) = part.split_first() else { continue };
        let mut body = body.to_vec();
        if *kind == b'T' && body.len() >= 40 {
            body.truncate(40);
            body.extend(Sha256::digest(&file));
        }
        let mut header = vec![*kind];
        header.extend((body.len() as u32).to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), &header);
        header.extend(crc32c::crc32c_append(crc, &body).to_le_bytes());
        file.extend(header);
        file.extend(body);
    }
    file
}

/// Writes documents, changes the file, and sees that the change is found.
fn damaged(parts: &mut Parts<'_>) {
    let (place, how) = (parts.choice(), parts.choice());
    let mut items = Vec::new();
    for part in parts {
        items.push(item(part));
    }
    let head = Head { weft: "0.0.0".to_owned(), created_ms: 7, documents: items.len() as u64 };
    let file = write(&head, b"revoked", &items);
    assert_eq!(read(&file), Some((head, b"revoked".to_vec(), items)), "read as written");
    let mut changed = file.clone();
    let at = usize::from(place) * file.len() / 256;
    match how % 4 {
        0 => changed[at] ^= how | 1,
        1 => changed.truncate(at),
        2 => changed.push(how),
        _ => {
            let to = (at + usize::from(how)).min(file.len());
            let piece = changed[at..to].to_vec();
            drop(changed.splice(at..at, piece));
        }
    }
    if changed != file {
        assert_eq!(read(&changed), None, "a change is found");
    }
}

fn item(part: &[u8]) -> Item {
    let mut choices = Choices::of(part);
    let name = DocName::parse(&format!("doc {}", choices.pick(8))).expect("a name");
    match choices.pick(5) {
        0 => Item::LeftOut(LeftOut { name, error: "it is damaged".to_owned() }),
        1 => Item::Document(document(name, Some(5), Vec::new(), Vec::new())),
        _ => {
            let mut updates: Vec<Bytes> =
                part.chunks(1 + choices.pick(64) as usize).map(Bytes::copy_from_slice).collect();
            let snapshot = updates.split_off(updates.len() / 2);
            Item::Document(document(name, None, snapshot, updates))
        }
    }
}

fn document(name: DocName, deleted_ms: Option<u64>, snapshot: Vec<Bytes>, log: Vec<Bytes>) -> Document {
    let snapshot_seq = Seq(3);
    let last_seq = Seq(3 + log.len() as u64);
    Document { name, created_ms: 1, updated_ms: 2, deleted_ms, last_seq, snapshot_seq, snapshot, log }
}
