//! The command line: `run`, `pause`, `install`, and the hidden step `exec` in which guard becomes the server.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const HELP: &str = "\
Parent of an EventStoreDB process: one writer per data directory, restarts in place

Usage: guard run [OPTION]... -- PROGRAM [ARGUMENT]...
       guard pause
       guard install FILE

Commands:
  run      Lock the data directory, then run PROGRAM as its only server
  pause    Do nothing until SIGTERM or SIGINT: holds the network of a compose task
  install  Copy guard to FILE, mode 0555, for a container without it

Options of run:
  --data-dir DIR             Directory of the database, locked while the server runs [env: GUARD_DATA_DIR]
  --restored RECOVERY_POINT  The directory was restored from it: before the server starts, and once for each recovery point, copy
                             chaser.chk to truncate.chk [env: GUARD_RESTORED]
  --status-file FILE         Where guard's state is kept as JSON [env: GUARD_STATUS_FILE]
  --heartbeat-interval TIME  Time between two heartbeats on the lock [env: GUARD_HEARTBEAT_INTERVAL] [default: 10s]
  --heartbeat-timeout TIME   Without a heartbeat for so long the server is killed [env: GUARD_HEARTBEAT_TIMEOUT] [default: 60s]
  --takeover-after TIME      A holder that did not sign off must have been silent for so long [env: GUARD_TAKEOVER_AFTER] [default: 70s]
  --help                     Print this text
  --version                  Print the version

Times have a unit: 500ms, 10s, 2m.

Exit codes:
  0 the server ended with 0 after a signal, or a signal came while guard waited
  2 wrong command line
  74 the directory cannot be locked, the lock cannot be kept, or a restored directory cannot be prepared   75 the server ended itself too often
  126 not executable   127 not found   128+n the server died of signal n   other: the server's own
";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Lock and supervise.
    Run(Settings),
    /// Hold a network namespace.
    Pause,
    /// Copy itself.
    Install {
        /// Where to.
        file: PathBuf,
    },
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
    /// What the directory was restored from, if it was; never empty.
    pub(crate) restored: Option<String>,
    /// Where the state is kept, if anywhere.
    pub(crate) status_file: Option<PathBuf>,
    /// Between two heartbeats.
    pub(crate) heartbeat_interval: Duration,
    /// How long a server may run without one.
    pub(crate) heartbeat_timeout: Duration,
    /// How long a holder that did not sign off must have been silent.
    pub(crate) takeover_after: Duration,
    /// Program and arguments; never empty.
    pub(crate) program: Vec<OsString>,
}

/// The hidden sub-command.
pub(crate) const EXEC: &str = "exec";

/// The options of `run`, each with its variable and default.
const OPTIONS: [(&str, &str, Option<&str>); 6] = [
    ("--data-dir", "GUARD_DATA_DIR", None),
    ("--status-file", "GUARD_STATUS_FILE", None),
    ("--heartbeat-interval", "GUARD_HEARTBEAT_INTERVAL", Some("10s")),
    ("--heartbeat-timeout", "GUARD_HEARTBEAT_TIMEOUT", Some("60s")),
    ("--takeover-after", "GUARD_TAKEOVER_AFTER", Some("70s")),
    ("--restored", "GUARD_RESTORED", None),
];

/// Reads the arguments after the program's name.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, String> {
    let mut arguments = arguments.into_iter();
    let command = arguments.next().ok_or("no command; allowed are `run`, `pause` and `install`, see --help")?;
    match command.to_str() {
        Some("run") => run(arguments, variable).map_err(|mistakes| mistakes.join("\nerror: ")),
        Some("pause") => match arguments.next() {
            None => Ok(Command::Pause),
            Some(extra) => Err(format!("`{}` after `pause`, which takes nothing", extra.display())),
        },
        Some("install") => match (arguments.next(), arguments.next()) {
            (Some(file), None) => Ok(Command::Install { file: file.into() }),
            _ => Err("`install` takes the file to install guard as, and nothing else".to_owned()),
        },
        Some(EXEC) => {
            let parent = arguments.next().and_then(|parent| parent.to_str()?.parse().ok());
            let parent = parent.ok_or("`guard exec` is called by guard itself only; use `guard run`")?;
            Ok(Command::Exec { parent, program: arguments.collect() })
        }
        Some("--help" | "-h" | "help") => Ok(Command::Print(HELP.to_owned())),
        Some("--version" | "-V") => Ok(Command::Print(format!("guard {}\n", env!("CARGO_PKG_VERSION")))),
        _ => Err(format!(
            "`{}` is not a command; allowed are `run`, `pause` and `install`, see --help",
            command.display()
        )),
    }
}

fn run(
    mut arguments: impl Iterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, Vec<String>> {
    let mut mistakes = Vec::new();
    // The command line wins over the environment, the environment over the default.
    let mut values = OPTIONS.map(|(_, name, default)| {
        variable(name).filter(|given| !given.is_empty()).or_else(|| default.map(OsString::from))
    });
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy().into_owned();
        if text == "--" {
            break;
        }
        let (name, joined) = text.split_once('=').map_or((text.as_str(), None), |(name, value)| (name, Some(value)));
        let Some(option) = OPTIONS.iter().position(|(option, ..)| *option == name) else {
            mistakes.push(format!("`{text}` is not an option of run; see --help"));
            continue;
        };
        match joined.map(OsString::from).or_else(|| arguments.next()) {
            Some(value) if value != "--" && !value.is_empty() => values[option] = Some(value),
            _ => {
                mistakes.push(format!("{name}: no value after it"));
                return Err(mistakes);
            }
        }
    }
    let program: Vec<_> = arguments.collect();
    if program.is_empty() {
        mistakes.push("no program to run; give it after `--`".to_owned());
    }
    let [data_dir, status_file, interval, timeout, takeover, restored] = values;
    if data_dir.is_none() {
        mistakes.push("no data directory; give --data-dir or GUARD_DATA_DIR".to_owned());
    }
    // It is remembered as one line.
    let restored = restored.map(|point| point.to_string_lossy().into_owned());
    if let Some(point) = restored.as_ref().filter(|point| point.contains(char::is_control)) {
        mistakes.push(format!("--restored: {point:?} is not the ARN of a recovery point"));
    }
    let mut time = |option: usize, value: Option<OsString>| {
        let text = value.unwrap_or_default().to_string_lossy().into_owned();
        duration(&text).unwrap_or_else(|| {
            mistakes.push(format!(
                "{}: `{text}` is not a time of 1ms to 1440m, for example 500ms, 10s, 2m",
                OPTIONS[option].0
            ));
            Duration::ZERO
        })
    };
    let (interval, timeout, takeover) = (time(2, interval), time(3, timeout), time(4, takeover));
    if mistakes.is_empty() && !(interval < timeout && timeout < takeover) {
        mistakes.push(format!(
            "the times {interval:?}, {timeout:?} and {takeover:?} contradict each other: --heartbeat-interval must be shorter than \
             --heartbeat-timeout, and that shorter than --takeover-after, or two servers may run at once"
        ));
    }
    match data_dir {
        Some(data_dir) if mistakes.is_empty() => Ok(Command::Run(Settings {
            data_dir: data_dir.into(),
            restored,
            status_file: status_file.map(PathBuf::from),
            heartbeat_interval: interval,
            heartbeat_timeout: timeout,
            takeover_after: takeover,
            program,
        })),
        _ => Err(mistakes),
    }
}

/// A number with a unit, up to a day.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_mins(1),
        _ => return None,
    };
    let value = unit.checked_mul(digits.parse().ok()?)?;
    (!value.is_zero() && value <= Duration::from_hours(24)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str], data_dir: Option<&str>) -> Result<Command, String> {
        super::parse(arguments.iter().map(OsString::from), |name| {
            data_dir.filter(|_| name == "GUARD_DATA_DIR").map(OsString::from)
        })
    }

    fn settings(arguments: &[&str], data_dir: Option<&str>) -> Settings {
        match parse(&[&["run"], arguments, &["--", "server", "--data-dir"]].concat(), data_dir) {
            Ok(Command::Run(settings)) => settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_wins_over_the_environment_and_that_over_defaults() {
        let defaults = settings(&[], Some("/a"));
        assert_eq!(defaults.data_dir, PathBuf::from("/a"));
        assert_eq!(defaults.program, ["server", "--data-dir"]);
        assert_eq!(
            (defaults.heartbeat_interval, defaults.takeover_after),
            (Duration::from_secs(10), Duration::from_secs(70))
        );
        assert_eq!(defaults.restored, None);
        assert_eq!(settings(&["--restored", "arn:a"], Some("/a")).restored.as_deref(), Some("arn:a"));
        assert!(parse(&["run", "--restored=a\nb", "--", "server"], Some("/a")).unwrap_err().contains("--restored"));
        assert_eq!(settings(&["--data-dir", "/b"], Some("/a")).data_dir, PathBuf::from("/b"));
        assert_eq!(
            settings(&["--data-dir=/c", "--heartbeat-interval=1s"], None).heartbeat_interval,
            Duration::from_secs(1)
        );
    }

    #[test]
    fn all_mistakes_are_told_in_one_run() {
        let mistakes = parse(&["run", "--colour", "--takeover-after=70"], None).unwrap_err();
        assert_eq!(mistakes.lines().count(), 4, "{mistakes}");
        assert!(parse(&["start"], None).unwrap_err().contains("`start`"));
        assert!(parse(&[], None).is_err());
        assert!(parse(&["pause", "now"], None).is_err());
        assert!(parse(&["run", "--data-dir", "--", "server"], None).is_err());
    }

    #[test]
    fn times_that_would_let_two_servers_run_are_refused() {
        for times in [["--heartbeat-timeout=70s"], ["--takeover-after=60s"], ["--heartbeat-interval=60s"]] {
            let arguments = [&["run"], &times[..], &["--", "server"]].concat();
            assert!(parse(&arguments, Some("/a")).unwrap_err().contains("contradict"), "{times:?}");
        }
    }

    #[test]
    fn times_have_units_and_bounds() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Some(Duration::from_mins(2)));
        for bad in ["", "10", "0s", "s", "-1s", "1h", "1441m", "99999999999s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
