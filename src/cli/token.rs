//! `weft token`: makes tokens and secrets, looks into tokens, takes them back.

use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgGroup;

use super::backend::IfAbsent;
use super::failure::Failure;
use super::output::{self, Cell, Output};
use super::{At, Outcome, keys, with_backend, with_output};
use crate::auth::{Authority, Claims, DocPattern, Revocations, SigningKey, TokenError, files};
use crate::config::{AuthArgs, AuthSettings, Period};
use crate::ids::{Access, DocName};
use crate::limits::{SUBJECT_BYTES_MAX, TOKEN_BYTES_MAX, TOKEN_LIFETIME_S_MAX};

/// How long a token is good when nobody says.
const TTL: Period = Period(Duration::from_secs(3_600));

/// Arguments of `weft token`.
#[derive(Debug, clap::Args)]
#[command(
    group = ArgGroup::new("what").args(["doc", "admin", "explain", "new_secret", "revoke"]).required(true).multiple(true),
    group = ArgGroup::new("instead").args(["explain", "new_secret", "revoke"]),
    after_help = "\
Examples:
  weft token --new-secret weft.secret                   then `weft serve --auth-secret weft.secret`
  weft token --doc 'notes/*' --access write --ttl 8h --sub ada --secret weft.secret
  weft token --doc a --doc b --private-key ed25519.pem  the server has its --auth-public-key
  weft token --admin --ttl 5m --secret weft.secret      for the admin API
  weft token --doc a --secret weft.secret | weft token --explain - --secret weft.secret
  weft token --revoke ada --data /var/lib/weft          end ada's sessions and tokens

The token alone is printed on stdout. A pattern is a document's name, `prefix/*` for all below it, or `*` for all."
)]
pub(super) struct TokenArgs {
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    auth: AuthArgs,
    /// Sign with this private key in PEM instead of a secret: Ed25519, P-256 or RSA
    #[arg(long, value_name = "FILE", conflicts_with = "instead")]
    private_key: Option<PathBuf>,
    /// Name the key by this `kid`, where the server finds keys in a JWK set
    #[arg(long, value_name = "KID", conflicts_with = "instead")]
    key_id: Option<String>,
    /// A document that the token opens, or a pattern; may be given several times
    #[arg(long, value_name = "PATTERN", value_parser = pattern, conflicts_with_all = ["explain", "new_secret"])]
    doc: Vec<DocPattern>,
    /// What it allows there [default: read]
    #[arg(long, value_name = "read|write", value_parser = access, conflicts_with = "instead")]
    access: Option<Access>,
    /// How long it is good, such as 30s, 8h or 7d [default: 1h]
    #[arg(long, value_name = "TIME", conflicts_with = "instead")]
    ttl: Option<Period>,
    /// Who bears it; what a revocation names
    #[arg(long, value_name = "USER", value_parser = subject, conflicts_with = "instead")]
    sub: Option<String>,
    /// Let it open the admin API
    #[arg(long, conflicts_with = "instead")]
    admin: bool,
    /// Show what a token says, and whether it is good; `-` reads it from stdin
    #[arg(long, value_name = "TOKEN")]
    explain: Option<String>,
    /// Make a file with a fresh secret that only its owner can read
    #[arg(long, value_name = "FILE")]
    new_secret: Option<PathBuf>,
    /// End the sessions of this user, and all tokens issued so far; with --doc only in that document
    #[arg(long, value_name = "USER", value_parser = subject)]
    revoke: Option<String>,
}

fn pattern(text: &str) -> Result<DocPattern, String> {
    DocPattern::parse(text).ok_or_else(|| "it is no name of a document, no prefix/* and not *".to_owned())
}

fn access(text: &str) -> Result<Access, String> {
    match text {
        "read" => Ok(Access::Read),
        "write" => Ok(Access::Write),
        _ => Err("it is neither read nor write".to_owned()),
    }
}

fn subject(text: &str) -> Result<String, String> {
    match text.len() {
        1..=SUBJECT_BYTES_MAX => Ok(text.to_owned()),
        _ => Err(format!("a user has 1 to {SUBJECT_BYTES_MAX} bytes")),
    }
}

/// Does the one thing that is asked for.
pub(super) fn main(args: &TokenArgs) -> Result<Outcome, Failure> {
    if let Some(path) = &args.new_secret {
        return with_output(&args.at, |out| new_secret(path, out));
    }
    if let Some(user) = &args.revoke {
        let doc = revoked_doc(&args.doc)?;
        return with_backend(&args.at, IfAbsent::Fail, async |backend, out| {
            let report = backend.revoke(user, doc).await?;
            if out.is_json() {
                out.json(&report)?;
            } else {
                let what =
                    doc.map_or("all tokens".to_owned(), |doc| format!("access to {}", output::printable(doc.as_str())));
                let user = output::printable(user);
                out.line(&format!("{user}: {what} issued so far revoked, {} sessions closed", report.closed))?;
            }
            Ok(Outcome::Done)
        });
    }
    let auth = args.auth.clone().resolve().map_err(Failure::open)?;
    match &args.explain {
        Some(token) => with_output(&args.at, |out| explain(&read(token)?, &auth, args, out)),
        None => with_output(&args.at, |out| mint(args, &auth, out)),
    }
}

fn new_secret(path: &std::path::Path, out: &mut Output<'_>) -> Result<Outcome, Failure> {
    files::new_secret(path).map_err(Failure::open)?;
    let shown = path.display().to_string();
    if out.is_json() {
        out.json(&serde_json::json!({ "secret": shown }))?;
    } else {
        out.line(&format!("made {shown}; start the server with --auth-secret {shown}, and give nobody else the file"))?;
    }
    Ok(Outcome::Done)
}

/// A revocation is of one document or of all.
fn revoked_doc(docs: &[DocPattern]) -> Result<Option<&DocName>, Failure> {
    match docs {
        [] => Ok(None),
        [DocPattern::Doc(doc)] => Ok(Some(doc)),
        _ => Err(Failure::usage("--revoke takes one --doc by its whole name, or none for all documents")),
    }
}

fn mint(args: &TokenArgs, auth: &AuthSettings, out: &mut Output<'_>) -> Result<Outcome, Failure> {
    let key = signing_key(args, auth)?;
    let now_s = keys::now_s();
    let ttl_s = args.ttl.unwrap_or(TTL).0.as_secs();
    if !(1..=TOKEN_LIFETIME_S_MAX).contains(&ttl_s) {
        return Err(Failure::usage(
            "--ttl must be between 1s and 366d; a server takes no token that is good for longer",
        ));
    }
    let claims = Claims {
        subject: args.sub.clone(),
        docs: args.doc.clone(),
        access: args.access.unwrap_or(Access::Read),
        admin: args.admin,
        issued_s: Some(now_s),
        begins_s: None,
        expires_s: now_s + ttl_s,
        audience: auth.audience.iter().cloned().collect(),
        issuer: auth.issuer.clone(),
    };
    let token = key
        .sign(&claims, args.key_id.as_deref())
        .ok_or_else(|| Failure::open("the system gives no random numbers to sign with; try again"))?;
    if token.len() > TOKEN_BYTES_MAX {
        let len = token.len();
        return Err(Failure::usage(format!(
            "the token has {len} bytes, at most {TOKEN_BYTES_MAX} are taken; name fewer --doc"
        )));
    }
    if out.is_json() {
        out.json(&serde_json::json!({ "token": token, "claims": claims }))?;
        return Ok(Outcome::Done);
    }
    out.line(&token)?;
    // Beside the token, so that a pipe gets the token alone and a person learns what it is.
    if io::stderr().is_terminal() {
        eprintln!("{}", sentence(&claims, now_s));
    }
    Ok(Outcome::Done)
}

fn signing_key(args: &TokenArgs, auth: &AuthSettings) -> Result<SigningKey, Failure> {
    match (&args.private_key, &auth.secret) {
        (Some(path), _) => files::private_key(path).map_err(Failure::open),
        (None, Some(path)) => files::signing_secret(path).map_err(Failure::open),
        (None, None) => Err(Failure::usage(
            "no key to sign with; name the server's with --secret (or WEFT_AUTH_SECRET, or --config weft.toml), make one \
             with --new-secret, or sign with --private-key",
        )),
    }
}

fn sentence(claims: &Claims, now_s: u64) -> String {
    let who = claims.subject.as_deref().map_or("whoever has it".into(), output::printable);
    let until = output::moment(claims.expires_s * 1_000, now_s * 1_000);
    format!("{who} may {} until {until}", what(claims))
}

fn what(claims: &Claims) -> String {
    let docs = if claims.docs.is_empty() { String::new() } else { format!("{} {}", claims.access, documents(claims)) };
    match (docs.is_empty(), claims.admin) {
        (false, false) => docs,
        (false, true) => format!("{docs}, and use the admin API,"),
        (true, true) => "use the admin API".to_owned(),
        (true, false) => "do nothing".to_owned(),
    }
}

fn documents(claims: &Claims) -> String {
    let name = |doc: &DocPattern| match doc {
        DocPattern::All => "all documents".to_owned(),
        DocPattern::Below(_) => format!("all below {}", output::printable(doc.to_string().trim_end_matches('*'))),
        DocPattern::Doc(doc) => output::printable(doc.as_str()).into_owned(),
    };
    claims.docs.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// The token of `--explain`.
fn read(token: &str) -> Result<String, Failure> {
    let mut text = String::new();
    if token == "-" {
        let stdin = io::stdin().lock().take(TOKEN_BYTES_MAX as u64 + 2).read_to_string(&mut text);
        stdin.map_err(|error| Failure::open(format!("cannot read a token from stdin: {error}")))?;
    } else {
        text.push_str(token);
    }
    Ok(text.trim().to_owned())
}

/// What is known of a token.
enum Verdict {
    Good,
    Bad(TokenError),
    Unchecked,
}

fn explain(token: &str, auth: &AuthSettings, args: &TokenArgs, out: &mut Output<'_>) -> Result<Outcome, Failure> {
    let now_s = keys::now_s();
    // Revocations count where they are kept; a token is also looked into where there is no server.
    let revocations = match crate::data_dir::exists(&args.at.data) {
        true => keys::revocations(&args.at.data)?,
        false => Revocations::none(),
    };
    let claims = Claims::unverified(token);
    let verdict = match (keys::keys(auth)?, &claims) {
        (_, Err(error)) => Verdict::Bad(*error),
        (None, Ok(_)) => Verdict::Unchecked,
        (Some(keys), Ok(_)) => {
            let authority = Authority::new(keys, keys::expected(auth), revocations);
            match authority.claims(token, now_s) {
                Ok(claims) if authority.is_revoked(&claims.holder(), None) => Verdict::Bad(TokenError::Revoked),
                Ok(_) => Verdict::Good,
                Err(error) => Verdict::Bad(error),
            }
        }
    };
    let (good, why) = match &verdict {
        Verdict::Good => (Some(true), None),
        Verdict::Bad(error) => (Some(false), Some(error.to_string())),
        Verdict::Unchecked => {
            (None, Some("no key to check it with; name the server's with --secret, --public-key or --jwks".to_owned()))
        }
    };
    if out.is_json() {
        out.json(&serde_json::json!({ "valid": good, "why": why, "claims": claims.as_ref().ok() }))?;
    } else {
        let word = match verdict {
            Verdict::Good => "yes",
            Verdict::Bad(_) => "no",
            Verdict::Unchecked => "unknown",
        };
        let mut pairs = vec![("valid", Cell::text(why.map_or(word.to_owned(), |why| format!("{word}: {why}"))))];
        if let Ok(claims) = &claims {
            pairs.extend(described(claims, now_s));
        }
        out.pairs(&pairs)?;
    }
    Ok(if good == Some(true) { Outcome::Done } else { Outcome::FoundWrong })
}

fn described(claims: &Claims, now_s: u64) -> Vec<(&'static str, Cell)> {
    let text = |text: &Option<String>| Cell::text(text.as_deref().unwrap_or("-"));
    let time = |at_s: Option<u64>| match at_s {
        // A time past what people count in is shown as it is.
        Some(at_s) if at_s > 253_402_300_799 => Cell::Count(at_s),
        Some(at_s) => Cell::Text(output::moment(at_s * 1_000, now_s * 1_000)),
        None => Cell::text("-"),
    };
    let patterns: Vec<String> = claims.docs.iter().map(ToString::to_string).collect();
    vec![
        ("subject", text(&claims.subject)),
        ("documents", Cell::text(if patterns.is_empty() { "-".to_owned() } else { patterns.join(", ") })),
        ("access", Cell::text(claims.access.to_string())),
        ("admin", Cell::text(if claims.admin { "yes" } else { "no" })),
        ("issued", time(claims.issued_s)),
        ("expires", time(Some(claims.expires_s))),
        ("audience", Cell::text(if claims.audience.is_empty() { "-".to_owned() } else { claims.audience.join(", ") })),
        ("issuer", text(&claims.issuer)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_explained_in_a_sentence() {
        let claims = |docs: &[&str], admin| Claims {
            subject: Some("ada".into()),
            docs: docs.iter().map(|doc| DocPattern::parse(doc).expect("a pattern")).collect(),
            access: Access::Write,
            admin,
            issued_s: None,
            begins_s: None,
            expires_s: 3_600,
            audience: Vec::new(),
            issuer: None,
        };
        assert_eq!(
            sentence(&claims(&["notes/*", "todo"], false), 0),
            "ada may write all below notes/, todo until 1970-01-01 01:00:00 UTC (in 1 h)"
        );
        assert_eq!(what(&claims(&["*"], true)), "write all documents, and use the admin API,");
        assert_eq!(what(&claims(&[], true)), "use the admin API");
    }
}
