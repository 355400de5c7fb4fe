//! All values that can be read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::engine::DATABASE;
use super::message::{Kind, Message, parse_node, removed_in, set_in};
use super::page_table::PageTable;
use super::segment::{BadPlace, SEGMENT_BYTES, Seen, read_segment, slots, walk};

/// Where a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the data file.
    Inline { offset: u64, len: usize },
    /// In a file of its own.
    Blob { number: i64, offset: usize, len: usize },
}

/// A key's newest readable value.
#[derive(Debug, Clone, Copy)]
struct Found {
    lsn: u64,
    place: Place,
}

/// A page as far as it is known.
#[derive(Default)]
struct Page {
    prefix: Vec<u8>,
    values: BTreeMap<Vec<u8>, Found>,
    /// It was seen whole; before that, what a link's key begins with is not known.
    has_base: bool,
}

/// Everything that can be read.
pub(in super::super) struct LogReading {
    file: File,
    blobs: PathBuf,
    values: BTreeMap<Vec<u8>, Found>,
    /// What cannot be read, in the order of writing.
    pub bad: Vec<BadPlace>,
    /// Changes whose key cannot be told, because the page they belong to is lost.
    pub stray_links: u64,
    /// Messages that are whole.
    pub messages: u64,
}

/// Reads the database in `dir`, as far as `end` if there is one. `plausible` says whether bytes can be a key at all.
///
/// Errors: of the file system only.
pub(in super::super) fn read(
    dir: &Path,
    end: Option<u64>,
    plausible: &dyn Fn(&[u8]) -> bool,
) -> io::Result<LogReading> {
    let file = File::open(dir.join(DATABASE))?;
    let mut reading = LogReading {
        file,
        blobs: dir.join("blobs"),
        values: BTreeMap::new(),
        bad: Vec::new(),
        stray_links: 0,
        messages: 0,
    };
    let mut pages = BTreeMap::new();
    let mut buffer = vec![0; SEGMENT_BYTES];
    let in_order = slots(&reading.file, &mut buffer)?.in_order;
    let table = PageTable::read(dir)?;
    let counts = |written_at: u64| end.is_none_or(|end| written_at < end);
    for (at, &(number, offset)) in in_order.iter().enumerate() {
        let bytes = read_segment(&reading.file, offset, &mut buffer)?;
        // What is whole in it may still be the best there is of a page that is damaged elsewhere.
        let is_free = table.is_free(number, offset);
        walk(bytes, offset, number, at + 1 == in_order.len(), &mut |seen| match seen {
            Seen::Message(message, body) if counts(message.written_at()) => {
                reading.take(&mut pages, offset, message, body, plausible);
            }
            Seen::Bad(place) if counts(place.written_at()) && !is_free => reading.bad.push(place),
            Seen::Message(..) | Seen::Bad(_) => {}
        });
    }
    for (key, found) in pages.into_values().flat_map(|page: Page| page.values) {
        match reading.values.get(&key) {
            Some(other) if other.lsn >= found.lsn => {}
            _ => {
                reading.values.insert(key, found);
            }
        }
    }
    Ok(reading)
}

impl LogReading {
    fn take(
        &mut self,
        pages: &mut BTreeMap<u64, Page>,
        offset: u64,
        message: &Message,
        body: &[u8],
        plausible: &dyn Fn(&[u8]) -> bool,
    ) {
        self.messages += 1;
        let lsn = message.segment * SEGMENT_BYTES as u64 + message.body as u64;
        let inline = |from: usize, len| Place::Inline { offset: offset + (message.body + from) as u64, len };
        match message.kind {
            Kind::Cap | Kind::Canceled | Kind::Batch | Kind::Counter | Kind::Meta => {}
            Kind::Free => {
                pages.remove(&message.page);
            }
            Kind::Node => self.take_node(pages, message.page, lsn, body, &inline),
            Kind::Link => self.take_link(pages, message.page, lsn, body, &inline, plausible),
            Kind::BlobNode | Kind::BlobLink => {
                let number = body.first_chunk::<8>().map(|number| i64::from_le_bytes(*number));
                let Some((number, body)) = number.and_then(|number| Some((number, self.blob(number)?))) else {
                    let offset = offset + message.body as u64;
                    self.bad.push(BadPlace { offset, bytes: message.len as u64, segment: message.segment });
                    return;
                };
                let blob = |from: usize, len| Place::Blob { number, offset: from, len };
                match message.kind {
                    Kind::BlobNode => self.take_node(pages, message.page, lsn, &body, &blob),
                    _ => self.take_link(pages, message.page, lsn, &body, &blob, plausible),
                }
            }
        }
    }

    fn take_node(
        &mut self,
        pages: &mut BTreeMap<u64, Page>,
        page: u64,
        lsn: u64,
        body: &[u8],
        place: &dyn Fn(usize, usize) -> Place,
    ) {
        let Some(node) = parse_node(body) else {
            self.stray_links += 1;
            return;
        };
        let found = |(from, len)| Found { lsn, place: place(from, len) };
        let values = node.entries.into_iter().map(|(key, at)| ([&node.prefix[..], key].concat(), found(at))).collect();
        pages.insert(page, Page { prefix: node.prefix, values, has_base: true });
    }

    fn take_link(
        &mut self,
        pages: &mut BTreeMap<u64, Page>,
        page: u64,
        lsn: u64,
        body: &[u8],
        place: &dyn Fn(usize, usize) -> Place,
        plausible: &dyn Fn(&[u8]) -> bool,
    ) {
        let page = pages.entry(page).or_default();
        if let Some((end, (from, len))) = set_in(body) {
            match page.key(end, plausible) {
                Some(key) => drop(page.values.insert(key, Found { lsn, place: place(from, len) })),
                None => self.stray_links += 1,
            }
        } else if let Some(end) = removed_in(body) {
            match page.key(end, plausible) {
                Some(key) => drop(page.values.remove(&key)),
                None => self.stray_links += 1,
            }
        }
        // Other links are about merges of pages; what comes of them is in the nodes that follow.
    }

    fn blob(&self, number: i64) -> Option<Vec<u8>> {
        let bytes = fs::read(self.blobs.join(number.to_string())).ok()?;
        let (crc, covered) = bytes.split_first_chunk::<4>()?;
        (crc32fast::hash(covered) == u32::from_le_bytes(*crc)).then(|| covered.get(1..).unwrap_or_default().to_vec())
    }

    /// Every key, in order.
    pub(in super::super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.values.keys().map(|key| &key[..])
    }

    /// The value of a key.
    pub(in super::super) fn value(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let Some(found) = self.values.get(key) else { return Ok(None) };
        match found.place {
            Place::Inline { offset, len } => {
                let mut value = vec![0; len];
                self.file.read_exact_at(&mut value, offset)?;
                Ok(Some(value))
            }
            Place::Blob { number, offset, len } => {
                let blob = self.blob(number).unwrap_or_default();
                Ok(blob.get(offset..offset + len).map(<[u8]>::to_vec))
            }
        }
    }
}

impl Page {
    /// The whole key of which a link has the end. Should the page's latest state be lost, its prefix may have become
    /// longer; then the end may still be that of one key it has.
    fn key(&self, end: &[u8], plausible: &dyn Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let key = [&self.prefix[..], end].concat();
        if plausible(&key) && (self.has_base || self.values.is_empty()) {
            return Some(key);
        }
        let mut ending = self.values.keys().filter(|key| key.ends_with(end));
        match (ending.next(), ending.next()) {
            (Some(key), None) => Some(key.clone()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::super::{LogAppend, Store};
    use super::super::super::SledStore;
    use super::super::super::salvage::checkpoint_in;
    use super::super::check;
    use super::*;
    use crate::ids::{DocName, Seq};
    use crate::store::keys::Key;
    use bytes::Bytes;

    /// Numbers without order, the same each time.
    struct Steps(u64);

    impl Steps {
        fn next(&mut self, below: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % below
        }
    }

    /// Documents whose logs grow, so that pages give keys to new neighbours all the time.
    fn fill(dir: &Path) {
        let store = SledStore::open(dir).unwrap();
        let mut rng = Steps(7);
        for round in 1..=12 {
            let append = |n: u64| LogAppend {
                doc: DocName::parse(&format!("notes/{n}")).unwrap(),
                updates: vec![(Seq(round), Bytes::from(vec![(n + round) as u8; rng.next(2_900)]))],
            };
            store.append(&(0..60).map(append).collect::<Vec<_>>(), 5).unwrap();
            store.make_durable().unwrap();
        }
    }

    /// Says of a segment that it was begun when so much was stable.
    fn set_stable(segment: &mut [u8], stable: u64) {
        segment[12..20].copy_from_slice(&(stable as i64 ^ i64::MAX).to_le_bytes());
        let crc = crc32fast::hash(&segment[4..20]) ^ u32::MAX;
        segment[..4].copy_from_slice(&crc.to_le_bytes());
    }

    /// Found by `nth`, backup: sled's threads write out of order, one found the disk full, and a page stood behind the gap
    /// that had given the root record to a neighbour within it.
    #[test]
    fn behind_a_gap_nothing_counts_just_as_for_sled() {
        let tmp = tempfile::tempdir().unwrap();
        let whole = tmp.path().join("whole");
        fill(&whole);
        let database = fs::read(whole.join(DATABASE)).unwrap();
        let file = File::open(whole.join(DATABASE)).unwrap();
        let in_order = slots(&file, &mut vec![0; SEGMENT_BYTES]).unwrap().in_order;
        assert!(in_order.len() >= 4, "{in_order:?}");
        let &[.., (number, offset), (_, last)] = &in_order[..] else { unreachable!("there are four") };
        let mut rng = Steps(8);
        let keys = |dir: &Path, end| read(dir, end, &|key| Key::parse(key).is_some()).unwrap();
        let all = keys(&whole, None).keys().count();
        let mut lost = 0;
        for round in 0..40 {
            let cut = 20 + rng.next(SEGMENT_BYTES - 60);
            let mut bytes = database.clone();
            bytes[offset as usize + cut..offset as usize + SEGMENT_BYTES].fill(0);
            set_stable(&mut bytes[last as usize..], number * SEGMENT_BYTES as u64);
            let dir = tmp.path().join(round.to_string());
            fs::create_dir(&dir).unwrap();
            fs::copy(whole.join("conf"), dir.join("conf")).unwrap();
            fs::write(dir.join(DATABASE), bytes).unwrap();

            let end = check(&dir, true, &checkpoint_in).unwrap().end(1);
            let reading = keys(&dir, end);
            let ours: Vec<_> = reading.keys().map(|key| (key.to_vec(), reading.value(key).unwrap().unwrap())).collect();
            let theirs: Vec<_> = {
                let db = sled::Config::new().path(&dir).flush_every_ms(None).open().unwrap();
                db.iter().map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap()).collect()
            };
            assert!(ours == theirs, "cut at {cut} of segment {number}: {} keys, sled has {}", ours.len(), theirs.len());
            lost = lost.max(all - ours.len());
            fs::remove_dir_all(&dir).unwrap();
        }
        assert!(lost > 20, "no cut took much: {lost} of {all} keys at most");
    }
}
