//! Where a request's page comes from, and whether such pages are let in (HARDENING §1). Asked before anything else of a
//! request that a page of somebody else's could gain by.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use warp::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::error::Problem;
use super::routes::content;
use crate::config::Origins;

/// How long a browser need not ask again, seconds.
const PREFLIGHT_MAX_AGE_S: &str = "600";

/// Decides, and says so once.
pub(super) struct Gate {
    origins: Origins,
    said: AtomicBool,
}

impl Gate {
    pub(super) fn new(origins: Origins) -> Self {
        Self { origins, said: AtomicBool::new(false) }
    }

    /// Lets a handshake or a request in, and gives the origin that it names. Browsers name it in every handshake, and in
    /// every request from a page of another origin; who names none is no browser, or no stranger's page.
    ///
    /// # Errors
    /// 403 when pages from there are not let in, or when it names more than one.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, Problem> {
        let mut named = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = named.next() else { return Ok(None) };
        let text = origin.to_str().unwrap_or_default();
        if named.next().is_none() && self.origins.allow(text) {
            return Ok(Some(origin.clone()));
        }
        Err(self.refuse("origin", text))
    }

    /// The same for a request that is no handshake: a page may have made a name of its own mean this machine, and then
    /// its requests name no origin, since to the browser it is the same.
    pub(super) fn admit_request(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, Problem> {
        let origin = self.admit(headers)?;
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if origin.is_some() || self.origins.allow_host(&host.to_ascii_lowercase()) {
            return Ok(origin);
        }
        Err(self.refuse("host", host))
    }

    fn refuse(&self, what: &str, named: &str) -> Problem {
        // Once aloud, since nothing else would tell an operator why a new app does not connect; not for each try of it.
        if self.said.swap(true, Ordering::Relaxed) {
            tracing::debug!(what, named, "a page is not let in");
        } else {
            tracing::warn!(what, named, "a page is not let in; --allow-origin says which are (told once)");
        }
        Problem::foreign_page()
    }
}

/// The answer to a browser that asks whether a page may do this.
pub(super) fn preflight() -> Response<Bytes> {
    let mut response = content("text/plain", Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let out = response.headers_mut();
    out.remove(header::CONTENT_TYPE);
    out.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    out.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type"));
    out.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_MAX_AGE_S));
    response
}

/// What the browser wants to do, when it asks beforehand.
pub(super) fn asked_for(method: &Method, headers: &HeaderMap) -> Option<Method> {
    let wanted = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    if method == Method::OPTIONS { Method::from_bytes(wanted.as_bytes()).ok() } else { None }
}

/// Lets the page that asked read the answer, whatever it says.
pub(super) fn readable_by(origin: Option<HeaderValue>, mut response: Response<Bytes>) -> Response<Bytes> {
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}
