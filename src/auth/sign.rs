//! The keys that we sign with. Some kinds of signatures need chance, so this is not as pure as the rest of the room.

use std::fmt;

use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};

use super::claims::Claims;
use super::keys::{Algorithm, KeyError};
use super::{pem, token};
use crate::limits::SECRET_BYTES_MIN;

/// A key that signs.
pub enum SigningKey {
    /// HS256.
    Secret(hmac::Key),
    /// EdDSA.
    Ed25519(Ed25519KeyPair),
    /// ES256.
    P256(EcdsaKeyPair),
    /// RS256.
    Rsa(RsaKeyPair),
}

/// Says which kind of key it is, never the key.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, ***)", self.algorithm().name())
    }
}

impl SigningKey {
    /// A secret for HS256, as [`Key::secret`].
    pub fn secret(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeyError::ShortSecret(secret.len()));
        }
        Ok(Self::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// A private key in PEM; its kind says the algorithm.
    pub fn private(text: &str) -> Result<Self, KeyError> {
        let (label, der) = pem::read(text).ok_or(KeyError::NotPrivateKey)?;
        let rng = SystemRandom::new();
        match &*label {
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(&der).ok().map(Self::Rsa),
            "PRIVATE KEY" => Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
                .map(Self::Ed25519)
                .or_else(|_| {
                    EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &der, &rng).map(Self::P256)
                })
                .or_else(|_| RsaKeyPair::from_pkcs8(&der).map(Self::Rsa))
                .ok(),
            _ => None,
        }
        .ok_or(KeyError::NotPrivateKey)
    }

    /// What tokens signed by it have as `alg`.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Secret(_) => Algorithm::Hs256,
            Self::Ed25519(_) => Algorithm::EdDsa,
            Self::P256(_) => Algorithm::Es256,
            Self::Rsa(_) => Algorithm::Rs256,
        }
    }

    /// A token that says this; `key_id` becomes its `kid`. `None` only when the system gives no random numbers.
    pub fn sign(&self, claims: &Claims, key_id: Option<&str>) -> Option<String> {
        let mut header = serde_json::json!({ "alg": self.algorithm().name(), "typ": "JWT" });
        if let Some(key_id) = key_id {
            header["kid"] = key_id.into();
        }
        let claims = serde_json::to_vec(claims).ok()?;
        token::assemble(header.to_string().as_bytes(), &claims, |signed| self.signature(signed))
    }

    pub(super) fn signature(&self, signed: &[u8]) -> Option<Vec<u8>> {
        let rng = SystemRandom::new();
        match self {
            Self::Secret(key) => Some(hmac::sign(key, signed).as_ref().to_vec()),
            Self::Ed25519(key) => Some(key.sign(signed).as_ref().to_vec()),
            Self::P256(key) => key.sign(&rng, signed).ok().map(|signature| signature.as_ref().to_vec()),
            Self::Rsa(key) => {
                let mut made = vec![0; key.public().modulus_len()];
                key.sign(&signature::RSA_PKCS1_SHA256, &rng, signed, &mut made).ok()?;
                Some(made)
            }
        }
    }
}
