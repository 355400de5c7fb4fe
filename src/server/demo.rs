//! The demo: a small collaborative editor at `/`, from the binary, for whoever has just started weft (contract 2.3).
//!
//! Its sources are in `web/demo`, and what is built from them is committed, so that building weft needs no npm. Nothing
//! here knows of documents: the page is a client like any other, and speaks to its document by WebSocket.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use sha1::{Digest, Sha1};
use warp::http::{HeaderMap, HeaderValue, Response, StatusCode, header};

/// One file of the page, as it is and packed by gzip.
struct File {
    path: &'static str,
    kind: &'static str,
    plain: &'static [u8],
    packed: &'static [u8],
}

macro_rules! file {
    ($path:literal, $name:literal, $kind:literal) => {
        File {
            path: $path,
            kind: $kind,
            plain: include_bytes!(concat!("../../web/demo/dist/", $name)),
            packed: include_bytes!(concat!("../../web/demo/dist/", $name, ".gz")),
        }
    };
}

static FILES: [File; 4] = [
    file!("/", "index.html", "text/html; charset=utf-8"),
    file!("/demo.js", "demo.js", "text/javascript; charset=utf-8"),
    file!("/demo.css", "demo.css", "text/css; charset=utf-8"),
    file!("/demo.licences.txt", "demo.licences.txt", "text/plain; charset=utf-8"),
];

/// Digests of [`FILES`], in their order: the page is a new one exactly when a byte of it is.
static DIGESTS: LazyLock<[String; FILES.len()]> =
    LazyLock::new(|| FILES.each_ref().map(|file| URL_SAFE_NO_PAD.encode(Sha1::digest(file.plain))));

/// A file of the page, or that the browser has it already; `None` for every other path.
pub(super) fn answer(path: &str, headers: &HeaderMap) -> Option<Response<Bytes>> {
    let (file, digest) = FILES.iter().zip(DIGESTS.iter()).find(|(file, _)| file.path == path)?;
    let packed = takes_gzip(headers);
    // Two representations, two tags (RFC 9110 §8.8.3.3).
    let tag = if packed { format!("\"{digest}-gz\"") } else { format!("\"{digest}\"") };

    let unchanged = has_tag(headers, &tag);
    let body = match (unchanged, packed) {
        (true, _) => Bytes::new(),
        (false, true) => Bytes::from_static(file.packed),
        (false, false) => Bytes::from_static(file.plain),
    };
    let mut response = Response::new(body);
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.kind));
    if packed && !unchanged {
        out.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    out.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    // To be kept, and to be asked about: a new weft has a new page at the same address.
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    out.extend(HeaderValue::try_from(tag).ok().map(|tag| (header::ETAG, tag)));
    out.extend(HeaderValue::try_from(policy(headers)).ok().map(|policy| (header::CONTENT_SECURITY_POLICY, policy)));
    out.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    out.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(response)
}

/// What the page may do: run its own script, use its own style, and speak to the server that it came from.
fn policy(headers: &HeaderMap) -> String {
    // That 'self' covers WebSockets is news to some browsers, so the origin is named where it is known.
    let sockets = host(headers).map(|host| format!(" ws://{host} wss://{host}")).unwrap_or_default();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'{sockets}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// The host that the request names, if it is nothing but that: it is repeated in a header that has a syntax.
fn host(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    (!host.is_empty() && host.chars().all(plain)).then_some(host)
}

/// Whether the client unpacks gzip: it says so, and does not weigh it with nothing.
fn takes_gzip(headers: &HeaderMap) -> bool {
    list(headers, header::ACCEPT_ENCODING).any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let named = parts.next().is_some_and(|coding| coding.eq_ignore_ascii_case("gzip"));
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse::<f32>);
        named && weight.is_ok_and(|weight| weight > 0.0)
    })
}

/// Whether the client has this very representation (`If-None-Match`, compared weakly as RFC 9110 §13.1.2 wants).
fn has_tag(headers: &HeaderMap, tag: &str) -> bool {
    list(headers, header::IF_NONE_MATCH).any(|item| item == "*" || item.strip_prefix("W/").unwrap_or(item) == tag)
}

/// The items of a header that is a list.
fn list(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn only_the_files_of_the_page_are_served() {
        for path in ["/", "/demo.js", "/demo.css", "/demo.licences.txt"] {
            assert_eq!(answer(path, &HeaderMap::new()).unwrap().status(), StatusCode::OK, "{path}");
        }
        for path in ["", "/demo", "/demo.js/", "/index.html", "/../demo.js", "/demo.js.gz", "/health"] {
            assert!(answer(path, &HeaderMap::new()).is_none(), "{path}");
        }
    }

    #[test]
    fn gzip_goes_to_those_who_take_it() {
        for (accept, packed) in [
            ("gzip, deflate, br, zstd", true),
            ("br;q=1.0, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000, br", false),
            ("gzip;q=x", false),
            ("br", false),
            ("x-gzip-not", false),
            ("", false),
        ] {
            let response = answer("/demo.js", &headers(&[(header::ACCEPT_ENCODING, accept)])).unwrap();
            assert_eq!(response.headers().contains_key(header::CONTENT_ENCODING), packed, "{accept}");
            let expected = if packed { FILES[1].packed } else { FILES[1].plain };
            assert_eq!(response.body(), expected, "{accept}");
            assert_eq!(response.headers()[header::VARY], "accept-encoding");
        }
    }

    #[test]
    fn what_the_browser_has_is_not_sent_again() {
        for path in ["/", "/demo.js"] {
            for accept in ["gzip", "br"] {
                let accept = (header::ACCEPT_ENCODING, accept);
                let first = answer(path, &headers(std::slice::from_ref(&accept))).unwrap();
                let tag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
                for (known, status) in [
                    (tag.clone(), 304),
                    (format!("\"x\", W/{tag}"), 304),
                    ("*".to_owned(), 304),
                    ("\"x\"".to_owned(), 200),
                    (tag.replace('"', ""), 200),
                ] {
                    let again = answer(path, &headers(&[accept.clone(), (header::IF_NONE_MATCH, &known)])).unwrap();
                    assert_eq!(again.status().as_u16(), status, "{path} {known}");
                    assert_eq!(again.body().is_empty(), status == 304);
                    assert_eq!(again.headers()[header::ETAG].to_str().unwrap(), tag);
                }
            }
        }
        let tag = |accept| {
            let response = answer("/", &headers(&[(header::ACCEPT_ENCODING, accept)])).unwrap();
            response.headers()[header::ETAG].clone()
        };
        assert_ne!(tag("gzip"), tag("identity"));
    }

    #[test]
    fn the_policy_names_the_origin_and_nothing_that_a_host_header_may_hold() {
        let policy = |host| {
            let response = answer("/", &headers(&[(header::HOST, host)])).unwrap();
            response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned()
        };
        let named = policy("notes.example.com:8443");
        assert!(
            named.contains("connect-src 'self' ws://notes.example.com:8443 wss://notes.example.com:8443;"),
            "{named}"
        );
        assert!(policy("[::1]:1234").contains(" ws://[::1]:1234 "));
        for strange in ["a; script-src *", "a b", "a,b", "*", ""] {
            assert!(policy(strange).contains("connect-src 'self'; "), "{strange}");
        }
        assert!(!named.contains("unsafe") && named.starts_with("default-src 'none'; script-src 'self'; "));
    }

    #[test]
    fn the_page_needs_nothing_that_the_policy_forbids() {
        let page = std::str::from_utf8(FILES[0].plain).unwrap();
        for forbidden in ["style=", "<style", "onclick=", "javascript:", "src=\"http", "href=\"http", "src=\"//"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert_eq!(page.matches("<script").count(), 1);
        for file in &FILES[1..3] {
            assert!(page.contains(&format!("\"{}\"", &file.path[1..])), "the page uses {}", file.path);
        }
    }
}
