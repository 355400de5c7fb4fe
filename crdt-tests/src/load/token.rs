//! Edits that can be told apart wherever they end up: each inserts a token, a number in a form that hardly anything else has.
//!
//! Servers may merge updates, cut them and order them anew, so frames cannot be counted; tokens can.

use crate::message::{self, var_uint};

/// Bytes, and letters, of one token.
pub const BYTES: usize = 6;

const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";

/// The value of each digit; 64 for what is none.
const VALUES: [u8; 256] = {
    let mut values = [64; 256];
    let mut at = 0;
    while at < 64 {
        values[DIGITS[at] as usize] = at as u8;
        at += 1;
    }
    values
};

/// The token of a number below 2²⁴.
pub fn write(number: u32) -> [u8; BYTES] {
    let digit = |shift: u32| DIGITS[(number >> shift & 63) as usize];
    [b'~', digit(18), digit(12), digit(6), digit(0), b';']
}

/// Finds the tokens in an update, in the order in which they stand there.
pub fn scan(update: &[u8], mut found: impl FnMut(u32)) {
    let mut rest = update;
    while let Some(at) = memchr::memchr(b'~', rest) {
        rest = &rest[at..];
        match read(rest) {
            Some(number) => {
                found(number);
                rest = &rest[BYTES..];
            }
            None => rest = &rest[1..],
        }
    }
}

fn read(bytes: &[u8]) -> Option<u32> {
    let [b'~', digits @ .., b';'] = bytes.get(..BYTES)? else { return None };
    digits.iter().try_fold(0, |number, digit| match VALUES[*digit as usize] {
        64 => None,
        value => Some(number << 6 | u32::from(value)),
    })
}

/// Somebody who types: each edit is what comes after the one before it, in v1 encoding.
#[derive(Debug, Clone)]
pub struct Pen {
    client: u64,
    clock: u64,
}

impl Pen {
    /// With the client id that its edits carry.
    pub fn new(client: u64) -> Self {
        Self { client, clock: 0 }
    }

    /// Inserts ASCII text and gives the update.
    pub fn write(&mut self, text: &[u8]) -> Vec<u8> {
        let id = var_uint(self.client);
        let place = match self.clock.checked_sub(1) {
            None => [&[0x04, 1][..], &message::var_bytes(b"text")].concat(),
            Some(left) => [&[0x84][..], &id, &var_uint(left)].concat(),
        };
        let clock = var_uint(self.clock);
        self.clock += text.len() as u64;
        [&[1, 1][..], &id, &clock, &place, &message::var_bytes(text), &[0]].concat()
    }
}

/// The text of a document given as one update.
pub fn text_of(update: &[u8]) -> String {
    use yrs::{GetString, Transact};

    let doc = crate::author::listener();
    let text = doc.get_or_insert_text("text");
    crate::author::apply(&doc, update);
    text.get_string(&doc.transact())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_wherever_they_stand() {
        let numbers = [0, 1, 63, 64, 4_095, 1 << 20, (1 << 24) - 1];
        let mut bytes = b"~~0000~12345;~;".to_vec();
        for number in numbers {
            bytes.extend(write(number));
            bytes.extend(b"~ab");
        }
        let mut found = Vec::new();
        scan(&bytes, |number| found.push(number));
        assert_eq!(found, numbers);
    }

    #[test]
    fn a_pen_writes_a_text() {
        let mut pen = Pen::new(1_000_000_007);
        let updates: Vec<Vec<u8>> = (0..100).map(|number| pen.write(&write(number))).collect();
        let all = yrs::merge_updates_v1(updates.iter().map(Vec::as_slice)).expect("updates");
        let expected: Vec<u8> = (0..100).flat_map(write).collect();
        assert_eq!(text_of(&all).as_bytes(), expected);
    }
}
