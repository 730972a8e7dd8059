//! Command lines in documents, held against what reads them: our own parsers, the models of AWS's services, files that are there.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};

use testkit::aws_cli;
use testkit::programs::Programs;
use testkit::tool::{self, Tool};

use crate::markdown::{Page, pages, root};
use crate::shell::{self, Simple, Word};

/// What documents may use besides, and readers have.
const OTHERS: [&str; 36] = [
    "[",
    "basename",
    "break",
    "cat",
    "cd",
    "chmod",
    "cmp",
    "cp",
    "curl",
    "date",
    "diff",
    "dirname",
    "echo",
    "export",
    "false",
    "git",
    "grep",
    "head",
    "jq",
    "ln",
    "ls",
    "mkdir",
    "mv",
    "openssl",
    "printf",
    "rm",
    "sed",
    "seq",
    "set",
    "sha256sum",
    "skopeo",
    "sleep",
    "tail",
    "tar",
    "test",
    "true",
];
const COMPOSE: [&str; 14] =
    ["build", "config", "down", "exec", "kill", "logs", "ps", "pull", "restart", "rm", "run", "start", "stop", "up"];
const DOCKER: [&str; 7] = ["build", "images", "load", "login", "pull", "push", "tag"];

/// A command with a place.
struct Found {
    place: String,
    words: Vec<String>,
}

/// What is to be asked of programs that are slow to start, all at once.
#[derive(Default)]
struct Judge {
    findings: Vec<String>,
    aws: Vec<Found>,
    cdk: Vec<Found>,
}

/// The languages in which command lines are written.
pub(crate) fn is_shell(language: &str) -> bool {
    ["sh", "console", "bash", "shell"].contains(&language)
}

/// Everything wrong with the command lines of `pages`. `test` is who asks.
pub(crate) fn findings(pages: &[Page], test: &str) -> Vec<String> {
    let mut judge = Judge::default();
    for page in pages {
        let mut variables = HashMap::new();
        for block in page.blocks().into_iter().filter(|block| is_shell(&block.what.language)) {
            if block.what.language != "sh" {
                judge.findings.push(format!("{}: `{}` is spelled `sh`", page.place(block.line), block.what.language));
            }
            if let Some(said) = not_shell(&block.what.text) {
                judge.findings.push(format!("{}: not what a shell reads: {said}", page.place(block.line)));
            }
            match shell::read(&block.what.text, block.line) {
                Ok(commands) => {
                    for command in commands {
                        judge.look_at(&page.place(command.line), &command, &mut variables);
                    }
                }
                Err((line, mistake)) => judge.findings.push(format!("{}: {mistake}", page.place(line))),
            }
        }
    }
    judge.end(test)
}

/// What `sh` says of text that it cannot read.
fn not_shell(text: &str) -> Option<String> {
    let output = Command::new("sh").args(["-n", "-c", text]).output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

impl Judge {
    fn look_at(&mut self, place: &str, command: &Simple, variables: &mut HashMap<String, String>) {
        for (name, value) in &command.assignments {
            variables.insert(name.clone(), value.text.clone());
        }
        let words = expanded(&command.words, variables);
        let Some((program, arguments)) = words.split_first() else { return };
        let found = |words: &[String]| Found { place: place.to_owned(), words: words.to_vec() };
        let program = program.rsplit('/').next().unwrap();
        let mistake = match program {
            "aws" => return self.aws.push(found(arguments)),
            "cdk" => return self.cdk.push(found(arguments)),
            "infra" => clap_says(infra::cli::command(), &words),
            "bootstrap" => clap_says(bootstrap::cli::command(), &words),
            "certgen" => clap_says(certgen::cli::command(), &with_two_hyphens(&words)),
            "guard" => guard_says(arguments),
            "cargo" => cargo_says(arguments),
            "docker" | "docker-compose" => docker_says(program, arguments),
            other if OTHERS.contains(&other) || variables.contains_key(&format!("{other}()")) => None,
            other => Some(format!("`{other}` is not among the programs that documents use")),
        };
        self.findings.extend(mistake.map(|mistake| format!("{place}: {mistake}")));
    }

    fn end(mut self, test: &str) -> Vec<String> {
        let wrong = |found: &Found, program: &str, mistake: &str| {
            format!("{}: {program} {}: {mistake}", found.place, found.words.join(" "))
        };
        if !self.aws.is_empty()
            && let Some(python) = tool::find(Tool::MotoPython, test)
        {
            let calls: Vec<_> = self.aws.iter().map(|found| found.words.clone()).collect();
            let mistakes = aws_cli::judge(&python, &calls);
            self.findings.extend(mistakes.iter().map(|(index, mistake)| wrong(&self.aws[*index], "aws", mistake)));
        }
        if !self.cdk.is_empty()
            && let Some(cdk) = tool::find(Tool::Cdk, test)
        {
            let mut helps = HashMap::new();
            for found in &self.cdk {
                let mistakes = cdk_says(&cdk, &found.words, &mut helps);
                self.findings.extend(mistakes.iter().map(|mistake| wrong(found, "cdk", mistake)));
            }
        }
        self.findings
    }
}

/// Words after the expansion of variables that stand alone and were set in the same document: `$place`.
fn expanded(words: &[Word], variables: &HashMap<String, String>) -> Vec<String> {
    let known = |word: &Word| {
        let name = word.text.strip_prefix('$').filter(|_| !word.is_quoted)?;
        let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
        variables.get(name)
    };
    let parts = |word: &Word| match known(word) {
        Some(value) => value.split_whitespace().map(str::to_owned).collect(),
        None => vec![word.text.clone()],
    };
    words.iter().flat_map(parts).collect()
}

/// What one of our parsers says of a command line. A value that nobody knows yet cannot be wrong.
fn clap_says(command: clap::Command, words: &[String]) -> Option<String> {
    let error = command.try_get_matches_from(words).err()?;
    let is_variable =
        error.kind() == clap::error::ErrorKind::ValueValidation && words.iter().any(|word| word.contains('$'));
    if !error.use_stderr() || is_variable {
        return None;
    }
    let text = error.to_string();
    // What follows an empty line is advice and usage.
    let mistake: Vec<_> =
        text.trim_start_matches("error: ").lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    Some(mistake.join(" "))
}

/// What our parser says of a command line in running text, from which things may be left out; nothing if it is not one.
pub(crate) fn says_of_a_fragment(text: &str) -> Option<Result<(), String>> {
    use clap::error::ErrorKind::{InvalidSubcommand, UnknownArgument};
    // Brackets tell what may be left out.
    let commands = shell::read(&text.replace(['[', ']'], ""), 1).ok()?;
    let words: Vec<_> = commands.first()?.words.iter().map(|word| word.text.clone()).collect();
    let (program, arguments) = words.split_first()?;
    let (command, words) = match program.as_str() {
        // A program's name, or a key of a configuration.
        _ if arguments.first().is_none_or(|first| first == "=") => return None,
        "infra" => (infra::cli::command(), words),
        "bootstrap" => (bootstrap::cli::command(), words),
        "certgen" => (certgen::cli::command(), with_two_hyphens(&words)),
        _ => return None,
    };
    let error = command
        .try_get_matches_from(words)
        .err()
        .filter(|error| [InvalidSubcommand, UnknownArgument].contains(&error.kind()));
    Some(error.map_or(Ok(()), |error| Err(error.to_string().lines().next().unwrap_or_default().to_owned())))
}

/// What is wrong with calls of the AWS CLI in running text, from which things may be left out, by their places.
pub(crate) fn aws_fragments(fragments: &[(String, String)], test: &str) -> Vec<String> {
    let Some(python) = tool::find(Tool::MotoPython, test) else { return Vec::new() };
    let words = |text: &str| text.split_whitespace().skip(1).map(str::to_owned).collect();
    let calls: Vec<Vec<String>> = fragments.iter().map(|(_, text)| words(text)).collect();
    let mistakes = aws_cli::judge(&python, &calls).into_iter().filter(|(_, mistake)| !mistake.ends_with(" is missing"));
    mistakes.map(|(index, mistake)| format!("{}: `{}`: {mistake}", fragments[index].0, fragments[index].1)).collect()
}

/// The commands of es-gencert-cli take flags with one hyphen too.
fn with_two_hyphens(words: &[String]) -> Vec<String> {
    let is_of_gencert = words.get(1).is_some_and(|command| command.starts_with("create-"));
    let widened = |word: &String| match word.strip_prefix('-') {
        Some(name) if is_of_gencert && name.starts_with(|first: char| first.is_ascii_alphabetic()) => {
            format!("--{name}")
        }
        _ => word.clone(),
    };
    words.iter().map(widened).collect()
}

fn run(program: &Path, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .env_clear()
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

/// guard tells all mistakes of a command line, so with one of ours it does nothing and tells the others.
fn guard_says(arguments: &[String]) -> Option<String> {
    let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments.first() {
        Some(&("run" | "exec")) => arguments.insert(1, "--not-an-option=x"),
        Some(&("healthcheck" | "pause" | "install")) => arguments.push("--not-an-option"),
        _ => {}
    }
    if matches!(arguments[..], ["pause", _] | ["install", _, _]) {
        return None;
    }
    let said = run(&Programs::beside_this_test().guard(), &arguments);
    let said = String::from_utf8(said.stderr).unwrap();
    let mistakes: Vec<_> = said.lines().filter(|line| !line.contains("--not-an-option")).collect();
    (!mistakes.is_empty() && !said.starts_with("Parent of")).then(|| mistakes.join("; "))
}

fn cargo_says(arguments: &[String]) -> Option<String> {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        // It reads everything before it prints its help.
        ["xtask", ref task @ ..] => {
            let output = run(&Programs::beside_this_test().xtask(), &[task, &["--help"]].concat());
            let said = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned();
            (!output.status.success()).then_some(said)
        }
        ["build" | "install" | "publish" | "test" | "run" | "doc" | "clippy" | "fmt", ..] => None,
        _ => Some(format!("`cargo {}` is not among the commands that documents use", arguments.join(" "))),
    }
}

fn docker_says(program: &str, arguments: &[String]) -> Option<String> {
    let mut words = arguments.iter().map(String::as_str);
    let (known, mut command): (&[_], _) = match (program, words.next()) {
        ("docker-compose", first) => (&COMPOSE, first),
        (_, Some("compose")) => (&COMPOSE, words.next()),
        (_, Some("buildx")) => (&["bake", "build"], words.next()),
        (_, first) => (&DOCKER, first),
    };
    // Options before the command, and their files.
    let mut files = Vec::new();
    while let Some(option) = command.filter(|word| word.starts_with('-')) {
        let value = words.next();
        match option {
            "-f" | "--file" | "--env-file" => files.extend(value),
            "-p" | "--project-name" | "--project-directory" | "--profile" => {}
            _ => return Some(format!("`{option}` is not an option of `docker compose` that documents use")),
        }
        command = words.next();
    }
    let rest: Vec<_> = words.collect();
    let bake = rest.windows(2).filter(|pair| pair[0] == "--file" || pair[0] == "-f").map(|pair| pair[1]);
    files.extend(bake.filter(|_| command == Some("bake")));
    if !command.is_some_and(|command| known.contains(&command)) {
        let command = command.unwrap_or_default();
        return Some(format!(
            "`{command}` is not a command of docker that documents use; known are {}",
            known.join(", ")
        ));
    }
    let missing = files.into_iter().find(|file| !file.contains('$') && !root().join(file).is_file());
    missing.map(|file| format!("there is no file `{file}`"))
}

/// Every command of the CDK prints its options.
fn cdk_says(cdk: &Path, words: &[String], helps: &mut HashMap<String, String>) -> Vec<String> {
    let command = words.first().map(String::as_str).unwrap_or_default();
    let known = ["bootstrap", "deploy", "destroy", "diff", "list", "ls", "synth"];
    if !known.contains(&command) {
        return vec![format!("`{command}` is not a command that documents use; known are {}", known.join(", "))];
    }
    let help = helps.entry(command.to_owned()).or_insert_with(|| {
        let output =
            Command::new(cdk).args([command, "--help"]).env("CDK_DISABLE_VERSION_CHECK", "1").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    });
    let is_known = |option: &str| {
        let words = help.split(|character: char| character.is_whitespace() || [',', '='].contains(&character));
        words.into_iter().any(|word| word == option)
    };
    let options = words.iter().filter(|word| word.starts_with('-')).map(|word| word.split('=').next().unwrap());
    options.filter(|option| !is_known(option)).map(|option| format!("no option `{option}`")).collect()
}

#[test]
fn every_command_in_a_document_is_one() {
    let found = findings(&pages(), "every_command_in_a_document_is_one");
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// Line by line: what is wrong, or nothing.
#[test]
fn a_command_that_is_none_is_found() {
    let cases = [
        ("infra synth --config a.toml --out b", ""),
        ("infra synth --konfig a.toml", "--konfig"),
        ("infra restore-plan --recovery-point \"$POINT\"", ""),
        ("infra restore-plan --recovery-point nothing", "invalid value 'nothing'"),
        ("place=\"--secret es/ca --nodes 3\"", ""),
        ("certgen ca status $place --json", ""),
        ("certgen ca status $place --jsn", "--jsn"),
        ("certgen --dns-names a", "--out"),
        ("certgen inspect /certs --line 24.10", ""),
        ("certgen inspect /certs --line 24.9", "24.9"),
        ("certgen create-node -dns-names a,b --days=3 -force", ""),
        ("certgen create-node -dns a", "--dns"),
        ("/bootstrap status --json --status-file x", ""),
        ("bootstrap healthcheck", "--health-file"),
        ("guard run --data-dir /data -- server --insecure", ""),
        ("guard run --data /data -- server", "--data"),
        ("guard start", "start"),
        ("cargo xtask demo", ""),
        ("cargo xtask demo --no-such-option", "--no-such-option"),
        ("cargo xtask demos", "demos"),
        ("aws secretsmanager get-secret-value --secret-id x --query SecretString --output text", ""),
        ("aws secretsmanager get-secret-value", "--secret-id is missing"),
        ("aws secretsmanager get-secret-values --secret-id x", "no operation"),
        ("aws ecs update-service --service x --force-new-deployment --no-enable-execute-command", ""),
        ("aws ecs update-service --service x --force", "no option --force"),
        ("aws ecs wait services-stable --services x --cluster y", ""),
        ("aws ecs wait services-happy --services x", "no waiter"),
        ("aws ecs list-tasks --desired-status GONE", "no value `GONE`"),
        ("aws cloudformation deploy --template-file x --stack-name \"$NAME\"", ""),
        ("aws cloudformation deploy --template x --stack-name y", "no option --template"),
        ("aws nowhere look", "no service"),
        ("docker compose -f docker/compose.yaml up --wait", ""),
        ("docker compose -f docker/compose.yml up", "docker/compose.yml"),
        ("docker compose -f docker/compose.yaml upp", "upp"),
        ("cdk deploy --app cdk.out --all", ""),
        ("cdk deploy --apps cdk.out", "--apps"),
        ("cdk ship", "ship"),
        ("wget https://example.org", "wget"),
        ("echo \"$(infra schemas)\" | jq .", "schemas"),
        ("if then", "not what a shell reads"),
    ];
    let text = |cases: &[(&str, &str)]| {
        let blocks = cases.iter().map(|(line, _)| format!("```sh\n{line}\n```\n"));
        blocks.collect::<String>()
    };
    let page = Page { path: "x.md".to_owned(), text: text(&cases) };
    let asks = "a_command_that_is_none_is_found";
    let have = [(Tool::MotoPython, "aws "), (Tool::Cdk, "cdk ")]
        .map(|(tool, start)| (tool::find(tool, asks).is_some(), start));
    let found = findings(&[page], asks);
    for (index, (line, expected)) in cases.iter().enumerate() {
        if have.iter().any(|(is_there, start)| !is_there && line.starts_with(start)) {
            continue;
        }
        let place = format!("x.md:{}: ", index * 3 + 2);
        let said: Vec<_> = found.iter().filter(|finding| finding.starts_with(&place)).collect();
        match *expected {
            "" => assert!(said.is_empty(), "{line}: {said:?}"),
            words => assert!(said.iter().any(|finding| finding.contains(words)), "{line}: {said:?}\n{found:#?}"),
        }
    }
}
