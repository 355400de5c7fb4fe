//! Every bound, with its unit and its reason. A queue, a buffer or a count that is not bounded here is a bug.

use std::num::NonZeroU32;
use std::time::Duration;

/// Longest document name, bytes (contract 2.2). With its NUL and a suffix it still fits one store key.
pub const DOC_NAME_BYTES_MAX: usize = 512;

// ---- messages -----------------------------------------------------------------------------------------------------

/// Largest WebSocket message accepted, bytes. A client that pastes or imports sends its whole state as one Update
/// (WIRE g14); 32 MiB holds every honest one seen and bounds what one socket can make us buffer.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;
/// Most structs in one update. Refused before yrs sees it (HARDENING §2).
pub const UPDATE_STRUCTS_MAX: u64 = 4_000_000;
/// Most entries in a state vector (HARDENING §2).
pub const STATE_VECTOR_ENTRIES_MAX: u64 = 50_000;
/// Deepest nesting of an `Any` value. yrs recurses while decoding; 3,000 fit in 2 MiB of stack.
pub const ANY_DEPTH_MAX: usize = 128;
/// Longest key of a map entry, a format, or a root type, bytes.
pub const KEY_BYTES_MAX: usize = 4 << 10;
/// Clocks stay below this; yrs counts in `u32` and adds lengths without checking.
pub const CLOCK_MAX: u64 = 1 << 31;
/// Client ids stay below this (53 bits): yrs masks larger ones, which would alias another client.
pub const CLIENT_ID_MAX: u64 = 1 << 53;
/// Deepest nesting of shared types in each other: yrs recurses while it deletes and frees them.
pub const TYPE_DEPTH_MAX: u32 = 256;

/// Longest session id in a Hocuspocus address, bytes; providers draw a dozen characters (WIRE h13).
pub const SESSION_ID_BYTES_MAX: usize = 128;
/// Longest stateless message of a Hocuspocus client or to all of them, bytes: a notice, not a document.
pub const STATELESS_BYTES_MAX: usize = 64 << 10;

// ---- awareness ----------------------------------------------------------------------------------------------------

/// Largest awareness state of one client, bytes of JSON.
pub const AWARENESS_STATE_BYTES_MAX: usize = 16 << 10;
/// Most protocol messages in one frame of a client's. Stock clients send one (WIRE g1), those of Yjs 14 may send the few that
/// one turn brings; each of more would be copied while the document has no room.
pub const MESSAGES_PER_FRAME_MAX: usize = 64;

/// Most entries in one awareness message. A room of this size is echoed whole by old clients (WIRE g10).
pub const AWARENESS_ENTRIES_MAX: u64 = 10_000;
/// Most client ids (present or tombstone) in one document's awareness table.
pub const AWARENESS_CLIENTS_MAX: usize = 10_000;
/// Bytes of all states in one document: a thousand clients with 8 kB each, and what each newcomer is sent at once.
pub const AWARENESS_BYTES_MAX: usize = 8 << 20;
/// Most client ids whose presence one peer may own.
pub const AWARENESS_CLIENTS_PER_PEER_MAX: usize = 16;
/// Least time between two messages about presence in one document (HARDENING §2: 20 a second): the first change is told at
/// once, those that follow together.
pub const AWARENESS_PAUSE: Duration = Duration::from_millis(50);
/// Whoever has claimed a client id may lose it to somebody else when it has not renewed its state so long, which stock clients
/// do every 15 s: its line is half dead, and the same person may be back from another address.
pub const AWARENESS_STALE: Duration = Duration::from_secs(20);
/// A state that no live peer owns goes after this silence, as in y-protocols.
pub const AWARENESS_ORPHAN_TTL: Duration = Duration::from_secs(30);
/// A tombstone is kept this long, so that late echoes (WIRE g10) do not raise the dead.
pub const AWARENESS_TOMBSTONE_TTL: Duration = Duration::from_secs(300);

// ---- a document ---------------------------------------------------------------------------------------------------

/// Bytes of a document's structs, unless `--max-document-bytes` says otherwise (HARDENING §2): what clients write beyond it is
/// refused. The largest honest documents seen have a few MiB; each client holds the whole one, many times as large…
pub const DOCUMENT_BYTES_MAX: u64 = 64 << 20;
/// …and so many structs, unless `--max-document-structs` says otherwise: each is an object of 100 bytes or more to Yjs.
pub const DOCUMENT_STRUCTS_MAX: u64 = 5_000_000;
/// What deletes about as much as it brings is taken until this part of the bounds is reached on top, one in so many.
pub const DOCUMENT_SHRINK_SHARE: u64 = 8;
/// Most bytes of updates one document parks while they wait for a missing one (HARDENING §2).
pub const PARKED_BYTES_MAX: usize = 1 << 20;
/// Most parked updates of one document.
pub const PARKED_UPDATES_MAX: usize = 1_000;
/// Of both, this part is for the updates of one user, or address where users have no names, one in so many: a writer whose
/// updates never come to anything leaves room for those of others.
pub const PARKED_SENDER_SHARE: usize = 4;
/// Most updates integrated in one yrs transaction (DEPENDENCIES, safe use 5).
pub const INTEGRATE_UPDATES_MAX: usize = 1_000;
/// Most bytes of updates integrated in one yrs transaction, unless one alone is larger: joining what was typed takes
/// memory with the square of its length.
pub const INTEGRATE_BYTES_MAX: usize = 16 << 10;
/// Most structs that follow on each other in one transaction, for the same reason.
pub const INTEGRATE_STRUCTS_MAX: usize = 1_000;
/// Most clients in one update given to yrs, which recurses once for each.
pub const INTEGRATE_CLIENTS_MAX: usize = 256;
/// Bytes of structs after which a new chunk of them begins: whoever asks for what follows a clock has one chunk walked…
pub const CHUNK_BYTES: usize = 2 << 10;
/// …and deleted content is taken out of so many bytes in one turn, …
pub const COLLECT_BYTES: usize = 256 << 10;
/// …once about so many more are deleted, bytes, …
pub const COLLECT_MIN: u64 = 4 << 10;
/// …and this part of all, one in so many: looking at all of it costs about that many times what goes.
pub const COLLECT_SHARE: u64 = 8;
/// Bytes of messages that may wait in one document's inbox; beyond it sessions wait, and so do their sockets.
/// At least one [`MESSAGE_BYTES_MAX`], or that message could never enter.
pub const INBOX_BYTES_MAX: usize = 64 << 20;
/// Fixed cost charged to the inbox for each message beside its bytes.
pub const INBOX_MESSAGE_COST: usize = 64;
/// Bytes of messages handled as one turn, so that its record fits the journal; a single message may be larger.
pub const TURN_BYTES_MAX: usize = 16 << 20;
/// From so many peers on, a document's task lets all sockets that have something be read before it takes its turn. Each
/// turn is a write to every peer, and the edits of one turn go out together.
pub const GATHER_PEERS_MIN: usize = 8;
/// Size of the pieces that an import too large for one message is cut into, bytes. Each is a turn, a record and a frame;
/// between two of them others have theirs.
pub const IMPORT_PIECE_BYTES: usize = 1 << 20;
/// Pieces of one import on their way to the disk at the same time.
pub const IMPORT_PIECES_IN_FLIGHT: usize = 8;
/// A document with no peer falls asleep after this, its edits in the store.
pub const IDLE_AFTER: Duration = Duration::from_secs(30);
/// Different questions whose answers a document remembers until it changes, so that equal ones are answered once.
pub const ANSWERS_MAX: usize = 8;
/// Bytes of those answers; the last one is remembered whatever its size.
pub const ANSWERS_BYTES_MAX: usize = 4 << 20;
/// How long answers are remembered that nobody asks for any more. A crowd that comes back asks within moments; a document that
/// is merely open would have its content in memory twice.
pub const ANSWERS_KEPT_FOR: Duration = Duration::from_secs(1);
/// Largest answer sent as one frame, bytes. A frame counts only when it is complete, and clients give up after 30 s without
/// one (WIRE g5): a line that needs longer for this takes less than 18 kB/s.
pub const ANSWER_BYTES_MAX: usize = 512 << 10;
/// Documents with fewer stored bytes are read before anybody is answered, which takes no longer then than another turn.
pub const UNREAD_BYTES_MIN: usize = 16 << 10;
/// Largest log behind a snapshot that is merged and sent without being read, bytes: what a log has as a rule before it is folded.
pub const UNREAD_TAIL_BYTES_MAX: usize = 64 << 10;
/// Size of the portions that a larger answer is cut into, bytes: y-sweet's client, which gives up after 3 s (WIRE g-s2),
/// needs a line of 90 kB/s for it, the others one of 9 kB/s; and what a frame costs beside its bytes is nothing yet.
pub const PORTION_BYTES: usize = 256 << 10;
/// Bytes of shared portions that are kept while somebody takes them, however small the document has become; beyond it, as many
/// as the document has and a quarter more. What was deleted since would be kept with them for as long as somebody is slow.
pub const PORTIONS_SHARED_BYTES_MIN: usize = 8 << 20;
/// How often what was added while portions went out may go out in portions itself; then it is sent whole, or a document
/// that is edited faster than a line takes it would never be brought to its end.
pub const PORTIONS_ROUNDS_MAX: u32 = 3;
/// Documents awake at once, unless `--max-open-documents` says otherwise; as many as connections, most of which have one.
pub const DOCUMENTS_OPEN_MAX: usize = 100_000;
/// In the last part of them, or of `--max-memory`, one in so many, documents without editors fall asleep sooner…
pub const PRESSURE_HIGH_SHARE: usize = 4;
/// …after this.
pub const IDLE_AFTER_HIGH: Duration = Duration::from_millis(500);
/// How often they are looked through then: each of them is woken for it.
pub const RELIEVE_EVERY: Duration = Duration::from_secs(1);
/// How often memory is looked at, if `--max-memory` bounds it: it takes some microseconds, and in that time hundreds can join.
pub const MEMORY_LOOKED_AT_EVERY: Duration = Duration::from_millis(100);
/// Most memory a worker may take for what it integrates, unless `--worker-memory` says otherwise, bytes: a document takes
/// 8 times its size in yrs, or 15 if it is all keys, and 60 MB are the largest seen.
pub const WORKER_MEMORY: u64 = 2 << 30;
/// How far a worker gives way to others (`nice`): it gets a tenth of a processor that the server wants, too.
pub const WORKER_NICE: i32 = 10;
/// A worker that has not done its task after this is ended, the time aside in which it waited for a processor…
pub const WORKER_TIMEOUT: Duration = Duration::from_secs(60);
/// …with so much more for each MiB of it: a hundred times what it takes.
pub const WORKER_TIMEOUT_PER_MIB: Duration = Duration::from_secs(4);
/// …of which so many times as much is let pass.
pub const WORKER_WAIT_FACTOR: u32 = 10;
/// Stack in which a worker integrates. yrs recurses over what documents contain; memory is taken only as far as it is used.
pub const WORKER_STACK_BYTES: usize = 64 << 20;
/// Memory of a worker beside what it works on, bytes: the program itself, and what its allocator holds in reserve.
pub const WORKER_MEMORY_SPARE: u64 = 32 << 20;
/// A worker that has had nothing to do for this is ended.
pub const WORKER_IDLE: Duration = Duration::from_secs(10);
/// A worker may answer with so many times the bytes it was given: JSON writes a byte in six, …
pub const WORKER_REPLY_FACTOR: u64 = 8;
/// …and so many more, bytes.
pub const WORKER_REPLY_BYTES_SPARE: u64 = 1 << 20;
/// Documents loaded from the store at the same time.
pub const LOADS_MAX: usize = 8;
/// Of the processors, one in so many reads documents whose newcomers were answered from what is stored: nobody waits for that
/// yet, and others wait for an answer.
pub const READINGS_SHARE: usize = 2;

// ---- a connection -------------------------------------------------------------------------------------------------

/// Bytes queued for one slow reader before its document frames are dropped for a later diff.
pub const OUTBOX_BYTES_MAX: usize = 1 << 20;
/// Fixed cost charged to the outbox for each frame beside its bytes: its place in the queue, and what it keeps alive.
pub const OUTBOX_FRAME_COST: usize = 64;
/// Bytes a peer may have been sent before the replica notes anew what it knows, so that a later diff stays small.
pub const PEER_BASE_BYTES: usize = 256 << 10;
/// Acks that one peer may be owed while the journal is slow; an idle client asks for one every 2 s (WIRE g-s1).
pub const ACKS_MAX: usize = 1_024;
/// Confirmations of writes put into one piece of bytes for the socket (WIRE h4): each is a frame with an address.
pub const CONFIRMED_AT_ONCE: u32 = 256;
/// Updates of one Hocuspocus client that may be refused for what they are before the document is closed to it (WIRE §6).
pub const REFUSALS_MAX: u32 = 8;
/// Largest request for an ack, bytes: it carries one integer (WIRE §2).
pub const ACK_BYTES_MAX: usize = 16;
/// Frames written by one `writev`; twice this many slices stay below Linux's IOV_MAX of 1,024.
pub const WRITE_FRAMES_MAX: usize = 256;
/// A connection whose client says nothing at all is closed after this. Stock clients begin to talk at once, but a
/// Hocuspocus connection may be opened before there is a document.
pub const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes read at a time before it is known who speaks, of which the first one tells the dialect.
pub const FIRST_READ_BYTES: usize = 4 << 10;
/// Documents that one Hocuspocus connection may have open (HARDENING §1).
pub const DOCUMENTS_PER_CONNECTION_MAX: usize = 256;
/// Bytes that one Hocuspocus connection may have waiting for tokens, and largest message before it has shown a good one:
/// state vectors and presence come before anything large does (HARDENING §1).
pub const PREAUTH_BYTES_MAX: usize = 64 << 10;
/// Messages that one Hocuspocus connection may have waiting for tokens.
pub const PREAUTH_MESSAGES_MAX: usize = 64;
/// A document of a Hocuspocus connection for which no token comes is denied after this (HARDENING §1).
pub const AUTH_TIMEOUT: Duration = Duration::from_secs(10);
/// So long a Hocuspocus client's document has to ask its question ahead of the client's being told that it is let in
/// (WIRE h3, h4).
pub const GREETING_HOLD: Duration = Duration::from_millis(100);
/// So long before its token ends a Hocuspocus client is asked for another one (WIRE §6).
pub const TOKEN_RENEWAL: Duration = Duration::from_secs(30);
/// Denials on one Hocuspocus connection, after which it is closed: each costs a signature's verification.
pub const DENIALS_MAX: u32 = 2 * DOCUMENTS_PER_CONNECTION_MAX as u32;
/// HTTP request head: size and time (HARDENING §2, slowloris).
pub const HTTP_HEAD_BYTES_MAX: usize = 16 << 10;
/// HTTP request head: time to send it whole.
pub const HTTP_HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// HTTP request head: number of headers.
pub const HTTP_HEADERS_MAX: usize = 64;
/// Connections at once to the admin listener.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Largest body of an admin's request, bytes: the whole state of a document that came to be elsewhere. The largest ones
/// seen are a few tens of MiB; while one is merged it takes several times its size in memory.
pub const ADMIN_BODY_BYTES_MAX: usize = 256 << 20;
/// Bytes of all such bodies that may be in memory at once; further callers wait before theirs is read.
pub const ADMIN_BODIES_BYTES_MAX: usize = 2 * ADMIN_BODY_BYTES_MAX;
/// A caller who sends nothing more of a body this long is given up, and makes room.
pub const ADMIN_BODY_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest body where at most a few parameters are expected, bytes.
pub const ADMIN_SMALL_BODY_BYTES_MAX: usize = 64 << 10;
/// Pieces of a streamed answer that may wait for a caller's socket. A piece has 64 KiB or so; whoever makes them waits.
pub const ADMIN_STREAM_PIECES_MAX: usize = 8;
/// Time that answers of the admin listener get to leave when the server ends.
pub const ADMIN_STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// Documents in the answer to what happens now, unless the caller says otherwise…
pub const TOP_DEFAULT: usize = 20;
/// …and at most.
pub const TOP_MAX: usize = 1_000;
/// Documents in one page of a list, unless the caller says otherwise…
pub const LIST_DEFAULT: usize = 1_000;
/// …and at most.
pub const LIST_MAX: usize = 10_000;
/// Bytes of bodies of y-sweet's calls that may be in memory at once, each counted as the most it may be: four updates of
/// [`MESSAGE_BYTES_MAX`]. Further callers wait before theirs is read.
pub const YSWEET_BODIES_BYTES_MAX: usize = 4 * MESSAGE_BYTES_MAX;
/// Largest body of those that ask with a few words of JSON, bytes.
pub const YSWEET_SMALL_BODY_BYTES_MAX: usize = 64 << 10;
/// How long a token is good that a y-sweet client is given, seconds, unless the caller says otherwise: as y-sweet's.
pub const YSWEET_TOKEN_S: u64 = 3_600;
/// Connections at once, unless `--max-connections` says otherwise.
pub const CONNECTIONS_MAX: usize = 100_000;
/// Silence towards a client before a keep-alive message; stock clients close after 30 s without one (WIRE g4).
pub const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);
/// Silence after a request for an ack before a keep-alive message: y-sweet's client gives its connection up after 3 s
/// (WIRE g-s2), however slow the disk is.
pub const ACK_SILENCE_MAX: Duration = Duration::from_secs(1);
/// WebSocket ping period; a peer that misses two is dead (WIRE §6).
pub const PING_EVERY: Duration = Duration::from_secs(25);
/// Malformed messages one connection may send before it is closed with 4400 (WIRE §6).
pub const GARBAGE_MESSAGES_MAX: u32 = 16;
/// Time a closing handshake may take before the socket is dropped.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that takes none of the bytes queued for it this long is dropped: its window is shut or it is gone.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes read from one socket at a time, into a buffer that belongs to the thread. Holds most messages whole, so that
/// they are never copied before they are parsed.
pub const READ_BUFFER_BYTES: usize = 64 << 10;
/// Pings of one client answered per second; more are ignored (HARDENING §2, ping floods).
pub const PINGS_PER_SECOND_MAX: u32 = 10;
/// Open files that connections leave to the journal, the store and the admin listener.
pub const OPEN_FILES_RESERVED: usize = 256;
/// Connections the kernel may complete before they are accepted.
pub const ACCEPT_BACKLOG: i32 = 4096;
/// Pause after `accept` failed for want of file descriptors or memory; only time mends that.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Longest close reason, bytes (RFC 6455 §5.5: a control frame carries at most 125, two of them the code).
pub const CLOSE_REASON_BYTES_MAX: usize = 123;

// ---- rates --------------------------------------------------------------------------------------------------------

/// A rate's worth of so long may be used at once: who comes back with a long day's edits, pastes or imports is not slowed.
pub const RATE_BURST: Duration = Duration::from_secs(60);
/// Messages a second of one connection, unless `--rate-per-connection` says otherwise. A person makes ten, a room of 500
/// brings each of its old clients 500 echoes for a cursor that moves (WIRE g10); a closed loop on loopback makes 2,000.
pub const RATE_MESSAGES: u32 = 10_000;
/// Bytes a second of one connection: with its burst fifteen of the largest messages.
pub const RATE_BYTES: u32 = 8 << 20;
/// Structs a second of one connection, and in its burst three times [`UPDATE_STRUCTS_MAX`].
pub const RATE_STRUCTS: u32 = 200_000;
/// Milliseconds a second that one connection may keep a processor busy: a quarter of one. In its burst are 15 s, several
/// times what the largest message was seen to take.
pub const RATE_CPU_MS: u32 = 250;
/// Documents a second that one connection may open: in its burst are several times [`DOCUMENTS_PER_CONNECTION_MAX`].
pub const RATE_OPENS: u32 = 20;
/// Largest rate that can be given; beyond it a nanosecond would be too long.
pub const RATE_MAX: u32 = 1_000_000_000;
/// How long altogether a client is made to wait, of which it works off half while it is not, before it is closed (1013)
/// unless `--rate-patience` says otherwise: who wants more than twice its rate is, after twice this time.
pub const RATE_PATIENCE: Duration = Duration::from_secs(30);
/// What is owed is settled when it has come to this many messages…
pub const RATE_SETTLE_MESSAGES: u32 = 64;
/// …or bytes…
pub const RATE_SETTLE_BYTES: u32 = 64 << 10;
/// …or structs…
pub const RATE_SETTLE_STRUCTS: u64 = 4_096;
/// …or time of a processor: so that an ordinary client hardly ever looks at a clock for it.
pub const RATE_SETTLE_CPU: Duration = Duration::from_millis(1);
/// Longest pause before it is looked at anew whether what is owed can be paid.
pub const RATE_PAUSE_MAX: Duration = Duration::from_secs(1);
/// What a question for what one misses counts for beside its bytes, messages: each may cost a diff (HARDENING §2).
pub const RATE_QUESTION_MESSAGES: u32 = 32;
/// Accounts of addresses, and of users, that are kept before it is looked which of them nobody needs.
pub const ACCOUNTS_KEPT: usize = 1_024;
/// Addresses remembered whose connections were closed for their rates; further ones come with a full burst again.
pub const RATE_DISGRACED_MAX: usize = 10_000;
/// A turn of a document that takes longer than this is a slow one: others have theirs before the next, which is measured
/// more closely…
pub const TURN_SLOW: Duration = Duration::from_millis(1);
/// …and so is one with more bytes than this to begin with.
pub const TURN_HEAVY_BYTES: u64 = 64 << 10;
/// Turns at once that have a thread made for what waits behind them.
pub const TURNS_APART_MAX: usize = 8;

// ---- access -------------------------------------------------------------------------------------------------------

/// Longest token, bytes: it comes in a request head, and is looked at before anything is known of its sender.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;
/// How far the clocks of this machine and of whoever issues tokens may differ, seconds (HARDENING §1: at most 60).
pub const TOKEN_LEEWAY_S: u64 = 10;
/// How far ahead a token may expire, seconds: a year. A revocation is remembered this long and no longer.
pub const TOKEN_LIFETIME_S_MAX: u64 = 366 * 86_400;
/// Longest subject of a token, bytes.
pub const SUBJECT_BYTES_MAX: usize = 256;
/// Shortest secret, bytes: as long as what HS256 makes of it (RFC 7518 §3.2).
pub const SECRET_BYTES_MIN: usize = 32;
/// Largest file of keys, bytes.
pub const KEY_FILE_BYTES_MAX: u64 = 64 << 10;
/// Most keys that tokens may be signed with; a token without a key id is tried with each of its algorithm.
pub const AUTH_KEYS_MAX: usize = 16;
/// Shortest RSA key, bits (RFC 7518 §3.3)…
pub const RSA_BITS_MIN: usize = 2_048;
/// …and longest, beyond which a verification would cost more than it proves.
pub const RSA_BITS_MAX: usize = 8_192;
/// Most revocations remembered at once.
pub const REVOCATIONS_MAX: usize = 10_000;
/// Largest file of revocations, bytes: each of the longest subject and document name, every byte of them escaped.
pub const REVOCATIONS_BYTES_MAX: u64 = 64 << 20;
/// Whoever is denied access is held at least this long before the close frame, since old clients come back at once…
pub const DENIAL_HOLD_MIN: Duration = Duration::from_secs(2);
/// …and at most this long (WIRE g6); spread in between, so that a crowd does not come back as one.
pub const DENIAL_HOLD_MAX: Duration = Duration::from_secs(5);
/// Bytes read from a client that was denied, and thrown away; beyond it, its socket waits.
pub const DENIED_BYTES_MAX: usize = 64 << 10;

/// Proxies in a row that are believed about where a client is.
pub const FORWARDED_HOPS_MAX: usize = 16;
/// Time for the auth webhook to answer, unless `--auth-webhook-timeout` says otherwise: clients wait for it to connect.
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long its answers are remembered, unless `--auth-webhook-cache` says otherwise: long enough for a crowd that comes
/// back, short enough for a right that was taken away.
pub const WEBHOOK_CACHE: Duration = Duration::from_secs(10);
/// Such answers at once; the oldest go first.
pub const WEBHOOK_CACHE_ENTRIES_MAX: usize = 10_000;
/// Questions to the webhook at once; others wait, no longer than for an answer.
pub const WEBHOOK_ASKING_MAX: usize = 64;
/// Longest answer of the webhook, bytes.
pub const WEBHOOK_ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long a grant of the webhook's lasts that names no end, seconds.
pub const WEBHOOK_GRANT_S: u64 = 3_600;
/// Failures in a row after which the webhook is left alone…
pub const WEBHOOK_FAILURES_MAX: u32 = 5;
/// …for so long at first, before one question is tried…
pub const WEBHOOK_PAUSE_MIN: Duration = Duration::from_secs(1);
/// …and twice as long after each that fails, up to this.
pub const WEBHOOK_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Bytes after which the audit log begins a new segment…
pub const AUDIT_SEGMENT_BYTES: u64 = 1 << 20;
/// …and how many of those are kept: some hundred thousand acts.
pub const AUDIT_SEGMENTS_MAX: usize = 32;
/// Callers of the admin API without a good credential that are recorded at once…
pub const AUDIT_REFUSALS: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// …and then one in this time, with the number of those that were not: a flood of them would push out what admins did.
pub const AUDIT_REFUSAL_EVERY: Duration = Duration::from_secs(60);
/// Longest line of the audit log that is read; one that is written holds two names and a few words.
pub const AUDIT_LINE_BYTES_MAX: u64 = 1 << 20;
/// Flaws of an audit log that are named.
pub const AUDIT_FLAWS_MAX: usize = 100;

// ---- journal ------------------------------------------------------------------------------------------------------

/// Size of one journal segment, bytes. It is filled with zeros before it is used, so a large one is paid for by who writes little.
pub const SEGMENT_BYTES: u64 = 2 << 20;
/// Smallest segment, and what its size is a multiple of, bytes: a page of header and some pages of records.
pub const SEGMENT_BYTES_MIN: u64 = 16 << 10;
/// Largest segment, bytes; positions in it are kept in 32 bits.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Segment files kept to be used again, so that as a rule none is filled: what comes in between two checkpoints.
pub const JOURNAL_SPARES_MAX: usize = 16;
/// Most bytes in one journal record: the largest turn and its header. The edits of a turn are at most those of
/// [`TURN_BYTES_MAX`] or one message, and what they set free ([`PARKED_BYTES_MAX`]); a struct whose beginning was known
/// already may take some more than it came with.
pub const JOURNAL_RECORD_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX + (64 << 10);
/// Bytes that may wait for the journal's writer; beyond it documents wait.
pub const JOURNAL_QUEUE_BYTES_MAX: usize = 64 << 20;
/// Fixed cost charged to that queue for each append beside its records' bytes.
pub const JOURNAL_ENTRY_COST: usize = 128;
/// Most bytes in one write of the journal, unless a single record is larger; bounds its buffer.
pub const JOURNAL_GROUP_BYTES_MAX: usize = 4 << 20;
/// How long records that nobody waits for may be written and not yet synced: their syncs cost more than all else that is
/// done for them. Whoever asks whether they are saved hurries them. Less than anybody notices, and a client that is still
/// there after a power cut sends them again.
pub const JOURNAL_SYNC_PACE: Duration = Duration::from_millis(25);
/// Most bytes that are written by whoever appends them, while the writer has nothing to do; more is left to its thread.
pub const JOURNAL_WRITE_THROUGH_BYTES_MAX: usize = 16 << 10;
/// Places without a readable record that are reported of one damaged journal segment; the bytes are counted for all.
pub const JOURNAL_UNREADABLE_REPORTED_MAX: usize = 100;
/// Pause between two tries to write on a full disk (S9).
pub const JOURNAL_SPACE_RETRY: Duration = Duration::from_millis(100);
/// Journal bytes after which a checkpoint carries them into the store.
pub const CHECKPOINT_BYTES: u64 = 32 << 20;
/// Longest time a journal record waits for a checkpoint.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(30);

/// Update bytes gathered by a checkpoint before they are given to the store: beyond it a document gets a second record,
/// and the memory of a checkpoint stays a small multiple of this.
pub const CHECKPOINT_BATCH_BYTES: usize = 2 << 20;
/// Documents that may wait for compaction; those that don't fit come again with a later checkpoint.
pub const COMPACT_QUEUE_MAX: usize = 100_000;
/// Time that sealing a segment may take on a full disk before it is plain that the journal waits for room itself.
pub const ROTATE_ON_FULL_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause before a document is folded that there was no room for.
pub const COMPACT_FULL_PAUSE: Duration = Duration::from_secs(2);
/// Updates that broke a document kept in quarantine; whoever sends them could send more.
pub const QUARANTINE_UPDATES_MAX: usize = 100;
/// Stretches of records of one document whose senders are remembered: more than the [`COMPACT_LOG_RECORDS`] after which a log is
/// folded, and with it forgotten.
pub const SENDERS_MAX: usize = 1_024;
/// So many of them are looked at to find the one that goes on: as many as write at the same time in a busy room.
pub const SENDERS_LOOKED_BACK: usize = 16;
/// Documents with such records, asleep most of them, before those that sleep are forgotten.
pub const SENDERS_DOCUMENTS_KEPT: usize = 4_096;
/// Files kept in quarantine altogether. Beyond it a repair stops, and a checkpoint fails, rather than drop bytes.
pub const QUARANTINE_FILES_MAX: usize = 10_000;
/// Longest label of a kept file, bytes. One of a journal's names each of its updates.
pub const QUARANTINE_LABEL_BYTES_MAX: u64 = 16 << 20;
/// Bytes kept in quarantine, for the same reason.
pub const QUARANTINE_BYTES_MAX: u64 = 4 << 30;

// ---- disk space (S9) ----------------------------------------------------------------------------------------------

/// Free bytes below which edits are refused, unless `--min-free-bytes` says otherwise: room for the journal's segments in
/// use and for one checkpoint of [`CHECKPOINT_BYTES`] at [`CHECKPOINT_SPACE_FACTOR`]…
pub const MIN_FREE_BYTES: u64 = 256 << 20;
/// …but of a small file system only this part: one in so many.
pub const MIN_FREE_SHARE: u64 = 10;
/// Edits are taken again when this part of the bound is free on top of it, one in so many, so that a disk at the bound
/// does not turn clients away and back again all the time.
pub const MIN_FREE_MARGIN_SHARE: u64 = 8;
/// How often the free space is looked at: what a fast disk takes in that time is far below [`MIN_FREE_BYTES`].
pub const SPACE_LOOK_EVERY: Duration = Duration::from_millis(250);
/// Bytes that sled may take for each byte carried into it (STORAGE §1: 3 times the logical size of small records; large
/// coalesced ones took twice theirs).
pub const CHECKPOINT_SPACE_FACTOR: u64 = 3;
/// And for its page table, whatever is carried.
pub const CHECKPOINT_SPACE_BYTES: u64 = 8 << 20;

// ---- store --------------------------------------------------------------------------------------------------------

/// Largest key plus value given to sled (S3): larger ones were seen to make a database unopenable after a power cut.
pub const STORE_ENTRY_BYTES_MAX: usize = 3_000;
/// Bytes that must be free before a database is closed to be opened anew: sled writes a new image of its page table
/// then, and a full disk would leave nothing open.
pub const STORE_REOPEN_FREE_BYTES_MIN: u64 = 4 << 20;
/// Bytes that a vacuum leaves free beside its copy: the journal goes on growing meanwhile.
pub const STORE_VACUUM_FREE_BYTES_SPARE: u64 = 16 << 20;
/// Damaged records that a vacuum names; it counts them all. Who has more wants `weft verify`.
pub const STORE_DAMAGED_NAMED_MAX: usize = 100;
/// Damaged places of the database that are named one by one; more would not be read.
pub const SURVEY_FLAWS_MAX: usize = 100;
/// Documents verified in one request, unless the caller says otherwise. Each is read whole and built anew.
pub const VERIFY_DEFAULT: usize = 100;
/// Most documents verified in one request.
pub const VERIFY_MAX: usize = 1_000;
/// A document's log is folded into a snapshot when it is larger than this and than half its snapshot…
pub const COMPACT_LOG_BYTES: u64 = 64 << 10;
/// …or when it has more than this many records.
pub const COMPACT_LOG_RECORDS: u64 = 200;

// ---- backup -------------------------------------------------------------------------------------------------------

/// Longest body of a frame in a backup file, bytes. Larger documents lie in several, so that whoever reads or sends one
/// needs no buffer of a document's size.
pub const BACKUP_FRAME_BYTES_MAX: usize = 256 << 10;
/// Names looked up at a time while documents are read for a backup.
pub const BACKUP_NAMES: usize = 1_000;
/// Bytes of a backup handed on at a time.
pub const BACKUP_PIECE_BYTES: usize = 64 << 10;
/// Such pieces that may wait for whoever stores the backup; beyond it, reading documents waits.
pub const BACKUP_PIECES_MAX: usize = 8;
/// A backup of which no piece was taken for so long is broken off: whoever wanted it is gone or stuck.
pub const BACKUP_STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long whoever takes a backup may leave a piece waiting while the server drains; then it ends without a trailer.
pub const BACKUP_DRAIN_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of memory for catalogue entries of documents that change before a backup has read them; half a million such
/// documents. Beyond it the backup is broken off.
pub const CUT_BYTES_MAX: usize = 128 << 20;
/// Fixed cost charged for each of them beside its name: the entry and its place in the map.
pub const CUT_ENTRY_COST: usize = 200;

// ---- migration from other servers ---------------------------------------------------------------------------------

/// Bytes of updates read of one document of another server; a larger one is skipped by name. The document is held whole,
/// so that nothing of it is imported unless all of it is valid; several times the largest ones that such servers manage.
pub const MIGRATE_DOCUMENT_BYTES_MAX: usize = 256 << 20;
/// Fixed cost charged to that for each update beside its bytes.
pub const MIGRATE_UPDATE_COST: usize = 64;
/// Largest log of a LevelDB database, bytes: LevelDB begins a new one after 4 MiB, and it is held in memory.
pub const MIGRATE_LOG_BYTES_MAX: u64 = 256 << 20;
/// Deepest nesting of directories with update files; a document name cannot have more parts than half its bytes.
pub const MIGRATE_DIRECTORY_DEPTH_MAX: usize = DOC_NAME_BYTES_MAX / 2;
/// Documents that were not imported whole, listed in one JSON report; all are counted, and named on stderr.
pub const SKIPPED_LISTED_MAX: usize = 10_000;
