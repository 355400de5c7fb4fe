//! Keeps bytes that broke a document, and records that could not be stored, for whoever has to find out why.
//!
//! A kept file is one line of JSON that says what it is ([`Label`]), then the bytes. Its name follows from its contents,
//! so that keeping the same twice, after a crash or because a client sends it again, fills nothing.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{DocName, Seq};
use crate::limits::{QUARANTINE_BYTES_MAX, QUARANTINE_FILES_MAX, QUARANTINE_LABEL_BYTES_MAX, QUARANTINE_UPDATES_MAX};

/// What a kept file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Label {
    /// What the bytes are: `journal` updates that could not be stored, a `record` of the store, or an `update` that breaks
    /// whoever integrates it (none, when it is the document as a whole).
    pub kind: Kind,
    /// Whose they are.
    pub document: DocName,
    /// Of a record, its key in the database, as hexadecimal digits.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Why they are here.
    pub why: String,
    /// Of updates: the position and the length of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub updates: Vec<(Seq, u64)>,
    /// Of an update: who sent it, in words; several when each had a part in the record. See [`UNKNOWN_SENDER`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub senders: Vec<String>,
}

/// Who sent an update that nobody remembers.
pub(super) const UNKNOWN_SENDER: &str = "unknown: before the last start, or too long ago";

/// An update in quarantine that breaks whoever integrates it, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptUpdate {
    /// The file's name.
    pub file: String,
    /// The document that it was sent to.
    pub document: DocName,
    /// Its position in that document's log, unless it is the document as a whole.
    pub seq: Option<Seq>,
    /// What it does.
    pub why: String,
    /// Who sent it; several when each had a part in it.
    pub senders: Vec<String>,
}

/// The first word of a kept file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Journal,
    Record,
    Update,
}

/// Keeps an update that breaks whoever integrates it, durably.
///
/// # Errors
/// Of the file system, or that the quarantine is full; clients could send more and more of them.
pub(super) fn keep_update(dir: &Path, label: &Label, update: &[u8]) -> io::Result<PathBuf> {
    if names(dir).iter().filter(|name| is_update(name)).count() >= QUARANTINE_UPDATES_MAX {
        return Err(io::Error::other("the quarantine has many of them already"));
    }
    keep(dir, label, &[update])
}

/// Documents with an update in `dir` that breaks whoever integrates it.
pub(super) fn broken_documents(dir: &Path) -> BTreeSet<DocName> {
    let labels = names(dir).into_iter().filter(|name| is_update(name)).filter_map(|name| label_of(&dir.join(name)));
    labels.map(|label| label.document).collect()
}

/// What those of these files in `dir` say of themselves that hold an update which breaks whoever integrates it.
pub(super) fn kept_updates(dir: &Path, names: &[String]) -> Vec<KeptUpdate> {
    let updates = names.iter().filter(|name| is_update(name));
    let kept = updates.filter_map(|name| {
        let Label { document, why, updates, senders, .. } = label_of(&dir.join(name))?;
        let seq = updates.first().map(|(seq, _)| *seq);
        Some(KeptUpdate { file: name.clone(), document, seq, why, senders })
    });
    kept.collect()
}

/// The first line of a kept file, if there is one.
fn label_of(path: &Path) -> Option<Label> {
    let mut line = String::new();
    // No name, reason or sender in it is long; what follows may be.
    BufReader::new(File::open(path).ok()?).take(QUARANTINE_LABEL_BYTES_MAX).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

fn is_update(name: &str) -> bool {
    name.starts_with("update-") && name.ends_with(".kept")
}

/// Keeps updates of the journal that cannot be stored, durably.
///
/// # Errors
/// Of the file system, or that the quarantine is full; then nothing was kept and nothing may be removed elsewhere.
pub(super) fn keep_journal(dir: &Path, doc: &DocName, why: &str, updates: &[(Seq, Bytes)]) -> io::Result<PathBuf> {
    let label = Label {
        kind: Kind::Journal,
        document: doc.clone(),
        key: String::new(),
        why: why.to_owned(),
        updates: updates.iter().map(|(seq, update)| (*seq, update.len() as u64)).collect(),
        senders: Vec::new(),
    };
    let parts: Vec<&[u8]> = updates.iter().map(|(_, update)| &update[..]).collect();
    keep(dir, &label, &parts)
}

/// Keeps bytes under their label, durably.
pub(super) fn keep(dir: &Path, label: &Label, parts: &[&[u8]]) -> io::Result<PathBuf> {
    let mut head = serde_json::to_vec(label)?;
    head.push(b'\n');
    let crc = parts.iter().fold(crc32c::crc32c(&head), |crc, part| crc32c::crc32c_append(crc, part));
    let bytes = head.len() as u64 + parts.iter().map(|part| part.len() as u64).sum::<u64>();
    let kind = match label.kind {
        Kind::Journal => "journal",
        Kind::Record => "record",
        Kind::Update => "update",
    };
    let path = dir.join(format!("{kind}-{crc:08x}-{bytes}.kept"));
    if path.exists() {
        return Ok(path);
    }
    fs::create_dir_all(dir)?;
    let (mut files, mut total) = (0, bytes);
    for file in fs::read_dir(dir)? {
        files += 1;
        total += file?.metadata()?.len();
    }
    if files >= QUARANTINE_FILES_MAX || total > QUARANTINE_BYTES_MAX {
        return Err(io::Error::other(format!(
            "the quarantine {} is full ({files} files, {total} bytes); move its files to another place, then try again",
            dir.display()
        )));
    }
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&head)?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    File::open(dir)?.sync_all()?;
    // The quarantine itself may be new.
    dir.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())?;
    Ok(path)
}

/// Names of what was acknowledged, one a line.
const ACKNOWLEDGED: &str = "ACKNOWLEDGED";

/// Names of what is in `dir` and was not acknowledged, sorted.
pub(super) fn unacknowledged(dir: &Path) -> Vec<String> {
    let known = fs::read_to_string(dir.join(ACKNOWLEDGED)).unwrap_or_default();
    let known: BTreeSet<&str> = known.lines().collect();
    names(dir).into_iter().filter(|name| !known.contains(&**name)).collect()
}

/// Notes that somebody has seen all that is in `dir`, durably.
pub(super) fn acknowledge(dir: &Path) -> io::Result<()> {
    let names = names(dir);
    if names.is_empty() {
        return Ok(());
    }
    let new = dir.join("ACKNOWLEDGED.new");
    let mut file = File::create(&new)?;
    names.iter().try_for_each(|name| writeln!(file, "{name}"))?;
    file.sync_all()?;
    fs::rename(&new, dir.join(ACKNOWLEDGED))?;
    File::open(dir)?.sync_all()
}

fn names(dir: &Path) -> BTreeSet<String> {
    let ours = |name: &String| !name.ends_with(".new") && name != ACKNOWLEDGED;
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|file| file.file_name().into_string().ok()).filter(ours).collect()
}

/// The journal's updates of `doc` that could not be stored and were not brought back since.
pub(super) fn kept_journal(dir: &Path, doc: &DocName) -> Vec<Bytes> {
    let files = unacknowledged(dir).into_iter().filter(|name| name.starts_with("journal-") && name.ends_with(".kept"));
    files.filter_map(|name| updates_in(&dir.join(name), doc)).flatten().collect()
}

/// The updates in a kept file of `doc`; `None` for another's, or when the file itself is damaged.
fn updates_in(path: &Path, doc: &DocName) -> Option<Vec<Bytes>> {
    let bytes = Bytes::from(fs::read(path).ok()?);
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let label: Label = serde_json::from_slice(bytes.get(..end)?).ok().filter(|label: &Label| label.document == *doc)?;
    let mut from = end + 1;
    let mut updates = Vec::new();
    for (_, len) in label.updates {
        let to = from.checked_add(usize::try_from(len).ok()?)?;
        updates.push(bytes.slice_ref(bytes.get(from..to)?));
        from = to;
    }
    Some(updates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_twice_is_there_once_and_says_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("quarantine");
        let doc = DocName::parse("notes/ä").unwrap();
        let updates = [(Seq(3), Bytes::from_static(b"three")), (Seq(5), Bytes::from_static(b"five"))];
        let path = keep_journal(&dir, &doc, "its entry is damaged", &updates).unwrap();
        assert_eq!(keep_journal(&dir, &doc, "its entry is damaged", &updates).unwrap(), path);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        let bytes = fs::read(&path).unwrap();
        let end = bytes.iter().position(|b| *b == b'\n').unwrap();
        let label = label_of(&path).unwrap();
        assert_eq!((label.document, label.updates), (doc, vec![(Seq(3), 5), (Seq(5), 4)]));
        assert_eq!(&bytes[end + 1..], b"threefive");
        assert_eq!(unacknowledged(&dir).len(), 1);
        assert_eq!(kept_journal(&dir, &label_of(&path).unwrap().document), ["three", "five"]);
        assert!(kept_journal(&dir, &DocName::parse("other").unwrap()).is_empty());
        acknowledge(&dir).unwrap();
        assert!(unacknowledged(&dir).is_empty());
    }

    #[test]
    fn a_restart_knows_what_is_not_to_be_integrated() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("quarantine");
        assert!(broken_documents(&dir).is_empty());
        let doc = DocName::parse("notes/ä").unwrap();
        let label = |n: u64| Label {
            kind: Kind::Update,
            document: doc.clone(),
            key: String::new(),
            why: "it died (signal: 9 (SIGKILL))".to_owned(),
            updates: vec![(Seq(n), 5)],
            senders: vec![UNKNOWN_SENDER.to_owned()],
        };
        keep_update(&dir, &label(0), b"a\nb\nc").unwrap();
        keep_journal(&dir, &DocName::parse("other").unwrap(), "why", &[]).unwrap();
        assert_eq!(broken_documents(&dir), BTreeSet::from([doc.clone()]));
        let [kept] = &kept_updates(&dir, &unacknowledged(&dir))[..] else { panic!("not the one update") };
        assert_eq!(
            (&kept.document, kept.seq, &kept.senders[..]),
            (&doc, Some(Seq(0)), &[UNKNOWN_SENDER.to_owned()][..])
        );
        let kept = (1..).map_while(|n| keep_update(&dir, &label(n), b"12345").ok()).count();
        assert_eq!(kept, QUARANTINE_UPDATES_MAX - 1);
    }
}
