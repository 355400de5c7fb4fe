//! A crowd of clients on one server: who is in which room, who writes, and the books about all of it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Outcome;
use super::account::Account;
use super::dialect::{Dialect, Heard};
use super::servers::{Recipe, Running};
use super::swarm::Swarm;
use super::token::{self, Pen};
use crate::message;

/// How long anything may take that is not measured by how long it takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long a client waits for the answer to its question whether all is safe (WIRE §2).
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// What the server said to one client.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// How often it answered what the client asked.
    pub answers: u64,
    /// The highest number that it echoed.
    pub echo: Option<u64>,
    /// How often it said that a write is safe.
    pub saved: u64,
    /// How often it said so, or will: once for each write, and once for each answer to its own question.
    pub owed: u64,
    /// Bytes of updates that it sent.
    pub update_bytes: u64,
}

/// Everything that was heard.
#[derive(Default)]
pub struct Books {
    /// Edits and who has them.
    pub account: Account,
    /// By connection.
    pub told: Vec<Told>,
    /// Connections that the server ended, and why.
    pub closed: Vec<(usize, String)>,
    /// Whether a write was refused.
    pub refused: bool,
    /// Authors, by connection, of edits that came to have reached everybody.
    freed: Vec<usize>,
    /// Connections that got an acknowledgement, once for each, where somebody wants to know.
    pub acked: Option<Vec<usize>>,
}

impl Books {
    /// Enters what was heard.
    pub fn enter(&mut self, line: usize, now: Instant, heard: Heard<'_>) {
        if self.told.len() <= line {
            self.told.resize_with(line + 1, Told::default);
        }
        let told = &mut self.told[line];
        match heard {
            Heard::Answer(update) | Heard::Update(update) => {
                told.answers += u64::from(matches!(heard, Heard::Answer(_)));
                told.update_bytes += update.len() as u64;
                let Self { account, freed, .. } = self;
                token::scan(update, |number| freed.extend(account.hear(line, number, now)));
            }
            Heard::Asked => told.owed += 1,
            Heard::Saved => {
                told.saved += 1;
                self.acked.iter_mut().for_each(|acked| acked.push(line));
            }
            Heard::Echo(number) => {
                told.echo = told.echo.max(Some(number));
                self.acked.iter_mut().for_each(|acked| acked.push(line));
            }
            Heard::Refused => self.refused = true,
            Heard::Closed(why) => self.closed.push((line, why.to_owned())),
            Heard::Opened | Heard::Other => {}
        }
    }
}

/// What an author writes next, given the number of the edit.
type Hand = Box<dyn FnMut(u32) -> Vec<u8>>;

struct Author {
    line: usize,
    room: usize,
    hand: Hand,
    /// Edits written.
    written: u64,
}

/// The clients of one server.
pub struct Crowd {
    recipe: Recipe,
    addr: SocketAddr,
    /// After each edit it is asked whether all is safe, where one has to ask.
    pub asks: bool,
    /// The number of the last question that was not about an author's write; far above those that are.
    questions: u64,
    /// Their connections.
    pub swarm: Swarm,
    /// What they heard.
    pub books: Books,
    authors: Vec<Author>,
}

impl Crowd {
    /// Nobody yet.
    pub fn new(server: &Running) -> Outcome<Self> {
        Ok(Self {
            recipe: server.recipe.clone(),
            addr: server.addr,
            asks: false,
            questions: 1 << 40,
            swarm: Swarm::new()?,
            books: Books::default(),
            authors: Vec::new(),
        })
    }

    fn dialect(&self) -> Dialect {
        self.recipe.dialect
    }

    /// Somebody connects who knows `state_vector`; the number of the connection.
    pub fn open(&mut self, name: &str, state_vector: &[u8]) -> Outcome<usize> {
        let line = self.swarm.open(self.addr, self.dialect(), name, state_vector)?;
        self.books.told.resize_with(line + 1, Told::default);
        Ok(line)
    }

    /// Somebody enters a room to hear what is written there.
    pub fn reader(&mut self, room: usize, name: &str, state_vector: &[u8]) -> Outcome<usize> {
        let line = self.open(name, state_vector)?;
        self.books.account.receiver(line, room);
        Ok(line)
    }

    /// Whoever has this connection will write, in turn with the others.
    pub fn author(&mut self, line: usize, room: usize, hand: Hand) {
        self.authors.push(Author { line, room, hand, written: 0 });
    }

    /// As [`Crowd::author`]: types tokens one after another.
    pub fn typist(&mut self, line: usize, room: usize) {
        let mut pen = Pen::new(client_id(line));
        self.author(line, room, Box::new(move |number| pen.write(&token::write(number))));
    }

    /// Takes one turn.
    pub fn turn(&mut self, until: Instant) -> Outcome<()> {
        let Self { swarm, books, .. } = self;
        swarm.turn(until, &mut |line, now, heard| books.enter(line, now, heard))?;
        match books.refused {
            true => Err("the server refused something".into()),
            false => Ok(()),
        }
    }

    /// Takes turns until `done`.
    pub fn until(&mut self, what: &str, patience: Duration, mut done: impl FnMut(&Self) -> bool) -> Outcome<()> {
        let deadline = Instant::now() + patience;
        while !done(self) {
            if Instant::now() >= deadline {
                return Err(format!("not within {} s: {what}", patience.as_secs()));
            }
            self.turn(deadline)?;
        }
        Ok(())
    }

    /// Takes turns for some time.
    pub fn pause(&mut self, span: Duration) -> Outcome<()> {
        let end = Instant::now() + span;
        while Instant::now() < end {
            self.turn(end)?;
        }
        Ok(())
    }

    /// Waits until everybody who connected has been answered.
    pub fn until_joined(&mut self) -> Outcome<()> {
        let mut at = 0;
        self.until("everybody is let in", PATIENCE, |crowd| {
            while crowd.books.told.get(at).is_some_and(|told| told.answers > 0) {
                at += 1;
            }
            at == crowd.books.told.len() || !crowd.books.closed.is_empty()
        })?;
        self.nobody_left()
    }

    /// An error if the server has closed a connection.
    pub fn nobody_left(&self) -> Outcome<()> {
        match self.books.closed.first() {
            Some((_, why)) => Err(format!("{} connections ended: {why}", self.books.closed.len())),
            None => Ok(()),
        }
    }

    /// `count` edits of one author leave in one piece.
    pub fn write(&mut self, author: usize, count: usize, due: Instant) -> Outcome<()> {
        let asks = self.asks && self.recipe.acks.is_some() && self.dialect() != Dialect::Hocuspocus;
        let Author { line, room, hand, written } = &mut self.authors[author];
        let mut frames = Vec::new();
        for _ in 0..count {
            let update = hand(self.books.account.next());
            frames.extend(self.swarm.frame(*line, &message::update(&update)));
            self.books.account.send(*line, *room, due);
            *written += 1;
            if asks {
                frames.extend(self.swarm.frame(*line, &message::ack(*written)));
            }
        }
        self.books.told[*line].owed += count as u64;
        self.swarm.send(*line, &frames)
    }

    /// Edits at a fixed rate, whatever becomes of them; the authors take turns.
    pub fn open_loop(&mut self, rate: u64, span: Duration) -> Outcome<()> {
        let edits = (rate as f64 * span.as_secs_f64()).round() as u32;
        let start = Instant::now();
        for number in 0..edits {
            let due = start + Duration::from_secs_f64(f64::from(number) / rate as f64);
            while Instant::now() < due {
                self.turn(due)?;
            }
            self.write(number as usize % self.authors.len(), 1, due)?;
        }
        Ok(())
    }

    /// Every author has `window` edits under way that have not reached everybody; returns when `span` is over.
    pub fn closed_loop(&mut self, window: usize, span: Duration) -> Outcome<()> {
        let start = Instant::now();
        let end = start + span;
        let mut author_of = vec![usize::MAX; self.swarm.len()];
        self.authors.iter().enumerate().for_each(|(at, author)| author_of[author.line] = at);
        self.books.freed.clear();
        for author in 0..self.authors.len() {
            self.write(author, window, Instant::now())?;
        }
        let mut free = vec![0; self.authors.len()];
        while Instant::now() < end {
            self.turn(end)?;
            for line in self.books.freed.drain(..) {
                free[author_of[line]] += 1;
            }
            let now = Instant::now();
            for (author, free) in free.iter_mut().enumerate() {
                if *free > 0 {
                    self.write(author, std::mem::take(free), now)?;
                }
            }
        }
        self.nobody_left()
    }

    /// Waits until every edit has reached everybody whom it was to reach, or none has come for as long as `patience`; how many
    /// deliveries are missing.
    pub fn until_delivered(&mut self, patience: Duration) -> Outcome<u64> {
        let mut deadline = Instant::now() + patience;
        while self.books.account.missing() > 0 && Instant::now() < deadline && self.books.closed.is_empty() {
            let before = self.books.account.delivered;
            self.turn(deadline)?;
            if self.books.account.delivered > before {
                deadline = Instant::now() + patience;
            }
        }
        Ok(self.books.account.missing())
    }

    /// Waits until the server has said of every write that it is safe, where it ever says so.
    pub fn until_acked(&mut self) -> Outcome<()> {
        let lines: Vec<(usize, u64)> = self.authors.iter().map(|author| (author.line, author.written)).collect();
        match self.recipe.acks {
            None => Ok(()),
            Some(_) => self.until_safe(&lines, PATIENCE),
        }
    }

    fn until_safe(&mut self, lines: &[(usize, u64)], patience: Duration) -> Outcome<()> {
        let dialect = self.dialect();
        let deadline = Instant::now() + patience;
        let mut at = 0;
        while at < lines.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("not within {} s: every write is acknowledged", patience.as_secs()));
            }
            if dialect != Dialect::Hocuspocus {
                // As clients do: who has had no answer for some time asks again; y-sweet forgets some.
                for (line, written) in &lines[at..] {
                    self.swarm.say(*line, &message::ack(*written))?;
                }
            }
            let again = Instant::now() + ASK_AGAIN.min(left);
            while at < lines.len() && Instant::now() < again {
                self.turn(again)?;
                self.nobody_left()?;
                while lines.get(at).is_some_and(|(line, written)| is_acked(dialect, &self.books.told[*line], *written))
                {
                    at += 1;
                }
            }
        }
        Ok(())
    }

    /// Sends one large update, or many small ones, as fast as the server takes them, and waits until it has taken all: until
    /// it says so, or answers a question that was asked after them by somebody who knows `state_vector`.
    pub fn push<'u>(
        &mut self,
        line: usize,
        updates: impl IntoIterator<Item = &'u Vec<u8>>,
        state_vector: &[u8],
        patience: Duration,
    ) -> Outcome<()> {
        /// What is under way at a time; more would only be memory.
        const AHEAD_BYTES: usize = 1 << 20;
        let deadline = Instant::now() + patience;
        let mut frames = Vec::new();
        for update in updates {
            frames.extend(self.swarm.frame(line, &message::update(update)));
            self.books.told[line].owed += 1;
            if frames.len() > 64 << 10 {
                self.swarm.send(line, &std::mem::take(&mut frames))?;
                while self.swarm.backlog(line) > AHEAD_BYTES {
                    if Instant::now() > deadline {
                        return Err(format!("not taken within {} s", patience.as_secs()));
                    }
                    self.turn(deadline)?;
                }
            }
        }
        self.swarm.send(line, &frames)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let taken = match self.recipe.acks {
            Some(_) => {
                self.questions += 1;
                self.until_safe(&[(line, self.questions)], left)
            }
            None => {
                let answers = self.books.told[line].answers;
                self.swarm.say(line, &message::step1(state_vector))?;
                self.until("all is taken", left, |crowd| crowd.books.told[line].answers > answers)
            }
        };
        taken.map_err(
            |e| if Instant::now() < deadline { e } else { format!("not taken within {} s", patience.as_secs()) },
        )
    }
}

/// Whether everything up to the write of this number, counted from one, was acknowledged.
pub fn is_acked(dialect: Dialect, told: &Told, written: u64) -> bool {
    match dialect {
        Dialect::Hocuspocus => told.saved >= told.owed,
        Dialect::YWebsocket | Dialect::YSweet => told.echo >= Some(written),
    }
}

/// As Yjs draws them: 32 bits, so most have five bytes on the wire.
pub fn client_id(number: usize) -> u64 {
    2_000_000_011 + number as u64 * 7_919
}
