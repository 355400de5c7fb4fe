//! The outbox with real sockets: order, bounds, what is dropped and what must not be.

use std::cell::RefCell;

use proptest::prelude::*;

use super::*;

/// A socket that takes so many bytes and is full then.
#[derive(Default)]
struct Pipe {
    room: RefCell<usize>,
    out: RefCell<Vec<u8>>,
}

impl Pipe {
    fn with_room(room: usize) -> Self {
        Self { room: RefCell::new(room), out: RefCell::default() }
    }

    fn add_room(&self, bytes: usize) {
        *self.room.borrow_mut() += bytes;
    }
}

impl Socket for Pipe {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut room = self.room.borrow_mut();
        if *room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = bytes.len().min(*room);
        *room -= taken;
        self.out.borrow_mut().extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.try_write(&all)
    }
}

/// Room for three frames of 36 bytes.
const BOUND: usize = 300;

fn frame(tag: u8, len: usize) -> Bytes {
    Bytes::from(vec![tag; len])
}

fn queue_with(frames: &[(u8, usize, FrameKind)]) -> (Queue, Pipe) {
    let (mut queue, pipe) = (Queue::new(BOUND), Pipe::default());
    for (tag, len, kind) in frames {
        let delivered = queue.deliver(&pipe, &frame(*tag, *len), *kind, 0).unwrap();
        assert!(matches!(delivered.delivery, Delivery::Taken), "frame {tag}");
    }
    (queue, pipe)
}

fn deliver(queue: &mut Queue, pipe: &Pipe, tag: u8, len: usize, kind: FrameKind) -> Delivery {
    deliver_for(queue, pipe, 0, (tag, len), kind)
}

fn deliver_for(queue: &mut Queue, pipe: &Pipe, place: Place, (tag, len): (u8, usize), kind: FrameKind) -> Delivery {
    queue.deliver(pipe, &frame(tag, len), kind, place).unwrap().delivery
}

/// Lets everything out and says which frames came, in order; a frame is a run of its tag.
fn drain(queue: &mut Queue, pipe: &Pipe) -> Vec<(u8, usize)> {
    pipe.add_room(usize::MAX / 4);
    while queue.flush(pipe).unwrap() != Flushed::Empty {}
    assert_eq!((queue.bytes, queue.control_bytes, queue.frames.capacity()), (0, 0, 0));
    runs(&pipe.out.borrow())
}

fn runs(bytes: &[u8]) -> Vec<(u8, usize)> {
    bytes.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect()
}

#[test]
fn a_socket_with_room_takes_the_frame_at_once() {
    let (mut queue, pipe) = (Queue::new(BOUND), Pipe::with_room(100));
    let delivered = queue.deliver(&pipe, &frame(1, 60), FrameKind::Document, 0).unwrap();
    assert_eq!(delivered.delivery, Delivery::Taken);
    assert!(!delivered.wake);
    // 40 bytes fit; the other 20 are queued, and now someone must be woken.
    let delivered = queue.deliver(&pipe, &frame(2, 60), FrameKind::Document, 0).unwrap();
    assert_eq!(delivered.delivery, Delivery::Taken);
    assert!(delivered.wake);
    assert_eq!(queue.bytes, 20 + OUTBOX_FRAME_COST);
    assert_eq!(deliver(&mut queue, &pipe, 3, 5, FrameKind::Document), Delivery::Taken);
    assert_eq!(drain(&mut queue, &pipe), [(1, 60), (2, 60), (3, 5)]);
}

#[test]
fn over_the_bound_what_waits_is_dropped_except_control_and_what_has_begun() {
    let (mut queue, pipe) = (Queue::new(BOUND), Pipe::with_room(10));
    for (tag, kind) in [(1, FrameKind::Document), (2, FrameKind::Control), (3, FrameKind::Awareness)] {
        deliver(&mut queue, &pipe, tag, 30, kind);
    }
    assert_eq!(deliver(&mut queue, &pipe, 4, 30, FrameKind::Document), Delivery::Behind);
    assert_eq!(deliver(&mut queue, &pipe, 5, 1, FrameKind::Awareness), Delivery::Behind);
    assert_eq!(deliver(&mut queue, &pipe, 6, 1, FrameKind::Document), Delivery::Behind);
    assert_eq!(deliver(&mut queue, &pipe, 7, 1, FrameKind::Control), Delivery::Taken);
    assert!(queue.owes_caught_up());
    assert_eq!(drain(&mut queue, &pipe), [(1, 30), (2, 30), (7, 1)]);
    // Still behind, until the answer.
    assert_eq!(deliver(&mut queue, &pipe, 8, 1, FrameKind::Document), Delivery::Behind);
    assert_eq!(deliver(&mut queue, &pipe, 9, 1, FrameKind::Answer), Delivery::Taken);
    assert_eq!(deliver(&mut queue, &pipe, 10, 1, FrameKind::Document), Delivery::Taken);
}

#[test]
fn an_answer_is_taken_over_the_bound_and_replaces_an_older_one() {
    let (mut queue, pipe) = queue_with(&[
        (1, 10, FrameKind::Control),
        (2, 10, FrameKind::Document),
        (3, 10, FrameKind::Awareness),
        (4, 1_000, FrameKind::Answer),
        (5, 2_000, FrameKind::Answer),
    ]);
    assert_eq!(deliver(&mut queue, &pipe, 6, 1, FrameKind::Document), Delivery::Behind);
    // Presence was dropped with the document frame: the next full presence message replaces it.
    assert_eq!(drain(&mut queue, &pipe), [(1, 10), (5, 2_000)]);
}

#[test]
fn documents_of_one_connection_lose_together_and_each_is_told() {
    use FrameKind::{Answer, Awareness, Control, Document};
    let (mut queue, pipe) = (Queue::new(BOUND), Pipe::default());
    for (place, tag, kind) in [(1, 1, Control), (2, 2, Document), (3, 3, Answer)] {
        assert_eq!(deliver_for(&mut queue, &pipe, place, (tag, 30), kind), Delivery::Taken);
    }
    assert_eq!(deliver_for(&mut queue, &pipe, 1, (4, 30), Document), Delivery::Behind);
    assert_eq!(deliver_for(&mut queue, &pipe, 2, (5, 1), Awareness), Delivery::Behind, "2 has lost something too");
    assert_eq!(deliver_for(&mut queue, &pipe, 3, (6, 1), Document), Delivery::Taken, "3 has not");
    // What 2 lost is in its next answer, which replaces nothing of the others.
    assert_eq!(deliver_for(&mut queue, &pipe, 2, (7, 300), Answer), Delivery::Taken);
    assert_eq!(deliver_for(&mut queue, &pipe, 2, (8, 1), Control), Delivery::Taken);
    assert_eq!(drain(&mut queue, &pipe), [(1, 30), (3, 30), (6, 1), (7, 300), (8, 1)]);
    assert_eq!(queue.take_owed(), [(1, true), (2, false)]);
    assert_eq!(queue.take_owed(), [], "once");
    assert_eq!(deliver_for(&mut queue, &pipe, 1, (9, 1), Document), Delivery::Behind, "until its answer");
    assert_eq!(deliver_for(&mut queue, &pipe, 1, (9, 1), Answer), Delivery::Taken);
    assert!(queue.lags.is_empty());
}

#[test]
fn h6_what_waits_of_a_document_that_was_left_is_forgotten() {
    let (mut queue, pipe) = (Queue::new(BOUND), Pipe::with_room(10));
    for (place, tag) in [(1, 1), (2, 2), (1, 3)] {
        deliver_for(&mut queue, &pipe, place, (tag, 30), FrameKind::Control);
    }
    queue.forget(1);
    // What has begun goes on, or the next frame would not be found.
    assert_eq!(drain(&mut queue, &pipe), [(1, 30), (2, 30)]);
}

#[test]
fn small_answers_are_all_sent() {
    let (mut queue, pipe) = queue_with(&[(1, 10, FrameKind::Answer), (2, 10, FrameKind::Answer)]);
    assert_eq!(drain(&mut queue, &pipe), [(1, 10), (2, 10)]);
}

#[test]
fn control_frames_over_the_bound_end_the_connection() {
    let (mut queue, pipe) = (Queue::new(BOUND), Pipe::default());
    for tag in 0..3 {
        deliver(&mut queue, &pipe, tag, 30, FrameKind::Control);
    }
    assert!(matches!(queue.deliver(&pipe, &frame(9, 30), FrameKind::Control, 0), Err(Refused::Overloaded)));
}

#[test]
fn nothing_follows_a_close_frame() {
    let (mut queue, pipe) = queue_with(&[(1, 10, FrameKind::Document)]);
    queue.seal(frame(2, 4));
    queue.seal(frame(3, 4));
    assert_eq!(deliver(&mut queue, &pipe, 4, 1, FrameKind::Control), Delivery::Closed);
    assert_eq!(drain(&mut queue, &pipe), [(1, 10), (2, 4)]);
}

#[test]
fn many_frames_leave_in_few_writes() {
    let (mut queue, pipe) = (Queue::new(OUTBOX_BYTES_MAX), Pipe::default());
    for i in 0..600 {
        deliver(&mut queue, &pipe, (i % 2) as u8, 3, FrameKind::Document);
    }
    pipe.add_room(10_000);
    let mut writes = 1;
    while queue.flush(&pipe).unwrap() != Flushed::Empty {
        writes += 1;
    }
    assert_eq!(writes, 600usize.div_ceil(WRITE_FRAMES_MAX));
}

/// What can happen to an outbox.
#[derive(Debug, Clone)]
enum Op {
    Deliver(FrameKind, usize),
    Room(usize),
    Flush,
}

fn any_op() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![
        6 => Just(FrameKind::Document),
        3 => Just(FrameKind::Awareness),
        1 => Just(FrameKind::Control),
        1 => Just(FrameKind::Answer),
        1 => Just(FrameKind::Portion),
    ];
    prop_oneof![
        6 => (kind, 5..60usize).prop_map(|(kind, len)| Op::Deliver(kind, len)),
        1 => (Just(FrameKind::Answer), 300..1_000usize).prop_map(|(kind, len)| Op::Deliver(kind, len)),
        3 => (1..200usize).prop_map(Op::Room),
        4 => Just(Op::Flush),
    ]
}

/// A frame that carries its number and its length, so that a reader finds the frames again.
fn numbered(number: u32, len: usize) -> Bytes {
    let mut bytes = vec![0xee; len];
    bytes[..4].copy_from_slice(&((number << 12) | len as u32).to_be_bytes());
    Bytes::from(bytes)
}

proptest! {
    /// The model: a frame that was taken leaves whole and in order, unless a later refusal or answer allowed it to
    /// be dropped; nothing else ever waits beyond the bound.
    #[test]
    fn outbox_keeps_its_promises(ops in proptest::collection::vec(any_op(), 1..200)) {
        let (mut queue, pipe) = (Queue::new(BOUND), Pipe::default());
        // By number: kind, and whether the frame may be missing.
        let mut taken: Vec<(u32, FrameKind, bool)> = Vec::new();
        let (mut number, mut behind) = (0, false);
        for op in ops {
            match op {
                Op::Deliver(kind, len) => {
                    number += 1;
                    let droppable = matches!(kind, FrameKind::Document | FrameKind::Awareness);
                    let waiting = queue.bytes;
                    match queue.deliver(&pipe, &numbered(number, len), kind, 0) {
                        Ok(Delivered { delivery: Delivery::Taken, .. }) => {
                            prop_assert!(!(droppable && behind), "taken while behind");
                            if matches!(kind, FrameKind::Answer | FrameKind::Portion) {
                                behind = false;
                            }
                            prop_assert!(queue.owes_caught_up() || kind != FrameKind::Portion);
                            let fits = waiting == 0 || waiting + len + OUTBOX_FRAME_COST <= BOUND;
                            if kind == FrameKind::Answer && !fits {
                                for (_, kind, may_miss) in &mut taken {
                                    *may_miss |= matches!(kind, FrameKind::Document | FrameKind::Answer);
                                }
                            }
                            taken.push((number, kind, false));
                        }
                        Ok(Delivered { delivery: Delivery::Behind, .. }) => {
                            prop_assert!(droppable);
                            prop_assert!(behind || waiting > 0, "refused with nothing waiting");
                            behind = true;
                            for (_, kind, may_miss) in &mut taken {
                                *may_miss |= matches!(kind, FrameKind::Document | FrameKind::Awareness);
                            }
                        }
                        Ok(Delivered { delivery: Delivery::Closed, .. }) => prop_assert!(false, "closed"),
                        Err(Refused::Overloaded) => prop_assert_eq!(kind, FrameKind::Control),
                        Err(Refused::Gone(error)) => return Err(TestCaseError::fail(error.to_string())),
                    }
                }
                Op::Room(bytes) => pipe.add_room(bytes),
                Op::Flush => {
                    queue.flush(&pipe).unwrap();
                }
            }
            // The counts are true, and the bounds hold: what may be dropped, what may not, one answer over all.
            let sum: usize = queue.frames.iter().map(|(frame, ..)| cost(frame)).sum();
            prop_assert_eq!(queue.bytes, sum - queue.begun);
            let of = |kinds: &[FrameKind]| -> usize {
                queue.frames.iter().skip(1).filter(|(_, kind, _)| kinds.contains(kind)).map(|(frame, ..)| cost(frame)).sum()
            };
            prop_assert!(of(&[FrameKind::Document, FrameKind::Awareness]) <= BOUND);
            prop_assert!(of(&[FrameKind::Control]) <= BOUND);
            let answers = queue.frames.iter().skip(1).filter(|(_, kind, _)| *kind == FrameKind::Answer).count();
            prop_assert!(answers <= 1 || of(&[FrameKind::Answer]) <= BOUND);
        }
        pipe.add_room(usize::MAX / 4);
        while queue.flush(&pipe).unwrap() != Flushed::Empty {}

        // Take the stream apart again: whole frames only, rising numbers, nothing missing that may not be.
        let out = pipe.out.borrow();
        let (mut rest, mut arrived) = (&out[..], Vec::new());
        while let Some((head, _)) = rest.split_first_chunk::<4>() {
            let head = u32::from_be_bytes(*head);
            let (number, len) = (head >> 12, (head & 0xfff) as usize);
            prop_assert!(rest.len() >= len && rest[4..len].iter().all(|byte| *byte == 0xee), "a torn frame");
            arrived.push(number);
            rest = &rest[len..];
        }
        prop_assert!(rest.is_empty());
        prop_assert!(arrived.is_sorted());
        for (number, kind, may_miss) in taken {
            prop_assert!(may_miss || arrived.contains(&number), "{kind:?} frame {number} is lost");
        }
    }
}
