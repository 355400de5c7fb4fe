//! The rows of the specification (HARDENING), and what proves each: a case of the catalogue, or a test by name.

/// What a row says, and what proves it.
pub type Row = (&'static str, &'static [Proof]);

/// A proof of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// An attack of [`super::catalogue`].
    Case(&'static str),
    /// A test function.
    Test(&'static str),
    /// Not there yet, and why.
    Open(&'static str),
}

use Proof::{Case, Open, Test};

/// Getting in.
pub const GETTING_IN: &[Row] = &[
    ("CSWSH", &[Test("hardening_1_thirty_origins"), Test("hardening_1_dns_rebinding_reads_nothing")]),
    ("token in query string leaks in logs", &[Test("hardening_1_no_token_is_in_a_log_or_a_file")]),
    (
        "unauthenticated buffering",
        &[
            Case("megabytes before any word of who it is"),
            Test("h1_what_comes_before_the_token_waits_within_bounds"),
            Test("hardening_1_strangers_cost_nothing"),
        ],
    ),
    (
        "silent socket, fan-out of names",
        &[
            Case("hundreds of documents on one connection"),
            Test("hardening_1_a_silent_connection_is_closed"),
            Test("hardening_1_documents_on_one_connection_are_bounded"),
        ],
    ),
    ("forged tokens", &[Test("forged_and_malformed_tokens_are_refused"), Test("token")]),
    ("expiry on a live connection", &[Test("wire_6_a_token_that_expires_is_asked_for_again")]),
    (
        "revocation",
        &[Test("c2_3_revoke_ends_sessions_at_once_and_tokens_for_good"), Test("wire_6_rights_change_with_the_token")],
    ),
    (
        "read-only",
        &[
            Test("hardening_1_the_table_of_permissions"),
            Test("a_reader_changes_nothing_by_any_message_and_is_never_acked_for_news"),
        ],
    ),
    ("comment-only role", &[Test("hardening_1_the_table_of_permissions")]),
    (
        "server-internal opcodes",
        &[Case("opcodes that only servers may say"), Test("hardening_1_all_256_kinds_of_message_from_a_reader")],
    ),
    ("document names", &[Case("names that are none"), Test("hardening_1_five_hundred_names"), Test("names")]),
    (
        // Tenants are who has tokens for `NAME/*`; the contract has no claim for one, so there is no budget for one either.
        "tenant isolation",
        &[
            Test("hardening_1_tenants_hear_nothing_of_each_other"),
            Test("hardening_1_a_planted_leak_between_tenants_is_found"),
        ],
    ),
    (
        "admin API",
        &[Case("admin paths on the public port"), Test("c2_3_the_admin_api_takes_the_credential_or_an_admin_token")],
    ),
    (
        "enumeration",
        &[
            Test("hardening_1_no_answer_says_which_documents_there_are"),
            Test("hardening_1_roles_documents_and_messages"),
        ],
    ),
    ("secrets", &[Test("c2_1_keys_that_are_not_safe_are_refused"), Test("secrets_are_not_shown")]),
    (
        "TLS",
        &[
            Case("TLS to a plain port"),
            Test("hardening_1_stock_clients_over_wss_notice_no_change_of_certificate"),
            Test("hardening_1_only_declared_proxies_say_where_a_client_is"),
        ],
    ),
    (
        "audit",
        &[
            Test("hardening_1_every_act_of_an_admin_is_recorded"),
            Test("c2_1_audit_verify_finds_tampering"),
            Test("audit"),
        ],
    ),
    (
        "supply chain",
        &[
            Test("hardening_1_what_is_built_may_be_built"),
            Test("hardening_1_what_is_planted_is_found"),
            Test("hardening_1_an_advisory_is_found"),
            Test("hardening_1_every_package_is_locked_to_its_bytes"),
            Open("where the list of advisories is out of reach, `.ci/run` says SKIPPED"),
        ],
    ),
];

/// Malformed and hostile messages.
pub const MESSAGES: &[Row] = &[
    (
        "random and mutated bytes",
        &[
            Case("random and mutated bytes"),
            Case("broken messages"),
            Test("p4_noise"),
            Test("p4_noise_through_sockets"),
            Test("update"),
            Test("replica"),
        ],
    ),
    (
        "the validator refuses nothing honest",
        &[
            Test("hardening_2_no_recorded_frame_is_refused"),
            Test("hardening_2_no_keystroke_is_refused"),
            Test("every_honest_update_is_valid"),
            Test("w1_every_recorded_frame_is_understood"),
            Test("p4_honest_clients_are_never_slowed_by_default"),
        ],
    ),
    ("allocation bombs", &[Case("lying state vectors"), Case("lying updates"), Test("claims_cost_a_comparison")]),
    (
        "stack bombs",
        &[
            Case("types nested too deeply, then deleted"),
            Case("types nested as deeply as allowed, then deleted"),
            Test("nesting_costs_no_stack"),
            Test("types_nest_to_a_bound_across_updates_and_loads"),
        ],
    ),
    (
        "clock gaps",
        &[
            Case("clock gaps without end"),
            Test("gaps_without_end_are_bounded_asked_for_once_and_never_acked"),
            Test("p4_ten_thousand_updates_in_any_order_converge"),
        ],
    ),
    (
        "client id spoofing",
        &[
            Case("a client id of somebody else"),
            Case("overlapping blocks of one client"),
            Case("other content behind a known beginning"),
            Test("p4_honest_peers_converge_beside_a_hostile_one"),
        ],
    ),
    (
        "tombstone and insert bombs, floods",
        &[
            Case("a million garbage-collected structs"),
            Case("a claim of 10 million structs"),
            Case("a map of 20,000 keys"),
            Case("updates of one character"),
            Test("p4_ten_million_structs_are_refused_before_anything_walks_them"),
            Test("p4_a_full_document_takes_only_what_makes_it_smaller"),
            Test("p4_a_bounded_document_is_what_its_log_says"),
            Test("p4_a_document_has_its_size_and_no_more"),
            Test("p4_a_document_has_its_size_in_every_dialect"),
            Test("w6_a_flood_is_slowed_then_sent_away_and_its_room_goes_on"),
            Test("p4_each_budget_slows_its_own_kind_of_flood"),
        ],
    ),
    (
        "updates that poison",
        &[
            Case("text between garbage and a value"),
            Test("what_yrs_misreads_and_what_yjs_throws_at_is_refused"),
            Test("i6_5_what_kills_the_worker_is_kept_and_never_integrated_again"),
            Test("i6_5_a_sender_who_has_left_is_named_and_one_from_before_the_start_is_not_guessed"),
            Test("load"),
        ],
    ),
    ("state vectors, questions", &[Case("a flood of questions"), Test("p4_lying_state_vectors_and_awareness")]),
    (
        "awareness",
        &[
            Case("lying awareness"),
            Case("a flood of presence"),
            Case("presence of thousands"),
            Case("presence of others is nulled"),
            Test("g11_nobody_removes_another_ones_presence"),
            Test("awareness"),
        ],
    ),
    ("decompression", &[Case("compression is offered")]),
    (
        "large and fragmented frames",
        &[
            Case("fragments of one byte"),
            Case("a claim of 65 MiB"),
            Case("messages of the largest size"),
            Case("reserved bits"),
            Case("an unmasked frame"),
            Case("text that is not UTF-8"),
            Case("close codes of nobody"),
            Test("p4_broken_websockets"),
            Test("frame"),
        ],
    ),
    ("ping floods", &[Case("a flood of pings")]),
    (
        "handshake slowloris, long headers",
        &[
            Case("handshakes that never end"),
            Case("10,000 headers"),
            Case("a request line of 1 MB"),
            Test("p4_broken_handshakes"),
            Test("http"),
        ],
    ),
    ("slow readers", &[Case("readers that do not read"), Test("p4_slow_readers_cost_nothing_and_converge")]),
    (
        "connection floods",
        &[
            Case("connections come and go"),
            Case("a storm of joining and leaving"),
            Test("w6_beyond_the_limit_connections_wait_outside"),
            Test("p4_an_address_has_its_share_and_no_more"),
        ],
    ),
    (
        "many documents opened",
        &[
            Case("many documents are opened"),
            Test("p4_who_opens_many_documents_finds_an_end_and_others_notice_nothing"),
        ],
    ),
    ("log injection, labels", &[Case("names that are none"), Test("operations_metrics_say_what_was_done")]),
    (
        "hostile data directory",
        &[Test("any_flipped_byte_and_any_truncation_is_survived"), Test("journal"), Test("store"), Test("backup")],
    ),
];

/// The table, a line for each row.
pub fn table() -> String {
    let mut table = String::new();
    for (row, proofs) in GETTING_IN.iter().chain(MESSAGES) {
        let proofs: Vec<String> = proofs
            .iter()
            .map(|proof| match proof {
                Case(name) => format!("case {name:?}"),
                Test(name) => format!("test {name}"),
                Open(why) => format!("open: {why}"),
            })
            .collect();
        table.push_str(&format!("{row}: {}\n", proofs.join(", ")));
    }
    table
}
