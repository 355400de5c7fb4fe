//! Somebody who opens documents and waits until he has all of them.

use std::time::{Duration, Instant};

use super::Outcome;
use super::crowd::PATIENCE;
use super::dialect::Heard;
use super::servers::Running;
use super::swarm::Swarm;
use super::token;

/// How to tell that a document is all there. Some servers answer before they have read it, and send the rest as an edit.
#[derive(Debug, Clone, Copy)]
pub struct Whole {
    /// The number of the token in it.
    pub token: u32,
    /// The least bytes that it can have.
    pub bytes: usize,
}

/// What was read.
pub struct Pulled {
    /// From the first connect to the last byte of the last document.
    pub took: Duration,
    /// Updates, by document.
    pub updates: Vec<Vec<Vec<u8>>>,
    /// The connections, still open.
    pub swarm: Swarm,
}

impl Pulled {
    /// The text of the one document, or the first.
    pub fn text(&self) -> String {
        let all = yrs::merge_updates_v1(self.updates[0].iter().map(Vec::as_slice)).expect("the server sends updates");
        token::text_of(&all)
    }

    /// Bytes of it.
    pub fn bytes(&self) -> usize {
        self.updates[0].iter().map(Vec::len).sum()
    }
}

/// Opens all of these at once.
pub fn pull(server: &Running, rooms: &[String], whole: Whole) -> Outcome<Pulled> {
    #[derive(Clone, Default)]
    struct State {
        answered: bool,
        marked: bool,
        bytes: usize,
    }
    let mut swarm = Swarm::new()?;
    let began = Instant::now();
    for room in rooms {
        swarm.open(server.addr, server.recipe.dialect, room, &[0])?;
    }
    let mut states = vec![State::default(); rooms.len()];
    let mut updates = vec![Vec::new(); rooms.len()];
    let mut failed = None;
    let deadline = began + PATIENCE;
    let is_whole = |state: &State| state.answered && state.marked && state.bytes >= whole.bytes;
    while !states.iter().all(is_whole) {
        if Instant::now() > deadline {
            return Err(format!("documents are not whole after {} s", PATIENCE.as_secs()));
        }
        swarm.turn(deadline, &mut |line, _, heard| match heard {
            Heard::Answer(update) | Heard::Update(update) => {
                let state = &mut states[line];
                state.answered |= matches!(heard, Heard::Answer(_));
                state.bytes += update.len();
                token::scan(update, |number| state.marked |= number == whole.token);
                updates[line].push(update.to_vec());
            }
            Heard::Closed(why) => failed = Some(why.to_owned()),
            _ => {}
        })?;
        if let Some(why) = failed {
            return Err(why);
        }
    }
    Ok(Pulled { took: began.elapsed(), updates, swarm })
}

/// Everything that the server shows of a document, without knowing what it should be.
pub fn look(server: &Running, room: &str) -> Outcome<Vec<Vec<u8>>> {
    /// What comes later than this is not counted; this is about what was lost, not about time.
    const AFTERTHOUGHT: Duration = Duration::from_millis(500);
    let mut swarm = Swarm::new()?;
    swarm.open(server.addr, server.recipe.dialect, room, &[0])?;
    let mut updates = Vec::new();
    let (mut deadline, mut answered, mut failed) = (Instant::now() + PATIENCE, false, None);
    while Instant::now() < deadline && failed.is_none() {
        let mut now_answered = answered;
        swarm.turn(deadline, &mut |_, _, heard| match heard {
            Heard::Answer(update) | Heard::Update(update) => {
                now_answered |= matches!(heard, Heard::Answer(_));
                updates.push(update.to_vec());
            }
            Heard::Closed(why) => failed = Some(why.to_owned()),
            _ => {}
        })?;
        if now_answered && !answered {
            if !server.recipe.answers_early {
                break;
            }
            (answered, deadline) = (true, Instant::now() + AFTERTHOUGHT);
        }
    }
    match failed {
        Some(why) => Err(why),
        None => Ok(updates),
    }
}
