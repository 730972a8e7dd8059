//! `certgen create-ca`, `create-node`, `create-user` and `create-certs`: what es-gencert-cli does, for command lines and
//! configuration files that were written for it. `docs/es-gencert-cli.md` lists every difference.
//!
//! flags → request → resolve → make: text, then what it asks for, then what that means in this directory with every mistake
//! told, and only then keys, certificates and files; all of them or none.
//!
//! Exit codes are those of es-gencert-cli: 0, 1 for everything that goes wrong, 127 for a missing or unknown command.

mod config;
mod flags;
mod help;
mod make;
mod profile;
mod rehearsal;
mod request;
mod resolve;
mod signer;
mod staging;
mod watch;
mod yaml;

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use time::OffsetDateTime;

use self::flags::{Argument, Command, Parsed, argument, asks_for_help};
use self::request::{Checked, Subject};
use self::resolve::{Asked, Item, Mistake, Resolved};
use self::staging::System;
use crate::error::one_line;

const FAILED: u8 = 1;
const NO_COMMAND: u8 = 127;

/// What a command line is for.
#[derive(Debug, PartialEq, Eq)]
pub enum Invocation {
    /// The certificates of one node on a volume: the arguments are for [`crate::cli::parse`].
    Node(Vec<OsString>),
    /// What es-gencert-cli does.
    Replacement(Replacement),
}

/// A command line of es-gencert-cli.
#[derive(Debug, PartialEq, Eq)]
pub struct Replacement(Action);

#[derive(Debug, PartialEq, Eq)]
enum Action {
    Run {
        command: Command,
        arguments: Vec<OsString>,
        warnings: Vec<String>,
    },
    Help(Command),
    /// There is no command, or none of this name.
    Usage(Option<OsString>),
    /// A hyphen alone before the command.
    Hyphen,
}

/// The commands of es-gencert-cli, for the help of the whole program.
pub(crate) fn commands() -> String {
    help::commands()
}

/// The same with their flags as data, for manuals and completions. [`flags`] alone reads them: Go's way is not clap's.
pub(crate) fn command_lines() -> impl Iterator<Item = clap::Command> {
    Command::ALL.into_iter().map(help::command_line)
}

/// See [`crate::fuzz::flags`].
pub(crate) fn check_flags(arguments: &[OsString]) {
    for command in Command::ALL {
        let parsed = flags::parse(command, arguments);
        if !parsed.mistakes.is_empty() {
            continue;
        }
        let again = flags::parse(command, &parsed.canonical());
        let settings = |parsed: &Parsed| (parsed.force, parsed.dry_run, parsed.fields.clone());
        assert_eq!((settings(&again), again.mistakes.as_slice()), (settings(&parsed), &[][..]), "{command:?}");
    }
}

/// See [`crate::fuzz::config`].
pub(crate) fn check_config(bytes: &[u8]) {
    let config = config::read(bytes);
    assert_eq!(config, config::read(bytes), "the same text means the same");
    for entry in config.entries {
        if let Err(mistakes) = request::check(entry.command, &entry.fields).request {
            assert!(!mistakes.is_empty(), "a refusal has a reason");
        }
    }
}

/// Tells the two uses of this program apart. `arguments` begins with the program's name. `is_option` knows the long options of
/// the init container, and `is_configured` says whether its environment variables are set.
///
/// What was written for es-gencert-cli has its command first, with at most `-h` and the like before it (contract §1.5).
pub fn recognise(arguments: &[OsString], is_option: impl Fn(&str) -> bool, is_configured: bool) -> Invocation {
    let rest = arguments.get(1..).unwrap_or_default();
    let ours = |argument: &OsString| {
        let name = argument.to_str().and_then(|text| text.strip_prefix("--"));
        name.is_some_and(|name| is_option(name.split('=').next().unwrap_or(name)))
    };
    let leading = rest.iter().position(|word| !matches!(argument(word), Argument::Flag(..) | Argument::Malformed));
    let (flags, mut words) = rest.split_at(leading.unwrap_or(rest.len()));
    // `-- create-ca` and `"" create-ca` are `create-ca`.
    while let [first, after @ ..] = words
        && (first == "--" || first.is_empty())
    {
        words = after;
    }
    let is_hyphen = words.first().is_some_and(|word| word == "-");
    let command = words.get(usize::from(is_hyphen)).and_then(|word| Command::named(word));
    let is_ours = flags.iter().any(ours) || (command.is_none() && (rest.iter().any(ours) || is_configured));
    let asked = |spellings: &[&str]| flags.iter().any(|flag| spellings.iter().any(|spelling| flag == *spelling));
    // Version and help of the whole program are the init container's, which lists the commands too.
    let program = |flag: &str| Invocation::Node(vec![arguments[0].clone(), flag.into()]);
    if is_ours {
        return Invocation::Node(arguments.to_vec());
    }
    if asked(&["-v", "-version", "--version"]) {
        return program("--version");
    }
    let wants_help = flags.iter().any(|flag| asks_for_help(flag));
    Invocation::Replacement(Replacement(match command {
        Some(_) if is_hyphen => Action::Hyphen,
        Some(command) if wants_help => Action::Help(command),
        Some(command) => Action::Run {
            command,
            arguments: words[1..].to_vec(),
            warnings: flags.iter().map(|flag| ignored(flag)).collect(),
        },
        None if wants_help || words.iter().take_while(|word| *word != "--").any(|word| asks_for_help(word)) => {
            return program(if flags == ["-h"] { "-h" } else { "--help" });
        }
        None => Action::Usage(words.first().cloned()),
    }))
}

fn ignored(flag: &OsStr) -> String {
    format!("{} is ignored, as by es-gencert-cli: it stands before the command", flag.display())
}

impl Replacement {
    /// Does what was asked. `now` is the time at which the certificates are made.
    pub fn run(self, now: OffsetDateTime) -> ExitCode {
        match self.0 {
            Action::Help(command) => {
                say(&help::of(command));
                ExitCode::SUCCESS
            }
            Action::Usage(unknown) => {
                if let Some(unknown) = unknown {
                    complain("error", format_args!("`{}` is not a command", unknown.display()));
                }
                let _ = io::stderr().write_all(help::usage().as_bytes());
                ExitCode::from(NO_COMMAND)
            }
            Action::Hyphen => {
                let text = "a hyphen alone stands before the command".to_owned();
                refuse(vec![Mistake { text, hint: Some("put flags after the command") }])
            }
            Action::Run { command, arguments, warnings } => run(command, &arguments, &warnings, now),
        }
    }
}

fn run(command: Command, arguments: &[OsString], leading: &[String], now: OffsetDateTime) -> ExitCode {
    let Parsed { help, force, dry_run, fields, warnings, mistakes } = flags::parse(command, arguments);
    if help {
        say(&help::of(command));
        return ExitCode::SUCCESS;
    }
    warn(leading);
    warn(&warnings);
    if !mistakes.is_empty() {
        return refuse(mistakes.into_iter().map(Mistake::new).collect());
    }
    let asked = if command == Command::Certs {
        let file = fields.get("config-file").unwrap_or(OsStr::new("./certs.yml"));
        asked_by_file(Path::new(file))
    } else {
        let Checked { request, warnings } = request::check(command, &fields);
        warn(&warnings);
        request
            .map(|request| vec![Asked { place: None, request }])
            .map_err(|mistakes| mistakes.into_iter().map(Mistake::new).collect())
    };
    match asked {
        Ok(asked) => carry_out(&asked, force, dry_run, now),
        Err(mistakes) => refuse(mistakes),
    }
}

/// Everything the file asks for, or everything that is wrong with it.
fn asked_by_file(file: &Path) -> Result<Vec<Asked>, Vec<Mistake>> {
    let shown = file.display();
    let text = fs::read(file).map_err(|error| {
        vec![Mistake {
            text: format!("could not read `{shown}`, the list of certificates: {error}"),
            hint: Some("name the file with -config-file"),
        }]
    })?;
    let mut config = config::read(&text);
    let mut asked = Vec::new();
    for entry in config.entries {
        let Checked { request, warnings } = request::check(entry.command, &entry.fields);
        // In a file nobody writes the hyphen of a flag.
        let placed = |text: String| format!("{}: {}", entry.place, text.strip_prefix('-').unwrap_or(&text));
        config.warnings.extend(warnings.into_iter().map(placed));
        match request {
            Ok(request) => asked.push(Asked { place: Some(format!("{shown}: {}", entry.place)), request }),
            Err(mistakes) => config.mistakes.extend(mistakes.into_iter().map(placed)),
        }
    }
    let in_file = |text: String| format!("{shown}: {text}");
    warn(&config.warnings.into_iter().map(in_file).collect::<Vec<_>>());
    if !config.mistakes.is_empty() {
        return Err(config.mistakes.into_iter().map(in_file).map(Mistake::new).collect());
    }
    if asked.is_empty() {
        warn(&[format!("{shown} lists no certificate: there is nothing to do")]);
    }
    Ok(asked)
}

fn carry_out(asked: &[Asked], force: bool, dry_run: bool, now: OffsetDateTime) -> ExitCode {
    let Resolved { work, warnings } = resolve::resolve(asked, force, now);
    warn(&warnings);
    let work = match work {
        Ok(work) => work,
        Err(mistakes) => return refuse(mistakes),
    };
    if work.items.is_empty() {
        return ExitCode::SUCCESS;
    }
    if dry_run {
        say(&rehearsal::of(&work));
        return ExitCode::SUCCESS;
    }
    let stop = watch::stop_on_signals();
    let bar = watch::progress(work.items.len());
    let made = make::make(&work, System, now, &stop, || bar.inc(1));
    bar.finish_and_clear();
    match made {
        Ok(()) => {
            for item in &work.items {
                say(&success(item));
            }
            ExitCode::SUCCESS
        }
        Err(error) => refuse(vec![Mistake { text: one_line(&error), hint: error.hint() }]),
    }
}

/// The line that es-gencert-cli prints; scripts wait for it (contract §1.3).
fn success(item: &Item) -> String {
    let what = what(item);
    format!("A {what} certificate & key file have been generated in the '{}' directory.\n", item.directory.display())
}

fn what(item: &Item) -> &'static str {
    match item.subject {
        Subject::Authority => "CA",
        Subject::Node { .. } => "node",
        Subject::User { .. } => "user",
    }
}

/// A closed or full stdout is not an error: the files are there.
fn say(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

fn complain(kind: &str, text: impl Display) {
    let _ = writeln!(io::stderr(), "{kind}: {text}");
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        complain("warning", warning);
    }
}

/// Every mistake, then each remedy once.
fn refuse(mistakes: Vec<Mistake>) -> ExitCode {
    let mut hints = Vec::new();
    for Mistake { text, hint } in mistakes {
        complain("error", text);
        hints.extend(hint.filter(|hint| !hints.contains(hint)));
    }
    for hint in hints {
        complain("hint", hint);
    }
    ExitCode::from(FAILED)
}
