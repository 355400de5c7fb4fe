//! The admin API under `/api/v1` (contract 2.3), and `/health` and `/ready` beside it.
//!
//! A request is first parsed into a [`Call`], which is pure; only a call that is well-formed and comes with the
//! credential reaches the hub, and only then is a body read.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use warp::Filter;
use warp::http::{HeaderMap, Method, Response, header};
use warp::path::FullPath;
use warp::reject::Rejection;

use super::DrainFlag;
use super::error::{Problem, not_ready};
use super::routes::{alive, content, readiness};
use crate::hub::{DocSummary, Hub, ListQuery, Readiness};
use crate::ids::DocName;
use crate::limits::{LIST_DEFAULT, LIST_MAX, MESSAGE_BYTES_MAX};
use crate::wire::state_vector;

/// What a caller wants.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Call {
    Health,
    Ready,
    List(ListQuery),
    Show(DocName),
    Encode(DocName, Option<Bytes>),
    StateVector(DocName),
    Content(DocName),
    Text(DocName),
    Import(DocName),
    Compact { doc: DocName, dry_run: bool },
}

/// The answer of `GET docs`.
#[derive(Serialize)]
struct DocPage {
    docs: Vec<DocSummary>,
    /// What to send as `after` for the next page; null on the last one.
    next: Option<DocName>,
}

/// Every route of the admin listener.
pub(super) fn filter(
    hub: Hub,
    credential: Arc<str>,
    draining: DrainFlag,
) -> impl Filter<Extract = (Response<Bytes>,), Error = Infallible> + Clone {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and_then(move |method: Method, path: FullPath, query: String, headers: HeaderMap| {
            let call = admit(&credential, &method, path.as_str(), &query, &headers);
            std::future::ready(call.map_err(|problem| warp::reject::custom(Refused(problem))))
        })
        .and(warp::body::bytes())
        .and_then(move |call, body| {
            let (hub, draining) = (hub.clone(), draining.clone());
            async move {
                Ok::<_, Rejection>(execute(&hub, &draining, call, body).await.unwrap_or_else(Problem::into_response))
            }
        })
        .recover(|rejection: Rejection| {
            // Beside our own there is one rejection that can come: the body was too large, or the caller has left.
            let problem = match rejection.find::<Refused>() {
                Some(Refused(problem)) => problem.clone(),
                None => Problem::too_large(MESSAGE_BYTES_MAX),
            };
            std::future::ready(Ok::<_, Infallible>(problem.into_response()))
        })
        .unify()
}

/// Carries a [`Problem`] past the filters that follow.
#[derive(Debug)]
struct Refused(Problem);

impl warp::reject::Reject for Refused {}

/// Everything that is decided before the hub is asked and a body is read.
fn admit(credential: &str, method: &Method, path: &str, query: &str, headers: &HeaderMap) -> Result<Call, Problem> {
    match path {
        "/health" => return Ok(Call::Health),
        "/ready" => return Ok(Call::Ready),
        _ => {}
    }
    // Before the path is looked at, so that strangers learn nothing from the difference between 401 and 404.
    if !bearer(headers).is_some_and(|token| same(token.as_bytes(), credential.as_bytes())) {
        return Err(Problem::unauthorized());
    }
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > MESSAGE_BYTES_MAX as u64) {
        return Err(Problem::too_large(MESSAGE_BYTES_MAX));
    }
    parse(method, path, query)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Compares in a time that depends on the lengths alone. An empty credential matches nothing.
fn same(given: &[u8], expected: &[u8]) -> bool {
    let differences = given.iter().zip(expected).fold(0, |all, (a, b)| std::hint::black_box(all | (a ^ b)));
    given.len() == expected.len() && !expected.is_empty() && differences == 0
}

/// The one list of routes under `/api/v1`.
fn parse(method: &Method, path: &str, query: &str) -> Result<Call, Problem> {
    let tail = path.strip_prefix("/api/v1/").ok_or_else(|| Problem::no_such_route(path))?;
    // Segments are split before they are decoded, so that a name may hold slashes as `%2F`.
    let segments: Vec<&str> = tail.split('/').collect();
    let get = matches!(*method, Method::GET | Method::HEAD);
    let post = *method == Method::POST;
    let mut query = Query::parse(query)?;
    let call = match segments[..] {
        ["docs"] if get => Call::List(ListQuery {
            prefix: query.take("prefix").unwrap_or_default(),
            after: query.take("after").map(|name| DocName::parse(&name)).transpose()?,
            limit: Some(
                match query.take("limit") {
                    None => LIST_DEFAULT,
                    Some(limit) => {
                        limit.parse::<usize>().map_err(|_| Problem::bad_request("`limit` is not a number"))?
                    }
                }
                .clamp(1, LIST_MAX),
            ),
        }),
        ["docs", doc] if get => Call::Show(name(doc)?),
        ["docs", doc, "update"] if get => Call::Encode(name(doc)?, query.take("sv").map(|sv| vector(&sv)).transpose()?),
        ["docs", doc, "update"] if post => Call::Import(name(doc)?),
        ["docs", doc, "state-vector"] if get => Call::StateVector(name(doc)?),
        ["docs", doc, "content"] if get => Call::Content(name(doc)?),
        ["docs", doc, "text"] if get => Call::Text(name(doc)?),
        ["docs", doc, "compact"] if post => Call::Compact { doc: name(doc)?, dry_run: query.take_flag("dry_run")? },
        ["docs"] | ["docs", _] | ["docs", _, "state-vector" | "content" | "text"] => {
            return Err(Problem::method_not_allowed("GET"));
        }
        ["docs", _, "update"] => return Err(Problem::method_not_allowed("GET and POST")),
        ["docs", _, "compact"] => return Err(Problem::method_not_allowed("POST")),
        _ => return Err(Problem::no_such_route(path)),
    };
    // A misspelt `dry_run` must not compact.
    query.end()?;
    Ok(call)
}

fn name(segment: &str) -> Result<DocName, Problem> {
    Ok(DocName::parse_bytes(&percent_decode_str(segment).collect::<Vec<u8>>())?)
}

fn vector(encoded: &str) -> Result<Bytes, Problem> {
    let bytes = URL_SAFE_NO_PAD
        .decode(encoded.trim_end_matches('='))
        .map_err(|error| Problem::bad_request(format!("`sv` is not base64url: {error}")))?;
    state_vector::validate(&bytes)
        .map_err(|error| Problem::bad_request(format!("`sv` is not a state vector: {error}")))?;
    Ok(bytes.into())
}

/// Parameters after the `?`, each of which may be asked for once.
struct Query<'a>(Vec<(Cow<'a, str>, String)>);

impl<'a> Query<'a> {
    fn parse(raw: &'a str) -> Result<Self, Problem> {
        let decode = |part: &str| {
            let spaced = part.replace('+', " ");
            match percent_decode_str(&spaced).decode_utf8() {
                Ok(text) => Ok(text.into_owned()),
                Err(_) => Err(Problem::bad_request("the query is not valid UTF-8")),
            }
        };
        let pairs = raw.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((Cow::Borrowed(key), decode(value)?))
        });
        Ok(Self(pairs.collect::<Result<_, Problem>>()?))
    }

    fn take(&mut self, key: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == key)?;
        Some(self.0.swap_remove(at).1)
    }

    fn take_flag(&mut self, key: &str) -> Result<bool, Problem> {
        match self.take(key).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(_) => Err(Problem::bad_request(format!("`{key}` is neither true nor false"))),
        }
    }

    fn end(&self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((key, _)) => Err(Problem::bad_request(format!("the parameter {key:?} is not known here"))),
        }
    }
}

async fn execute(hub: &Hub, draining: &DrainFlag, call: Call, body: Bytes) -> Result<Response<Bytes>, Problem> {
    Ok(match call {
        Call::Health => alive(),
        Call::Ready => {
            let state = if draining.is_set() { Readiness::Draining } else { hub.readiness() };
            readiness(not_ready(&state))
        }
        Call::List(query) => json(&list(hub, query).await?),
        Call::Show(doc) => json(&hub.show(&doc).await?),
        Call::Encode(doc, sv) => binary(hub.encode(&doc, sv).await?),
        Call::StateVector(doc) => binary(hub.state_vector(&doc).await?),
        Call::Content(doc) => json(&hub.content(&doc).await?),
        Call::Text(doc) => content("text/plain; charset=utf-8", hub.text(&doc).await?),
        Call::Import(doc) => json(&hub.import(&doc, body).await?),
        Call::Compact { doc, dry_run } => json(&hub.compact(&doc, dry_run).await?),
    })
}

/// One page; one more than it holds is asked for, to know whether another follows.
async fn list(hub: &Hub, mut query: ListQuery) -> Result<DocPage, Problem> {
    let limit = query.limit.unwrap_or(LIST_DEFAULT);
    query.limit = Some(limit + 1);
    Ok(page(hub.list(query).await?, limit))
}

fn page(mut docs: Vec<DocSummary>, limit: usize) -> DocPage {
    let more = docs.len() > limit;
    docs.truncate(limit);
    let next = if more { docs.last().map(|doc| doc.name.clone()) } else { None };
    DocPage { docs, next }
}

fn json(value: &impl Serialize) -> Response<Bytes> {
    match serde_json::to_vec(value) {
        Ok(body) => content("application/json", body),
        // The reports are plain structs with string keys; their encoding cannot fail.
        Err(error) => panic!("a report cannot be encoded: {error}"),
    }
}

fn binary(bytes: Bytes) -> Response<Bytes> {
    content("application/octet-stream", bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::http::HeaderValue;

    const SECRET: &str = "s3cret-credential";

    fn with_auth(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        headers
    }

    fn call(method: Method, path_and_query: &str) -> Result<Call, u16> {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        admit(SECRET, &method, path, query, &with_auth(&format!("Bearer {SECRET}")))
            .map_err(|problem| problem.into_response().status().as_u16())
    }

    fn doc(name: &str) -> DocName {
        DocName::parse(name).unwrap()
    }

    #[test]
    fn routes_are_those_of_the_contract() {
        let list = |prefix: &str, after: Option<&str>, limit| {
            Ok(Call::List(ListQuery { prefix: prefix.into(), after: after.map(doc), limit: Some(limit) }))
        };
        assert_eq!(call(Method::GET, "/api/v1/docs"), list("", None, LIST_DEFAULT));
        assert_eq!(
            call(Method::GET, "/api/v1/docs?prefix=no%2Fa+b&after=%C3%A4&limit=5"),
            list("no/a b", Some("ä"), 5)
        );
        assert_eq!(call(Method::GET, "/api/v1/docs?limit=999999999"), list("", None, LIST_MAX));
        assert_eq!(call(Method::GET, "/api/v1/docs/a"), Ok(Call::Show(doc("a"))));
        assert_eq!(call(Method::GET, "/api/v1/docs/a%2Fb%20c"), Ok(Call::Show(doc("a/b c"))));
        // Decoded once, not until nothing is left to decode.
        assert_eq!(call(Method::GET, "/api/v1/docs/a%252Fb"), Ok(Call::Show(doc("a%2Fb"))));
        assert_eq!(call(Method::GET, "/api/v1/docs/a/update"), Ok(Call::Encode(doc("a"), None)));
        assert_eq!(call(Method::POST, "/api/v1/docs/a/update"), Ok(Call::Import(doc("a"))));
        assert_eq!(call(Method::GET, "/api/v1/docs/a/state-vector"), Ok(Call::StateVector(doc("a"))));
        assert_eq!(call(Method::GET, "/api/v1/docs/a/content"), Ok(Call::Content(doc("a"))));
        assert_eq!(call(Method::GET, "/api/v1/docs/a/text"), Ok(Call::Text(doc("a"))));
        for (query, dry_run) in [("", false), ("?dry_run=true", true), ("?dry_run", true), ("?dry_run=false", false)] {
            let path = format!("/api/v1/docs/a/compact{query}");
            assert_eq!(call(Method::POST, &path), Ok(Call::Compact { doc: doc("a"), dry_run }));
        }
    }

    #[test]
    fn what_is_not_in_the_contract_is_refused() {
        for (method, path, status) in [
            (Method::GET, "/", 404),
            (Method::GET, "/api/v1", 404),
            (Method::GET, "/api/v1/", 404),
            (Method::GET, "/api/v2/docs", 404),
            (Method::GET, "/api/v1/docs/a/b/c", 404),
            (Method::GET, "/api/v1/docs/a/nothing", 404),
            (Method::POST, "/api/v1/docs", 405),
            (Method::PUT, "/api/v1/docs/a/update", 405),
            (Method::GET, "/api/v1/docs/a/compact", 405),
            (Method::POST, "/api/v1/docs/a/text", 405),
            (Method::GET, "/api/v1/docs/", 400),
            (Method::GET, "/api/v1/docs/%00", 400),
            (Method::GET, "/api/v1/docs/%ff", 400),
            (Method::GET, "/api/v1/docs?limit=many", 400),
            (Method::GET, "/api/v1/docs?prefix=%ff", 400),
            (Method::GET, "/api/v1/docs/a/update?sv=!!", 400),
            (Method::POST, "/api/v1/docs/a/compact?dry_run=maybe", 400),
            (Method::POST, "/api/v1/docs/a/compact?dryrun=true", 400),
        ] {
            assert_eq!(call(method.clone(), path), Err(status), "{method} {path}");
        }
    }

    #[test]
    fn only_the_credential_opens_the_api() {
        let status = |headers: &HeaderMap, secret: &str| {
            admit(secret, &Method::GET, "/api/v1/docs", "", headers)
                .map_or_else(|problem| problem.into_response().status().as_u16(), |_| 200)
        };
        assert_eq!(status(&HeaderMap::new(), SECRET), 401);
        for (value, expected) in [
            ("Bearer s3cret-credential", 200),
            ("bearer s3cret-credential", 200),
            ("Bearer s3cret-credentiaL", 401),
            ("Bearer s3cret-credential1", 401),
            ("Bearer s3cret", 401),
            ("Bearer ", 401),
            ("Bearer", 401),
            ("Basic s3cret-credential", 401),
        ] {
            assert_eq!(status(&with_auth(value), SECRET), expected, "{value}");
        }
        assert_eq!(status(&with_auth("Bearer "), ""), 401, "an empty credential admits nobody");
        // Unknown paths look the same as known ones to strangers; probes need no credential.
        let strangers = |path: &str| admit(SECRET, &Method::GET, path, "", &HeaderMap::new());
        assert_eq!(strangers("/api/v1/nothing"), Err(Problem::unauthorized()));
        assert_eq!(strangers("/health"), Ok(Call::Health));
        assert_eq!(strangers("/ready"), Ok(Call::Ready));
    }

    #[test]
    fn a_body_that_announces_too_much_is_refused_unread() {
        let mut headers = with_auth("Bearer s3cret-credential");
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(MESSAGE_BYTES_MAX + 1));
        let refused = admit(SECRET, &Method::POST, "/api/v1/docs/a/update", "", &headers).unwrap_err();
        assert_eq!(refused.into_response().status().as_u16(), 413);
    }

    #[test]
    fn pages_say_whether_another_follows() {
        let summary = |name: &str| DocSummary {
            name: doc(name),
            snapshot_bytes: 0,
            log_bytes: 0,
            log_records: 0,
            updated_ms: 0,
            peers: 0,
        };
        let docs = vec![summary("a"), summary("b"), summary("c")];
        let full = page(docs.clone(), 2);
        assert_eq!((full.docs.len(), full.next), (2, Some(doc("b"))));
        let last = page(docs, 3);
        assert_eq!((last.docs.len(), last.next), (3, None));
    }
}
