//! Who a request comes from: finds its token and asks the [`Authority`]. The one place where the server decides about
//! access; whatever else may be asked one day (a webhook, an origin) is asked here.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use percent_encoding::percent_decode_str;
use warp::http::{HeaderMap, header};

use super::webhook::{Decision, Webhook};
use crate::auth::{Authority, Denied, Grant, TokenError};
use crate::ids::DocName;
use crate::limits::TOKEN_BYTES_MAX;
use crate::wire::close::CloseReason;

/// The parameter of a URL that carries a token (contract 2.4).
const TOKEN_PARAMETER: &str = "token";

/// The token of a request for a WebSocket: `Authorization: Bearer`, or else `?token=`, which is all that a browser can
/// send. Unchecked, and as long as a request head may be.
pub(super) fn token_of<'a>(headers: &'a HeaderMap, query: &'a str) -> Option<Cow<'a, str>> {
    if let Some(token) = bearer(headers) {
        return Some(token.into());
    }
    let mut tokens = query.split('&').filter_map(|pair| match pair.split_once('=') {
        Some((TOKEN_PARAMETER, token)) => Some(token),
        _ => None,
    });
    let token = tokens.next()?;
    // Which of two would be meant? No token is as empty as this one.
    let token = if tokens.next().is_some() { "" } else { token };
    Some(percent_decode_str(token).decode_utf8().unwrap_or_default())
}

/// Who may use the admin API.
pub(super) struct Admins {
    /// The local credential: whoever can read `admin.json` has it.
    credential: String,
    authority: Option<Arc<Authority>>,
}

impl Admins {
    pub(super) fn new(credential: String, authority: Option<Arc<Authority>>) -> Self {
        Self { credential, authority }
    }

    /// Who of them a request comes from, if from one: with the local credential, or with a token that says `admin`.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Option<String> {
        let token = bearer(headers)?;
        if same(token.as_bytes(), self.credential.as_bytes()) {
            return Some("local".to_owned());
        }
        let holder = self.authority.as_ref()?.admit_admin(token, now_s()).ok()?;
        Some(holder.subject.map_or_else(|| "token".to_owned(), |subject| format!("token {subject}")))
    }
}

/// Compares in a time that depends on the lengths alone. An empty credential matches nothing.
fn same(given: &[u8], expected: &[u8]) -> bool {
    let differences = given.iter().zip(expected).fold(0, |all, (a, b)| std::hint::black_box(all | (a ^ b)));
    given.len() == expected.len() && !expected.is_empty() && differences == 0
}

/// What follows `Bearer` in the header `Authorization`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Who decides about tokens on the public listener.
#[derive(Clone, Default)]
pub(super) struct Judges {
    /// Without it everybody may do everything.
    pub(super) authority: Option<Arc<Authority>>,
    /// Who must agree; never without an authority, which may have no keys then.
    pub(super) webhook: Option<Arc<Webhook>>,
}

impl Judges {
    /// What the bearer of `token` may do in `doc`, as far as that is known without waiting.
    pub(super) fn decide(&self, token: Option<&str>, doc: &DocName, remote: Option<SocketAddr>) -> Decision {
        let Some(authority) = &self.authority else { return Decision::Now(Ok(Grant::open())) };
        let Some(webhook) = &self.webhook else { return Decision::Now(authority.admit(token, doc, now_s())) };
        // Nobody is bothered for who has nothing to show.
        let Some(token) = token.filter(|token| !token.is_empty()) else { return Decision::Now(Err(Denied::NoToken)) };
        if token.len() > TOKEN_BYTES_MAX {
            return Decision::Now(Err(TokenError::TooLong(token.len()).into()));
        }
        let known = if authority.has_keys() {
            match authority.admit(Some(token), doc, now_s()) {
                Ok(grant) => Some(grant),
                Err(denied) => return Decision::Now(Err(denied)),
            }
        } else {
            None
        };
        webhook.decide(authority, token, doc, remote.map(|remote| remote.ip()), known)
    }

    /// The same, however long it takes.
    pub(super) async fn admit(
        &self,
        token: Option<&str>,
        doc: &DocName,
        remote: Option<SocketAddr>,
    ) -> Result<Grant, Denied> {
        match self.decide(token, doc, remote) {
            Decision::Now(decided) => decided,
            // Whoever was to answer is gone when the server ends.
            Decision::Later(answer) => answer.await.unwrap_or(Err(Denied::Unknown)),
        }
    }
}

/// The close code for a session that is denied (WIRE §6).
pub(super) fn close_reason(denied: &Denied) -> CloseReason {
    match denied {
        Denied::NoToken | Denied::BadToken(_) => CloseReason::Unauthorized,
        Denied::NoAccess => CloseReason::Forbidden,
        Denied::Unknown => CloseReason::Unchecked,
    }
}

/// Seconds since 1970.
pub(super) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// How long the `nth` denied client is held: any few in a row lie far apart between `min` and `max`, since multiples of
/// the golden ratio do (Weyl's sequence).
pub(super) fn hold(nth: u32, min: Duration, max: Duration) -> Duration {
    const GOLDEN: u32 = 0x9e37_79b9;
    let place = f64::from(nth.wrapping_mul(GOLDEN)) / f64::from(u32::MAX);
    min + (max - min).mul_f64(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::http::HeaderValue;

    fn headers(authorization: Option<&str>) -> HeaderMap {
        let value = authorization.map(|value| HeaderValue::from_str(value).unwrap());
        value.into_iter().map(|value| (header::AUTHORIZATION, value)).collect()
    }

    #[test]
    fn tokens_come_in_the_header_or_the_query() {
        for (authorization, query, token) in [
            (None, "", None),
            (None, "token=a.b.c", Some("a.b.c")),
            (None, "x=y&token=a.b.c&z", Some("a.b.c")),
            (None, "token=a%2Eb%20c", Some("a.b c")),
            (None, "token=a+b", Some("a+b")),
            (None, "token=", Some("")),
            (None, "token", None),
            (None, "tokens=a&Token=b&xtoken=c", None),
            (None, "token=a&token=b", Some("")),
            (None, "token=%ff", Some("")),
            (Some("Bearer a.b.c"), "", Some("a.b.c")),
            (Some("bearer  a.b.c "), "token=other", Some("a.b.c")),
            // A proxy's own password is none of our business.
            (Some("Basic dTpw"), "token=a.b.c", Some("a.b.c")),
            (Some("Bearer"), "", None),
        ] {
            assert_eq!(token_of(&headers(authorization), query).as_deref(), token, "{authorization:?} {query}");
        }
    }

    #[test]
    fn denied_clients_are_spread() {
        let (min, max) = (Duration::from_secs(2), Duration::from_secs(5));
        let mut holds: Vec<Duration> = (0..100).map(|nth| hold(nth, min, max)).collect();
        assert!(holds.iter().all(|hold| (min..=max).contains(hold)));
        holds.sort_unstable();
        let widest = holds.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(widest < Some(Duration::from_millis(90)), "{widest:?}");
    }
}
