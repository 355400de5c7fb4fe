//! Routes of the public listener: liveness, readiness, the demo or a word for people, and the WebSocket on every path.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use warp::Filter;
use warp::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use warp::path::FullPath;

use super::Shared;
use super::accept::Slot;
use super::body::RequestBody;
use super::demo;
use super::documents::Documents;
use super::error::Problem;
use super::origin;
use super::{websocket, ysweet};

/// What a browser sees at `/` when there is no demo.
const PAGE: &str = "\
weft is running.

Point a Yjs client at this address; the path is the document's name:

    import * as Y from 'yjs'
    import { WebsocketProvider } from 'y-websocket'

    const doc = new Y.Doc()
    const provider = new WebsocketProvider('ws://HOST', 'my-document', doc)
";

/// Every route. A request that asks for an upgrade is a document's, whatever its path, so a document may be called
/// `health` too.
pub(super) fn public<D: Documents>(
    shared: Arc<Shared<D>>,
) -> impl Filter<Extract = (Response<Bytes>,), Error = Infallible> + Clone {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<OnUpgrade>())
        .and(warp::ext::optional::<Slot>())
        .and(warp::body::stream())
        .then(
            move |method: Method,
                  path: FullPath,
                  query: String,
                  headers: HeaderMap,
                  on_upgrade,
                  slot: Option<Slot>,
                  body| {
                let shared = shared.clone();
                async move {
                    let target = (path.as_str(), &*query);
                    let wanted = origin::asked_for(&method, &headers);
                    let answer = match ysweet::Call::find(wanted.as_ref().unwrap_or(&method), target.0) {
                        Some(call) if !websocket::wants_upgrade(&headers) => match shared.pages.admit_request(&headers)
                        {
                            Ok(page) if wanted.is_some() => Ok(origin::readable_by(page, origin::preflight())),
                            Ok(page) => {
                                let answer = match call {
                                    Ok(call) => {
                                        let body = RequestBody::new(body, call.body_bytes_max());
                                        let remote = shared.client(slot.as_ref(), &headers);
                                        ysweet::answer(&shared, call, &headers, target.1, remote, body).await
                                    }
                                    Err(error) => Err(error.into()),
                                };
                                Ok(origin::readable_by(page, answer.unwrap_or_else(Problem::into_response)))
                            }
                            Err(foreign) => {
                                shared.sessions.note_foreign();
                                Err(foreign)
                            }
                        },
                        _ => respond(&shared, &method, target, &headers, on_upgrade, slot).await,
                    };
                    answer.unwrap_or_else(Problem::into_response)
                }
            },
        )
        .recover(|_| {
            std::future::ready(Ok::<_, Infallible>(Problem::bad_request("the body is not there").into_response()))
        })
        .unify()
}

async fn respond<D: Documents>(
    shared: &Arc<Shared<D>>,
    method: &Method,
    (path, query): (&str, &str),
    headers: &HeaderMap,
    on_upgrade: Option<OnUpgrade>,
    slot: Option<Slot>,
) -> Result<Response<Bytes>, Problem> {
    if websocket::wants_upgrade(headers) {
        return websocket::upgrade(shared, method, (path, query), headers, on_upgrade, slot).await;
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Problem::method_not_allowed(&["GET"]));
    }
    if shared.demo
        && let Some(page) = demo::answer(path, headers)
    {
        return Ok(page);
    }
    match path {
        "/" => Ok(content("text/plain; charset=utf-8", PAGE)),
        "/health" => Ok(alive()),
        "/ready" => Ok(readiness(shared.not_ready())),
        _ => Err(Problem::upgrade_required("this path is a document, to be opened with a WebSocket")),
    }
}

/// 200 as long as the process answers at all.
pub(super) fn alive() -> Response<Bytes> {
    content("application/json", r#"{"ok":true}"#)
}

/// 200, or 503 with the reason.
pub(super) fn readiness(not_ready: Option<String>) -> Response<Bytes> {
    match not_ready {
        None => alive(),
        Some(reason) => {
            let body = serde_json::json!({ "ok": false, "reason": reason }).to_string();
            let mut response = content("application/json", body);
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        }
    }
}

/// A 200 that no cache keeps.
pub(super) fn content(kind: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
