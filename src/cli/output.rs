//! How results look: tables and rounded numbers for people on a terminal, tabs and exact numbers in a pipe, JSON for
//! programs that ask for it. Decides nothing else.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement};
use serde::Serialize;

/// Where a command's result goes.
pub(super) struct Output<'a> {
    writer: &'a mut dyn Write,
    /// A person reads it.
    terminal: bool,
    /// `--json` was given.
    json: bool,
    /// Milliseconds since 1970, for "3 min ago".
    now_ms: u64,
}

/// One value of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    /// As it is, control characters escaped.
    Text(String),
    /// A number of things.
    Count(u64),
    /// A number of bytes.
    Bytes(u64),
    /// A time, milliseconds since 1970.
    When(u64),
    /// A part of one, in per cent.
    Share(f64),
}

/// Rows under a header.
#[derive(Debug, Default)]
pub(super) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.header.len());
        self.rows.push(cells);
    }
}

impl<'a> Output<'a> {
    pub(super) fn new(writer: &'a mut dyn Write, terminal: bool, json: bool, now_ms: u64) -> Self {
        Self { writer, terminal, json, now_ms }
    }

    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// One JSON value; over several lines for people.
    pub(super) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        if self.terminal {
            serde_json::to_writer_pretty(&mut *self.writer, value)?;
        } else {
            serde_json::to_writer(&mut *self.writer, value)?;
        }
        self.writer.write_all(b"\n")?;
        self.writer.flush()
    }

    /// A table for people, or a line of tab-separated values for each row after a line of names.
    pub(super) fn table(&mut self, table: &Table) -> io::Result<()> {
        if self.terminal {
            let text = self.drawn(table);
            writeln!(self.writer, "{text}")?;
        } else {
            writeln!(self.writer, "{}", table.header.join("\t"))?;
            self.rows(table)?;
        }
        self.writer.flush()
    }

    /// More lines of a table that was begun; not for people, whose columns are as wide as what is in them.
    pub(super) fn rows(&mut self, table: &Table) -> io::Result<()> {
        for row in &table.rows {
            let cells: Vec<String> = row.iter().map(Cell::exact).collect();
            writeln!(self.writer, "{}", cells.join("\t"))?;
        }
        self.writer.flush()
    }

    fn drawn(&self, table: &Table) -> String {
        let mut drawn = comfy_table::Table::new();
        drawn.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
        // A long name may run over the edge, but is not cut: it will be copied into the next command.
        drawn.set_content_arrangement(ContentArrangement::Disabled);
        drawn.set_header(&table.header);
        for row in &table.rows {
            drawn.add_row(row.iter().map(|cell| {
                let alignment = match cell {
                    Cell::Text(_) | Cell::When(_) => CellAlignment::Left,
                    Cell::Count(_) | Cell::Bytes(_) | Cell::Share(_) => CellAlignment::Right,
                };
                comfy_table::Cell::new(cell.short(self.now_ms)).set_alignment(alignment)
            }));
        }
        drawn.to_string()
    }

    /// Names and values, one pair a line.
    pub(super) fn pairs(&mut self, pairs: &[(&str, Cell)]) -> io::Result<()> {
        let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in pairs {
            if self.terminal {
                writeln!(self.writer, "{name:width$}  {}", value.rounded(self.now_ms))?;
            } else {
                writeln!(self.writer, "{name}\t{}", value.exact())?;
            }
        }
        self.writer.flush()
    }

    /// A sentence.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.writer, "{text}")?;
        self.writer.flush()
    }

    /// Contents as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)?;
        self.writer.flush()
    }
}

impl Cell {
    pub(super) fn text(text: impl AsRef<str>) -> Self {
        Self::Text(printable(text.as_ref()).into_owned())
    }

    /// For a column.
    fn short(&self, now_ms: u64) -> String {
        match self {
            Cell::When(ms) if *ms != 0 => ago(now_ms.saturating_sub(*ms)),
            other => other.rounded(now_ms),
        }
    }

    /// For a line of its own.
    fn rounded(&self, now_ms: u64) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::Count(n) => n.to_string(),
            Cell::Bytes(n) => bytes(*n),
            Cell::When(0) => "-".to_owned(),
            Cell::When(ms) => format!("{} ({})", utc(*ms), ago(now_ms.saturating_sub(*ms))),
            Cell::Share(share) => format!("{share:.1} %"),
        }
    }

    fn exact(&self) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::Count(n) | Cell::Bytes(n) => n.to_string(),
            Cell::When(0) => "-".to_owned(),
            Cell::When(ms) => format!("{}Z", utc(*ms).replace(' ', "T")),
            Cell::Share(share) => format!("{share:.1}"),
        }
    }
}

/// Text that cannot command the terminal, break a line or reorder what stands beside it: document names are chosen by
/// whoever can connect.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if harmful(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// A size with three digits at most: `999 B`, `1.5 kB`, `23.4 MB`. Units are powers of 1,000.
pub(super) fn bytes(n: u64) -> String {
    if n < 1_000 {
        return format!("{n} B");
    }
    let mut value = n as f64;
    let mut unit = "";
    for next in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        // What would round to 1000.0 belongs to the next unit.
        if value < 999.95 {
            break;
        }
        value /= 1_000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// A moment that may be yet to come.
pub(super) fn moment(ms: u64, now_ms: u64) -> String {
    if ms > now_ms {
        format!("{} UTC (in {})", utc(ms), ago(ms - now_ms).trim_end_matches(" ago"))
    } else {
        format!("{} UTC ({})", utc(ms), ago(now_ms - ms))
    }
}

/// How long ago, in one unit.
fn ago(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0..60 => format!("{s} s ago"),
        60..3_600 => format!("{} min ago", s / 60),
        3_600..86_400 => format!("{} h ago", s / 3_600),
        _ => format!("{} d ago", s / 86_400),
    }
}

/// Date and time in UTC, to the second. Days become dates by counting years from March, so that the leap day is the
/// last of its year (Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
pub(super) fn utc(ms: u64) -> String {
    let s = ms / 1_000;
    let (days, s) = (s / 86_400 + 719_468, s % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let mut text = String::with_capacity(19);
    // Writing into a string cannot fail.
    let _ = write!(text, "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", s / 3_600, s / 60 % 60, s % 60);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_and_never_round_past_their_unit() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (1_549, "1.5 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (23_400_000, "23.4 MB"),
            (u64::MAX, "18.4 EB"),
        ];
        for (n, text) in cases {
            assert_eq!(bytes(n), text, "{n}");
        }
    }

    #[test]
    fn times_are_dates() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_709_251_199, "2024-02-29 23:59:59"),
            (1_735_689_599, "2024-12-31 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(utc(seconds * 1_000), text);
        }
        assert_eq!(
            (ago(59_999), ago(60_000), ago(7_200_000)),
            ("59 s ago".into(), "1 min ago".into(), "2 h ago".into())
        );
    }

    #[test]
    fn moments_lie_behind_or_ahead() {
        assert_eq!(moment(60_000, 0), "1970-01-01 00:01:00 UTC (in 1 min)");
        assert_eq!(moment(0, 60_000), "1970-01-01 00:00:00 UTC (1 min ago)");
        assert_eq!(moment(0, 0), "1970-01-01 00:00:00 UTC (0 s ago)");
    }

    #[test]
    fn hostile_names_cannot_reach_the_terminal() {
        assert_eq!(printable("notes/ä b"), "notes/ä b");
        assert_eq!(printable("a\u{1b}[2Jb\tc\nd"), "a\\u{1b}[2Jb\\tc\\nd");
        assert_eq!(printable("a\u{202e}b\u{9b}"), "a\\u{202e}b\\u{9b}");
    }

    fn shown(terminal: bool) -> String {
        let mut table = Table::new(&["DOCUMENT", "SIZE", "UPDATED"]);
        table.row(vec![Cell::text("a\tb"), Cell::Bytes(1_500), Cell::When(1_000)]);
        table.row(vec![Cell::text("c"), Cell::Bytes(7), Cell::When(0)]);
        let mut out = Vec::new();
        Output::new(&mut out, terminal, false, 61_000).table(&table).expect("writes");
        String::from_utf8(out).expect("is text")
    }

    #[test]
    fn pipes_get_tabs_and_exact_numbers() {
        assert_eq!(shown(false), "DOCUMENT\tSIZE\tUPDATED\na\\tb\t1500\t1970-01-01T00:00:01Z\nc\t7\t-\n");
    }

    #[test]
    fn people_get_a_table_and_rounded_numbers() {
        let text = shown(true);
        assert!(text.contains("1.5 kB") && text.contains("1 min ago") && text.contains("DOCUMENT"), "{text}");
    }
}
