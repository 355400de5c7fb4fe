//! The keys that may have signed a token, one algorithm each.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use ring::{digest, hmac};
use serde::Deserialize;

use super::claims::Claims;
use super::pem::{self, PublicKey};
use super::sign::SigningKey;
use super::token::{Parts, TokenError};
use crate::limits::{AUTH_KEYS_MAX, RSA_BITS_MAX, RSA_BITS_MIN, SECRET_BYTES_MIN};

/// The algorithms of contract 2.4. A key has exactly one, so a token cannot choose how it is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256: who can verify can sign.
    Hs256,
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSA PKCS #1 v1.5 with SHA-256.
    Rs256,
}

impl Algorithm {
    /// By its name in a header, to the letter.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Hs256, Self::EdDsa, Self::Es256, Self::Rs256].into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Its name in a header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

/// Why something cannot be used as a key. Says what to do instead, never quotes the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A secret shorter than [`SECRET_BYTES_MIN`].
    #[error(
        "the secret has {0} bytes, at least {SECRET_BYTES_MIN} are needed; make one with `weft token --new-secret FILE`"
    )]
    ShortSecret(usize),
    /// Not what can be sent as a bearer token.
    #[error("it must hold one word without spaces; `weft token --new-secret FILE` makes one")]
    NotBearer,
    /// Not a PEM block that we know.
    #[error(
        "it is not one PEM public key for Ed25519, P-256 or RSA; `openssl pkey -in PRIVATE.pem -pubout` writes one"
    )]
    NotPublicKey,
    /// Where a public key is wanted.
    #[error("it holds a private key, and only the public one belongs here; `openssl pkey -pubout` takes it out")]
    PrivateKey,
    /// Not a PKCS #8 private key that we know.
    #[error(
        "it is not one PEM private key for Ed25519, P-256 or RSA, unencrypted in PKCS #8; `openssl pkcs8 -topk8 -nocrypt` \
         writes that form"
    )]
    NotPrivateKey,
    /// An RSA key that is too short, or absurdly long.
    #[error("the RSA key has {0} bits, it must have {RSA_BITS_MIN} to {RSA_BITS_MAX}")]
    RsaSize(usize),
    /// Not a JWK set.
    #[error("it is not a JWK set: {0}")]
    NotJwks(String),
    /// A key of a JWK set.
    #[error("key {at} of the set {what}")]
    BadJwk {
        /// Its place, from 0.
        at: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A JWK set from which nothing can be used.
    #[error("the set holds no key for EdDSA, ES256 or RS256 signatures")]
    NoUsableJwk,
    /// More keys than [`AUTH_KEYS_MAX`].
    #[error("there are {0} keys, at most {AUTH_KEYS_MAX} are allowed")]
    TooMany(usize),
    /// Two keys with one key id.
    #[error("two keys have the same key id")]
    SameId,
}

/// One key that tokens are verified with.
pub struct Key {
    /// Its `kid`; one without takes tokens with any.
    id: Option<String>,
    material: Material,
    print: KeyPrint,
}

/// Tells keys apart: the same material has the same print, also when it was read anew. Says nothing of a secret that a
/// guesser could use, and is shown nowhere all the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyPrint([u8; 16]);

impl KeyPrint {
    fn of(algorithm: Algorithm, parts: &[&[u8]]) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(algorithm.name().as_bytes());
        for part in parts {
            hash.update(&part.len().to_le_bytes());
            hash.update(part);
        }
        let mut print = [0; 16];
        print.iter_mut().zip(hash.finish().as_ref()).for_each(|(to, from)| *to = *from);
        Self(print)
    }
}

impl fmt::Debug for KeyPrint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPrint(***)")
    }
}

enum Material {
    Secret(hmac::Key),
    Ed25519(Vec<u8>),
    P256(Vec<u8>),
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

/// Says which key it is, never the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {:?}, ***)", self.algorithm().name(), self.id)
    }
}

impl Key {
    /// A secret for HS256: these very bytes.
    pub fn secret(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeyError::ShortSecret(secret.len()));
        }
        let print = KeyPrint::of(Algorithm::Hs256, &[secret]);
        Ok(Self { id: None, material: Material::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret)), print })
    }

    /// A public key in PEM; its kind says the algorithm.
    pub fn public(text: &str) -> Result<Self, KeyError> {
        let (label, der) = pem::read(text).ok_or(KeyError::NotPublicKey)?;
        if label.ends_with("PRIVATE KEY") {
            return Err(KeyError::PrivateKey);
        }
        let material = match pem::public_key(&label, &der).ok_or(KeyError::NotPublicKey)? {
            PublicKey::Ed25519(key) => Material::Ed25519(key),
            PublicKey::P256(key) => Material::P256(key),
            PublicKey::Rsa { n, e } => rsa(n, e)?,
        };
        Ok(Self::verifying(None, material))
    }

    /// One with public material; a secret's print is that of its bytes, which are not kept.
    fn verifying(id: Option<String>, material: Material) -> Self {
        let print = match &material {
            Material::Secret(_) => KeyPrint::of(Algorithm::Hs256, &[]),
            Material::Ed25519(key) => KeyPrint::of(Algorithm::EdDsa, &[key]),
            Material::P256(key) => KeyPrint::of(Algorithm::Es256, &[key]),
            Material::Rsa { n, e } => KeyPrint::of(Algorithm::Rs256, &[n, e]),
        };
        Self { id, material, print }
    }

    /// The usable keys of a JWK set (RFC 7517). Others' keys may be in it, such as for encryption; they are passed over.
    pub fn jwks(json: &[u8]) -> Result<Vec<Self>, KeyError> {
        let Jwks { keys } = serde_json::from_slice(json).map_err(|error| {
            // Only where, since what was found there may be a secret.
            KeyError::NotJwks(format!("no list \"keys\" of objects with string members (line {})", error.line()))
        })?;
        let mut usable = Vec::new();
        for (at, jwk) in keys.into_iter().enumerate() {
            usable.extend(jwk.key().map_err(|what| KeyError::BadJwk { at, what })?);
        }
        if usable.is_empty() {
            return Err(KeyError::NoUsableJwk);
        }
        Ok(usable)
    }

    /// The one algorithm it is for.
    pub fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Secret(_) => Algorithm::Hs256,
            Material::Ed25519(_) => Algorithm::EdDsa,
            Material::P256(_) => Algorithm::Es256,
            Material::Rsa { .. } => Algorithm::Rs256,
        }
    }

    fn made(&self, signature: &[u8], signed: &[u8]) -> bool {
        match &self.material {
            Material::Secret(key) => hmac::verify(key, signed, signature).is_ok(),
            Material::Ed25519(key) => {
                UnparsedPublicKey::new(&signature::ED25519, key).verify(signed, signature).is_ok()
            }
            Material::P256(key) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, key).verify(signed, signature).is_ok()
            }
            Material::Rsa { n, e } => {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, signed, signature).is_ok()
            }
        }
    }
}

fn rsa(n: Vec<u8>, e: Vec<u8>) -> Result<Material, KeyError> {
    let bits = n
        .iter()
        .position(|byte| *byte != 0)
        .map_or(0, |at| (n.len() - at) * 8 - n.get(at).map_or(0, |byte| byte.leading_zeros() as usize));
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
        return Err(KeyError::RsaSize(bits));
    }
    Ok(Material::Rsa { n, e })
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Jwk>,
}

/// A member of a JWK set. Members that we have no use for may be of any kind.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default, rename = "use")]
    purpose: Option<String>,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    d: Option<serde::de::IgnoredAny>,
}

impl Jwk {
    /// The key; `None` for one that is not for us, and what is wrong with one that should be.
    fn key(self) -> Result<Option<Key>, &'static str> {
        if self.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
            return Ok(None);
        }
        let algorithm = match (&*self.kty, self.crv.as_deref()) {
            ("oct", _) => return Err("is a secret; put it into a file of its own and name that with --auth-secret"),
            ("OKP", Some("Ed25519")) => Algorithm::EdDsa,
            ("EC", Some("P-256")) => Algorithm::Es256,
            ("RSA", _) => Algorithm::Rs256,
            _ => return Ok(None),
        };
        let ed25519 = algorithm == Algorithm::EdDsa && self.alg.as_deref() == Some("Ed25519");
        if self.alg.as_deref().is_some_and(|alg| alg != algorithm.name()) && !ed25519 {
            return Ok(None);
        }
        if self.d.is_some() {
            return Err("is a private key; only public ones belong here");
        }
        let member = |member: Option<String>| member.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let whole = |bytes: Option<Vec<u8>>| {
            bytes.filter(|bytes| bytes.len() == 32).ok_or("has not the coordinates of its curve")
        };
        let material = match algorithm {
            Algorithm::Hs256 => return Ok(None),
            Algorithm::EdDsa => Material::Ed25519(whole(member(self.x))?),
            Algorithm::Es256 => Material::P256([vec![4], whole(member(self.x))?, whole(member(self.y))?].concat()),
            Algorithm::Rs256 => {
                let (n, e) = member(self.n).zip(member(self.e)).ok_or("has no \"n\" and \"e\" in base64url")?;
                rsa(n, e).map_err(|_| "is an RSA key that is too short or too long")?
            }
        };
        Ok(Some(Key::verifying(self.kid, material)))
    }
}

/// All keys that tokens are verified with.
#[derive(Debug)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// At most [`AUTH_KEYS_MAX`], with different key ids.
    pub fn new(keys: Vec<Key>) -> Result<Self, KeyError> {
        if keys.len() > AUTH_KEYS_MAX {
            return Err(KeyError::TooMany(keys.len()));
        }
        let mut ids: Vec<&String> = keys.iter().filter_map(|key| key.id.as_ref()).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(KeyError::SameId);
        }
        Ok(Self(keys))
    }

    /// A token that says this, signed with the first secret among them: who can verify with it can sign. `None` without
    /// one.
    pub(super) fn sign(&self, claims: &Claims) -> Option<String> {
        self.0.iter().find_map(|key| match &key.material {
            Material::Secret(secret) => SigningKey::Secret(secret.clone()).sign(claims, key.id.as_deref()),
            Material::Ed25519(_) | Material::P256(_) | Material::Rsa { .. } => None,
        })
    }

    /// What can be said of them in a log: their algorithms and key ids.
    pub fn describe(&self) -> Vec<String> {
        let name = |key: &Key| match &key.id {
            Some(id) => format!("{} {id:?}", key.algorithm().name()),
            None => key.algorithm().name().to_owned(),
        };
        self.0.iter().map(name).collect()
    }

    /// None: where somebody else is asked about tokens.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the key is among them.
    pub(super) fn have(&self, print: KeyPrint) -> bool {
        self.0.iter().any(|key| key.print == print)
    }

    /// Which of them signed the token. A key id is looked up, and nothing else is done with it; a key without one
    /// takes any, and a token without one is tried with all keys of its algorithm.
    pub(super) fn verify(&self, token: &Parts<'_>) -> Result<KeyPrint, TokenError> {
        let fits = |key: &&Key| {
            let same_id = key.id.is_none() || token.key_id.is_none() || key.id == token.key_id;
            key.algorithm() == token.algorithm && same_id
        };
        let mut candidates = self.0.iter().filter(fits).peekable();
        if candidates.peek().is_none() {
            return Err(TokenError::NoKey);
        }
        let signer = candidates.find(|key| key.made(&token.signature, token.signed));
        signer.map(|key| key.print).ok_or(TokenError::BadSignature)
    }
}
