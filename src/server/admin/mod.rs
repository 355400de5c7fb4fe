//! The admin API under `/api/v1` (contract 2.3), and `/health` and `/ready` beside it.
//!
//! A request is first parsed into a [`Call`], which is pure; only a call that is well-formed and comes with the
//! credential reaches the hub, and only then is a body read. `call` has the table of routes, `query` what stands in a
//! target beside the route, `execute` does what is asked; `super::body` is how bytes come in and go out.
//!
//! To add a route:
//! 1. `call.rs`: a variant of [`Call`], and a line in `ROUTES`. `.large_body()` if it takes more than a few kilobytes.
//! 2. `execute.rs`: an arm for it, which answers with `json(&report)`, `binary(bytes)`, or, for what is large or takes
//!    long, with `streamed(kind, |pen| async move { … pen.write(piece).await … })`. A stream is bounded: `write` waits for
//!    the caller's socket, and says so when the caller has left, upon which the work should stop. Work that blocks
//!    belongs into `spawn_blocking`, with `pen.write_blocking`. Progress goes out as lines of JSON (`pen.line`, kind
//!    `NDJSON`), each an object with one key, which says what the line is; the last one is `done` with the sums, or
//!    `stopped` with a problem, so that an answer that was cut short is never taken for whole (`compact.rs` is one).
//!    What fails before the first piece is a [`Problem`] as for any route; what fails later, where there are no lines,
//!    is told by `pen.break_off`.
//! 3. `openapi.json`: the path, its parameters and what it answers. A test holds it against `ROUTES`.
//!
//! What can go wrong and did not exist before is mapped to a [`Problem`] in `error.rs`; its kind is in `openapi.json` too.

mod acts;
mod call;
mod compact;
mod connections;
mod execute;
mod metrics;
mod query;
mod revoke;
#[cfg(test)]
mod tests;
mod vacuum;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use warp::http::{HeaderMap, Method, header};
use warp::path::FullPath;
use warp::{Filter, Reply};

use self::acts::Refusals;
use self::call::Call;
use super::accept::Slot;
use super::access::Admins;
use super::error::Problem;
use super::{AdminOptions, DrainFlag, ReadRevoked, Sessions, Tls, Webhook};
use crate::audit::{Audit, Entry};
use crate::auth::Authority;
use crate::hub::Hub;
use crate::limits::{ADMIN_BODIES_BYTES_MAX, ADMIN_SMALL_BODY_BYTES_MAX};
use crate::metrics::Reloads;
use crate::server::body::{Answer, RequestBody};

/// What the routes work with.
pub(super) struct Api {
    pub(super) hub: Hub,
    pub(super) draining: DrainFlag,
    /// Who may use them.
    pub(super) admins: Admins,
    /// Who decides about tokens, and is told which are revoked.
    pub(super) authority: Option<Arc<Authority>>,
    /// For backups.
    pub(super) revoked: ReadRevoked,
    /// The sessions of the public listener.
    pub(super) sessions: Sessions,
    /// Over how long clients are sent away on a drain.
    pub(super) drain: Duration,
    /// What was read anew.
    pub(super) reloads: Arc<Reloads>,
    /// Who else is asked about tokens.
    pub(super) webhook: Option<Arc<Webhook>>,
    /// What admins did.
    pub(super) audit: Option<Arc<Audit>>,
    /// Who was not let in.
    refusals: Refusals,
    /// What TLS is spoken with on the public listener.
    tls: Option<Arc<Tls>>,
    started: Instant,
    /// Room for large bodies, KiB.
    bodies: Semaphore,
}

impl Api {
    pub(super) fn new(hub: Hub, sessions: Sessions, draining: DrainFlag, options: &AdminOptions) -> Self {
        let AdminOptions { credential, authority, drain, reloads, webhook, audit, revoked, tls } = options.clone();
        let bodies = Semaphore::new(ADMIN_BODIES_BYTES_MAX >> 10);
        let admins = Admins::new(credential, authority.clone());
        Self {
            hub,
            draining,
            admins,
            authority,
            revoked,
            sessions,
            drain,
            reloads,
            webhook,
            audit,
            refusals: Refusals::default(),
            tls,
            started: Instant::now(),
            bodies,
        }
    }

    /// Does what the call wants, once there is room for a body of `body_bytes`, which may be the most it can have.
    async fn answer(&self, call: Call, body_bytes: usize, body: RequestBody) -> Result<Answer, Problem> {
        let _room = if body_bytes > ADMIN_SMALL_BODY_BYTES_MAX {
            let kib = u32::try_from(body_bytes.div_ceil(1024)).unwrap_or(u32::MAX);
            Some(self.bodies.acquire_many(kib).await.map_err(|_| Problem::unavailable("the server is ending"))?)
        } else {
            None
        };
        self.execute(call, body).await
    }

    /// The same, on the record where it changes something or takes data away: before it is begun, and what came of it.
    async fn answer_on_record(
        &self,
        call: Call,
        caller: Caller,
        body_bytes: usize,
        body: RequestBody,
    ) -> Result<Answer, Problem> {
        let (Some(audit), Some(act)) = (&self.audit, acts::of(&call)) else {
            return self.answer(call, body_bytes, body).await;
        };
        let (body, detail, doc) = match call {
            Call::Revoke => acts::revocation(body).await?,
            _ => (body, act.detail, act.entry.doc),
        };
        let begun = Entry { who: caller.who, from: caller.from, doc, detail, ..act.entry };
        acts::record(audit, begun.clone(), "begun".to_owned()).await?;
        let answer = self.answer(call, body_bytes, body).await;
        let result = answer.as_ref().map_or_else(|problem| problem.kind().to_owned(), |_| "done".to_owned());
        acts::record(audit, begun, result).await?;
        answer
    }
}

/// Every route of the admin listener.
pub(super) fn filter(api: Api) -> impl Filter<Extract = (impl Reply + use<>,), Error = Infallible> + Clone {
    let api = Arc::new(api);
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Slot>())
        .and(warp::body::stream())
        .then(move |method: Method, path: FullPath, query: String, headers: HeaderMap, slot: Option<Slot>, body| {
            let api = api.clone();
            async move {
                let from = slot.map(|slot| slot.remote().ip().to_string());
                let answer = match admit(&api.admins, &method, path.as_str(), &query, &headers) {
                    Ok((call, body_bytes, who)) => {
                        let caller = Caller { who, from };
                        api.answer_on_record(call, caller, body_bytes, RequestBody::new(body, body_bytes)).await
                    }
                    Err(problem) => {
                        if problem == Problem::unauthorized() {
                            api.refusals.note(api.audit.as_ref(), from).await;
                        }
                        Err(problem)
                    }
                };
                answer.unwrap_or_else(Answer::from)
            }
        })
        .recover(|_| std::future::ready(Ok::<_, Infallible>(Problem::bad_request("the body is not there").into())))
        .unify()
}

/// Who calls.
struct Caller {
    who: String,
    from: Option<String>,
}

/// Everything that is decided before the hub is asked and a body is read: what is wanted, and how many bytes of body can
/// come with it.
fn admit(
    admins: &Admins,
    method: &Method,
    path: &str,
    query: &str,
    headers: &HeaderMap,
) -> Result<(Call, usize, String), Problem> {
    // Before the path is looked at, so that strangers learn nothing from the difference between 401 and 404.
    let who = match admins.admit(headers) {
        Some(who) => who,
        None if call::is_open(path) => String::new(),
        None => return Err(Problem::unauthorized()),
    };
    let (route, captured) = call::find(method, path)?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let body_bytes = match announced.map(usize::try_from) {
        None => route.body_bytes_max,
        Some(Ok(bytes)) if bytes <= route.body_bytes_max => bytes,
        Some(_) => return Err(Problem::too_large(route.body_bytes_max)),
    };
    Ok((route.call(&captured, query)?, body_bytes, who))
}

#[cfg(test)]
mod admission {
    use super::*;
    use crate::limits::ADMIN_BODY_BYTES_MAX;
    use warp::http::HeaderValue;

    fn admins(credential: &str) -> Admins {
        Admins::new(credential.to_owned(), None)
    }

    const SECRET: &str = "s3cret-credential";

    fn with_auth(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn only_the_credential_opens_the_api() {
        let status = |headers: &HeaderMap, secret: &str| {
            admit(&admins(secret), &Method::GET, "/api/v1/docs", "", headers)
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
        let strangers =
            |path: &str| admit(&admins(SECRET), &Method::GET, path, "", &HeaderMap::new()).map(|(call, ..)| call);
        for path in ["/", "/api/v1/nothing", "/api/v1/docs", "/health/"] {
            assert_eq!(strangers(path), Err(Problem::unauthorized()), "{path}");
        }
        assert_eq!(strangers("/health"), Ok(Call::Health));
        assert_eq!(strangers("/ready"), Ok(Call::Ready));
    }

    #[test]
    fn a_body_that_announces_too_much_is_refused_unread() {
        let announcing = |method: Method, path: &str, bytes: usize| {
            let mut headers = with_auth("Bearer s3cret-credential");
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
            admit(&admins(SECRET), &method, path, "", &headers)
                .map_or_else(|problem| problem.into_response().status().as_u16(), |_| 200)
        };
        for (path, max) in
            [("/api/v1/docs/a/update", ADMIN_BODY_BYTES_MAX), ("/api/v1/docs/a/compact", ADMIN_SMALL_BODY_BYTES_MAX)]
        {
            assert_eq!(announcing(Method::POST, path, max), 200);
            assert_eq!(announcing(Method::POST, path, max + 1), 413);
        }
    }
}
