//! Of what honest clients send nothing is refused: every recorded frame and every recorded keystroke goes through parser,
//! validator and gate as on a server, and what was refused is counted (HARDENING §2, the one structural defence).

use std::time::Instant;

use crdt_tests::load::text;
use crdt_tests::recording;
use weft::ids::{Access, PeerId};
use weft::replica::effects::Tally;
use weft::replica::{Event, Replica};
use weft::wire::dialect::Dialect;
use weft::wire::message::ClientMessage;
use weft::wire::{update, ywebsocket};

const PEER: PeerId = PeerId(1);
/// Updates in one turn.
const TURN: usize = 100;

/// One document, as a server has it.
struct Document {
    replica: Replica,
    messages: usize,
    tally: Tally,
    closed: usize,
}

impl Document {
    fn new() -> Self {
        let mut replica = Replica::new();
        replica.handle(&[Event::Joined(PEER, Access::Write, Dialect::YWebsocket)], Instant::now());
        Self { replica, messages: 0, tally: Tally::default(), closed: 0 }
    }

    fn turn(&mut self, messages: Vec<ClientMessage<'_>>) {
        self.messages += messages.len();
        let events: Vec<Event<'_>> = messages.into_iter().map(|message| Event::Message(PEER, message)).collect();
        let effects = self.replica.handle(&events, Instant::now());
        self.closed += effects.close.len();
        let all = &mut self.tally;
        let Tally { applied, applied_bytes, known, parked, refused_read_only, refused_limit, refused_size, malformed } =
            effects.tally;
        all.applied += applied;
        all.applied_bytes += applied_bytes;
        all.known += known;
        all.parked += parked;
        all.refused_read_only += refused_read_only;
        all.refused_limit += refused_limit;
        all.refused_size += refused_size;
        all.malformed += malformed;
    }

    /// How many messages were heard, and how many updates taken; none was refused, and nobody sent away.
    fn finish(self, name: &str) -> [u64; 2] {
        let Self { messages, tally, closed, .. } = self;
        println!("{name}: {messages} messages, {tally:?}");
        let refused = [tally.refused_read_only, tally.refused_limit, tally.refused_size, tally.malformed];
        assert_eq!((refused, closed), ([0; 4], 0), "{name}");
        [messages as u64, u64::from(tally.applied + tally.known)]
    }
}

/// Frames of every stock client that was recorded, both ways: what the server sent came from other clients.
#[test]
fn hardening_2_no_recorded_frame_is_refused() {
    let mut total = [0; 2];
    for (name, lines) in recording::all() {
        let mut document = Document::new();
        for direction in ["c>s", "s>c"] {
            for frame in lines.iter().filter_map(|line| line.frame(direction)) {
                let message = ywebsocket::parse(&frame).unwrap_or_else(|e| panic!("{name}: {e}: {frame:?}"));
                document.turn(message.into_iter().collect());
            }
        }
        let counts = document.finish(&name);
        total.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
    }
    println!("{} frames, {} updates in them, 0 refused", total[0], total[1]);
    assert!(total[0] > 300 && total[1] > 50, "{total:?}");
}

/// Every keystroke of every recorded history, one update each, of one author or of several at once.
#[test]
fn hardening_2_no_keystroke_is_refused() {
    let mut total = 0;
    for (name, history) in text::every_history() {
        let mut document = Document::new();
        for updates in history.updates.chunks(TURN) {
            for update in updates {
                update::validate(update).unwrap_or_else(|e| panic!("{name}: {e}: {update:?}"));
            }
            document.turn(updates.iter().map(|update| ClientMessage::Update(update)).collect());
        }
        let state = document.replica.state();
        update::validate(&state).unwrap_or_else(|e| panic!("{name}: what came of it: {e}"));
        let [_, taken] = document.finish(&name);
        assert_eq!(taken, history.updates.len() as u64, "{name}");
        total += taken;
    }
    println!("{total} keystrokes, 0 refused");
}
