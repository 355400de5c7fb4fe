//! What a session says and hears, by dialect: the session itself knows only sockets, timers and messages.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::documents::DocumentPeer;
use super::error;
use super::outbox::Place;
use crate::hub::{Backlog, HubError};
use crate::ids::Access;
use crate::limits::{FIRST_READ_BYTES, MESSAGE_BYTES_MAX, READ_BUFFER_BYTES};
use crate::wire::WireError;
use crate::wire::close::CloseReason;
use crate::wire::dialect::Dialect;
use crate::wire::message::ClientMessage;
use crate::wire::ywebsocket;

/// What y-partyserver's clients begin their own text messages with (WIRE §4).
const APPLICATION_TEXT: &str = "__YPS:";

/// [`ywebsocket::KEEPALIVE`] as a frame.
static KEEPALIVE_FRAME: Bytes = Bytes::from_static(&[0x82, 3, 1, 1, 0]);

/// What came of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaction {
    /// It was understood and handed on.
    Taken,
    /// The same, and it asks for an ack.
    Asked,
    /// It needs no action.
    Nothing,
    /// It is malformed, or nothing that a client says.
    Garbage,
    /// The document's inbox is full: see [`Conversation::recipient`].
    Full,
    /// The connection is to be closed.
    End(CloseReason),
}

/// One client's side of a connection, in its dialect. Never waits.
pub(super) trait Conversation: Send {
    /// Its hold on a document.
    type Peer: DocumentPeer;

    /// Acts on one binary message.
    fn hear(&mut self, frame: &[u8]) -> Reaction;

    /// Acts on one text message, which no stock client of any dialect sends (WIRE §0).
    fn hear_text(&mut self, _text: &str) -> Reaction {
        Reaction::Garbage
    }

    /// What came back of a ping.
    fn hear_pong(&mut self, _payload: &[u8]) {}

    /// To whom a message has to be given that met with [`Reaction::Full`], and what it says. `None` when there is no such
    /// document any more.
    fn recipient<'f>(&self, frame: &'f [u8]) -> Option<(Arc<Self::Peer>, ClientMessage<'f>)>;

    /// A message of the client's, heard before and held back, that is to be handed over now: as its frame's payload.
    fn follow_up(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// Largest message that it may send now, bytes.
    fn message_bytes_max(&self) -> usize {
        MESSAGE_BYTES_MAX
    }

    /// Whether a larger one is for [`Conversation::hear_oversized`]; else it ends the connection.
    fn hears_oversized(&self) -> bool {
        false
    }

    /// Acts on the beginning of a message that was too large to be kept.
    fn hear_oversized(&mut self, _beginning: &[u8]) -> Reaction {
        Reaction::End(CloseReason::UpdateRefused)
    }

    /// Bytes to read at a time.
    fn read_bytes_max(&self) -> usize {
        READ_BUFFER_BYTES
    }

    /// Acts on what others had to decide first, one thing at a time; pending while there is none.
    fn poll_decided(&mut self, _cx: &mut Context<'_>) -> Poll<Reaction> {
        Poll::Pending
    }

    /// Whether, since this was asked last, something has come up that [`Conversation::poll_decided`] waits for.
    fn wants_poll(&mut self) -> bool {
        false
    }

    /// These documents have lost frames, for good or not, and the socket takes more.
    fn caught_up(&mut self, places: &[(Place, bool)]);

    /// These documents have ended by themselves.
    fn ended(&mut self, _places: &[Place]) {}

    /// A frame that says nothing, for clients that close when they hear nothing (WIRE g4, h7).
    fn keepalive(&self) -> Option<Bytes>;

    /// Does what is due at `now`; `Some` when the connection is to be closed.
    fn tick(&mut self, now: Instant) -> Option<CloseReason>;

    /// Whether, since this was asked last, something has come up that may be due sooner than what was.
    fn due_has_changed(&mut self) -> bool {
        false
    }

    /// How long until [`Conversation::tick`] has something to do. At the latest it is called together with a ping.
    fn due_in(&self, now: Instant) -> Option<Duration>;
}

/// A token's end, seconds since 1970, on the wall clock, which may be set: whoever waits for it looks again at times. A
/// time past what the clock can say is none.
pub(super) fn end_of(ends_s: Option<u64>) -> Option<SystemTime> {
    ends_s.and_then(|ends_s| UNIX_EPOCH.checked_add(Duration::from_secs(ends_s)))
}

/// How long until then; nothing when it has passed.
pub(super) fn until(then: SystemTime) -> Duration {
    then.duration_since(SystemTime::now()).unwrap_or_default()
}

/// Offers a message to the document once.
///
/// The read buffer belongs to the thread and cannot be lent to a future that outlives this call; a future that has not
/// sent can be dropped and made again over a copy. Turns are shared out by buffers read, not by tokio's budget, which
/// would run out in the middle of a buffer of small messages and have the rest copied.
pub(super) fn offer<P: DocumentPeer>(peer: &P, message: ClientMessage<'_>) -> Reaction {
    let sending = pin!(tokio::task::unconstrained(peer.send(message)));
    match sending.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(())) => Reaction::Taken,
        Poll::Ready(Err(error)) => Reaction::End(error::close_reason(&error)),
        Poll::Pending => Reaction::Full,
    }
}

/// What becomes of requests for an ack. y-sweet's client asks as soon as it is connected, about all that it has done, and
/// only then says in its SyncStep2 what it did while it was away: an ack before that would call it saved (P1).
enum EarlyAck {
    /// None has come.
    None,
    /// The last one, as a frame's payload, held back.
    Held(Vec<u8>),
    /// The client has said what it has: what was held back is next.
    Due(Vec<u8>),
    /// Requests go through.
    Through,
}

/// With a y-websocket client or one of y-sweet's, about the only document that it has.
pub(super) struct YWebsocket<P> {
    peer: Arc<P>,
    early_ack: EarlyAck,
    /// Messages of one frame for which the document had no room yet, each as a payload of its own.
    waiting: VecDeque<Vec<u8>>,
    /// It would be back at once with what it is closed for, so it is not (WIRE g-s3).
    stays: bool,
    /// When the client's token has expired; never, where none is asked for.
    ends: Option<SystemTime>,
}

impl<P> YWebsocket<P> {
    pub(super) fn new(peer: P, dialect: Option<Dialect>, ends_s: Option<u64>) -> Self {
        let stays = dialect == Some(Dialect::YSweet);
        let early_ack = if stays { EarlyAck::None } else { EarlyAck::Through };
        Self { peer: Arc::new(peer), early_ack, waiting: VecDeque::new(), stays, ends: end_of(ends_s) }
    }

    /// The client says what it has: nothing is held back any more.
    fn let_acks_through(&mut self) {
        self.early_ack = match std::mem::replace(&mut self.early_ack, EarlyAck::Through) {
            EarlyAck::Held(frame) | EarlyAck::Due(frame) => EarlyAck::Due(frame),
            EarlyAck::None | EarlyAck::Through => EarlyAck::Through,
        };
    }
}

impl<P: DocumentPeer> YWebsocket<P> {
    /// One message, which is all that is in `payload`.
    fn hear_one(&mut self, message: Option<ClientMessage<'_>>, payload: &[u8]) -> Reaction {
        match message {
            None => Reaction::Nothing,
            Some(ClientMessage::AckRequest(_)) if matches!(self.early_ack, EarlyAck::None | EarlyAck::Held(_)) => {
                self.early_ack = EarlyAck::Held(payload.to_vec());
                Reaction::Taken
            }
            Some(message) => {
                if matches!(message, ClientMessage::SyncStep2(_)) {
                    self.let_acks_through();
                }
                match (offer(&*self.peer, message), message) {
                    (Reaction::Taken, ClientMessage::AckRequest(_)) => Reaction::Asked,
                    (reaction, _) => reaction,
                }
            }
        }
    }

    /// Several messages in one frame, of which all are good or none is heard.
    fn hear_several(&mut self, frame: &[u8]) -> Reaction {
        let messages = match ywebsocket::split(frame) {
            Ok(messages) => messages,
            Err(error) => return garbage(&error, frame),
        };
        let mut heard = Reaction::Nothing;
        let mut messages = messages.into_iter();
        while let Some(payload) = messages.next() {
            match self.hear_one(ywebsocket::parse(payload).ok().flatten(), payload) {
                Reaction::Full => {
                    // Handed over one by one, as the document takes them.
                    self.waiting = std::iter::once(payload).chain(messages).map(<[u8]>::to_vec).collect();
                    return heard;
                }
                reaction @ (Reaction::End(_) | Reaction::Garbage) => return reaction,
                Reaction::Asked => heard = Reaction::Asked,
                Reaction::Taken if heard == Reaction::Nothing => heard = Reaction::Taken,
                Reaction::Taken | Reaction::Nothing => {}
            }
        }
        heard
    }
}

fn garbage(error: &WireError, frame: &[u8]) -> Reaction {
    tracing::debug!(%error, bytes = frame.len(), "a client sent a malformed message");
    Reaction::Garbage
}

impl<P: DocumentPeer> Conversation for YWebsocket<P> {
    type Peer = P;

    fn hear(&mut self, frame: &[u8]) -> Reaction {
        match ywebsocket::parse_next(frame) {
            Ok((message, [])) => self.hear_one(message, frame),
            // y-sweet's client puts one in each, and would be misunderstood about acks.
            Ok((_, rest)) if self.stays => garbage(&WireError::TrailingBytes(rest.len()), frame),
            Ok(_) => self.hear_several(frame),
            Err(error) => garbage(&error, frame),
        }
    }

    fn hear_text(&mut self, text: &str) -> Reaction {
        if text.starts_with(APPLICATION_TEXT) { Reaction::Nothing } else { Reaction::Garbage }
    }

    fn recipient<'f>(&self, frame: &'f [u8]) -> Option<(Arc<P>, ClientMessage<'f>)> {
        let message = ywebsocket::parse(frame).ok().flatten()?;
        Some((self.peer.clone(), message))
    }

    fn follow_up(&mut self) -> Option<Vec<u8>> {
        if let Some(payload) = self.waiting.pop_front() {
            return Some(payload);
        }
        if !matches!(self.early_ack, EarlyAck::Due(_)) {
            return None;
        }
        match std::mem::replace(&mut self.early_ack, EarlyAck::Through) {
            EarlyAck::Due(frame) => Some(frame),
            EarlyAck::None | EarlyAck::Held(_) | EarlyAck::Through => None,
        }
    }

    fn hears_oversized(&self) -> bool {
        self.stays
    }

    fn hear_oversized(&mut self, _beginning: &[u8]) -> Reaction {
        self.peer.said_too_much();
        Reaction::Nothing
    }

    fn caught_up(&mut self, places: &[(Place, bool)]) {
        for &(_, lost) in places {
            self.peer.caught_up(lost);
        }
    }

    fn keepalive(&self) -> Option<Bytes> {
        Some(KEEPALIVE_FRAME.clone())
    }

    fn tick(&mut self, _now: Instant) -> Option<CloseReason> {
        self.ends.is_some_and(|ends| ends <= SystemTime::now()).then_some(CloseReason::TokenExpired)
    }

    fn due_in(&self, _now: Instant) -> Option<Duration> {
        self.ends.map(until)
    }
}

/// With a client that has not said anything yet: its first message is kept for the conversation that it begins.
pub(super) struct Undecided {
    /// When it has had its chance.
    pub(super) until: Instant,
}

/// The hold on a document of a client that has none.
pub(super) enum Nobody {}

impl DocumentPeer for Nobody {
    async fn send(&self, _message: ClientMessage<'_>) -> Result<(), HubError> {
        match *self {}
    }

    fn caught_up(&self, _lost: bool) {
        match *self {}
    }

    fn set_access(&self, _access: Access) {
        match *self {}
    }

    fn said_too_much(&self) {
        match *self {}
    }

    fn note_backlog(&self, _backlog: Backlog) {
        match *self {}
    }
}

impl Conversation for Undecided {
    type Peer = Nobody;

    fn hear(&mut self, _frame: &[u8]) -> Reaction {
        Reaction::Full
    }

    fn hear_text(&mut self, text: &str) -> Reaction {
        if text.starts_with(APPLICATION_TEXT) { Reaction::Nothing } else { Reaction::Garbage }
    }

    fn recipient<'f>(&self, _frame: &'f [u8]) -> Option<(Arc<Nobody>, ClientMessage<'f>)> {
        None
    }

    /// It may be a stranger, of whom nothing large is set aside.
    fn read_bytes_max(&self) -> usize {
        FIRST_READ_BYTES
    }

    fn caught_up(&mut self, _places: &[(Place, bool)]) {}

    /// No client's watchdog runs before the first message of the server.
    fn keepalive(&self) -> Option<Bytes> {
        None
    }

    fn tick(&mut self, now: Instant) -> Option<CloseReason> {
        (self.until <= now).then_some(CloseReason::Silent)
    }

    fn due_in(&self, now: Instant) -> Option<Duration> {
        Some(self.until.saturating_duration_since(now))
    }
}
