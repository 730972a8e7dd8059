//! The flags of es-gencert-cli and the way Go's `flag` package reads them (contract §1.4): pure functions over arguments.
//!
//! `-out x`, `--out x`, `-out=x` and `--out=x` are the same; the last of a repeated flag wins; reading ends at the first
//! argument that is not a flag. What Go then ignores in silence is ignored here too, and said.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// A command of es-gencert-cli.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Ca,
    Node,
    User,
    Certs,
}

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    Text,
    Days,
    /// Nothing, or a boolean after `=`.
    Nothing,
}

/// One flag of a command.
#[derive(Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) takes: Takes,
    /// As help shows it.
    pub(crate) default: &'static str,
    pub(crate) help: &'static str,
}

const fn text(name: &'static str, default: &'static str, help: &'static str) -> Flag {
    Flag { name, takes: Takes::Text, default, help }
}

const fn days(default: &'static str) -> Flag {
    Flag {
        name: "days",
        takes: Takes::Days,
        default,
        help: "Days for which the certificate is valid; 0 is the default",
    }
}

const FORCE: Flag = Flag {
    name: "force",
    takes: Takes::Nothing,
    default: "false",
    help: "Replace files that exist, with new keys; without it they are left and nothing is made",
};
/// Not a flag of es-gencert-cli.
const DRY_RUN: Flag = Flag {
    name: "dry-run",
    takes: Takes::Nothing,
    default: "false",
    help: "Say what would be made and where, and write nothing",
};
const SIGNER: [Flag; 2] = [
    text("ca-certificate", "./ca/ca.crt", "Certificate of the CA that signs, PEM"),
    text("ca-key", "./ca/ca.key", "Private key of the CA that signs, PEM without password"),
];

static CREATE_CA: [Flag; 7] = [
    text(
        "ca-certificate",
        "none",
        "Certificate of the parent, PEM; makes an intermediate CA. Without it the CA is a root",
    ),
    text("ca-key", "none", "Private key of the parent, PEM without password"),
    days("5 years"),
    DRY_RUN,
    FORCE,
    text("name", "ca", "Name of the two files, without .crt and .key"),
    text("out", "./ca", "Directory for the two files; it is made if it does not exist"),
];
static CREATE_NODE: [Flag; 10] = {
    let [certificate, key] = SIGNER;
    [
        certificate,
        key,
        text("common-name", "eventstoredb-node", "Common name of the certificate's subject"),
        days("1 year"),
        text("dns-names", "none", "DNS names of the node, separated by commas"),
        DRY_RUN,
        FORCE,
        text("ip-addresses", "none", "IP addresses of the node, separated by commas"),
        text("name", "node, or the directory's", "Name of the two files, without .crt and .key"),
        text("out", "the first free node<N>", "Directory for the two files; it is made if it does not exist"),
    ]
};
static CREATE_USER: [Flag; 8] = {
    let [certificate, key] = SIGNER;
    [
        certificate,
        key,
        days("1 year"),
        DRY_RUN,
        FORCE,
        text("name", "user-<username>", "Name of the two files, without .crt and .key"),
        text("out", "user-<username>", "Directory for the two files; it is made if it does not exist"),
        text("username", "none", "User of the database, the common name of the certificate's subject; required"),
    ]
};
static CREATE_CERTS: [Flag; 3] =
    [text("config-file", "./certs.yml", "YAML file that lists what to make"), DRY_RUN, FORCE];

impl Command {
    pub(crate) const ALL: [Self; 4] = [Self::Ca, Self::Node, Self::User, Self::Certs];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ca => "create-ca",
            Self::Node => "create-node",
            Self::User => "create-user",
            Self::Certs => "create-certs",
        }
    }

    pub(crate) fn synopsis(self) -> &'static str {
        match self {
            Self::Ca => "Makes a CA: a root, or an intermediate below a parent",
            Self::Node => "Makes the certificate of a node, signed by a CA",
            Self::User => "Makes the certificate of a user, signed by a CA",
            Self::Certs => "Makes all certificates that a YAML file lists",
        }
    }

    pub(crate) fn named(name: &OsStr) -> Option<Self> {
        Self::ALL.into_iter().find(|command| name == command.name())
    }

    /// In the order in which help lists them.
    pub(crate) fn flags(self) -> &'static [Flag] {
        match self {
            Self::Ca => &CREATE_CA,
            Self::Node => &CREATE_NODE,
            Self::User => &CREATE_USER,
            Self::Certs => &CREATE_CERTS,
        }
    }
}

/// The command for what is made of command lines: its flags, with two hyphens.
pub(crate) fn as_clap(command: Command) -> clap::Command {
    let arguments = command.flags().iter().map(|flag| {
        let argument =
            clap::Arg::new(flag.name).long(flag.name).help(format!("{} [default: {}]", flag.help, flag.default));
        match flag.takes {
            Takes::Text => argument.value_name("VALUE").value_parser(clap::value_parser!(OsString)),
            Takes::Days => argument.value_name("DAYS").value_parser(clap::value_parser!(i64)),
            // Go takes a value only after `=`.
            Takes::Nothing => argument
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .value_parser(clap::value_parser!(bool)),
        }
    });
    clap::Command::new(command.name()).about(command.synopsis()).args(arguments)
}

/// What was given for a certificate, by flags or by an entry of a file. What was not given is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) text: BTreeMap<&'static str, OsString>,
    /// 0 is the default period.
    pub(crate) days: i64,
}

impl Fields {
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        self.text.get(name).map(OsString::as_os_str)
    }
}

/// What a command line says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) help: bool,
    pub(crate) force: bool,
    pub(crate) dry_run: bool,
    pub(crate) fields: Fields,
    pub(crate) warnings: Vec<String>,
    pub(crate) mistakes: Vec<String>,
}

/// Whether an argument asks for help. Everywhere before `--` it does, even where a value is expected (contract §1.5).
pub(crate) fn asks_for_help(argument: &OsStr) -> bool {
    ["-h", "-help", "--help"].iter().any(|spelling| argument == *spelling)
}

/// One argument as Go reads it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Argument<'a> {
    /// Its name without hyphens, and what follows `=`.
    Flag(&'a OsStr, Option<&'a OsStr>),
    /// Something that begins like a flag and is none, such as `---x` or `-=x`.
    Malformed,
    /// The first argument that is not a flag.
    Positional,
    /// `--`: no flags follow.
    End,
}

/// Reads one argument.
pub(crate) fn argument(argument: &OsStr) -> Argument<'_> {
    let bytes = argument.as_bytes();
    let Some(name) = bytes.strip_prefix(b"-").filter(|rest| !rest.is_empty()) else { return Argument::Positional };
    let name = name.strip_prefix(b"-").unwrap_or(name);
    match name {
        [] => Argument::End,
        [b'-' | b'=', ..] => Argument::Malformed,
        _ => {
            let (name, value) = match name.iter().position(|byte| *byte == b'=') {
                Some(at) => (&name[..at], Some(OsStr::from_bytes(&name[at + 1..]))),
                None => (name, None),
            };
            Argument::Flag(OsStr::from_bytes(name), value)
        }
    }
}

/// Reads the arguments after a command. Every mistake is told, where Go stops at the first.
pub(crate) fn parse(command: Command, arguments: &[OsString]) -> Parsed {
    let mut parsed = Parsed {
        help: arguments.iter().take_while(|argument| *argument != "--").any(|argument| asks_for_help(argument)),
        ..Parsed::default()
    };
    let mut rest = arguments;
    while let [first, after @ ..] = rest {
        let (name, value) = match argument(first) {
            Argument::Flag(name, value) => (name, value),
            Argument::Malformed => {
                parsed.mistakes.push(format!("`{}` is not a flag", first.display()));
                rest = after;
                continue;
            }
            Argument::End => {
                rest = after;
                break;
            }
            Argument::Positional => break,
        };
        rest = after;
        let Some(flag) = command.flags().iter().find(|flag| name == flag.name) else {
            let known: Vec<_> = command.flags().iter().map(|flag| format!("-{}", flag.name)).collect();
            let command = command.name();
            parsed.mistakes.push(format!(
                "-{}: {command} has no such flag; its flags are {}",
                name.display(),
                known.join(", ")
            ));
            // Whether it would take a value is not known: what follows decides whether reading goes on.
            if matches!(rest, [next, ..] if argument(next) == Argument::Positional) {
                return parsed;
            }
            continue;
        };
        let value = match (flag.takes, value, rest) {
            (Takes::Nothing, None, _) => OsString::from("true"),
            (_, Some(value), _) => value.to_owned(),
            (_, None, [next, after @ ..]) => {
                rest = after;
                next.clone()
            }
            (_, None, []) => {
                parsed.mistakes.push(format!("-{}: its value is missing", flag.name));
                continue;
            }
        };
        parsed.set(flag, value);
    }
    if !rest.is_empty() {
        let words: Vec<_> = rest.iter().map(|word| word.display().to_string()).collect();
        parsed
            .warnings
            .push(format!("ignored, as es-gencert-cli does from the first word that is no flag: {}", words.join(" ")));
    }
    parsed
}

impl Parsed {
    /// The arguments that say the same in the one way that nobody could read otherwise.
    pub(crate) fn canonical(&self) -> Vec<OsString> {
        let text = self.fields.text.iter().map(|(name, value)| {
            let mut argument = OsString::from(format!("-{name}="));
            argument.push(value);
            argument
        });
        let days = (self.fields.days != 0).then(|| format!("-days={}", self.fields.days).into());
        let switches = [(self.force, "-force"), (self.dry_run, "-dry-run")];
        let switches = switches.into_iter().filter(|(given, _)| *given).map(|(_, name)| name.into());
        text.chain(days).chain(switches).collect()
    }

    fn set(&mut self, flag: &Flag, value: OsString) {
        let mut refuse = |allowed: &str| {
            self.mistakes.push(format!("-{}: `{}` is not {allowed}", flag.name, value.display()));
        };
        match flag.takes {
            Takes::Text => {
                self.fields.text.insert(flag.name, value);
            }
            Takes::Nothing => match value.to_str().and_then(boolean) {
                Some(given) if flag.name == DRY_RUN.name => self.dry_run = given,
                Some(given) => self.force = given,
                None => refuse("true or false"),
            },
            Takes::Days => match value.to_str().map(integer) {
                Some(Ok(days)) => {
                    self.fields.days = days;
                    if let Some(text) = value.to_str().filter(|text| is_octal_by_surprise(text)) {
                        self.warnings.push(octal_warning("-days", text, days));
                    }
                }
                Some(Err(NotAnInteger::OutOfRange)) => refuse("a number of days that can be counted"),
                _ => refuse("a whole number of days"),
            },
        }
    }
}

/// Go's `strconv.ParseBool`.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Why a text is not an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAnInteger {
    Syntax,
    OutOfRange,
}

/// Go's `strconv.ParseInt(text, 0, 64)`: the base is in the prefix, a leading 0 is octal, and `_` may stand between digits.
pub(crate) fn integer(text: &str) -> Result<i64, NotAnInteger> {
    let (negative, unsigned) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = unsigned.to_ascii_lowercase();
    let (base, digits, prefixed) = [(16, "0x"), (8, "0o"), (2, "0b"), (8, "0")]
        .into_iter()
        .find_map(|(base, prefix)| Some((base, lower.strip_prefix(prefix)?, true)))
        .filter(|_| lower.len() > 1)
        .unwrap_or((10, &lower, false));
    // After a prefix an underscore may come first, for the prefix counts as a digit.
    let misplaced =
        digits.ends_with('_') || digits.contains("__") || (digits.starts_with('_') && !prefixed) || digits.is_empty();
    if misplaced || !digits.chars().all(|digit| digit == '_' || digit.is_digit(base)) {
        return Err(NotAnInteger::Syntax);
    }
    let digits = digits.replace('_', "");
    let magnitude = i128::from_str_radix(&digits, base).map_err(|_| NotAnInteger::OutOfRange)?;
    i64::try_from(if negative { -magnitude } else { magnitude }).map_err(|_| NotAnInteger::OutOfRange)
}

/// Whether a leading 0 makes this number another one than most people mean.
pub(crate) fn is_octal_by_surprise(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    digits.len() > 1 && digits.starts_with('0') && digits[1..].chars().all(|digit| digit.is_digit(8) || digit == '_')
}

pub(crate) fn octal_warning(place: &str, text: &str, days: i64) -> String {
    format!("{place}: `{text}` is octal because of its leading 0, and {days} in decimal; leave the 0 out")
}

/// The bytes of a path that has `suffix` behind its last component.
pub(crate) fn with_suffix(name: &OsStr, suffix: &str) -> OsString {
    let mut bytes = name.as_bytes().to_vec();
    bytes.extend_from_slice(suffix.as_bytes());
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(command: Command, line: &str) -> Parsed {
        parse(command, &line.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect::<Vec<_>>())
    }

    fn out(line: &str) -> Option<String> {
        let parsed = parsed(Command::Ca, line);
        assert_eq!(parsed.mistakes, Vec::<String>::new(), "{line}");
        parsed.fields.get("out").map(|out| out.to_str().unwrap().to_owned())
    }

    #[test]
    fn all_four_spellings_are_the_same() {
        for line in ["-out x", "--out x", "-out=x", "--out=x", "-out y --out=x", "-force -out x", "-days 3 -out x"] {
            assert_eq!(out(line).as_deref(), Some("x"), "{line}");
        }
        assert_eq!(out("-out=").as_deref(), Some(""));
        assert_eq!(out("-out -force").as_deref(), Some("-force"));
        assert_eq!(out("-out=a=b").as_deref(), Some("a=b"));
    }

    #[test]
    fn reading_ends_at_the_first_word_and_says_what_it_ignored() {
        for line in ["foo -out x", "-- -out x", "-force false -out x", "-"] {
            let parsed = parsed(Command::Ca, line);
            assert_eq!((parsed.fields.get("out"), parsed.warnings.len()), (None, 1), "{line}");
        }
        assert!(parsed(Command::Ca, "-force false").force);
        assert!(parsed(Command::Ca, "-out x --").warnings.is_empty());
    }

    #[test]
    fn booleans_are_those_of_go() {
        for (line, force) in [
            ("", false),
            ("-force", true),
            ("-force=true", true),
            ("--force=T", true),
            ("-force=0", false),
            ("-force -force=False", false),
        ] {
            assert_eq!(parsed(Command::User, line).force, force, "{line}");
        }
        for line in ["-force=maybe", "-force=", "-force=tRUE"] {
            assert_eq!(parsed(Command::User, line).mistakes.len(), 1, "{line}");
        }
    }

    #[test]
    fn integers_are_those_of_go() {
        for (text, value) in [
            ("10", 10),
            ("+10", 10),
            ("-3", -3),
            ("0", 0),
            ("0x10", 16),
            ("0X1f", 31),
            ("010", 8),
            ("0_10", 8),
            ("0o17", 15),
            ("0b11", 3),
            ("1_0", 10),
            ("0x_1f", 31),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(integer(text), Ok(value), "{text}");
        }
        for text in ["", "abc", "1.5", "1e2", "_1", "1_", "1__0", "0x", "08", "0b2", "--1", " 1", "+", "1 0"] {
            assert_eq!(integer(text), Err(NotAnInteger::Syntax), "{text}");
        }
        for text in ["99999999999999999999", "9223372036854775808", &"9".repeat(60)] {
            assert_eq!(integer(text), Err(NotAnInteger::OutOfRange), "{text}");
        }
        assert!(is_octal_by_surprise("010") && !is_octal_by_surprise("0o10") && !is_octal_by_surprise("0"));
    }

    #[test]
    fn every_mistake_is_told() {
        let mistakes = |line| parsed(Command::Node, line).mistakes;
        for (line, parts) in [
            ("-foo", &["-foo: create-node has no such flag; its flags are -ca-certificate, "][..]),
            ("-foo bar -days x", &["-foo"]),
            ("-foo=bar -days x -force=2", &["-foo", "-days: `x` is not a whole number", "-force: `2`"]),
            ("-days", &["-days: its value is missing"]),
            ("-days 99999999999999999999", &["-days: `99999999999999999999` is not a number of days that can"]),
            ("---out x", &["`---out` is not a flag"]),
            ("-=x", &["`-=x` is not a flag"]),
            ("--version", &["-version: create-node has no such flag"]),
            ("-v", &["-v: "]),
        ] {
            let told = mistakes(line);
            assert_eq!(told.len(), parts.len(), "{line}: {told:?}");
            for (told, part) in told.iter().zip(parts) {
                assert!(told.starts_with(part), "{line}: {told}");
            }
        }
    }

    proptest::proptest! {
        /// Whatever is typed is read to its end, and a flag that is set twice has its last value.
        #[test]
        fn no_command_line_is_too_odd(words in proptest::collection::vec("-{0,3}(out|force|days|=|h|[^\\x00]{0,3}){0,3}", 0..8)) {
            let words: Vec<_> = words.into_iter().map(OsString::from).collect();
            for command in Command::ALL {
                let first = parse(command, &words);
                let mut flag_first = vec![OsString::from("-force"), OsString::from("-force=false")];
                flag_first.extend(words.iter().cloned());
                proptest::prop_assert_eq!(first, parse(command, &flag_first));
            }
        }
    }

    #[test]
    fn help_is_asked_for_anywhere_before_a_double_hyphen() {
        for line in ["-h", "x -help", "-out --help"] {
            assert!(parsed(Command::Ca, line).help, "{line}");
        }
        assert!(!parsed(Command::Ca, "-- -h").help);
    }
}
