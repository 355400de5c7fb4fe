//! The table in README, between its markers.

use std::fs;

use crdt_tests::server::workspace;

use super::Outcome;

const BEGIN: &str = "<!-- matrix: written by the test, WEFT_MATRIX=write -->\n";
const END: &str = "<!-- /matrix -->";

/// Where the column of those who wait belongs.
pub(super) const WATCHDOG_AT: usize = 3;

/// One client and what it can do.
pub(super) struct Row {
    pub(super) client: &'static str,
    pub(super) cells: Vec<(&'static str, &'static Outcome)>,
}

/// As Markdown. What failed says so, and is never what README says.
pub(super) fn render(rows: &[Row]) -> String {
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let heads = || rows.iter().take(1).flat_map(|row| &row.cells);
    let mut table = line(["client"].into_iter().chain(heads().map(|(check, _)| *check)).collect());
    table += &line(["---"].into_iter().chain(heads().map(|_| "---")).collect());
    for row in rows {
        let cell = |outcome: &'static Outcome| outcome.as_deref().unwrap_or("**NO**");
        table += &line([row.client].into_iter().chain(row.cells.iter().map(|(_, outcome)| cell(outcome))).collect());
    }
    table
}

/// Fails where README says anything else, or writes it there with `WEFT_MATRIX=write`.
pub(super) fn compare(table: &str) {
    println!("{table}");
    let path = workspace().join("README.md");
    let readme = fs::read_to_string(&path).expect("README.md is there");
    let (before, rest) = readme.split_once(BEGIN).expect("README.md has the table's first marker");
    let (stands, after) = rest.split_once(END).expect("README.md has the table's second marker");
    if std::env::var_os("WEFT_MATRIX").is_some_and(|value| value == "write") {
        fs::write(&path, [before, BEGIN, table, END, after].concat()).expect("README.md can be written");
    } else {
        assert_eq!(stands, table, "README.md says otherwise; WEFT_MATRIX=write writes what is so");
    }
}
