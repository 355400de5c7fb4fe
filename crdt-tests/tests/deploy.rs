//! The image and the compose file, as far as they can be checked without an engine that runs them: they parse, keep data
//! in a volume, run without root, stay on loopback, and start commands that this weft has.

use std::fs;
use std::path::Path;

use crdt_tests::server::workspace;
use yaml_rust2::{Yaml, YamlLoader};

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(workspace()).join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn words(list: &Yaml) -> Vec<&str> {
    list.as_vec().expect("a list").iter().map(|word| word.as_str().expect("a string")).collect()
}

/// Whether the command line of this version takes these arguments; `serve` itself must not start, so it is asked for help.
fn assert_understood(args: &[&str]) {
    let mut command = std::process::Command::new(crdt_tests::server::binary());
    let output = command.args(args).arg("--help").output().expect("runs");
    assert!(output.status.success(), "weft {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_compose_file_runs_one_node_with_its_data_in_a_volume() {
    let compose = &YamlLoader::load_from_str(&read("docker-compose.yml")).expect("YAML")[0];
    let weft = &compose["services"]["weft"];
    assert_eq!(weft["build"].as_str(), Some("."));
    assert!(words(&weft["volumes"]).contains(&"weft-data:/var/lib/weft/data"));
    assert!(!compose["volumes"]["weft-data"].is_badvalue(), "the volume is declared");
    for port in words(&weft["ports"]) {
        assert!(port.starts_with("127.0.0.1:"), "without authentication {port} must stay on loopback");
    }
    assert_understood(&words(&weft["command"]));
    let health = words(&weft["healthcheck"]["test"]);
    assert_eq!(health[..2], ["CMD", "weft"]);
    assert_understood(&health[2..]);
}

#[test]
fn the_image_runs_without_root_and_keeps_its_data_where_compose_expects_it() {
    let dockerfile = read("Dockerfile");
    let line = |start: &str| {
        let found = dockerfile.lines().rev().find(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("no {start}"))
    };
    assert_eq!(line("USER "), "USER weft");
    assert_eq!(line("ENV WEFT_DATA"), "ENV WEFT_DATA=/var/lib/weft/data");
    assert_eq!(line("VOLUME "), "VOLUME /var/lib/weft/data");
    assert!(line("HEALTHCHECK ").ends_with(r#"CMD ["weft", "health"]"#));
    assert_eq!(line("STOPSIGNAL "), "STOPSIGNAL SIGTERM");
    for copied in ["Cargo.toml", "Cargo.lock", "src", "web", "crdt-tests"] {
        assert!(Path::new(workspace()).join(copied).exists(), "the image copies {copied}");
    }
}
