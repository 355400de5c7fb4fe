//! With a Hocuspocus client: many documents on one connection, each let in, renewed and left by itself (WIRE §3).
//!
//! A denial ends a document and keeps the connection (h5); what only a fresh start can mend ends the connection (h6),
//! since a client that is told to leave one document would go on sending to it, never confirmed.

mod opening;
mod sink;
mod visit;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use self::opening::Opening;
use self::sink::{DocumentSink, deny};
use self::visit::{Joined, Load, Visit, Waiting};
use super::Shared;
use super::conversation::{Conversation, Reaction, end_of, offer, until};
use super::documents::{DocumentPeer, Documents};
use super::error;
use super::outbox::{Outbox, Place};
use super::sessions::Registered;
use super::webhook::{Answer, Decision};
use crate::auth::{Denied, Grant, TokenError};
use crate::hub::{Backlog, FrameKind, PeerSink};
use crate::ids::DocName;
use crate::limits::{
    DENIALS_MAX, DOCUMENTS_PER_CONNECTION_MAX, MESSAGE_BYTES_MAX, PREAUTH_BYTES_MAX, PREAUTH_MESSAGES_MAX, REFUSALS_MAX,
};
use crate::wire::close::CloseReason;
use crate::wire::dialect::Address;
use crate::wire::hocuspocus::{self, Frame, Said};
use crate::wire::message::{ClientMessage, ServerMessage};

/// What a client is told that asks for one document too many.
const TOO_MANY: &str = "permission denied: too many documents on one connection";

/// One connection of a Hocuspocus client.
pub(super) struct Hocuspocus<D: Documents> {
    shared: Arc<Shared<D>>,
    outbox: Arc<Outbox>,
    opening: Arc<Opening>,
    /// How far the client has come with sending what it kept while it was away.
    backlog: Backlog,
    registered: Arc<Registered>,
    remote: Option<SocketAddr>,
    /// What came with the handshake, for documents that bring no token.
    token: Option<String>,
    visits: BTreeMap<Arc<str>, Visit<D::Peer>>,
    /// What waits for tokens.
    load: Load,
    last_place: Place,
    /// How often it was denied something.
    denials: u32,
    /// It was let in somewhere.
    trusted: bool,
    /// A document has come to wait for a token, or to have one that ends.
    due_has_changed: bool,
    /// Tokens that somebody else is asked about.
    asking: BTreeMap<Arc<str>, (DocName, Answer)>,
    /// One has been added that nobody waits for yet.
    has_asked: bool,
    /// Under which a frame is understood though it is about nothing.
    last_address: Arc<str>,
}

impl<D: Documents> Hocuspocus<D> {
    pub(super) fn new(
        shared: Arc<Shared<D>>,
        outbox: Arc<Outbox>,
        registered: Arc<Registered>,
        remote: Option<SocketAddr>,
        token: Option<String>,
    ) -> Self {
        let trusted = shared.judges.authority.is_none();
        Self {
            shared,
            outbox,
            opening: Arc::default(),
            backlog: Backlog::default(),
            registered,
            remote,
            token,
            visits: BTreeMap::new(),
            load: Load::default(),
            last_place: 0,
            denials: 0,
            trusted,
            due_has_changed: false,
            asking: BTreeMap::new(),
            has_asked: false,
            last_address: "".into(),
        }
    }

    /// A message for the document at `address`, which may not be open yet.
    fn say(&mut self, address: &str, message: ClientMessage<'_>, frame: &[u8]) -> Reaction {
        match self.visits.get_mut(address) {
            Some(Visit::Joined(joined)) => {
                let peer = joined.peer.clone();
                // Whichever document asked, the answer comes behind all that was kept.
                if matches!(message, ClientMessage::SyncStep2(_)) && self.opening.has_begun() {
                    self.note_backlog(Backlog::Through);
                }
                offer(&*peer, message)
            }
            Some(Visit::Denied) => Reaction::Nothing,
            Some(Visit::Waiting(_)) => self.wait(address, frame),
            // Provider 2.15.3 without a token sends no Auth at all (h2).
            None if self.shared.judges.authority.is_none() || self.token.is_some() => {
                match self.authenticate(address, "") {
                    Reaction::Taken => self.say(address, message, frame),
                    denied_or_end => denied_or_end,
                }
            }
            None => self.wait(address, frame),
        }
    }

    /// Keeps a message until a token comes (h1).
    fn wait(&mut self, address: &str, frame: &[u8]) -> Reaction {
        if self.load.bytes + frame.len() > PREAUTH_BYTES_MAX || self.load.messages >= PREAUTH_MESSAGES_MAX {
            return self.deny(address, Denied::NoToken.text());
        }
        if !self.visits.contains_key(address) {
            if !self.has_room() {
                return self.deny(address, TOO_MANY);
            }
            self.due_has_changed = true;
            let waiting = Waiting { until: Instant::now() + self.shared.timing.auth, frames: Vec::new() };
            self.visits.insert(address.into(), Visit::Waiting(waiting));
        }
        if let Some(Visit::Waiting(waiting)) = self.visits.get_mut(address) {
            self.load.add(frame);
            waiting.frames.push(frame.into());
        }
        Reaction::Nothing
    }

    /// The client says who it is. [`Reaction::Taken`] when that opens the document.
    fn authenticate(&mut self, address: &str, token: &str) -> Reaction {
        if *self.last_address != *address {
            self.last_address = address.into();
        }
        let doc = match hocuspocus::doc_name(address) {
            Ok(doc) => doc,
            Err(error) => {
                tracing::debug!(remote = ?self.remote, %error, "a client asks for a document by a name that is not allowed");
                self.shared.sessions.note_no_good();
                return self.deny(address, CloseReason::BadName.denial());
            }
        };
        let token = Some(token).filter(|token| !token.is_empty()).or(self.token.as_deref());
        // Whatever was asked about an older token does not matter any more.
        self.asking.remove(address);
        match self.shared.judges.decide(token, &doc, self.remote) {
            Decision::Now(decided) => self.decided(address, doc, decided),
            Decision::Later(answer) => self.ask(address, doc, answer),
        }
    }

    /// Somebody else is asked about the token; what the client says of the document meanwhile waits, if it is not in.
    fn ask(&mut self, address: &str, doc: DocName, answer: Answer) -> Reaction {
        if !matches!(self.visits.get(address), Some(Visit::Waiting(_) | Visit::Joined(_))) {
            self.leave(address);
            if !self.has_room() {
                return self.deny(address, TOO_MANY);
            }
            let waiting = Waiting { until: Instant::now() + self.shared.timing.auth, frames: Vec::new() };
            self.visits.insert(address.into(), Visit::Waiting(waiting));
            self.due_has_changed = true;
        }
        self.asking.insert(address.into(), (doc, answer));
        self.has_asked = true;
        Reaction::Nothing
    }

    /// It is known what the client may do at an address.
    fn decided(&mut self, address: &str, doc: DocName, decided: Result<Grant, Denied>) -> Reaction {
        let grant = match decided {
            Ok(grant) => grant,
            // A denial would stop the client for good, and it did nothing wrong; one that is in stays while its grant lasts.
            Err(Denied::Unknown) => {
                tracing::debug!(remote = ?self.remote, ?doc, why = %Denied::Unknown, "a client is denied a document");
                self.shared.sessions.note_denied();
                return match self.visits.get(address) {
                    Some(Visit::Joined(_)) => Reaction::Nothing,
                    Some(Visit::Waiting(_) | Visit::Denied) | None => Reaction::End(CloseReason::Unchecked),
                };
            }
            Err(denied) => return self.deny_access(address, &doc, &denied),
        };
        self.due_has_changed |= grant.ends_s.is_some();
        match self.visits.get_mut(address) {
            Some(Visit::Joined(joined)) => renew(&self.registered, &self.outbox, joined, doc, grant),
            Some(Visit::Waiting(_) | Visit::Denied) | None => self.join(address, doc, grant),
        }
    }

    fn join(&mut self, address: &str, doc: DocName, grant: Grant) -> Reaction {
        if !self.visits.contains_key(address) && !self.has_room() {
            return self.deny(address, TOO_MANY);
        }
        if !self.outbox.charged.has_user() {
            match self.shared.user_seat(&grant.holder) {
                Ok(seat) => self.outbox.charged.belongs_to(seat),
                // Told to leave one document, its client would not come back (h5).
                Err(_) => return Reaction::End(CloseReason::OverBudget),
            }
        }
        self.outbox.charged.opened();
        let address: Arc<str> = address.into();
        let waiting = match self.visits.remove(&address) {
            Some(Visit::Waiting(Waiting { frames, .. })) => frames,
            Some(Visit::Joined(_) | Visit::Denied) | None => Vec::new(),
        };
        self.load.remove(&waiting);
        self.last_place += 1;
        let place = Address::Hocuspocus(address.clone());
        let principal = self.shared.principal(&grant.holder, self.remote);
        let who = (principal, Shared::<D>::sender(&grant.holder, self.remote));
        let (outbox, opening) = (self.outbox.clone(), self.opening.clone());
        let sink = Arc::new(DocumentSink::new(outbox, opening, (self.last_place, place.clone()), grant.access, who));
        self.registered.enter_at(self.last_place, doc.clone(), grant.holder.clone(), sink.clone());
        // A revocation is first made, then looked for among the sessions; who is entered between the two has seen neither.
        let authority = self.shared.judges.authority.as_deref();
        let is_revoked = |doc| authority.is_some_and(|authority| authority.is_revoked(&grant.holder, doc));
        let denied = match () {
            () if is_revoked(None) => Some(Denied::BadToken(TokenError::Revoked)),
            () if is_revoked(Some(&doc)) => Some(Denied::NoAccess),
            () => None,
        };
        if let Some(denied) = denied {
            self.registered.leave(self.last_place);
            return self.deny_access(&address, &doc, &denied);
        }
        // The first frame of all is to be the document's question; whatever it is, the client is told of being let in right
        // behind it, and soon, since that is when clients call themselves connected (h3). Later ones are told at once (h1).
        let greet_by = if self.opening.has_begun() {
            sink.greet();
            None
        } else {
            self.due_has_changed = true;
            Some(Instant::now() + self.shared.timing.greeting)
        };
        let peer = match self.shared.documents.join(&doc, grant.access, place, sink.clone()) {
            Ok(peer) => Arc::new(peer),
            Err(error) => return Reaction::End(error::close_reason(&error)),
        };
        tracing::debug!(remote = ?self.remote, ?doc, access = %grant.access, "a client joins a document");
        if !std::mem::replace(&mut self.trusted, true) || self.last_place == 1 {
            self.shared.sessions.note_let_in();
        }
        let ends = end_of(grant.ends_s);
        let joined = Joined { peer: peer.clone(), sink, greet_by, ends, asked: false, oversized: 0 };
        self.visits.insert(address, Visit::Joined(joined));
        // What has waited may have come earlier than how far things are now.
        let so_far = if waiting.is_empty() { self.backlog } else { self.backlog.min(Backlog::Coming) };
        if so_far > Backlog::Ahead {
            peer.note_backlog(so_far);
        }
        for frame in waiting {
            if let Ok(Frame::To(_, Said::Document(message))) = hocuspocus::parse(&frame) {
                match offer(&*peer, message) {
                    Reaction::Full => return Reaction::End(CloseReason::Overloaded),
                    Reaction::End(reason) => return Reaction::End(reason),
                    Reaction::Taken | Reaction::Asked | Reaction::Nothing | Reaction::Garbage => {}
                }
            }
        }
        if self.backlog > so_far {
            peer.note_backlog(self.backlog);
        }
        Reaction::Taken
    }

    /// The client has come so far with what it kept, in all of its documents.
    fn note_backlog(&mut self, backlog: Backlog) {
        if self.backlog < backlog {
            self.backlog = backlog;
            for visit in self.visits.values() {
                if let Visit::Joined(joined) = visit {
                    joined.peer.note_backlog(backlog);
                }
            }
        }
    }

    fn deny_access(&mut self, address: &str, doc: &DocName, denied: &Denied) -> Reaction {
        tracing::debug!(remote = ?self.remote, ?doc, why = %denied, "a client is denied a document");
        self.shared.sessions.note_denied();
        self.deny(address, denied.text())
    }

    /// Clears what there is of a document, and says so; the connection goes on (h5).
    fn deny(&mut self, address: &str, reason: &'static str) -> Reaction {
        self.leave(address);
        let address: Arc<str> = address.into();
        deny((&self.outbox, &self.opening), &Address::Hocuspocus(address.clone()), reason);
        if self.has_room() {
            self.visits.insert(address, Visit::Denied);
        }
        self.denials += 1;
        if self.denials > DENIALS_MAX { Reaction::End(CloseReason::Garbage) } else { Reaction::Nothing }
    }

    fn leave(&mut self, address: &str) {
        self.asking.remove(address);
        match self.visits.remove(address) {
            Some(Visit::Joined(joined)) => self.registered.leave(joined.sink.place),
            Some(Visit::Waiting(waiting)) => self.load.remove(&waiting.frames),
            Some(Visit::Denied) | None => {}
        }
    }

    /// Whether there is room for another address; those that were denied make some.
    fn has_room(&mut self) -> bool {
        if self.visits.len() >= DOCUMENTS_PER_CONNECTION_MAX {
            self.visits.retain(|_, visit| !matches!(visit, Visit::Denied));
        }
        self.visits.len() < DOCUMENTS_PER_CONNECTION_MAX
    }

    fn joined(&mut self, place: Place) -> Option<(&Arc<str>, &mut Joined<D::Peer>)> {
        self.visits.iter_mut().find_map(|(address, visit)| match visit {
            Visit::Joined(joined) if joined.sink.place == place => Some((address, joined)),
            Visit::Joined(_) | Visit::Waiting(_) | Visit::Denied => None,
        })
    }
}

/// Another token for a document that is open already: because it was asked for, or because another provider has taken
/// over this address.
fn renew<P: DocumentPeer>(
    registered: &Registered,
    outbox: &Outbox,
    joined: &mut Joined<P>,
    doc: DocName,
    grant: Grant,
) -> Reaction {
    let ends = end_of(grant.ends_s);
    // The same token again changes nothing, and asking once more would bring it once more.
    joined.asked &= ends == joined.ends;
    joined.ends = ends;
    joined.sink.greet();
    joined.peer.set_access(grant.access);
    registered.enter_at(joined.sink.place, doc, grant.holder, joined.sink.clone());
    if let Some(frame) = joined.sink.address.frames(&ServerMessage::Granted(grant.access)) {
        outbox.deliver_for(joined.sink.place, &frame, FrameKind::Control);
    }
    offer(&*joined.peer, ClientMessage::QueryAwareness)
}

fn tell(sink: &DocumentSink, address: &Address, message: &ServerMessage) {
    if let Some(frame) = address.frames(message) {
        sink.deliver(&frame, FrameKind::Control);
    }
}

impl<D: Documents> Conversation for Hocuspocus<D> {
    type Peer = D::Peer;

    fn hear(&mut self, frame: &[u8]) -> Reaction {
        match hocuspocus::parse(frame) {
            Ok(Frame::To(address, Said::Document(message))) => self.say(address, message, frame),
            Ok(Frame::To(address, Said::Auth(token))) => self.authenticate(address, token),
            // Relayed to nobody: it is for the application's server.
            Ok(Frame::To(_, Said::Stateless(_)) | Frame::Pong) => Reaction::Nothing,
            Ok(Frame::To(address, Said::Close)) => {
                self.leave(address);
                Reaction::Taken
            }
            Err(error) => {
                tracing::debug!(%error, bytes = frame.len(), "a client sent a malformed message");
                Reaction::Garbage
            }
        }
    }

    fn recipient<'f>(&self, frame: &'f [u8]) -> Option<(Arc<D::Peer>, ClientMessage<'f>)> {
        match hocuspocus::parse(frame) {
            Ok(Frame::To(address, Said::Document(message))) => match self.visits.get(address) {
                Some(Visit::Joined(joined)) => Some((joined.peer.clone(), message)),
                Some(Visit::Waiting(_) | Visit::Denied) | None => None,
            },
            Ok(Frame::To(..) | Frame::Pong) | Err(_) => None,
        }
    }

    fn message_bytes_max(&self) -> usize {
        if self.trusted { MESSAGE_BYTES_MAX } else { PREAUTH_BYTES_MAX }
    }

    fn hears_oversized(&self) -> bool {
        self.trusted
    }

    /// Closing would only have it sent again (WIRE §6); it is refused, and one after the other ends the document.
    fn hear_oversized(&mut self, beginning: &[u8]) -> Reaction {
        let Some(address) = hocuspocus::address_of(beginning) else { return Reaction::Garbage };
        match self.visits.get_mut(address) {
            Some(Visit::Joined(joined)) => {
                joined.oversized += 1;
                if joined.oversized >= REFUSALS_MAX {
                    return self.deny(address, CloseReason::UpdateRefused.denial());
                }
                tell(&joined.sink, &joined.sink.address, &ServerMessage::Refused);
                Reaction::Nothing
            }
            Some(Visit::Waiting(_) | Visit::Denied) | None => Reaction::Garbage,
        }
    }

    fn hear_pong(&mut self, payload: &[u8]) {
        if Opening::is_pong(payload) {
            self.note_backlog(Backlog::Coming);
        }
    }

    fn caught_up(&mut self, places: &[(Place, bool)]) {
        for &(place, lost) in places {
            if let Some((_, joined)) = self.joined(place) {
                joined.peer.caught_up(lost);
            }
        }
    }

    fn ended(&mut self, places: &[Place]) {
        for place in places {
            if let Some((address, _)) = self.joined(*place) {
                let address = address.clone();
                self.registered.leave(*place);
                self.visits.insert(address, Visit::Denied);
            }
        }
    }

    fn keepalive(&self) -> Option<Bytes> {
        self.opening.begin(&self.outbox);
        Address::Hocuspocus(self.last_address.clone()).frames(&ServerMessage::Awareness(Bytes::from_static(&[0])))
    }

    fn tick(&mut self, now: Instant) -> Option<CloseReason> {
        let (wall, renewal) = (SystemTime::now(), self.shared.timing.renewal);
        let mut late = Vec::new();
        for (address, visit) in &mut self.visits {
            match visit {
                Visit::Waiting(waiting) if waiting.until <= now => late.push(address.clone()),
                Visit::Joined(Joined { ends: Some(ends), .. }) if *ends <= wall => {
                    return Some(CloseReason::TokenExpired);
                }
                Visit::Joined(joined) if joined.greet_by.is_some_and(|by| by <= now) => {
                    joined.greet_by = None;
                    if !joined.sink.is_greeted() {
                        joined.sink.greet();
                        // It waits with its question, and is to know meanwhile who is there.
                        let _ = offer(&*joined.peer, ClientMessage::QueryAwareness);
                    }
                }
                Visit::Joined(joined) if joined.is_to_be_asked(renewal) => {
                    joined.asked = true;
                    tell(&joined.sink, &joined.sink.address, &ServerMessage::TokenWanted);
                }
                Visit::Waiting(_) | Visit::Joined(_) | Visit::Denied => {}
            }
        }
        let ends = |reaction| if let Reaction::End(reason) = reaction { Some(reason) } else { None };
        late.iter().find_map(|address| ends(self.deny(address, Denied::NoToken.text())))
    }

    fn wants_poll(&mut self) -> bool {
        std::mem::take(&mut self.has_asked)
    }

    fn poll_decided(&mut self, cx: &mut Context<'_>) -> Poll<Reaction> {
        let decided = self.asking.iter_mut().find_map(|(address, (doc, answer))| match Pin::new(answer).poll(cx) {
            // Whoever was to answer is gone when the server ends.
            Poll::Ready(decided) => Some((address.clone(), doc.clone(), decided.unwrap_or(Err(Denied::Unknown)))),
            Poll::Pending => None,
        });
        let Some((address, doc, decided)) = decided else { return Poll::Pending };
        self.asking.remove(&address);
        Poll::Ready(self.decided(&address, doc, decided))
    }

    fn due_has_changed(&mut self) -> bool {
        std::mem::take(&mut self.due_has_changed)
    }

    fn due_in(&self, now: Instant) -> Option<Duration> {
        let renewal = self.shared.timing.renewal;
        let due = |visit: &Visit<D::Peer>| match visit {
            Visit::Waiting(waiting) => Some(waiting.until.saturating_duration_since(now)),
            Visit::Joined(Joined { greet_by: Some(by), .. }) => Some(by.saturating_duration_since(now)),
            Visit::Joined(Joined { ends, asked: true, .. }) => ends.map(until),
            Visit::Joined(Joined { ends, asked: false, .. }) => ends.map(|ends| until(ends).saturating_sub(renewal)),
            Visit::Denied => None,
        };
        self.visits.values().filter_map(due).min()
    }
}

impl<P> Joined<P> {
    /// Whether its token ends so soon that another one should be asked for.
    fn is_to_be_asked(&self, renewal: Duration) -> bool {
        !self.asked && self.ends.is_some_and(|ends| until(ends) <= renewal)
    }
}
