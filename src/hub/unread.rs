//! Answers from what is stored, before anybody has read it: who has nothing is sent the updates of the snapshot and of the log
//! as they lie there. To read them, struct by struct with every rule of the gate, takes several times as long as to send them.
//!
//! They were accepted before they were logged, or proven before they were installed, and have not changed since, or their
//! checksums would not match.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::addresses::{Addresses, Announcement};
use super::mailbox::{Batch, Mail, MessageKind};
use super::peer::{Delivery, FrameKind, PeerSink};
use crate::ids::PeerId;
use crate::limits::{ANSWER_BYTES_MAX, UNREAD_BYTES_MIN, UNREAD_TAIL_BYTES_MAX};
use crate::store::StoredDocument;
use crate::wire::merge::merge;
use crate::wire::message::ServerMessage;

/// The state vector of who has nothing.
pub(super) const NOTHING: &[u8] = &[0];

/// Answers those in `batch` who have come and ask for all of the document, where what is stored is their answer. Their
/// questions become [`Mail::Answered`]. Whether nobody is left who waits for the document to be read.
pub(super) fn answer(stored: &StoredDocument, batch: &mut Batch) -> bool {
    let mut addresses = Addresses::default();
    let mut newcomers: BTreeMap<PeerId, (usize, Arc<dyn PeerSink>)> = BTreeMap::new();
    for mail in &batch.mail {
        if let Mail::Join(id, _, address, sink) = mail
            // Who is asked in turn is asked before it is answered (WIRE h1).
            && !address.dialect().confirms_each_write()
        {
            newcomers.insert(*id, (addresses.join(address.clone()), sink.clone()));
        }
    }
    let (mut said, mut answered) = (None, 0);
    for mail in &mut batch.mail {
        match mail {
            Mail::Message(id, MessageKind::SyncStep1, range) => {
                let Some((address, sink)) = newcomers.remove(id) else { continue };
                if batch.bytes.get(range.clone()) != Some(NOTHING) {
                    continue;
                }
                if said.is_none() {
                    let Some(unread) = Unread::of(stored) else { return false };
                    said = Some(unread.announce(&addresses));
                }
                if let Some((tail, whole)) = &mut said
                    && tail.as_mut().is_none_or(|tail| is_taken(&*sink, tail, address, FrameKind::Control))
                    && is_taken(&*sink, whole, address, FrameKind::Answer)
                {
                    *mail = Mail::Answered(*id);
                    answered += 1;
                }
            }
            // Who asks after that is to have what it brings, too.
            Mail::Message(_, MessageKind::SyncStep2 | MessageKind::Update, _) | Mail::Import(..) => break,
            _ => {}
        }
    }
    let waits = |mail: &Mail| match mail {
        Mail::Join(..) | Mail::Answered(_) | Mail::Leave(_) => false,
        Mail::Message(_, kind, _) => !matches!(kind, MessageKind::Awareness | MessageKind::QueryAwareness),
        _ => true,
    };
    answered > 0 && !batch.mail.iter().any(waits)
}

fn is_taken(sink: &dyn PeerSink, message: &mut Announcement<'_>, address: usize, kind: FrameKind) -> bool {
    message.frames(address).is_some_and(|frame| sink.deliver(frame, kind) == Delivery::Taken)
}

/// All of a document, as it is stored.
struct Unread {
    /// What the log adds to the rest. It is sent first: a client keeps it until it has what is missing, and so has all when
    /// the answer comes, upon which it calls itself synced.
    tail: Option<Bytes>,
    whole: Bytes,
}

impl Unread {
    /// None where it is not worth it, or cannot be told without reading all.
    fn of(stored: &StoredDocument) -> Option<Self> {
        let log = stored.log.iter().map(|(_, update)| &update[..]);
        let log_bytes: usize = log.clone().map(<[u8]>::len).sum();
        let snapshot_bytes: usize = stored.snapshot.iter().map(Bytes::len).sum();
        if snapshot_bytes + log_bytes < UNREAD_BYTES_MIN {
            return None;
        }
        match &stored.snapshot[..] {
            [state] if snapshot_bytes <= ANSWER_BYTES_MAX && log_bytes <= UNREAD_TAIL_BYTES_MAX => {
                let tail = match log_bytes {
                    0 => None,
                    _ => Some(merge(log).ok()??.update.into()),
                };
                Some(Self { tail, whole: state.clone() })
            }
            [] if log_bytes <= ANSWER_BYTES_MAX => {
                let all = merge(log).ok()?.filter(|merged| merged.from_start)?;
                Some(Self { tail: None, whole: all.update.into() })
            }
            // Some of it waits for what is missing, which is nobody's concern but ours; or it goes out in portions.
            _ => None,
        }
    }

    fn announce(self, addresses: &Addresses) -> (Option<Announcement<'_>>, Announcement<'_>) {
        let tail = self.tail.map(|tail| addresses.announce(ServerMessage::Update(tail)));
        (tail, addresses.announce(ServerMessage::SyncStep2(self.whole)))
    }
}
