//! y-websocket messages as bytes, written here independently of `weft::wire`, so that one can check the other.

use yrs::updates::encoder::Encode;
use yrs::{Doc, Options, ReadTxn, StateVector, Text, Transact};

/// LEB128, low group first.
pub fn var_uint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A length and the bytes.
pub fn var_bytes(payload: &[u8]) -> Vec<u8> {
    [var_uint(payload.len() as u64), payload.to_vec()].concat()
}

fn message(tags: &[u8], payload: &[u8]) -> Vec<u8> {
    [tags.to_vec(), var_bytes(payload)].concat()
}

/// SyncStep1 with a state vector in v1 encoding.
pub fn step1(state_vector: &[u8]) -> Vec<u8> {
    message(&[0, 0], state_vector)
}

/// SyncStep1 of somebody who knows nothing.
pub fn step1_empty() -> Vec<u8> {
    step1(&[0])
}

/// SyncStep2.
pub fn step2(update: &[u8]) -> Vec<u8> {
    message(&[0, 1], update)
}

/// Update.
pub fn update(update: &[u8]) -> Vec<u8> {
    message(&[0, 2], update)
}

/// Awareness of `(client, clock, json)` entries; `null` means gone.
pub fn awareness(entries: &[(u64, u64, &str)]) -> Vec<u8> {
    let mut payload = var_uint(entries.len() as u64);
    for (client, clock, json) in entries {
        payload.extend(var_uint(*client));
        payload.extend(var_uint(*clock));
        payload.extend(var_bytes(json.as_bytes()));
    }
    message(&[1], &payload)
}

/// The ack request with a number.
pub fn ack(number: u64) -> Vec<u8> {
    message(&[102], &var_uint(number))
}

/// QueryAwareness.
pub const QUERY_AWARENESS: &[u8] = &[3];

/// Reads lib0 values from bytes that a test trusts; panics at the end.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// LEB128.
    pub fn var_uint(&mut self) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = self.0[0];
            self.0 = &self.0[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    /// A length and the bytes.
    pub fn var_bytes(&mut self) -> &'a [u8] {
        let len = self.var_uint() as usize;
        let (head, rest) = self.0.split_at(len);
        self.0 = rest;
        head
    }
}

/// One entry of an awareness message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Client id.
    pub client: u64,
    /// Its clock.
    pub clock: u64,
    /// Its state as JSON text, `null` when gone.
    pub json: String,
}

/// The entries, if the frame is an awareness message.
pub fn presences(frame: &[u8]) -> Option<Vec<Presence>> {
    let mut frame = Reader(frame.strip_prefix(&[1])?);
    let mut entries = Reader(frame.var_bytes());
    let count = entries.var_uint();
    let entry = |_| Presence {
        client: entries.var_uint(),
        clock: entries.var_uint(),
        json: String::from_utf8(entries.var_bytes().to_vec()).expect("UTF-8"),
    };
    Some((0..count).map(entry).collect())
}

/// The update, if the frame is a SyncStep2 or an Update.
pub fn update_in(frame: &[u8]) -> Option<&[u8]> {
    match frame {
        [0, 1 | 2, rest @ ..] => Some(Reader(rest).var_bytes()),
        _ => None,
    }
}

/// An answer to SyncStep1 on its way: a large one comes as Updates, and what is left of it in the SyncStep2.
#[derive(Default)]
pub struct Answer(Vec<Vec<u8>>);

impl Answer {
    /// Takes a frame; the whole answer as one update when this was its last.
    pub fn take(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        self.0.push(update_in(frame)?.to_vec());
        if !frame.starts_with(&[0, 1]) {
            return None;
        }
        let mut portions = std::mem::take(&mut self.0);
        if portions.len() == 1 {
            return portions.pop();
        }
        Some(yrs::merge_updates_v1(portions.iter().map(Vec::as_slice)).expect("the server sends updates"))
    }
}

/// A writer of text with a fixed client id, whose edits come as v1 updates, one each.
pub struct Writer {
    doc: Doc,
    seen: StateVector,
}

impl Writer {
    /// Client ids are fixed, so that updates of a test are the same bytes each time.
    pub fn new(client: u64) -> Self {
        let options = Options {
            offset_kind: yrs::OffsetKind::Utf16,
            ..Options::with_client_id(yrs::block::ClientID::new(client))
        };
        Self { doc: Doc::with_options(options), seen: StateVector::default() }
    }

    /// Appends to the text `text` and gives the update.
    pub fn append(&mut self, chunk: &str) -> Vec<u8> {
        let text = self.doc.get_or_insert_text("text");
        let mut txn = self.doc.transact_mut();
        text.push(&mut txn, chunk);
        let update = txn.encode_state_as_update_v1(&self.seen);
        self.seen = txn.state_vector();
        update
    }

    /// Deletes from the text.
    pub fn delete(&mut self, at: u32, len: u32) {
        let text = self.doc.get_or_insert_text("text");
        text.remove_range(&mut self.doc.transact_mut(), at, len);
    }

    /// A document that has read `update` and written nothing.
    pub fn reading(update: &[u8]) -> Self {
        let writer = Self::new(1);
        crate::author::apply(&writer.doc, update);
        writer
    }

    /// Everything written, as one update.
    pub fn all(&self) -> Vec<u8> {
        self.doc.transact().encode_state_as_update_v1(&StateVector::default())
    }

    /// State vector in v1 encoding.
    pub fn state_vector(&self) -> Vec<u8> {
        self.doc.transact().state_vector().encode_v1()
    }
}
