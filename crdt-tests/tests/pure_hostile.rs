//! Hostile bytes, one by one: each is refused or harmless, costs next to nothing, and leaves the others alone.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use crdt_tests::author::{Author, Habit, listener, view};
use crdt_tests::message::Writer;
use crdt_tests::sweep::sweep;
use rand::Rng;
use rand::seq::SliceRandom;
use weft::ids::{Access, ClientId, PeerId, Principal, Seq};
use weft::limits::{PARKED_SENDER_SHARE, PARKED_UPDATES_MAX, TYPE_DEPTH_MAX, UPDATE_STRUCTS_MAX};
use weft::replica::content::Content;
use weft::replica::size::SizeMax;
use weft::replica::{Effects, Event, Replica};
use weft::wire::close::CloseReason;
use weft::wire::dialect::Dialect;
use weft::wire::lib0::{write_var_bytes, write_var_uint};
use weft::wire::message::{ClientMessage, ServerMessage};
use weft::wire::{WireError, awareness, state_vector, update, ywebsocket};

/// Counts what the current thread holds, and the most it has held.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // While a thread ends there is nothing to count with.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that `work` held at once, bytes.
fn peak_of(work: impl FnOnce()) -> isize {
    let before = HELD.get();
    MOST.set(before);
    work();
    MOST.get() - before
}

fn var(value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    write_var_uint(&mut out, value);
    out
}

const A: PeerId = PeerId(1);
const B: PeerId = PeerId(2);

fn say(replica: &mut Replica, peer: PeerId, message: ClientMessage<'_>) -> Effects {
    replica.handle(&[Event::Message(peer, message)], Instant::now())
}

fn with_peers() -> Replica {
    let mut replica = Replica::new();
    let ask = |peer| Event::Message(peer, ClientMessage::SyncStep1(&[0]));
    replica.handle(
        &[
            Event::Joined(A, Access::Write, Dialect::YWebsocket),
            Event::Joined(B, Access::Write, Dialect::YWebsocket),
            ask(A),
            ask(B),
        ],
        Instant::now(),
    );
    replica
}

#[test]
fn claims_cost_a_comparison() {
    let huge = [1 << 20, 1 << 28, (1 << 32) - 1, 1 << 32, (1 << 53) - 1, 1 << 53, u64::MAX];
    let mut hostile: Vec<Vec<u8>> = Vec::new();
    for claim in huge.map(var) {
        let with = |before: &[u8], after: &[u8]| [before, &claim, after].concat();
        hostile.extend([
            // Counts: of sections, structs, delete sets, ranges; of values; of entries of a state vector.
            with(&[], &[]),
            with(&[], &[0, 0, 0, 0]),
            with(&[1], &[5, 0, 0, 1, 0]),
            with(&[0], &[5, 1, 0, 1]),
            with(&[0, 1, 5], &[0, 1]),
            with(&[1, 1, 5, 0, 8, 1, 1, b'a'], &[126, 0]),
            with(&[1, 1, 5, 0, 8, 1, 1, b'a', 1, 117], &[126, 0]),
            with(&[1, 1, 5, 0, 8, 1, 1, b'a', 1, 118], &[1, b'k', 126, 0]),
            // Lengths: of text, bytes, keys.
            with(&[1, 1, 5, 0, 4, 1, 1, b'a'], &[b'x', 0]),
            with(&[1, 1, 5, 0, 3, 1, 1, b'a'], &[1, 0]),
            with(&[1, 1, 5, 0, 4, 1], &[b'a', 1, b'x', 0]),
            // Clients and clocks.
            with(&[1, 1], &[0, 0, 1, 0]),
            with(&[1, 1, 5], &[0, 1, 0]),
            with(&[1, 1, 5, 0, 0], &[0]),
            with(&[1, 1, 5, 0, 10], &[0]),
            with(&[0, 1, 5, 1], &[1]),
            with(&[0, 1, 5, 1, 0], &[]),
            with(&[1, 1, 5, 0, 0x84, 7], &[1, b'x', 0]),
        ]);
    }
    for bytes in &hostile {
        let peak = peak_of(|| {
            let _ = (update::validate(bytes), state_vector::validate(bytes), awareness::validate(bytes));
            for tag in [&[0u8, 0][..], &[0, 1], &[0, 2], &[1], &[102]] {
                let mut frame = tag.to_vec();
                write_var_bytes(&mut frame, bytes);
                if let Ok(Some(message)) = ywebsocket::parse(&frame) {
                    let mut replica = with_peers();
                    say(&mut replica, A, message);
                    // An id of 53 bits and a length of 2^20 are allowed; what they stand for still costs nothing.
                    say(&mut replica, B, ClientMessage::SyncStep1(&[0]));
                }
            }
        });
        assert!(peak < 64 << 10, "{peak} bytes for {bytes:?}");
    }
}

#[test]
fn nesting_costs_no_stack() {
    for depth in [129, 8_000, 100_000, 1_000_000] {
        for (open, leaf) in [(&[117u8, 1][..], 126), (&[118, 1, 1, b'k'], 126)] {
            let mut bytes = vec![1, 1, 5, 0, 8, 1, 1, b'a', 1];
            bytes.extend(open.repeat(depth));
            bytes.extend([leaf, 0]);
            assert_eq!(update::validate(&bytes), Err(WireError::TooDeep), "{depth}");
        }
        let json = "[".repeat(depth) + &"]".repeat(depth);
        let mut bytes = vec![1, 1, 5, 0, 5, 1, 1, b'a'];
        write_var_bytes(&mut bytes, json.as_bytes());
        bytes.push(0);
        assert_eq!(update::validate(&bytes), Err(WireError::NotJson), "{depth}");
    }
}

/// One struct of `client` at `clock`: a map in `parent`.
fn nested_type(client: u8, clock: u64, parent: Option<u64>) -> Vec<u8> {
    let mut bytes = vec![1, 1, client];
    bytes.extend(var(clock));
    bytes.push(0x27);
    match parent {
        None => bytes.extend([1, 1, b'm']),
        Some(parent) => bytes.extend([&[0, client][..], &var(parent)].concat()),
    }
    bytes.extend([1, b'k', 1, 0]);
    bytes
}

#[test]
fn types_nest_to_a_bound_across_updates_and_loads() {
    let mut replica = with_peers();
    let mut log = Vec::new();
    for depth in 0..u64::from(TYPE_DEPTH_MAX) {
        let update = nested_type(5, depth, depth.checked_sub(1));
        let effects = say(&mut replica, A, ClientMessage::Update(&update));
        assert!(effects.close.is_empty() && effects.broadcast.is_some(), "{depth}");
        log.push(update);
    }
    let deepest = u64::from(TYPE_DEPTH_MAX);
    let too_deep = nested_type(5, deepest, Some(deepest - 1));
    let effects = say(&mut replica, A, ClientMessage::Update(&too_deep));
    assert_eq!(effects.close, [(A, CloseReason::UpdateRefused)]);
    assert!(effects.append.is_empty() && effects.broadcast.is_none());
    // The refused tick is still free, for something else.
    let sibling = nested_type(5, deepest, Some(deepest - 2));
    assert!(say(&mut replica, B, ClientMessage::Update(&sibling)).broadcast.is_some());
    // The same in one update, and after a load.
    let mut loaded = Replica::load(log.iter().map(|update| &update[..]), Seq(log.len() as u64)).unwrap();
    loaded.handle(&[Event::Joined(A, Access::Write, Dialect::YWebsocket)], Instant::now());
    assert_eq!(say(&mut loaded, A, ClientMessage::Update(&too_deep)).close.len(), 1);
    // Deleting the outermost takes all of it along without harm.
    say(&mut replica, B, ClientMessage::Update(&[0, 1, 5, 1, 0, 1]));
    Content::of(&replica.state()).unwrap();
}

#[test]
fn overlapping_blocks_of_one_client_are_cut_before_yrs_sees_them() {
    // Client 1 clock 1 = a map entry, then clock 0 = "hello world": a use after free in yrs (DEPENDENCIES A3 a).
    let entry = [1, 1, 1, 1, 0x28, 1, 1, b'm', 1, b'k', 1, 125, 1, 0];
    let text = [&[1, 1, 1, 0, 4, 1, 1, b't', 11][..], b"hello world", &[0]].concat();
    let mut replica = with_peers();
    let effects = say(&mut replica, A, ClientMessage::Update(&entry));
    assert!(effects.broadcast.is_none(), "it waits for what comes before it");
    assert_eq!(effects.append.len(), 1);
    assert!(matches!(effects.send[..], [(A, ServerMessage::SyncStep1(_), _)]));
    let effects = say(&mut replica, B, ClientMessage::Update(&text));
    assert_eq!(&effects.broadcast.unwrap().0[..], text, "what was there first counts");
    assert_eq!(replica.census().parked_updates, 0);
    assert_eq!(Content::of(&replica.state()).unwrap().to_text(), "hello world");
}

/// Found by `fuzz/`: the beginning of the text is known as something else, so what is left of it would stand in an array,
/// and text in an array is what yrs never comes to the end of.
#[test]
fn what_is_left_of_a_cut_struct_hangs_where_its_known_beginning_hangs() {
    let arrays = [1, 2, 5, 0, 7, 1, 1, b'a', 0, 7, 0, 5, 0, 0, 0];
    let text = [1, 1, 5, 1, 0x84, 5, 0, 3, b'x', b'y', b'z', 0];
    let mut replica = with_peers();
    assert!(say(&mut replica, A, ClientMessage::Update(&arrays)).broadcast.is_some());
    let effects = say(&mut replica, B, ClientMessage::Update(&text));
    assert_eq!(effects.close, [(B, CloseReason::UpdateRefused)]);
    assert!(effects.append.is_empty() && effects.broadcast.is_none());
    let state = replica.state();
    assert!(Replica::load([&state[..]], Seq(1)).is_ok());
}

#[test]
fn a_circle_of_two_clients_is_never_integrated_by_half() {
    // Each of two structs wants to stand behind the other.
    let circle = [2, 1, 9, 0, 0x84, 5, 0, 1, b'x', 1, 5, 0, 0x84, 9, 0, 1, b'y', 0];
    let mut replica = with_peers();
    let effects = say(&mut replica, A, ClientMessage::Update(&circle));
    assert!(effects.broadcast.is_none() && effects.close.is_empty());
    assert_eq!(replica.census().parked_updates, 1);
    assert_eq!(&replica.state()[..], update::EMPTY);
    // Others write on, and the circle stays out after a load as well.
    let honest = [1, 1, 3, 0, 4, 1, 1, b't', 1, b'z', 0];
    assert!(say(&mut replica, B, ClientMessage::Update(&honest)).broadcast.is_some());
    let mut loaded = Replica::load([&circle[..], &honest], Seq(2)).unwrap();
    assert_eq!(loaded.state(), replica.state());
    assert_eq!(loaded.census().parked_updates, 1);
}

#[test]
fn gaps_without_end_are_bounded_asked_for_once_and_never_acked() {
    let mut replica = with_peers();
    let mut asked = 0;
    let mut closed_after = None;
    for n in 0..2 * PARKED_UPDATES_MAX as u64 {
        let update = [&[1, 1, 5][..], &var(2 * n + 1), &[0, 1, 0]].concat();
        let effects = say(&mut replica, A, ClientMessage::Update(&update));
        asked += effects.send.len();
        assert!(effects.broadcast.is_none());
        if !effects.close.is_empty() {
            closed_after = Some(n);
            break;
        }
    }
    assert_eq!(asked, 2, "once for what is missing, once more when there was no room");
    let share = PARKED_UPDATES_MAX / PARKED_SENDER_SHARE;
    assert_eq!(closed_after, Some(share as u64 + 1));
    assert_eq!((replica.census().parked_updates, replica.pending_structs()), (share, share as u64));
    let effects = say(&mut replica, A, ClientMessage::AckRequest(&[1]));
    assert!(effects.send.is_empty());
    assert!(replica.handle(&[Event::Durable(Seq(u64::MAX))], Instant::now()).send.is_empty(), "refused is not saved");
    let effects = say(&mut replica, B, ClientMessage::AckRequest(&[1]));
    assert_eq!(effects.send.len(), 1, "others are acked");
    // And others may have something wait, until the lot is full; also the same writer, if it is somebody else's line.
    let waits = |n: u64| [&[1, 1, 6][..], &var(2 * n + 1), &[0, 1, 0]].concat();
    assert!(say(&mut replica, B, ClientMessage::Update(&waits(0))).close.is_empty());
    assert_eq!(replica.census().parked_updates, share + 1);
    // Somebody who comes back under another name has no other share.
    replica.handle(&[Event::Left(B)], Instant::now());
    for peer in (3..).map(PeerId).take(3) {
        let joined = Event::Joined(peer, Access::Write, Dialect::YWebsocket);
        replica.handle(&[joined, Event::Principal(peer, Principal(7))], Instant::now());
        for n in 0..share as u64 {
            say(&mut replica, peer, ClientMessage::Update(&waits(1 + peer.0 * share as u64 + n)));
        }
    }
    assert_eq!(replica.census().parked_updates, 2 * share + 1);
}

/// HARDENING §2: what bounds gaps does not hurt whoever only sends in another order. It is asked for what is missing, and brings
/// it a while later, as a client does that answers what it is asked.
#[test]
fn p4_ten_thousand_updates_in_any_order_converge() {
    const LATENCY: usize = 100;
    let mut writer = Writer::new(1);
    let updates: Vec<Vec<u8>> = (0..10_000).map(|n| writer.append(&format!("{n} "))).collect();
    let all = writer.all();
    sweep(5, |_, rng| {
        let mut replica = with_peers();
        let mut updates = updates.clone();
        updates.shuffle(rng);
        let (mut asked, mut most) = (None, 0);
        for (n, update) in updates.iter().enumerate() {
            let effects = say(&mut replica, A, ClientMessage::Update(update));
            assert_eq!((effects.close.len(), effects.tally.refused_limit), (0, 0), "{n}");
            let is_asked = effects.send.iter().any(|(_, message, _)| matches!(message, ServerMessage::SyncStep1(_)));
            asked = asked.or(is_asked.then_some(n));
            most = most.max(replica.census().parked_updates);
            if asked.is_some_and(|at| n >= at + LATENCY) {
                asked = None;
                say(&mut replica, A, ClientMessage::SyncStep2(&all));
            }
        }
        assert!(most >= LATENCY, "they are out of order: {most}");
        assert_eq!((replica.census().parked_updates, replica.pending_structs()), (0, 0));
        let text = |state: &[u8]| Content::of(state).unwrap().to_text();
        assert_eq!(text(&replica.state()), text(&all));
    });
}

#[test]
fn what_is_ready_of_a_refused_update_reaches_everybody() {
    let mut replica = with_peers();
    for n in 0..(PARKED_UPDATES_MAX / PARKED_SENDER_SHARE) as u64 {
        let update = [&[1, 1, 5][..], &var(2 * n + 1), &[0, 1, 0]].concat();
        say(&mut replica, A, ClientMessage::Update(&update));
    }
    // In one turn B sends something whole, and A something half of which must wait and finds no room.
    let whole = [1, 1, 7, 0, 4, 1, 1, b't', 1, b'b', 0];
    let half = [2, 1, 9, 0, 4, 1, 1, b't', 1, b'a', 1, 8, 4, 0, 1, 0];
    let events = [Event::Message(B, ClientMessage::Update(&whole)), Event::Message(A, ClientMessage::Update(&half))];
    let effects = replica.handle(&events, Instant::now());
    let (_, except) = effects.broadcast.unwrap();
    assert_eq!(except, None, "neither sent all of it");
    assert_eq!(replica.census().clocks[&ClientId(9)], 1);
}

/// Text of `len` letters by `client`, who has written `clock` before.
fn letters(client: u8, clock: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![1, 1, client];
    bytes.extend(var(clock));
    match clock.checked_sub(1) {
        None => bytes.extend([4, 1, 1, b't']),
        Some(left) => bytes.extend([&[0x84, client][..], &var(left)].concat()),
    }
    write_var_bytes(&mut bytes, &vec![b'x'; len]);
    bytes.push(0);
    bytes
}

/// HARDENING §2: a document has a size, beyond which it is read, and made smaller, but never larger.
#[test]
fn p4_a_full_document_takes_only_what_makes_it_smaller() {
    let fresh = || {
        let joined = [A, B].map(|peer| Event::Joined(peer, Access::Write, Dialect::YWebsocket));
        let asks = [A, B].map(|peer| Event::Message(peer, ClientMessage::SyncStep1(&[0])));
        let mut replica = Replica::new().bounded(SizeMax { bytes: 20_000, structs: 100 });
        replica.handle(&[&joined[..], &asks[..]].concat(), Instant::now());
        replica
    };
    let mut replica = fresh();
    let first = letters(1, 0, 15_000);
    assert!(say(&mut replica, A, ClientMessage::Update(&first)).broadcast.is_some());
    let too_much = letters(2, 0, 6_000);
    let effects = say(&mut replica, B, ClientMessage::Update(&too_much));
    assert_eq!((effects.close, effects.tally.refused_limit), (vec![(B, CloseReason::UpdateRefused)], 1));
    assert!(effects.append.is_empty() && effects.broadcast.is_none());
    assert!(say(&mut replica, B, ClientMessage::AckRequest(&[1])).send.is_empty(), "refused is not saved");
    // What waits for something else is content too.
    let waits = letters(3, 7, 6_000);
    assert!(say(&mut replica, A, ClientMessage::Update(&waits)).append.is_empty());
    assert_eq!(replica.census().parked_updates, 0);
    // An admin may do more than that, and what is in the log loads.
    let effects = replica.handle(&[Event::Contributed(0, &too_much)], Instant::now());
    assert!(effects.offered[0].1.refused.is_some() && effects.append.is_empty());
    let effects = replica.handle(&[Event::Offered(0, &too_much)], Instant::now());
    assert!(effects.offered[0].1.refused.is_none() && effects.append.len() == 1);
    let loaded = Replica::load([&first[..], &too_much], Seq(2)).unwrap().bounded(SizeMax { bytes: 1, structs: 1 });
    assert_eq!(loaded.census().clocks, replica.census().clocks);

    // Who comes back deletes, and then there is room again: alone, or with the empty paragraph that editors leave.
    for leaves in [&[][..], &[1, 1, 9, 0, 4, 1, 1, b't', 1, b'x']] {
        let mut replica = fresh();
        say(&mut replica, A, ClientMessage::Update(&letters(1, 0, 20_000 - 10)));
        assert_eq!(say(&mut replica, B, ClientMessage::Update(&letters(2, 0, 100))).close.len(), 1);
        replica.handle(&[Event::Left(B), Event::Joined(B, Access::Write, Dialect::YWebsocket)], Instant::now());
        let mut deletes = if leaves.is_empty() { vec![0] } else { leaves.to_vec() };
        deletes.extend([&[1, 1, 1, 0][..], &var(15_000)].concat());
        update::validate(&deletes).unwrap();
        let effects = say(&mut replica, B, ClientMessage::Update(&deletes));
        assert!(effects.close.is_empty() && effects.broadcast.is_some(), "{deletes:?}");
        let effects = say(&mut replica, B, ClientMessage::Update(&letters(2, 0, 6_000)));
        assert!(effects.close.is_empty() && effects.broadcast.is_some(), "what was deleted takes no room");
    }

    // Many structs are as bad as many bytes. Each of these is a struct for ever, since nobody else's joins it.
    let mut replica = fresh();
    let mut taken = 0;
    for client in 0..120_u8 {
        let effects = say(&mut replica, A, ClientMessage::Update(&letters(client + 1, 0, 1)));
        taken += usize::from(effects.broadcast.is_some());
    }
    assert_eq!(taken, 100);
}

/// Whatever is written, a bounded document stays within its bounds, and is what its log says.
#[test]
fn p4_a_bounded_document_is_what_its_log_says() {
    const MAX: SizeMax = SizeMax { bytes: 3_000, structs: 150 };
    sweep(20, |_, rng| {
        let mut replica = Replica::new().bounded(MAX);
        let mut refused = 0;
        let (mut log, mut id) = (Vec::new(), 100);
        let mut author = Author::new(id, Habit::Everything, true);
        for _ in 0..300 {
            let before = replica.state().len() as u64;
            let peer = PeerId(id);
            replica.handle(&[Event::Joined(peer, Access::Write, Dialect::YWebsocket)], Instant::now());
            let effects = say(&mut replica, peer, ClientMessage::Update(&author.edit(rng)));
            let after = replica.state().len() as u64;
            // Beside the structs there are the head of each client and the delete set.
            assert!(after <= before || after <= MAX.bytes * 9 / 8 + 2_000, "{before} to {after} bytes");
            log.extend(effects.append.into_iter().map(|(_, update)| update));
            if !effects.close.is_empty() {
                assert_eq!((effects.close, effects.tally.refused_size), (vec![(peer, CloseReason::UpdateRefused)], 1));
                refused += 1;
                // Whoever reloads the page has what there is.
                replica.handle(&[Event::Left(peer)], Instant::now());
                id += 1;
                author = Author::new(id, Habit::Everything, true);
                author.hear(&replica.state());
            }
        }
        let loaded = Replica::load(log.iter().map(|update| &update[..]), Seq(log.len() as u64)).unwrap();
        assert_eq!(loaded.census().clocks, replica.census().clocks);
        assert_eq!(loaded.census().deleted_ticks, replica.census().deleted_ticks);
        assert!(refused > 0, "it was never full");
    });
}

/// HARDENING §2: an update of 10 million structs is refused for what it claims; how long that takes is `--bench hot`'s to say.
#[test]
fn p4_ten_million_structs_are_refused_before_anything_walks_them() {
    let refused = |bytes: &[u8]| matches!(update::validate(bytes), Err(WireError::TooLarge { what, .. }) if what.contains("structs"));
    let gc = |structs: usize| [0_u8, 1].repeat(structs);
    let head = |structs: u64, client: u64| [var(structs), var(client), vec![0]].concat();
    // They are there, all of them; the first is malformed, and is not even looked at.
    let mut bytes = [vec![1], head(10_000_000, 5), gc(10_000_000), vec![0]].concat();
    let at = bytes.len() - 20_000_001;
    bytes[at] = 31;
    assert!(refused(&bytes));
    // Of several clients, no more is walked than one update may have: behind that, too, everything is malformed.
    let within = UPDATE_STRUCTS_MAX as usize;
    let bytes = [vec![2], head(within as u64, 9), gc(within), head(6_000_000, 5), vec![31; 12_000_000]].concat();
    assert!(refused(&bytes));
    let peak = peak_of(|| assert!(refused(&bytes)));
    assert_eq!(peak, 0, "nothing is made of it");
    // No frame gets past that to the document.
    let mut frame = vec![0, 2];
    write_var_bytes(&mut frame, &bytes);
    assert!(ywebsocket::parse(&frame).is_err());
}

#[test]
fn a_long_chain_of_clients_is_walked_in_time() {
    // Each client's only struct stands behind that of the next smaller one, so the largest depends on all.
    let chain = |clients: u64| {
        let mut bytes = var(clients);
        for client in (1..=clients).rev() {
            bytes.extend([1]);
            bytes.extend(var(client));
            bytes.push(0);
            match client {
                1 => bytes.extend([4, 1, 1, b't', 1, b'x']),
                _ => bytes.extend([&[0x84][..], &var(client - 1), &[0, 1, b'x']].concat()),
            }
        }
        bytes.push(0);
        bytes
    };
    let update = chain(20_000);
    let begin = Instant::now();
    let mut replica = with_peers();
    assert!(say(&mut replica, A, ClientMessage::Update(&update)).broadcast.is_some());
    assert_eq!(replica.census().clocks.len(), 20_000);
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

fn writes_for(update: &[u8], client: ClientId) -> bool {
    let (mut walker, sections) = update::Walker::new(update).unwrap();
    (0..sections).any(|_| {
        let section = walker.section().unwrap();
        let mut clock = section.clock;
        for _ in 0..section.structs {
            clock = walker.next(section.client, clock).unwrap().end();
        }
        section.client == client
    })
}

#[test]
fn p4_honest_peers_converge_beside_a_hostile_one() {
    sweep(20, |_, rng| {
        let mut replica = with_peers();
        let mut honest = Author::new(77, Habit::Everything, true);
        let mut attacker = Author::new(78, Habit::Everything, true);
        let told = listener();
        let mut hostile = 0;
        for _ in 0..150 {
            let update = honest.edit(rng);
            let mut attack = attacker.edit(rng);
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..attack.len());
                attack[at] = if rng.random() { rng.random() } else { attack[at].wrapping_add(1) };
            }
            // A forged tick that the honest author has not written yet cannot be told from its own, so that is left out.
            let forges = update::validate(&attack).is_err() || writes_for(&attack, ClientId(77));
            let mut events = vec![Event::Message(A, ClientMessage::Update(&update))];
            if !forges {
                hostile += 1;
                events.push(Event::Message(B, ClientMessage::Update(&attack)));
            }
            let effects = replica.handle(&events, Instant::now());
            assert!(effects.close.iter().all(|(peer, _)| *peer == B), "only the attacker is closed");
            if let Some((update, _)) = effects.broadcast {
                crdt_tests::author::apply(&told, &update);
                honest.hear(&update);
            }
        }
        assert!(hostile > 0);
        let written = honest.state_vector().get(&yrs::ClientID::new(77));
        assert_eq!(replica.census().clocks[&ClientId(77)], written);
        let whole = listener();
        crdt_tests::author::apply(&whole, &replica.state());
        assert_eq!(view(&told), view(&whole));
        assert_eq!(view(&honest.doc), view(&whole));
    });
}
