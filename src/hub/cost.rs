//! What a turn costs, and who is to be charged for it: those who sent what it was about, each by its bytes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::peer::Charge;
use super::task::Connection;
use crate::budget::{Bill, Kind};
use crate::ids::PeerId;
use crate::limits::{INBOX_MESSAGE_COST, TURN_HEAVY_BYTES, TURN_SLOW, TURNS_APART_MAX};
use crate::wire::message::ClientMessage;
use crate::wire::update;

/// What the messages of one turn are about. Its memory is used for the next one.
#[derive(Default)]
pub(super) struct Cost {
    shares: Vec<Share>,
    bill: Bill,
    /// The last turn was a slow one.
    was_slow: bool,
}

/// Messages of one peer that came in a row.
struct Share {
    peer: PeerId,
    /// Bytes, and something for each message.
    weight: u64,
    structs: u64,
    questions: u32,
}

impl Cost {
    /// Notes a message of this turn.
    pub(super) fn note(&mut self, peer: PeerId, message: &ClientMessage<'_>) {
        let bytes = message.payload().len() as u64;
        let weight = bytes + INBOX_MESSAGE_COST as u64;
        let (structs, questions) = match message {
            ClientMessage::SyncStep2(update) | ClientMessage::Update(update) => (update::structs(update), 0),
            ClientMessage::SyncStep1(_) => (0, 1),
            ClientMessage::Awareness(_) | ClientMessage::QueryAwareness | ClientMessage::AckRequest(_) => (0, 0),
        };
        self.bill.add(Kind::Messages, 1);
        self.bill.add(Kind::Bytes, bytes);
        self.bill.add(Kind::Structs, structs);
        match self.shares.last_mut().filter(|share| share.peer == peer) {
            Some(share) => {
                share.weight += weight;
                share.structs += structs;
                share.questions += questions;
            }
            None => self.shares.push(Share { peer, weight, structs, questions }),
        }
    }

    /// Does the turn's work, and says how long it took. What may take long is done so that others need not wait for it.
    pub(super) fn measure<T>(&mut self, work: impl FnOnce() -> T) -> (T, Duration) {
        let heavy = self.was_slow || self.bill.of(Kind::Bytes) > TURN_HEAVY_BYTES;
        let (began, busy) = (Instant::now(), heavy.then(busy));
        let done = if heavy { apart(work) } else { work() };
        let took = began.elapsed();
        self.was_slow = took > TURN_SLOW;
        let took = match busy {
            Some(before) => self::busy().saturating_sub(before),
            // On a machine that is busy otherwise, time passes without anybody's fault.
            None => took.min(TURN_SLOW),
        };
        (done, took)
    }

    /// Whether others should have their turn before the next.
    pub(super) fn was_slow(&self) -> bool {
        self.was_slow
    }

    /// Charges everybody for a turn that took so long, and gives the whole bill.
    pub(super) fn charge(&mut self, took: Duration, peers: &BTreeMap<PeerId, Connection>) -> Bill {
        let all: u64 = self.shares.iter().map(|share| share.weight).sum();
        for Share { peer, weight, structs, questions } in self.shares.drain(..) {
            let Some(peer) = peers.get(&peer) else { continue };
            let cpu = took.mul_f64(weight as f64 / all.max(1) as f64);
            peer.sink.charge(Charge { cpu, structs, questions });
        }
        let mut bill = std::mem::take(&mut self.bill);
        bill.add(Kind::Cpu, took.as_micros() as u64);
        bill
    }
}

/// How long this thread has kept a processor busy.
fn busy() -> Duration {
    let busy = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(busy.tv_sec.unsigned_abs(), busy.tv_nsec.unsigned_abs() as u32)
}

/// Does work that may take long. What waits behind it on this thread is taken over by another; but not by any number of
/// them, since threads cost memory.
fn apart<T>(work: impl FnOnce() -> T) -> T {
    static APART: AtomicUsize = AtomicUsize::new(0);
    struct Place;
    impl Drop for Place {
        fn drop(&mut self) {
            APART.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let _place = Place;
    let others = APART.fetch_add(1, Ordering::Relaxed);
    let has_others = Handle::try_current().is_ok_and(|on| on.runtime_flavor() == RuntimeFlavor::MultiThread);
    if has_others && others < TURNS_APART_MAX { tokio::task::block_in_place(work) } else { work() }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;

    use super::*;
    use crate::hub::{Delivery, FrameKind, PeerSink};
    use crate::wire::close::CloseReason;

    #[derive(Default)]
    struct Charged(Mutex<Vec<Charge>>);

    impl PeerSink for Charged {
        fn deliver(&self, _: &Bytes, _: FrameKind) -> Delivery {
            Delivery::Taken
        }

        fn is_idle(&self) -> bool {
            true
        }

        fn close(&self, _: CloseReason) {}

        fn charge(&self, charge: Charge) {
            self.0.lock().unwrap().push(charge);
        }
    }

    #[test]
    fn everybody_pays_for_what_it_sent() {
        let sinks = [1, 2].map(|id| (PeerId(id), Arc::new(Charged::default())));
        let connected = |(id, sink): &(PeerId, Arc<Charged>)| (*id, Connection::new(sink.clone(), 0));
        let peers: BTreeMap<PeerId, Connection> = sinks.iter().map(connected).collect();
        let mut cost = Cost::default();
        let one = [0; 1_000 - INBOX_MESSAGE_COST];
        cost.note(PeerId(1), &ClientMessage::Awareness(&one));
        // One struct of client 5, deleted content.
        cost.note(PeerId(1), &ClientMessage::Update(&[1, 1, 5, 0, 0, 2, 0]));
        cost.note(PeerId(2), &ClientMessage::SyncStep1(&[0; 2_000 - INBOX_MESSAGE_COST]));
        cost.note(PeerId(3), &ClientMessage::Awareness(&[0; 929 - INBOX_MESSAGE_COST]));
        let bill = cost.charge(Duration::from_millis(40), &peers);
        assert_eq!((bill.of(Kind::Messages), bill.of(Kind::Structs), bill.of(Kind::Cpu)), (4, 1, 40_000));
        let of = |at: usize| sinks[at].1.0.lock().unwrap()[0];
        assert_eq!((of(0).structs, of(0).questions, of(1).questions), (1, 0, 1));
        assert_eq!((of(0).cpu.as_micros() / 100, of(1).cpu.as_millis()), (107, 20), "by their bytes");
        assert_eq!(cost.charge(Duration::from_millis(1), &peers).of(Kind::Messages), 0, "paid for once");
        assert_eq!(sinks[0].1.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn what_takes_long_is_measured_by_the_processor() {
        let mut cost = Cost::default();
        let sleep = || std::thread::sleep(Duration::from_millis(20));
        assert_eq!(cost.measure(sleep).1, TURN_SLOW, "nobody knew");
        assert!(cost.was_slow());
        assert!(cost.measure(sleep).1 < Duration::from_millis(10), "it did nothing all the while");
        let spin = || {
            let began = busy();
            while busy() - began < Duration::from_millis(20) {}
        };
        assert!(cost.measure(spin).1 >= Duration::from_millis(20));
    }
}
