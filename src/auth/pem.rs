//! Just enough PEM and DER to find the key in a file that `openssl` wrote. Whatever else is in such a file is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// OBJECT IDENTIFIERs with their parameters, as they stand in an AlgorithmIdentifier.
const ED25519: &[u8] = &[0x06, 3, 0x2b, 0x65, 0x70];
const P256: &[u8] =
    &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const RSA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0];

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// A public key, as ring wants it.
pub(super) enum PublicKey {
    Ed25519(Vec<u8>),
    P256(Vec<u8>),
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

/// The label and the bytes of a text that holds exactly one PEM block.
pub(super) fn read(text: &str) -> Option<(String, Vec<u8>)> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let label = lines.next()?.strip_prefix("-----BEGIN ")?.strip_suffix("-----")?;
    let (mut base64, mut ended) = (String::new(), false);
    for line in lines {
        if ended {
            return None;
        }
        match line.strip_prefix("-----END ") {
            Some(end) if end.strip_suffix("-----") == Some(label) => ended = true,
            Some(_) => return None,
            None => base64.push_str(line),
        }
    }
    let bytes = STANDARD.decode(base64).ok()?;
    ended.then(|| (label.to_owned(), bytes))
}

/// The key of a block labelled `PUBLIC KEY` (RFC 5280, SubjectPublicKeyInfo) or `RSA PUBLIC KEY` (RFC 8017 A.1.1); `None`
/// for other kinds of keys and other curves.
pub(super) fn public_key(label: &str, der: &[u8]) -> Option<PublicKey> {
    match label {
        "RSA PUBLIC KEY" => rsa(der),
        "PUBLIC KEY" => {
            let mut info = Der(Der(der).only(SEQUENCE)?);
            let algorithm = info.next(SEQUENCE)?;
            let key = info.only(BIT_STRING)?.strip_prefix(&[0])?;
            match (algorithm, key) {
                (ED25519, key) if key.len() == 32 => Some(PublicKey::Ed25519(key.to_vec())),
                // Uncompressed, which is what ring takes and everybody writes.
                (P256, [4, ..]) if key.len() == 65 => Some(PublicKey::P256(key.to_vec())),
                (RSA, key) => rsa(key),
                _ => None,
            }
        }
        _ => None,
    }
}

fn rsa(der: &[u8]) -> Option<PublicKey> {
    let mut key = Der(Der(der).only(SEQUENCE)?);
    let n = unsigned(key.next(INTEGER)?)?;
    let e = unsigned(key.only(INTEGER)?)?;
    Some(PublicKey::Rsa { n, e })
}

/// An INTEGER that is not negative, without the zero that says so.
fn unsigned(integer: &[u8]) -> Option<Vec<u8>> {
    match integer {
        [0, rest @ ..] if !rest.is_empty() => Some(rest.to_vec()),
        [first, ..] if *first < 0x80 => Some(integer.to_vec()),
        _ => None,
    }
}

/// What is left of a row of DER values.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next value, which must have this tag.
    fn next(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&[found, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81 => rest.split_first().map(|(len, rest)| (usize::from(*len), rest))?,
            0x82 => rest.split_first_chunk().map(|(len, rest)| (usize::from(u16::from_be_bytes(*len)), rest))?,
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        (found == tag).then_some(content)
    }

    /// The same for a value that must be the last.
    fn only(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next(tag).filter(|_| self.0.is_empty())
    }
}
