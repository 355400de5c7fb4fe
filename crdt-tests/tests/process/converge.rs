//! P2, P5: stock clients that edit side by side read the same in the end, and so does weft's export.

use crdt_tests::cli::Cli;
use crdt_tests::js::{Client, Js, State, VERSIONS};
use crdt_tests::server::{DataDir, Server};

/// What the server stored is what the clients hold.
fn assert_exported(js: &Js, server: &Server, room: &str, clients: &State) {
    let exported = js.load(&Cli::of(server).export_update(room));
    exported.assert_same(clients, format_args!("weft's export of {room} differs from the clients"));
}

/// Two clients of one version edit at the same time, a third comes late; `edit` is run by the first two, `check` must then
/// hold for all three.
fn each_version_converges(room: &str, edits: [&str; 2], check: &str) {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    for version in VERSIONS {
        let room = format!("{room}/{version}");
        let [a, b] = [0, 1].map(|_| js.open(version, &server, &room));
        js.synced(&[&a, &b]);
        for (client, code) in [(&a, edits[0]), (&b, edits[1]), (&b, edits[0]), (&a, edits[1])] {
            client.run(code);
        }
        let both = js.converged(&[&a, &b]);
        let late = js.open(version, &server, &room);
        late.synced();
        let all = js.converged(&[&a, &b, &late]);
        all.assert_same(&both, "a late joiner changes nothing");
        for client in [&a, &b, &late] {
            assert_eq!(client.run(check), true, "{}: {check} is not so: {}", client.name, client.state().content);
        }
        // The content reached the server before any of this can be read from it: an ack is a barrier.
        a.ack();
        b.ack();
        assert_exported(&js, &server, &room, &all);
    }
}

#[test]
fn p5_text_converges() {
    each_version_converges(
        "text",
        [
            "text.insert(0, 'warp 🧶 and weft'); text.format(0, 4, { bold: true })",
            "text.insert(text.length >> 1, 'ä'); text.delete(0, 2); text.insertEmbed(0, { image: 'loom.png' })",
        ],
        "text.toString().includes('weft') && text.toDelta().some(op => op.attributes?.bold)",
    );
}

#[test]
fn p5_map_converges() {
    each_version_converges(
        "map",
        [
            "map.set('title', `by ${me.name}`); map.set('list', new Y.Array()); map.get('list').push([1, null, { a: [true] }])",
            "map.set('gone', 1); map.delete('gone'); map.set('bytes', new Uint8Array([1, 2, 255])); map.set('title', 2 ** 40)",
        ],
        "map.has('title') && !map.has('gone') && map.get('list').get(0) === 1",
    );
}

#[test]
fn p5_array_converges() {
    each_version_converges(
        "array",
        [
            "array.insert(0, ['first', 1.5, -7, true]); array.insert(array.length, [new Y.Map([['k', 'v']])])",
            "array.push(['last']); array.delete(0, 1); array.insert(0, [new Y.Text('inner')]); array.get(0).insert(5, ' text')",
        ],
        "array.toArray().some(v => v instanceof Y.Map && v.get('k') === 'v') && array.toJSON().includes('inner text')",
    );
}

#[test]
fn p5_xml_converges() {
    each_version_converges(
        "xml",
        [
            "const p = new Y.XmlElement('paragraph'); p.setAttribute('align', 'left'); \
             p.insert(0, [new Y.XmlText('hello')]); xml.insert(0, [p])",
            "const h = new Y.XmlElement('heading'); xml.push([h]); h.insert(0, [new Y.XmlText('title')]); \
             h.get(0).format(0, 2, { strong: {} }); xml.get(0).setAttribute('align', 'right')",
        ],
        "xml.toString().includes('heading') && xml.toString().includes('align')",
    );
}

#[test]
fn p5_all_versions_share_one_document() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    let clients: Vec<Client<'_>> = VERSIONS.iter().map(|version| js.open(version, &server, "mixed ä/ü")).collect();
    let all: Vec<&Client<'_>> = clients.iter().collect();
    js.synced(&all);
    for (number, client) in clients.iter().enumerate() {
        client.run("text.insert(0, me.version + '\\n'); map.set(me.version, true); array.push([me.version])");
        client.edit(7 + number as u64, 40);
        client.run("map.set(me.version, true); array.push([me.version])");
    }
    let state = js.converged(&all);
    for version in VERSIONS {
        assert_eq!(state.content["map"]["map"][version], true, "an edit of {version} is missing: {}", state.content);
    }
    for client in &clients {
        client.ack();
    }
    assert_exported(&js, &server, "mixed ä/ü", &state);
}

/// Document names are compared by bytes after one percent-decoding (contract 2.2): neighbours never see each other's edits.
#[test]
fn c2_2_names_are_separate_documents() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    // `a%252Fb` is the document `a%2Fb`; `a%2Fb` and `a/b` are the same one.
    let names = [
        "doc",
        "doc/",
        "Doc",
        "doc%20",
        "a/b",
        "a%252Fb",
        "n\u{e4}me",
        "na\u{308}me",
        "..%2f..%2fetc",
        "*",
        ">",
        "%2F",
    ];
    let clients: Vec<Client<'_>> = names.iter().map(|name| js.open(VERSIONS[2], &server, name)).collect();
    js.synced(&clients.iter().collect::<Vec<_>>());
    for client in &clients {
        client.run("array.push([me.provider.roomname])");
        client.ack();
    }
    for (name, client) in names.iter().zip(&clients) {
        let fresh = js.open(VERSIONS[2], &server, name);
        fresh.synced();
        assert_eq!(fresh.run("array.toJSON()"), serde_json::json!([name]), "another document's edit in {name}");
        assert_eq!(client.run("array.length"), 1);
    }
    let same = js.open(VERSIONS[2], &server, "a%2Fb?token=ignored");
    same.synced();
    assert_eq!(same.run("array.toJSON()"), serde_json::json!(["a/b"]), "the query is no part of the name");
}

#[test]
fn p5_subdocuments_converge() {
    for version in VERSIONS {
        let data = DataDir::new();
        let mut server = Server::start(&data);
        let js = Js::start();
        let [a, b] = [0, 1].map(|_| js.open(version, &server, "library"));
        js.synced(&[&a, &b]);
        a.run("for (const n of [0, 1, 2, 3]) array.insert(n, [new Y.Doc({ meta: { n } })]); map.set('cover', new Y.Doc())");
        b.wait("array.length === 4 && map.has('cover') && doc.getSubdocs().size === 5");

        // The content of a sub-document is a document of its own, loaded on demand.
        let [in_a, in_b] = [&a, &b].map(|parent| {
            parent.run("array.get(1).load()");
            js.open_subdocument(parent, &server, "array.get(1)")
        });
        assert_eq!(in_a.room, in_b.room, "a sub-document has the same guid everywhere");
        js.synced(&[&in_a, &in_b]);
        in_a.run("text.insert(0, 'inside')");
        in_b.wait("text.toString() === 'inside'");
        in_b.run("map.set('seen', true)");
        in_a.wait("map.get('seen') === true");
        in_b.ack();

        // Deleting neighbours: a use-after-free in yrs with garbage collection on (DEPENDENCIES A3 b).
        b.run("array.delete(0, 3); map.delete('cover')");
        a.wait("array.length === 1 && doc.getSubdocs().size === 1");
        b.ack();
        server.assert_alive();
        let state = js.converged(&[&a, &b]);
        let late = js.open(version, &server, "library");
        late.synced();
        js.converged(&[&a, &b, &late]).assert_same(&state, "a late joiner changes nothing");
        assert_exported(&js, &server, "library", &state);

        // The same again from what is stored, after another deletion.
        a.run("array.insert(1, [new Y.Doc(), new Y.Doc()]); array.delete(0, 3)");
        b.wait("array.length === 0");
        a.ack();
        let state = js.converged(&[&a, &b]);
        server.kill();
        server.restart();
        let fresh = js.open(version, &server, "library");
        fresh.synced();
        fresh.state().assert_same(&state, "after a restart");
        js.synced(&[&a, &b]);
        Cli::of(&server).done(&["compact", "library"]);
        assert_exported(&js, &server, "library", &state);
        server.assert_alive();
    }
}
