//! What a token says, and what that opens.

use std::fmt;

use serde::{Serialize, Serializer};

use super::Expected;
use super::strict::Object;
use super::token::{TokenError, take_apart};
use crate::ids::{Access, DocName};
use crate::limits::{SUBJECT_BYTES_MAX, TOKEN_LEEWAY_S, TOKEN_LIFETIME_S_MAX};

/// The claims of contract 2.4, of the right types. Serialized by the names they have in a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// Who bears it.
    #[serde(rename = "sub", skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Which documents it opens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub docs: Vec<DocPattern>,
    /// What may be done there; [`Access::Read`] when the token does not say.
    pub access: Access,
    /// Whether it opens the admin API.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub admin: bool,
    /// When it was issued, seconds since 1970.
    #[serde(rename = "iat", skip_serializing_if = "Option::is_none")]
    pub issued_s: Option<u64>,
    /// When it begins to be good, seconds since 1970.
    #[serde(rename = "nbf", skip_serializing_if = "Option::is_none")]
    pub begins_s: Option<u64>,
    /// When it ends, seconds since 1970.
    #[serde(rename = "exp")]
    pub expires_s: u64,
    /// Whom it is for.
    #[serde(rename = "aud", skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<String>,
    /// Who issued it.
    #[serde(rename = "iss", skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

impl Claims {
    /// Reads the claims of a token whose signature was verified.
    pub(super) fn read(json: &[u8]) -> Result<Self, TokenError> {
        let mut object = Object::read(json).ok_or(TokenError::NotJson("claims"))?;
        let subject = object.take_text("sub")?;
        if subject.as_ref().is_some_and(|subject| subject.is_empty() || subject.len() > SUBJECT_BYTES_MAX) {
            return Err(TokenError::BadClaim { name: "sub", wanted: "1 to 256 bytes long" });
        }
        let access = match object.take_text("access")?.as_deref() {
            None | Some("read") => Access::Read,
            Some("write") => Access::Write,
            Some(_) => return Err(TokenError::BadClaim { name: "access", wanted: "\"read\" or \"write\"" }),
        };
        let docs = object.take_list("docs")?.unwrap_or_default();
        let wanted = "a list of document names, prefix/* or *";
        let docs = docs.iter().map(|doc| DocPattern::parse(doc)).collect::<Option<Vec<_>>>();
        Ok(Self {
            subject,
            docs: docs.ok_or(TokenError::BadClaim { name: "docs", wanted })?,
            access,
            admin: object.take_flag("admin")?.unwrap_or(false),
            issued_s: object.take_number("iat")?,
            begins_s: object.take_number("nbf")?,
            expires_s: object.take_number("exp")?.ok_or(TokenError::NoClaim("exp"))?,
            audience: object.take_one_or_list("aud")?.unwrap_or_default(),
            issuer: object.take_text("iss")?,
        })
    }

    /// Whether they are good at `now_s` and meant for us.
    pub(super) fn check(&self, expected: &Expected, now_s: u64) -> Result<(), TokenError> {
        if self.ends_s() <= now_s {
            return Err(TokenError::Expired);
        }
        if self.expires_s > now_s.saturating_add(TOKEN_LIFETIME_S_MAX + TOKEN_LEEWAY_S) {
            return Err(TokenError::TooFarAhead);
        }
        let future = |at: Option<u64>| at.is_some_and(|at| at > now_s.saturating_add(TOKEN_LEEWAY_S));
        if future(self.begins_s) {
            return Err(TokenError::NotYet("nbf"));
        }
        if future(self.issued_s) {
            return Err(TokenError::NotYet("iat"));
        }
        if expected.audience.as_ref().is_some_and(|expected| !self.audience.contains(expected)) {
            return Err(TokenError::Audience);
        }
        if expected.issuer.is_some() && self.issuer != expected.issuer {
            return Err(TokenError::Issuer);
        }
        Ok(())
    }

    /// What they allow in `doc`; `None` for nothing at all.
    pub fn access_to(&self, doc: &DocName) -> Option<Access> {
        self.docs.iter().any(|pattern| pattern.matches(doc)).then_some(self.access)
    }

    /// What a token says that nobody has verified: for people who want to look into one.
    ///
    /// # Errors
    /// When it is not even of the right form.
    pub fn unverified(token: &str) -> Result<Self, TokenError> {
        Self::read(&take_apart(token)?.claims)
    }
}

/// Documents by name: one, all below a prefix, or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocPattern {
    /// `*`
    All,
    /// `notes/*`: every name that begins with `notes/` and goes on.
    Below(String),
    /// Exactly this name. A `*` within it is a character like any other.
    Doc(DocName),
}

impl DocPattern {
    /// Reads one; `None` when no document could ever have such a name.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        match text.strip_suffix('*').filter(|prefix| prefix.ends_with('/')) {
            Some(prefix) => DocName::parse(prefix).is_ok().then(|| Self::Below(prefix.to_owned())),
            None => DocName::parse(text).ok().map(Self::Doc),
        }
    }

    /// Whether it names `doc`. Names are compared by bytes, as everywhere.
    pub fn matches(&self, doc: &DocName) -> bool {
        match self {
            Self::All => true,
            Self::Below(prefix) => doc.as_str().len() > prefix.len() && doc.as_str().starts_with(prefix.as_str()),
            Self::Doc(name) => name == doc,
        }
    }
}

impl fmt::Display for DocPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Below(prefix) => write!(f, "{prefix}*"),
            Self::Doc(name) => name.fmt(f),
        }
    }
}

impl Serialize for DocPattern {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
