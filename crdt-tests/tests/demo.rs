//! The demo at `/`: that what is committed is what its sources give, and, in real Chromium, that it keeps its word.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crdt_tests::browser::{Browser, Direction, Page};
use crdt_tests::cli::Cli;
use crdt_tests::js::{Js, LATEST};
use crdt_tests::npm;
use crdt_tests::server::{DataDir, Options, Server, workspace};
use crdt_tests::tokens::Secret;
use crdt_tests::wait::PATIENCE;
use flate2::read::GzDecoder;
use rustix::process::Signal;
use serde_json::{Value, json};
use weft::ids::Access;

/// Every file in a folder by its name; packed ones unpacked, since different releases of zlib pack differently.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let mut bytes = fs::read(&path).expect("readable");
            if path.extension().is_some_and(|extension| extension == "gz") {
                let mut plain = Vec::new();
                std::io::copy(&mut GzDecoder::new(&*bytes), &mut plain).expect("gzip");
                bytes = plain;
            }
            (path.file_name().expect("a name").to_string_lossy().into_owned(), bytes)
        })
        .collect()
}

#[test]
fn the_committed_page_is_what_the_sources_give() {
    let home = Path::new(workspace()).join("web/demo");
    npm::install(&home);
    let fresh = tempfile::tempdir().expect("cannot make a directory");
    let output =
        Command::new("node").arg("build.mjs").arg(fresh.path()).current_dir(&home).output().expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let (committed, built) = (files(&home.join("dist")), files(fresh.path()));
    assert_eq!(committed.keys().collect::<Vec<_>>(), built.keys().collect::<Vec<_>>());
    for (name, bytes) in &built {
        assert!(committed[name] == *bytes, "web/demo/dist/{name} is not what the sources give: npm run build");
        if let Some(plain) = name.strip_suffix(".gz") {
            assert!(committed[plain] == *bytes, "web/demo/dist/{name} is not {plain}");
        }
    }
}

/// Whether a document holds some text: on disk if no server is running there, else as the server has it.
fn on_disk(server: &Server, doc: &str, text: &str) -> bool {
    Cli::of(server).export_json(doc).to_string().contains(text)
}

/// Waits until a page shows the caret of somebody by name.
fn sees(page: &Page<'_>, name: &str) {
    page.wait(&format!("[...document.querySelectorAll('.caret-name')].some(name => name.textContent === '{name}')"));
}

/// Waits until the list of people has these names.
fn lists(page: &Page<'_>, names: &[&str]) {
    let code = format!(
        "(() => {{ const shown = [...document.querySelectorAll('.face .unseen')].map(face => face.textContent); \
         return JSON.stringify(shown.sort()) === JSON.stringify({}.sort()) }})()",
        json!(names)
    );
    page.wait(&code);
}

/// A small screen that is touched.
fn phone() -> Value {
    json!({ "viewport": { "width": 390, "height": 844 }, "isMobile": true, "hasTouch": true })
}

#[test]
fn three_people_write_together_through_cuts_and_kills() {
    let data = DataDir::new();
    // The phone comes by another name than this machine's own.
    let mut server = Options::new(data.path()).arg("--allow-origin").arg("*").start();
    let Some(browser) = Browser::start(&server) else { return };
    let target = "?doc=notes/to%20do";

    // Two tabs of one profile, and a phone that comes by another name.
    let ada = browser.open_with("one", target, json!({ "permissions": ["clipboard-read", "clipboard-write"] }));
    let bea = browser.open("one", target);
    let grace = browser.open_elsewhere("phone", target, phone());
    let all = [&ada, &bea, &grace];
    for (page, name) in all.iter().zip(["Ada", "Bea", "Grace"]) {
        page.shows("saved");
        page.fill("#name", name);
    }
    lists(&ada, &["Ada (you)", "Bea", "Grace"]);
    lists(&grace, &["Ada", "Bea", "Grace (you)"]);

    // They see what the others write, and where.
    for (page, text) in all.iter().zip(["Ada was here.", "Bea was here.", "Grace was here."]) {
        page.write(text);
        // Each writes below what it sees; who does not see the end yet would write in the midst of it.
        browser.same(&all, &[text]);
    }
    browser.same(&all, &["Ada was here.", "Bea was here.", "Grace was here."]);
    sees(&ada, "Bea");
    sees(&bea, "Grace");
    sees(&grace, "Ada");
    ada.click("#copy-link");
    ada.wait("document.getElementById('copy-link').textContent === 'Copied'");
    let link = ada.run("navigator.clipboard.readText()");
    assert_eq!(link, format!("http://{}/?doc=notes/to+do", server.addr()));

    // The phone has no network for a while, and everybody goes on.
    browser.set_offline("phone", true);
    grace.shows("offline");
    grace.write("In the tunnel.");
    ada.write("Meanwhile.");
    ada.shows("saved");
    let status = grace.status();
    assert!(status.starts_with("Offline, ") && status.ends_with(" pending"), "{status}");
    assert!(!ada.written().contains("tunnel") && !grace.written().contains("Meanwhile"));
    browser.set_offline("phone", false);
    grace.shows("saved");
    browser.same(&all, &["In the tunnel.", "Meanwhile."]);

    // The server dies under them; they go on; it comes back.
    server.kill();
    for (page, text) in all.iter().zip(["Ada went on.", "Bea went on.", "Grace went on."]) {
        page.shows("offline");
        page.write(text);
    }
    assert!(!on_disk(&server, "notes/to do", "went on"));
    server.restart();
    for page in all {
        page.shows("saved");
    }
    let html = browser.same(&all, &["Ada went on.", "Bea went on.", "Grace went on."]);
    lists(&bea, &["Ada", "Bea (you)", "Grace"]);

    // Bea works offline and leaves; what she wrote waits in her browser, and is sent when she opens the page again.
    ada.close();
    bea.click("#offline");
    bea.shows("offline");
    bea.write("From the train.");
    bea.keeps_it();
    bea.close();
    grace.write("Still here.");
    grace.shows("saved");
    assert!(!grace.written().contains("train"));
    let bea = browser.open("one", target);
    bea.shows("saved");
    let html_now = browser.same(&[&bea, &grace], &["From the train.", "Still here."]);
    assert!(html_now.len() > html.len());

    // Whoever comes new gets all of it, also after one more kill.
    server.kill();
    server.restart();
    let fresh = browser.open("fresh", target);
    fresh.shows("saved");
    assert_eq!(browser.same(&[&fresh, &bea, &grace], &["Ada was here."]), html_now);
    browser.assert_no_problems();
}

/// "Saved" is shown only of what is on disk: at the moment it is shown, `kill -9` takes nothing of it away, and while the
/// server is silent it is not shown at all.
#[test]
fn p1_saved_is_shown_of_nothing_that_is_not_on_disk() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let Some(browser) = Browser::start(&server) else { return };
    let page = browser.open("one", "");
    for round in 0..4 {
        page.shows("saved");
        page.states();
        let text = format!("Round {round}.");
        page.write(&text);
        page.shows("saved");
        server.kill();
        assert!(on_disk(&server, "welcome", &text), "{text} was shown as saved");
        let states = page.states();
        assert!(
            states.starts_with(&["saved".to_owned(), "saving".to_owned()]),
            "an edit is not saved at once: {states:?}"
        );
        server.restart();
    }

    page.shows("saved");
    server.signal(Signal::STOP);
    page.states();
    page.write("Into the void.");
    page.wait("document.getElementById('status-word').textContent.startsWith('Waiting, ')");
    server.kill();
    page.shows("offline");
    let states = page.states();
    assert!(!on_disk(&server, "welcome", "void"));
    assert!(!states[1..].contains(&"saved".to_owned()), "nothing was saved: {states:?}");
    server.restart();
    page.shows("saved");
    server.kill();
    assert!(on_disk(&server, "welcome", "Into the void."));
    browser.assert_no_problems();
}

/// An answer says nothing of what was written after its question had left.
#[test]
fn p1_an_answer_covers_what_was_sent_before_its_question_and_no_more() {
    const SYNC: u8 = 0;
    const SYNC_STATUS: u8 = 102;
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let Some(browser) = Browser::start(&server) else { return };
    let page = browser.open_with("one", "", json!({ "hold": true }));
    page.shows("saved");
    page.states();
    page.hold(Direction::Down);
    page.write("A");
    page.holds(Direction::Down, SYNC_STATUS);
    page.hold(Direction::Up);
    page.write("B");
    page.holds(Direction::Up, SYNC);
    page.release(Direction::Down);
    // The next question shows that the page has read the answer.
    page.holds(Direction::Up, SYNC_STATUS);
    server.kill();
    page.shows("offline");
    assert_eq!(page.states(), ["saved", "saving", "offline"]);
    assert!(on_disk(&server, "welcome", "A") && !on_disk(&server, "welcome", "B"));
}

#[test]
fn wire_6_whoever_is_denied_or_may_only_read_is_told() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let Some(browser) = Browser::start(&server) else { return };
    let writer = secret.good_for("ada", &["plans"], Access::Write, 600);
    let reader = secret.good_for("eve", &["plans"], Access::Read, 600);

    // A token in the query moves out of sight.
    let ada = browser.open("ada", &format!("?doc=plans&token={writer}"));
    ada.shows("saved");
    assert_eq!(ada.run("location.search"), "?doc=plans");
    assert_eq!(ada.run("location.hash"), format!("#token={writer}"));
    ada.write("The plan.");
    ada.shows("saved");

    let eve = browser.open("eve", &format!("?doc=plans#token={reader}"));
    eve.shows("readonly");
    eve.wait("document.querySelector('.page').textContent.includes('The plan.')");
    assert_eq!(eve.run("document.querySelector('.page').isContentEditable"), false);

    let heading =
        "document.getElementById('refusal').hidden ? '' : document.getElementById('refusal-title').textContent";
    let refused = |page: &Page<'_>, title: &str| {
        page.shows("refused");
        assert_eq!(page.run(heading), title);
        assert_eq!(page.run("document.querySelector('.page').isContentEditable"), false);
    };
    let late = browser.open("late", "?doc=plans");
    refused(&late, "A token is needed");
    late.assert_accessible();
    late.fill("#token", &writer);
    late.shows("saved");
    assert!(late.written().contains("The plan."));
    late.fill("#document", "secrets");
    refused(&late, "Not your document");
    refused(&browser.open("nobody", "?doc=plans#token=nonsense"), "A token is needed");
    refused(&browser.open("eve", &format!("?doc=secrets#token={reader}")), "Not your document");

    Cli::of(&server).done(&["rm", "plans"]);
    refused(&ada, "This document was deleted");
    refused(&eve, "This document was deleted");
    browser.assert_no_problems();
}

/// g7: whoever has written something that no server takes is told, keeps what he has, and nobody else notices.
#[test]
fn wire_6_an_edit_that_is_too_large_is_told() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let Some(browser) = Browser::start(&server) else { return };
    let [ada, bob] = ["ada", "bob"].map(|profile| browser.open(profile, "?doc=large"));
    ada.shows("saved");
    ada.write("Fine.");
    browser.same(&[&ada, &bob], &["Fine."]);
    // Beside what the page shows, as another editor of the same document might.
    ada.run(
        "(() => { const { state } = document.querySelector('.page').editor; \
         const sync = state.plugins.find(plugin => plugin.key.startsWith('y-sync')); \
         sync.getState(state).doc.getText('elsewhere').insert(0, 'x'.repeat(40 << 20)) })()",
    );
    ada.wait_within("document.getElementById('status').dataset.state === 'refused'", 2 * PATIENCE);
    assert_eq!(ada.run("document.getElementById('refusal-title').textContent"), "An edit was refused");
    assert_eq!(ada.run("document.querySelector('.page').isContentEditable"), false);
    assert_eq!(ada.run("document.getElementById('discard').hidden"), false);
    assert!(ada.written().contains("Fine."));
    bob.write("Goes on.");
    bob.shows("saved");
    assert!(on_disk(&server, "large", "Goes on.") && !on_disk(&server, "large", "xxxx"));
    browser.assert_no_problems();
}

/// Whatever a peer says of itself or writes, the page shows text, asks nobody, runs nothing, and goes on.
#[test]
fn a_hostile_peer_is_shown_as_text() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let Some(browser) = Browser::start(&server) else { return };
    let js = Js::start();
    let peer = js.open(LATEST, &server, "welcome");
    peer.synced();
    let page = browser.open("one", "");
    page.shows("saved");
    page.fill("#name", "Ada");
    peer.run("doc.getXmlFragment('weft-demo').insert(0, [new Y.XmlElement('paragraph')])");
    page.write("Carets are shown in a document that is not empty.");

    let name = "<img src=x onerror=alert(1)>";
    for (user, shown) in [
        (json!({ "name": name, "color": "red;background:url(http://evil.example/)" }), name),
        (json!({ "name": { "toString": 1 }, "color": ["#fff"] }), "Somebody"),
        (json!({ "name": "x".repeat(10_000), "color": "#1f5fbf" }), &*"x".repeat(32)),
        (json!("nobody"), "Somebody"),
        (json!({}), "Somebody"),
    ] {
        peer.run_with("awareness.setLocalState(args)", json!({ "user": user, "cursor": "here" }));
        lists(&page, &["Ada (you)", shown]);
    }
    let nowhere = json!({ "client": 1, "clock": 7 });
    let begin = json!({ "client": peer.id, "clock": 0 });
    let cursors = [
        json!("here"),
        json!([]),
        json!({ "anchor": {}, "head": 7 }),
        json!({ "anchor": { "tname": "elsewhere" }, "head": { "tname": "elsewhere" } }),
        json!({ "anchor": { "item": "x", "assoc": "y" }, "head": { "item": { "client": -1, "clock": 1.5 } } }),
        json!({ "anchor": { "type": nowhere, "item": nowhere }, "head": { "type": null, "tname": 5 } }),
        json!({ "anchor": { "type": nowhere }, "head": { "item": nowhere, "assoc": -1 } }),
        json!({ "anchor": { "type": begin, "item": begin }, "head": { "item": begin, "tname": "weft-demo" } }),
    ];
    for (number, cursor) in cursors.into_iter().enumerate() {
        // By the name one sees that it has arrived: who is slow gets the last state only.
        let name = format!("Peer {number}");
        peer.run_with("awareness.setLocalState(args)", json!({ "user": { "name": name }, "cursor": cursor }));
        lists(&page, &["Ada (you)", &name]);
        page.write(&format!("After {number}."));
    }

    let write = "const fragment = doc.getXmlFragment('weft-demo');
        const link = new Y.XmlText(); link.insert(0, 'a link', { link: { href: 'javascript:alert(1)' } });
        const good = new Y.XmlElement('paragraph'); good.insert(0, [link]);
        const strange = new Y.XmlElement('script'); strange.insert(0, [new Y.XmlText('alert(1)')]);
        fragment.insert(fragment.length, [strange, good])";
    peer.run(write);
    page.wait("document.querySelector('.page').textContent.includes('a link')");
    assert_eq!(page.run("document.querySelectorAll('.page script, .page img, [href^=javascript]').length"), 0);
    page.write("Still here.");
    page.shows("saved");
    assert!(Cli::of(&server).export_json("welcome").to_string().contains("Still here."));
    browser.assert_no_problems();
}

/// Contract 2.2: what stands behind `?doc=` is the document's name, whatever URLs make of such characters.
#[test]
fn any_name_in_the_address_is_the_document_of_that_name() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let Some(browser) = Browser::start(&server) else { return };
    for (encoded, name) in [("x%3Fy%23z", "x?y#z"), ("a%252Fb", "a%2Fb"), ("a/../b", "a/../b"), ("%F0%9F%A7%B5", "🧵")]
    {
        let page = browser.open("one", &format!("?doc={encoded}"));
        page.shows("saved");
        assert_eq!(page.run("document.getElementById('document').value"), name);
        page.write("Here.");
        page.shows("saved");
        page.close();
        assert!(on_disk(&server, name, "Here."), "{name}");
    }
    // A name that no URL can carry, one that is too long, and one with a NUL.
    for encoded in ["..", &"x".repeat(600), "a%00b"] {
        let page = browser.open("one", &format!("?doc={encoded}"));
        page.shows("refused");
        page.close();
    }
    browser.assert_no_problems();
}

#[test]
fn the_page_is_accessible_in_light_in_dark_and_on_a_phone() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let Some(browser) = Browser::start(&server) else { return };
    // Without motion: a colour on its way to another one is neither.
    let with = |mut options: Value| {
        options["reducedMotion"] = "reduce".into();
        options
    };
    let light = browser.open_with("light", "", with(json!({})));
    let dark = browser.open_with("dark", "", with(json!({ "colorScheme": "dark" })));
    let phone = browser.open_with("phone", "", with(phone()));
    let all = [&light, &dark, &phone];
    for (page, name) in all.iter().zip(["Ada Lovelace", "Grace Hopper", "Bea"]) {
        page.shows("saved");
        page.fill("#name", name);
    }

    // By keyboard alone: from the top through the toolbar, of which one button is a stop, into the text.
    light.reload();
    let focused = "(({ id, dataset, ariaLabel, className }) => id || dataset.command || ariaLabel || className)(document.activeElement)";
    for stop in ["skip", "document", "name", "offline", "copy-link", "bold", "Document"] {
        light.press("Tab");
        assert_eq!(light.run(focused), stop);
    }
    light.press("Escape");
    for (key, button) in [("ArrowRight", "italic"), ("End", "redo"), ("ArrowRight", "bold"), ("ArrowLeft", "redo")] {
        light.press(key);
        assert_eq!(light.run(focused), button, "after {key}");
    }

    light.write("# Weaving together");
    light.write("Everyone who opens this page writes on the ");
    light.press("Control+b");
    light.type_on("same cloth");
    light.press("Control+b");
    light.type_on(".");
    light.write("> Weft: the thread that is woven through the warp.");
    browser.same(&all, &["the warp."]);
    dark.write("- bullets");
    browser.same(&all, &["bullets"]);
    phone.write("1. numbers");
    for page in all {
        page.shows("saved");
    }
    browser.same(
        &all,
        &["<h1>Weaving together</h1>", "<strong>same cloth</strong>.", "<blockquote>", "bullets", "numbers"],
    );
    for (page, file) in all.iter().zip(["light.png", "dark.png", "phone.png"]) {
        page.screenshot(file, false);
        page.assert_accessible();
    }

    // Also in the states that are not often seen.
    dark.click("#offline");
    dark.shows("offline");
    dark.write("Written without a line.");
    dark.screenshot("offline.png", false);
    dark.assert_accessible();
    browser.assert_no_problems();
}

/// Where weft is reachable by others there is no demo unless it is wanted.
#[test]
fn the_demo_is_switched_off_and_on() {
    let page = |options: Options| {
        let server = options.start();
        let mut stream = std::net::TcpStream::connect(server.addr()).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        use std::io::{Read, Write};
        write!(stream, "GET / HTTP/1.1\r\nHost: weft\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    };
    let data = DataDir::new();
    assert!(page(Options::new(data.path())).contains("<title>weft</title>"));
    assert!(page(Options::new(data.path()).arg("--demo").arg("off")).contains("weft is running."));
    assert!(page(Options::new(data.path()).env("WEFT_DEMO", "off")).contains("weft is running."));
}
