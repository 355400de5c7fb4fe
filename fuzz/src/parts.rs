//! How several values lie in one input: each behind its length, the last one without an end.

use weft::wire::lib0::{Reader, write_var_bytes};

/// The values of an input, in order. Any bytes have some: a length that is none, or too large, is what the rest begins with.
pub struct Parts<'a> {
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Of these bytes.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The first byte of what is left, 0 at the end: for small choices.
    pub fn choice(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((first, rest)) => {
                self.rest = rest;
                *first
            }
            None => 0,
        }
    }

    /// What is left, whole.
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let mut reader = Reader::new(self.rest);
        match reader.var_bytes() {
            Ok(part) => {
                self.rest = reader.rest();
                Some(part)
            }
            Err(_) => Some(std::mem::take(&mut self.rest)),
        }
    }
}

/// An input of these values.
pub fn pack<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        write_var_bytes(&mut out, part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_taken_apart() {
        let parts = [&b"one"[..], b"", &[7; 300]];
        assert_eq!(Parts::of(&pack(parts)).collect::<Vec<_>>(), parts);
        assert_eq!(Parts::of(&[5, 1, 2]).collect::<Vec<_>>(), [[5, 1, 2]], "a length that lies is contents");
    }
}
