//! The end comes at an instant that chance chooses, in the midst of something: `kill -9`, or a power cut.
//!
//! A [`Life`] is one data directory that goes through many of them, and a ledger of all that was acked in it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::{Tally, calm, ground};
use crate::cli::{Cli, Output, path_str};
use crate::golden;
use crate::ledger::{Hand, Ledger};
use crate::power;
use crate::seed;
use crate::server::Options;
use crate::wait::PATIENCE;
use crate::writers::{self, Writers};

/// Documents that hands write to, one entry a hand.
const HANDS: [&str; 4] = ["a", "a", "b", "c"];
/// Rounds after which a life is over, so that what has to be compared after each stays small.
const ROUNDS_OF_A_LIFE: usize = 20;
/// The largest edit, letters; every few rounds only, since it has to be read again after each round.
const LETTERS_MAX: usize = 4 << 20;
/// The largest edit of the other rounds.
const LETTERS_USUAL: usize = 64 << 10;

/// What is going on when the end comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// The server starts on a directory that is not there yet.
    FirstStart,
    /// The server starts, and finds a journal.
    Start,
    /// Hands write.
    Edits,
    /// Hands write, and the journal is carried into the store.
    Checkpoint,
    /// Hands write, and logs are folded.
    Compaction,
    /// Hands write, and an admin imports.
    Import,
    /// Logs are folded, and no server runs.
    OfflineCompaction,
    /// An admin imports, and no server runs.
    OfflineImport,
    /// Hands write, and a backup is taken to the same disk.
    Backup,
    /// The directory is made anew from a backup.
    Restore,
    /// A directory of the first format is opened, and upgraded.
    Upgrade,
    /// Hands write, and a document is deleted under them.
    Deletion,
    /// A document is deleted, and no server runs.
    OfflineDeletion,
    /// Hands write, and what is live moves to a fresh database.
    Vacuum,
    /// What is live moves to a fresh database, and no server runs.
    OfflineVacuum,
}

impl Activity {
    /// All there are; a life begins with the first.
    pub const ALL: &[Activity] = &[
        Activity::FirstStart,
        Activity::Edits,
        Activity::Start,
        Activity::Checkpoint,
        Activity::OfflineCompaction,
        Activity::Compaction,
        Activity::Import,
        Activity::OfflineImport,
        Activity::Backup,
        Activity::Restore,
        Activity::Upgrade,
        Activity::Deletion,
        Activity::OfflineDeletion,
        Activity::Vacuum,
        Activity::OfflineVacuum,
    ];
}

/// How the end comes.
pub enum End {
    /// `kill -9`.
    Kill(tempfile::TempDir),
    /// The power goes.
    PowerCut(power::Disk),
}

impl End {
    fn dir(&self) -> PathBuf {
        match self {
            End::Kill(dir) => dir.path().to_owned(),
            End::PowerCut(disk) => disk.path(),
        }
    }

    /// The instant itself; processes are killed after it.
    fn strike(&self) {
        if let End::PowerCut(disk) = self {
            disk.cut();
        }
    }

    /// Once no process is left. There is no harm in doing it again.
    fn mend(&self) {
        if let End::PowerCut(disk) = self {
            disk.restore();
        }
    }
}

/// One data directory and what must be in it.
pub struct Life {
    end: End,
    data: PathBuf,
    ledger: Ledger,
    rng: ChaCha8Rng,
    round: usize,
}

impl Life {
    /// One that has not begun; `number` tells lives of one seed, and their directories, apart.
    pub fn new(end: End, seed: u64, number: u64) -> Self {
        let data = end.dir().join(format!("life-{number}"));
        Self { end, data, ledger: Ledger::default(), rng: seed::rng(seed, number), round: 0 }
    }

    fn cli(&self) -> Cli {
        Cli::on(&self.data)
    }

    /// Some milliseconds, so that the end comes anywhere in what takes about that long.
    fn chance(&mut self, ms_max: u64) {
        std::thread::sleep(Duration::from_micros(self.rng.random_range(0..=ms_max * 1_000)));
    }

    /// Lets the end come once in the midst of `activity`, and looks at what is there afterwards.
    pub fn round(&mut self, activity: Activity) {
        self.round += 1;
        let seed: u64 = self.rng.random();
        match activity {
            Activity::FirstStart | Activity::Start => self.start(),
            Activity::Edits => self.serve(None),
            Activity::Checkpoint => self.serve(Some(&["ls"])),
            Activity::Compaction => self.serve(Some(&["compact", "--all"])),
            Activity::OfflineCompaction => drop(self.offline(&["compact", "--all"])),
            Activity::Import | Activity::OfflineImport => self.import(activity == Activity::Import),
            Activity::Deletion | Activity::OfflineDeletion => self.delete(activity == Activity::Deletion),
            Activity::Vacuum => self.serve(Some(&["compact", "--all", "--vacuum"])),
            Activity::OfflineVacuum => drop(self.offline(&["compact", "--vacuum"])),
            Activity::Backup => self.backup(),
            Activity::Restore => self.restore(),
            Activity::Upgrade => self.upgrade(),
        }
        self.end.mend();
        self.look(activity, seed);
    }

    /// Compares everything.
    fn look(&mut self, activity: Activity, seed: u64) {
        let when = format!("round {}, after the end came in {activity:?}", self.round);
        let mut server = calm::check(&self.data, &mut self.ledger, &when, seed);
        // Offline commands are to find something to do, and a start something to replay.
        if self.rng.random_bool(0.2) { server.drain() } else { server.kill() }
    }

    fn start(&mut self) {
        let ms_max = 150;
        let mut starting = Options::new(&self.data).begin();
        self.chance(ms_max);
        self.end.strike();
        starting.kill();
    }

    /// Hands write, and a command is run over and over meanwhile.
    fn serve(&mut self, command: Option<&[&str]>) {
        let letters_max = if self.round.is_multiple_of(5) { LETTERS_MAX } else { LETTERS_USUAL };
        let mut server = Options::new(&self.data).start();
        let writers = Writers::start(server.addr(), &HANDS.map(str::to_owned), letters_max, &mut self.rng);
        writers.until_acked(self.rng.random_range(1..60), || false);
        let running = command.map(|command| self.cli().start(command));
        self.chance(60);
        self.end.strike();
        server.kill();
        if let Some(running) = running {
            assert_in_order(&running.wait(PATIENCE));
        }
        writers.leave(&mut self.ledger);
    }

    /// Runs a command that opens the directory itself.
    fn offline(&mut self, command: &[&str]) -> Output {
        let running = self.cli().start(command);
        self.chance(150);
        self.end.strike();
        let output = running.kill();
        assert!(output.code == -1 || (0..=3).contains(&output.code), "{output:?}");
        output
    }

    /// A document that was written to, and is deleted; a confirmed deletion is never undone.
    fn delete(&mut self, is_online: bool) {
        let doc = format!("deleted-{}", self.round);
        let mut server = Options::new(&self.data).start();
        assert!(writers::write_once(server.addr(), &doc, PATIENCE, &mut self.ledger, &mut self.rng), "not acked");
        let output = if is_online {
            let documents = [&*doc, HANDS[0], HANDS[2]].map(str::to_owned);
            let writers = Writers::start(server.addr(), &documents, LETTERS_USUAL, &mut self.rng);
            writers.until_acked(self.rng.random_range(1..20), || false);
            let running = self.cli().start(&["rm", &doc]);
            self.chance(40);
            self.end.strike();
            server.kill();
            let output = running.wait(PATIENCE);
            assert_in_order(&output);
            writers.leave(&mut self.ledger);
            output
        } else {
            server.kill();
            self.offline(&["rm", &doc])
        };
        self.ledger.ask_deletion(&doc);
        if output.code == 0 {
            self.ledger.confirm_deletion(&doc);
        }
    }

    /// A backup that was confirmed is whole, and holds all that was there when it began.
    fn backup(&mut self) {
        let file = self.data.with_extension(format!("{}.bak", self.round));
        let before = self.ledger.clone();
        let mut server = Options::new(&self.data).start();
        let writers = Writers::start(server.addr(), &HANDS.map(str::to_owned), LETTERS_USUAL, &mut self.rng);
        writers.until_acked(self.rng.random_range(1..20), || false);
        let running = self.cli().start(&["backup", path_str(&file)]);
        self.chance(200);
        self.end.strike();
        server.kill();
        let output = running.wait(PATIENCE);
        assert_in_order(&output);
        writers.leave(&mut self.ledger);
        self.end.mend();
        assert!(output.code != 0 || file.exists(), "round {}: a confirmed backup is gone", self.round);
        if file.exists() {
            let place = ground();
            let data = place.path().join("data");
            Cli::on(&data).done(&["restore", path_str(&file)]);
            let seed = self.rng.random();
            calm::check(&data, &mut before.seen_before(&self.ledger), "in a restored backup", seed);
            std::fs::remove_file(&file).expect("removed");
        }
    }

    /// Goes on with a directory that is restored from a backup of this one. Cut short, it is none, and is restored again.
    fn restore(&mut self) {
        let place = ground();
        let file = place.path().join("backup");
        self.cli().done(&["backup", path_str(&file)]);
        let old = self.data.clone();
        self.data = self.data.with_extension(format!("restored-{}", self.round));
        let output = self.offline(&["restore", path_str(&file)]);
        self.end.mend();
        let is_there = self.data.join("FORMAT").exists();
        assert!(output.code != 0 || is_there, "round {}: a confirmed restore is gone", self.round);
        if !is_there {
            self.cli().done(&["restore", path_str(&file)]);
        }
        std::fs::remove_dir_all(old).expect("removed");
    }

    /// On a directory of its own, that of the golden fixture.
    fn upgrade(&mut self) {
        let place = self.data.with_extension(format!("old-{}", self.round));
        std::fs::create_dir(&place).expect("made");
        let data = golden::unpack(1, &place);
        let synced = Command::new("sync").arg("-f").arg(&place).status().expect("sync runs");
        assert!(synced.success());
        let mut starting = Options::new(&data).begin();
        self.chance(200);
        self.end.strike();
        starting.kill();
        self.end.mend();
        golden::check(&Cli::on(&data), "after the end came in an upgrade");
        std::fs::remove_dir_all(place).expect("removed");
    }

    fn import(&mut self, is_online: bool) {
        let mut hand = Hand::new(&mut self.rng);
        let doc = *HANDS.choose(&mut self.rng).expect("hands");
        let letters = *[10, 5_000, 300_000, LETTERS_MAX].choose(&mut self.rng).expect("sizes");
        let files = ground();
        let file = files.path().join("update");
        std::fs::write(&file, hand.write(letters)).expect("written");
        let command = ["import", doc, path_str(&file)];
        let output = if is_online {
            let mut server = Options::new(&self.data).start();
            let writers = Writers::start(server.addr(), &HANDS.map(str::to_owned), LETTERS_USUAL, &mut self.rng);
            let running = self.cli().start(&command);
            self.chance(60);
            self.end.strike();
            server.kill();
            let output = running.wait(PATIENCE);
            assert_in_order(&output);
            writers.leave(&mut self.ledger);
            output
        } else {
            self.offline(&command)
        };
        if output.code == 0 {
            hand.ack(1);
        }
        self.ledger.enter(doc, hand.account());
    }
}

/// A command whose server was killed may fail, but says so.
fn assert_in_order(output: &Output) {
    assert!((0..=3).contains(&output.code) && !output.stderr.contains("panicked"), "{output:?}");
}

/// So many ends, over as many lives as that takes. None where the end cannot be made to come here.
pub fn run(rounds: usize, seed: u64, what: &str, mut end: impl FnMut() -> Option<End>) -> Option<Tally> {
    let mut tally = Tally { what: what.into(), rounds: 0, totals: crate::ledger::Totals::default() };
    let mut rng = seed::rng(seed, u64::MAX);
    let mut number = 0;
    while tally.rounds < rounds as u64 {
        let mut life = Life::new(end()?, seed, number);
        number += 1;
        for round in 0..ROUNDS_OF_A_LIFE.min(rounds - tally.rounds as usize) {
            // Each kind once, then as chance will.
            let activity = Activity::ALL.get(round).or_else(|| Activity::ALL[1..].choose(&mut rng));
            life.round(*activity.expect("activities"));
            tally.rounds += 1;
        }
        tally.totals += life.ledger.totals();
    }
    Some(tally)
}

/// Ends by `kill -9`.
pub fn kills(rounds: usize, seed: u64) -> Option<Tally> {
    run(rounds, seed, "kill -9", || Some(End::Kill(ground())))
}

/// Ends by power cuts on a file system of this kind.
pub fn power_cuts(kind: power::Kind, rounds: usize, seed: u64) -> Option<Tally> {
    run(rounds, seed, kind.name(), || power::Disk::mount(kind, ground()).map(End::PowerCut))
}
