//! One WebSocket in one document, from the 101 to the last byte: one task, one timer, no buffer while idle.
//!
//! Reading: when the socket has bytes they are read into a buffer that belongs to the thread, decoded and parsed there,
//! and each message is offered to the document at once. Only when the document's inbox is full is the message copied,
//! with what was read after it; until it is taken nothing more is read, and that is how back-pressure reaches the client.
//!
//! Writing is the [`Outbox`]'s; this task flushes what could not be written at once, keeps the client's watchdog quiet
//! (WIRE g4), pings, and drops who answers no ping or takes no byte.

use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::Sleep;

use super::documents::DocumentPeer;
use super::error;
use super::outbox::{Outbox, Output, Progress};
use crate::hub::{Delivery, FrameKind, HubError, PeerSink};
use crate::limits;
use crate::wire::close::CloseReason;
use crate::wire::dialect::Dialect;
use crate::wire::frame::{self, Decoder, Input, Message};
use crate::wire::message::{ClientMessage, ServerMessage};
use crate::wire::ywebsocket;

/// [`ywebsocket::KEEPALIVE`] as a frame.
static KEEPALIVE_FRAME: Bytes = Bytes::from_static(&[0x82, 3, 1, 1, 0]);
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
    };
}

/// Full buffers of one client that are worked off before others have their turn.
const READS_PER_POLL_MAX: usize = 2;
/// Pings in a row without any sign of life, after which the client is dead (WIRE §6).
const PINGS_MISSED_MAX: u8 = 2;

/// How the conversation with a client ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
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

/// A message that waits for room in the document's inbox, and what was read behind it.
struct Held {
    /// Payload of the message's frame; it was parsed once and is valid.
    frame: Vec<u8>,
    /// Bytes of the stream that are not decoded yet.
    rest: Vec<u8>,
}

/// What becomes of requests for an ack. y-sweet's client asks as soon as it is connected, about all that it has done, and
/// only then says in its SyncStep2 what it did while it was away: an ack before that would call it saved (P1).
enum EarlyAck {
    /// None has come.
    None,
    /// The last one, held back.
    Held(Vec<u8>),
    /// The client has said what it has; requests go through.
    Through,
}

/// One client's connection. Dropping it ends the connection, whatever state it is in.
pub(super) struct Session {
    outbox: Arc<Outbox>,
    reader: OwnedReadHalf,
    decoder: Decoder,
    timing: &'static Timing,
    /// Malformed messages so far.
    garbage: u32,
    /// Pings answered in the second that began at the instant.
    pings: (Instant, u32),
    /// When the client's token has expired; never, where none is asked for. By the wall clock, which may be set: the timer
    /// that watches over it runs at least as often as a ping is due.
    ends: Option<SystemTime>,
    /// When y-sweet's client asked for the first ack since it was last told something; `None` when there is none, or when
    /// that cannot end its patience any more.
    ack_asked: Option<Instant>,
    /// The last request for an ack that y-sweet's client made before it had answered our SyncStep1, as a frame's payload; or
    /// none of that is to be held back any more.
    early_ack: EarlyAck,
    /// When the next ping is due.
    ping_at: Instant,
    /// Pings in a row that nothing followed.
    pings_missed: u8,
    /// Bytes came since the last ping.
    heard: bool,
    /// Nothing is read because the document's inbox is full, so silence says nothing about the client.
    blocked: bool,
}

impl Session {
    /// Takes over a socket after its handshake.
    pub(super) fn new(stream: TcpStream, dialect: Dialect, timing: &'static Timing) -> Self {
        let (reader, writer) = stream.into_split();
        let now = Instant::now();
        Self {
            outbox: Arc::new(Outbox::new(writer, dialect)),
            reader,
            decoder: Decoder::default(),
            timing,
            garbage: 0,
            pings: (now, 0),
            ends: None,
            ack_asked: None,
            early_ack: if dialect == Dialect::YSweet { EarlyAck::None } else { EarlyAck::Through },
            ping_at: now + timing.ping,
            pings_missed: 0,
            heard: true,
            blocked: false,
        }
    }

    /// Where frames for this client go.
    pub(super) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Converses until one side ends it, or until `ends_s` in seconds since 1970. `early` is what the client sent with its
    /// handshake. The future is large: box it.
    pub(super) async fn run<P: DocumentPeer>(mut self, peer: P, early: Vec<u8>, ends_s: Option<u64>) {
        // A time past what the clock can say is none.
        self.ends = ends_s.and_then(|ends_s| UNIX_EPOCH.checked_add(Duration::from_secs(ends_s)));
        let ending = self.converse(&peer, early).await;
        // Whatever the closing handshake takes, the client has left the document.
        drop(peer);
        if self.outbox.dialect() == Dialect::YSweet && self.outbox.closing().is_some_and(CloseReason::comes_again) {
            // Its client comes back without delay, whatever the code (WIRE g-s3): 100 connects in 2.5 s.
            tokio::time::sleep(self.timing.hold.0).await;
        }
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
    pub(super) async fn deny(mut self, text: &'static str, reason: CloseReason, hold: Duration, early: Vec<u8>) {
        let message = ywebsocket::encode(&ServerMessage::PermissionDenied(Bytes::from_static(text.as_bytes())));
        self.outbox.deliver(&frame::binary(&[&message]), FrameKind::Control);
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
                        Output::CaughtUp => {}
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
                    let read = ready!(Pin::new(&mut self.reader).poll_read(cx, &mut buffer));
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

    async fn converse<P: DocumentPeer>(&mut self, peer: &P, early: Vec<u8>) -> Ending {
        let mut timer = pin!(tokio::time::sleep_until(self.next_due().into()));
        let mut ingested = self.ingest_owned(early, peer);
        loop {
            ingested = match ingested {
                Ingested::All => std::future::poll_fn(|cx| self.poll_ingest(cx, timer.as_mut(), peer)).await,
                Ingested::Held(held) => self.hand_over(held, timer.as_mut(), peer).await,
                Ingested::End(ending) => return ending,
            };
        }
    }

    /// Upkeep, then reading, until there is something to react to.
    fn poll_ingest<P: DocumentPeer>(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
        peer: &P,
    ) -> Poll<Ingested> {
        if let Poll::Ready(ending) = self.poll_upkeep(cx, timer.as_mut(), peer) {
            return Poll::Ready(Ingested::End(ending));
        }
        for _ in 0..READS_PER_POLL_MAX {
            let ingested = READ_BUFFER.with_borrow_mut(|buffer| {
                let mut buffer = ReadBuf::new(buffer);
                match ready!(Pin::new(&mut self.reader).poll_read(cx, &mut buffer)) {
                    Ok(()) if !buffer.filled().is_empty() => Poll::Ready(self.ingest(buffer.filled_mut(), peer)),
                    Ok(()) | Err(_) => Poll::Ready(Ingested::End(Ending::Gone)),
                }
            });
            match ingested {
                Poll::Ready(Ingested::All) => {}
                Poll::Ready(held_or_end) => return Poll::Ready(held_or_end),
                Poll::Pending => {
                    self.watch_ack(cx, timer);
                    return Poll::Pending;
                }
            }
        }
        // There may be more; others first.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits until the document takes the held message, flushing and pinging meanwhile, then goes on behind it.
    async fn hand_over<P: DocumentPeer>(&mut self, held: Box<Held>, mut timer: Pin<&mut Sleep>, peer: &P) -> Ingested {
        let Held { frame, rest } = *held;
        let Ok(Some(message)) = ywebsocket::parse(&frame) else { return self.ingest_owned(rest, peer) };
        let answers = matches!(message, ClientMessage::SyncStep2(_));
        // Boxed, since most sessions never come here and should not carry its state.
        let mut sending = Box::pin(peer.send(message));
        self.blocked = true;
        // A request for an ack may be among what is not read meanwhile.
        self.note_ack_asked();
        let sent = std::future::poll_fn(|cx| match sending.as_mut().poll(cx) {
            Poll::Ready(sent) => Poll::Ready(Ok(sent)),
            Poll::Pending => {
                let ending = self.poll_upkeep(cx, timer.as_mut(), peer);
                self.watch_ack(cx, timer.as_mut());
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
                let early_ack = if answers { self.take_early_ack() } else { None };
                match early_ack {
                    Some(frame) => Ingested::Held(Box::new(Held { frame, rest })),
                    None => self.digest(&mut { rest }, peer),
                }
            }
            Ok(Err(error)) => self.close(error::close_reason(&error)),
            Err(ending) => Ingested::End(ending),
        }
    }

    fn ingest_owned<P: DocumentPeer>(&mut self, mut bytes: Vec<u8>, peer: &P) -> Ingested {
        self.ingest(&mut bytes, peer)
    }

    /// Decodes a piece of the stream and acts on each message in it.
    fn ingest<P: DocumentPeer>(&mut self, bytes: &mut [u8], peer: &P) -> Ingested {
        self.heard |= !bytes.is_empty();
        self.outbox.heard.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.digest(bytes, peer)
    }

    /// The same for bytes that were counted before.
    fn digest<P: DocumentPeer>(&mut self, bytes: &mut [u8], peer: &P) -> Ingested {
        let (mut messages, garbage) = (0, self.garbage);
        let ingested = self.work_off(bytes, peer, &mut messages);
        let heard = &self.outbox.heard;
        if messages > 0 {
            heard.messages.fetch_add(messages, Ordering::Relaxed);
        }
        if self.garbage > garbage {
            heard.malformed.fetch_add(self.garbage - garbage, Ordering::Relaxed);
        }
        ingested
    }

    fn work_off<P: DocumentPeer>(&mut self, bytes: &mut [u8], peer: &P, messages: &mut u64) -> Ingested {
        let mut input = Input::new(bytes);
        loop {
            let garbage = match self.decoder.next(&mut input) {
                Ok(None) => return Ingested::All,
                Ok(Some(Message::Binary(frame))) => match ywebsocket::parse(frame) {
                    Ok(Some(ClientMessage::AckRequest(_))) if !matches!(self.early_ack, EarlyAck::Through) => {
                        self.early_ack = EarlyAck::Held(frame.to_vec());
                        *messages += 1;
                        false
                    }
                    Ok(Some(message)) => match offer(peer, message) {
                        Some(Ok(())) => {
                            *messages += 1;
                            let asks = matches!(message, ClientMessage::AckRequest(_));
                            let answers = matches!(message, ClientMessage::SyncStep2(_));
                            if asks {
                                self.note_ack_asked();
                            }
                            if answers && let Some(frame) = self.take_early_ack() {
                                let rest = input.rest().to_vec();
                                return Ingested::Held(Box::new(Held { frame, rest }));
                            }
                            false
                        }
                        Some(Err(error)) => {
                            let reason = error::close_reason(&error);
                            return self.close(reason);
                        }
                        None => {
                            let held = Held { frame: frame.to_vec(), rest: input.rest().to_vec() };
                            return Ingested::Held(Box::new(held));
                        }
                    },
                    Ok(None) => false,
                    Err(error) => {
                        tracing::debug!(%error, bytes = frame.len(), "a client sent a malformed message");
                        true
                    }
                },
                // No client of this dialect sends text (WIRE §0).
                Ok(Some(Message::Text(_))) => true,
                Ok(Some(Message::Ping(payload))) => {
                    let now = Instant::now();
                    if now.saturating_duration_since(self.pings.0) >= Duration::from_secs(1) {
                        self.pings = (now, 0);
                    }
                    if self.pings.1 < limits::PINGS_PER_SECOND_MAX {
                        self.pings.1 += 1;
                        self.outbox.deliver_quietly(&frame::pong(payload));
                    }
                    false
                }
                // `heard` has noted the sign of life.
                Ok(Some(Message::Pong(_))) => false,
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
            if garbage {
                self.garbage += 1;
                if self.garbage > limits::GARBAGE_MESSAGES_MAX {
                    return self.close(CloseReason::Garbage);
                }
            }
        }
    }

    fn close(&self, reason: CloseReason) -> Ingested {
        self.outbox.close(reason);
        Ingested::End(Ending::Close)
    }

    /// Flushes and does what is due; ready only when the conversation is over.
    fn poll_upkeep<P: DocumentPeer>(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
        peer: &P,
    ) -> Poll<Ending> {
        while let Poll::Ready(output) = self.outbox.poll_output(cx) {
            match output {
                Output::CaughtUp => peer.caught_up(),
                Output::Closing => return Poll::Ready(Ending::Close),
                Output::Gone => return Poll::Ready(Ending::Gone),
            }
        }
        while timer.as_mut().poll(cx).is_ready() {
            if let Some(ending) = self.tick(Instant::now()) {
                return Poll::Ready(ending);
            }
            timer.as_mut().reset(self.next_due().into());
        }
        Poll::Pending
    }

    /// The client has said what it has: what was held back goes on, and nothing is held back any more.
    fn take_early_ack(&mut self) -> Option<Vec<u8>> {
        match std::mem::replace(&mut self.early_ack, EarlyAck::Through) {
            EarlyAck::Held(frame) => Some(frame),
            EarlyAck::None | EarlyAck::Through => None,
        }
    }

    /// The client has asked for an ack, and if it is y-sweet's, its patience is short from now on (WIRE g-s2).
    fn note_ack_asked(&mut self) {
        if self.outbox.dialect() == Dialect::YSweet && self.ack_asked.is_none_or(|asked| self.has_said_since(asked)) {
            self.ack_asked = Some(Instant::now());
        }
    }

    /// Frames that wait will be heard when they arrive; nothing that is queued behind them could be sooner.
    fn has_said_since(&self, asked: Instant) -> bool {
        self.outbox.said_at().is_none_or(|said| said >= asked)
    }

    /// Brings the timer forward to when a keep-alive is due for want of an ack.
    fn watch_ack(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) {
        let Some(asked) = self.ack_asked else { return };
        if self.has_said_since(asked) {
            self.ack_asked = None;
            return;
        }
        let due = (asked + self.timing.ack_silence).into();
        if due < timer.deadline() {
            timer.as_mut().reset(due);
            if timer.poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
    }

    /// Does what is due at `now`.
    fn tick(&mut self, now: Instant) -> Option<Ending> {
        if self.ends.is_some_and(|ends| ends <= SystemTime::now()) {
            self.outbox.close(CloseReason::TokenExpired);
            return Some(Ending::Close);
        }
        let progress = self.outbox.progress(now);
        match progress {
            Progress::Waiting(since) if since >= self.timing.stall => return Some(Ending::Dead),
            Progress::Silent(since) if since >= self.timing.keepalive => {
                if self.outbox.deliver(&KEEPALIVE_FRAME, FrameKind::Control) == Delivery::Closed {
                    return Some(self.closed());
                }
            }
            Progress::Waiting(_) | Progress::Silent(_) => {}
        }
        if let Some(asked) = self.ack_asked.take_if(|asked| now >= *asked + self.timing.ack_silence)
            && !self.has_said_since(asked)
            && self.outbox.deliver(&KEEPALIVE_FRAME, FrameKind::Control) == Delivery::Closed
        {
            return Some(self.closed());
        }
        if now < self.ping_at {
            return None;
        }
        self.ping_at = now + self.timing.ping;
        // Behind queued frames a ping would be late through no fault of the client; the stall rule watches over those.
        if self.blocked || matches!(progress, Progress::Waiting(_)) {
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
    fn next_due(&self) -> Instant {
        let now = Instant::now();
        let output = match self.outbox.progress(now) {
            Progress::Silent(since) => self.timing.keepalive.saturating_sub(since),
            // What waits may leave at any moment, and silence begins then.
            Progress::Waiting(since) => self.timing.stall.saturating_sub(since).min(self.timing.keepalive),
        };
        // Due together with the ping at the latest, so that no time is too far away to be added.
        let ends = self
            .ends
            .map(|ends| now + ends.duration_since(SystemTime::now()).unwrap_or_default().min(self.timing.ping));
        let ack = self.ack_asked.map_or(self.ping_at, |asked| asked + self.timing.ack_silence);
        let due = self.ping_at.min(now + output).min(ack);
        ends.map_or(due, |ends| due.min(ends))
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
                    let read = ready!(Pin::new(&mut self.reader).poll_read(cx, &mut buffer));
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

/// Offers a message to the document once; `None` when it would have to wait.
///
/// The read buffer belongs to the thread and cannot be lent to a future that outlives this call; a future that has not
/// sent can be dropped and made again over a copy. Turns are shared out by buffers read ([`READS_PER_POLL_MAX`]), not by
/// tokio's budget, which would run out in the middle of a buffer of small messages and have the rest copied.
fn offer<P: DocumentPeer>(peer: &P, message: ClientMessage<'_>) -> Option<Result<(), HubError>> {
    let sending = pin!(tokio::task::unconstrained(peer.send(message)));
    match sending.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(sent) => Some(sent),
        Poll::Pending => None,
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
