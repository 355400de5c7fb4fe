//! What weft costs under load, beside its peers, every edit accounted for at every receiver.
//!
//! `cargo run --release -p crdt-tests --bin load -- compare --quick` does all of it in a quarter of an hour; `load help` says
//! what else there is. It builds and starts the release binary itself, installs the peers below `target/peers`, and gives the
//! server one core and itself another.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::exit;

use crdt_tests::load::compare::{self, Comparison};
use crdt_tests::load::growth::{self, Axis, Growth};
use crdt_tests::load::lab::{Lab, Size};
use crdt_tests::load::machine::{self, Cores};
use crdt_tests::load::results::Row;
use crdt_tests::load::scenarios::{self, Scenario};
use crdt_tests::load::servers::{self, Programs};
use crdt_tests::load::{Outcome, bare, report};
use crdt_tests::server::{self, Profile};

const HELP: &str = "\
What weft costs under load, beside its peers.

  load compare [SCENARIO…]   all scenarios, or these, with every server that there is
  load growth [AXIS…]        how cost grows along all axes, or these; weft alone, or the first of --servers
  load report                take over what is in --results, and write BENCHMARKS.md and its plots
  load list                  scenarios, axes and servers
  load peers                 install the peers, and see whether each of them starts
  load bare ADDRESS          the bare loop that is measured as the limit

  --quick | --full | --brief   how large and how long; --quick, which takes a quarter of an hour, unless told otherwise
  --servers weft,y-sweet       these servers only
  --rounds N                   instead of what each scenario says
  --resume                     keep the rows that this revision has results for, of this size
  --results DIR                where results are kept, a file for each scenario (target/load)
  --dir DIR                    data directories are made below it (the system's temporary directory)
  --binary FILE                weft's binary, instead of building the release
  --no-pin                     let the scheduler choose the cores
  --json                       results on stdout for programs, instead of tables

Example: load compare --quick fan-out-500 reconnect --servers weft,y-sweet";

/// The command line without places on this machine, which mean nothing to who repeats it.
fn portable(typed: &[String]) -> Vec<&str> {
    let mut words = typed.iter();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--dir" | "--results" | "--binary" => drop(words.next()),
            word => kept.push(word),
        }
    }
    kept
}

/// What the command line asks for.
struct Plan {
    words: Vec<String>,
    size: Size,
    servers: Option<Vec<String>>,
    rounds: Option<usize>,
    resume: bool,
    results: PathBuf,
    dir: PathBuf,
    binary: Option<PathBuf>,
    pin: bool,
    json: bool,
}

impl Plan {
    fn parse(mut args: impl Iterator<Item = String>) -> Self {
        let target = server::workspace().join("target");
        let mut plan = Self {
            words: Vec::new(),
            size: Size::Quick,
            servers: None,
            rounds: None,
            resume: false,
            results: target.join("load"),
            dir: std::env::temp_dir(),
            binary: None,
            pin: true,
            json: false,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| wrong(&format!("{arg} needs a value")));
            match &*arg {
                "--quick" => plan.size = Size::Quick,
                "--full" => plan.size = Size::Full,
                "--brief" => plan.size = Size::Brief,
                "--servers" => plan.servers = Some(value().split(',').map(str::to_owned).collect()),
                "--rounds" => plan.rounds = Some(value().parse().unwrap_or_else(|_| wrong("--rounds takes a number"))),
                "--resume" => plan.resume = true,
                "--results" => plan.results = value().into(),
                "--dir" => plan.dir = value().into(),
                "--binary" => plan.binary = Some(value().into()),
                "--no-pin" => plan.pin = false,
                "--json" => plan.json = true,
                "--help" | "-h" => plan.words.insert(0, "help".into()),
                word if word.starts_with('-') => wrong(&format!("unknown option {word}")),
                _ => plan.words.push(arg),
            }
        }
        plan
    }

    fn lab(&self) -> Lab {
        machine::raise_socket_limit();
        let cores = self.pin.then(Cores::choose).flatten();
        if cores.is_none() {
            eprintln!("nothing is pinned: server and generator share the cores");
        }
        let binary = self.binary.clone().unwrap_or_else(|| server::build(Profile::Release));
        let absolute = |path: PathBuf| path.canonicalize().unwrap_or(path);
        // The build of the server may use all cores, what comes now may not.
        cores.into_iter().for_each(|cores| machine::pin(cores.generator));
        Lab {
            programs: Programs {
                weft: absolute(binary),
                load: std::env::current_exe().expect("this program"),
                peers: server::workspace().join("target/peers"),
            },
            dir: self.dir.clone(),
            size: self.size,
            cores,
            round: 0,
        }
    }

    fn comparison(&self) -> Comparison<'_> {
        let recipes = servers::all();
        if let Some(unknown) =
            self.servers.iter().flatten().find(|name| recipes.iter().all(|recipe| recipe.name != **name))
        {
            wrong(&format!("no server is called {unknown}; `load list` names them"));
        }
        let wanted = recipes.into_iter().filter(|recipe| match &self.servers {
            Some(names) => names.contains(&recipe.name),
            None => !recipe.on_request,
        });
        // Before anything is pinned: building a peer takes all cores there are.
        let peers = server::workspace().join("target/peers");
        let programs = Programs { weft: PathBuf::new(), load: PathBuf::new(), peers };
        let servers: Vec<_> = wanted
            .map(|recipe| {
                let installed = recipe.install(&programs);
                if let Err(why) = &installed {
                    eprintln!("{} is absent: {why}", recipe.name);
                }
                (recipe, installed)
            })
            .collect();
        let typed: Vec<String> = std::env::args().skip(1).collect();
        Comparison {
            lab: self.lab(),
            servers,
            rounds: self.rounds,
            results: &self.results,
            command: format!("load {}", portable(&typed).join(" ")),
        }
    }

    fn print(&self, rows: &[Row]) {
        if self.json {
            println!("{}", serde_json::to_string_pretty(rows).expect("JSON"));
        } else {
            rows.iter().for_each(|row| println!("{}", compare::table(row)));
        }
    }
}

fn main() {
    let plan = Plan::parse(std::env::args().skip(1));
    let words: Vec<&str> = plan.words.iter().map(String::as_str).collect();
    let done = match &words[..] {
        ["compare", names @ ..] => compare(&plan, names),
        ["growth", names @ ..] => growth(&plan, names),
        ["report"] => report::publish(Some(&plan.results)),
        ["list"] => list(),
        ["peers"] => peers(&plan),
        ["bare", address] => bare(address),
        ["help"] => {
            println!("{HELP}");
            Ok(())
        }
        _ => wrong("what is to be done?"),
    };
    if let Err(why) = done {
        eprintln!("{why}");
        exit(1);
    }
}

fn wrong(problem: &str) -> ! {
    eprintln!("{problem}\n\n{HELP}");
    exit(2);
}

fn compare(plan: &Plan, names: &[&str]) -> Outcome<()> {
    let named = |name: &&str| scenarios::named(name).unwrap_or_else(|| wrong(&format!("no scenario is called {name}")));
    let scenarios: Vec<&Scenario> = match names {
        [] => scenarios::ALL.iter().collect(),
        _ => names.iter().map(named).collect(),
    };
    let mut comparison = plan.comparison();
    let mut rows = Vec::new();
    for scenario in scenarios {
        let kept = match plan.resume {
            true => Row::read(&plan.results, scenario.name)?,
            false => None,
        };
        let is_good = |row: &Row| row.revision == compare::revision() && row.size == plan.size.name();
        match kept.filter(is_good) {
            Some(row) => {
                eprintln!("{}: kept from {}", scenario.name, row.ended);
                rows.push(row);
            }
            None => rows.push(comparison.run(scenario)?),
        }
    }
    plan.print(&rows);
    Ok(())
}

fn growth(plan: &Plan, names: &[&str]) -> Outcome<()> {
    let named = |name: &&str| Axis::named(name).unwrap_or_else(|| wrong(&format!("no axis is called {name}")));
    let axes: Vec<&Axis> = match names {
        [] => growth::AXES.iter().collect(),
        _ => names.iter().map(named).collect(),
    };
    let comparison = plan.comparison();
    let (recipe, installed) = comparison.servers.first().ok_or("no server")?;
    installed.clone()?;
    let mut all = Vec::new();
    for axis in axes {
        let points = match axis.run(&comparison.lab, recipe) {
            Ok(points) => points,
            Err(why) => {
                eprintln!("{}: FAILED: {why}", axis.name);
                continue;
            }
        };
        let row = comparison.row(axis.name, axis.title, Vec::new());
        let growth = Growth {
            axis: row.scenario,
            title: row.title,
            x: axis.x.into(),
            size: row.size,
            ended: row.ended,
            revision: row.revision,
            machine: row.machine,
            points,
        };
        growth.write(&plan.results)?;
        if !plan.json {
            println!("{}", growth.table());
        }
        all.push(growth);
    }
    if plan.json {
        println!("{}", serde_json::to_string_pretty(&all).expect("JSON"));
    }
    Ok(())
}

fn list() -> Outcome<()> {
    for scenario in scenarios::ALL {
        println!("{:20} {}", scenario.name, scenario.title);
    }
    println!();
    for axis in growth::AXES {
        println!("{:20} {}", axis.name, axis.title);
    }
    println!();
    for recipe in servers::all() {
        let when = if recipe.on_request { " (only when named)" } else { "" };
        println!("{:20} {}{when}", recipe.name, recipe.title);
    }
    Ok(())
}

fn peers(plan: &Plan) -> Outcome<()> {
    let comparison = plan.comparison();
    for (recipe, installed) in &comparison.servers {
        let started = installed.clone().and_then(|()| comparison.lab.start(recipe).map(drop));
        match started {
            Ok(()) => println!("{:20} starts", recipe.name),
            Err(why) => println!("{:20} absent: {why}", recipe.name),
        }
    }
    Ok(())
}

fn bare(address: &str) -> Outcome<()> {
    let address: SocketAddr = address.parse().unwrap_or_else(|_| wrong("bare takes an address and a port"));
    bare::serve(address).map_err(|e| format!("the bare loop ended: {e}"))
}
