//! Workers that go wrong in every way, as real processes.

use std::path::Path;
use std::process::Command;

use super::*;

/// Two updates of one text, "ab".
fn log() -> Vec<Bytes> {
    [&[1, 1, 1, 0, 4, 1, 1, b't', 1, b'a', 0][..], &[1, 1, 1, 1, 0x84, 1, 0, 1, b'b', 0]].map(Bytes::from_static).into()
}

/// A program that does what `lines` say, whatever it is asked.
fn program(dir: &Path, lines: &str) -> Integrator {
    let program = dir.join("program");
    // Written by a process of its own: had this one open what it writes, one that another test starts at that instant would
    // have it open too, and what is open for writing cannot be started (ETXTBSY).
    let script = format!("#!/bin/sh\n{lines}\n");
    let write = r#"printf %s "$1" > "$0" && chmod 755 "$0""#;
    let written = Command::new("sh").args(["-c", write]).arg(&program).arg(script).status().unwrap();
    assert!(written.success());
    Integrator::new(Isolation::Worker { program, memory: 1 << 30, patience: Duration::from_millis(300) })
}

#[test]
fn without_a_worker_the_same_comes_of_it() {
    let integrator = Integrator::new(Isolation::None);
    let folded = integrator.fold(|| Ok(log())).unwrap();
    assert_eq!(folded.updates, [Bytes::from_static(&[1, 1, 1, 0, 4, 1, 1, b't', 2, b'a', b'b', 0])]);
    assert_eq!(integrator.read(&folded.updates[0]).unwrap().to_text(), "ab");
    let broken = integrator.fold(|| Ok(vec![Bytes::from_static(&[1, 2, 3])]));
    assert!(matches!(broken, Err(IntegratorError::Refused(why)) if why.contains("malformed")));
    assert_eq!(integrator.workers(), Workers::default());
}

/// Says, once asked, that the update with this number is next.
fn at(number: u8) -> String {
    format!(
        r"printf 'a\001\000\000\000\000\000\000\000\010\000\000\000\000\000\000\000\00{number}\000\000\000\000\000\000\000'"
    )
}

#[test]
fn a_worker_that_hangs_dies_or_lies_is_given_three_chances_and_never_believed() {
    let dir = tempfile::tempdir().unwrap();
    let fold = |lines: &str| program(dir.path(), lines).fold(|| Ok(log()));
    // It hangs in an update.
    let integrator = program(dir.path(), &format!("{}; exec sleep 1000", at(0)));
    let Err(IntegratorError::Breaks { at: 0, why }) = integrator.fold(|| Ok(log())) else { panic!() };
    assert!(why.contains("longer than 300ms"), "{why}");
    assert_eq!(integrator.workers(), Workers { started: 3, lost: 3 });
    // It dies before it has begun; it says what no worker says; it is not there. None of this is an update's fault.
    for (lines, said) in [("exit 7", "exit status: 7"), ("echo nonsense, and much of it", "to blame")] {
        let lost = fold(lines);
        assert!(matches!(&lost, Err(IntegratorError::Worker(why)) if why.contains(said)), "{lost:?}");
    }
    let nothing = Isolation::Worker { program: dir.path().join("none"), memory: 1, patience: Duration::from_secs(1) };
    assert!(matches!(Integrator::new(nothing).fold(|| Ok(log())), Err(IntegratorError::Worker(_))));
    // It says that the log is something else: 'f' and one update, which is empty.
    let lies =
        r#"printf 'f\001\000\000\000\000\000\000\000\002\000\000\000\000\000\000\000\000\000'; exec cat >/dev/null"#;
    let lied = program(dir.path(), lies).fold(|| Ok(log()));
    assert!(matches!(lied, Err(IntegratorError::Fold(FoldError::Differs("state vector")))), "{lied:?}");
}

#[test]
fn what_it_said_counts_when_it_dies_before_it_was_told_all() {
    let dir = tempfile::tempdir().unwrap();
    // More than a pipe holds, so that the task cannot have been written when it dies.
    let long = Bytes::from(vec![0; 1 << 20]);
    let blamed = program(dir.path(), &format!("{}; exit 1", at(1))).fold(|| Ok(vec![long.clone(), long.clone()]));
    assert!(matches!(blamed, Err(IntegratorError::Breaks { at: 1, .. })), "{blamed:?}");
}

#[test]
fn the_update_at_which_it_dies_twice_is_to_blame() {
    let dir = tempfile::tempdir().unwrap();
    let blamed = program(dir.path(), &format!("{}; exit 1", at(1))).fold(|| Ok(log()));
    assert!(matches!(blamed, Err(IntegratorError::Breaks { at: 1, .. })), "{blamed:?}");
    // Each time at another one: nobody's fault.
    let first_times = format!("mkdir {0}/1 || mkdir {0}/2", dir.path().display());
    let other = format!("if {first_times}; then {}; else {}; fi; exit 1", at(0), at(1));
    let blamed = program(dir.path(), &other).fold(|| Ok(log()));
    assert!(matches!(blamed, Err(IntegratorError::Worker(_))), "{blamed:?}");
}
