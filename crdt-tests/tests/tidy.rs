//! Holds what can be checked about the shape of the house: arrows between rooms, who names the outside world, and what
//! must not be left lying about. The table is that of ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each room may use of the others, through their doors.
const ARROWS: &[(&str, &[&str])] = &[
    ("ids", &["limits"]),
    ("limits", &[]),
    ("metrics", &[]),
    ("wire", &["ids", "limits"]),
    ("replica", &["ids", "limits", "wire"]),
    // How much anybody may have; of what, and what becomes of who wants more, is others' concern.
    ("budget", &["limits", "metrics"]),
    ("journal", &["ids", "limits", "metrics"]),
    ("store", &["ids", "limits"]),
    // A file format: it must be readable by whoever has a file and nothing else.
    ("backup", &["ids", "limits"]),
    // It alone can say what all documents were at one instant, so it writes that down in the format of `backup`.
    ("hub", &["ids", "limits", "metrics", "budget", "wire", "replica", "journal", "store", "backup", "worker"]),
    // A process that may die at any time holds nothing but what it was given.
    ("worker", &["limits", "replica"]),
    // Who may do what is decided without sockets and without documents, so that it can be tried with a table of tokens.
    ("auth", &["ids", "limits"]),
    ("server", &["ids", "limits", "metrics", "budget", "wire", "hub", "auth", "audit", "config"]),
    // Who did what, as words: it knows nothing of what was done.
    ("audit", &["ids", "limits"]),
    ("config", &["ids", "limits", "budget"]),
    ("data_dir", &["ids", "limits"]),
    // Other servers' storage: names and valid updates come out of it, whatever becomes of them.
    ("migrate", &["ids", "limits", "wire"]),
    ("telemetry", &["ids", "limits", "config"]),
    (
        "cli",
        &[
            "ids",
            "limits",
            "metrics",
            "wire",
            "replica",
            "journal",
            "store",
            "backup",
            "hub",
            "auth",
            "audit",
            "server",
            "config",
            "data_dir",
            "telemetry",
            "migrate",
            "worker",
        ],
    ),
];

/// What the hub may name of the store: the trait and its records, not an implementation.
const STORE_TO_HUB: &[&str] = &[
    "Store",
    "StoreError",
    "Deletion",
    "Listed",
    "DamagedEntry",
    "VacuumProgress",
    "Vacuumed",
    "LogAppend",
    "Snapshot",
    "DocHead",
    "StoredDocument",
    "Examined",
    "DamagedRecord",
    "self",
    "memory",
];

/// Crates that only some files may name.
const NAMED_ONCE: &[(&str, &[&str])] = &[
    ("sled", &["store/sled/"]),
    ("warp", &["server/"]),
    ("governor", &["budget/"]),
    ("ring", &["auth/"]),
    ("rusqlite", &["migrate/hocuspocus.rs"]),
    ("snap", &["migrate/leveldb/"]),
    ("bincode", &["store/record.rs", "journal/record.rs"]),
    ("yrs", &["replica/"]),
    ("tokio", &["hub/", "server/", "cli/", "journal/", "store/"]),
];

/// Lines of one file beyond which it should be two.
const LINES_MAX: usize = 800;

struct Source {
    /// From `src`, `crdt-tests` or `fuzz`, with slashes.
    path: String,
    text: String,
}

impl Source {
    fn room(&self) -> &str {
        let room = self.path.split('/').next().unwrap_or_default();
        room.strip_suffix(".rs").unwrap_or(room)
    }

    /// Its code: without comments, and without its tests, which may look over the fence.
    fn code(&self) -> String {
        let is_test =
            self.path.ends_with("/tests.rs") || self.path.contains("/tests/") || self.path.ends_with("/contract.rs");
        let lines = self.text.lines().take_while(|line| !is_test && !line.starts_with("#[cfg(test)]"));
        lines.map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
    }
}

fn sources(root: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join(root);
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(!files.is_empty());
    files.sort();
    let source = |file: PathBuf| Source {
        path: file.strip_prefix(&root).expect("below the root").to_string_lossy().replace('\\', "/"),
        text: fs::read_to_string(&file).expect("readable"),
    };
    files.into_iter().map(source).collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "node_modules" && name != "target" {
            collect(&path, files);
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
}

/// The words that follow `path` wherever it stands as a path of its own, one level deep into braces.
fn names_after(code: &str, path: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(path) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &code[at + path.len()..];
        let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        if let Some(list) = rest.strip_prefix('{') {
            let (mut depth, mut start) = (0, true);
            for (at, c) in list.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    c if depth == 0 && start && !c.is_whitespace() => {
                        names.insert(word(&list[at..]));
                        start = false;
                    }
                    _ => {}
                }
            }
        } else {
            names.insert(word(rest));
        }
    }
    names
}

#[test]
fn names_are_found_in_paths_and_braces() {
    let code = "use crate::{ids::{ClientId, Seq}, wire::update};\nlet x = crate::limits::MAX; mycrate::hub();";
    assert_eq!(names_after(code, "crate::"), ["ids", "limits", "wire"].map(str::to_owned).into());
}

#[test]
fn arrows_point_one_way() {
    let arrows: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in sources("src") {
        if matches!(&*source.path, "lib.rs" | "main.rs") {
            continue;
        }
        let room = source.room();
        let Some(may_use) = arrows.get(room) else {
            wrong.push(format!("{}: no room of that name is known", source.path));
            continue;
        };
        for used in names_after(&source.code(), "crate::") {
            if used != room && !may_use.contains(&&*used) {
                wrong.push(format!("{}: {room} may not use {used}", source.path));
            }
        }
        if room == "hub" {
            for name in names_after(&source.code(), "crate::store::") {
                if !STORE_TO_HUB.contains(&&*name) {
                    wrong.push(format!("{}: the hub knows the store as a trait, not {name}", source.path));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_outside_world_is_named_once() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        let code = source.code();
        for (krate, places) in NAMED_ONCE {
            let named = !names_after(&code, &format!("{krate}::")).is_empty();
            if named && !places.iter().any(|place| source.path.starts_with(place)) {
                wrong.push(format!("{} names {krate}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_pure_rooms_read_no_clock_and_roll_no_dice() {
    let mut wrong = Vec::new();
    // Keys come from files, and new ones and some signatures from chance: at auth's edge, where everybody can see it.
    let edge = |source: &Source| matches!(&*source.path, "auth/files.rs" | "auth/sign.rs");
    let pure = |source: &Source| matches!(source.room(), "ids" | "wire" | "replica" | "auth") && !edge(source);
    for source in sources("src").into_iter().filter(pure) {
        let code = source.code();
        let impure =
            ["Instant::now", "SystemTime", "HashMap", "HashSet", "std::fs", "std::net", "std::thread", "rand::"];
        wrong.extend(impure.iter().filter(|name| code.contains(**name)).map(|name| format!("{}: {name}", source.path)));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_file_says_what_it_is_for_and_leaves_nothing_lying_about() {
    let mut wrong = Vec::new();
    for source in ["src", "crdt-tests", "fuzz"].into_iter().flat_map(sources) {
        if !source.text.starts_with("//!") {
            wrong.push(format!("{}: does not open with //!", source.path));
        }
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{}: {lines} lines", source.path));
        }
        // Spelt in two halves, or this file would be its own offender.
        for left in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!("), concat!("#[al", "low(")] {
            if source.text.contains(left) {
                wrong.push(format!("{}: {left}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
