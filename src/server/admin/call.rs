//! What a caller wants, and the one table of routes that says so. Pure: nothing here asks the hub.

use bytes::Bytes;
use warp::http::Method;

use super::query::{Captured, Query};
use crate::hub::{ListQuery, VerifyQuery};
use crate::ids::{ConnId, DocName};
use crate::limits::{
    ADMIN_BODY_BYTES_MAX, ADMIN_SMALL_BODY_BYTES_MAX, LIST_DEFAULT, LIST_MAX, TOP_DEFAULT, TOP_MAX, VERIFY_DEFAULT,
    VERIFY_MAX,
};
use crate::server::error::Problem;
use crate::server::sessions::ConnectionQuery;

/// What a caller wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    Health,
    Ready,
    Metrics,
    OpenApi,
    Connections(ConnectionQuery),
    Disconnect(ConnId),
    Top { limit: usize },
    Drain,
    List(ListQuery),
    Show(DocName),
    Delete(DocName),
    Encode(DocName, Option<Bytes>),
    StateVector(DocName),
    BroadcastStateless(DocName),
    Content(DocName),
    Text(DocName),
    Import(DocName),
    Compact { doc: DocName, dry_run: bool },
    CompactAll { min_log_bytes: u64, dry_run: bool },
    Verify(VerifyQuery),
    VerifyDocument { doc: DocName, repair: bool },
    Backup,
    Revoke,
    Vacuum { dry_run: bool },
    Storage,
}

/// One method on one path.
pub(super) struct Route {
    pub(super) method: Method,
    /// With `{…}` for each segment that may be anything; so written in `openapi.json` too.
    pub(super) path: &'static str,
    /// Largest request body, bytes.
    pub(super) body_bytes_max: usize,
    /// Answered without a credential.
    pub(super) open: bool,
    /// Makes the call of the open segments and the parameters.
    call: fn(&Captured<'_>, &mut Query<'_>) -> Result<Call, Problem>,
}

type MakeCall = fn(&Captured<'_>, &mut Query<'_>) -> Result<Call, Problem>;

impl Route {
    const fn new(method: Method, path: &'static str, call: MakeCall) -> Self {
        Self { method, path, body_bytes_max: ADMIN_SMALL_BODY_BYTES_MAX, open: false, call }
    }

    const fn get(path: &'static str, call: MakeCall) -> Self {
        Self::new(Method::GET, path, call)
    }

    const fn post(path: &'static str, call: MakeCall) -> Self {
        Self::new(Method::POST, path, call)
    }

    const fn delete(path: &'static str, call: MakeCall) -> Self {
        Self::new(Method::DELETE, path, call)
    }

    /// Anybody may ask.
    const fn open(mut self) -> Self {
        self.open = true;
        self
    }

    /// Takes a large body, which must be read in pieces.
    const fn large_body(mut self) -> Self {
        self.body_bytes_max = ADMIN_BODY_BYTES_MAX;
        self
    }

    /// The segments that stand where the path is open, if `path` is this route's.
    fn matches<'a>(&self, path: &'a str) -> Option<Captured<'a>> {
        // Segments are told apart before they are decoded, so that a name may hold slashes as `%2F`.
        let (mut pattern, mut given) = (self.path.split('/'), path.split('/'));
        let mut captured = Captured::default();
        loop {
            match (pattern.next(), given.next()) {
                (None, None) => return Some(captured),
                (Some(expected), Some(segment)) if expected.starts_with('{') => captured.0.push(segment),
                (Some(expected), Some(segment)) if expected == segment => {}
                _ => return None,
            }
        }
    }

    fn takes(&self, method: &Method) -> bool {
        // The answer to HEAD is that to GET, of which the HTTP layer leaves out the body.
        self.method == method || (self.method == Method::GET && method == Method::HEAD)
    }
}

/// Every route of the admin listener.
pub(super) static ROUTES: &[Route] = &[
    Route::get("/health", |_, _| Ok(Call::Health)).open(),
    Route::get("/ready", |_, _| Ok(Call::Ready)).open(),
    Route::get("/metrics", |_, _| Ok(Call::Metrics)),
    Route::get("/api/v1/openapi.json", |_, _| Ok(Call::OpenApi)),
    Route::get("/api/v1/connections", |_, query| {
        let (doc, after) = (query.take_doc("doc")?, query.take_number("after")?);
        let limit = query.take_limit(LIST_DEFAULT, LIST_MAX)?;
        Ok(Call::Connections(ConnectionQuery { doc, after: ConnId(after.unwrap_or(0)), limit }))
    }),
    Route::delete("/api/v1/connections/{id}", |path, _| Ok(Call::Disconnect(path.connection()?))),
    Route::get("/api/v1/top", |_, query| Ok(Call::Top { limit: query.take_limit(TOP_DEFAULT, TOP_MAX)? })),
    Route::post("/api/v1/drain", |_, _| Ok(Call::Drain)),
    Route::get("/api/v1/docs", |_, query| {
        Ok(Call::List(ListQuery {
            prefix: query.take("prefix").unwrap_or_default(),
            after: query.take_doc("after")?,
            limit: Some(query.take_limit(LIST_DEFAULT, LIST_MAX)?),
            deleted: query.take_flag("deleted")?,
        }))
    }),
    Route::get("/api/v1/docs/{doc}", |path, _| Ok(Call::Show(path.doc()?))),
    Route::new(Method::DELETE, "/api/v1/docs/{doc}", |path, _| Ok(Call::Delete(path.doc()?))),
    Route::get("/api/v1/docs/{doc}/update", |path, query| {
        Ok(Call::Encode(path.doc()?, query.take_state_vector("sv")?))
    }),
    Route::post("/api/v1/docs/{doc}/update", |path, _| Ok(Call::Import(path.doc()?))).large_body(),
    Route::get("/api/v1/docs/{doc}/state-vector", |path, _| Ok(Call::StateVector(path.doc()?))),
    Route::post("/api/v1/docs/{doc}/broadcast-stateless", |path, _| Ok(Call::BroadcastStateless(path.doc()?))),
    Route::get("/api/v1/docs/{doc}/content", |path, _| Ok(Call::Content(path.doc()?))),
    Route::get("/api/v1/docs/{doc}/text", |path, _| Ok(Call::Text(path.doc()?))),
    Route::post("/api/v1/docs/{doc}/compact", |path, query| {
        Ok(Call::Compact { doc: path.doc()?, dry_run: query.take_flag("dry_run")? })
    }),
    Route::get("/api/v1/store", |_, _| Ok(Call::Storage)),
    Route::post("/api/v1/docs/{doc}/verify", |path, query| {
        Ok(Call::VerifyDocument { doc: path.doc()?, repair: query.take_flag("repair")? })
    }),
    Route::post("/api/v1/verify", |_, query| {
        Ok(Call::Verify(VerifyQuery {
            prefix: query.take("prefix").unwrap_or_default(),
            after: query.take_doc("after")?,
            limit: query.take_limit(VERIFY_DEFAULT, VERIFY_MAX)?,
            repair: query.take_flag("repair")?,
        }))
    }),
    Route::post("/api/v1/compact", |_, query| {
        if query.take_flag("vacuum")? {
            return Ok(Call::Vacuum { dry_run: query.take_flag("dry_run")? });
        }
        let min_log_bytes = query.take_number("min_log_bytes")?.unwrap_or(0);
        Ok(Call::CompactAll { min_log_bytes, dry_run: query.take_flag("dry_run")? })
    }),
    Route::post("/api/v1/backup", |_, _| Ok(Call::Backup)),
    Route::post("/api/v1/revoke", |_, _| Ok(Call::Revoke)),
];

/// The route that answers on `path` whoever asks, if there is one.
pub(super) fn is_open(path: &str) -> bool {
    ROUTES.iter().any(|route| route.open && route.path == path)
}

/// The route of a request.
///
/// # Errors
/// 404 when no route has this path, 405 when none of those that do takes the method.
pub(super) fn find<'a>(method: &Method, path: &'a str) -> Result<(&'static Route, Captured<'a>), Problem> {
    let mut allowed = Vec::new();
    for route in ROUTES {
        let Some(captured) = route.matches(path) else { continue };
        if route.takes(method) {
            return Ok((route, captured));
        }
        allowed.push(route.method.as_str());
    }
    if allowed.is_empty() { Err(Problem::no_such_route(path)) } else { Err(Problem::method_not_allowed(&allowed)) }
}

impl Route {
    /// What the caller of this route wants.
    ///
    /// # Errors
    /// 400 for names and parameters that are malformed or not known here.
    pub(super) fn call(&self, captured: &Captured<'_>, query: &str) -> Result<Call, Problem> {
        let mut query = Query::parse(query)?;
        let call = (self.call)(captured, &mut query)?;
        query.end()?;
        Ok(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: Method, path_and_query: &str) -> Result<Call, u16> {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        find(&method, path)
            .and_then(|(route, captured)| route.call(&captured, query))
            .map_err(|problem| problem.into_response().status().as_u16())
    }

    fn doc(name: &str) -> DocName {
        DocName::parse(name).unwrap()
    }

    #[test]
    fn routes_are_those_of_the_contract() {
        let query = |prefix: &str, after: Option<&str>, limit| ListQuery {
            prefix: prefix.into(),
            after: after.map(doc),
            limit: Some(limit),
            deleted: false,
        };
        let list = |prefix: &str, after: Option<&str>, limit| Ok(Call::List(query(prefix, after, limit)));
        let tombstones = ListQuery { deleted: true, ..query("", None, LIST_DEFAULT) };
        assert_eq!(call(Method::GET, "/api/v1/docs?deleted=true"), Ok(Call::List(tombstones)));
        assert_eq!(call(Method::DELETE, "/api/v1/docs/a%2Fb"), Ok(Call::Delete(doc("a/b"))));
        assert_eq!(call(Method::GET, "/health"), Ok(Call::Health));
        assert_eq!(call(Method::HEAD, "/ready"), Ok(Call::Ready));
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
        let all = |min_log_bytes, dry_run| Ok(Call::CompactAll { min_log_bytes, dry_run });
        assert_eq!(call(Method::POST, "/api/v1/compact"), all(0, false));
        assert_eq!(call(Method::POST, "/api/v1/revoke"), Ok(Call::Revoke));
        assert_eq!(call(Method::POST, "/api/v1/compact?min_log_bytes=7&dry_run"), all(7, true));
        assert_eq!(call(Method::POST, "/api/v1/backup"), Ok(Call::Backup));
        assert_eq!(call(Method::POST, "/api/v1/compact?vacuum=true"), Ok(Call::Vacuum { dry_run: false }));
        assert_eq!(call(Method::POST, "/api/v1/compact?vacuum&dry_run"), Ok(Call::Vacuum { dry_run: true }));
        assert_eq!(call(Method::GET, "/api/v1/store"), Ok(Call::Storage));
        assert_eq!(call(Method::POST, "/api/v1/docs/a/broadcast-stateless"), Ok(Call::BroadcastStateless(doc("a"))));
    }

    #[test]
    fn what_is_not_in_the_contract_is_refused() {
        for (method, path, status) in [
            (Method::GET, "/", 404),
            (Method::GET, "/health/", 404),
            (Method::GET, "/api/v1", 404),
            (Method::GET, "/api/v1/", 404),
            (Method::GET, "/api/v2/docs", 404),
            (Method::GET, "/api/v1/docs/a/b/c", 404),
            (Method::GET, "/api/v1/docs/a/nothing", 404),
            (Method::POST, "/health", 405),
            (Method::POST, "/api/v1/docs", 405),
            (Method::DELETE, "/api/v1/docs", 405),
            (Method::PUT, "/api/v1/docs/a", 405),
            (Method::DELETE, "/api/v1/docs/a?force=true", 400),
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
            (Method::POST, "/api/v1/compact?min_log_bytes=-1", 400),
            (Method::POST, "/api/v1/compact?vacuum&min_log_bytes=1", 400),
            (Method::POST, "/api/v1/store", 405),
        ] {
            assert_eq!(call(method.clone(), path), Err(status), "{method} {path}");
        }
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        let refused = find(&Method::PUT, "/api/v1/docs/a/update").err().unwrap().into_response();
        assert_eq!(refused.headers()[warp::http::header::ALLOW], "GET, HEAD, POST");
    }

    #[test]
    fn no_route_hides_another() {
        for (index, route) in ROUTES.iter().enumerate() {
            let (found, _) = find(&route.method, route.path).unwrap_or_else(|_| panic!("{} is found", route.path));
            assert!(std::ptr::eq(found, &raw const ROUTES[index]), "{} {}", route.method, route.path);
        }
    }
}
