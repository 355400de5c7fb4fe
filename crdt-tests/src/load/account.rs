//! Who was to receive which edit, and who has.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// One edit that was sent.
struct Edit {
    due: Instant,
    author: u32,
    room: u32,
    /// Receivers that still lack it.
    left: u32,
}

/// One receiver.
struct Receiver {
    room: u32,
    /// One bit for each edit.
    has: Vec<u64>,
}

/// The books of one measurement. Receivers are known by the numbers of their connections.
pub struct Account {
    edits: Vec<Edit>,
    receivers: Vec<Option<Receiver>>,
    /// Receivers of each room.
    rooms: Vec<u32>,
    /// Deliveries that were due.
    pub expected: u64,
    /// Deliveries made; each edit counts once at each receiver.
    pub delivered: u64,
    /// Edits that came to somebody again.
    pub repeated: u64,
    /// Edits that all their receivers have.
    pub complete: u64,
    /// From the instant at which an edit was due to that at which it was read, µs.
    pub micros: Histogram<u64>,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            edits: Vec::new(),
            receivers: Vec::new(),
            rooms: Vec::new(),
            expected: 0,
            delivered: 0,
            repeated: 0,
            complete: 0,
            micros: histogram(),
        }
    }
}

/// For times in µs, up to an hour.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("bounds in order")
}

impl Account {
    /// Whoever is behind this connection is to receive what others write in this room.
    pub fn receiver(&mut self, line: usize, room: usize) {
        if self.receivers.len() <= line {
            self.receivers.resize_with(line + 1, || None);
        }
        self.receivers[line] = Some(Receiver { room: room as u32, has: Vec::new() });
        if self.rooms.len() <= room {
            self.rooms.resize(room + 1, 0);
        }
        self.rooms[room] += 1;
    }

    /// The number of the next edit.
    pub fn next(&self) -> u32 {
        self.edits.len() as u32
    }

    /// How many edits there are.
    pub fn sent(&self) -> u64 {
        self.edits.len() as u64
    }

    /// The next edit leaves now, as it was due at `due`.
    pub fn send(&mut self, author: usize, room: usize, due: Instant) {
        let is_receiver = matches!(self.receivers.get(author), Some(Some(_)));
        let left = self.rooms.get(room).copied().unwrap_or(0) - u32::from(is_receiver);
        self.expected += u64::from(left);
        self.edits.push(Edit { due, author: author as u32, room: room as u32, left });
    }

    /// Somebody read an edit. Which author has one edit less to wait for, if that was the last receiver.
    pub fn hear(&mut self, line: usize, number: u32, now: Instant) -> Option<usize> {
        let edit = self.edits.get_mut(number as usize)?;
        let receiver = self.receivers.get_mut(line)?.as_mut()?;
        // Some servers send edits back to their author.
        if edit.author as usize == line || edit.room != receiver.room {
            return None;
        }
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        if receiver.has.len() <= word {
            receiver.has.resize(word + 1, 0);
        }
        if receiver.has[word] & bit != 0 {
            self.repeated += 1;
            return None;
        }
        receiver.has[word] |= bit;
        self.delivered += 1;
        self.micros.saturating_record(now.saturating_duration_since(edit.due).as_micros() as u64);
        edit.left -= 1;
        (edit.left == 0).then(|| {
            self.complete += 1;
            edit.author as usize
        })
    }

    /// Deliveries that have not been made.
    pub fn missing(&self) -> u64 {
        self.expected - self.delivered
    }

    /// The numbers of edits that all their receivers have.
    pub fn completed(&self) -> impl Iterator<Item = u32> {
        let complete = self.edits.iter().enumerate().filter(|(_, edit)| edit.left == 0);
        complete.map(|(number, _)| number as u32)
    }

    /// A quantile of the times, ms.
    pub fn millis(&self, quantile: f64) -> f64 {
        self.micros.value_at_quantile(quantile) as f64 / 1e3
    }

    /// Forgets the times so far.
    pub fn forget_times(&mut self) {
        self.micros.reset();
    }
}

/// Of a duration.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_is_complete_when_every_other_in_its_room_has_it() {
        let mut account = Account::default();
        let now = Instant::now();
        for (line, room) in [(0, 0), (1, 0), (2, 0), (3, 1)] {
            account.receiver(line, room);
        }
        account.send(0, 0, now);
        assert_eq!((account.expected, account.missing()), (2, 2));
        assert_eq!(account.hear(0, 0, now), None, "an echo to the author is no delivery");
        assert_eq!(account.hear(3, 0, now), None, "nor is what comes to another room");
        assert_eq!(account.hear(1, 0, now), None);
        assert_eq!(account.hear(1, 0, now), None);
        assert_eq!((account.delivered, account.repeated, account.complete), (1, 1, 0));
        assert_eq!(account.hear(2, 0, now), Some(0));
        assert_eq!((account.missing(), account.complete), (0, 1));
        assert_eq!(account.hear(2, 7, now), None, "a number that nobody wrote");
    }
}
