//! What there are rates of, and how they are written: `messages=2000,bytes=1000000`.

use std::num::NonZeroU32;
use std::str::FromStr;

use serde::Deserialize;

use crate::limits::{RATE_BYTES, RATE_CPU_MS, RATE_MAX, RATE_MESSAGES, RATE_OPENS, RATE_STRUCTS};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Messages of clients, whatever they say.
    Messages,
    /// Bytes of frames.
    Bytes,
    /// Structs in updates.
    Structs,
    /// Microseconds that a processor was busy with them. People say milliseconds.
    Cpu,
    /// Documents opened.
    Opens,
}

impl Kind {
    /// All there are, in their order.
    pub const ALL: [Kind; 5] = [Kind::Messages, Kind::Bytes, Kind::Structs, Kind::Cpu, Kind::Opens];

    /// As options and metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Messages => "messages",
            Kind::Bytes => "bytes",
            Kind::Structs => "structs",
            Kind::Cpu => "cpu-ms",
            Kind::Opens => "opens",
        }
    }

    /// How many of what is counted are one of what people say.
    fn unit(self) -> u32 {
        match self {
            Kind::Messages | Kind::Bytes | Kind::Structs | Kind::Opens => 1,
            Kind::Cpu => 1_000,
        }
    }
}

/// So much of each a second; `None` is as much as one likes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates([Option<NonZeroU32>; Kind::ALL.len()]);

impl Rates {
    /// What one connection has unless it is said otherwise.
    pub fn of_connection() -> Self {
        let mut rates = Self::default();
        for (kind, rate) in [
            (Kind::Messages, RATE_MESSAGES),
            (Kind::Bytes, RATE_BYTES),
            (Kind::Structs, RATE_STRUCTS),
            (Kind::Cpu, RATE_CPU_MS),
            (Kind::Opens, RATE_OPENS),
        ] {
            rates.0[kind as usize] = NonZeroU32::new(rate * kind.unit());
        }
        rates
    }

    /// How much of this kind.
    pub fn of(&self, kind: Kind) -> Option<NonZeroU32> {
        self.0[kind as usize]
    }

    /// Whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

/// Rates as an operator gives them: `off`, or some kinds with numbers; the others stay as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct RatesGiven([Option<Option<NonZeroU32>>; Kind::ALL.len()]);

impl RatesGiven {
    /// These, and `otherwise` where they say nothing.
    pub fn or(self, otherwise: Rates) -> Rates {
        let mut rates = otherwise;
        for (rate, given) in rates.0.iter_mut().zip(self.0) {
            *rate = given.unwrap_or(*rate);
        }
        rates
    }
}

impl FromStr for RatesGiven {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const OFF: &str = "off";
        if text.trim() == OFF {
            return Ok(Self([Some(None); Kind::ALL.len()]));
        }
        let wrong = || {
            let names = Kind::ALL.map(Kind::name).join(", ");
            format!("{text:?} is neither `off` nor such as `messages=2000,bytes=1000000`, of {names}")
        };
        let mut given = Self::default();
        for part in text.split(',') {
            let (name, number) = part.split_once('=').ok_or_else(wrong)?;
            let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name.trim()).ok_or_else(wrong)?;
            let rate = match number.trim() {
                OFF => None,
                number => {
                    let number: NonZeroU32 = number.parse().map_err(|_| wrong())?;
                    let rate = NonZeroU32::new(kind.unit()).and_then(|unit| number.checked_mul(unit));
                    let max = RATE_MAX / kind.unit();
                    Some(rate.filter(|rate| rate.get() <= RATE_MAX).ok_or_else(|| {
                        format!("{text:?} gives more than {max} of {}; `off` is no limit", kind.name())
                    })?)
                }
            };
            given.0[kind as usize] = Some(rate);
        }
        Ok(given)
    }
}

impl TryFrom<String> for RatesGiven {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_goes_before_what_is_not() {
        let default = Rates::of_connection();
        let given = |text: &str| text.parse::<RatesGiven>().map(|given| given.or(default));
        let rates = given(" messages = 7, cpu-ms=250,opens=off").unwrap();
        assert_eq!(rates.of(Kind::Messages), NonZeroU32::new(7));
        assert_eq!(rates.of(Kind::Cpu), NonZeroU32::new(250_000), "people say milliseconds");
        assert_eq!(rates.of(Kind::Opens), None);
        assert_eq!(rates.of(Kind::Bytes), default.of(Kind::Bytes));
        assert_eq!(given("off"), Ok(Rates::default()));
        assert!(Rates::default().is_unlimited() && !default.is_unlimited());
        for wrong in ["", "messages", "messages=", "messages=0", "messages=-1", "mails=3", "bytes=5,", "bytes=1.5"] {
            assert!(given(wrong).is_err(), "{wrong}");
        }
        for too_much in ["bytes=1000000001", "cpu-ms=1000001", "cpu-ms=4294967295"] {
            assert!(given(too_much).unwrap_err().contains("more than"), "{too_much}");
        }
    }
}
