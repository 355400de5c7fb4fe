//! Which web pages may use this server (HARDENING §1, CSWSH). A browser says of each request where the page comes from; a
//! page that somebody else wrote could otherwise talk, through its visitor, to a server that only the visitor reaches.

use std::net::IpAddr;
use std::str::FromStr;

use serde::Deserialize;

use super::PublicUrl;

/// A page's origin as browsers write it: `https://app.example.com`, or `http://localhost:5173`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Origin {
    /// Whatever it is.
    Any,
    /// This one, to the letter.
    Exactly(String),
}

/// Which origins are let in. Whoever names none is no browser and is not asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// All: tokens say who may do what, and no browser sends one that its page does not have.
    Any,
    /// Pages of this machine, and the one at the public URL: for a server that everybody on the machine may use.
    Loopback(Option<String>),
    /// These.
    Only(Vec<String>),
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("{text:?} is not an origin such as https://app.example.com: {why}"));
        match text {
            "*" => return Ok(Self::Any),
            "null" => return Ok(Self::Exactly("null".to_owned())),
            _ => {}
        }
        if !text.is_ascii() {
            return wrong("write the name as browsers send it, in Punycode: https://xn--…");
        }
        let Some((scheme, authority)) = text.split_once("://") else { return wrong("the scheme is missing") };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(in_scheme) {
            return wrong("the scheme is none");
        }
        if authority.contains('*') {
            return wrong("name each one; there are no patterns but * for all");
        }
        if authority.contains('@') {
            return wrong("it holds no user");
        }
        let in_authority = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        if authority.is_empty() || !authority.bytes().all(in_authority) {
            return wrong("it has a host and perhaps a port, and nothing behind them");
        }
        if authority.rsplit(']').next().is_some_and(|behind| behind.matches(':').count() > 1) {
            return wrong("it has more than one port");
        }
        // As browsers write it: in lower case, and without the port that the scheme has anyway.
        let (scheme, authority) = (scheme.to_ascii_lowercase(), authority.to_ascii_lowercase());
        let usual = match &*scheme {
            "http" => ":80",
            "https" => ":443",
            _ => "",
        };
        let authority = authority.strip_suffix(usual).unwrap_or(&authority);
        if authority.is_empty() || authority.starts_with(':') {
            return wrong("it has no host");
        }
        Ok(Self::Exactly(format!("{scheme}://{authority}")))
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Origins {
    /// As configured. `guarded`: whoever comes needs a token, or is welcome in any case.
    pub(super) fn of(allowed: Option<Vec<Origin>>, public_url: Option<&PublicUrl>, guarded: bool) -> Self {
        let public = public_url.map(PublicUrl::origin);
        let Some(allowed) = allowed else {
            return if guarded { Self::Any } else { Self::Loopback(public) };
        };
        let mut only: Vec<String> = public.into_iter().collect();
        for origin in allowed {
            match origin {
                Origin::Any => return Self::Any,
                Origin::Exactly(origin) => only.push(origin),
            }
        }
        Self::Only(only)
    }

    /// Whether a page from `origin` is let in. To the letter: a browser has only one way to write one.
    pub fn allow(&self, origin: &str) -> bool {
        match self {
            Origins::Any => true,
            Origins::Loopback(public) => is_of_this_machine(origin) || public.as_deref() == Some(origin),
            Origins::Only(allowed) => allowed.iter().any(|allowed| allowed == origin),
        }
    }

    /// Whether a request that names no origin may come for this host. A page can reach a server of its visitor's machine
    /// under a name of its own (DNS rebinding), and browsers then take it for the same origin.
    pub fn allow_host(&self, host: &str) -> bool {
        match self {
            Origins::Any | Origins::Only(_) => true,
            Origins::Loopback(public) => {
                let same = |url: &String| url.split_once("://").is_some_and(|(_, authority)| authority == host);
                is_loopback(host) || public.as_ref().is_some_and(same)
            }
        }
    }
}

fn is_of_this_machine(origin: &str) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(is_loopback)
}

/// Whether `authority`, a host and perhaps a port, is this machine, whoever says it. Names under `localhost` are, to
/// browsers; other names may be made to mean this machine by whoever owns them.
fn is_loopback(authority: &str) -> bool {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (authority, ""),
    };
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let is_name = |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    if host == "localhost" || host.strip_suffix(".localhost").is_some_and(is_name) {
        return true;
    }
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by `fuzz/`.
    #[test]
    fn an_origin_has_a_host() {
        for text in ["https://:443", "http://:80", "http://:8080", "https://"] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        for (given, meant) in [
            ("https://app.example.com", "https://app.example.com"),
            ("HTTPS://App.Example.com/", "https://app.example.com"),
            ("https://app.example.com:443", "https://app.example.com"),
            ("http://app.example.com:80", "http://app.example.com"),
            ("http://localhost:5173", "http://localhost:5173"),
            ("https://app.example.com:80", "https://app.example.com:80"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
            ("vscode-webview://0f1e", "vscode-webview://0f1e"),
            ("null", "null"),
        ] {
            assert_eq!(given.parse(), Ok(Origin::Exactly(meant.to_owned())), "{given}");
        }
        assert_eq!("*".parse(), Ok(Origin::Any));
        for wrong in [
            "",
            "app.example.com",
            "https://",
            "https://app.example.com/path",
            "https://app.example.com?x",
            "https://*.example.com",
            "https://user@example.com",
            "https://bücher.example",
            "://x",
            "1http://x",
            "https://a b",
        ] {
            assert!(wrong.parse::<Origin>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn this_machine_is_told_from_names_that_only_look_like_it() {
        let origins = Origins::Loopback(Some("https://collab.example.com".to_owned()));
        for origin in [
            "http://localhost",
            "https://localhost:3000",
            "http://127.0.0.1:1234",
            "http://127.9.9.9",
            "http://[::1]:5173",
            "http://app.localhost:8080",
            "https://collab.example.com",
        ] {
            assert!(origins.allow(origin), "{origin}");
        }
        for origin in [
            "",
            "null",
            "http://evil.example",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://evil.example:1234",
            "http://localhost@evil.example",
            "http://localhost:1@evil.example",
            "http://evil.example#.localhost",
            "http://xlocalhost",
            "http://0.0.0.0",
            "http://128.0.0.1",
            "http://[::2]",
            "http://2130706433",
            "http://collab.example.com",
            "https://collab.example.com.evil.example",
            "file://localhost",
            "localhost",
        ] {
            assert!(!origins.allow(origin), "{origin}");
        }
        assert!(origins.allow_host("127.0.0.1:1234") && origins.allow_host("collab.example.com"));
        assert!(!origins.allow_host("evil.example:1234") && !origins.allow_host(""));
    }
}
