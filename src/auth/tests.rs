//! Tables of tokens: those that must be taken and, many more, those that must not.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::token::assemble;
use super::*;
use crate::limits::{TOKEN_BYTES_MAX, TOKEN_LIFETIME_S_MAX};

const NOW: u64 = 1_800_000_000;
const SECRET: &[u8] = b"correct horse battery staple, twice over";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/auth").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(fixture(name)).expect("a fixture")
}

fn doc(name: &str) -> DocName {
    DocName::parse(name).expect("a valid name")
}

fn secret() -> SigningKey {
    SigningKey::secret(SECRET).expect("long enough")
}

/// The secret, and the set of three public keys.
fn keys() -> Keys {
    let mut keys = vec![Key::secret(SECRET).expect("long enough")];
    keys.extend(Key::jwks(text("jwks.json").as_bytes()).expect("a set"));
    Keys::new(keys).expect("few keys")
}

fn authority_for(expected: Expected) -> Authority {
    Authority::new(keys(), expected, Revocations::none())
}

fn authority() -> Authority {
    authority_for(Expected::default())
}

fn good_claims() -> Value {
    json!({ "sub": "ada", "docs": ["notes/*", "todo"], "access": "write", "iat": NOW - 60, "exp": NOW + 3_600 })
}

fn signed_with(key: &SigningKey, header: &str, claims: &str) -> String {
    assemble(header.as_bytes(), claims.as_bytes(), |signed| key.signature(signed)).expect("signs")
}

fn token_of(claims: &Value) -> String {
    signed_with(&secret(), r#"{"alg":"HS256","typ":"JWT"}"#, &claims.to_string())
}

fn with_header(header: &str) -> String {
    signed_with(&secret(), header, &good_claims().to_string())
}

/// The good claims, one of them replaced.
fn with(claim: &str, value: Value) -> String {
    let mut claims = good_claims();
    claims[claim] = value;
    token_of(&claims)
}

/// The good claims as text, one piece of it replaced: for what `serde_json` would not write.
fn with_text(from: &str, to: &str) -> String {
    let claims = good_claims().to_string();
    assert!(claims.contains(from), "{claims}");
    signed_with(&secret(), r#"{"alg":"HS256"}"#, &claims.replace(from, to))
}

fn unsigned(header: &str) -> String {
    format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(good_claims().to_string()))
}

fn verdict(token: &str) -> Result<Access, Denied> {
    authority().admit(Some(token), &doc("notes/a"), NOW).map(|grant| grant.access)
}

#[test]
fn good_tokens_are_taken_whatever_signed_them() {
    let claims = good_claims().to_string();
    assert_eq!(verdict(&token_of(&good_claims())), Ok(Access::Write));
    for (file, alg) in [("ed25519", "EdDSA"), ("p256", "ES256"), ("rsa", "RS256")] {
        let key = private(file);
        assert_eq!(key.algorithm().name(), alg);
        for header in
            [format!(r#"{{"alg":"{alg}"}}"#), format!(r#"{{"alg":"{alg}","kid":"{file}-1","typ":"jwt","x":1}}"#)]
        {
            assert_eq!(verdict(&signed_with(&key, &header, &claims)), Ok(Access::Write), "{header}");
        }
        // The PEM and the set hold the same key.
        let alone = Keys::new(vec![files::public_key(&fixture(&format!("{file}-public.pem"))).expect("a key")]);
        let authority = Authority::new(alone.expect("one key"), Expected::default(), Revocations::none());
        let token = signed_with(&key, &format!(r#"{{"alg":"{alg}","kid":"any"}}"#), &claims);
        assert!(authority.admit(Some(&token), &doc("todo"), NOW).is_ok());
    }
}

/// A private key of the fixtures, from a copy that only its owner can read: a checkout makes files that all can.
fn private(file: &str) -> SigningKey {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("private.pem");
    std::fs::copy(fixture(&format!("{file}-private.pem")), &path).expect("copies");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("owned");
    files::private_key(&path).expect("a key")
}

/// RFC 7515 A.1: made by somebody else, and old.
#[test]
fn the_example_of_rfc_7515_verifies() {
    let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
                 eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
                 dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let keys = Keys::new(vec![Key::secret(&URL_SAFE_NO_PAD.decode(key).expect("base64")).expect("long")]);
    let authority = Authority::new(keys.expect("one"), Expected::default(), Revocations::none());
    assert_eq!(authority.claims(token, 1_300_819_000).map(|claims| claims.issuer), Ok(Some("joe".to_owned())));
    assert_eq!(authority.claims(token, 1_300_819_390), Err(TokenError::Expired));
}

/// HARDENING §1: forged, malformed, untimely. All of them are refused, and none as "no access".
#[test]
fn forged_and_malformed_tokens_are_refused() {
    let good = token_of(&good_claims());
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let (ed, rsa) = (private("ed25519"), private("rsa"));
    let said = good_claims().to_string();
    let hmac_with = |secret: &[u8]| SigningKey::secret(secret).expect("long");
    let confused = |file: &str| signed_with(&hmac_with(text(file).as_bytes()), r#"{"alg":"HS256"}"#, &said);
    let p = |header: &str, claims: &str, signature: &str| format!("{header}.{claims}.{signature}");
    let other = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let deep = format!("{}{}", "[".repeat(2_000), "]".repeat(2_000));
    let rows: Vec<(&str, String)> = vec![
        // Form.
        ("empty", String::new()),
        ("dots", "..".into()),
        ("one part", header.into()),
        ("two parts", format!("{header}.{claims}")),
        ("four parts", format!("{good}.{signature}")),
        ("a dot behind", format!("{good}.")),
        ("a dot before", format!(".{good}")),
        ("spaces around", format!(" {good} ")),
        ("a line end", format!("{good}\n")),
        ("the word Bearer", format!("Bearer {good}")),
        ("too long", format!("{good}{}", "A".repeat(TOKEN_BYTES_MAX))),
        ("too long, but signed", with("sub", "x".repeat(TOKEN_BYTES_MAX).into())),
        ("padding", p(header, claims, &format!("{signature}="))),
        (
            "the other alphabet",
            p(header, &claims.replace(['-', '_'], "+"), &signature.replace('-', "+").replace('_', "/")) + "+",
        ),
        ("not base64", p(header, "!!!", signature)),
        ("a NUL", p(header, &format!("{claims}\0"), signature)),
        ("not UTF-8 inside", p(&URL_SAFE_NO_PAD.encode([0xff, 0xfe]), claims, signature)),
        ("JSON serialization of RFC 7515", json!({ "payload": claims, "signatures": [] }).to_string()),
        // Signature.
        ("no signature", p(header, claims, "")),
        ("a short signature", p(header, claims, &signature[..signature.len() - 4])),
        ("a long signature", p(header, claims, &format!("{signature}AAAA"))),
        ("zeros for a signature", p(header, claims, &URL_SAFE_NO_PAD.encode([0; 32]))),
        ("another's signature", p(header, claims, with("sub", "eve".into()).split('.').next_back().expect("a part"))),
        ("other claims under the signature", p(header, &other(&said.replace("ada", "eve")), signature)),
        ("another header over the signature", p(&other(r#"{"typ":"JWT","alg":"HS256"}"#), claims, signature)),
        ("another secret", signed_with(&hmac_with(&[7; 32]), r#"{"alg":"HS256"}"#, &said)),
        ("an empty secret's cousin", signed_with(&hmac_with(&[0; 32]), r#"{"alg":"HS256"}"#, &said)),
        // Algorithm.
        ("alg none", unsigned(r#"{"alg":"none"}"#)),
        ("alg None", unsigned(r#"{"alg":"None"}"#)),
        ("alg NONE", unsigned(r#"{"alg":"NONE"}"#)),
        ("alg nOnE", unsigned(r#"{"alg":"nOnE"}"#)),
        ("alg none, signed", with_header(r#"{"alg":"none"}"#)),
        ("no alg", with_header(r#"{"typ":"JWT"}"#)),
        ("alg null", with_header(r#"{"alg":null}"#)),
        ("alg empty", with_header(r#"{"alg":""}"#)),
        ("alg a list", with_header(r#"{"alg":["HS256"]}"#)),
        ("alg in small letters", with_header(r#"{"alg":"hs256"}"#)),
        ("alg with a space", with_header(r#"{"alg":"HS256 "}"#)),
        ("alg HS512", with_header(r#"{"alg":"HS512"}"#)),
        ("alg PS256", signed_with(&rsa, r#"{"alg":"PS256"}"#, &said)),
        ("alg RS256 over an HMAC", with_header(r#"{"alg":"RS256"}"#)),
        ("alg HS256 over an RSA signature", signed_with(&rsa, r#"{"alg":"HS256"}"#, &said)),
        ("alg EdDSA over an RSA signature", signed_with(&rsa, r#"{"alg":"EdDSA"}"#, &said)),
        ("alg ES256 over an Ed25519 signature", signed_with(&ed, r#"{"alg":"ES256"}"#, &said)),
        ("RS to HS: the RSA key's PEM as a secret", confused("rsa-public.pem")),
        ("EdDSA to HS: the Ed25519 key's PEM as a secret", confused("ed25519-public.pem")),
        ("ES to HS: the P-256 key's PEM as a secret", confused("p256-public.pem")),
        ("the JWK set as a secret", confused("jwks.json")),
        ("alg twice", with_header(r#"{"alg":"none","alg":"HS256"}"#)),
        // Keys.
        ("kid of another key", signed_with(&ed, r#"{"alg":"EdDSA","kid":"rsa-1"}"#, &said)),
        ("kid unknown", signed_with(&rsa, r#"{"alg":"RS256","kid":"rsa-2"}"#, &said)),
        ("kid a path", signed_with(&ed, r#"{"alg":"EdDSA","kid":"../../../../dev/null"}"#, &said)),
        ("kid SQL", signed_with(&ed, r#"{"alg":"EdDSA","kid":"' OR 1=1 --"}"#, &said)),
        ("kid with a NUL", signed_with(&ed, r#"{"alg":"EdDSA","kid":"ed25519-1\u0000"}"#, &said)),
        ("kid empty", signed_with(&ed, r#"{"alg":"EdDSA","kid":""}"#, &said)),
        ("kid a number", with_header(r#"{"alg":"HS256","kid":1}"#)),
        ("kid null", with_header(r#"{"alg":"HS256","kid":null}"#)),
        ("its own jwk", with_header(r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"}}"#)),
        ("its own jku", with_header(r#"{"alg":"HS256","jku":"https://evil.example/jwks"}"#)),
        ("its own x5u", with_header(r#"{"alg":"HS256","x5u":"https://evil.example/cert"}"#)),
        ("its own x5c", with_header(r#"{"alg":"HS256","x5c":[]}"#)),
        // Header.
        ("crit", with_header(r#"{"alg":"HS256","crit":["exp"],"exp":1}"#)),
        ("b64 false", with_header(r#"{"alg":"HS256","b64":false}"#)),
        ("compressed", with_header(r#"{"alg":"HS256","zip":"DEF"}"#)),
        ("encrypted", with_header(r#"{"alg":"HS256","enc":"A128GCM"}"#)),
        ("another typ", with_header(r#"{"alg":"HS256","typ":"JWE"}"#)),
        ("typ a number", with_header(r#"{"alg":"HS256","typ":1}"#)),
        ("header a list", with_header(r#"["HS256"]"#)),
        ("header a string", with_header(r#""HS256""#)),
        ("header empty", with_header("")),
        ("header with something behind", with_header(r#"{"alg":"HS256"}{}"#)),
        ("header deep", with_header(&format!(r#"{{"alg":"HS256","deep":{deep}}}"#))),
        // Claims.
        ("claims a list", signed_with(&secret(), r#"{"alg":"HS256"}"#, r#"["ada"]"#)),
        ("claims null", signed_with(&secret(), r#"{"alg":"HS256"}"#, "null")),
        ("claims empty", signed_with(&secret(), r#"{"alg":"HS256"}"#, "")),
        ("claims an empty object", token_of(&json!({}))),
        ("claims with a comment", with_text("{", "/**/{")),
        ("claims with something behind", with_text("}", "}{}")),
        ("claims not UTF-8", {
            let bad = [&said.as_bytes()[..said.len() - 1], &b",\"x\":\"\xff\"}"[..]].concat();
            assemble(br#"{"alg":"HS256"}"#, &bad, |signed| secret().signature(signed)).expect("signs")
        }),
        ("claims deep", with_text("{", &format!(r#"{{"deep":{deep},"#))),
        ("exp missing", with_text(&format!(r#""exp":{}"#, NOW + 3_600), r#""exq":1"#)),
        ("exp null", with("exp", Value::Null)),
        ("exp a string", with("exp", (NOW + 3_600).to_string().into())),
        ("exp a fraction", with("exp", json!(NOW as f64 + 0.5))),
        ("exp a float", with_text(&format!("{}", NOW + 3_600), &format!("{}.0", NOW + 3_600))),
        ("exp with an exponent", with_text(&format!("{}", NOW + 3_600), "18e8")),
        ("exp 1e400", with_text(&format!("{}", NOW + 3_600), "1e400")),
        ("exp negative", with("exp", json!(-1))),
        ("exp past 64 bits", with_text(&format!("{}", NOW + 3_600), "99999999999999999999")),
        ("exp a list", with("exp", json!([NOW + 3_600]))),
        ("exp true", with("exp", true.into())),
        ("exp zero", with("exp", 0.into())),
        ("exp just past", with("exp", (NOW - TOKEN_LEEWAY_S).into())),
        ("exp for ever", with("exp", json!(u64::MAX))),
        ("exp in two years", with("exp", (NOW + 2 * TOKEN_LIFETIME_S_MAX).into())),
        ("exp twice, first good", with_text("{", &format!(r#"{{"exp":{},"#, NOW + 10))),
        ("exp twice, by an escape", with_text("{", &format!(r#"{{"\u0065xp":{},"#, NOW + 10))),
        ("sub twice", with_text("{", r#"{"sub":"root","#)),
        ("an unknown claim twice", with_text("{", r#"{"x":1,"x":2,"#)),
        ("nbf in the future", with("nbf", (NOW + 60).into())),
        ("nbf a string", with("nbf", "0".into())),
        ("iat in the future", with("iat", (NOW + 60).into())),
        ("iat a float", with("iat", json!(1.5))),
        ("sub a number", with("sub", 7.into())),
        ("sub null", with("sub", Value::Null)),
        ("sub empty", with("sub", "".into())),
        ("sub long", with("sub", "x".repeat(257).into())),
        ("docs a string", with("docs", "notes/*".into())),
        ("docs of numbers", with("docs", json!([1]))),
        ("docs with an empty name", with("docs", json!(["notes/*", ""]))),
        ("docs with a NUL", with("docs", json!(["notes/*", "a\0"]))),
        ("docs with a long name", with("docs", json!(["notes/*", "x".repeat(513)]))),
        ("access unknown", with("access", "admin".into())),
        ("access in capitals", with("access", "WRITE".into())),
        ("access a list", with("access", json!(["write"]))),
        ("admin a string", with("admin", "true".into())),
        ("admin a number", with("admin", 1.into())),
        ("aud an object", with("aud", json!({}))),
        ("aud of numbers", with("aud", json!([1]))),
        ("iss a list", with("iss", json!(["us"]))),
    ];
    assert!(rows.len() >= 60, "{} rows", rows.len());
    for (name, token) in rows {
        let refused = verdict(&token);
        assert!(matches!(refused, Err(Denied::BadToken(_))), "{name}: {refused:?}");
        assert!(authority().admit_admin(&token, NOW).is_err(), "{name}");
    }
    assert_eq!(authority().admit(None, &doc("notes/a"), NOW), Err(Denied::NoToken));
}

#[test]
fn clocks_may_differ_by_the_leeway() {
    for (claim, at, good) in [
        ("exp", NOW - TOKEN_LEEWAY_S + 1, true),
        ("exp", NOW - TOKEN_LEEWAY_S, false),
        ("nbf", NOW + TOKEN_LEEWAY_S, true),
        ("nbf", NOW + TOKEN_LEEWAY_S + 1, false),
        ("iat", NOW + TOKEN_LEEWAY_S, true),
        ("iat", NOW + TOKEN_LEEWAY_S + 1, false),
        ("exp", NOW + TOKEN_LIFETIME_S_MAX + TOKEN_LEEWAY_S, true),
        ("exp", NOW + TOKEN_LIFETIME_S_MAX + TOKEN_LEEWAY_S + 1, false),
    ] {
        assert_eq!(verdict(&with(claim, at.into())).is_ok(), good, "{claim} {at}");
    }
    let grant = authority().admit(Some(&token_of(&good_claims())), &doc("todo"), NOW).expect("is good");
    assert_eq!(grant.ends_s, Some(NOW + 3_600 + TOKEN_LEEWAY_S));
}

#[test]
fn audience_and_issuer_count_when_configured() {
    let expected = Expected { audience: Some("weft".into()), issuer: Some("us".into()) };
    for (aud, iss, good) in [
        (json!("weft"), json!("us"), true),
        (json!(["other", "weft"]), json!("us"), true),
        (json!([]), json!("us"), false),
        (json!("weft2"), json!("us"), false),
        (json!("weft"), json!("them"), false),
        (json!("weft"), json!("us "), false),
    ] {
        let mut claims = good_claims();
        (claims["aud"], claims["iss"]) = (aud.clone(), iss.clone());
        let taken = authority_for(expected.clone()).admit(Some(&token_of(&claims)), &doc("todo"), NOW);
        assert_eq!(taken.is_ok(), good, "{aud} {iss}");
    }
    assert!(authority_for(expected).admit(Some(&token_of(&good_claims())), &doc("todo"), NOW).is_err(), "neither");
}

#[test]
fn patterns_name_documents_by_bytes() {
    for (pattern, name, opens) in [
        ("*", "anything/at all", true),
        ("notes/*", "notes/a", true),
        ("notes/*", "notes/a/b", true),
        ("notes/*", "notes/", false),
        ("notes/*", "notes", false),
        ("notes/*", "notes2/a", false),
        ("notes/*", "Notes/a", false),
        ("notes/*", "x/notes/a", false),
        ("/*", "/a", true),
        ("/*", "a", false),
        ("todo", "todo", true),
        ("todo", "todo/", false),
        ("todo", "todo2", false),
        // Not a prefix, since no slash is before it; a name like any other.
        ("notes*", "notes2", false),
        ("notes*", "notes*", true),
        ("*/a", "x/a", false),
        ("a/*/b", "a/x/b", false),
        ("notes/../*", "notes/a", false),
        ("caf\u{e9}", "cafe\u{301}", false),
        ("%2e", ".", false),
    ] {
        assert_eq!(DocPattern::parse(pattern).expect(pattern).matches(&doc(name)), opens, "{pattern} {name}");
    }
    for claims in [json!([]), json!(["other"])] {
        assert_eq!(verdict(&with("docs", claims)), Err(Denied::NoAccess));
    }
    assert_eq!(verdict(&with_text(r#""access":"write","#, "")), Ok(Access::Read), "the least, when it does not say");
}

#[test]
fn only_the_admin_claim_opens_the_admin_api() {
    let admin = |token: &str| authority().admit_admin(token, NOW);
    assert_eq!(admin(&token_of(&good_claims())), Err(Denied::NoAccess));
    assert_eq!(admin(&with("admin", false.into())), Err(Denied::NoAccess));
    assert!(admin(&with("admin", true.into())).is_ok());
    // And it opens nothing else.
    let token = token_of(&json!({ "admin": true, "exp": NOW + 60 }));
    assert!(admin(&token).is_ok());
    assert_eq!(verdict(&token), Err(Denied::NoAccess));
}

#[test]
fn what_is_minted_is_taken_and_reads_the_same() {
    let claims = Claims {
        subject: Some("ada".into()),
        docs: ["notes/*", "*", "a b"].map(|doc| DocPattern::parse(doc).expect("a pattern")).into(),
        access: Access::Write,
        admin: true,
        issued_s: Some(NOW),
        begins_s: None,
        expires_s: NOW + 60,
        audience: vec!["weft".into()],
        issuer: Some("us".into()),
    };
    let token = secret().sign(&claims, None).expect("signs");
    assert_eq!(authority().claims(&token, NOW), Ok(claims.clone()));
    assert_eq!(Claims::unverified(&token), Ok(claims));
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?} {:?} {:?}", authority(), secret(), Key::secret(SECRET));
    assert!(shown.contains("***") && !shown.contains("horse"), "{shown}");
    assert!(!shown.contains(&format!("{:?}", &SECRET[..4])), "{shown}");
}

#[test]
fn what_is_no_key_is_refused_and_says_why() {
    let said = |result: Result<Key, KeyError>| result.expect_err("is no key").to_string();
    use super::keys::KeyError;
    assert!(said(Key::secret(&[7; 31])).contains("--new-secret"));
    assert!(said(Key::public(&text("rsa-1024-public.pem"))).contains("1024 bits"));
    assert!(said(Key::public(&text("p384-public.pem"))).contains("P-256"));
    assert!(said(Key::public(&text("rsa-private.pem"))).contains("private key"));
    for wrong in ["", "hello", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"] {
        assert!(Key::public(wrong).is_err(), "{wrong:?}");
        assert!(SigningKey::private(wrong).is_err(), "{wrong:?}");
    }
    assert!(SigningKey::private(&text("rsa-public.pem")).is_err());
    let twice = text("ed25519-public.pem").repeat(2);
    assert!(Key::public(&twice).is_err(), "which of the two?");

    let jwks = |keys: Value| Key::jwks(json!({ "keys": keys }).to_string().as_bytes()).map(|keys| keys.len());
    assert_eq!(
        Key::jwks(text("jwks.json").as_bytes()).map(|keys| keys.len()),
        Ok(3),
        "the encryption key is passed over"
    );
    assert_eq!(jwks(json!([])), Err(KeyError::NoUsableJwk));
    assert_eq!(jwks(json!([{ "kty": "EC", "crv": "P-521" }])), Err(KeyError::NoUsableJwk));
    assert!(matches!(jwks(json!([{ "kty": "oct", "k": "AAAA" }])), Err(KeyError::BadJwk { at: 0, .. })));
    assert!(matches!(jwks(json!([{ "kty": "OKP", "crv": "Ed25519", "x": "AAAA" }])), Err(KeyError::BadJwk { .. })));
    let with_private = json!([{ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode([1; 32]), "d": "s3cret" }]);
    let refused = jwks(with_private).expect_err("is private").to_string();
    assert!(refused.contains("private") && !refused.contains("s3cret"), "{refused}");
    let refused = Key::jwks(br#"{"keys":["s3cret"]}"#).expect_err("is no set").to_string();
    assert!(!refused.contains("s3cret"), "{refused}");
    let one = || Key::jwks(text("jwks.json").as_bytes()).expect("a set");
    assert!(matches!(Keys::new(one().into_iter().chain(one()).collect()), Err(KeyError::SameId)));
    let many = (0..17).map(|_| Key::secret(SECRET).expect("long"));
    assert!(matches!(Keys::new(many.collect()), Err(KeyError::TooMany(17))));
}

#[test]
fn secret_files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("weft.secret");
    files::new_secret(&path).expect("makes one");
    let made = std::fs::read(&path).expect("reads");
    assert_eq!((made.len(), std::fs::metadata(&path).expect("is there").permissions().mode() & 0o777), (43, 0o600));
    assert!(files::new_secret(&path).expect_err("is there").to_string().contains("not touched"));
    assert_eq!(std::fs::read(&path).expect("reads"), made);
    let signed = files::signing_secret(&path).expect("signs").signature(b"x");
    // A line end that an editor adds changes nothing.
    std::fs::write(&path, [&made[..], b"\r\n"].concat()).expect("writes");
    assert_eq!(files::signing_secret(&path).expect("signs").signature(b"x"), signed);
    for mode in [0o640, 0o604, 0o660, 0o644, 0o610] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("sets");
        let refused = files::secret(&path).expect_err("is exposed").to_string();
        assert!(refused.contains("chmod 600") && refused.contains(&format!("{mode:04o}")), "{refused}");
        assert!(files::private_key(&path).is_err());
    }
    assert!(files::secret(&dir.path().join("none")).expect_err("is not there").to_string().contains("none"));
    let large = dir.path().join("large");
    std::fs::write(&large, vec![b'x'; 65 << 10]).expect("writes");
    assert!(matches!(files::public_key(&large), Err(files::KeyFileError::NotText(_))));
}

// ---- revocations --------------------------------------------------------------------------------------------------

/// What was saved last.
type Disk = Arc<Mutex<Option<Vec<u8>>>>;

fn revocations(disk: &Disk) -> Revocations {
    let bytes = disk.lock().expect("no panic").clone();
    let into = disk.clone();
    let save = move |bytes: &[u8]| {
        *into.lock().expect("no panic") = Some(bytes.to_vec());
        Ok(())
    };
    Revocations::load(bytes.as_deref(), Box::new(save)).expect("is whole")
}

fn holder(subject: &str, issued_s: u64) -> Holder {
    Holder { subject: Some(subject.into()), issued_s, key: None }
}

#[test]
fn a_revocation_ends_what_was_issued_before_also_after_a_restart() {
    let disk = Disk::default();
    let first = revocations(&disk);
    first.revoke("ada", None, NOW).expect("revokes");
    first.revoke("bob", Some(&doc("a")), NOW).expect("revokes");
    for revoked in [first, revocations(&disk)] {
        for (holder, in_doc, covered) in [
            (holder("ada", NOW - 1), None, true),
            (holder("ada", NOW), Some("a"), true),
            (holder("ada", NOW + 1), Some("a"), false),
            (holder("ada", 0), None, true),
            (holder("bob", NOW - 1), None, false),
            (holder("bob", NOW - 1), Some("a"), true),
            (holder("bob", NOW - 1), Some("b"), false),
            (holder("bob", NOW + 1), Some("a"), false),
            (holder("eve", 0), Some("a"), false),
            (Holder::default(), Some("a"), false),
        ] {
            assert_eq!(revoked.covers(&holder, in_doc.map(doc).as_ref()), covered, "{holder:?} {in_doc:?}");
        }
        let authority = Authority::new(keys(), Expected::default(), revoked);
        let admit = |claims: &Value, name: &str| authority.admit(Some(&token_of(claims)), &doc(name), NOW).map(|_| ());
        assert_eq!(admit(&good_claims(), "todo"), Err(Denied::BadToken(TokenError::Revoked)));
        let mut bob = good_claims();
        (bob["sub"], bob["docs"], bob["admin"]) = ("bob".into(), json!(["a", "b"]), true.into());
        assert_eq!((admit(&bob, "a"), admit(&bob, "b")), (Err(Denied::NoAccess), Ok(())));
        assert!(authority.admit_admin(&token_of(&bob), NOW).is_ok());
        bob["sub"] = "ada".into();
        assert!(authority.admit_admin(&token_of(&bob), NOW).is_err());
    }
}

#[test]
fn revocations_are_bounded_and_forgotten_when_they_cannot_matter() {
    let disk = Disk::default();
    let revoked = revocations(&disk);
    revoked.revoke("old", None, NOW).expect("revokes");
    let later = NOW + TOKEN_LIFETIME_S_MAX + 3 * TOKEN_LEEWAY_S;
    revoked.revoke("new", None, later - 1).expect("revokes");
    assert!(revoked.covers(&holder("old", NOW), None), "a token of then may just be good");
    revoked.revoke("new", None, later).expect("revokes");
    assert!(!revoked.covers(&holder("old", NOW), None));
    // A clock that was set back does not take a revocation back.
    assert_eq!(revoked.revoke("new", None, NOW).expect("revokes").at_s, later);
    assert_eq!(revoked.revoke("", None, NOW), Err(RevokeError::BadSubject));
    assert_eq!(revoked.revoke(&"x".repeat(257), None, NOW), Err(RevokeError::BadSubject));

    let all = (0..crate::limits::REVOCATIONS_MAX).map(|n| json!({ "sub": n.to_string(), "at": NOW }));
    let bytes = json!({ "version": 1, "revocations": all.collect::<Vec<_>>() }).to_string();
    let full = Revocations::load(Some(bytes.as_bytes()), Box::new(|_| Ok(()))).expect("is whole");
    assert_eq!(full.revoke("one more", None, NOW), Err(RevokeError::Full));
    assert!(full.revoke("7", None, NOW + 1).is_ok(), "one that is there can be renewed");
}

#[test]
fn a_revocation_that_is_not_on_disk_does_not_count_and_says_so() {
    let failing = Revocations::load(None, Box::new(|_| Err("disk full".into()))).expect("is whole");
    assert_eq!(failing.revoke("ada", None, NOW), Err(RevokeError::NotSaved("disk full".into())));
    assert!(!failing.covers(&holder("ada", 0), None));
    for damaged in
        [&b""[..], b"{}", br#"{"version":2,"revocations":[]}"#, br#"{"version":1,"revocations":[{"sub":1}]}"#]
    {
        assert!(Revocations::load(Some(damaged), Box::new(|_| Ok(()))).is_err());
    }
}

// ---- chance -------------------------------------------------------------------------------------------------------

proptest! {
    /// Whatever is changed in a good token, it is good no longer.
    #[test]
    fn no_mutation_of_a_good_token_is_taken(
        which in 0..4usize, at in any::<prop::sample::Index>(), with in any::<char>(), kind in 0..4u8,
    ) {
        thread_local! {
            static GOOD: (Authority, Vec<String>) = {
                let said = good_claims().to_string();
                let mut tokens = vec![token_of(&good_claims())];
                for (file, alg) in [("ed25519", "EdDSA"), ("p256", "ES256"), ("rsa", "RS256")] {
                    let key = private(file);
                    tokens.push(signed_with(&key, &format!(r#"{{"alg":"{alg}"}}"#), &said));
                }
                (authority(), tokens)
            };
        }
        GOOD.with(|(authority, tokens)| {
            let good: Vec<char> = tokens[which].chars().collect();
            let at = at.index(good.len());
            let mut changed = good.clone();
            match kind {
                0 => changed[at] = with,
                1 => changed.insert(at, with),
                2 => { changed.remove(at); }
                // Any other of the alphabet, which random characters seldom are.
                _ => changed[at] = char::from(b"ABCDwxyz0189-_"[with as usize % 14]),
            }
            prop_assume!(changed != good);
            let changed: String = changed.into_iter().collect();
            prop_assert!(authority.admit(Some(&tokens[which]), &doc("notes/a"), NOW).is_ok());
            prop_assert!(authority.admit(Some(&changed), &doc("notes/a"), NOW).is_err());
            Ok(())
        })?;
    }

    /// Arbitrary text never panics, whichever part it is.
    #[test]
    fn anything_may_come_as_a_token(header in ".{0,80}", claims in ".{0,80}", raw in any::<bool>()) {
        let token = if raw { format!("{header}.{claims}.x") } else { signed_with(&secret(), &header, &claims) };
        prop_assert!(verdict(&token).is_err());
    }
}
