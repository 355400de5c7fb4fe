//! Who may do what: keys, the tokens they have signed, and what those grant (contract 2.4).
//!
//! The way of a token: [`token`] takes it apart and refuses what no key can make right; [`keys`] finds the keys that may
//! have signed it and verifies; only then are its [`claims`] read; the [`Authority`] asks whether they name the document
//! and whether they were revoked ([`revocations`]), and says what the bearer is granted.
//!
//! Pure: time is an argument, and nothing here knows of sockets. At its edge are [`files`], where keys are read and made,
//! and [`sign`], which makes tokens and is no part of checking one.
//! Nothing here logs, and no `Debug` shows a secret or a token.

pub mod claims;
pub mod files;
pub mod keys;
mod pem;
pub mod revocations;
pub mod sign;
mod strict;
pub mod token;

#[cfg(test)]
mod tests;

use std::sync::{Arc, PoisonError, RwLock};

pub use self::claims::{Claims, DocPattern};
pub use self::keys::{Key, KeyPrint, Keys};
pub use self::revocations::{Revocation, Revocations, RevokeError, RevokeReport};
pub use self::sign::SigningKey;
pub use self::token::TokenError;

use crate::ids::{Access, DocName};
use crate::limits::TOKEN_LEEWAY_S;

/// Decides about tokens: holds the keys that may sign them, what they must say, and which of them were revoked.
#[derive(Debug)]
pub struct Authority {
    /// Replaced as a whole when they are read anew.
    keys: RwLock<Arc<Keys>>,
    /// What `aud` must contain and `iss` must be.
    expected: Expected,
    revocations: Revocations,
}

/// Who tokens must be for and from; `None` takes any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Must be among the token's `aud`.
    pub audience: Option<String>,
    /// Must be the token's `iss`.
    pub issuer: Option<String>,
}

/// What a session may do in one document, and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// How much.
    pub access: Access,
    /// When it ends, seconds since 1970; `None` for one without a token, which does not.
    pub ends_s: Option<u64>,
    /// To whom.
    pub holder: Holder,
}

/// Whose grant it is, as far as a revocation must know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    /// The token's `sub`, if it has one.
    pub subject: Option<Arc<str>>,
    /// The token's `iat`, seconds since 1970; 0 for one that does not say, which counts as old.
    pub issued_s: u64,
    /// The key that signed it.
    pub key: Option<KeyPrint>,
}

/// Why a session is denied a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No token came.
    #[error("a token is required")]
    NoToken,
    /// What came is not good, or no longer.
    #[error("{0}")]
    BadToken(#[from] TokenError),
    /// Nobody could say whether it is good, since whoever must be asked does not answer. Not the client's fault, and it may
    /// come again.
    #[error("who must be asked about the token does not answer")]
    Unknown,
    /// It is good, but not for this document.
    #[error("the token does not open this document")]
    NoAccess,
}

impl Denied {
    /// What the client is told: enough to help its user, nothing that helps a guesser.
    pub fn text(&self) -> &'static str {
        match self {
            Denied::NoToken => "permission denied: a token is required",
            Denied::BadToken(TokenError::Expired) => "permission denied: the token has expired",
            Denied::BadToken(TokenError::Revoked) => "permission denied: the token was revoked",
            Denied::BadToken(_) => "permission denied: the token is not valid",
            Denied::Unknown => "access cannot be checked now, try again",
            Denied::NoAccess => "permission denied: the token does not open this document",
        }
    }
}

impl Grant {
    /// Everything, for ever: where no keys are configured, everybody has it.
    pub fn open() -> Self {
        Self { access: Access::Write, ends_s: None, holder: Holder::default() }
    }
}

impl Authority {
    /// One that takes tokens signed by one of `keys`.
    pub fn new(keys: Keys, expected: Expected, revocations: Revocations) -> Self {
        Self { keys: RwLock::new(Arc::new(keys)), expected, revocations }
    }

    /// From now on these keys count and no others. What tokens of others have opened is for the caller to close: see
    /// [`Authority::is_revoked`].
    pub fn replace_keys(&self, keys: Keys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    /// Nothing that is under this lock is ever half changed, so a poisoned one is as good.
    fn keys(&self) -> Arc<Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether there is any key, by which a token can be good.
    pub fn has_keys(&self) -> bool {
        !self.keys().is_empty()
    }

    /// What `token` grants its bearer in `doc` at `now_s`, seconds since 1970.
    ///
    /// # Errors
    /// Why not. Only a token that is good in itself learns that it does not open this document.
    pub fn admit(&self, token: Option<&str>, doc: &DocName, now_s: u64) -> Result<Grant, Denied> {
        let (claims, holder) = self.check(token.ok_or(Denied::NoToken)?, now_s)?;
        if self.is_revoked(&holder, None) {
            return Err(TokenError::Revoked.into());
        }
        let Some(access) = claims.access_to(doc).filter(|_| !self.is_revoked(&holder, Some(doc))) else {
            return Err(Denied::NoAccess);
        };
        Ok(Grant { access, ends_s: Some(claims.ends_s()), holder })
    }

    /// Whether `token` opens the admin API, and whose it is.
    ///
    /// # Errors
    /// [`Denied::NoAccess`] for a good token without the claim `admin`.
    pub fn admit_admin(&self, token: &str, now_s: u64) -> Result<Holder, Denied> {
        let (claims, holder) = self.check(token, now_s)?;
        if self.is_revoked(&holder, None) {
            return Err(TokenError::Revoked.into());
        }
        if claims.admin { Ok(holder) } else { Err(Denied::NoAccess) }
    }

    /// A token for one document, good for `good_s` seconds from `now_s`, for clients of a dialect that get theirs from the
    /// server. `None` when there is no secret to sign with.
    pub fn mint(
        &self,
        doc: &DocName,
        access: Access,
        subject: Option<String>,
        now_s: u64,
        good_s: u64,
    ) -> Option<String> {
        self.keys().sign(&Claims {
            subject,
            docs: vec![DocPattern::Doc(doc.clone())],
            access,
            admin: false,
            issued_s: Some(now_s),
            begins_s: None,
            expires_s: now_s.saturating_add(good_s),
            audience: self.expected.audience.iter().cloned().collect(),
            issuer: self.expected.issuer.clone(),
        })
    }

    /// What a good token says; revocations aside.
    ///
    /// # Errors
    /// Why it is not good.
    pub fn claims(&self, token: &str, now_s: u64) -> Result<Claims, TokenError> {
        self.check(token, now_s).map(|(claims, _)| claims)
    }

    /// The same, with whose token it is.
    fn check(&self, token: &str, now_s: u64) -> Result<(Claims, Holder), TokenError> {
        let parts = token::take_apart(token)?;
        let signer = self.keys().verify(&parts)?;
        let claims = Claims::read(&parts.claims)?;
        claims.check(&self.expected, now_s)?;
        let holder = Holder { key: Some(signer), ..claims.holder() };
        Ok((claims, holder))
    }

    /// Whether what `holder` was granted was revoked: everything of it, or what it had in `doc`. With the key that signed
    /// its token everything is gone.
    pub fn is_revoked(&self, holder: &Holder, doc: Option<&DocName>) -> bool {
        self.revocations.covers(holder, doc) || holder.key.is_some_and(|key| !self.keys().have(key))
    }

    /// The revocations, to add to them.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }
}

impl Claims {
    /// Whose they are, whoever signed them.
    pub fn holder(&self) -> Holder {
        Holder { subject: self.subject.as_deref().map(Arc::from), issued_s: self.issued_s.unwrap_or(0), key: None }
    }

    /// From when on they grant nothing, seconds since 1970.
    pub fn ends_s(&self) -> u64 {
        self.expires_s.saturating_add(TOKEN_LEEWAY_S)
    }
}
