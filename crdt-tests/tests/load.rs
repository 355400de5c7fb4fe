//! The load tool, briefly: every scenario of weft, few sockets, a moment each. Nothing is timed; what counts is that every edit
//! arrived at everybody, and that nothing acknowledged was lost.

use std::path::PathBuf;

use crdt_tests::load::growth::AXES;
use crdt_tests::load::lab::{Lab, Size};
use crdt_tests::load::report;
use crdt_tests::load::scenarios::{self, Scenario};
use crdt_tests::load::servers::{self, Programs};
use crdt_tests::server;

fn lab(dir: &tempfile::TempDir) -> Lab {
    Lab {
        programs: Programs {
            weft: server::binary().to_owned(),
            load: env!("CARGO_BIN_EXE_load").into(),
            peers: PathBuf::new(),
        },
        dir: dir.path().to_owned(),
        size: Size::Brief,
        cores: None,
        round: 0,
    }
}

/// Figures that count what must not be. What others had read and nobody had acknowledged is not among them: an edit is handed on
/// while the journal still writes it, so `kill -9` may come between, and its author and its readers bring it back.
fn counts_losses(name: &str) -> bool {
    ["deliveries missing", "acknowledged edits", "that were acknowledged"].iter().any(|part| name.contains(part))
        && !name.starts_with("edits that")
}

fn losses_of(scenario: &Scenario, server: &str) -> usize {
    let dir = tempfile::tempdir().expect("a directory");
    let recipe = servers::all().into_iter().find(|recipe| recipe.name == server).expect("is in the file");
    let figures = (scenario.run)(&lab(&dir), &recipe).unwrap_or_else(|e| panic!("{} on {server}: {e}", scenario.name));
    let losses: Vec<_> = figures.iter().filter(|figure| counts_losses(&figure.name)).collect();
    assert!(losses.iter().all(|figure| figure.value == 0.0), "{} on {server}: {losses:?}", scenario.name);
    assert!(figures.iter().all(|figure| figure.value.is_finite()), "{} on {server}: {figures:?}", scenario.name);
    losses.len()
}

#[test]
fn every_edit_arrives_in_every_scenario() {
    let counted: usize = scenarios::ALL.iter().map(|scenario| losses_of(scenario, "weft")).sum();
    assert!(counted >= 12, "only {counted} figures count losses");
}

#[test]
fn every_edit_arrives_in_the_other_dialects() {
    for name in ["fan-out-50", "rooms", "reconnect", "kill", "acks", "acks-steady", "cold-open"] {
        let scenario = scenarios::named(name).expect("is one of them");
        losses_of(scenario, "weft-hocuspocus");
        losses_of(scenario, "weft-y-sweet");
    }
}

#[test]
fn the_bare_loop_hands_everything_on() {
    for scenario in scenarios::ALL.iter().filter(|scenario| scenario.servers == scenarios::For::All) {
        assert!(losses_of(scenario, "limit") > 0);
    }
}

#[test]
fn every_axis_of_growth_has_points() {
    let dir = tempfile::tempdir().expect("a directory");
    let weft = servers::all().into_iter().find(|recipe| recipe.name == "weft").expect("is in the file");
    for axis in AXES {
        let points = axis.run(&lab(&dir), &weft).unwrap_or_else(|e| panic!("{}: {e}", axis.name));
        assert!(points.len() >= 2, "{}: {points:?}", axis.name);
    }
}

#[test]
fn benchmarks_md_is_what_the_report_makes_of_the_results() {
    let page = std::fs::read_to_string(report::path()).expect("BENCHMARKS.md is part of the repository");
    let made = report::page(&report::folder()).expect("results can be read");
    assert!(page == made, "BENCHMARKS.md is not what `load report` writes; it is not to be edited by hand");
}
