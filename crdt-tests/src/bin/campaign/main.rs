//! Long campaigns against the promise that nothing acked is ever lost (P1), with the code that CI runs for seconds.
//!
//! `cargo run --release -p crdt-tests --bin campaign -- [kill|stock|power-cut|nth|disk-full|flips|fuzz|noise|attacks|all] [--rounds N] [--for 2h] [--seed S] [--threads N] [--only SCENARIO|KIND|TARGET] [--asan] [--keep] [--ledger]`
//!
//! Prints seeds and totals; `--ledger` enters them in `crdt-tests/LEDGER.md`, which says what each campaign does. Exit
//! code 1 when a promise was broken.

mod record;

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crdt_tests::attacks;
use crdt_tests::campaign::{Tally, full, fuzz, noise, nth, scenarios, stock, storm};
use crdt_tests::flips;
use crdt_tests::js;
use crdt_tests::ledger::Totals;
use crdt_tests::power::Kind;
use crdt_tests::seed;

use record::Record;

/// What can be named on the command line.
const CAMPAIGNS: [&str; 9] = ["kill", "stock", "power-cut", "nth", "disk-full", "flips", "fuzz", "noise", "attacks"];
/// Kills, and power cuts on each file system, unless `--rounds` says otherwise.
const ROUNDS: usize = 210;
/// Kills under stock clients of each kind, unless `--rounds` says otherwise.
const STOCK_KILLS: usize = 100;
/// Times a disk is filled, unless `--rounds` says otherwise.
const FILLS: usize = 40;
/// How long bytes are flipped at most.
const FLIPS_TIME: Duration = Duration::from_secs(4 * 3_600);
/// Cases of the larger directory, unless `--rounds` says otherwise.
const FLIPS_SAMPLE: usize = 3_000;

/// How long targets are fuzzed, all of them together, unless `--for` says otherwise.
const FUZZ_TIME: Duration = Duration::from_secs(2 * 3_600);

/// Messages that a server is told, unless `--rounds` says otherwise (HARDENING §2).
const NOISE_MESSAGES: u64 = 10_000_000;

/// How long a server is attacked, unless `--for` says otherwise.
const ATTACKS_TIME: Duration = Duration::from_secs(1_800);

/// What this program is called with when it works for itself.
const FLIPS_WORKER: &str = "flips-worker";

/// What the command line asks for.
struct Plan {
    campaigns: Vec<String>,
    /// Of each campaign; none is as many as the campaign says.
    rounds: Option<usize>,
    seed: u64,
    threads: usize,
    /// How long, of campaigns that would never end by themselves.
    time: Option<Duration>,
    /// Of the scenarios of nth, the kinds of stock clients and the targets of fuzz, those whose name begins so.
    only: String,
    /// Fuzz under AddressSanitizer.
    asan: bool,
    /// What fuzz finds new ways with goes into the corpus.
    keep: bool,
    ledger: bool,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [word, template, scratch] = &args[..]
        && word == FLIPS_WORKER
    {
        flips::worker(template.as_ref(), scratch.as_ref());
        return ExitCode::SUCCESS;
    }
    let plan = plan();
    let mut record = Record::new(plan.seed);
    let mut is_broken = false;
    for campaign in &plan.campaigns {
        is_broken |= !run(campaign, &plan, &mut record);
    }
    if plan.ledger {
        record.append();
    }
    ExitCode::from(u8::from(is_broken))
}

/// Runs the parts of a campaign, each to its own end; false when one found a broken promise.
fn run(campaign: &str, plan: &Plan, record: &mut Record) -> bool {
    let mut holds = true;
    let mut part = |name: &str, part: &mut dyn FnMut() -> Option<Tally>| {
        println!("{campaign}, {name}: seed {}", plan.seed);
        let start = Instant::now();
        // What went wrong has been printed by then.
        let outcome = panic::catch_unwind(AssertUnwindSafe(part));
        holds &= outcome.is_ok();
        record.enter(campaign, name, outcome.ok(), start.elapsed());
    };
    let rounds = plan.rounds.unwrap_or(ROUNDS);
    match campaign {
        "kill" => {
            part("in the midst of anything", &mut || storm::kills(rounds, plan.seed));
        }
        "stock" => {
            let rounds = plan.rounds.unwrap_or(STOCK_KILLS);
            for kind in js::Kind::ALL.into_iter().filter(|kind| kind.name().starts_with(&plan.only)) {
                part(kind.name(), &mut || Some(stock::kills(kind, rounds, plan.seed)));
            }
        }
        "power-cut" => {
            for kind in Kind::ALL {
                part(kind.name(), &mut || storm::power_cuts(kind, rounds, plan.seed));
            }
        }
        "nth" => {
            let extent = plan.rounds.map_or(nth::Extent::Everything, nth::Extent::Sample);
            for scenario in scenarios::ALL.iter().filter(|scenario| scenario.name.starts_with(&plan.only)) {
                part(scenario.name, &mut || nth::run(scenario, extent, plan.seed, plan.threads));
            }
        }
        "disk-full" => part("ext4", &mut || full::fills(plan.rounds.unwrap_or(FILLS), plan.seed)),
        "flips" => {
            part("every byte and length of a small one", &mut || Some(flips(plan, flips::Size::Small, None)));
            part("a sample where records have chunks", &mut || {
                Some(flips(plan, flips::Size::Chunks, Some(FLIPS_SAMPLE)))
            });
        }
        "fuzz" => {
            let names: Vec<_> = fuzz::targets().into_iter().filter(|name| name.starts_with(&plan.only)).collect();
            let mut name = if plan.asan { "under AddressSanitizer" } else { "guided" }.to_owned();
            if !plan.only.is_empty() {
                name = format!("{name}, {}", names.join(" "));
            }
            part(&name, &mut || {
                let (time, threads) = (plan.time.unwrap_or(FUZZ_TIME), plan.threads);
                let plan = fuzz::Plan { time, threads, asan: plan.asan, keep: plan.keep, seed: plan.seed };
                Some(fuzz::run(&fuzz::build(plan.asan), &names, &plan))
            });
        }
        "noise" => part("through sockets", &mut || {
            Some(noise::run(plan.rounds.map_or(NOISE_MESSAGES, |rounds| rounds as u64), plan.seed))
        }),
        "attacks" => {
            println!("{}", attacks::rows::table());
            let mixed = attacks::Length::Mixed(plan.time.unwrap_or(ATTACKS_TIME));
            part("mixed", &mut || {
                let rounds = attacks::run(&mixed, plan.seed);
                Some(Tally { what: "attacks".into(), rounds, totals: Totals::default() })
            });
        }
        other => unreachable!("{other} was checked"),
    }
    holds
}

/// Flips every byte of a data directory and cuts each file at every length, or a sample.
fn flips(plan: &Plan, size: flips::Size, sample: Option<usize>) -> Tally {
    let sample = plan.rounds.or(sample);
    let scratch = flips::scratch();
    let template = scratch.path().join("template");
    flips::Template::make(&template, size);
    let mut cases = flips::cases(&flips::Template::read(&template), 200, &mut seed::rng(plan.seed, 0));
    cases.truncate(sample.unwrap_or(usize::MAX));
    println!("{} cases", cases.len());
    let sweep = flips::Sweep {
        program: std::env::current_exe().expect("this program has a path"),
        args: vec![FLIPS_WORKER.into()],
        template,
        scratch: scratch.path().to_owned(),
        workers: plan.threads,
        time: FLIPS_TIME,
    };
    let tally = flips::sweep(&sweep, cases);
    println!("{tally}");
    assert!(tally.offenders.is_empty(), "{} cases were wrong or silent", tally.offenders.len());
    assert_eq!(tally.left, 0, "cases were left when the time was over");
    Tally { what: "flips".into(), rounds: tally.cases, totals: Totals::default() }
}

fn plan() -> Plan {
    let mut plan = Plan {
        campaigns: Vec::new(),
        rounds: None,
        seed: rand::random::<u32>().into(),
        threads: 2,
        time: None,
        only: String::new(),
        asan: false,
        keep: false,
        ledger: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || {
            let value = args.next().unwrap_or_else(|| usage(&format!("{arg} needs a value")));
            value.parse::<u64>().unwrap_or_else(|_| usage(&format!("not a number: {value}")))
        };
        match arg.as_str() {
            "--rounds" => plan.rounds = Some(number() as usize),
            "--seed" => plan.seed = number(),
            "--threads" => plan.threads = number().max(1) as usize,
            "--only" => plan.only = args.next().unwrap_or_else(|| usage("--only needs a value")),
            "--for" => plan.time = Some(duration(&args.next().unwrap_or_else(|| usage("--for needs a value")))),
            "--asan" => plan.asan = true,
            "--keep" => plan.keep = true,
            "--ledger" => plan.ledger = true,
            "all" => plan.campaigns.extend(CAMPAIGNS.map(str::to_owned)),
            name if CAMPAIGNS.contains(&name) => plan.campaigns.push(arg),
            _ => usage(&format!("unknown argument {arg}")),
        }
    }
    if plan.campaigns.is_empty() {
        plan.campaigns = CAMPAIGNS.map(str::to_owned).to_vec();
    }
    plan
}

/// `90s`, `30m` or `2h`.
fn duration(text: &str) -> Duration {
    let unit =
        [("s", 1), ("m", 60), ("h", 3_600)].into_iter().find_map(|(unit, s)| Some((text.strip_suffix(unit)?, s)));
    let seconds = unit.and_then(|(number, s)| Some(number.parse::<u64>().ok()? * s));
    Duration::from_secs(seconds.unwrap_or_else(|| usage(&format!("not a time: {text}"))))
}

fn usage(problem: &str) -> ! {
    let campaigns = CAMPAIGNS.join("|");
    eprintln!(
        "{problem}\nusage: campaign [{campaigns}|all] [--rounds N] [--for 2h] [--seed S] [--threads N] [--only SCENARIO|KIND|TARGET] [--asan] [--keep] [--ledger]"
    );
    std::process::exit(2);
}
