//! One WebSocket, from the 101 to the last byte: one task, one timer, no buffer while idle. What the messages in it mean
//! is the [`Conversation`]'s concern.
//!
//! Reading: when the socket has bytes they are read into a buffer that belongs to the thread, decoded and parsed there,
//! and each message is offered to its document at once. Only when the document's inbox is full is the message copied,
//! with what was read after it; until it is taken nothing more is read, and that is how back-pressure reaches the client.
//!
//! Writing is the [`Outbox`]'s; this task flushes what could not be written at once, keeps the client's watchdog quiet
//! (WIRE g4), pings, and drops who answers no ping or takes no byte.

use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::ReadBuf;
use tokio::time::Sleep;

use super::conversation::{Conversation, Reaction, Undecided};
use super::documents::DocumentPeer;
use super::error;
use super::line::{Line, Reader};
use super::outbox::{Outbox, Output, Progress};
use super::spending::{Spending, Verdict};
use crate::hub::{Delivery, FrameKind, PeerSink};
use crate::limits;
use crate::wire::close::CloseReason;
use crate::wire::dialect::{Address, Dialect};
use crate::wire::frame::{self, Decoder, Input, Message};
use crate::wire::message::ServerMessage;

/// A ping without payload.
static PING_FRAME: Bytes = Bytes::from_static(&[0x89, 0]);

thread_local! {
    /// Where this thread reads sockets. Used between two awaits only, so all sessions of the thread share it.
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; limits::READ_BUFFER_BYTES]);
}

/// How patient a session is; [`limits`] outside of tests.
#[derive(Debug)]
pub(super) struct Timing {
    /// Silence before a keep-alive message.
    pub keepalive: Duration,
    /// The same after y-sweet's client has asked for an ack.
    pub ack_silence: Duration,
    /// Between pings.
    pub ping: Duration,
    /// Without progress on waiting bytes.
    pub stall: Duration,
    /// For a closing handshake.
    pub close: Duration,
    /// Between a denial and its close frame, least and most.
    pub hold: (Duration, Duration),
    /// For the first message.
    pub first: Duration,
    /// For a document to say something before its client is told of being let in.
    pub greeting: Duration,
    /// For the token of a document, once it was spoken of.
    pub auth: Duration,
    /// Between the question for another token and the end of the old one.
    pub renewal: Duration,
}

impl Timing {
    /// The values of [`limits`].
    pub(super) const DEFAULT: Timing = Timing {
        keepalive: limits::KEEPALIVE_AFTER,
        ack_silence: limits::ACK_SILENCE_MAX,
        ping: limits::PING_EVERY,
        stall: limits::WRITE_STALL_TIMEOUT,
        close: limits::CLOSE_TIMEOUT,
        hold: (limits::DENIAL_HOLD_MIN, limits::DENIAL_HOLD_MAX),
        first: limits::FIRST_MESSAGE_TIMEOUT,
        greeting: limits::GREETING_HOLD,
        auth: limits::AUTH_TIMEOUT,
        renewal: limits::TOKEN_RENEWAL,
    };
}

/// Full buffers of one client that are worked off before others have their turn.
const READS_PER_POLL_MAX: usize = 2;
/// Pings in a row without any sign of life, after which the client is dead (WIRE §6).
const PINGS_MISSED_MAX: u8 = 2;

/// How the conversation with a client ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// A close frame is queued; the closing handshake follows.
    Close,
    /// The socket ended or failed.
    Gone,
    /// The client gives no sign of life.
    Dead,
}

/// What came of a piece of the stream.
enum Ingested {
    /// All of it was used.
    All,
    /// The document's inbox is full.
    Held(Box<Held>),
    /// The conversation is over.
    End(Ending),
}

/// What follows from a message for the connection.
enum Reacted {
    Next,
    Hold,
    End(Ending),
}

/// A message that waits for room in the document's inbox, and what was read behind it.
pub(super) struct Held {
    /// Payload of the message's frame; it was parsed once and is valid.
    frame: Vec<u8>,
    /// Bytes of the stream that are not decoded yet.
    rest: Vec<u8>,
}

impl Held {
    /// Bytes that were read before anybody listened.
    pub(super) fn rest(rest: Vec<u8>) -> Self {
        Self { frame: Vec::new(), rest }
    }
}

/// What a client began with.
pub(super) struct First {
    /// What it speaks.
    pub(super) dialect: Dialect,
    /// Its first message, if it has come whole; else the decoder has what there is of it.
    pub(super) held: Option<Box<Held>>,
}

/// One client's connection. Dropping it ends the connection, whatever state it is in.
pub(super) struct Session {
    outbox: Arc<Outbox>,
    reader: Reader,
    decoder: Decoder,
    timing: &'static Timing,
    /// Malformed messages so far.
    garbage: u32,
    /// Pings answered in the second that began at the instant.
    pings: (Instant, u32),
    /// When y-sweet's client asked for the first ack since it was last told something; `None` when there is none, or when
    /// that cannot end its patience any more.
    ack_asked: Option<Instant>,
    /// When the next ping is due.
    ping_at: Instant,
    /// Pings in a row that nothing followed.
    pings_missed: u8,
    /// Bytes came since the last ping.
    heard: bool,
    /// Nothing is read because the document's inbox is full, so silence says nothing about the client.
    blocked: bool,
    spending: Spending,
}

impl Session {
    /// Takes over a socket after its handshake.
    pub(super) fn new((reader, writer): Line, timing: &'static Timing, spending: Spending) -> Self {
        let now = Instant::now();
        Self {
            outbox: Arc::new(Outbox::new(writer)),
            reader,
            decoder: Decoder::default(),
            timing,
            garbage: 0,
            pings: (now, 0),
            ack_asked: None,
            ping_at: now + timing.ping,
            pings_missed: 0,
            heard: true,
            blocked: false,
            spending,
        }
    }

    /// Where frames for this client go.
    pub(super) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Reads until it is plain what the client speaks, which is when the first byte of its first message has come; the
    /// rest of it may be large, and the client a stranger.
    ///
    /// # Errors
    /// How the connection ended before.
    pub(super) async fn first(&mut self, early: Vec<u8>) -> Result<First, Ending> {
        let mut nobody = Undecided { until: Instant::now() + self.timing.first };
        let mut timer = pin!(tokio::time::sleep_until(self.next_due(&nobody).into()));
        let mut ingested = self.ingest_owned(early, &mut nobody);
        loop {
            let held = match ingested {
                Ingested::All => None,
                Ingested::Held(held) => Some(held),
                Ingested::End(ending) => return Err(ending),
            };
            let begun = held.as_ref().map(|held| &held.frame[..]).or_else(|| self.decoder.begun());
            if let Some(begun) = begun {
                let dialect = Dialect::of_first_frame(begun);
                self.outbox.set_dialect(dialect);
                return Ok(First { dialect, held });
            }
            ingested = std::future::poll_fn(|cx| {
                let ingested = self.poll_ingest(cx, timer.as_mut(), &mut nobody);
                // Nothing more is read of a message whose beginning is there.
                if self.decoder.begun().is_some() { Poll::Ready(Ingested::All) } else { ingested }
            })
            .await;
        }
    }

    /// Converses until one side ends it. The future is large: box it.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn holds what it is given twice, 368 bytes of each connection"
    )]
    pub(super) fn run<C: Conversation>(
        mut self,
        mut conversation: C,
        held: Option<Box<Held>>,
    ) -> impl Future<Output = ()> {
        async move {
            let ending = self.converse(&mut conversation, held).await;
            // Whatever the closing handshake takes, the client has left its documents.
            drop(conversation);
            if self.is_ysweet() && self.outbox.closing().is_some_and(CloseReason::comes_again) {
                // Its client comes back without delay, whatever the code (WIRE g-s3): 100 connects in 2.5 s.
                tokio::time::sleep(self.timing.hold.0).await;
            }
            self.end(ending).await;
        }
    }

    /// The connection has ended before it was known what for.
    pub(super) async fn give_up(mut self, ending: Ending) {
        self.end(ending).await;
    }

    /// Only tells the client why it cannot stay.
    pub(super) async fn refuse(mut self, reason: CloseReason) {
        self.outbox.close(reason);
        self.end(Ending::Close).await;
    }

    /// Tells the client that it may not stay, and closes after `hold`. Clients before 3.1 come back whatever the code, and
    /// at once when the connection was short (WIRE g6). What the client sends meanwhile is passed over: nothing is loaded
    /// and nothing kept on its behalf.
    pub(super) async fn deny(
        mut self,
        text: &'static str,
        reason: CloseReason,
        hold: Duration,
        held: Option<Box<Held>>,
    ) {
        let message = ServerMessage::PermissionDenied(Bytes::from_static(text.as_bytes()));
        if let Some(frame) = Address::YWebsocket.frames(&message) {
            self.outbox.deliver(&frame, FrameKind::Control);
        }
        let early = held.map(|held| held.rest).unwrap_or_default();
        let ending = match tokio::time::timeout(hold, self.pass_over(early)).await {
            Ok(ending) => ending,
            Err(_) => {
                self.outbox.close(reason);
                Ending::Close
            }
        };
        // A large message that had begun would go on to be put together while the client takes leave.
        self.decoder.give_up();
        self.end(ending).await;
    }

    /// Reads a little and acts on none of it, until one side ends the connection.
    async fn pass_over(&mut self, mut early: Vec<u8>) -> Ending {
        let mut left = limits::DENIED_BYTES_MAX.saturating_sub(early.len());
        let mut closed = passes_close(&mut self.decoder, &mut early);
        std::future::poll_fn(|cx| {
            loop {
                while let Poll::Ready(output) = self.outbox.poll_output(cx) {
                    match output {
                        Output::CaughtUp(_) | Output::Ended(_) => {}
                        Output::Closing => return Poll::Ready(Ending::Close),
                        Output::Gone => return Poll::Ready(Ending::Gone),
                    }
                }
                if closed {
                    self.outbox.close_with(CloseReason::Client, frame::close(None, ""));
                    return Poll::Ready(Ending::Close);
                }
                if left == 0 {
                    return Poll::Pending;
                }
                let read = READ_BUFFER.with_borrow_mut(|buffer| {
                    let within = left.min(buffer.len());
                    let mut buffer = ReadBuf::new(buffer.get_mut(..within).unwrap_or_default());
                    let read = ready!(self.reader.poll_read(cx, &mut buffer));
                    left -= buffer.filled().len();
                    let ended = read.is_err() || buffer.filled().is_empty();
                    closed = passes_close(&mut self.decoder, buffer.filled_mut());
                    Poll::Ready(ended)
                });
                if ready!(read) {
                    return Poll::Ready(Ending::Gone);
                }
            }
        })
        .await
    }

    async fn converse<C: Conversation>(&mut self, conversation: &mut C, held: Option<Box<Held>>) -> Ending {
        let mut timer = pin!(tokio::time::sleep_until(self.next_due(conversation).into()));
        let mut ingested = self.begin(conversation, held);
        loop {
            ingested = match ingested {
                Ingested::All => std::future::poll_fn(|cx| self.poll_ingest(cx, timer.as_mut(), conversation)).await,
                Ingested::Held(held) => self.hand_over(held, timer.as_mut(), conversation).await,
                Ingested::End(ending) => return ending,
            };
        }
    }

    /// What may come depends on what has been said.
    fn allow<C: Conversation>(&mut self, conversation: &C) -> Result<(), frame::FrameError> {
        self.decoder.allow(conversation.message_bytes_max(), conversation.hears_oversized())
    }

    /// The client's first message, which has come before there was a conversation.
    fn begin<C: Conversation>(&mut self, conversation: &mut C, held: Option<Box<Held>>) -> Ingested {
        if let Err(error) = self.allow(conversation) {
            return self.close(error::frame_reason(error));
        }
        let Some(held) = held else { return Ingested::All };
        let Held { frame, mut rest } = *held;
        if frame.is_empty() {
            return self.ingest_owned(rest, conversation);
        }
        let (mut messages, garbage) = (0, self.garbage);
        self.spending.heard(1);
        let reaction = conversation.hear(&frame);
        let ingested = match self.react(reaction, &mut messages) {
            Reacted::Next => None,
            Reacted::Hold => Some(Ingested::Held(Box::new(Held { frame, rest: std::mem::take(&mut rest) }))),
            Reacted::End(ending) => Some(Ingested::End(ending)),
        };
        self.count(messages, garbage);
        ingested.unwrap_or_else(|| self.digest(&mut rest, conversation))
    }

    /// Upkeep, then reading, until there is something to react to.
    fn poll_ingest<C: Conversation>(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
        conversation: &mut C,
    ) -> Poll<Ingested> {
        if let Poll::Ready(ending) = self.poll_upkeep(cx, timer.as_mut(), conversation) {
            return Poll::Ready(Ingested::End(ending));
        }
        for _ in 0..READS_PER_POLL_MAX {
            match self.spending.verdict(&self.outbox.charged) {
                Verdict::Go => {}
                Verdict::Wait(_) => {
                    // As where the document's inbox is full: a request for an ack may be among what is not read.
                    self.note_ack_asked();
                    self.watch(cx, timer, conversation);
                    return Poll::Pending;
                }
                Verdict::End => return Poll::Ready(self.close(CloseReason::OverBudget)),
            }
            let ingested = READ_BUFFER.with_borrow_mut(|buffer| {
                let within = conversation.read_bytes_max().min(buffer.len());
                let mut buffer = ReadBuf::new(buffer.get_mut(..within).unwrap_or_default());
                match ready!(self.reader.poll_read(cx, &mut buffer)) {
                    Ok(()) if !buffer.filled().is_empty() => {
                        Poll::Ready(self.ingest(buffer.filled_mut(), conversation))
                    }
                    Ok(()) | Err(_) => Poll::Ready(Ingested::End(Ending::Gone)),
                }
            });
            match ingested {
                Poll::Ready(Ingested::All) => {}
                Poll::Ready(held_or_end) => return Poll::Ready(held_or_end),
                Poll::Pending => {
                    self.watch(cx, timer, conversation);
                    return Poll::Pending;
                }
            }
        }
        // There may be more; others first.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits until the document takes the held message, flushing and pinging meanwhile, then goes on behind it.
    async fn hand_over<C: Conversation>(
        &mut self,
        held: Box<Held>,
        mut timer: Pin<&mut Sleep>,
        conversation: &mut C,
    ) -> Ingested {
        let Held { frame, rest } = *held;
        let Some((peer, message)) = conversation.recipient(&frame) else {
            return self.ingest_owned(rest, conversation);
        };
        // Boxed, since most sessions never come here and should not carry its state.
        let mut sending = Box::pin(peer.send(message));
        self.blocked = true;
        // A request for an ack may be among what is not read meanwhile.
        self.note_ack_asked();
        let sent = std::future::poll_fn(|cx| match sending.as_mut().poll(cx) {
            Poll::Ready(sent) => Poll::Ready(Ok(sent)),
            Poll::Pending => {
                let ending = self.poll_upkeep(cx, timer.as_mut(), conversation);
                self.watch(cx, timer.as_mut(), conversation);
                ending.map(Err)
            }
        })
        .await;
        drop(sending);
        self.blocked = false;
        self.heard = true;
        match sent {
            Ok(Ok(())) => {
                self.outbox.heard.messages.fetch_add(1, Ordering::Relaxed);
                match conversation.follow_up() {
                    Some(frame) => Ingested::Held(Box::new(Held { frame, rest })),
                    None => self.digest(&mut { rest }, conversation),
                }
            }
            Ok(Err(error)) => self.close(error::close_reason(&error)),
            Err(ending) => Ingested::End(ending),
        }
    }

    fn ingest_owned<C: Conversation>(&mut self, mut bytes: Vec<u8>, conversation: &mut C) -> Ingested {
        self.ingest(&mut bytes, conversation)
    }

    /// Decodes a piece of the stream and acts on each message in it.
    fn ingest<C: Conversation>(&mut self, bytes: &mut [u8], conversation: &mut C) -> Ingested {
        self.heard |= !bytes.is_empty();
        self.outbox.heard.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.spending.read(bytes.len());
        self.digest(bytes, conversation)
    }

    /// The same for bytes that were counted before.
    fn digest<C: Conversation>(&mut self, bytes: &mut [u8], conversation: &mut C) -> Ingested {
        let (mut messages, garbage) = (0, self.garbage);
        let ingested = self.work_off(bytes, conversation, &mut messages);
        self.count(messages, garbage);
        ingested
    }

    /// Counts messages understood, and what has become garbage since there was so much of it.
    fn count(&self, messages: u64, garbage: u32) {
        let heard = &self.outbox.heard;
        if messages > 0 {
            heard.messages.fetch_add(messages, Ordering::Relaxed);
        }
        if self.garbage > garbage {
            heard.malformed.fetch_add(self.garbage - garbage, Ordering::Relaxed);
        }
    }

    fn work_off<C: Conversation>(&mut self, bytes: &mut [u8], conversation: &mut C, messages: &mut u64) -> Ingested {
        let mut input = Input::new(bytes);
        loop {
            if let Err(error) = self.allow(conversation) {
                return self.close(error::frame_reason(error));
            }
            let next = self.decoder.next(&mut input);
            self.spending.heard(u64::from(!matches!(next, Ok(None))));
            let reaction = match next {
                Ok(None) => return Ingested::All,
                Ok(Some(Message::Binary(frame))) => match conversation.hear(frame) {
                    Reaction::Full => {
                        let held = Held { frame: frame.to_vec(), rest: input.rest().to_vec() };
                        return Ingested::Held(Box::new(held));
                    }
                    reaction => reaction,
                },
                Ok(Some(Message::Text(text))) => conversation.hear_text(text),
                Ok(Some(Message::Oversized(beginning))) => conversation.hear_oversized(beginning),
                Ok(Some(Message::Ping(payload))) => {
                    let now = Instant::now();
                    if now.saturating_duration_since(self.pings.0) >= Duration::from_secs(1) {
                        self.pings = (now, 0);
                    }
                    if self.pings.1 < limits::PINGS_PER_SECOND_MAX {
                        self.pings.1 += 1;
                        self.outbox.deliver_quietly(&frame::pong(payload));
                    }
                    Reaction::Nothing
                }
                // `heard` has noted the sign of life.
                Ok(Some(Message::Pong(payload))) => {
                    conversation.hear_pong(payload);
                    Reaction::Nothing
                }
                Ok(Some(Message::Close { code, reason })) => {
                    tracing::trace!(code, reason, "a client closes");
                    self.outbox.close_with(CloseReason::Client, frame::close(code, ""));
                    return Ingested::End(Ending::Close);
                }
                Err(error) => {
                    tracing::debug!(%error, "a client broke the websocket protocol");
                    return self.close(error::frame_reason(error));
                }
            };
            match self.react(reaction, messages) {
                Reacted::Next | Reacted::Hold => {}
                Reacted::End(ending) => return Ingested::End(ending),
            }
            if let Some(frame) = conversation.follow_up() {
                return Ingested::Held(Box::new(Held { frame, rest: input.rest().to_vec() }));
            }
        }
    }

    /// What follows from a reaction for the connection.
    fn react(&mut self, reaction: Reaction, messages: &mut u64) -> Reacted {
        match reaction {
            Reaction::Taken => *messages += 1,
            Reaction::Asked => {
                *messages += 1;
                self.note_ack_asked();
            }
            Reaction::Nothing => {}
            Reaction::Garbage => {
                self.garbage += 1;
                if self.garbage > limits::GARBAGE_MESSAGES_MAX {
                    self.outbox.close(CloseReason::Garbage);
                    return Reacted::End(Ending::Close);
                }
            }
            Reaction::Full => return Reacted::Hold,
            Reaction::End(reason) => {
                self.outbox.close(reason);
                return Reacted::End(Ending::Close);
            }
        }
        Reacted::Next
    }

    fn close(&self, reason: CloseReason) -> Ingested {
        self.outbox.close(reason);
        Ingested::End(Ending::Close)
    }

    /// Flushes and does what is due; ready only when the conversation is over.
    fn poll_upkeep<C: Conversation>(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
        conversation: &mut C,
    ) -> Poll<Ending> {
        while let Poll::Ready(output) = self.outbox.poll_output(cx) {
            match output {
                Output::CaughtUp(places) => conversation.caught_up(&places),
                Output::Ended(places) => conversation.ended(&places),
                Output::Closing => return Poll::Ready(Ending::Close),
                Output::Gone => return Poll::Ready(Ending::Gone),
            }
        }
        while let Poll::Ready(reaction) = conversation.poll_decided(cx) {
            if let Reacted::End(ending) = self.react(reaction, &mut 0) {
                return Poll::Ready(ending);
            }
        }
        while timer.as_mut().poll(cx).is_ready() {
            if let Some(ending) = self.tick(Instant::now(), conversation) {
                return Poll::Ready(ending);
            }
            timer.as_mut().reset(self.next_due(conversation).into());
        }
        Poll::Pending
    }

    /// The client has asked for an ack, and if it is y-sweet's, its patience is short from now on (WIRE g-s2).
    fn note_ack_asked(&mut self) {
        if self.is_ysweet() && self.ack_asked.is_none_or(|asked| self.has_said_since(asked)) {
            self.ack_asked = Some(Instant::now());
        }
    }

    fn is_ysweet(&self) -> bool {
        self.outbox.dialect() == Some(Dialect::YSweet)
    }

    /// Frames that wait will be heard when they arrive; nothing that is queued behind them could be sooner.
    fn has_said_since(&self, asked: Instant) -> bool {
        self.outbox.said_at().is_none_or(|said| said >= asked)
    }

    /// Brings the timer forward to what has come to be due before it: a keep-alive for want of an ack, or what the
    /// conversation has on its mind now.
    fn watch<C: Conversation>(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>, conversation: &mut C) {
        if conversation.wants_poll() {
            cx.waker().wake_by_ref();
        }
        self.ack_asked.take_if(|asked| self.outbox.said_at().is_none_or(|said| said >= *asked));
        let ack = self.ack_asked.map(|asked| asked + self.timing.ack_silence);
        let theirs = conversation.due_has_changed().then(|| self.next_due(conversation));
        let paid = self.spending.until();
        let Some(due) = ack.into_iter().chain(theirs).chain(paid).min().map(Into::into) else { return };
        if due < timer.deadline() {
            timer.as_mut().reset(due);
            if timer.poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
    }

    /// Does what is due at `now`.
    fn tick<C: Conversation>(&mut self, now: Instant, conversation: &mut C) -> Option<Ending> {
        if let Some(reason) = conversation.tick(now) {
            self.outbox.close(reason);
            return Some(Ending::Close);
        }
        let progress = self.outbox.progress(now);
        match progress {
            Progress::Waiting(since) if since >= self.timing.stall => return Some(Ending::Dead),
            Progress::Silent(since) if since >= self.timing.keepalive => {
                if let Some(frame) = conversation.keepalive()
                    && self.outbox.deliver(&frame, FrameKind::Control) == Delivery::Closed
                {
                    return Some(self.closed());
                }
            }
            Progress::Waiting(_) | Progress::Silent(_) => {}
        }
        if let Some(asked) = self.ack_asked.take_if(|asked| now >= *asked + self.timing.ack_silence)
            && !self.has_said_since(asked)
            && let Some(frame) = conversation.keepalive()
            && self.outbox.deliver(&frame, FrameKind::Control) == Delivery::Closed
        {
            return Some(self.closed());
        }
        if now < self.ping_at {
            return None;
        }
        self.ping_at = now + self.timing.ping;
        // Behind queued frames a ping would be late through no fault of the client; the stall rule watches over those.
        let unread = self.blocked || self.spending.until().is_some();
        if unread || matches!(progress, Progress::Waiting(_)) {
            return None;
        }
        self.pings_missed = if self.heard { 0 } else { self.pings_missed + 1 };
        if self.pings_missed >= PINGS_MISSED_MAX {
            return Some(Ending::Dead);
        }
        self.heard = false;
        match self.outbox.deliver_quietly(&PING_FRAME) {
            Delivery::Closed => Some(self.closed()),
            Delivery::Taken | Delivery::Behind => None,
        }
    }

    /// Why the outbox takes nothing more.
    fn closed(&self) -> Ending {
        if self.outbox.closing().is_some() { Ending::Close } else { Ending::Gone }
    }

    /// When [`Session::tick`] has something to do, unless bytes move before.
    fn next_due<C: Conversation>(&self, conversation: &C) -> Instant {
        let now = Instant::now();
        let output = match self.outbox.progress(now) {
            Progress::Silent(since) => self.timing.keepalive.saturating_sub(since),
            // What waits may leave at any moment, and silence begins then.
            Progress::Waiting(since) => self.timing.stall.saturating_sub(since).min(self.timing.keepalive),
        };
        // Due together with the ping at the latest, so that no time is too far away to be added.
        let theirs = conversation.due_in(now).map(|due_in| now + due_in.min(self.timing.ping));
        let ack = self.ack_asked.map_or(self.ping_at, |asked| asked + self.timing.ack_silence);
        let paid = self.spending.until().filter(|until| *until > now).unwrap_or(self.ping_at);
        let due = self.ping_at.min(now + output).min(ack).min(paid);
        theirs.map_or(due, |theirs| due.min(theirs))
    }

    /// Sees the connection to its end.
    async fn end(&mut self, ending: Ending) {
        let reset = match ending {
            Ending::Gone => false,
            Ending::Dead => true,
            Ending::Close => {
                let (mut flushed, timing) = (false, self.timing);
                let handshake = self.closing_handshake(&mut flushed);
                // Complete or not, the socket goes now.
                let _ = tokio::time::timeout(timing.close, handshake).await;
                !flushed
            }
        };
        tracing::trace!(?ending, reason = ?self.outbox.closing(), "a connection ends");
        self.spending.end(&self.outbox.charged);
        self.outbox.abandon(reset);
    }

    /// Sends what is queued, the close frame last, and waits for the client's answer, whichever it is. `flushed` tells
    /// how far it came when it is cut short.
    async fn closing_handshake(&mut self, flushed: &mut bool) {
        if std::future::poll_fn(|cx| self.outbox.poll_flush(cx)).await.is_err() {
            return;
        }
        *flushed = true;
        if self.outbox.closing() == Some(CloseReason::Client) {
            return;
        }
        if self.decoder.ended() {
            // The client's own close frame could not be recognised any more, so say the same in the language of TCP.
            self.outbox.finish();
        }
        // Closing a socket with unread bytes resets it, and the client might never see our close frame.
        std::future::poll_fn(|cx| {
            loop {
                let closed = READ_BUFFER.with_borrow_mut(|buffer| {
                    let mut buffer = ReadBuf::new(buffer);
                    let read = ready!(self.reader.poll_read(cx, &mut buffer));
                    let ended = read.is_err() || buffer.filled().is_empty();
                    Poll::Ready(ended || passes_close(&mut self.decoder, buffer.filled_mut()))
                });
                if ready!(closed) {
                    return Poll::Ready(());
                }
            }
        })
        .await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.outbox.abandon(false);
    }
}

/// Passes over messages that come too late, and says whether the client's close frame was among them.
fn passes_close(decoder: &mut Decoder, bytes: &mut [u8]) -> bool {
    let mut input = Input::new(bytes);
    loop {
        match decoder.next(&mut input) {
            Ok(None) => return false,
            Ok(Some(Message::Close { .. })) => return true,
            Ok(Some(_)) | Err(_) => {}
        }
    }
}
