//! Names and addresses as they come in URLs, headers and options.

use std::net::SocketAddr;

use weft::auth::DocPattern;
use weft::config::{Origin, Origins, Proxies};
use weft::ids::DocName;
use weft::limits::DOC_NAME_BYTES_MAX;
use weft::wire::{hocuspocus, ysweet};

use crate::parts::Parts;

/// Reads a name, a pattern and what proxies say.
pub fn run(input: &[u8]) {
    let mut parts = Parts::of(input);
    let mut next = || parts.next().unwrap_or_default();
    let (name, pattern, network, forwarded, origin) = (next(), next(), next(), next(), next());
    check_name(name);
    let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
    check_pattern(text(pattern), text(name));
    check_proxies(text(network), text(forwarded));
    check_origin(text(origin));
}

fn check_name(name: &[u8]) {
    let parsed = DocName::parse_bytes(name);
    let allowed =
        std::str::from_utf8(name).is_ok() && !name.contains(&0) && (1..=DOC_NAME_BYTES_MAX).contains(&name.len());
    assert_eq!(parsed.is_ok(), allowed);
    let Ok(text) = std::str::from_utf8(name) else { return };
    if let Ok(parsed) = parsed {
        assert_eq!(parsed.as_bytes(), name, "names are bytes");
        // A name in a log or an error stays on its line.
        assert!(!format!("{parsed:?}").contains(['\n', '\r', '\u{1b}']));
        let json = serde_json::to_string(&parsed).expect("a string");
        assert_eq!(serde_json::from_str::<DocName>(&json).ok(), Some(parsed));
    }
    if let Ok(id) = ysweet::doc_id(text) {
        assert_eq!(id.as_str(), text);
        assert!(matches!(ysweet::socket_path(&format!("/d/{text}/ws/{text}")), Some(Ok(doc)) if doc == id));
    }
    if let Some(Ok(doc)) = ysweet::socket_path(text) {
        assert_eq!(text, format!("/d/{doc}/ws/{doc}"), "one path for a document");
    }
    if let Ok(doc) = hocuspocus::doc_name(text) {
        assert!(text == doc.as_str() || text.starts_with(&format!("{doc}\0")));
    }
}

fn check_pattern(pattern: &str, name: &str) {
    let Some(parsed) = DocPattern::parse(pattern) else { return };
    assert_eq!(DocPattern::parse(&parsed.to_string()), Some(parsed.clone()), "it means what it says");
    if let Ok(name) = DocName::parse(name) {
        let expected = pattern == "*"
            || pattern == name.as_str()
            || pattern.strip_suffix('*').is_some_and(|prefix| {
                prefix.ends_with('/') && name.as_str().starts_with(prefix) && name.as_str().len() > prefix.len()
            });
        assert_eq!(parsed.matches(&name), expected, "{pattern:?} and {name:?}");
    }
}

fn check_proxies(network: &str, forwarded: &str) {
    let peer: SocketAddr = "10.1.2.3:4".parse().expect("an address");
    assert_eq!(
        Proxies::default().client(peer, [forwarded].into_iter()),
        peer,
        "nobody is believed who was not declared"
    );
    if let Ok(network) = network.parse() {
        let proxies = Proxies(vec![network]);
        let client = proxies.client(peer, forwarded.split('\n'));
        // Whoever is told is where somebody said, or where the connection is from.
        let said = client.ip().to_canonical();
        let named = |text: &str| {
            text.contains(&client.ip().to_string())
                || text.parse().is_ok_and(|ip: std::net::IpAddr| ip.to_canonical() == said)
        };
        assert!(client == peer || forwarded.contains(|c: char| c.is_ascii_hexdigit() || c == ':') || named(forwarded));
    }
}

fn check_origin(origin: &str) {
    for origins in [Origins::Any, Origins::Loopback(None), Origins::Only(vec!["https://good.example".to_owned()])] {
        let allowed = origins.allow(origin);
        let _ = origins.allow_host(origin);
        match &origins {
            Origins::Any => assert!(allowed),
            Origins::Only(_) => assert_eq!(allowed, origin == "https://good.example"),
            Origins::Loopback(_) => {
                // What follows a user's name, or a name that only begins like this machine's, is another machine.
                assert!(!allowed || !origin.contains('@'), "{origin:?}");
                assert!(!allowed || origin.contains("localhost") || origin.contains("127.") || origin.contains(':'));
            }
        }
    }
    if let Ok(Origin::Exactly(written)) = origin.parse::<Origin>() {
        assert_eq!(written.parse(), Ok(Origin::Exactly(written.clone())), "as browsers write it");
    }
}
