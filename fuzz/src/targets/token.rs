//! The whole verification of a token with real keys of every kind. No bytes are admitted but those of tokens that were
//! signed, and of what was signed only what its claims say by another reading of them.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::Value;
use weft::auth::token::TokenError;
use weft::auth::{Authority, Claims, Denied, DocPattern, Key, Keys, Revocations, SigningKey};
use weft::ids::{Access, DocName};
use weft::limits::{TOKEN_BYTES_MAX, TOKEN_LEEWAY_S, TOKEN_LIFETIME_S_MAX};

use crate::parts::Parts;

/// The time of all runs, seconds since 1970.
pub const NOW: u64 = 1_800_000_000;
const SECRET: &[u8] = b"correct horse battery staple, twice over";

/// Shows one token to an authority.
pub fn run(input: &[u8]) {
    let mut parts = Parts::of(input);
    if parts.choice() == 0 {
        if let Ok(token) = std::str::from_utf8(parts.rest()) {
            check_unsigned(token);
        }
        return;
    }
    let (header, claims) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let token = signed(header, claims);
    check_signed(&token, header, claims);
    // One changed character, anywhere, and it is another token.
    if let Some(at) = parts.next().and_then(|at| at.first()).map(|at| usize::from(*at) % token.len()) {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        check_unsigned(std::str::from_utf8(&changed).expect("ASCII"));
    }
}

/// A document that tokens are shown for.
fn doc() -> DocName {
    DocName::parse("notes/a").expect("a name")
}

/// Keys of every kind.
fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let mut keys = vec![Key::secret(SECRET).expect("long enough")];
        keys.extend(Key::jwks(include_bytes!("../../../fixtures/auth/jwks.json")).expect("a set"));
        Authority::new(Keys::new(keys).expect("few"), Default::default(), Revocations::none())
    })
}

/// Good tokens, one of each algorithm; who shows one of them is admitted.
pub fn good() -> &'static [String] {
    static GOOD: OnceLock<Vec<String>> = OnceLock::new();
    GOOD.get_or_init(|| {
        let claims = Claims {
            subject: Some("ada".to_owned()),
            docs: vec![DocPattern::parse("notes/*").expect("a pattern")],
            access: Access::Write,
            admin: false,
            issued_s: Some(NOW - 60),
            begins_s: None,
            expires_s: NOW + 3_600,
            audience: Vec::new(),
            issuer: None,
        };
        let private = |pem| SigningKey::private(pem).expect("a private key");
        let keys = [
            SigningKey::secret(SECRET).expect("long enough"),
            private(include_str!("../../../fixtures/auth/ed25519-private.pem")),
            private(include_str!("../../../fixtures/auth/rsa-private.pem")),
        ];
        // A signature by P-256 is another one each time, and then nobody could tell a changed one.
        let es256 = include_str!("es256.jwt").trim_end().to_owned();
        keys.iter().map(|key| key.sign(&claims, None).expect("signed")).chain([es256]).collect()
    })
}

/// `header` and `claims`, whatever they are, under the right signature.
fn signed(header: &[u8], claims: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// Nobody signed this, unless it is a good one, or says what was signed and nothing else.
fn check_unsigned(token: &str) {
    let admitted = authority().admit(Some(token), &doc(), NOW);
    assert!(authority().admit_admin(token, NOW).is_err(), "no good token is an admin's");
    let _ = Claims::unverified(token);
    if good().iter().any(|good| good == token) {
        assert_eq!(admitted.map(|grant| grant.access), Ok(Access::Write));
    } else {
        assert!(admitted.is_err(), "admitted without a signature");
    }
}

/// What is signed grants what it says and no more.
fn check_signed(token: &str, header: &[u8], claims: &[u8]) {
    let admitted = authority().admit(Some(token), &doc(), NOW);
    if token.len() > TOKEN_BYTES_MAX {
        assert_eq!(admitted, Err(Denied::BadToken(TokenError::TooLong(token.len()))));
        return;
    }
    let admin = authority().admit_admin(token, NOW).is_ok();
    if admitted.is_err() && !admin {
        return;
    }
    // By a reading that keeps the last of two members: ours refuses both.
    let (header, claims) = (json(header), json(claims));
    assert_eq!(header["alg"], "HS256", "the algorithm of the key");
    for forbidden in ["jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc"] {
        assert!(header.get(forbidden).is_none(), "{forbidden}");
    }
    let expires = claims["exp"].as_u64().expect("a token has an end");
    assert!(expires + TOKEN_LEEWAY_S > NOW && expires <= NOW + TOKEN_LIFETIME_S_MAX + TOKEN_LEEWAY_S);
    for begins in ["nbf", "iat"] {
        assert!(claims.get(begins).is_none_or(|at| at.as_u64().is_some_and(|at| at <= NOW + TOKEN_LEEWAY_S)));
    }
    if let Ok(grant) = admitted {
        let docs = claims["docs"].as_array().expect("it names documents");
        let opens = |pattern: &Value| matches!(pattern.as_str(), Some("*" | "notes/*" | "notes/a"));
        assert!(docs.iter().any(opens), "{docs:?}");
        assert_eq!(grant.access == Access::Write, claims["access"] == "write");
        assert_eq!(grant.holder.subject.as_deref(), claims["sub"].as_str());
    }
    assert_eq!(admin, claims.get("admin") == Some(&Value::Bool(true)));
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("what was admitted is JSON")
}
