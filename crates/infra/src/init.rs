//! `infra init`: the commented configuration, in which what the flags say stands in its place.

use std::fmt;
use std::path::PathBuf;

use toml::{Table, Value};

use crate::config::table::{Kind, NAME, at};
use crate::config::{Config, with_values};

/// What `infra init` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// The file to write.
    #[arg(long, env = "INFRA_CONFIG", value_name = "FILE", default_value = "./eventstore.toml")]
    pub(crate) config: PathBuf,
    /// Print it instead.
    #[arg(long)]
    pub(crate) stdout: bool,
    /// Name of the deployment, `name`; default: eventstore.
    #[arg(long, env = "INFRA_NAME", value_name = "NAME")]
    name: Option<String>,
    /// Number of nodes, `cluster.nodes`: 1, 3, 5 or 7.
    #[arg(long, env = "INFRA_NODES", value_name = "N")]
    nodes: Option<String>,
    /// Server line, `server.line`, for example 24.10.
    #[arg(long, env = "INFRA_LINE", value_name = "LINE")]
    line: Option<String>,
    /// Private DNS namespace, `namespace`, for example db.internal.
    #[arg(long, env = "INFRA_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,
    /// Set any key by its full path, for example backup.mode=stop; may be given again.
    ///
    /// VALUE is TOML, and a string needs no quotes of its own. What holds spaces or quotes, the shell must leave as it is, as in
    /// --set 'users=[{ login = "orders" }]'.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Something wrong that a flag says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// The flag and its key, or the key alone, if it is missing or does not go with what flags say.
    place: String,
    message: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// What a flag gives to one key.
struct Assignment {
    /// As messages name it.
    flag: String,
    path: Vec<String>,
    value: Value,
}

/// The text of the configuration, or everything that is wrong with the flags.
pub(crate) fn configuration(flags: &Flags) -> Result<String, Vec<Wrong>> {
    let mut wrong = Vec::new();
    let mut assignments: Vec<Assignment> = Vec::new();
    for assignment in flags.assignments(&mut wrong) {
        let meets = |other: &&Assignment| {
            let common = other.path.len().min(assignment.path.len());
            other.path[..common] == assignment.path[..common]
        };
        match assignments.iter().find(meets) {
            Some(other) => {
                let message = format!("`{}` says it already; take out one of both", other.flag);
                wrong.push(Wrong { place: assignment.flag, message });
            }
            None => assignments.push(assignment),
        }
    }
    let mut values = Table::from_iter([("name".to_owned(), Value::from(NAME))]);
    for assignment in &assignments {
        put(&mut values, &assignment.path, assignment.value.clone());
    }
    let expected = Config::parse(&values.to_string());
    if let Err(errors) = &expected {
        wrong.extend(errors.0.iter().map(|mistake| {
            let place = match assignments.iter().find(|assignment| assignment.is_about(&mistake.key)) {
                None => mistake.key.clone(),
                Some(assignment) if assignment.flag.ends_with(&mistake.key) => assignment.flag.clone(),
                Some(assignment) => format!("{}: {}", assignment.flag, mistake.key),
            };
            Wrong { place, message: mistake.message.clone() }
        }));
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let text = with_values(&values);
    debug_assert_eq!(Config::parse(&text).ok(), expected.ok(), "the commented file says something else");
    Ok(text)
}

impl Flags {
    /// What the flags give to keys; what cannot be understood at all is told.
    fn assignments(&self, wrong: &mut Vec<Wrong>) -> Vec<Assignment> {
        let convenient = [
            ("--name", &["name"][..], &self.name),
            ("--namespace", &["namespace"], &self.namespace),
            ("--line", &["server", "line"], &self.line),
            ("--nodes", &["cluster", "nodes"], &self.nodes),
        ];
        let mut assignments = Vec::new();
        for (flag, path, value) in convenient {
            let Some(value) = value else { continue };
            let key = path.join(".");
            let shown = if flag.trim_start_matches('-') == key { flag.to_owned() } else { format!("{flag}: {key}") };
            let path = path.iter().map(|&name| name.to_owned()).collect();
            add(&mut assignments, wrong, shown, path, value);
        }
        for text in &self.set {
            match split(text) {
                Some((path, value)) => add(&mut assignments, wrong, format!("--set {}", path.join(".")), path, value),
                None => wrong.push(Wrong {
                    place: format!("--set {text}"),
                    message: "it is not KEY=VALUE; KEY is a key with its sections, for example cluster.nodes=3"
                        .to_owned(),
                }),
            }
        }
        assignments
    }
}

impl Assignment {
    /// Whether a mistake with this key is one of what the flag says.
    fn is_about(&self, key: &str) -> bool {
        let path = self.path.join(".");
        let is_in = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        is_in(key, &path) || is_in(&path, key)
    }
}

/// `KEY=VALUE` at the first `=` before which there is a key; quoted names may hold one.
fn split(text: &str) -> Option<(Vec<String>, &str)> {
    text.match_indices('=').find_map(|(at, _)| {
        let path = path(&text[..at])?;
        Some((path, text[at + 1..].trim()))
    })
}

/// The names of a dotted key, as TOML reads it.
fn path(key: &str) -> Option<Vec<String>> {
    let mut table = format!("{key} = 0").parse::<Table>().ok()?;
    let mut path = Vec::new();
    while table.len() == 1 {
        let (name, value) = table.into_iter().next()?;
        path.push(name);
        match value {
            Value::Table(inner) => table = inner,
            Value::Integer(0) => return Some(path),
            _ => return None,
        }
    }
    None
}

/// Adds what `text` gives to the key: the value, or if it is that of a section the values of its keys.
fn add(assignments: &mut Vec<Assignment>, wrong: &mut Vec<Wrong>, flag: String, path: Vec<String>, text: &str) {
    let list = (1..path.len()).map(|names| &path[..names]).find(|path| matches!(kind(path), Some(Kind::Sections(_))));
    let read = match list {
        Some(list) => Err(whole_list(list)),
        None => value(&path, text),
    };
    match read {
        Ok(value) => flatten(assignments, flag, path, value),
        Err(message) => wrong.push(Wrong { place: flag, message }),
    }
}

fn flatten(assignments: &mut Vec<Assignment>, flag: String, path: Vec<String>, value: Value) {
    match value {
        Value::Table(inner) if !inner.is_empty() && is_section(&path) => {
            for (name, value) in inner {
                let path = path.iter().cloned().chain([name]).collect();
                flatten(assignments, flag.clone(), path, value);
            }
        }
        value => assignments.push(Assignment { flag, path, value }),
    }
}

fn kind(path: &[String]) -> Option<&'static Kind> {
    at(&path.iter().map(String::as_str).collect::<Vec<_>>()).map(|key| &key.kind)
}

fn is_section(path: &[String]) -> bool {
    matches!(kind(path), Some(Kind::Section(_) | Kind::Tags | Kind::Options))
}

/// TOML, or a text without quotes. What is a text anyway is one even if it could be something else: `24.10`, `02:00`.
fn value(path: &[String], text: &str) -> Result<Value, String> {
    let table = format!("value = {text}").parse::<Table>();
    let toml = table.map(|mut table| if table.len() == 1 { table.remove("value") } else { None });
    let is_quoted = text.starts_with(['"', '\'', '[', '{']);
    let is_name_of_theirs =
        path.split_last().is_some_and(|(_, section)| matches!(kind(section), Some(Kind::Tags | Kind::Options)));
    match (kind(path), toml) {
        // Allowed there is no fraction and no date: `24.10` is a version.
        (_, Ok(Some(Value::Float(_) | Value::Datetime(_)))) if is_name_of_theirs => Ok(Value::from(text)),
        (Some(Kind::Text(_)), _) | (_, Err(_)) if !is_quoted => Ok(Value::from(text)),
        (Some(Kind::Sections(_)), Ok(Some(value))) if !value.is_array() => Err(whole_list(path)),
        (_, Ok(Some(value))) => Ok(value),

        (_, Err(error)) => Err(format!("`{text}` is not TOML: {}", error.message())),
        (_, Ok(None)) => Err(format!("`{text}` is more than one value")),
    }
}

fn whole_list(path: &[String]) -> String {
    let path = path.join(".");
    format!("[[{path}]] is a list, and allowed is the whole of it: --set '{path}=[{{ … }}, …]'")
}

/// Puts a value into nested tables. No path of an assignment begins with that of another.
fn put(table: &mut Table, path: &[String], value: Value) {
    match path {
        [] => {}
        [name] => {
            table.insert(name.clone(), value);
        }
        [section, rest @ ..] => {
            let inner = table.entry(section.clone()).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::reference;
    use crate::config::table::{Given, ROOT, Table as Keys};
    use crate::scenario::text_of;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        flags: Flags,
    }

    fn written(arguments: &[&str]) -> Result<String, Vec<String>> {
        let command = Command::parse_from(["infra"].iter().chain(arguments));
        configuration(&command.flags).map_err(|wrong| wrong.iter().map(ToString::to_string).collect())
    }

    fn set(pairs: &[String]) -> Result<String, Vec<String>> {
        let arguments: Vec<_> = pairs.iter().flat_map(|pair| ["--set", pair]).collect();
        written(&arguments)
    }

    /// Every key outside lists of sections, with a value that is allowed.
    fn samples(keys: &Keys, path: &str, found: &mut Vec<(String, Value)>) {
        for key in keys.keys {
            let path = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
            match (&key.kind, &key.given) {
                (Kind::Section(inner), _) => samples(inner, &path, found),
                (Kind::Sections(inner), _) => {
                    let mut item = Table::new();
                    for key in inner.keys {
                        if let Given::Always(sample) | Given::Or(sample) | Given::Maybe(sample) = &key.given {
                            item.insert(key.name.to_owned(), sample.to_value());
                        }
                    }
                    found.push((path, Value::Array(vec![Value::Table(item.clone()), Value::Table(item)])));
                }
                (Kind::Tags | Kind::Options, _) => {
                    found.push((format!("{path}.RUN_PROJECTIONS"), Value::from("System")));
                    found.push((format!("{path}.\"a=b \\\" \\u007f\""), Value::from(7)));
                }
                (_, Given::Always(sample) | Given::Or(sample) | Given::Maybe(sample)) => {
                    found.push((path, sample.to_value()));
                }
                (_, Given::Nested) => assert!(matches!(key.kind, Kind::Refused), "{path}"),
            }
        }
    }

    fn all_samples() -> Vec<(String, Value)> {
        let mut found = Vec::new();
        samples(&ROOT, "", &mut found);
        assert!(found.len() > 90, "{}", found.len());
        found
    }

    #[test]
    fn without_flags_it_is_the_reference() {
        assert_eq!(written(&[]).unwrap(), reference());
    }

    /// Alone, and so whether it is allowed or not: the same as in a file of its own.
    #[test]
    fn every_key_means_what_it_means_in_a_file() {
        let mut good = 0;
        for (key, value) in all_samples() {
            let name = if key == "name" { String::new() } else { "name = \"eventstore\"\n".to_owned() };
            match (Config::parse(&format!("{name}{key} = {value}")), set(&[format!("{key}={value}")])) {
                (Ok(expected), Ok(text)) => {
                    assert_eq!(Config::parse(&text).unwrap(), expected, "{key}");
                    good += 1;
                }
                (Err(expected), Err(found)) => {
                    assert_eq!(found.len(), expected.0.len(), "{key}: {found:?}");
                    for (found, expected) in found.iter().zip(&expected.0) {
                        assert!(found.ends_with(&expected.message) && found.contains(&expected.key), "{found}");
                    }
                }
                (expected, found) => panic!("{key}: {expected:?} {found:?}"),
            }
        }
        assert!(good > 60, "{good}");
    }

    /// All at once, which no configuration allows, and so beside what checks it.
    #[test]
    fn every_key_stands_uncommented_in_its_place() {
        let mut values = Table::new();
        for (key, value) in all_samples() {
            put(&mut values, &path(&key).unwrap(), value);
        }
        let text = with_values(&values);
        let mut expected = values;
        // What is a section by itself is there even if nothing is in it, and nothing is left out otherwise.
        let found = text.parse::<Table>().unwrap();
        for (name, value) in &found {
            expected.entry(name.clone()).or_insert_with(|| value.clone());
        }
        assert_eq!(found, expected);
        // With the values of the reference nothing but comments is gone.
        let lines = |text: &str| text.lines().filter(|line| line.starts_with("# ") && !line.contains('=')).count();
        assert_eq!(lines(&text), lines(&reference()));
    }

    #[test]
    fn a_text_needs_no_quotes() {
        let pairs = ["server.line=24.10", "backup.daily_at=02:00", "backup.mode=stop", "backup.enabled=true"];
        let text = set(&pairs.map(str::to_owned)).unwrap();
        for line in ["line = \"24.10\"", "daily_at = \"02:00\"", "mode = \"stop\"", "enabled = true"] {
            assert!(text.contains(&format!("\n{line}\n")), "{line}");
        }
        let text =
            written(&["--nodes", "3", "--line", "25.0", "--namespace", "a.internal", "--name", "orders"]).unwrap();
        let expected = "name = \"orders\"\nnamespace = \"a.internal\"\nserver.line = \"25.0\"\ncluster.nodes = 3";
        assert_eq!(Config::parse(&text).unwrap(), Config::parse(expected).unwrap());
    }

    #[test]
    fn lists_of_sections_and_whole_sections_are_values_too() {
        let users = r#"users=[{ login = "orders", groups = ["$ops"] }, { login = "bills" }]"#;
        let text = set(&[users.to_owned(), "cluster={ nodes = 3, read_only_replicas = 1 }".to_owned()]).unwrap();
        assert!(
            text.contains("\n[[users]]\nlogin = \"orders\"\ngroups = [\"$ops\"]\n\n[[users]]\nlogin = \"bills\"\n")
        );
        let expected = format!("name = \"eventstore\"\n{users}\ncluster.nodes = 3\ncluster.read_only_replicas = 1");
        assert_eq!(Config::parse(&text).unwrap(), Config::parse(&expected).unwrap());
    }

    /// What somebody has in a file can be said by flags, key by key.
    #[test]
    fn whole_configurations_can_be_said_by_flags() {
        for scenario in ["everything", "existing", "containers", "backup-everything", "endpoints", "restore", "article"]
        {
            let file = text_of(scenario);
            let pairs: Vec<_> =
                file.parse::<Table>().unwrap().iter().map(|(key, value)| format!("{key}={value}")).collect();
            assert_eq!(Config::parse(&set(&pairs).unwrap()).unwrap(), Config::parse(&file).unwrap());
        }
        // What a key and a value may hold that TOML has to quote or escape.
        let name = serde_json::Value::from("Zoe \\ \"Z\" 'z' =");
        let pairs = ["tags.\"a b=c\"=x=y".to_owned(), format!("users=[{{ login = \"zoe\", full_name = {name} }}]")];
        let text = set(&pairs).unwrap().parse::<Table>().unwrap();
        assert_eq!(text["tags"]["a b=c"].as_str(), Some("x=y"));
        assert_eq!(text["users"][0]["full_name"].as_str(), name.as_str());
    }

    #[test]
    fn everything_wrong_is_told_at_once_with_its_flag() {
        let found = written(&[
            "--nodes",
            "4",
            "--set",
            "cluster.nodes=3",
            "--set",
            "server.prot=1",
            "--set",
            "serverr.port=1",
            "--set",
            "users.login=a",
            "--set",
            "users=3",
            "--set",
            "deploy.desired_count=2",
            "--set",
            "data.throughput=provisioned",
            "--set",
            "logs",
            "--set",
            "alarms.emails=[",
            "--set",
            "server.port=1\nserver.cpu=2",
            "--set",
            "tags.a=b",
            "--set",
            "tags={a=\"b\"}",
        ])
        .unwrap_err();
        for expected in [
            "--set cluster.nodes: `--nodes: cluster.nodes` says it already",
            "--nodes: cluster.nodes: `4` is an even number",
            "--set server.prot: it is not a known key; did you mean `port`?",
            "--set serverr.port: serverr: it is not a known key; did you mean `server`?",
            "--set users.login: [[users]] is a list",
            "--set users: [[users]] is a list",
            "--set deploy.desired_count: it is always 1",
            "data.provisioned_mibps: ",
            "--set logs: it is not KEY=VALUE",
            "--set alarms.emails: `[` is not TOML",
            "--set server.port: `1\nserver.cpu=2` is more than one value",
            "--set tags: `--set tags.a` says it already",
        ] {
            assert!(found.iter().any(|found| found.starts_with(expected)), "{expected}: {found:#?}");
        }
        assert_eq!(found.len(), 12, "{found:#?}");
    }
}
