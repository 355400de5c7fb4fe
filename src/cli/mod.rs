//! The command line (contract 2.1): one file for each command. What several share is here: which directory, how results
//! look, and how a command ends.

mod admin_client;
mod audit;
mod backend;
mod backup;
mod compact;
mod export;
mod failure;
mod health;
mod import;
mod keys;
mod ls;
mod migrate;
mod output;
mod part;
mod progress;
mod reload;
mod restore;
mod rm;
pub mod serve;
mod show;
mod token;
mod top;
mod verify;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::builder::FalseyValueParser;
use clap::{Parser, Subcommand};

use self::audit::{AuditArgs, AuditCommand};
use self::backend::{Backend, IfAbsent};
use self::backup::BackupArgs;
use self::compact::CompactArgs;
use self::export::ExportArgs;
use self::failure::Failure;
use self::health::HealthArgs;
use self::import::{ImportArgs, Work};
use self::ls::LsArgs;
use self::output::Output;
use self::restore::RestoreArgs;
use self::rm::RmArgs;
use self::show::ShowArgs;
use self::token::TokenArgs;
use self::top::TopArgs;
use self::verify::VerifyArgs;
use crate::config::{LogFormat, ServeArgs};
use crate::{telemetry, worker};

/// A collaboration server for Yjs editors.
#[derive(Debug, Parser)]
#[command(
    name = "weft",
    version,
    about,
    after_help = "\
Examples:
  weft serve                        serve documents from ./weft-data to ws://127.0.0.1:1234
  weft ls --sort bytes --limit 10   the ten largest documents
  weft COMMAND --help               more about one command

Commands other than serve talk to the server that runs on the data directory; if none does, they open it themselves.
Exit codes: 0 done, 1 found something wrong, 2 wrong usage, 3 could not reach or open."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve documents to editors
    Serve(Box<ServeArgs>),
    /// List documents and their sizes
    Ls(LsArgs),
    /// Show all about one document: sizes, state vector, clients, waiting updates
    Show(ShowArgs),
    /// Write a document's state to a file or stdout
    Export(ExportArgs),
    /// Merge an update from a file or stdin into a document
    Import(ImportArgs),
    /// Delete documents for good, also for those who still have a copy
    Rm(RmArgs),
    /// Fold update logs into snapshots
    Compact(CompactArgs),
    /// Save all documents, as they are at one instant, in one file; or check such a file
    Backup(BackupArgs),
    /// Make a data directory from a backup
    Restore(RestoreArgs),
    /// Make a token that opens documents, look into one, or take some back
    Token(Box<TokenArgs>),
    /// Read every record and checksum and say what is wrong; with --repair, put it right
    Verify(VerifyArgs),
    /// Watch a running server: documents, connections, rates, lag
    Top(TopArgs),
    /// Check the log of what admins did
    Audit(AuditArgs),
    /// Say whether a server runs on the directory and takes edits
    Health(HealthArgs),
    /// Integrate what a server hands over on stdin; started by it
    #[command(hide = true)]
    Worker(WorkerArgs),
}

#[derive(Debug, clap::Args)]
struct WorkerArgs {
    /// Most memory it may take, bytes
    #[arg(long, value_name = "N")]
    memory: u64,
}

/// What every command but `serve` takes.
#[derive(Debug, Clone, clap::Args)]
struct At {
    /// Directory that holds the documents
    #[arg(long, env = "WEFT_DATA", value_name = "DIR", default_value = "./weft-data", global = true)]
    data: PathBuf,
    /// Print one JSON value instead of tables
    #[arg(long, env = "WEFT_JSON", value_parser = FalseyValueParser::new(), global = true)]
    json: bool,
}

/// How a command ends that did what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// All is well: exit code 0.
    Done,
    /// Some of what was asked about is wrong, and was named: exit code 1.
    FoundWrong,
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    if !matches!(command, Command::Serve(_) | Command::Worker(_)) {
        // What a command finds wrong on the way must be seen, whatever it was asked; what sled says of it is said better by
        // the command's own error. The level is a filter for sure.
        let _ = telemetry::init(LogFormat::Human, "warn,sled=off");
    }
    let (name, result) = match command {
        Command::Serve(args) => return serve::run(*args),
        Command::Worker(WorkerArgs { memory }) => return worker::child::run(memory),
        Command::Ls(args) => {
            ("ls", with_backend(&args.at, IfAbsent::Fail, async |b, out| ls::run(&args, b, out).await))
        }
        Command::Show(args) => {
            ("show", with_backend(&args.at, IfAbsent::Fail, async |b, out| show::run(&args, b, out).await))
        }
        Command::Export(args) => {
            let checked = args.check(io::stdout().is_terminal());
            let run = || with_backend(&args.at, IfAbsent::Fail, async |b, out| export::run(&args, b, out).await);
            ("export", checked.and_then(|()| run()))
        }
        Command::Import(args) => {
            let run = |work| match work {
                Work::Migration(migration) if migration.dry_run => {
                    with_output(&args.at, |out| migrate::dry_run(*migration, out))
                }
                work => with_backend(&args.at, IfAbsent::Create, async |b, out| import::run(work, b, out).await),
            };
            ("import", args.read().and_then(run))
        }
        Command::Backup(args) if args.check => ("backup", with_output(&args.at, |out| backup::check(&args, out))),
        Command::Backup(args) => {
            let admitted = args.admit(io::stdout().is_terminal());
            let run = || with_backend(&args.at, IfAbsent::Fail, async |b, out| backup::run(&args, b, out).await);
            ("backup", admitted.and_then(|()| run()))
        }
        Command::Restore(args) => ("restore", with_output(&args.at, |out| restore::run(&args, out))),
        Command::Rm(args) => {
            ("rm", with_backend(&args.at, IfAbsent::Fail, async |b, out| rm::run(&args, b, out).await))
        }
        Command::Token(args) => ("token", token::main(&args)),
        Command::Verify(args) => ("verify", verify::main(&args)),
        Command::Top(args) => ("top", with_output(&args.at, |out| top::run(&args, out))),
        Command::Health(args) => ("health", with_output(&args.at, |out| health::run(&args, out))),
        Command::Audit(AuditArgs { at, command: AuditCommand::Verify(args) }) => {
            ("audit", with_output(&at, |out| audit::verify(&at, &args, out)))
        }
        Command::Compact(args) => {
            ("compact", with_backend(&args.at, IfAbsent::Fail, async |b, out| compact::run(&args, b, out).await))
        }
    };
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::FoundWrong) => ExitCode::from(failure::Code::FoundWrong.number()),
        Err(Failure { text, code }) => {
            if !text.is_empty() {
                eprintln!("weft {name}: {text}");
            }
            ExitCode::from(code.number())
        }
    }
}

/// Opens the way to the documents, runs a command, and closes it again whatever came of the command.
fn with_backend(
    at: &At,
    if_absent: IfAbsent,
    command: impl AsyncFnOnce(&mut Backend, &mut Output<'_>) -> Result<Outcome, Failure>,
) -> Result<Outcome, Failure> {
    let runtime = serve::runtime()?;
    with_output(at, |out| {
        let (_locked, result) = runtime.block_on(async {
            let mut backend = match Backend::open(&at.data, if_absent).await {
                Ok(backend) => backend,
                Err(failure) => return (None, Err(failure)),
            };
            let result = command(&mut backend, out).await;
            let (locked, closed) = backend.close().await;
            let undone = |failure: Failure| Failure {
                text: format!("what was asked is done, but the data directory could not be closed in order: {failure}"),
                ..failure
            };
            (Some(locked), result.and_then(|outcome| closed.map(|()| outcome).map_err(undone)))
        });
        runtime.shutdown_timeout(serve::RUNTIME_END);
        result
    })
}

/// Runs a command that prints to stdout.
fn with_output(at: &At, command: impl FnOnce(&mut Output<'_>) -> Result<Outcome, Failure>) -> Result<Outcome, Failure> {
    let mut stdout = io::stdout().lock();
    let terminal = stdout.is_terminal();
    command(&mut Output::new(&mut stdout, terminal, at.json, now_ms()))
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound_and_every_command_has_an_example() {
        Cli::command().debug_assert();
        for mut command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()).cloned() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Examples:\n  ") && help.contains(&format!("weft {}", command.get_name())), "{help}");
            assert!(help.contains("--data") && help.contains("--json"), "{help}");
        }
    }

    fn parses(line: &str) -> bool {
        Cli::try_parse_from(line.split(' ')).is_ok()
    }

    #[test]
    fn commands_are_those_of_the_contract() {
        for line in [
            "weft ls",
            "weft ls --prefix a/ --sort updated --limit 3 --json --data /x",
            "weft show notes/a --data /x",
            "weft export d",
            "weft export d -o f --format json",
            "weft import d f",
            "weft import d - --json",
            "weft ls --deleted --json",
            "weft rm a",
            "weft rm a b/c --json --data /x",
            "weft import --from y-sweet dir",
            "weft import --from updates dir --prefix p/ --only a --only b* --dry-run --list --json --data /x",
            "weft compact a b",
            "weft compact --all",
            "weft compact --min-log-bytes 5",
            "weft compact a --min-log-bytes 5 --dry-run",
            "weft compact --all --min-log-bytes 5",
            "weft backup f",
            "weft backup f --force --json --data /x",
            "weft backup - --data /x",
            "weft backup --check f",
            "weft restore f --data /x --json",
            "weft compact --vacuum",
            "weft compact --vacuum --dry-run --json",
            "weft compact --all --vacuum",
            "weft compact a b --vacuum",
            "weft verify",
            "weft verify a b --repair --json",
            "weft serve --data /x",
        ] {
            assert!(parses(line), "{line}");
        }
        for line in [
            "weft",
            "weft ls --sort size",
            "weft ls --limit many",
            "weft show",
            "weft show a b",
            "weft export d --format v2",
            "weft import d",
            "weft rm",
            "weft rm --all",
            "weft import",
            "weft import --from y-sweet",
            "weft import d f --from y-sweet dir",
            "weft import d f --prefix p",
            "weft import --dry-run",
            "weft compact",
            "weft compact --dry-run",
            "weft compact a --all",
            "weft backup",
            "weft backup f --check --force",
            "weft restore",
        ] {
            assert!(!parses(line), "{line}");
        }
        assert!(Cli::try_parse_from(["weft", "show", ""]).is_err(), "an empty name is wrong usage");
        assert!(Cli::try_parse_from(["weft", "show", &"x".repeat(513)]).is_err(), "a long name is wrong usage");
    }

    #[test]
    fn binary_is_not_written_to_a_terminal() {
        let check = |line: &str, terminal| match Cli::try_parse_from(line.split(' ')).expect("parses").command {
            Command::Export(args) => args.check(terminal).is_ok(),
            other => panic!("{other:?}"),
        };
        assert!(!check("weft export d", true));
        assert!(!check("weft export d -o -", true));
        assert!(check("weft export d", false));
        assert!(check("weft export d -o f", true));
        assert!(check("weft export d --format text", true));
    }
}
