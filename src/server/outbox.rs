//! What one connection still has to be told: frames between a document's task and a socket.
//!
//! A document's task gives a frame to each of its peers. As long as a socket takes it, the frame is written right there,
//! by the task that has it, and nobody is woken. Only when a socket is full is the frame queued (shared, never copied)
//! and the connection's own task woken to write the rest when the kernel has room again.
//!
//! The queue is bounded in bytes. At the bound the peer is *behind*: its waiting document and presence frames are
//! dropped, and once the rest has left, the document sends one diff in their place. So a slow reader costs others
//! nothing, and itself at most [`OUTBOX_BYTES_MAX`], one answer, and the frame it has half received.
//!
//! A connection may have several documents (WIRE §3), each with a [`Place`] in the queue. They share its bound: at it, all
//! of them lose what waits, and each is told so. Answers are one for each document.
//!
//! [`Queue`] is the pure part, over any [`Socket`]; [`Outbox`] adds the lock, the waker and the clock.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::error;
use super::line::Writer;
use super::spending::Charged;
use crate::hub::{Charge, Delivery, FrameKind, PeerSink, Sender};
use crate::ids::Principal;
use crate::limits::{OUTBOX_BYTES_MAX, OUTBOX_FRAME_COST, WRITE_FRAMES_MAX};
use crate::wire::close::CloseReason;
use crate::wire::dialect::Dialect;

/// Writes a connection's task makes before it lets others run.
const WRITES_PER_POLL_MAX: usize = 16;

/// Where bytes go: a non-blocking socket, or a test's stand-in. `WouldBlock` means "full, ask to be told".
pub(super) trait Socket {
    /// Writes a prefix of `bytes`.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Writes a prefix of all `slices` together.
    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
}

// ---- the pure part ------------------------------------------------------------------------------------------------

/// A document's place among those of one connection: its number, never given twice on it. 0 is the only one of a client
/// that has only one.
pub(super) type Place = u32;

/// A document that lost something, or waits for a portion to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lag {
    place: Place,
    /// Its document and presence frames are refused until an answer comes.
    behind: bool,
    /// It must be told when the queue has drained.
    owed: bool,
}

/// Frames in the order they must leave, of which the first may have begun.
#[derive(Debug)]
struct Queue {
    /// Bytes that may wait, [`OUTBOX_BYTES_MAX`] outside of tests.
    bytes_max: usize,
    frames: VecDeque<(Bytes, FrameKind, Place)>,
    /// Bytes of the first frame that the kernel has already taken.
    begun: usize,
    /// Bytes that wait, frames at their [`cost`], without what has begun.
    bytes: usize,
    /// The [`cost`] of the [`FrameKind::Control`] frames in the queue.
    control_bytes: usize,
    /// Documents that lost something and have not been made good for it yet, or that wait for a portion to leave.
    lags: Vec<Lag>,
    /// Frames were dropped, and it has not drained since.
    was_behind: bool,
    /// The last frame is a close frame; nothing may follow it.
    sealed: bool,
    /// Bytes that the kernel has taken.
    sent_bytes: u64,
    /// Frames that it has taken whole.
    sent_frames: u64,
}

/// What [`Queue::deliver`] did.
#[derive(Debug)]
struct Delivered {
    delivery: Delivery,
    /// The connection's task has something to do that it does not know of.
    wake: bool,
    /// The kernel took bytes, or the first frame began to wait: the clock of silence and of stalling starts anew.
    progress: bool,
}

/// What one write achieved.
#[derive(Debug, PartialEq, Eq)]
enum Flushed {
    /// Nothing waits.
    Empty,
    /// Bytes were taken and more wait.
    More,
    /// The socket is full.
    Full,
}

impl Queue {
    fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            frames: VecDeque::new(),
            begun: 0,
            bytes: 0,
            control_bytes: 0,
            lags: Vec::new(),
            was_behind: false,
            sealed: false,
            sent_bytes: 0,
            sent_frames: 0,
        }
    }

    /// Writes or queues one frame, or refuses it. The rules, by kind, when something waits already:
    ///
    /// - Document, Awareness: within the bound queued; over it, all waiting frames of both kinds are dropped, of whatever
    ///   document.
    /// - Answer: always queued. Over the bound, waiting Document and Answer frames of the same document are dropped, since
    ///   the answer was computed later and holds what they would have said; so at most one answer of each document is ever
    ///   held beyond the bound.
    /// - Portion: always queued, and the document is told when all has left; it sends the next one then, not before.
    /// - Control: queued while control frames alone stay within the bound; over it, an error ends the connection.
    ///
    /// A first frame is taken whatever its size, since a diff in its place would be no smaller.
    ///
    /// # Errors
    /// What the socket said (the connection is gone), or [`Refused::Overloaded`].
    fn deliver(
        &mut self,
        socket: &impl Socket,
        frame: &Bytes,
        kind: FrameKind,
        place: Place,
    ) -> Result<Delivered, Refused> {
        let droppable = matches!(kind, FrameKind::Document | FrameKind::Awareness);
        if self.sealed {
            return Ok(Delivered { delivery: Delivery::Closed, wake: false, progress: false });
        }
        if droppable && self.lags.iter().any(|lag| lag.behind && lag.place == place) {
            return Ok(Delivered { delivery: Delivery::Behind, wake: false, progress: false });
        }
        if matches!(kind, FrameKind::Answer | FrameKind::Portion) {
            self.make_good(place);
        }
        if kind == FrameKind::Portion {
            self.owe(place);
        }
        if self.frames.is_empty() {
            let taken = match socket.try_write(frame) {
                Ok(taken) => taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(Refused::Gone(error)),
            };
            let all = taken >= frame.len();
            self.sent_bytes += taken as u64;
            self.sent_frames += u64::from(all);
            if !all {
                self.push(frame.clone(), kind, place);
                self.begun = taken;
                self.bytes -= taken;
            }
            let wake = !all || kind == FrameKind::Portion;
            return Ok(Delivered { delivery: Delivery::Taken, wake, progress: true });
        }
        let fits = self.bytes + cost(frame) <= self.bytes_max;
        match kind {
            FrameKind::Document | FrameKind::Awareness if !fits => {
                self.lose_waiting(place);
                // The connection's task waits for the socket already, since something was queued.
                return Ok(Delivered { delivery: Delivery::Behind, wake: false, progress: false });
            }
            FrameKind::Answer if !fits => {
                self.drop_waiting(|kind, of| of == place && matches!(kind, FrameKind::Document | FrameKind::Answer));
            }
            FrameKind::Control if self.control_bytes + cost(frame) > self.bytes_max => {
                return Err(Refused::Overloaded);
            }
            FrameKind::Document
            | FrameKind::Awareness
            | FrameKind::Answer
            | FrameKind::Portion
            | FrameKind::Control => {}
        }
        self.push(frame.clone(), kind, place);
        Ok(Delivered { delivery: Delivery::Taken, wake: false, progress: false })
    }

    /// Queues a close frame behind all that waits. Only the first one counts.
    fn seal(&mut self, close: Bytes) {
        if !self.sealed {
            self.push(close, FrameKind::Control, 0);
            self.sealed = true;
        }
    }

    /// Writes once, as many frames as one call takes.
    ///
    /// # Errors
    /// What the socket said; the connection is gone.
    fn flush(&mut self, socket: &impl Socket) -> io::Result<Flushed> {
        let Some((first, ..)) = self.frames.front() else { return Ok(Flushed::Empty) };
        let first = first.get(self.begun..).unwrap_or_default();
        let written = if self.frames.len() == 1 {
            socket.try_write(first)
        } else {
            let mut slices = [IoSlice::new(&[]); WRITE_FRAMES_MAX];
            slices[0] = IoSlice::new(first);
            let mut count = 1;
            for (slice, (frame, ..)) in slices[1..].iter_mut().zip(self.frames.range(1..)) {
                *slice = IoSlice::new(frame);
                count += 1;
            }
            socket.try_write_vectored(&slices[..count])
        };
        match written {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(taken) => {
                self.advance(taken);
                Ok(if self.frames.is_empty() { Flushed::Empty } else { Flushed::More })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Flushed::Full),
            Err(error) => Err(error),
        }
    }

    fn push(&mut self, frame: Bytes, kind: FrameKind, place: Place) {
        self.bytes += cost(&frame);
        if kind == FrameKind::Control {
            self.control_bytes += cost(&frame);
        }
        self.frames.push_back((frame, kind, place));
    }

    /// A document's answer holds all that it lost.
    fn make_good(&mut self, place: Place) {
        self.lags.retain_mut(|lag| {
            lag.behind &= lag.place != place;
            lag.behind || lag.owed
        });
    }

    /// The document is to be told when all has left.
    fn owe(&mut self, place: Place) {
        match self.lags.iter_mut().find(|lag| lag.place == place) {
            Some(lag) => lag.owed = true,
            None => self.lags.push(Lag { place, behind: false, owed: true }),
        }
    }

    /// At the bound all documents lose what waits of them, and `place` also what it came with.
    fn lose_waiting(&mut self, place: Place) {
        self.was_behind = true;
        let mut lost = vec![place];
        self.drop_waiting(|kind, of| {
            let dropped = matches!(kind, FrameKind::Document | FrameKind::Awareness);
            if dropped && lost.last() != Some(&of) {
                lost.push(of);
            }
            dropped
        });
        lost.sort_unstable();
        lost.dedup();
        for place in lost {
            let lag = Lag { place, behind: true, owed: true };
            match self.lags.iter_mut().find(|lag| lag.place == place) {
                Some(known) => *known = lag,
                None => self.lags.push(lag),
            }
        }
    }

    /// Whether somebody must be told that the queue has drained.
    fn owes_caught_up(&self) -> bool {
        self.lags.iter().any(|lag| lag.owed)
    }

    /// Whom to tell, and whether it has still not been made good for what it lost; each once.
    fn take_owed(&mut self) -> Vec<(Place, bool)> {
        let owed = self.lags.iter().filter(|lag| lag.owed).map(|lag| (lag.place, lag.behind)).collect();
        self.lags.retain_mut(|lag| {
            lag.owed = false;
            lag.behind
        });
        owed
    }

    /// Forgets a document that was left: the next one at its address must not hear what was meant for it (WIRE h6).
    fn forget(&mut self, place: Place) {
        self.drop_waiting(|_, of| of == place);
        self.lags.retain(|lag| lag.place != place);
    }

    /// Forgets the first `taken` bytes that waited.
    fn advance(&mut self, taken: usize) {
        self.bytes -= taken;
        self.begun += taken;
        self.sent_bytes += taken as u64;
        while let Some((first, kind, _)) = self.frames.front()
            && self.begun >= first.len()
        {
            self.begun -= first.len();
            self.bytes -= OUTBOX_FRAME_COST;
            if *kind == FrameKind::Control {
                self.control_bytes -= cost(first);
            }
            self.sent_frames += 1;
            self.frames.pop_front();
        }
        if self.frames.is_empty() {
            // An idle connection holds no buffer, also not one it has once needed.
            self.frames = VecDeque::new();
        }
    }

    /// Drops frames of some kinds and places that have not begun.
    fn drop_waiting(&mut self, mut dropped: impl FnMut(FrameKind, Place) -> bool) {
        let mut first = self.begun > 0;
        let (bytes, control_bytes) = (&mut self.bytes, &mut self.control_bytes);
        self.frames.retain(|(frame, kind, place)| {
            let keep = std::mem::take(&mut first) || !dropped(*kind, *place);
            if !keep {
                *bytes -= cost(frame);
                if *kind == FrameKind::Control {
                    *control_bytes -= cost(frame);
                }
            }
            keep
        });
    }
}

/// What a waiting frame counts for: its bytes and its place in the queue.
fn cost(frame: &Bytes) -> usize {
    frame.len() + OUTBOX_FRAME_COST
}

/// Why the queue ends the connection instead of taking a frame.
#[derive(Debug)]
enum Refused {
    /// The socket failed.
    Gone(io::Error),
    /// Even what may not be dropped is over the bound.
    Overloaded,
}

// ---- lock, waker, clock -------------------------------------------------------------------------------------------

/// The writing half of one connection, shared by its task and the tasks of its documents.
pub(super) struct Outbox {
    /// What came the other way.
    pub(super) heard: Heard,
    /// And what that has cost.
    pub(super) charged: Charged,
    /// What its client speaks, once that is known.
    dialect: OnceLock<Dialect>,
    /// Who it is, where it has only one document; 0 for nobody knows.
    principal: AtomicU64,
    /// The same in words.
    sender: OnceLock<Sender>,
    socket: Writer,
    state: Mutex<State>,
}

struct State {
    queue: Queue,
    /// Wakes the connection's task.
    waker: Option<Waker>,
    /// Why the connection is to end, once someone has asked for it.
    closing: Option<CloseReason>,
    /// The socket failed or was dropped; nothing more can be sent.
    gone: bool,
    /// The client gave no sign of life.
    dead: bool,
    /// Documents that have ended by themselves, of which the connection's task does not know yet.
    ended: Vec<Place>,
    /// When the kernel last took bytes, or the first waiting frame was queued.
    progress_at: Instant,
    /// When it last took bytes of anything that a client's watchdog counts, which pings and pongs are not (WIRE g4).
    said_at: Instant,
}

/// What one client has sent, counted by its connection's task, once for each piece that it reads.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Bytes of frames.
    pub(super) bytes: AtomicU64,
    /// Messages that could be understood.
    pub(super) messages: AtomicU64,
    /// Messages that could not.
    pub(super) malformed: AtomicU32,
    /// How often it fell behind and was caught up by one diff.
    pub(super) caught_up: AtomicU32,
}

/// What has gone through one connection so far, or through many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) bytes_in: u64,
    pub(super) messages_in: u64,
    pub(super) malformed: u64,
    pub(super) bytes_out: u64,
    pub(super) messages_out: u64,
    pub(super) caught_up: u64,
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.bytes_in += other.bytes_in;
        self.messages_in += other.messages_in;
        self.malformed += other.malformed;
        self.bytes_out += other.bytes_out;
        self.messages_out += other.messages_out;
        self.caught_up += other.caught_up;
    }
}

/// What a connection holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Load {
    /// Bytes that wait for the socket.
    pub(super) waiting_bytes: usize,
    /// Its document frames are dropped until it catches up.
    pub(super) behind: bool,
    /// It is about to end.
    pub(super) closing: Option<CloseReason>,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// With a close frame, ours or the client's.
    Closed(CloseReason),
    /// The client gave no sign of life.
    Dead,
    /// The socket failed, or the client was gone without a word.
    Lost,
}

/// What a connection's task has to react to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// After [`Delivery::Behind`] or a [`FrameKind::Portion`]: all that waited has left and the socket takes more. For these
    /// documents, and whether one still misses what it lost. Reported once.
    CaughtUp(Vec<(Place, bool)>),
    /// These documents have ended, and the client was told.
    Ended(Vec<Place>),
    /// Someone asked for the end; the close frame is queued.
    Closing,
    /// The socket failed.
    Gone,
}

/// How a connection's output is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing waits; the last message left this long ago.
    Silent(Duration),
    /// Frames wait and no byte of them has left for this long.
    Waiting(Duration),
}

impl Outbox {
    pub(super) fn new(socket: Writer) -> Self {
        let now = Instant::now();
        let state = State {
            queue: Queue::new(OUTBOX_BYTES_MAX),
            waker: None,
            closing: None,
            gone: false,
            dead: false,
            ended: Vec::new(),
            progress_at: now,
            said_at: now,
        };
        Self {
            heard: Heard::default(),
            charged: Charged::default(),
            dialect: OnceLock::new(),
            principal: AtomicU64::new(0),
            sender: OnceLock::new(),
            socket,
            state: Mutex::new(state),
        }
    }

    /// What its client speaks, once that is known.
    pub(super) fn dialect(&self) -> Option<Dialect> {
        self.dialect.get().copied()
    }

    /// What has gone through so far.
    pub(super) fn traffic(&self) -> Traffic {
        let Heard { bytes, messages, malformed, caught_up } = &self.heard;
        let state = self.state();
        Traffic {
            bytes_in: bytes.load(Ordering::Relaxed),
            messages_in: messages.load(Ordering::Relaxed),
            malformed: malformed.load(Ordering::Relaxed).into(),
            bytes_out: state.queue.sent_bytes,
            messages_out: state.queue.sent_frames,
            caught_up: caught_up.load(Ordering::Relaxed).into(),
        }
    }

    /// What it holds now.
    pub(super) fn load(&self) -> Load {
        let state = self.state();
        Load {
            waiting_bytes: state.queue.bytes,
            behind: state.queue.lags.iter().any(|lag| lag.behind),
            closing: state.closing,
        }
    }

    /// How it ended, once it has.
    pub(super) fn ended(&self) -> Ended {
        let state = self.state();
        match state.closing {
            Some(reason) => Ended::Closed(reason),
            None if state.dead => Ended::Dead,
            None => Ended::Lost,
        }
    }

    /// Ends the connection with a close frame of its own making, such as the echo of a client's code.
    pub(super) fn close_with(&self, reason: CloseReason, frame: Bytes) {
        let mut state = self.state();
        if state.closing.is_none() {
            state.closing = Some(reason);
            state.queue.seal(frame);
            state.wake();
        }
    }

    /// What the client turns out to speak; only the first word counts.
    pub(super) fn set_dialect(&self, dialect: Dialect) {
        let _ = self.dialect.set(dialect);
    }

    /// Who its client turns out to be.
    pub(super) fn set_principal(&self, principal: Option<Principal>, sender: Sender) {
        let _ = self.sender.set(sender);
        self.principal.store(principal.map_or(0, |Principal(number)| number), Ordering::Relaxed);
    }

    /// A document has ended by itself, and its client was told; the connection's task is to know.
    pub(super) fn note_ended(&self, place: Place) {
        let mut state = self.state();
        state.ended.push(place);
        state.wake();
    }

    /// Drops what waits of a document that was left.
    pub(super) fn forget(&self, place: Place) {
        self.state().queue.forget(place);
    }

    /// Why the connection is to end, if it is.
    pub(super) fn closing(&self) -> Option<CloseReason> {
        self.state().closing
    }

    /// When the client was last told something that its watchdog counts; `None` while frames wait.
    pub(super) fn said_at(&self) -> Option<Instant> {
        let state = self.state();
        state.queue.frames.is_empty().then_some(state.said_at)
    }

    /// Whether frames wait, and since when nothing has moved.
    pub(super) fn progress(&self, now: Instant) -> Progress {
        let state = self.state();
        if state.queue.frames.is_empty() {
            Progress::Silent(now.saturating_duration_since(state.said_at))
        } else {
            Progress::Waiting(now.saturating_duration_since(state.progress_at))
        }
    }

    /// Writes what waits as far as the socket takes it. Pending until there is something to react to; wakes the caller
    /// then and when there is more to write, so a connection's task polls this whenever it runs.
    pub(super) fn poll_output(&self, cx: &mut Context<'_>) -> Poll<Output> {
        {
            let mut state = self.state();
            state.register(cx.waker());
            if state.gone {
                return Poll::Ready(Output::Gone);
            }
            if state.closing.is_some() {
                return Poll::Ready(Output::Closing);
            }
            if !state.ended.is_empty() {
                return Poll::Ready(Output::Ended(std::mem::take(&mut state.ended)));
            }
            if state.queue.frames.is_empty() && !state.queue.owes_caught_up() {
                return Poll::Pending;
            }
        }
        if ready!(self.poll_flush(cx)).is_err() {
            return Poll::Ready(Output::Gone);
        }
        if !self.state().queue.owes_caught_up() {
            return Poll::Pending;
        }
        // Frames that had not begun were dropped, so an empty queue does not say that the socket has room.
        if ready!(self.socket.stream().poll_write_ready(cx)).is_err() {
            return Poll::Ready(Output::Gone);
        }
        let mut state = self.state();
        if std::mem::take(&mut state.queue.was_behind) {
            self.heard.caught_up.fetch_add(1, Ordering::Relaxed);
        }
        Poll::Ready(Output::CaughtUp(state.queue.take_owed()))
    }

    /// Ready when everything queued has left for the kernel, or with an error when the socket failed.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..WRITES_PER_POLL_MAX {
            // The lock is held for one write at a time, so that a document's task never waits for more.
            let flushed = {
                let mut state = self.state();
                state.register(cx.waker());
                if state.gone {
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
                let waiting = state.queue.bytes;
                let flushed = state.queue.flush(&self.socket);
                if state.queue.bytes < waiting {
                    state.progress_at = Instant::now();
                    state.said_at = state.progress_at;
                }
                state.gone |= flushed.is_err();
                flushed?
            };
            match flushed {
                Flushed::Empty => return Poll::Ready(Ok(())),
                Flushed::More => {}
                Flushed::Full => ready!(self.socket.stream().poll_write_ready(cx))?,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Sends the end of the stream behind all that was written; reading goes on.
    pub(super) fn finish(&self) {
        // Fails only on a socket that is gone already, which reading will tell.
        self.socket.say_end();
        let _ = socket2::SockRef::from(self.socket.stream()).shutdown(std::net::Shutdown::Write);
    }

    /// Drops the connection at once; whoever delivers next is told so. With `reset` the kernel forgets unsent bytes too,
    /// as it should for a peer that takes none.
    pub(super) fn abandon(&self, reset: bool) {
        let mut state = self.state();
        state.gone = true;
        state.dead |= reset;
        state.waker = None;
        let Queue { sent_bytes, sent_frames, .. } = state.queue;
        state.queue = Queue { sent_bytes, sent_frames, ..Queue::new(OUTBOX_BYTES_MAX) };
        drop(state);
        if !reset {
            self.socket.say_end();
        }
        let socket = socket2::SockRef::from(self.socket.stream());
        // Either call fails only on a socket that is gone already.
        if reset {
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
        let _ = socket.shutdown(std::net::Shutdown::Both);
    }

    /// No code between lock and unlock leaves the state half changed, so a poisoned lock is as good as any.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn register(&mut self, waker: &Waker) {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

impl Outbox {
    /// Sends a ping or a pong. As [`PeerSink::deliver`], but silence goes on: no client's watchdog counts these.
    pub(super) fn deliver_quietly(&self, frame: &Bytes) -> Delivery {
        self.deliver_inner(frame, FrameKind::Control, 0, false)
    }

    /// As [`PeerSink::deliver`], for one of several documents.
    pub(super) fn deliver_for(&self, place: Place, frame: &Bytes, kind: FrameKind) -> Delivery {
        self.deliver_inner(frame, kind, place, true)
    }

    fn deliver_inner(&self, frame: &Bytes, kind: FrameKind, place: Place, breaks_silence: bool) -> Delivery {
        let mut state = self.state();
        if state.gone {
            return Delivery::Closed;
        }
        match state.queue.deliver(&self.socket, frame, kind, place) {
            Ok(Delivered { delivery, wake, progress }) => {
                if progress {
                    state.progress_at = Instant::now();
                    if breaks_silence {
                        state.said_at = state.progress_at;
                    }
                }
                if wake {
                    state.wake();
                }
                delivery
            }
            Err(Refused::Gone(error)) => {
                tracing::debug!(%error, "failed to write to a client");
                state.gone = true;
                state.wake();
                Delivery::Closed
            }
            Err(Refused::Overloaded) => {
                drop(state);
                self.close(CloseReason::Overloaded);
                Delivery::Closed
            }
        }
    }
}

impl PeerSink for Outbox {
    fn deliver(&self, frame: &Bytes, kind: FrameKind) -> Delivery {
        self.deliver_for(0, frame, kind)
    }

    fn is_idle(&self) -> bool {
        self.state().queue.frames.is_empty()
    }

    /// y-sweet's client pays no heed to close codes and is back at once, with the same write (WIRE g-s3): it stays, is told
    /// of others' edits, and never that its own are saved (§6).
    fn refuse(&self, reason: CloseReason) {
        match self.dialect() {
            None | Some(Dialect::YWebsocket | Dialect::Hocuspocus) => self.close(reason),
            Some(Dialect::YSweet) => tracing::debug!(reason = reason.name(), "a write is refused, its client stays"),
        }
    }

    fn principal(&self) -> Option<Principal> {
        let number = self.principal.load(Ordering::Relaxed);
        (number != 0).then_some(Principal(number))
    }

    fn sender(&self) -> Sender {
        self.sender.get().cloned().unwrap_or_default()
    }

    fn charge(&self, charge: Charge) {
        self.charged.charge(charge);
    }

    fn close(&self, reason: CloseReason) {
        let dialect = self.dialect().unwrap_or_default();
        self.close_with(reason, error::close_frame(reason, dialect));
    }
}

#[cfg(test)]
mod tests;
