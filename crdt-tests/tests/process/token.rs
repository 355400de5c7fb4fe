//! `weft token`, as an admin or a script runs it, and beside another implementation of JWT.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crdt_tests::cli::{Cli, path_str};
use crdt_tests::server::{DataDir, workspace};
use crdt_tests::tokens::{Secret, now_s};
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    workspace().join("fixtures/auth").join(name)
}

/// A private key of the fixtures, readable by its owner only.
fn private(data: &DataDir, name: &str) -> PathBuf {
    let path = data.outer().join(format!("{name}.pem"));
    std::fs::copy(fixture(&format!("{name}-private.pem")), &path).expect("copied");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("owned");
    path
}

/// What a script for node prints.
fn node(script: &str, args: &[&str]) -> String {
    let output = Command::new("node").args(["-e", script]).args(args).output().expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Signs or verifies with Node's own crypto: `sign ALG KEYFILE CLAIMS` or `verify ALG KEYFILE TOKEN`.
const JWT: &str = "
const c = require('crypto'), fs = require('fs')
const [what, alg, file, text] = process.argv.slice(1)
const b64 = data => Buffer.from(data).toString('base64url')
const key = alg === 'HS256' ? fs.readFileSync(file) : { key: fs.readFileSync(file), dsaEncoding: 'ieee-p1363' }
const hash = alg === 'EdDSA' ? null : 'sha256'
if (what === 'sign') {
  const said = b64(JSON.stringify({ alg, typ: 'JWT', kid: process.argv[5] })) + '.' + b64(text)
  const made = alg === 'HS256' ? c.createHmac('sha256', key).update(said).digest() : c.sign(hash, Buffer.from(said), key)
  console.log(said + '.' + b64(made))
} else {
  const [header, claims, signature] = text.split('.')
  const said = Buffer.from(header + '.' + claims), made = Buffer.from(signature, 'base64url')
  const good = alg === 'HS256'
    ? c.timingSafeEqual(c.createHmac('sha256', key).update(said).digest(), made)
    : c.verify(hash, said, key, made)
  if (JSON.parse(Buffer.from(header, 'base64url')).alg !== alg) throw new Error('another algorithm')
  console.log(good ? Buffer.from(claims, 'base64url').toString() : 'bad')
}";

/// HS256, EdDSA, ES256 and RS256 mean the same to us as to Node, in both directions.
#[test]
fn c2_4_tokens_are_understood_by_others_and_theirs_by_us() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let cli = Cli::on(data.path());
    let claims = json!({ "sub": "ada", "docs": ["notes/*"], "access": "write", "exp": now_s() + 600 }).to_string();
    for (alg, file, public) in [
        ("HS256", secret.path().to_owned(), secret.path().to_owned()),
        ("EdDSA", private(&data, "ed25519"), fixture("ed25519-public.pem")),
        ("ES256", private(&data, "p256"), fixture("p256-public.pem")),
        ("RS256", private(&data, "rsa"), fixture("rsa-public.pem")),
    ] {
        let flag = if alg == "HS256" { "--secret" } else { "--private-key" };
        let minted = cli.done(&["token", flag, path_str(&file), "--doc", "notes/*", "--sub", "ada"]).text();
        let read: Value = serde_json::from_str(&node(JWT, &["verify", alg, path_str(&public), minted.trim()]))
            .unwrap_or_else(|e| panic!("{alg}: {e}"));
        assert_eq!(
            (&read["sub"], &read["docs"], &read["access"]),
            (&json!("ada"), &json!(["notes/*"]), &json!("read"))
        );

        let kid = file.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned() + "-1";
        let theirs = node(JWT, &["sign", alg, path_str(&file), &claims, &kid]);
        let key = if alg == "HS256" { "--secret" } else { "--public-key" };
        let ways: &[(&str, &Path)] = &[(key, &public), ("--jwks", &fixture("jwks.json"))];
        for (flag, file) in &ways[..if alg == "HS256" { 1 } else { 2 }] {
            let output = cli.run(&["token", "--explain", &theirs, flag, path_str(file), "--json"]);
            assert_eq!((output.code, &output.json()["valid"]), (0, &json!(true)), "{alg} {flag}: {output:?}");
        }
        let wrong = cli.run(&["token", "--explain", &theirs, "--public-key", path_str(&fixture("p384-public.pem"))]);
        assert_eq!(wrong.code, 3, "{wrong:?}");
    }
}

#[test]
fn c2_1_token_mints_and_explains() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let cli = Cli::on(data.path());
    let file = path_str(secret.path());
    let mode = std::fs::metadata(secret.path()).expect("is there").permissions().mode();
    assert_eq!((mode & 0o777, secret.text().len()), (0o600, 43));
    let before = secret.text();
    let again = cli.run(&["token", "--new-secret", file]);
    assert_eq!((again.code, secret.text()), (3, before), "{again:?}");

    let made = cli.done(&[
        "token", "--secret", file, "--doc", "a", "--doc", "b/*", "--access", "write", "--ttl", "2d", "--sub", "ada",
        "--json",
    ]);
    let (token, claims) = (made.json()["token"].clone(), made.json()["claims"].clone());
    assert_eq!(
        (&claims["docs"], &claims["sub"], &claims["access"]),
        (&json!(["a", "b/*"]), &json!("ada"), &json!("write"))
    );
    assert_eq!(claims["exp"].as_u64(), claims["iat"].as_u64().map(|iat| iat + 172_800));
    let token = token.as_str().expect("text");
    let explained = cli.done(&["token", "--secret", file, "--explain", token]).text();
    for part in ["valid\tyes", "subject\tada", "documents\ta, b/*", "access\twrite", "admin\tno", "UTC (in "] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    // Without the key it is still shown, but nothing is promised; a changed one is shown to be bad.
    let unknown = cli.run(&["token", "--explain", token, "--json"]);
    assert_eq!((unknown.code, &unknown.json()["valid"]), (1, &Value::Null), "{unknown:?}");
    assert_eq!(unknown.json()["claims"], claims);
    let changed = format!("{}.{}", token.rsplit_once('.').expect("parts").0, "A".repeat(43));
    let bad = cli.run(&["token", "--secret", file, "--explain", &changed, "--json"]);
    assert_eq!((bad.code, &bad.json()["valid"]), (1, &json!(false)), "{bad:?}");
    assert!(bad.json()["why"].as_str().is_some_and(|why| why.contains("signature")), "{bad:?}");
    let nonsense = cli.run(&["token", "--explain", "nonsense", "--json"]);
    assert_eq!((nonsense.code, &nonsense.json()["claims"]), (1, &Value::Null), "{nonsense:?}");

    // The key and what tokens must say come from the server's own configuration as well.
    let config = data.outer().join("weft.toml");
    std::fs::write(&config, format!("auth-secret = {file:?}\nauth-audience = 'weft'\nauth-issuer = 'us'\n"))
        .expect("written");
    let token = cli.done(&["token", "--config", path_str(&config), "--doc", "*"]).text();
    let explained = cli.done(&["token", "--config", path_str(&config), "--explain", token.trim(), "--json"]).json();
    assert_eq!(
        (&explained["claims"]["aud"], &explained["claims"]["iss"]),
        (&json!(["weft"]), &json!("us")),
        "{explained}"
    );
    let other = cli.run(&["token", "--secret", file, "--audience", "other", "--explain", token.trim(), "--json"]);
    assert!(other.code == 1 && other.json()["why"].as_str().is_some_and(|why| why.contains("audience")), "{other:?}");

    // Revocations are seen where they are kept.
    let data = DataDir::new();
    let cli = Cli::on(data.path());
    assert_eq!(cli.run(&["token", "--revoke", "ada"]).code, 3, "a misspelt directory is not made");
    assert!(!data.path().exists());
}

#[test]
fn c2_1_token_wrong_usage() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let cli = Cli::on(data.path());
    let file = path_str(secret.path());
    for (args, word) in [
        (&["token"][..], "--doc"),
        (&["token", "--doc", "a"], "--new-secret"),
        (&["token", "--doc", "", "--secret", file], "--doc"),
        (&["token", "--doc", "a", "--access", "all", "--secret", file], "neither read nor write"),
        (&["token", "--doc", "a", "--ttl", "soon", "--secret", file], "soon"),
        (&["token", "--doc", "a", "--ttl", "10ms", "--secret", file], "--ttl"),
        (&["token", "--doc", "a", "--ttl", "367d", "--secret", file], "--ttl"),
        (&["token", "--doc", "a", "--sub", "", "--secret", file], "--sub"),
        (&["token", "--explain", "x", "--admin"], "--admin"),
        (&["token", "--explain", "x", "--revoke", "y"], "--revoke"),
        (&["token", "--revoke", "y", "--doc", "a/*"], "--doc"),
        (&["token", "--new-secret", "x", "--doc", "a"], "--doc"),
    ] {
        let output = cli.run(args);
        assert_eq!(output.code, 2, "{args:?}: {output:?}");
        assert!(output.stderr.contains(word) && output.stdout.is_empty(), "{args:?}: {output:?}");
        assert!(!output.stderr.contains(&secret.text()));
    }
    let missing = cli.run(&["token", "--doc", "a", "--secret", "/no/such/file"]);
    assert!(missing.code == 3 && missing.stderr.contains("/no/such/file"), "{missing:?}");
    let names: Vec<String> = (0..40).map(|n| format!("{n}{}", "x".repeat(400))).collect();
    let many = names.iter().flat_map(|name| ["--doc", name]);
    let long = cli.run(&["token", "--secret", file].into_iter().chain(many).collect::<Vec<_>>());
    assert!(long.code == 2 && long.stderr.contains("fewer"), "{long:?}");
}
