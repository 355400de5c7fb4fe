//! Where the application is asked about tokens.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use serde::Deserialize;

/// `http://` or `https://`, a host, perhaps a port, a path and a query. What is behind the host may be a secret, so no
/// `Debug` shows it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct WebhookUrl(Uri);

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookUrl({}://{}/***)", self.0.scheme_str().unwrap_or_default(), self.host_and_port())
    }
}

impl WebhookUrl {
    /// Whether it is asked over TLS.
    pub fn is_tls(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        self.0.path_and_query().map_or("/", |target| target.as_str())
    }

    /// For the `Host` header.
    pub fn authority(&self) -> &str {
        self.0.authority().map_or("", |authority| authority.as_str())
    }

    /// The name or address alone.
    pub fn host(&self) -> &str {
        let host = self.0.host().unwrap_or_default();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// Where to connect to.
    pub fn host_and_port(&self) -> String {
        let port = self.0.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 });
        format!("{}:{port}", self.0.host().unwrap_or_default())
    }
}

impl FromStr for WebhookUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Never quoted: it may hold a password.
        let wrong = |why: &str| format!("it is not an address such as http://127.0.0.1:3000/weft: {why}");
        let uri: Uri = text.parse().map_err(|_| wrong("it cannot be understood"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong("it begins with neither http:// nor https://"));
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(wrong("it names no host"));
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(wrong("a password belongs into a file, named with --auth-webhook-secret"));
        }
        Ok(Self(uri))
    }
}

impl TryFrom<String> for WebhookUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_and_not_shown() {
        let url: WebhookUrl = "http://hook.example/a/b?key=canary".parse().expect("a url");
        assert_eq!(
            (url.target(), url.authority(), &*url.host_and_port()),
            ("/a/b?key=canary", "hook.example", "hook.example:80")
        );
        assert!(!format!("{url:?}").contains("canary"));
        let url: WebhookUrl = "https://[::1]:8443".parse().expect("a url");
        assert_eq!((url.target(), url.host(), &*url.host_and_port(), url.is_tls()), ("/", "::1", "[::1]:8443", true));
        for wrong in ["", "hook", "ftp://hook/", "http://", "http:///x", "http://u:canary@hook/", "/path"] {
            let why = wrong.parse::<WebhookUrl>().expect_err("is wrong");
            assert!(!why.contains("canary"), "{why}");
        }
    }
}
