//! The outer form of a token: `header.claims.signature`, each in base64url (RFC 7515 §7.1), and what can be refused before
//! any key is asked.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::keys::Algorithm;
use super::strict::{Mistyped, Object};
use crate::limits::TOKEN_BYTES_MAX;

/// Members of a header that would have us take a key from the token itself, or understand it otherwise than it looks.
const FORBIDDEN: [&str; 8] = ["jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc"];

/// Why a token is not good. Says what is wrong, never quotes the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`TOKEN_BYTES_MAX`].
    #[error("it is {0} bytes long, at most {TOKEN_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// Not `header.claims.signature`.
    #[error("it does not consist of three parts with dots between them")]
    NotThreeParts,
    /// A part is not base64url without padding.
    #[error("its {0} is not base64url")]
    NotBase64(&'static str),
    /// A part is not one JSON object, or one in which a member comes twice.
    #[error("its {0} is not a JSON object without doubles")]
    NotJson(&'static str),
    /// A member of the header is not what it should be, or must not be there.
    #[error("the {0:?} in its header is not allowed")]
    Header(&'static str),
    /// No configured key has its algorithm and key id.
    #[error("no key is configured for its algorithm and key id")]
    NoKey,
    /// None of them made the signature.
    #[error("its signature is wrong: another key made it, or it was changed")]
    BadSignature,
    /// A claim is missing.
    #[error("it has no claim {0:?}")]
    NoClaim(&'static str),
    /// A claim has another type or form.
    #[error("its claim {name:?} is not {wanted}")]
    BadClaim {
        /// Which.
        name: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// `exp` is past.
    #[error("it has expired")]
    Expired,
    /// `exp` is further ahead than a revocation would be remembered.
    #[error("it expires more than 366 days from now")]
    TooFarAhead,
    /// `nbf` or `iat` is yet to come.
    #[error("its {0:?} lies in the future; do the clocks agree?")]
    NotYet(&'static str),
    /// `aud` does not name the configured audience.
    #[error("it is for another audience")]
    Audience,
    /// `iss` is not the configured issuer.
    #[error("it is from another issuer")]
    Issuer,
    /// Its subject was revoked after it was issued.
    #[error("it was revoked")]
    Revoked,
}

impl From<Mistyped> for TokenError {
    fn from(Mistyped { name, wanted }: Mistyped) -> Self {
        Self::BadClaim { name, wanted }
    }
}

/// A token taken apart; nothing in it is true yet.
pub(super) struct Parts<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
    /// What the signature is over.
    pub(super) signed: &'a [u8],
    pub(super) claims: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

/// Takes a token apart. Its length is checked first, and its claims are not looked at.
pub(super) fn take_apart(token: &str) -> Result<Parts<'_>, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong(token.len()));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenError::NotThreeParts);
    };
    let signed = token.as_bytes().get(..header.len() + 1 + claims.len()).unwrap_or_default();
    // Strict: no padding, no other alphabet, no bits left over, so that a token has one spelling.
    let decode = |part: &str, name| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::NotBase64(name));
    let (header, claims, signature) =
        (decode(header, "header")?, decode(claims, "claims")?, decode(signature, "signature")?);

    let mut header = Object::read(&header).ok_or(TokenError::NotJson("header"))?;
    if let Some(forbidden) = FORBIDDEN.into_iter().find(|name| header.has(name)) {
        return Err(TokenError::Header(forbidden));
    }
    let mistyped = |error: Mistyped| TokenError::Header(error.name);
    let algorithm = header.take_text("alg").map_err(mistyped)?;
    let algorithm = algorithm.as_deref().and_then(Algorithm::named).ok_or(TokenError::Header("alg"))?;
    let kind = header.take_text("typ").map_err(mistyped)?;
    if kind.is_some_and(|kind| !["jwt", "at+jwt"].iter().any(|known| kind.eq_ignore_ascii_case(known))) {
        return Err(TokenError::Header("typ"));
    }
    let key_id = header.take_text("kid").map_err(mistyped)?;
    Ok(Parts { algorithm, key_id, signed, claims, signature })
}

/// Puts a token together, signed by `sign`.
pub(super) fn assemble(header: &[u8], claims: &[u8], sign: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Option<String> {
    let mut token = URL_SAFE_NO_PAD.encode(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut token);
    let signature = sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Some(token)
}
