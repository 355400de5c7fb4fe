//! Simulations of one document: editors, a network that loses, repeats and reorders, and a server that restarts.
//!
//! The checkers know nothing of how the replica works: they compare with a yrs document that was told everything in order.

use std::time::{Duration, Instant};

use bytes::Bytes;
use crdt_tests::author::{Author, Habit, apply, listener, view};
use crdt_tests::load::text;
use crdt_tests::sweep::sweep;
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use weft::ids::{Access, ClientId, PeerId, Seq};
use weft::limits::{ANSWERS_KEPT_FOR, CHUNK_BYTES};
use weft::replica::content::Content;
use weft::replica::encoded::Shape;
use weft::replica::{Effects, Event, Replica};
use weft::wire::dialect::Dialect;
use weft::wire::lib0::write_var_uint;
use weft::wire::message::{ClientMessage, ServerMessage};
use weft::wire::update::{self, Walker};
use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{Doc, Map, ReadTxn, StateVector, Text, Transact};

/// The server: a replica, its log as the journal would hold it, and nothing else.
struct Server {
    replica: Replica,
    log: Vec<Bytes>,
    shape: Shape,
    now: Instant,
}

impl Server {
    fn new(shape: Shape) -> Self {
        let mut replica = Replica::new();
        replica.keep_by(shape);
        Self { replica, log: Vec::new(), shape, now: Instant::now() }
    }

    fn turn(&mut self, events: &[Event<'_>]) -> Effects {
        let before = self.replica.census();
        let effects = self.replica.handle(events, self.now);
        for (seq, update) in &effects.append {
            assert_eq!(seq.0, self.log.len() as u64 + 1, "positions are dense");
            update::validate(update).expect("what is logged is valid");
            assert_ne!(&update[..], update::EMPTY, "no record says nothing");
            self.log.push(update.clone());
        }
        if let Some((update, _)) = &effects.broadcast {
            assert_eq!(
                Some(update),
                effects.append.first().map(|(_, update)| update),
                "what is sent is what is logged"
            );
        }
        let after = self.replica.census();
        if effects.append.is_empty() {
            assert_eq!((before.clocks, before.deleted_ticks), (after.clocks, after.deleted_ticks));
        }
        effects
    }

    /// Forgets everything and loads the log.
    fn restart(&mut self) {
        let (before, state) = (self.replica.census(), Content::of(&self.replica.state()).unwrap());
        let log = self.log.iter().map(|update| &update[..]);
        self.replica = Replica::load(log, Seq(self.log.len() as u64)).unwrap();
        self.replica.keep_by(self.shape);
        let after = self.replica.census();
        assert_eq!(before.clocks, after.clocks);
        assert_eq!(before.deleted_ticks, after.deleted_ticks);
        assert_eq!(before.parked_bytes, after.parked_bytes, "what waits survives a restart");
        assert_eq!(state, Content::of(&self.replica.state()).unwrap());
    }

    /// Compares with `reference`, which was told everything in order.
    fn check_equals(&mut self, reference: &Doc) {
        let (_, clocks) = self.replica.clocks();
        let clocks = StateVector::decode_v1(&clocks).unwrap();
        assert_eq!(clocks, reference.transact().state_vector());
        assert_eq!(self.replica.census().parked_updates, 0);
        let doc = listener();
        apply(&doc, &self.replica.state());
        assert_eq!(doc.transact().state_vector(), clocks);
        assert!(!doc.transact().has_missing_updates());
        assert_eq!(view(&doc), view(reference));
        let deletes = |doc: &Doc| doc.transact().snapshot().delete_set;
        assert_eq!(deletes(&doc), deletes(reference));
    }
}

/// Authors edit and now and then hear each other; each edit is told to the reference at once.
fn write_history(rng: &mut ChaCha8Rng, habit: Habit, edits: usize) -> (Vec<Vec<u8>>, Vec<Author>, Doc) {
    let gc = rng.random();
    let mut authors: Vec<_> =
        [3, 900, u64::from(u32::MAX), 1 << 40].map(|client| Author::new(client, habit, gc)).into();
    let reference = listener();
    let mut updates = Vec::new();
    for _ in 0..edits {
        let who = rng.random_range(0..authors.len());
        let update = authors[who].edit(rng);
        apply(&reference, &update);
        updates.push(update);
        if rng.random_ratio(1, 3) {
            let other = rng.random_range(0..authors.len());
            let diff = authors[who].diff(&authors[other].state_vector());
            authors[other].hear(&diff);
        }
    }
    (updates, authors, reference)
}

/// Two updates of one client as Yjs merges them when what lies between is missing: with a Skip in the gap.
fn with_skip(first: &[u8], second: &[u8]) -> Option<Vec<u8>> {
    let only_section = |update| {
        let (mut walker, sections) = Walker::new(update).ok()?;
        let section = (sections == 1).then(|| walker.section().ok())??;
        let from = walker.position();
        let mut clock = section.clock;
        for _ in 0..section.structs {
            clock = walker.next(section.client, clock).ok()?.end();
        }
        Some((section, &update[from..walker.position()], clock))
    };
    let (one, one_bytes, one_end) = only_section(first)?;
    let (two, two_bytes, _) = only_section(second)?;
    if one.client != two.client || one_end >= two.clock {
        return None;
    }
    let mut out = vec![1];
    write_var_uint(&mut out, one.structs + 1 + two.structs);
    write_var_uint(&mut out, one.client.0);
    write_var_uint(&mut out, u64::from(one.clock));
    out.extend_from_slice(one_bytes);
    out.push(10);
    write_var_uint(&mut out, u64::from(two.clock - one_end));
    out.extend_from_slice(two_bytes);
    out.push(0);
    Some(out)
}

/// What a bad network makes of `updates`: each of them at least once, in any order, mixed with diffs and merges.
fn deliveries(rng: &mut ChaCha8Rng, updates: &[Vec<u8>], authors: &[Author]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = updates.to_vec();
    for _ in 0..updates.len() / 2 {
        all.push(match rng.random_range(0..4) {
            0 => updates.choose(rng).unwrap().clone(),
            1 => {
                let known = updates.choose(rng).unwrap();
                let known = StateVector::decode_v1(&yrs::encode_state_vector_from_update_v1(known).unwrap()).unwrap();
                authors.choose(rng).unwrap().diff(&known)
            }
            2 => {
                let from = rng.random_range(0..updates.len());
                let some = &updates[from..(from + rng.random_range(2..6)).min(updates.len())];
                yrs::merge_updates_v1(some.iter().map(Vec::as_slice)).unwrap()
            }
            _ => {
                let pair = with_skip(updates.choose(rng).unwrap(), updates.choose(rng).unwrap());
                pair.unwrap_or_else(|| updates.choose(rng).unwrap().clone())
            }
        });
    }
    // Mostly near their place, sometimes anywhere.
    if rng.random_ratio(1, 3) {
        all.shuffle(rng);
    } else {
        for at in 0..all.len() {
            let to = (at + rng.random_range(0..12)).min(all.len() - 1);
            all.swap(at, to);
        }
    }
    all
}

#[test]
fn p2_any_order_of_delivery_ends_in_the_same_document() {
    sweep(40, |_, rng| {
        for habit in [Habit::Typist, Habit::Everything, Habit::Subdocuments] {
            let (updates, authors, reference) = write_history(rng, habit, 60);
            let all = deliveries(rng, &updates, &authors);
            all.iter().for_each(|update| update::validate(update).unwrap());

            // Kept as always, or in chunks of a few structs out of which deleted content goes at once.
            let tiny = Shape { chunk: rng.random_range(1..40), collect: rng.random_range(1..80), collect_min: 1 };
            let mut server = Server::new(if rng.random() { tiny } else { Shape::default() });
            // It listens and says nothing: what it is sent must do.
            let mut ears = Listener::join(&mut server, PeerId(100));
            let mut rest = &all[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rng.random_range(1..=rest.len().min(8)));
                rest = later;
                let mut events: Vec<Event<'_>> = Vec::new();
                for (n, update) in now.iter().enumerate() {
                    let sender = PeerId(rng.random_range(0..3));
                    if !server.replica.audience().any(|peer| peer == sender) || n == 0 {
                        events.push(Event::Joined(sender, Access::Write, Dialect::YWebsocket));
                    }
                    events.push(Event::Message(sender, ClientMessage::Update(update)));
                }
                let effects = server.turn(&events);
                assert!(effects.close.is_empty(), "honest updates are not refused");
                ears.hear(&server, &effects);
                if rng.random_ratio(1, 10) {
                    server.restart();
                    ears.rejoin(&mut server);
                }
            }
            server.check_equals(&reference);
            ears.check_equals(&reference);
            // Whoever stopped listening anywhere on the way gets the rest.
            for _ in 0..8 {
                let late = listener();
                updates.iter().take(rng.random_range(0..=updates.len())).for_each(|update| apply(&late, update));
                let question = late.transact().state_vector().encode_v1();
                apply(&late, &server.replica.diff(&question));
                assert_eq!(view(&late), view(&reference));
                assert!(!late.transact().has_missing_updates());
            }
            // All of it once more is no news.
            let again: Vec<_> =
                all.iter().map(|update| Event::Message(PeerId(100), ClientMessage::Update(update))).collect();
            let effects = server.turn(&again);
            assert!(effects.append.is_empty() && effects.broadcast.is_none() && effects.close.is_empty());
            server.restart();
            server.check_equals(&reference);
        }
    });
}

/// A peer that applies what it is sent, in order.
struct Listener {
    id: PeerId,
    doc: Doc,
}

impl Listener {
    fn join(server: &mut Server, id: PeerId) -> Self {
        let mut listener = Self { id, doc: listener() };
        listener.rejoin(server);
        listener
    }

    fn rejoin(&mut self, server: &mut Server) {
        let question = self.doc.transact().state_vector().encode_v1();
        let ask = Event::Message(self.id, ClientMessage::SyncStep1(&question));
        let effects = server.turn(&[Event::Joined(self.id, Access::Write, Dialect::YWebsocket), ask]);
        self.hear(server, &effects);
        assert_eq!(server.replica.audience().count(), 0, "its answer holds all of this turn");
    }

    /// Takes the effects of a turn as the hub hands them out.
    fn hear(&mut self, server: &Server, effects: &Effects) {
        for (to, message, _) in &effects.send {
            if *to == self.id
                && let ServerMessage::SyncStep2(update) | ServerMessage::Update(update) = message
            {
                apply(&self.doc, update);
            }
        }
        if let Some((update, except)) = &effects.broadcast
            && *except != Some(self.id)
            && server.replica.audience().any(|peer| peer == self.id)
        {
            apply(&self.doc, update);
        }
        assert!(!self.doc.transact().has_missing_updates(), "what is sent never has a gap");
    }

    fn check_equals(&self, reference: &Doc) {
        assert_eq!(self.doc.transact().state_vector(), reference.transact().state_vector());
        assert_eq!(view(&self.doc), view(reference));
    }
}

/// Found by `fuzz/`: what had waited in the same turn went on only after a restart.
#[test]
fn what_waits_goes_on_when_its_beginning_comes_by_another_way() {
    // "x" of client 5 waits for its neighbour and "y" only for the "x", which then comes as garbage.
    let waits = &[1, 2, 5, 0, 0x84, 9, 0, 1, b'x', 0x84, 5, 0, 1, b'y', 0][..];
    let garbage = &[1, 1, 5, 0, 0, 1, 0][..];
    let peer = PeerId(1);
    let said = |update| Event::Message(peer, ClientMessage::Update(update));
    for turns in [&[&[waits, garbage][..]][..], &[&[waits], &[garbage]], &[&[garbage, waits]]] {
        let mut server = Server::new(Shape::default());
        server.turn(&[Event::Joined(peer, Access::Write, Dialect::YWebsocket)]);
        for turn in turns {
            server.turn(&turn.iter().map(|update| said(update)).collect::<Vec<_>>());
        }
        let census = server.replica.census();
        assert_eq!((census.clocks, census.parked_updates), ([(ClientId(5), 2)].into(), 0));
        server.restart();
    }
}

#[test]
fn a_crowd_shares_one_answer_which_is_forgotten_when_nobody_asks_any_more() {
    let mut replica = Replica::new();
    let update = crdt_tests::message::Writer::new(5).append(&"a text ".repeat(1_000));
    let start = Instant::now();
    replica.handle(&[Event::Offered(0, &update)], start);
    let mut ask = |number, now| {
        let peer = PeerId(number);
        let events = [
            Event::Joined(peer, Access::Write, Dialect::YWebsocket),
            Event::Message(peer, ClientMessage::SyncStep1(&[0])),
        ];
        let effects = replica.handle(&events, now);
        let answer = effects.send.into_iter().find_map(|(_, message, _)| match message {
            ServerMessage::SyncStep2(answer) => Some(answer),
            _ => None,
        });
        (answer.expect("an answer"), effects.wake_at.expect("there is something to forget"))
    };
    let (first, _) = ask(1, start);
    let (second, forget_at) = ask(2, start + ANSWERS_KEPT_FOR / 2);
    assert_eq!(first.as_ptr(), second.as_ptr(), "the same bytes");
    drop((first, ask(3, forget_at - Duration::from_millis(1))));
    let forget_at = forget_at + ANSWERS_KEPT_FOR;
    assert!(!second.is_unique(), "kept as long as somebody asks");
    let effects = replica.handle(&[Event::Timer], forget_at);
    assert!(second.is_unique() && effects.wake_at.is_none(), "and then forgotten");
}

/// What lies in many structs as it is stored is neither walked through twice nor copied when it is loaded.
#[test]
fn what_was_stored_whole_is_held_as_it_is_and_goes_on_as_any_other() {
    let history = text::own_history(usize::MAX);
    let collected = Shape { collect: 1 << 20, collect_min: 1, ..Shape::default() };
    let stored = Bytes::from(Replica::load([&history.state[..]], Seq(1)).unwrap().state().to_vec());
    assert!(stored.len() > 8 * CHUNK_BYTES, "{} bytes are many structs", stored.len());
    let mut replica = Replica::load([&stored], Seq(1)).unwrap();
    assert!(!stored.is_unique(), "its bytes are held");
    let mut copied = Replica::load([&stored[..]], Seq(1)).unwrap();
    assert_eq!(replica.state(), stored);
    assert_eq!(copied.state(), stored);

    // Somebody types on, cuts what was stored, and deletes it.
    let expected = listener();
    apply(&expected, &stored);
    let written = expected.get_or_insert_text("text");
    let mut size = 0;
    for round in 0..40 {
        let before = expected.transact().state_vector();
        let mut txn = expected.transact_mut();
        let len = written.len(&txn);
        written.insert(&mut txn, len / 3 * (round % 3), "edit");
        if round > 30 {
            written.remove_range(&mut txn, 0, len / 4);
        }
        drop(txn);
        let news = expected.transact().encode_state_as_update_v1(&before);
        for replica in [&mut replica, &mut copied] {
            replica.handle(&[Event::Offered(0, &news)], Instant::now());
            let behind = listener();
            apply(&behind, &stored);
            let knows = behind.transact().state_vector().encode_v1();
            apply(&behind, &replica.diff(&knows));
            assert_eq!(view(&behind), view(&expected));
        }
        if round == 30 {
            replica.keep_by(collected);
            copied.keep_by(collected);
            size = replica.state().len();
        }
    }
    assert!(replica.state().len() < size, "what was deleted is gone");
    assert!(stored.is_unique(), "so nothing is left of what was stored");
    assert_eq!(replica.state(), copied.state());
}

/// What a turn brings is logged and sent as people wrote it: typed on, it is one struct; the values of one key stay apart.
#[test]
fn what_was_typed_in_one_turn_is_one_struct() {
    let author = listener();
    let written = author.get_or_insert_text("text");
    let map = author.get_or_insert_map("map");
    let mut updates = Vec::new();
    let mut edit = |edit: &mut dyn FnMut(&mut yrs::TransactionMut<'_>)| {
        let mut txn = author.transact_mut();
        edit(&mut txn);
        updates.push(txn.encode_update_v1());
    };
    for key in "keystrokes 🦀".chars() {
        edit(&mut |txn| written.push(txn, &key.to_string()));
    }
    edit(&mut |txn| written.remove_range(txn, 2, 3));
    for value in 0..3 {
        edit(&mut |txn| {
            map.insert(txn, "key", value);
        });
    }
    let mut server = Server::new(Shape::default());
    let said: Vec<Event<'_>> = updates.iter().map(|update| Event::Offered(0, update)).collect();
    let logged = server.turn(&said).append;
    let [(_, update)] = &logged[..] else { panic!("{logged:?}") };
    assert_eq!(update::structs(update), 1 + 3);
    server.check_equals(&author);
    server.restart();
    server.check_equals(&author);
}
