//! Figures: a name, a unit, a value, and which way is better.

use serde::{Deserialize, Serialize};

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Costs.
    Lower,
    /// Yields.
    Higher,
    /// Said for completeness.
    Neither,
}

/// One figure of one round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// `µs`, `MB`, `1/s`…
    pub unit: String,
    /// Its value.
    pub value: f64,
    /// Which way is better.
    pub better: Better,
}

impl Figure {
    fn new(name: impl Into<String>, unit: &str, value: f64, better: Better) -> Self {
        Self { name: name.into(), unit: unit.into(), value, better }
    }

    /// A cost.
    pub fn cost(name: impl Into<String>, unit: &str, value: f64) -> Self {
        Self::new(name, unit, value, Better::Lower)
    }

    /// A yield.
    pub fn gain(name: impl Into<String>, unit: &str, value: f64) -> Self {
        Self::new(name, unit, value, Better::Higher)
    }

    /// A circumstance.
    pub fn note(name: impl Into<String>, unit: &str, value: f64) -> Self {
        Self::new(name, unit, value, Better::Neither)
    }
}

/// The middle of some values, and their ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            1 => sorted[middle],
            _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
        };
        Some(Self { median, least, most })
    }
}

/// A value for people: three digits that count.
pub fn shown(value: f64) -> String {
    match value.abs() {
        v if v >= 10_000_000.0 => format!("{:.1} M", value / 1e6),
        v if v >= 1_000_000.0 => format!("{:.2} M", value / 1e6),
        v if v >= 10_000.0 => format!("{:.1} k", value / 1e3),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.2}"),
        0.0 => "0".into(),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_a_middle_and_ends() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, least: 1.0, most: 3.0 }));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, least: 1.0, most: 4.0 }));
    }

    #[test]
    fn values_are_shown_with_the_digits_that_count() {
        let texts = [0.0, 0.012, 0.5, 12.34, 123.4, 1234.0, 23_400.0, 1_230_000.0, 23_400_000.0].map(shown);
        assert_eq!(texts, ["0", "0.012", "0.50", "12.3", "123", "1234", "23.4 k", "1.23 M", "23.4 M"]);
    }
}
