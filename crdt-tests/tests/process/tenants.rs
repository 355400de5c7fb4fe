//! Tenants on one server know nothing of each other: of what a tenant is sent, in any dialect and over HTTP, to the byte, nothing
//! was written by another one (HARDENING §1, tenant isolation).
//!
//! A tenant is who has tokens for `NAME/*` and no more: there is no claim for it in contract 2.4, so neither is there a budget
//! for a tenant; there are those for the address, the user and the document.

use std::net::SocketAddr;
use std::time::Instant;

use crdt_tests::admin::Admin;
use crdt_tests::hocuspocus::{self, Line, auth};
use crdt_tests::message::{self, Writer};
use crdt_tests::seed;
use crdt_tests::server::{DataDir, Server};
use crdt_tests::socket::Socket;
use crdt_tests::tap::Tap;
use crdt_tests::tokens::Secret;
use crdt_tests::wait::PATIENCE;
use memchr::memmem;
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// `t1` and `t10`, and so on, begin alike.
const TENANTS: usize = 20;
/// Connections of a kind that a tenant has at once.
const CONNECTIONS: usize = 3;

/// One document of a tenant.
struct Page {
    doc: String,
    /// Whose client id is nobody else's.
    client: u64,
    writer: Writer,
    presence_clock: u64,
}

impl Page {
    fn edit(&mut self, canary: &str) -> Vec<u8> {
        message::update(&self.writer.append(canary))
    }

    fn presence(&mut self, canary: &str) -> Vec<u8> {
        self.presence_clock += 1;
        message::awareness(&[(self.client, self.presence_clock, &format!("{{\"name\":{canary:?}}}"))])
    }
}

struct Tenant {
    name: String,
    token: String,
    canary: String,
    /// The last one's name is one that y-sweet allows.
    pages: Vec<Page>,
    rng: ChaCha8Rng,
    /// On both listeners.
    public: Tap,
    admin: Tap,
    sockets: Vec<(usize, Socket)>,
    lines: Vec<Line>,
    /// Where it does not belong.
    intrusions: Vec<Socket>,
    turned_away: usize,
}

impl Tenant {
    fn new(number: usize, (server, secret): (&Server, &Secret), planted: Option<&str>, seed: u64) -> Self {
        let mut rng = seed::rng(seed, number as u64);
        let name = format!("t{number}");
        let canary = format!("canary-{:016x}", rng.random::<u64>());
        let docs = [format!("{name}/a"), format!("{name}/deep/er"), format!("{name}-s")];
        let (all, own) = (format!("{name}/*"), docs[2].clone());
        let patterns = [Some(&*all), Some(&own), planted].into_iter().flatten().flat_map(|doc| ["--doc", doc]);
        let args: Vec<&str> = patterns.chain(["--access", "write", "--sub", &canary]).collect();
        let page = |doc| {
            // Eight bytes on the wire, which come about by chance as seldom as those of a canary.
            let client = rng.random_range(1 << 49..1 << 50);
            Page { doc, client, writer: Writer::new(client), presence_clock: 0 }
        };
        Self {
            token: secret.mint(&args),
            pages: docs.map(page).into(),
            public: Tap::on(server.addr()),
            admin: Tap::on(server.admin_addr()),
            name,
            canary,
            rng,
            sockets: Vec::new(),
            lines: Vec::new(),
            intrusions: Vec::new(),
            turned_away: 0,
        }
    }

    /// What nobody else may be sent.
    fn marks(&self) -> Vec<Vec<u8>> {
        let clients = self.pages.iter().map(|page| message::var_uint(page.client));
        clients.chain([self.canary.clone().into_bytes()]).collect()
    }

    fn addr(&self) -> SocketAddr {
        self.public.addr()
    }

    fn open(&mut self, path: &str) -> Option<Socket> {
        Socket::try_connect(self.addr(), &format!("{path}?token={}", self.token)).ok()
    }

    /// Does something of its own, or tries something with what is `other`'s.
    fn act(&mut self, other: &str) {
        match self.rng.random_range(0..16) {
            0..=1 => self.join(),
            2 => self.join_line(),
            3..=7 => self.say(),
            8 => self.leave(),
            9 => self.ask_over_http(),
            10..=11 => self.intrude_by_socket(other),
            12 => self.intrude_by_ysweet(other),
            13..=14 => self.intrude_by_line(other),
            _ => self.intrude_over_http(other),
        }
    }

    /// As a client of y-websocket or of y-sweet that comes back with what it knows.
    fn join(&mut self) {
        let at = self.rng.random_range(0..self.pages.len());
        let doc = &self.pages[at].doc;
        let path = if at == 2 && self.rng.random() { format!("d/{doc}/ws/{doc}") } else { doc.clone() };
        let mut socket = self.open(&path).expect("it is its own");
        let known = if self.rng.random() { self.pages[at].writer.state_vector() } else { vec![0] };
        socket.pull(&known);
        socket.send(message::step2(&self.pages[at].writer.all()));
        if self.sockets.len() >= CONNECTIONS {
            self.sockets.remove(0);
        }
        self.sockets.push((at, socket));
    }

    /// As a Hocuspocus provider with all documents on one connection, or with sessions in them.
    fn join_line(&mut self) {
        let mut line = Line::connect(self.addr(), "");
        for page in &self.pages {
            line.join(&page.doc, &self.token);
            line.say(&page.doc, message::step2(&page.writer.all()));
            if self.rng.random_ratio(1, 4) {
                line.join(&format!("{}\0session", page.doc), &self.token);
            }
        }
        if self.lines.len() >= CONNECTIONS {
            self.lines.remove(0);
        }
        self.lines.push(line);
    }

    /// Writes or shows itself, on all connections there are.
    fn say(&mut self) {
        let at = self.rng.random_range(0..self.pages.len());
        let (presence, page) = (self.rng.random_ratio(1, 3), &mut self.pages[at]);
        let message = if presence { page.presence(&self.canary) } else { page.edit(&self.canary) };
        let line = self.rng.random::<bool>();
        if let Some(line) = self.lines.last_mut().filter(|_| line) {
            line.say(&page.doc, message);
            line.settle(&page.doc);
        } else if let Some((_, socket)) = self.sockets.iter_mut().rev().find(|(of, _)| *of == at) {
            socket.send(message);
            socket.pull(&[0]);
            socket.frames.clear();
        }
        self.sockets.iter_mut().for_each(|(_, socket)| socket.poll());
    }

    fn leave(&mut self) {
        if self.rng.random() {
            self.lines.pop();
        } else if let Some((_, mut socket)) = self.sockets.pop() {
            match self.rng.random() {
                true => socket.close(),
                false => socket.cut(),
            }
        }
    }

    fn caller(&self, admin: bool) -> Admin {
        let addr = if admin { self.admin.addr() } else { self.addr() };
        Admin { addr, credential: Some(self.token.clone()) }
    }

    fn ask_over_http(&mut self) {
        let (caller, page) = (self.caller(false), &mut self.pages[2]);
        page.writer.append(&self.canary);
        // All of it: what was said without a connection has not come yet.
        let update = page.writer.all();
        caller.send_with("POST", &format!("/d/{}/update", page.doc), &[], &update).ok();
        let all = caller.get(&format!("/d/{}/as-update", page.doc)).body;
        assert!(memmem::find(&all, self.canary.as_bytes()).is_some(), "{} reads what it wrote", self.name);
    }

    /// Everything that might be let in, in one piece.
    fn intrusion(&mut self) -> [Vec<u8>; 6] {
        let (canary, page) = (&self.canary, &mut self.pages[0]);
        let all = page.writer.all();
        [
            message::step1_empty(),
            message::QUERY_AWARENESS.to_vec(),
            message::update(&all),
            message::step2(&all),
            page.presence(canary),
            hocuspocus::stateless(canary),
        ]
    }

    fn intrude_by_socket(&mut self, other: &str) {
        let own = &self.name;
        let paths = [
            format!("{other}/a"),
            format!("{other}/deep/er"),
            format!("{other}-s"),
            format!("{other}%2Fa"),
            format!("{own}%2f..%2f{other}%2fa"),
            format!("{own}/../{other}/a"),
            format!("/{other}/a"),
            format!("{other}/*"),
            other.to_owned(),
            own.clone(),
            "*".to_owned(),
            format!("{}/a", other.to_uppercase()),
        ];
        let path = paths.choose(&mut self.rng).expect("some").clone();
        // Without the token of anybody, with its own, and with two.
        let tokens = ["?", "?token=", "?token=x&token="];
        let token = tokens.choose(&mut self.rng).expect("some");
        let path = format!("{path}{token}{}", self.token);
        let Ok(mut socket) = Socket::try_connect(self.addr(), &path) else { return self.turned_away += 1 };
        self.intrusion().into_iter().for_each(|message| socket.send(message));
        self.intrusions.push(socket);
    }

    fn intrude_by_ysweet(&mut self, other: &str) {
        match self.open(&format!("d/{other}-s/ws/{other}-s")) {
            None => self.turned_away += 1,
            Some(mut socket) => {
                self.intrusion().into_iter().for_each(|message| socket.send(message));
                self.intrusions.push(socket);
            }
        }
    }

    /// On a connection where it is let in elsewhere.
    fn intrude_by_line(&mut self, other: &str) {
        let messages = self.intrusion();
        let sessions = ["", "\0session"];
        let address = format!("{other}/a{}", sessions.choose(&mut self.rng).expect("some"));
        let asks = self.rng.random_ratio(2, 3);
        let Some(line) = self.lines.last_mut() else { return };
        if asks {
            line.say(&address, auth(&self.token));
        }
        messages.iter().for_each(|message| line.say(&address, message));
        // Behind what came of it, if anything.
        line.settle(&self.pages[0].doc);
        self.turned_away += line.said(&address).iter().filter_map(|body| hocuspocus::denial(body)).count();
    }

    fn intrude_over_http(&mut self, other: &str) {
        let update = self.pages[2].writer.all();
        for (admin, method, target) in [
            (false, "GET", format!("/d/{other}-s/as-update")),
            (false, "POST", format!("/d/{other}-s/update")),
            (false, "POST", format!("/doc/{other}-s/auth")),
            (false, "GET", format!("/{other}/a")),
            (false, "GET", format!("/api/v1/docs/{other}%2Fa/update")),
            (true, "GET", format!("/api/v1/docs/{other}%2Fa/update")),
            (true, "GET", "/api/v1/docs".to_owned()),
            (true, "GET", "/api/v1/connections".to_owned()),
            (true, "GET", "/metrics".to_owned()),
        ] {
            let body = if method == "POST" { &*update } else { b"" };
            let answer = self.caller(admin).send_with(method, &target, &[], body);
            self.turned_away += usize::from(matches!(answer.status, 401 | 403 | 426));
        }
    }

    /// Whatever chance had it do, by these doors it went once, and it has heard all that is to be heard of it.
    fn finish(&mut self, neighbour: &str) {
        self.join();
        self.join_line();
        self.intrude_by_line(neighbour);
        self.intrude_by_ysweet(neighbour);
        self.intrude_over_http(neighbour);
        let mut socket = self.open(&format!("{neighbour}/a")).expect("it is told in the socket");
        self.intrusion().into_iter().for_each(|message| socket.send(message));
        self.intrusions.push(socket);
        for at in 0..self.pages.len() {
            let mut socket = self.open(&self.pages[at].doc.clone()).expect("it is its own");
            self.pages[at].writer.append(&self.canary);
            socket.send(message::update(&self.pages[at].writer.all()));
            socket.pull(&[0]);
        }
        for (_, socket) in &mut self.sockets {
            socket.pull(&[0]);
        }
        let began = Instant::now();
        for socket in &mut self.intrusions {
            // Held for some seconds, then closed with a reason; who was let in is answered.
            socket.stream().set_read_timeout(Some(PATIENCE)).expect("a timeout");
            while socket.closed.is_none() && !socket.frames.iter().any(|frame| frame.starts_with(&[0, 1])) {
                let left = PATIENCE.saturating_sub(began.elapsed());
                assert!(!left.is_zero(), "{}: neither closed nor answered: {:?}", self.name, socket.frames);
                socket.next(left);
            }
            self.turned_away += usize::from(matches!(socket.closed, Some(Some(4400..4500))));
        }
    }
}

/// Lets them all act, and says who was sent what is another's. `planted`: whose documents `t1` has a token for as well.
fn leaks(seed: u64, acts: usize, planted: Option<&str>) -> Vec<String> {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let make = |number| Tenant::new(number, (&server, &secret), planted.filter(|_| number == 1), seed);
    let mut tenants: Vec<Tenant> = (1..=TENANTS).map(make).collect();
    std::thread::scope(|scope| {
        for (at, tenant) in tenants.iter_mut().enumerate() {
            scope.spawn(move || {
                for _ in 0..acts {
                    let others: Vec<usize> = (1..=TENANTS).filter(|other| *other != at + 1).collect();
                    let other = *others.choose(&mut tenant.rng).expect("others");
                    tenant.act(&format!("t{other}"));
                }
                tenant.finish(&format!("t{}", (at + 1) % TENANTS + 1));
            });
        }
    });
    let mut leaks = Vec::new();
    let mut bytes = 0;
    for tenant in &tenants {
        let heard: Vec<Vec<u8>> = [&tenant.public, &tenant.admin].iter().flat_map(|tap| tap.heard()).collect();
        bytes += heard.iter().map(Vec::len).sum::<usize>();
        let has = |mark: &Vec<u8>| heard.iter().any(|bytes| memmem::find(bytes, mark).is_some());
        assert!(tenant.marks().iter().all(has), "{} has seen its own", tenant.name);
        assert!(tenant.turned_away > 0, "{} was let in everywhere", tenant.name);
        for other in tenants.iter().filter(|other| other.name != tenant.name) {
            if other.marks().iter().any(has) {
                leaks.push(format!("{} was sent what is {}'s", tenant.name, other.name));
            }
        }
    }
    // Nor has anybody left anything with anybody else.
    let admin = Admin::of(&server);
    let docs = admin.get("/api/v1/docs?limit=10000").json();
    let names = docs["docs"].as_array().expect("a list").iter().map(|doc| doc["name"].as_str().expect("a name"));
    for doc in names {
        let owns = |tenant: &&Tenant| doc.starts_with(&format!("{}/", tenant.name)) || doc == tenant.pages[2].doc;
        let owner = tenants.iter().find(owns).unwrap_or_else(|| panic!("{doc:?} is nobody's"));
        let encoded: String = doc.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let all = admin.get(&format!("/api/v1/docs/{encoded}/update")).body;
        for other in tenants.iter().filter(|other| other.name != owner.name) {
            if other.marks().iter().any(|mark| memmem::find(&all, mark).is_some()) {
                leaks.push(format!("{doc} holds what is {}'s", other.name));
            }
        }
    }
    let turned_away: usize = tenants.iter().map(|tenant| tenant.turned_away).sum();
    println!("{TENANTS} tenants, {acts} acts each: {bytes} bytes heard, {turned_away} times turned away, {leaks:?}");
    leaks
}

#[test]
fn hardening_1_tenants_hear_nothing_of_each_other() {
    let seed = seed::seed("hardening_1_tenants_hear_nothing_of_each_other");
    assert_eq!(leaks(seed, 150, None), Vec::<String>::new());
}

/// One tenant has a token for another's documents as well: that is found, and nothing else.
#[test]
fn hardening_1_a_planted_leak_between_tenants_is_found() {
    let seed = seed::seed("hardening_1_a_planted_leak_between_tenants_is_found");
    let leaks = leaks(seed, 10, Some("t2/*"));
    let heard = ["t1 was sent what is t2's", "t2 was sent what is t1's"];
    assert!(leaks.iter().any(|leak| heard.contains(&&**leak)), "{leaks:?}");
    // What it was let in for it may also have written to.
    let theirs = |leak: &&String| heard.contains(&&***leak) || (leak.starts_with("t2/") && leak.ends_with("t1's"));
    assert_eq!(leaks.iter().filter(theirs).count(), leaks.len(), "{leaks:?}");
}
