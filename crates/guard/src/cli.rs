//! The command line: `run`, `exec`, `healthcheck`, `pause`, `install`, and the hidden step in which guard becomes the server.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use crate::version::{ServerVersion, Version};

const HELP: &str = "\
Parent of an EventStoreDB process: one writer per data directory, restarts in place

Usage: guard run [OPTION]... -- PROGRAM [ARGUMENT]...
       guard exec [OPTION]... -- PROGRAM [ARGUMENT]...
       guard healthcheck
       guard pause
       guard install FILE

Commands:
  run          Lock the data directory, then run PROGRAM as its only server
  exec         Lock the data directory, then run PROGRAM once, for example to move files: no restart, no version check
  healthcheck  Exit with 0 while the guard that writes the status file runs a server or waits for its lock, else with 1
  pause        Do nothing until SIGTERM or SIGINT: holds the network of a compose task
  install      Copy guard to FILE, mode 0555, for a container without it

Options of run and exec:
  --data-dir DIR             Directory of the database, locked while the server runs [env: GUARD_DATA_DIR]
  --heartbeat-interval TIME  Time between two heartbeats on the lock [env: GUARD_HEARTBEAT_INTERVAL] [default: 10s]
  --heartbeat-timeout TIME   Time without a heartbeat after which the server is killed [env: GUARD_HEARTBEAT_TIMEOUT]
                             [default: 150s]
  --takeover-after TIME      Time for which the heartbeat of a lock holder that did not sign off must have stopped
                             [env: GUARD_TAKEOVER_AFTER] [default: 180s]

Options of run:
  --server-version VERSION   Version of the server, two numbers such as 26.0, recorded in the data directory
                             [env: GUARD_SERVER_VERSION]
  --opens-data-of VERSIONS   Other versions whose data this server may open, separated by commas [env: GUARD_OPENS_DATA_OF]
  --restored RECOVERY_POINT  Recovery point that the directory was restored from: before the server starts, and once for each
                             recovery point, copy chaser.chk to truncate.chk and reset the recorded versions [env: GUARD_RESTORED]

Option of run and healthcheck:
  --status-file FILE         Where guard's state is kept as JSON [env: GUARD_STATUS_FILE]

  --help                     Print this text
  --version                  Print the version

Times have a unit (ms, s, m, h, d): 500ms, 10s, 2m.

Exit codes:
  0 the server ended with 0 after a signal, or a signal came while guard waited
  1 healthcheck: not healthy   2 wrong command line
  74 the directory cannot be locked, the lock was lost, or the directory cannot be prepared   75 the server ended itself too often
  76 the data was opened by a server version that this one is not declared to follow
  126 not executable   127 not found   128+n the server died of signal n   other: the server's own
";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Lock and supervise a server.
    Run(RunSettings),
    /// Lock and run a program once.
    Exec(LockSettings, Vec<OsString>),
    /// Report by exit code whether the guard of this container works.
    Healthcheck {
        /// The status file of that guard.
        status_file: PathBuf,
    },
    /// Hold a network namespace.
    Pause,
    /// Copy itself.
    Install {
        /// Where to.
        file: PathBuf,
    },
    /// Become the server; guard calls itself with this.
    Become {
        /// The process id of the guard that called.
        parent: i32,
        /// Program and arguments.
        program: Vec<OsString>,
    },
    /// Help or version.
    Print(String),
}

/// How the data directory is locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LockSettings {
    /// The directory to lock.
    pub(crate) data_dir: PathBuf,
    /// Between two heartbeats.
    pub(crate) heartbeat_interval: Duration,
    /// How long a server may run without one.
    pub(crate) heartbeat_timeout: Duration,
    /// How long the heartbeat of a holder that did not sign off must have stopped.
    pub(crate) takeover_after: Duration,
}

/// The settings of `guard run`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RunSettings {
    /// How the directory is locked.
    pub(crate) lock: LockSettings,
    /// The recovery point that the directory was restored from, if it was; never empty.
    pub(crate) restored: Option<String>,
    /// Which version the server is, if that is known.
    pub(crate) server: Option<ServerVersion>,
    /// Where the state is kept, if anywhere.
    pub(crate) status_file: Option<PathBuf>,
    /// Program and arguments; never empty.
    pub(crate) program: Vec<OsString>,
}

/// The hidden sub-command.
pub(crate) const BECOME: &str = "__server";

/// Options of `run`, each with its variable and default. `exec` takes the first [`LOCK_OPTIONS`].
const OPTIONS: [(&str, &str, Option<&str>); 8] = [
    ("--data-dir", "GUARD_DATA_DIR", None),
    ("--heartbeat-interval", "GUARD_HEARTBEAT_INTERVAL", Some("10s")),
    ("--heartbeat-timeout", "GUARD_HEARTBEAT_TIMEOUT", Some("150s")),
    ("--takeover-after", "GUARD_TAKEOVER_AFTER", Some("180s")),
    (STATUS_FILE.0, STATUS_FILE.1, None),
    ("--restored", "GUARD_RESTORED", None),
    ("--server-version", "GUARD_SERVER_VERSION", None),
    ("--opens-data-of", "GUARD_OPENS_DATA_OF", None),
];
const LOCK_OPTIONS: usize = 4;
const STATUS_FILE: (&str, &str) = ("--status-file", "GUARD_STATUS_FILE");
const COMMANDS: &str = "`run`, `exec`, `healthcheck`, `pause` and `install`";

/// Reads the arguments after the program's name.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, String> {
    let mut arguments = arguments.into_iter();
    let command = arguments.next().ok_or_else(|| format!("no command; allowed are {COMMANDS}, see --help"))?;
    let join = |errors: Vec<String>| errors.join("\nerror: ");
    match command.to_str() {
        Some("run") => run(arguments, variable).map(Command::Run).map_err(join),
        Some("exec") => exec(arguments, variable).map_err(join),
        Some("healthcheck") => healthcheck(arguments, variable),
        Some("pause") => match arguments.next() {
            None => Ok(Command::Pause),
            Some(extra) => Err(format!("`{}` after `pause`, which takes no arguments", extra.display())),
        },
        Some("install") => match (arguments.next(), arguments.next()) {
            (Some(file), None) => Ok(Command::Install { file: file.into() }),
            _ => Err("`install` takes one argument, the file to install guard as".to_owned()),
        },
        Some(BECOME) => {
            let parent = arguments.next().and_then(|parent| parent.to_str()?.parse().ok());
            let parent = parent.ok_or_else(|| format!("`{BECOME}` is internal; use `guard run`"))?;
            Ok(Command::Become { parent, program: arguments.collect() })
        }
        Some("--help" | "-h" | "help") => Ok(Command::Print(HELP.to_owned())),
        Some("--version" | "-V") => Ok(Command::Print(format!("guard {}\n", env!("CARGO_PKG_VERSION")))),
        _ => Err(format!("`{}` is not a command; allowed are {COMMANDS}, see --help", command.display())),
    }
}

/// Option values in the order of [`OPTIONS`], and the program after `--`.
struct Given {
    values: [Option<OsString>; OPTIONS.len()],
    program: Vec<OsString>,
    errors: Vec<String>,
}

impl Given {
    /// Reads the first `count` options of [`OPTIONS`]. The command line wins over the environment, the environment over the default.
    fn read(
        command: &str,
        count: usize,
        mut arguments: impl Iterator<Item = OsString>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Self {
        let mut errors = Vec::new();
        let mut values =
            OPTIONS.map(|(_, name, default)| given(&variable, name).or_else(|| default.map(OsString::from)));
        while let Some(argument) = arguments.next() {
            let text = argument.to_string_lossy().into_owned();
            if text == "--" {
                break;
            }
            let (name, joined) =
                text.split_once('=').map_or((text.as_str(), None), |(name, value)| (name, Some(value)));
            let Some(option) = OPTIONS[..count].iter().position(|(option, ..)| *option == name) else {
                errors.push(format!("`{text}` is not an option of {command}; see --help"));
                continue;
            };
            match joined.map(OsString::from).or_else(|| arguments.next()) {
                Some(value) if value != "--" && !value.is_empty() => values[option] = Some(value),
                _ => {
                    // Whether what follows is an option or the program is unknown.
                    errors.push(format!("{name}: a value is required"));
                    return Self { values, program: vec![OsString::new()], errors };
                }
            }
        }
        let program: Vec<_> = arguments.collect();
        if program.is_empty() {
            errors.push("a program is required after `--`".to_owned());
        }
        Self { values, program, errors }
    }

    fn take(&mut self, option: &str) -> Option<String> {
        let index = OPTIONS.iter().position(|(name, ..)| *name == option).expect("the option is in the table");
        self.values[index].take().map(|value| value.to_string_lossy().into_owned())
    }

    fn time(&mut self, option: &'static str) -> Duration {
        let text = self.take(option).unwrap_or_default();
        duration(&text).unwrap_or_else(|| {
            self.errors.push(format!("{option}: `{text}` must be a time from 1ms to 1d, for example 500ms, 10s, 2m"));
            Duration::ZERO
        })
    }

    fn lock(&mut self) -> LockSettings {
        // Not by way of text: a path need not be UTF-8.
        let data_dir = self.values[0].take();
        if data_dir.is_none() {
            self.errors.push("a data directory is required: set --data-dir or GUARD_DATA_DIR".to_owned());
        }
        let before = self.errors.len();
        let [interval, timeout, takeover] =
            ["--heartbeat-interval", "--heartbeat-timeout", "--takeover-after"].map(|option| self.time(option));
        if self.errors.len() == before && !(interval < timeout && timeout < takeover) {
            self.errors.push(format!(
                "the times {interval:?}, {timeout:?} and {takeover:?} contradict each other: --heartbeat-interval must be shorter \
                 than --heartbeat-timeout, and that shorter than --takeover-after, or two servers may run at once"
            ));
        }
        LockSettings {
            data_dir: data_dir.unwrap_or_default().into(),
            heartbeat_interval: interval,
            heartbeat_timeout: timeout,
            takeover_after: takeover,
        }
    }

    fn server(&mut self) -> Option<ServerVersion> {
        let (version, opens) = (self.take("--server-version"), self.take("--opens-data-of"));
        if version.is_none() && opens.is_some() {
            self.errors.push("--opens-data-of: has no effect without --server-version".to_owned());
        }
        let mut parse = |option: &str, text: &str| {
            let version = text.parse::<Version>().ok();
            if version.is_none() {
                self.errors
                    .push(format!("{option}: `{text}` must be a server version of two numbers, for example 26.0"));
            }
            version
        };
        let opens = opens.iter().flat_map(|list| list.split(','));
        let opens: Vec<_> = opens.filter_map(|text| parse("--opens-data-of", text.trim())).collect();
        let version = parse("--server-version", version?.trim())?;
        Some(ServerVersion { version, opens })
    }
}

fn given(variable: impl Fn(&str) -> Option<OsString>, name: &str) -> Option<OsString> {
    variable(name).filter(|value| !value.is_empty())
}

fn run(
    arguments: impl Iterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<RunSettings, Vec<String>> {
    let mut given = Given::read("run", OPTIONS.len(), arguments, variable);
    let lock = given.lock();
    let status_file = given.values[LOCK_OPTIONS].take().map(PathBuf::from);
    // The recovery point is recorded as one line.
    let restored = given.take("--restored");
    if let Some(point) = restored.as_ref().filter(|point| point.contains(char::is_control)) {
        given.errors.push(format!("--restored: {point:?} must be the ARN of a recovery point"));
    }
    let server = given.server();
    let Given { program, errors, .. } = given;
    if errors.is_empty() { Ok(RunSettings { lock, restored, server, status_file, program }) } else { Err(errors) }
}

fn exec(
    arguments: impl Iterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, Vec<String>> {
    let mut given = Given::read("exec", LOCK_OPTIONS, arguments, variable);
    let lock = given.lock();
    let Given { program, errors, .. } = given;
    if errors.is_empty() { Ok(Command::Exec(lock, program)) } else { Err(errors) }
}

fn healthcheck(
    mut arguments: impl Iterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, String> {
    let file = match arguments.next() {
        None => given(variable, STATUS_FILE.1),
        Some(option) if option == OsStr::new(STATUS_FILE.0) => arguments.next(),
        Some(other) => {
            let joined = other.to_string_lossy().into_owned();
            let value = joined.strip_prefix(STATUS_FILE.0).and_then(|rest| rest.strip_prefix('='));
            Some(value.ok_or_else(|| format!("`{joined}` is not an option of healthcheck; see --help"))?.into())
        }
    };
    let file = file.filter(|file| !file.is_empty());
    let status_file = file.ok_or("a status file is required: set --status-file or GUARD_STATUS_FILE")?.into();
    match arguments.next() {
        None => Ok(Command::Healthcheck { status_file }),
        Some(extra) => Err(format!("`{}` is not an option of healthcheck; see --help", extra.display())),
    }
}

/// A number with a unit, up to a day.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_mins(1),
        "h" => Duration::from_hours(1),
        "d" => Duration::from_hours(24),
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

    fn settings(arguments: &[&str], data_dir: Option<&str>) -> RunSettings {
        match parse(&[&["run"], arguments, &["--", "server", "--data-dir"]].concat(), data_dir) {
            Ok(Command::Run(settings)) => settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn command_line_wins_over_environment_and_default() {
        let defaults = settings(&[], Some("/a"));
        assert_eq!(defaults.lock.data_dir, PathBuf::from("/a"));
        assert_eq!(defaults.program, ["server", "--data-dir"]);
        let LockSettings { heartbeat_interval, heartbeat_timeout, takeover_after, .. } = defaults.lock;
        assert_eq!([heartbeat_interval, heartbeat_timeout, takeover_after].map(|time| time.as_secs()), [10, 150, 180]);
        assert_eq!((defaults.restored, defaults.server, defaults.status_file), (None, None, None));
        assert_eq!(settings(&["--restored", "arn:a"], Some("/a")).restored.as_deref(), Some("arn:a"));
        assert!(parse(&["run", "--restored=a\nb", "--", "server"], Some("/a")).unwrap_err().contains("--restored"));
        assert_eq!(settings(&["--data-dir", "/b"], Some("/a")).lock.data_dir, PathBuf::from("/b"));
        let joined = settings(&["--data-dir=/c", "--heartbeat-interval=1s", "--status-file=/s"], None);
        assert_eq!(joined.lock.heartbeat_interval, Duration::from_secs(1));
        assert_eq!(joined.status_file, Some("/s".into()));
    }

    #[test]
    fn all_errors_are_reported_in_one_run() {
        let errors = parse(&["run", "--colour", "--takeover-after=70"], None).unwrap_err();
        assert_eq!(errors.lines().count(), 4, "{errors}");
        assert!(parse(&["start"], None).unwrap_err().contains("`start`"));
        assert!(parse(&[], None).is_err());
        assert!(parse(&["pause", "now"], None).is_err());
        assert!(parse(&["run", "--data-dir", "--", "server"], None).is_err());
    }

    #[test]
    fn times_that_would_let_two_servers_run_are_refused() {
        for times in [["--heartbeat-timeout=180s"], ["--takeover-after=150s"], ["--heartbeat-interval=150s"]] {
            let arguments = [&["run"], &times[..], &["--", "server"]].concat();
            assert!(parse(&arguments, Some("/a")).unwrap_err().contains("contradict"), "{times:?}");
        }
    }

    #[test]
    fn times_have_units_and_bounds() {
        for (text, expected) in [
            ("250ms", Duration::from_millis(250)),
            ("10s", Duration::from_secs(10)),
            ("2m", Duration::from_mins(2)),
            ("3h", Duration::from_hours(3)),
            ("1d", Duration::from_hours(24)),
        ] {
            assert_eq!(duration(text), Some(expected));
        }
        for text in ["", "10", "s", "0s", "-1s", "1.5s", "10 s", "25h", "2d", "1w", "99999999999999999999s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn server_version_lists_what_it_may_open() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        let given = settings(&["--server-version=26.0", "--opens-data-of", "24.10, 25.0"], Some("/a"));
        let opens = vec![version("24.10"), version("25.0")];
        assert_eq!(given.server, Some(ServerVersion { version: version("26.0"), opens }));
        for (arguments, named) in [
            (&["--server-version=26"][..], "`26`"),
            (&["--server-version=26.0", "--opens-data-of=24.10,new"], "`new`"),
            (&["--opens-data-of=24.10"], "no effect without --server-version"),
        ] {
            let arguments = [&["run"], arguments, &["--", "server"]].concat();
            assert!(parse(&arguments, Some("/a")).unwrap_err().contains(named), "{arguments:?}");
        }
    }

    #[test]
    fn exec_takes_lock_options_alone() {
        assert!(
            matches!(parse(&["exec", "--", "mv", "a"], Some("/a")), Ok(Command::Exec(_, program)) if program == ["mv", "a"])
        );
        assert!(
            parse(&["exec", "--restored=a", "--", "mv"], Some("/a")).unwrap_err().contains("not an option of exec")
        );
        assert!(parse(&["exec"], Some("/a")).unwrap_err().contains("a program is required"));
    }

    #[test]
    fn healthcheck_needs_a_status_file() {
        let expected = Command::Healthcheck { status_file: "/s".into() };
        for arguments in [&["healthcheck", "--status-file", "/s"][..], &["healthcheck", "--status-file=/s"]] {
            assert_eq!(parse(arguments, None).as_ref(), Ok(&expected));
        }
        let variable = |name: &str| (name == "GUARD_STATUS_FILE").then(|| "/s".into());
        assert_eq!(super::parse([OsString::from("healthcheck")], variable).as_ref(), Ok(&expected));
        for arguments in [&["healthcheck"][..], &["healthcheck", "--status-file"], &["healthcheck", "now"]] {
            assert!(parse(arguments, None).is_err(), "{arguments:?}");
        }
    }
}
