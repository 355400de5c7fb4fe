//! What y-sweet's SDK asks for over HTTP (WIRE §2): documents made, clients given what they need to connect, whole
//! documents read and updates merged. Its sockets are in `websocket`, since they speak y-websocket's messages.
//!
//! Where keys are configured, an application's own back end makes documents and lets clients in, with a token that says
//! `admin`; what it passes on is a token for one document, which reads and writes that one here as on a socket. Without
//! keys everybody may do everything, as everywhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use warp::http::{HeaderMap, Method, Response, header};

use super::Shared;
use super::access;
use super::body::RequestBody;
use super::documents::Documents;
use super::error::Problem;
use super::routes::content;
use super::spending::{OverBudget, Per};
use crate::budget::{Bill, Kind, Purse};
use crate::config::PublicUrl;
use crate::hub::Readiness;
use crate::ids::{Access, DocName};
use crate::limits::{
    MESSAGE_BYTES_MAX, RATE_PAUSE_MAX, SUBJECT_BYTES_MAX, TOKEN_LIFETIME_S_MAX, YSWEET_BODIES_BYTES_MAX,
    YSWEET_SMALL_BODY_BYTES_MAX, YSWEET_TOKEN_S,
};
use crate::wire::update;
use crate::wire::ysweet::{DocIdError, doc_id};

/// What a caller wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    /// Whether documents can be stored.
    CheckStore,
    /// That a document exists.
    Create,
    /// What a client needs to open one.
    Authorize(DocName),
    /// All of it.
    Read(DocName),
    /// To change it.
    Update(DocName),
}

impl Call {
    /// The call of a request; `None` when it is not one of y-sweet's.
    pub(super) fn find(method: &Method, path: &str) -> Option<Result<Self, DocIdError>> {
        let mut segments = path.strip_prefix('/')?.split('/');
        let segments = (segments.next(), segments.next(), segments.next(), segments.next());
        let with = |call: fn(DocName) -> Call, id| Some(doc_id(id).map(call));
        match (method, segments) {
            (&Method::POST, (Some("check_store"), None, ..)) => Some(Ok(Call::CheckStore)),
            (&Method::POST, (Some("doc"), Some("new"), None, _)) => Some(Ok(Call::Create)),
            (&Method::POST, (Some("doc"), Some(id), Some("auth"), None)) => with(Call::Authorize, id),
            (&Method::GET, (Some("d"), Some(id), Some("as-update"), None)) => with(Call::Read, id),
            (&Method::POST, (Some("d"), Some(id), Some("update"), None)) => with(Call::Update, id),
            _ => None,
        }
    }

    /// Largest body, bytes.
    pub(super) fn body_bytes_max(&self) -> usize {
        match self {
            Call::CheckStore | Call::Create | Call::Authorize(_) | Call::Read(_) => YSWEET_SMALL_BODY_BYTES_MAX,
            Call::Update(_) => MESSAGE_BYTES_MAX,
        }
    }
}

/// What the calls share.
pub(super) struct YSweet {
    /// Where clients are told to connect to; else where the caller found us.
    pub(super) public_url: Option<PublicUrl>,
    /// Whether TLS is spoken here, and not by a proxy.
    tls: bool,
    /// Room for bodies, KiB.
    bodies: Semaphore,
}

impl YSweet {
    pub(super) fn new(public_url: Option<PublicUrl>, tls: bool) -> Self {
        Self { public_url, tls, bodies: Semaphore::new(YSWEET_BODIES_BYTES_MAX >> 10) }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wanted {
    doc_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created<'a> {
    doc_id: &'a str,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Authorize {
    authorization: Authorization,
    user_id: Option<String>,
    valid_for_seconds: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Authorization {
    #[default]
    Full,
    ReadOnly,
}

/// What a client is given (`ClientToken` in the SDK).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClientToken<'a> {
    /// Its socket's address, up to the last segment, which the client adds.
    url: String,
    base_url: String,
    doc_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    authorization: Authorization,
}

/// Answers one call. Nothing of the body is read before it is known that its sender may send it, and nothing of it kept
/// while there is no room.
pub(super) async fn answer<D: Documents>(
    shared: &Arc<Shared<D>>,
    call: Call,
    headers: &HeaderMap,
    query: &str,
    remote: Option<SocketAddr>,
    body: RequestBody,
) -> Result<Response<Bytes>, Problem> {
    let user = permit(shared, &call, headers, query, remote).await?;
    let mut share = Share::of(shared, user.as_ref(), remote);
    let mut one = Bill::default();
    one.add(Kind::Messages, 1);
    one.add(Kind::Opens, 1);
    share.spend(&one).await?;
    let documents = &shared.documents;
    Ok(match call {
        Call::CheckStore => json(&check_store(&shared.readiness())),
        Call::Create => {
            let wanted: Wanted = parsed(&read(shared, body, YSWEET_SMALL_BODY_BYTES_MAX).await?)?;
            let doc = match wanted.doc_id {
                Some(id) => doc_id(&id)?,
                None => doc_id(&random_id()?)?,
            };
            documents.create(&doc).await?;
            json(&Created { doc_id: doc.as_str() })
        }
        Call::Authorize(doc) => {
            let wanted: Authorize = parsed(&read(shared, body, YSWEET_SMALL_BODY_BYTES_MAX).await?)?;
            let token = mint(shared, &doc, &wanted)?;
            documents.exists(&doc).await.map_err(Problem::gone_missing)?;
            let base = base_url(shared.ysweet.public_url.as_ref(), shared.ysweet.tls, headers)?;
            let (url, base_url) = (format!("{}/d/{doc}/ws", base.ws()), format!("{}/d/{doc}", base.http()));
            let doc_id = doc.as_str();
            json(&ClientToken { url, base_url, doc_id, token, authorization: wanted.authorization })
        }
        Call::Read(doc) => {
            content("application/octet-stream", documents.state(&doc).await.map_err(Problem::gone_missing)?)
        }
        Call::Update(doc) => {
            let update = read(shared, body, MESSAGE_BYTES_MAX).await?;
            let mut bill = Bill::default();
            bill.add(Kind::Bytes, update.len() as u64);
            bill.add(Kind::Structs, update::structs(&update));
            share.spend(&bill).await?;
            documents.merge(&doc, update).await.map_err(Problem::gone_missing)?;
            content("application/octet-stream", Bytes::new())
        }
    })
}

/// What a caller spends, of its user's and its address's.
struct Share {
    purses: Vec<(Per, Purse)>,
    over: Arc<OverBudget>,
    patience: Duration,
}

impl Share {
    fn of<D: Documents>(shared: &Shared<D>, user: Option<&Arc<str>>, remote: Option<SocketAddr>) -> Self {
        let user = user.and_then(|user| shared.users.purse(|| user.clone()));
        let address = remote.and_then(|remote| shared.addresses.purse(remote.ip()));
        let purses = address.map(|purse| (Per::Address, purse)).into_iter().chain(user.map(|purse| (Per::User, purse)));
        Self { purses: purses.collect(), over: shared.sessions.over_budget(), patience: shared.budgets.patience() }
    }

    /// Waits until that can be spent, as who has a socket waits for its next message to be read.
    async fn spend(&mut self, bill: &Bill) -> Result<(), Problem> {
        let mut waited = Duration::ZERO;
        for (per, purse) in &mut self.purses {
            purse.charge(bill);
            while let Some((kind, wait)) = purse.pay() {
                let wait = wait.min(RATE_PAUSE_MAX);
                if waited.is_zero() {
                    self.over.note_slowed(*per, kind);
                }
                waited += wait;
                if waited > self.patience {
                    self.over.note_closed(*per, kind);
                    return Err(Problem::over_budget());
                }
                tokio::time::sleep(wait).await;
            }
        }
        Ok(())
    }
}

/// Whether the caller may do this, and which user it is, where it is one.
async fn permit<D: Documents>(
    shared: &Shared<D>,
    call: &Call,
    headers: &HeaderMap,
    query: &str,
    remote: Option<SocketAddr>,
) -> Result<Option<Arc<str>>, Problem> {
    let Some(authority) = shared.judges.authority.as_deref() else { return Ok(None) };
    let wanted = match call {
        Call::Read(doc) => (doc, Access::Read),
        Call::Update(doc) => (doc, Access::Write),
        Call::CheckStore | Call::Create | Call::Authorize(_) => {
            let token = access::bearer(headers).unwrap_or_default();
            let admitted = authority.admit_admin(token, access::now_s());
            return admitted.map(|_| None).map_err(|_| Problem::not_a_back_end());
        }
    };
    let (doc, access) = wanted;
    let token = access::token_of(headers, query);
    let granted = shared.judges.admit(token.as_deref(), doc, remote).await;
    let granted = granted.map_err(|denied| Problem::denied(&denied))?;
    if granted.access >= access { Ok(granted.holder.subject) } else { Err(Problem::read_only()) }
}

/// Reads a body when there is room for it.
async fn read<D: Documents>(shared: &Shared<D>, body: RequestBody, bytes_max: usize) -> Result<Bytes, Problem> {
    let kib = u32::try_from(bytes_max.div_ceil(1024)).unwrap_or(u32::MAX);
    let ended = |_| Problem::unavailable("the server is ending");
    let _room = shared.ysweet.bodies.acquire_many(kib).await.map_err(ended)?;
    body.whole().await
}

/// A body of JSON; one that is not there asks for nothing in particular.
fn parsed<'a, T: Default + Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body)
        .map_err(|error| Problem::bad_request(format!("the body is not what it should be: {error}")))
}

/// A token for what is wanted; none where nobody is asked for one.
fn mint<D: Documents>(shared: &Shared<D>, doc: &DocName, wanted: &Authorize) -> Result<Option<String>, Problem> {
    let Some(authority) = shared.judges.authority.as_deref() else { return Ok(None) };
    let good_s = wanted.valid_for_seconds.unwrap_or(YSWEET_TOKEN_S);
    if !(1..=TOKEN_LIFETIME_S_MAX).contains(&good_s) {
        return Err(Problem::bad_request(format!("`validForSeconds` is 1 to {TOKEN_LIFETIME_S_MAX}")));
    }
    let subject = wanted.user_id.clone().filter(|user| !user.is_empty());
    if subject.as_ref().is_some_and(|user| user.len() > SUBJECT_BYTES_MAX) {
        return Err(Problem::bad_request(format!("`userId` has at most {SUBJECT_BYTES_MAX} bytes")));
    }
    let access = match wanted.authorization {
        Authorization::Full => Access::Write,
        Authorization::ReadOnly => Access::Read,
    };
    authority.mint(doc, access, subject, access::now_s(), good_s).map(Some).ok_or_else(Problem::no_secret)
}

/// Where clients find us: as configured, else where the caller did, which only the caller is told.
fn base_url(configured: Option<&PublicUrl>, tls: bool, headers: &HeaderMap) -> Result<PublicUrl, Problem> {
    if let Some(configured) = configured {
        return Ok(configured.clone());
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.filter(|host| !host.contains('/')).unwrap_or_default();
    let forwarded = headers.get("x-forwarded-proto").and_then(|proto| proto.to_str().ok());
    let scheme =
        if tls || forwarded.is_some_and(|proto| proto.eq_ignore_ascii_case("https")) { "https" } else { "http" };
    format!("{scheme}://{host}").parse().map_err(|_| {
        Problem::bad_request("the header `Host` says not where this server is; start it with --public-url")
    })
}

fn check_store(readiness: &Readiness) -> serde_json::Value {
    match super::error::not_ready(readiness) {
        None => serde_json::json!({ "ok": true }),
        Some(why) => serde_json::json!({ "ok": false, "error": why }),
    }
}

/// 128 random bits, in letters that no command line takes for an option.
fn random_id() -> Result<String, Problem> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Problem::unavailable(format!("the system gives no random bytes: {error}")))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

fn json(value: &impl Serialize) -> Response<Bytes> {
    content("application/json", serde_json::to_vec(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::http::HeaderValue;

    /// Found by a test that gave one, which began with a dash, to `weft export`.
    #[test]
    fn an_id_is_never_taken_for_an_option() {
        for _ in 0..1_000 {
            let id = random_id().unwrap();
            assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        }
    }

    #[test]
    fn calls_are_those_of_the_sdk() {
        let doc = |id| doc_id(id).unwrap();
        for (method, path, call) in [
            (Method::POST, "/check_store", Some(Ok(Call::CheckStore))),
            (Method::POST, "/doc/new", Some(Ok(Call::Create))),
            (Method::POST, "/doc/a-1/auth", Some(Ok(Call::Authorize(doc("a-1"))))),
            (Method::POST, "/doc/new/auth", Some(Ok(Call::Authorize(doc("new"))))),
            (Method::GET, "/d/a/as-update", Some(Ok(Call::Read(doc("a"))))),
            (Method::POST, "/d/a/update", Some(Ok(Call::Update(doc("a"))))),
            (Method::POST, "/d/a%2Fb/update", Some(Err(DocIdError::Malformed))),
            (Method::POST, "/d//update", Some(Err(DocIdError::Malformed))),
            (Method::GET, "/check_store", None),
            (Method::GET, "/doc/new", None),
            (Method::POST, "/d/a/as-update", None),
            (Method::POST, "/d/a/update/", None),
            (Method::POST, "/d/a/update/b", None),
            (Method::POST, "/", None),
        ] {
            assert_eq!(Call::find(&method, path), call, "{method} {path}");
        }
    }

    #[test]
    fn clients_are_sent_to_where_the_caller_is_or_to_where_is_configured() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
        };
        let base = |configured: Option<&str>, pairs: &[(&'static str, &'static str)]| {
            let configured: Option<PublicUrl> = configured.map(|url| url.parse().unwrap());
            base_url(configured.as_ref(), false, &headers(pairs))
                .map(|base| format!("{} {}", base.http(), base.ws()))
                .ok()
        };
        assert_eq!(base(None, &[("host", "h:1")]).as_deref(), Some("http://h:1 ws://h:1"));
        assert_eq!(base(None, &[("host", "[::1]:1")]).as_deref(), Some("http://[::1]:1 ws://[::1]:1"));
        let proxied = [("host", "h"), ("x-forwarded-proto", "https")];
        assert_eq!(base(None, &proxied).as_deref(), Some("https://h wss://h"));
        assert_eq!(
            base(Some("https://w.example/c/"), &proxied[..1]).as_deref(),
            Some("https://w.example/c wss://w.example/c")
        );
        for host in ["", "h/path", "u@h", "h?x", "h\"", "h h", "h,g"] {
            assert_eq!(base(None, &[("host", host)]), None, "{host}");
        }
    }
}
