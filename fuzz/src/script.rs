//! Updates that look legal, from any bytes: each byte is a choice, so that chance changes what is meant and not only how it
//! is written. Few clients, clocks that mostly follow, neighbours and parents that mostly exist: what is refused by nobody
//! at the door and must be got right behind it.

use std::collections::BTreeSet;

use weft::ids::{ClientId, Clock};
use weft::wire::lib0::{write_var_bytes, write_var_uint};
use weft::wire::update::Builder;

/// Bytes as choices. At their end every choice is the first one.
pub struct Choices<'a> {
    rest: &'a [u8],
}

impl<'a> Choices<'a> {
    /// Of these bytes.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether there are none left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// One of `n`, from 0.
    pub fn pick(&mut self, n: u32) -> u32 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        u32::from(*first) % n.max(1)
    }

    /// True in one of `n` cases.
    pub fn once_in(&mut self, n: u32) -> bool {
        self.pick(n) == n - 1
    }
}

/// Text with everything that is counted differently: by bytes, characters and UTF-16 units.
const TEXTS: [&str; 8] =
    ["a", "hello", "x\u{e4}y", "\u{1f600}", "a\u{1f600}b\u{1f468}\u{200d}\u{1f469}", "\u{fffd}", "line\nline", "\u{0}"];
const ROOTS: [&str; 5] = ["text", "map", "array", "xml", ""];
const KEYS: [&str; 3] = ["k", "other", ""];
const JSON: [&str; 6] = ["true", "null", "{\"a\":[1,\"x\"]}", "\"red\"", "1.5", "-7"];
/// Values of `Any`: each as it is written.
const ANY: [&[u8]; 10] = [
    &[127],
    &[126],
    &[120],
    &[125, 7],
    &[125, 0xff, 0x7f],
    &[124, 0x3f, 0xc0, 0, 0],
    &[119, 2, b'h', b'i'],
    &[118, 1, 1, b'k', 117, 2, 126, 121],
    &[116, 3, 1, 2, 3],
    &[122, 0, 0, 0, 0, 0, 0, 0, 9],
];

/// What the authors of the updates have written so far.
#[derive(Default)]
pub struct Authors {
    /// Behind the last tick of each.
    ends: [Clock; 5],
    /// Ticks that carry shared types.
    types: Vec<(usize, Clock)>,
    /// Ticks that stand under a key.
    keyed: BTreeSet<(usize, Clock)>,
}

/// Ids of the authors: neighbours, small ones, and the largest there are.
const CLIENTS: [u64; 5] = [1, 2, 5, 1 << 32, (1 << 53) - 1];

impl Authors {
    /// The next update.
    pub fn update(&mut self, choices: &mut Choices<'_>) -> Vec<u8> {
        let mut builder = Builder::default();
        let mut written = 0u8;
        for _ in 0..=choices.pick(3) {
            let author = choices.pick(5) as usize;
            // One section each: a second one would have to follow the first.
            if written & (1 << author) != 0 {
                continue;
            }
            // Mostly where it ended; else before, for an overlap, or behind, for a gap.
            let end = self.ends[author];
            let begin = match choices.pick(8) {
                6 => end.saturating_sub(1 + choices.pick(4)),
                7 => end + 1 + choices.pick(3),
                _ => end,
            };
            let mut clock = begin;
            let structs = 1 + choices.pick(4);
            let mut bytes = Vec::new();
            for _ in 0..structs {
                clock += self.write_struct(&mut bytes, author, clock, choices);
            }
            builder.structs(ClientId(CLIENTS[author]), begin, structs.into(), &[&bytes]);
            self.ends[author] = end.max(clock);
            written |= 1 << author;
        }
        for _ in 0..choices.pick(3) {
            let author = choices.pick(4) as usize;
            let from = choices.pick(self.ends[author] + 2);
            builder.delete(ClientId(CLIENTS[author]), from, from + 1 + choices.pick(6));
        }
        builder.finish()
    }

    /// Appends one struct of `author` at `clock`, and says how many ticks it has.
    fn write_struct(&mut self, out: &mut Vec<u8>, author: usize, clock: Clock, choices: &mut Choices<'_>) -> Clock {
        let kind = choices.pick(16);
        if kind >= 14 {
            let len = 1 + choices.pick(3);
            out.push(if kind == 14 { 0 } else { 10 });
            write_var_uint(out, len.into());
            return len;
        }
        let number = [4, 4, 4, 4, 8, 8, 8, 7, 7, 7, 6, 5, 1, 3][kind as usize];
        let number = if number == 3 && choices.once_in(3) { 9 } else { number };
        let (mut info, mut place) = (number, Vec::new());
        // No text is written under a key.
        let may_be_keyed = !matches!(number, 4..=6) || choices.once_in(40);
        let (neighbours, mut beside) = (choices.pick(8), None);
        // 0..=3 behind what the author wrote last, as people type; 4 and 5 anywhere; else in a parent.
        if neighbours < 4 && clock > 0 {
            info |= 0x80;
            beside = Some(id(&mut place, author, clock - 1));
        } else if neighbours < 6 && self.ends.iter().any(|end| *end > 0) {
            info |= 0x80;
            beside = Some(self.some_id(&mut place, choices));
        }
        if (neighbours >= 6 || choices.once_in(20)) && choices.once_in(3) && self.ends.iter().any(|end| *end > 0) {
            info |= 0x40;
            let right = self.some_id(&mut place, choices);
            beside = beside.or(Some(right));
        }
        if info & 0xc0 == 0 {
            match choices.pick(4) {
                0 if !self.types.is_empty() => {
                    let (author, clock) = self.types[choices.pick(self.types.len() as u32) as usize];
                    write_var_uint(&mut place, 0);
                    let _ = id(&mut place, author, clock);
                }
                1 if choices.once_in(4) => {
                    write_var_uint(&mut place, 0);
                    let _ = self.some_id(&mut place, choices);
                }
                _ => {
                    write_var_uint(&mut place, 1);
                    write_var_bytes(&mut place, ROOTS[choices.pick(5) as usize].as_bytes());
                }
            }
            if may_be_keyed && choices.once_in(3) {
                info |= 0x20;
                write_var_bytes(&mut place, KEYS[choices.pick(3) as usize].as_bytes());
            }
        } else if may_be_keyed && beside.is_some_and(|beside| self.keyed.contains(&beside)) != choices.once_in(12) {
            info |= 0x20;
        }
        out.push(info);
        out.extend(place);
        let len = self.write_content(out, number, (author, clock), choices);
        if info & 0x20 != 0 || beside.is_some_and(|beside| self.keyed.contains(&beside)) {
            self.keyed.extend((clock..clock + len).map(|clock| (author, clock)));
        }
        len
    }

    /// Appends content of this kind, and says how many ticks it has.
    fn write_content(
        &mut self,
        out: &mut Vec<u8>,
        number: u8,
        (author, clock): (usize, Clock),
        choices: &mut Choices<'_>,
    ) -> Clock {
        match number {
            1 => {
                let len = 1 + choices.pick(4);
                write_var_uint(out, len.into());
                len
            }
            3 => {
                write_var_bytes(out, &[1, 2, 3]);
                1
            }
            4 => {
                let text = TEXTS[choices.pick(8) as usize];
                write_var_bytes(out, text.as_bytes());
                text.encode_utf16().count() as Clock
            }
            5 => {
                write_var_bytes(out, JSON[choices.pick(6) as usize].as_bytes());
                1
            }
            6 => {
                write_var_bytes(out, KEYS[choices.pick(2) as usize].as_bytes());
                write_var_bytes(out, JSON[choices.pick(6) as usize].as_bytes());
                1
            }
            7 => {
                let number = choices.pick(7) as u8;
                out.push(number);
                if matches!(number, 3 | 5) {
                    write_var_bytes(out, b"p");
                }
                self.types.push((author, clock));
                1
            }
            8 => {
                let values = 1 + choices.pick(3);
                write_var_uint(out, values.into());
                (0..values).for_each(|_| out.extend(ANY[choices.pick(10) as usize]));
                values
            }
            _ => {
                write_var_bytes(out, b"sub-document");
                out.extend(ANY[7]);
                1
            }
        }
    }

    /// A tick that somebody wrote, or almost.
    fn some_id(&self, out: &mut Vec<u8>, choices: &mut Choices<'_>) -> (usize, Clock) {
        let author = choices.pick(4) as usize;
        let clock = choices.pick(self.ends[author] + 1);
        id(out, author, clock)
    }

    /// A state vector that somebody could have.
    pub fn state_vector(&self, choices: &mut Choices<'_>) -> Vec<u8> {
        let known = CLIENTS.iter().zip(self.ends).map(|(client, end)| (ClientId(*client), choices.pick(end + 2)));
        weft::wire::state_vector::encode(&known.collect())
    }
}

fn id(out: &mut Vec<u8>, author: usize, clock: Clock) -> (usize, Clock) {
    write_var_uint(out, CLIENTS[author]);
    write_var_uint(out, clock.into());
    (author, clock)
}
