//! lib0's primitives: the encoding under every Yjs message (WIRE §0).
//!
//! [`Reader`] borrows from the bytes it reads, allocates nothing, and turns every shortage into an error. A length read
//! from the bytes is compared with the bytes that are left before anything is done with it.

use super::WireError;
use crate::limits::ANY_DEPTH_MAX;

/// Largest integer lib0 can carry: JavaScript's `Number.MAX_SAFE_INTEGER`, 53 bits.
pub const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;

/// A cursor over bytes from outside.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Offset of the next byte.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes that are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Whether all bytes were read.
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// The bytes between two offsets that this reader has passed; empty when they are out of range.
    pub fn slice(&self, from: usize, to: usize) -> &'a [u8] {
        self.bytes.get(from..to).unwrap_or_default()
    }

    /// Errors unless every byte was read.
    pub fn end(&self) -> Result<(), WireError> {
        if self.is_empty() { Ok(()) } else { Err(WireError::TrailingBytes(self.remaining())) }
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, WireError> {
        let byte = *self.bytes.get(self.at).ok_or(WireError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    /// `n` bytes as they are.
    #[inline]
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        if n > self.remaining() {
            return Err(WireError::Truncated);
        }
        let taken = &self.bytes[self.at..self.at + n];
        self.at += n;
        Ok(taken)
    }

    /// LEB128, at most 53 bits, in as few bytes as they need: what was taken is written again as it came.
    #[inline]
    pub fn var_uint(&mut self) -> Result<u64, WireError> {
        let first = self.u8()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        let mut shift = 7;
        loop {
            let byte = self.u8()?;
            let group = u64::from(byte & 0x7f);
            if shift > 49 || (shift == 49 && group > 0xf) {
                return Err(WireError::IntegerTooLarge);
            }
            value |= group << shift;
            if byte < 0x80 {
                return if byte == 0 { Err(WireError::IntegerPadded) } else { Ok(value) };
            }
            shift += 7;
        }
    }

    /// Signed integer: continuation, sign and 6 bits, then 7-bit groups. Its value is not needed anywhere; it is only
    /// checked to be one and passed over. Of more than 53 bits, lib0 would make another number, or throw.
    pub fn skip_var_int(&mut self) -> Result<(), WireError> {
        let mut byte = self.u8()?;
        if byte < 0x80 {
            return Ok(());
        }
        let mut bits = 6;
        loop {
            byte = self.u8()?;
            let group = byte & 0x7f;
            if bits > 48 || (bits == 48 && group > 0x1f) {
                return Err(WireError::IntegerTooLarge);
            }
            if byte < 0x80 {
                return if byte == 0 { Err(WireError::IntegerPadded) } else { Ok(()) };
            }
            bits += 7;
        }
    }

    /// A length that must fit into what is left.
    #[inline]
    pub fn var_len(&mut self) -> Result<usize, WireError> {
        let len = self.var_uint()?;
        if len > self.remaining() as u64 {
            return Err(WireError::Truncated);
        }
        Ok(len as usize)
    }

    /// A count of entries of which each takes at least `bytes_min` bytes, so it is bounded by what is left.
    pub fn var_count(&mut self, bytes_min: usize) -> Result<u64, WireError> {
        let count = self.var_uint()?;
        if count.saturating_mul(bytes_min as u64) > self.remaining() as u64 {
            return Err(WireError::CountTooLarge { count, remaining: self.remaining() });
        }
        Ok(count)
    }

    /// Length-prefixed bytes.
    #[inline]
    pub fn var_bytes(&mut self) -> Result<&'a [u8], WireError> {
        let len = self.var_len()?;
        self.take(len)
    }

    /// Length-prefixed UTF-8.
    #[inline]
    pub fn var_string(&mut self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.var_bytes()?).map_err(|_| WireError::NotUtf8)
    }

    /// The next byte, which stays.
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Passes over one lib0 `Any` value, however nested, without recursion. Depth is at most [`ANY_DEPTH_MAX`].
    pub fn skip_any(&mut self) -> Result<(), WireError> {
        // What is still to be read in each open container; an object counts entries, each of them key and value.
        let mut open = [(0u64, false); ANY_DEPTH_MAX];
        let mut depth = 0;
        loop {
            let container = match self.u8()? {
                127 | 126 | 121 | 120 => None, // undefined, null, false, true
                125 => {
                    self.skip_var_int()?;
                    None
                }
                124 => {
                    self.take(4)?;
                    None
                }
                123 | 122 => {
                    self.take(8)?;
                    None
                }
                119 => {
                    self.var_string()?;
                    None
                }
                118 => Some((self.var_count(2)?, true)),
                117 => Some((self.var_count(1)?, false)),
                116 => {
                    self.var_bytes()?;
                    None
                }
                tag => return Err(WireError::UnknownTag { what: "any value", tag: u64::from(tag) }),
            };
            if let Some(entries) = container {
                *open.get_mut(depth).ok_or(WireError::TooDeep)? = entries;
                depth += 1;
            }
            // Close what is complete; then step to the next value.
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let (left, keyed) = &mut open[depth - 1];
                if *left == 0 {
                    depth -= 1;
                    continue;
                }
                *left -= 1;
                if *keyed {
                    self.var_string()?;
                }
                break;
            }
        }
    }
}

/// Appends a LEB128 integer.
#[inline]
pub fn write_var_uint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends length-prefixed bytes.
pub fn write_var_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_var_uint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// How many bytes [`write_var_uint`] appends for `value`.
pub fn var_uint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn var_uint_round_trips(value in 0..=SAFE_INTEGER_MAX) {
            let mut out = Vec::new();
            write_var_uint(&mut out, value);
            prop_assert_eq!(out.len(), var_uint_len(value));
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.var_uint().unwrap(), value);
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Reader::new(&bytes).var_uint();
            let _ = Reader::new(&bytes).var_string();
            let _ = Reader::new(&bytes).skip_var_int();
            let _ = Reader::new(&bytes).skip_any();
            let _ = Reader::new(&bytes).var_count(3);
        }
    }

    #[test]
    fn integers_beyond_53_bits_are_refused() {
        assert_eq!(
            Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f]).var_uint(),
            Err(WireError::IntegerTooLarge)
        );
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]).var_uint(), Ok(SAFE_INTEGER_MAX));
        assert_eq!(Reader::new(&[0x80; 20]).var_uint(), Err(WireError::IntegerTooLarge));
    }

    #[test]
    fn integers_have_one_spelling() {
        for padded in [&[0x80, 0][..], &[0xff, 0], &[0x81, 0x80, 0]] {
            assert_eq!(Reader::new(padded).var_uint(), Err(WireError::IntegerPadded), "{padded:?}");
            assert_eq!(Reader::new(padded).skip_var_int(), Err(WireError::IntegerPadded), "{padded:?}");
        }
        assert_eq!(Reader::new(&[0]).var_uint(), Ok(0));
    }

    #[test]
    fn signed_integers_have_53_bits() {
        // 6 bits and six times 7, which are 48, and 5 more.
        let largest = |sign: u8| [0xbf | sign, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f];
        assert_eq!(Reader::new(&largest(0)).skip_var_int(), Ok(()));
        assert_eq!(Reader::new(&largest(0x40)).skip_var_int(), Ok(()), "below zero");
        let mut larger = largest(0);
        larger[7] = 0x20;
        assert_eq!(Reader::new(&larger).skip_var_int(), Err(WireError::IntegerTooLarge));
        assert_eq!(Reader::new(&[0xff; 12]).skip_var_int(), Err(WireError::IntegerTooLarge));
        assert_eq!(Reader::new(&[0x40]).skip_var_int(), Ok(()), "JavaScript's -0");
    }

    #[test]
    fn any_nested_100_000_deep_is_refused_without_recursion() {
        let mut bytes = [117u8, 1].repeat(100_000);
        bytes.push(126);
        assert_eq!(Reader::new(&bytes).skip_any(), Err(WireError::TooDeep));
        let mut allowed = [117u8, 1].repeat(ANY_DEPTH_MAX);
        allowed.push(126);
        assert_eq!(Reader::new(&allowed).skip_any(), Ok(()));
    }

    #[test]
    fn any_object_reads_keys_and_values() {
        // {"a": [1, "x"], "b": null}
        let bytes = [118, 2, 1, b'a', 117, 2, 125, 1, 119, 1, b'x', 1, b'b', 126];
        let mut reader = Reader::new(&bytes);
        reader.skip_any().unwrap();
        assert!(reader.is_empty());
    }
}
