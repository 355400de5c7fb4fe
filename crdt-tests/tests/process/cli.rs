//! The admin's commands (contract 2.1): the same words and answers whether a server runs on the directory or not.

use crdt_tests::cli::{Cli, Output, path_str};
use crdt_tests::js::{Client, Js, LATEST, VERSIONS};
use crdt_tests::message::{self, Writer};
use crdt_tests::server::{DataDir, Server};
use crdt_tests::socket::Socket;
use serde_json::{Value, json};

/// Names that ask for trouble on a command line, in a URL and in a terminal.
const DOCS: [&str; 5] = ["notes/today", "notes/ä ö?", "%2F", "plain", "--looks-like-a-flag"];

/// Numbers by value: `1` and `1.0` are the same in JavaScript.
fn by_value(json: &Value) -> Value {
    match json {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(list) => list.iter().map(by_value).collect(),
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.clone(), by_value(value))).collect::<serde_json::Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

fn names(listing: &Value) -> Vec<&str> {
    listing["docs"].as_array().expect("docs").iter().map(|doc| doc["name"].as_str().expect("a name")).collect()
}

/// Everything that must be the same online and offline, and after a restart.
fn answers(cli: &Cli, doc: &str) -> Value {
    let show = cli.done(&["show", "--json", "--", doc]).json();
    let kept = ["name", "state_vector", "clients", "ticks", "deleted_ticks", "parked_updates", "roots", "last_seq"];
    let mut answers = json!({ "json": cli.done(&["export", "--format", "json", "--", doc]).json() });
    answers["text"] = cli.done(&["export", "--format", "text", "--", doc]).text().into();
    // How many bytes say the same depends on how they came.
    assert!(show["state_bytes"].as_u64() > Some(2), "{show}");
    for field in kept {
        assert!(!show[field].is_null(), "weft show has no {field}: {show}");
        answers[field] = show[field].clone();
    }
    answers
}

#[test]
fn c2_1_commands_say_the_same_online_and_offline() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let cli = Cli::of(&server);
    let js = Js::start();
    assert_eq!(cli.done(&["ls", "--json"]).json()["docs"], json!([]), "nothing yet");
    let clients: Vec<Client<'_>> = (0..DOCS.len())
        .map(|n| {
            js.open_with(
                VERSIONS[n % 3],
                &server,
                "",
                json!({ "room": DOCS[n].replace('%', "%25").replace('?', "%3F") }),
            )
        })
        .collect();
    js.synced(&clients.iter().collect::<Vec<_>>());
    for (number, client) in clients.iter().enumerate() {
        client.run("text.insert(0, `text of ${me.version} 🧶`); text.format(0, 4, { bold: true }); text.delete(0, 1)");
        client.run("map.set('n', 1.5); map.set('big', 2 ** 40); map.set('nested', new Y.Map([['deep', [1, 'x', null, true]]]))");
        client.run("array.push([1, 'two', { three: 3 }, [4]]); array.push([new Y.Text('five')])");
        client.run("const p = new Y.XmlElement('p'); p.setAttribute('b', '2'); p.setAttribute('a', '1'); p.insert(0, [new Y.XmlText('x')]); xml.push([p])");
        client.edit(number as u64, 20);
        client.run("map.delete('bytes')");
        client.ack();
    }
    let online: Vec<Value> = DOCS.iter().map(|doc| answers(&cli, doc)).collect();
    let mut sorted = DOCS;
    sorted.sort_unstable();
    let listing = cli.done(&["ls", "--json"]).json();
    assert_eq!(names(&listing), sorted, "by the bytes of their names");
    assert_eq!(names(&cli.done(&["ls", "--json", "--prefix", "notes/"]).json()), ["notes/today", "notes/ä ö?"]);
    assert_eq!(names(&cli.done(&["ls", "--json", "--limit", "2"]).json()), sorted[..2]);
    for doc in listing["docs"].as_array().expect("docs") {
        assert_eq!(doc["peers"], 1, "{doc}");
    }

    server.drain();
    drop(clients);
    let before: Vec<Value> = DOCS.iter().map(|doc| answers(&cli, doc)).collect();
    assert_eq!(before, online, "offline after a drain");
    assert_eq!(names(&cli.done(&["ls", "--json"]).json()), sorted);
    server.restart();
    server.kill();
    // What a killed server left behind (its admin.json) sends nobody astray.
    assert_eq!(DOCS.map(|doc| answers(&cli, doc)), *online, "offline after a kill");
    let compacted = cli.done(&["compact", "--all", "--json"]).json();
    assert_eq!(compacted["failed"], json!([]), "{compacted}");
    assert_eq!(DOCS.map(|doc| answers(&cli, doc)), *online, "offline, compacted");
    server.restart();
    assert_eq!(DOCS.map(|doc| answers(&cli, doc)), *online, "online again");
}

/// What `--format json` says of text, map and array is what Yjs' own `toJSON` says.
#[test]
fn c2_1_json_export_equals_yjs_to_json() {
    let seed = crdt_tests::seed::seed("c2_1_json_export_equals_yjs_to_json");
    let data = DataDir::new();
    let server = Server::start(&data);
    let cli = Cli::of(&server);
    let js = Js::start();
    for number in 0..8 {
        let room = format!("json {number}");
        let [a, b] = [0, 1].map(|n| js.open(VERSIONS[n + 1], &server, &room));
        js.synced(&[&a, &b]);
        for (n, client) in [&a, &b].into_iter().enumerate() {
            // So that each root has something in it that tells its kind.
            client.run("text.insert(0, 'text'); map.set('key', 'value'); array.insert(0, ['item'])");
            client.edit(seed.wrapping_mul(31).wrapping_add(number * 2 + n as u64), 60);
        }
        js.converged(&[&a, &b]);
        // JSON has no bytes and no sub-documents; everything else must agree.
        a.run(
            "const odd = v => v instanceof Uint8Array || v instanceof Y.Doc; \
             const clean = type => { \
               if (type instanceof Y.Map) for (const [k, v] of [...type.entries()]) odd(v) ? type.delete(k) : clean(v); \
               if (type instanceof Y.Array) for (let i = type.length - 1; i >= 0; i--) \
                 odd(type.get(i)) ? type.delete(i) : clean(type.get(i)); }; \
             clean(map); clean(array); map.set('key', 'value'); array.insert(0, ['item']); text.insert(0, 'text')",
        );
        a.ack();
        let exported = cli.export_json(&room);
        for (root, code) in [("text", "text.toString()"), ("map", "map.toJSON()"), ("array", "array.toJSON()")] {
            assert_eq!(by_value(&exported[root]), by_value(&a.run(code)), "{room}: {root}");
        }
        let text: String = a.get("text.toString()");
        assert!(cli.done(&["export", &room, "--format", "text"]).text().contains(&text), "{room}: text export");
    }
}

#[test]
fn c2_1_import_merges_once_and_is_durable() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let cli = Cli::of(&server);
    let js = Js::start();
    let file = data.outer().join("update.bin");
    let mut writer = Writer::new(9);
    writer.append("imported ");
    std::fs::write(&file, writer.append("text")).expect("written");

    // Out of order first: it waits.
    let report = cli.done(&["import", "--json", "waiting", path_str(&file)]).json();
    assert_eq!((&report["accepted_bytes"], report["parked_bytes"].as_u64() > Some(0)), (&json!(0), true), "{report}");

    std::fs::write(&file, writer.all()).expect("written");
    let live = js.open(LATEST, &server, "live");
    live.synced();
    live.run("map.set('mine', true)");
    live.ack();
    let report = cli.done(&["import", "--json", "live", path_str(&file)]).json();
    assert_eq!(report["offered_bytes"], writer.all().len(), "{report}");
    assert!(report["accepted_bytes"].as_u64() > Some(0), "{report}");
    live.wait("text.toString() === 'imported text'");
    let again = cli.done(&["import", "--json", "live", path_str(&file)]).json();
    assert_eq!(again["accepted_bytes"], 0, "{again}");
    for doc in ["new", "waiting"] {
        cli.done(&["import", doc, path_str(&file)]);
    }
    drop(live);
    // Returned, so durable.
    server.kill();
    for doc in ["live", "new", "waiting"] {
        assert_eq!(cli.done(&["export", doc, "--format", "text"]).text(), "imported text", "{doc}, killed");
    }
    // The same without a server.
    cli.done(&["import", "offline", path_str(&file)]);
    server.restart();
    let fresh = js.open(LATEST, &server, "offline");
    fresh.synced();
    assert_eq!(fresh.run("text.toString()"), "imported text");

    // What is no update changes nothing, online and offline.
    for (name, bytes) in crdt_tests::hostile::lying_updates().into_iter().filter(|(name, _)| name.starts_with("Update"))
    {
        let payload = message::update_in(&bytes).map(<[u8]>::to_vec).unwrap_or(bytes);
        std::fs::write(&file, &payload).expect("written");
        // Every fourth is enough: each run is a process.
        if payload.len().is_multiple_of(4) {
            let refused = cli.run(&["import", "live", path_str(&file)]);
            assert_eq!(refused.code, 1, "{name}: {refused:?}");
            assert!(!refused.stderr.contains("panicked"), "{name}: {}", refused.stderr);
        }
    }
    server.assert_alive();
    assert_eq!(cli.done(&["export", "live", "--format", "text"]).text(), "imported text");
    server.drain();
    std::fs::write(&file, b"garbage").expect("written");
    assert_eq!(cli.run(&["import", "live", path_str(&file)]).code, 1);
    assert_eq!(cli.done(&["export", "live", "--format", "text"]).text(), "imported text");
}

#[test]
fn c2_1_compact_folds_logs_and_a_dry_run_does_not() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let cli = Cli::of(&server);
    let js = Js::start();
    let client = js.open(LATEST, &server, "log");
    client.synced();
    client.run("for (let i = 0; i < 300; i++) text.insert(0, `${i} `)");
    client.ack();
    for online in [true, false] {
        if !online {
            client.run("for (let i = 0; i < 300; i++) text.insert(0, `${i} `)");
            client.ack();
            client.disconnect();
            server.drain();
        }
        let content = cli.done(&["export", "log", "--format", "text"]).text();
        let dry = cli.done(&["compact", "log", "--dry-run", "--json"]).json();
        assert_eq!((&dry["dry_run"], &dry["docs"][0]["written"]), (&json!(true), &json!(false)), "{dry}");
        assert!(cli.show("log")["log_records"].as_u64() > Some(0), "a dry run folded the log");
        let wet = cli.done(&["compact", "log", "--json"]).json();
        let report = &wet["docs"][0];
        assert_eq!((&report["name"], &report["written"]), (&json!("log"), &json!(true)), "{wet}");
        assert_eq!(
            report["snapshot_bytes_after"], dry["docs"][0]["snapshot_bytes_after"],
            "the dry run told the truth"
        );
        let show = cli.show("log");
        assert_eq!((&show["log_records"], &show["log_bytes"]), (&json!(0), &json!(0)), "{show}");
        assert_eq!(show["snapshot_bytes"], report["snapshot_bytes_after"]);
        assert_eq!(cli.done(&["export", "log", "--format", "text"]).text(), content);
        let nothing = cli.done(&["compact", "--all", "--json"]).json();
        assert_eq!(nothing["docs"], json!([]), "there is nothing left to fold: {nothing}");
        // For people there is a table, and no bar where nobody watches.
        let table = cli.done(&["compact", "log"]);
        assert!(table.stderr.is_empty() && table.text().lines().count() >= 2, "{table:?}");
    }
}

/// Editors do not notice a compaction, however often.
#[test]
fn c2_1_compact_while_everybody_edits() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let cli = Cli::of(&server);
    let js = Js::start();
    let clients: Vec<Client<'_>> = (0..3).map(|n| js.open(VERSIONS[n], &server, "busy")).collect();
    let all: Vec<&Client<'_>> = clients.iter().collect();
    js.synced(&all);
    clients.iter().enumerate().for_each(|(n, client)| client.storm(&n.to_string()));
    for round in 1..=8u64 {
        crdt_tests::js::storms_acked(&js, &clients, round * 150);
        let report = cli.done(&["compact", "busy", "--json"]).json();
        assert_eq!(report["failed"], json!([]), "{report}");
    }
    for client in &clients {
        let account = client.storm_stop();
        assert!(account.acked > 0, "{account:?}");
    }
    let state = js.converged(&all);
    all.iter().for_each(|client| client.ack());
    assert!(clients.iter().all(|client| client.opens() == 1), "a compaction disconnected an editor");
    cli.done(&["compact", "busy"]);
    js.load(&cli.export_update("busy")).assert_same(&state, "compacted while everybody edited");
}

fn one_line(output: &Output, code: i32, word: &str) {
    assert_eq!(output.code, code, "{output:?}");
    assert!(output.stdout.is_empty(), "results go to stdout, and there are none: {output:?}");
    assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    assert!(output.stderr.contains(word) && !output.stderr.contains("panicked"), "{word:?}: {output:?}");
}

#[test]
fn c2_1_exit_codes() {
    let data = DataDir::new();
    let nowhere = Cli::on(data.outer().join("nowhere"));
    let commands = [&["ls"][..], &["show", "x"], &["export", "x"], &["compact", "--all"]];
    for command in commands {
        one_line(&nowhere.run(command), 3, "nowhere");
    }
    assert!(!data.outer().join("nowhere").exists(), "a command made a directory");
    let foreign = data.outer().join("foreign");
    std::fs::create_dir(&foreign).expect("made");
    std::fs::write(foreign.join("letter.txt"), "dear").expect("written");
    let file = data.outer().join("file");
    std::fs::write(&file, [0, 0]).expect("written");
    for command in [&["ls"][..], &["import", "x", path_str(&file)]] {
        one_line(&Cli::on(&foreign).run(command), 3, "foreign");
    }
    assert_eq!(std::fs::read_dir(&foreign).expect("listed").count(), 1);

    let mut server = Server::start(&data);
    let cli = Cli::of(&server);
    let mut socket = Socket::connect(server.addr(), "there");
    socket.pull(&[0]);
    socket.send(message::update(&Writer::new(1).append("there")));
    socket.ack();
    drop(socket);
    for online in [true, false] {
        if !online {
            server.drain();
        }
        for command in ["show", "export"] {
            one_line(&cli.run(&[command, "not there"]), 1, "not there");
        }
        // Some can be compacted, one cannot: what can be done is done, and the exit code tells.
        let some = cli.run(&["compact", "there", "not there", "--json"]);
        assert_eq!(some.code, 1, "{some:?}");
        assert_eq!(
            (&some.json()["docs"][0]["name"], &some.json()["failed"][0]["name"]),
            (&json!("there"), &json!("not there"))
        );
        one_line(&cli.run(&["import", "there", "/no/such/file"]), 3, "/no/such/file");
        one_line(&cli.run(&["export", "there", "-o", "/no/such/folder/file"]), 3, "/no/such/folder");
    }
    for wrong in [&["compact"][..], &["show"], &["ls", "--sort", "colour"], &["frobnicate"], &["show", ""]] {
        assert_eq!(cli.run(wrong).code, 2, "{wrong:?}");
    }
}
