//! The command line: `run`, and the hidden step `exec` in which guard becomes the server.

use std::ffi::OsString;
use std::path::PathBuf;

const HELP: &str = "\
Parent of an EventStoreDB process: one writer per data directory, restarts in place

Usage: guard run [--data-dir DIR] -- PROGRAM [ARGUMENT]...

Options:
  --data-dir DIR  Directory of the database, locked while the server runs [env: GUARD_DATA_DIR]
  --help          Print this text
  --version       Print the version

Exit codes:
  0 the server ended with 0 after a signal, or a signal came while guard waited
  2 wrong command line   74 the directory cannot be locked   75 the server ended itself too often
  126 not executable   127 not found   128+n the server died of signal n   other: the server's own
";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Lock and supervise.
    Run(Settings),
    /// Become the server; guard calls itself with this.
    Exec {
        /// The process id of the guard that called.
        parent: i32,
        /// Program and arguments.
        program: Vec<OsString>,
    },
    /// Help or version.
    Print(String),
}

/// The settings of `guard run`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The directory to lock.
    pub(crate) data_dir: PathBuf,
    /// Program and arguments; never empty.
    pub(crate) program: Vec<OsString>,
}

/// The hidden sub-command.
pub(crate) const EXEC: &str = "exec";

/// Reads the arguments after the program's name.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, String> {
    let mut arguments = arguments.into_iter();
    let command = arguments.next().ok_or("no command; allowed is `guard run -- PROGRAM`, see --help")?;
    match command.to_str() {
        Some("run") => run(arguments, variable),
        Some(EXEC) => {
            let parent = arguments.next().and_then(|parent| parent.to_str()?.parse().ok());
            let parent = parent.ok_or("`guard exec` is called by guard itself only; use `guard run`")?;
            Ok(Command::Exec { parent, program: arguments.collect() })
        }
        Some("--help" | "-h" | "help") => Ok(Command::Print(HELP.to_owned())),
        Some("--version" | "-V") => Ok(Command::Print(format!("guard {}\n", env!("CARGO_PKG_VERSION")))),
        _ => Err(format!("`{}` is not a command; allowed is `guard run -- PROGRAM`, see --help", command.display())),
    }
}

fn run(
    mut arguments: impl Iterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, String> {
    let mut mistakes = Vec::new();
    let mut data_dir = variable("GUARD_DATA_DIR");
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--") => break,
            Some("--data-dir") => match arguments.next() {
                Some(value) if value != "--" => data_dir = Some(value),
                _ => return Err("--data-dir: no directory after it".to_owned()),
            },
            Some(joined) if joined.starts_with("--data-dir=") => data_dir = Some(joined["--data-dir=".len()..].into()),
            _ => {
                mistakes.push(format!("`{}` is not an option; allowed is --data-dir, before `--`", argument.display()));
            }
        }
    }
    let program: Vec<_> = arguments.collect();
    if program.is_empty() {
        mistakes.push("no program to run; give it after `--`".to_owned());
    }
    let data_dir = data_dir.filter(|given| !given.is_empty());
    if data_dir.is_none() {
        mistakes.push("no data directory; give --data-dir or GUARD_DATA_DIR".to_owned());
    }
    match data_dir {
        Some(data_dir) if mistakes.is_empty() => Ok(Command::Run(Settings { data_dir: data_dir.into(), program })),
        _ => Err(mistakes.join("\nerror: ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str], data_dir: Option<&str>) -> Result<Command, String> {
        super::parse(arguments.iter().map(OsString::from), |name| {
            assert_eq!(name, "GUARD_DATA_DIR");
            data_dir.map(OsString::from)
        })
    }

    #[test]
    fn the_directory_comes_from_the_command_line_or_the_environment() {
        let settings = |data_dir: &str| {
            Command::Run(Settings { data_dir: data_dir.into(), program: vec!["server".into(), "--data-dir".into()] })
        };
        let tail = ["--", "server", "--data-dir"];
        assert_eq!(parse(&[&["run"][..], &tail].concat(), Some("/a")), Ok(settings("/a")));
        assert_eq!(parse(&[&["run", "--data-dir", "/b"][..], &tail].concat(), Some("/a")), Ok(settings("/b")));
        assert_eq!(parse(&[&["run", "--data-dir=/c"][..], &tail].concat(), None), Ok(settings("/c")));
    }

    #[test]
    fn all_mistakes_are_told_in_one_run() {
        let mistakes = parse(&["run", "--colour"], None).unwrap_err();
        assert_eq!(mistakes.lines().count(), 3, "{mistakes}");
        assert!(parse(&["start"], None).unwrap_err().contains("`start`"));
        assert!(parse(&[], None).is_err());
        assert!(parse(&["run", "--data-dir", "--", "server"], None).is_err());
    }
}
