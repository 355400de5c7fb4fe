//! From an HTTP request to a session: the handshake of RFC 6455 §4.2, the document's name, and the socket itself.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use sha1::{Digest, Sha1};
use warp::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use super::Shared;
use super::accept::Slot;
use super::access;
use super::accounts::Seat;
use super::conversation::YWebsocket;
use super::documents::Documents;
use super::error::{self, Problem};
use super::hocuspocus::Hocuspocus;
use super::line;
use super::session::{First, Held, Session};
use super::sessions::Registered;
use super::spending::Spending;
use crate::auth::{Denied, Grant, Holder, TokenError};
use crate::hub::HubError;
use crate::ids::{DocName, DocNameError};
use crate::wire::close::CloseReason;
use crate::wire::dialect::{Address, Dialect};
use crate::wire::ysweet;

/// What RFC 6455 §1.3 appends to a client's key.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether a request wants to become a WebSocket, well-formed or not.
pub(super) fn wants_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, &header::UPGRADE, "websocket")
}

/// Checks a handshake and builds the 101 that accepts it.
///
/// # Errors
/// 405 for other methods than GET, 426 for another version than 13, 400 for whatever else is missing or malformed.
pub(super) fn accept(method: &Method, headers: &HeaderMap) -> Result<Response<Bytes>, Problem> {
    if method != Method::GET {
        return Err(Problem::method_not_allowed(&["GET"]));
    }
    if !has_token(headers, &header::CONNECTION, "upgrade") {
        return Err(Problem::bad_request("a WebSocket handshake has `Connection: Upgrade`"));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Problem::upgrade_required("only version 13 of the WebSocket protocol is spoken here"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    if STANDARD.decode(key).map(|nonce| nonce.len()) != Ok(16) {
        return Err(Problem::bad_request("`Sec-WebSocket-Key` is not 16 bytes in base64"));
    }

    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    out.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&accept_key(key)) {
        out.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    // Browsers fail the handshake unless one of the protocols they offered is chosen (WIRE §1).
    if let Some(protocol) = first_protocol(headers) {
        out.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(response)
}

fn accept_key(key: &[u8]) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(ACCEPT_GUID).finalize())
}

/// Whether a header that lists tokens holds `token`, in any case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

fn first_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    let first = offered.split(',').next()?.trim();
    if first.is_empty() { None } else { HeaderValue::from_str(first).ok() }
}

/// The document named by a URL's path: without its first `/`, percent-decoded once (contract 2.2) unless `decode` is off
/// for drop-in replacement of servers that keep it raw (WIRE §1).
pub(super) fn doc_name(path: &str, decode: bool) -> Result<DocName, DocNameError> {
    let raw = path.strip_prefix('/').unwrap_or(path);
    if decode {
        DocName::parse_bytes(&percent_encoding::percent_decode_str(raw).collect::<Vec<u8>>())
    } else {
        DocName::parse(raw)
    }
}

/// Who wants to be let in where.
enum Visit {
    /// One of y-sweet's, who has been let in, and has a place among those of its user.
    YSweet(DocName, Grant, Option<Seat>),
    /// Whoever it turns out to be: the document that the path names, and a token, to be looked at then.
    Any { doc: Result<DocName, DocNameError>, token: Option<String> },
}

/// Answers a request that [`wants_upgrade`], and starts the session that goes on when the answer has left.
pub(super) async fn upgrade<D: Documents>(
    shared: &Arc<Shared<D>>,
    method: &Method,
    (path, query): (&str, &str),
    headers: &HeaderMap,
    on_upgrade: Option<OnUpgrade>,
    slot: Option<Slot>,
) -> Result<Response<Bytes>, Problem> {
    let response = accept(method, headers).inspect_err(|_| shared.sessions.note_no_good())?;
    shared.pages.admit(headers).inspect_err(|_| shared.sessions.note_foreign())?;
    let on_upgrade = on_upgrade.ok_or_else(|| Problem::bad_request("this connection cannot be upgraded"))?;
    if let Some(why) = shared.refuses_sessions() {
        return Err(Problem::unavailable(why));
    }
    let token = access::token_of(headers, query).filter(|_| shared.judges.authority.is_some()).map(Cow::into_owned);
    let remote = shared.client(slot.as_ref(), headers);
    let seat = shared.seat(slot.as_ref(), remote).map_err(|_| Problem::no_seat())?;
    let visit = match ysweet::socket_path(path) {
        Some(doc) => {
            let doc = doc.inspect_err(|_| shared.sessions.note_no_good())?;
            let grant = open(shared, &doc, token.as_deref(), remote).await?;
            let user = shared.user_seat(&grant.holder).map_err(|_| Problem::no_seat())?;
            Visit::YSweet(doc, grant, user)
        }
        // What of it is no good is told when the socket is a WebSocket (WIRE §6). A refused handshake looks like a network
        // error to browsers and is retried for ever, while a close frame stops clients that can be stopped (WIRE g6); and to
        // a Hocuspocus client the path means nothing.
        None => Visit::Any { doc: doc_name(path, shared.path_decode), token },
    };
    let spending = shared.spending(remote, seat);
    tokio::spawn(serve(shared.clone(), on_upgrade, visit, remote, spending, slot));
    Ok(response)
}

/// Lets a client in, or says by status why not: y-sweet's pays no heed to close codes, and once it has had a SyncStep2 it
/// comes back without delay (WIRE g-s3), while a handshake that fails has it wait and, the third time, fetch a new token.
async fn open<D: Documents>(
    shared: &Shared<D>,
    doc: &DocName,
    token: Option<&str>,
    remote: Option<SocketAddr>,
) -> Result<Grant, Problem> {
    let grant = shared.judges.admit(token, doc, remote).await.map_err(|denied| {
        tracing::debug!(?doc, why = %denied, "a client is denied a document");
        shared.sessions.note_denied();
        Problem::denied(&denied)
    })?;
    shared.documents.open(doc).await.map_err(Problem::gone_missing)?;
    Ok(grant)
}

/// What is left to do for a connection. What led to it is gone by then, so that an idle one takes no more memory than its
/// conversation needs: a future keeps room for all that it has ever moved into another.
type Rest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs a session from its handshake to its end. `slot` is held all the time.
async fn serve<D: Documents>(
    shared: Arc<Shared<D>>,
    on_upgrade: OnUpgrade,
    visit: Visit,
    remote: Option<SocketAddr>,
    spending: Spending,
    slot: Option<Slot>,
) {
    let begun = Box::pin(begin(shared, on_upgrade, visit, remote, spending)).await;
    if let Some((rest, registered)) = begun {
        rest.await;
        drop(registered);
    }
    drop(slot);
}

/// Takes the socket over once the handshake's answer has left, and hears what the client speaks.
async fn begin<D: Documents>(
    shared: Arc<Shared<D>>,
    on_upgrade: OnUpgrade,
    visit: Visit,
    remote: Option<SocketAddr>,
    spending: Spending,
) -> Option<(Rest, Arc<Registered>)> {
    let (line, early) = match on_upgrade.await.map(line::take_over) {
        Ok(Some(taken_over)) => taken_over,
        Ok(None) => {
            tracing::error!("an upgraded connection is neither a TCP stream nor TLS on one");
            return None;
        }
        Err(error) => {
            tracing::debug!(?remote, %error, "a client left during its handshake");
            return None;
        }
    };
    let mut session = Session::new(line, shared.timing, spending);
    let registered = Arc::new(shared.sessions.register(session.outbox().clone(), remote));
    let client = {
        let registered = registered.clone();
        move |session, token, held| Client { shared, session, registered, remote, token, held }
    };
    let rest = match visit {
        Visit::YSweet(doc, grant, user) => {
            session.outbox().set_dialect(Dialect::YSweet);
            session.outbox().charged.belongs_to(user);
            client(session, None, Some(Box::new(Held::rest(early)))).enter(doc, Ok(grant))
        }
        Visit::Any { doc, token } => match session.first(early).await {
            Ok(First { dialect: Dialect::Hocuspocus, held }) => client(session, token, held).hocuspocus(),
            Ok(First { dialect: Dialect::YWebsocket | Dialect::YSweet, held }) => {
                client(session, token, held).ywebsocket(doc).await
            }
            Err(ending) => Box::pin(session.give_up(ending)),
        },
    };
    Some((rest, registered))
}

/// A client of which is known what it speaks.
struct Client<D> {
    shared: Arc<Shared<D>>,
    session: Session,
    registered: Arc<Registered>,
    remote: Option<SocketAddr>,
    token: Option<String>,
    held: Option<Box<Held>>,
}

impl<D: Documents> Client<D> {
    /// It says with each message which document it wants.
    fn hocuspocus(self) -> Rest {
        let Self { shared, session, registered, remote, token, held } = self;
        let outbox = session.outbox().clone();
        Box::pin(session.run(Hocuspocus::new(shared, outbox, registered, remote, token), held))
    }

    /// It wants the document that its URL names.
    async fn ywebsocket(self, doc: Result<DocName, DocNameError>) -> Rest {
        match doc {
            Ok(doc) => {
                let grant = self.shared.judges.admit(self.token.as_deref(), &doc, self.remote).await;
                self.enter(doc, grant)
            }
            Err(error) => {
                tracing::debug!(remote = ?self.remote, %error, "a client asks for a document by a name that is not allowed");
                self.shared.sessions.note_no_good();
                Box::pin(self.session.refuse(CloseReason::BadName))
            }
        }
    }

    /// It enters the only document that it can be in, or is told why not.
    fn enter(self, doc: DocName, grant: Result<Grant, Denied>) -> Rest {
        let Self { shared, session, registered, remote, token: _, held } = self;
        match grant.and_then(|grant| admit(&shared, &registered, &doc, grant)) {
            Ok(grant) => {
                tracing::debug!(?remote, ?doc, access = %grant.access, "a client connects");
                if !session.outbox().charged.has_user() {
                    match shared.user_seat(&grant.holder) {
                        Ok(seat) => session.outbox().charged.belongs_to(seat),
                        Err(_) => {
                            let why = ("too many connections of this user", CloseReason::OverBudget);
                            return turn_away(&shared, session, held, why);
                        }
                    }
                }
                let sender = Shared::<D>::sender(&grant.holder, remote);
                session.outbox().set_principal(shared.principal(&grant.holder, remote), sender);
                shared.sessions.note_let_in();
                let (sink, dialect) = (session.outbox().clone(), session.outbox().dialect());
                match shared.documents.join(&doc, grant.access, Address::YWebsocket, sink) {
                    Ok(peer) => Box::pin(session.run(YWebsocket::new(peer, dialect, grant.ends_s), held)),
                    Err(HubError::TooManyDocuments) => {
                        turn_away(&shared, session, held, ("too many documents are open", CloseReason::Overloaded))
                    }
                    Err(HubError::MemoryFull) => {
                        turn_away(&shared, session, held, ("too much memory is in use", CloseReason::Overloaded))
                    }
                    Err(error) => Box::pin(session.refuse(error::close_reason(&error))),
                }
            }
            Err(denied) => {
                tracing::debug!(?remote, ?doc, why = %denied, "a client is denied a document");
                shared.sessions.note_denied();
                registered.enter(doc, Holder::default());
                let (min, max) = shared.timing.hold;
                let hold = access::hold(shared.denied.fetch_add(1, Ordering::Relaxed), min, max);
                Box::pin(session.deny(denied.text(), access::close_reason(&denied), hold, held))
            }
        }
    }
}

/// There is no room for it. Held for a while, since old clients come back at once (WIRE g6).
fn turn_away<D: Documents>(
    shared: &Shared<D>,
    session: Session,
    held: Option<Box<Held>>,
    (text, reason): (&'static str, CloseReason),
) -> Rest {
    let (min, max) = shared.timing.hold;
    let hold = access::hold(shared.denied.fetch_add(1, Ordering::Relaxed), min, max);
    Box::pin(session.deny(text, reason, hold, held))
}

/// Enters a session in its document. Nothing of the document is touched.
fn admit<D: Documents>(
    shared: &Shared<D>,
    registered: &Registered,
    doc: &DocName,
    grant: Grant,
) -> Result<Grant, Denied> {
    registered.enter(doc.clone(), grant.holder.clone());
    // A revocation is first made, then looked for among the sessions; who is entered between the two has seen neither.
    match shared.judges.authority.as_deref() {
        Some(authority) if authority.is_revoked(&grant.holder, None) => Err(TokenError::Revoked.into()),
        Some(authority) if authority.is_revoked(&grant.holder, Some(doc)) => Err(Denied::NoAccess),
        Some(_) | None => Ok(grant),
    }
}
