//! h4: a provider sends what it made while it was away upon the first frame that it hears, uncounted. Of a deletion only its
//! place in what comes tells whether it is among that.

use crdt_tests::hocuspocus::{Line, SAVED, auth, granted};
use crdt_tests::message::{self, Writer, presences};
use crdt_tests::server::{DataDir, Server};

const WRITER: u64 = 5;

/// The update that deletes one of [`WRITER`]'s characters.
fn deletion(at: u8) -> Vec<u8> {
    message::update(&[0, 1, WRITER as u8, 1, at, 1])
}

/// A server with a text at these addresses, and the state vector of who has it.
fn server(data: &DataDir, addresses: &[&str]) -> (Server, Vec<u8>) {
    let server = Server::start(data);
    let mut writer = Writer::new(WRITER);
    let update = writer.append("to be deleted");
    let mut line = Line::connect(server.addr(), "");
    for address in addresses {
        line.join(address, "");
        line.say(address, message::update(&update));
        line.until(address, "a confirmation", |body| body == SAVED);
    }
    (server, writer.state_vector())
}

/// How often it is confirmed, in the end, what was said of the document. Another session on the same line writes behind all
/// that: what is confirmed comes in order.
fn confirmations(line: &mut Line, address: &str) -> usize {
    let fence = format!("{address}\0fence");
    if line.said(&fence).is_empty() {
        line.join(&fence, "");
    }
    line.say(&fence, message::update(&Writer::new(77).append("behind all that")));
    line.until(&fence, "a confirmation", |body| body == SAVED);
    line.settle(&fence);
    line.count(address, SAVED)
}

/// A client that reads nothing has not heard anything, and has not sent a pong either.
#[test]
fn h4_a_deletion_ahead_of_the_pong_is_confirmed() {
    let data = DataDir::new();
    let (server, has) = server(&data, &["doc"]);
    let mut line = Line::connect(server.addr(), "");
    line.say("doc", auth(""));
    line.say("doc", message::step1(&has));
    line.say("doc", deletion(0));
    line.until("doc", "the answer", |body| body.starts_with(&[0, 1]));
    line.say("doc", message::step2(&[0, 0]));
    assert_eq!(confirmations(&mut line, "doc"), 2, "the deletion and the answer");
}

/// Behind the pong, and ahead of the answer to our question, it may have been kept, and then is not counted.
#[test]
fn h4_a_deletion_behind_the_pong_is_not_confirmed_until_the_question_is_answered() {
    let data = DataDir::new();
    let (server, has) = server(&data, &["doc", "other"]);
    let mut line = Line::connect(server.addr(), "");
    line.say("doc", auth(""));
    line.say("doc", message::step1(&has));
    line.until("doc", "the answer", |body| body.starts_with(&[0, 1]));
    line.say("doc", deletion(0));
    // For no other document of the connection either.
    line.say("other", auth(""));
    line.say("other", message::step1(&has));
    line.say("other", deletion(0));
    line.say("doc", message::step2(&[0, 0]));
    assert_eq!(confirmations(&mut line, "doc"), 1, "the answer");
    line.say("doc", deletion(1));
    assert_eq!(confirmations(&mut line, "doc"), 2, "the answer and the second deletion");
    // Whichever document's question was answered, all that was kept has come.
    line.say("other", deletion(1));
    line.say("other", message::step2(&[0, 0]));
    assert_eq!(confirmations(&mut line, "other"), 2, "the second deletion and the answer");
}

/// h3: who waits for being let in before it asks for anything is let in, and told who is here.
#[test]
fn h3_a_client_that_waits_to_be_let_in_does_not_wait_for_ever() {
    let data = DataDir::new();
    let (server, _) = server(&data, &["doc"]);
    let mut present = Line::connect(server.addr(), "");
    present.join("doc", "");
    present.say("doc", message::awareness(&[(9, 1, "{}")]));
    present.settle("doc");
    let mut line = Line::connect(server.addr(), "");
    line.say("doc", auth(""));
    line.until("doc", "being let in", |body| body == granted("read-write"));
    line.until("doc", "who is here", |body| presences(body).is_some_and(|all| all.iter().any(|one| one.client == 9)));
    line.pull("doc");
}
