//! What is measured: one scenario for each row of the goals, or for several that come of the same work.

mod acks;
mod cold_open;
mod fan_out;
mod idle;
mod kill;
mod million;
mod reconnect;
mod rooms;
mod storm;
mod typing;

use super::Outcome;
use super::figures::Figure;
use super::lab::Lab;
use super::servers::Recipe;

/// Which servers a scenario is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// Whoever hands on what he hears, the bare loop among them.
    All,
    /// Whoever keeps documents.
    Keepers,
    /// Whoever acknowledges writes; the bare file among them.
    Ackers,
    /// weft.
    Weft,
}

/// Something that is measured.
#[derive(Debug)]
pub struct Scenario {
    /// On the command line, and the name of its file.
    pub name: &'static str,
    /// What is done, for people.
    pub title: &'static str,
    /// Which servers it is for.
    pub servers: For,
    /// How often it is done in a quick run, and in a full one.
    pub rounds: (usize, usize),
    /// What weft is to reach, by the name of the figure.
    pub aims: &'static [(&'static str, f64)],
    /// Does it once.
    pub run: fn(&Lab, &Recipe) -> Outcome<Vec<Figure>>,
}

impl Scenario {
    /// Whether it makes sense for this server.
    pub fn is_for(&self, recipe: &Recipe) -> bool {
        match self.servers {
            For::All => true,
            For::Keepers => !recipe.is_limit(),
            For::Ackers => recipe.acks.is_some(),
            For::Weft => recipe.is_weft(),
        }
    }
}

/// All of them, in the order of the goals.
pub const ALL: &[Scenario] = &[
    fan_out::FIVE_HUNDRED,
    fan_out::FIFTY,
    fan_out::SATURATION,
    fan_out::INSIDE,
    rooms::STEADY,
    rooms::SATURATION,
    typing::TYPING,
    cold_open::COLD_OPEN,
    reconnect::RECONNECT,
    idle::IDLE,
    kill::KILL,
    acks::CLOSED_LOOP,
    acks::OPEN_LOOP,
    million::MILLION,
    storm::CUT,
    storm::KILLED,
];

/// The one of this name.
pub fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}
