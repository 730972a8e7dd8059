//! `infra validate`: every file with what is wrong with it and what should be known, and what deployments of one account both
//! take for their own.

use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::config::{Config, Mistake};
use crate::model::Deployment;
use crate::several::collisions;

/// What `infra validate` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// The configurations; several are looked at together as well.
    #[arg(value_name = "FILE", env = "INFRA_CONFIG", default_value = "./eventstore.toml")]
    configs: Vec<PathBuf>,
    /// Take a warning for a failure, exit code 1.
    #[arg(long, env = "INFRA_STRICT", value_parser = clap::builder::FalseyValueParser::new())]
    strict: bool,
    /// Print JSON: of each file `file`, and `mistakes` and `warnings`, each with `key` and `message`.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Report {
    files: Vec<File>,
    strict: bool,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    /// Why it could not be read.
    unread: Option<io::Error>,
    mistakes: Vec<Mistake>,
    /// What it takes for its own and another file too: the other file, and what it is.
    collisions: Vec<(usize, Mistake)>,
    warnings: Vec<Mistake>,
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    /// Warnings, and they were to be failures.
    Warned,
    /// A file could not be read, so not everything was looked at.
    Unread,
    Mistakes,
    /// Each file for itself is allowed.
    Collisions,
}

/// Looks at all of them.
pub(crate) fn validate(flags: &Flags) -> Report {
    let (mut files, deployments): (Vec<_>, Vec<_>) = flags.configs.iter().map(|path| look(path)).unzip();
    let (places, deployments): (Vec<_>, Vec<_>) =
        deployments.into_iter().enumerate().filter_map(|(place, deployment)| Some((place, deployment?))).unzip();
    for collision in collisions(&deployments) {
        let [one, other] = collision.between.map(|index| places[index]);
        // With the later one: the one before may stand there already.
        files[other].collisions.push((one, Mistake { key: collision.key.to_owned(), message: collision.message }));
    }
    Report { files, strict: flags.strict }
}

fn look(path: &Path) -> (File, Option<Deployment>) {
    let mut file = File {
        path: path.to_owned(),
        unread: None,
        mistakes: Vec::new(),
        collisions: Vec::new(),
        warnings: Vec::new(),
    };
    match fs::read_to_string(path).map(|text| Config::parse(&text)) {
        Err(error) => file.unread = Some(error),
        Ok(Err(errors)) => file.mistakes = errors.0,
        Ok(Ok(config)) => {
            let deployment = Deployment::new(config);
            file.warnings = deployment.warnings();
            return (file, Some(deployment));
        }
    }
    (file, None)
}

impl Report {
    pub(crate) fn verdict(&self) -> Verdict {
        let any = |is: fn(&File) -> bool| self.files.iter().any(is);
        if any(|file| file.unread.is_some()) {
            Verdict::Unread
        } else if any(|file| !file.mistakes.is_empty()) {
            Verdict::Mistakes
        } else if any(|file| !file.collisions.is_empty()) {
            Verdict::Collisions
        } else if self.strict && any(|file| !file.warnings.is_empty()) {
            Verdict::Warned
        } else {
            Verdict::Good
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let entry = |key: &str, message: String| json!({"key": key, "message": message});
        let files = self.files.iter().map(|file| {
            let unread = file.unread.iter().map(|error| entry("", format!("could not be read: {error}")));
            let own = file.mistakes.iter().map(|mistake| entry(&mistake.key, mistake.message.clone()));
            let collisions = file.collisions.iter().map(|(other, collision)| {
                let other = self.files[*other].path.display();
                entry(&collision.key, format!("together with {other}: {}", collision.message))
            });
            let warnings = file.warnings.iter().map(|warning| entry(&warning.key, warning.message.clone()));
            json!({
                "file": file.path.display().to_string(),
                "mistakes": unread.chain(own).chain(collisions).collect::<Vec<_>>(),
                "warnings": warnings.collect::<Vec<_>>(),
            })
        });
        files.collect()
    }
}

/// File by file, each with a summary behind what was found.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            let path = file.path.display();
            for warning in &file.warnings {
                writeln!(f, "warning: {path}: {warning}")?;
            }
            if let Some(error) = &file.unread {
                writeln!(f, "error: could not read `{path}`: {error}")?;
                continue;
            }
            for mistake in &file.mistakes {
                writeln!(f, "error: {path}: {mistake}")?;
            }
            for (other, collision) in &file.collisions {
                writeln!(f, "error: {} and {path}: {collision}", self.files[*other].path.display())?;
            }
            writeln!(f, "infra: {path}: {}", file.summary())?;
        }
        if let [_, _, ..] = self.files.as_slice()
            && matches!(self.verdict(), Verdict::Good | Verdict::Warned)
        {
            writeln!(f, "infra: {} deployments can stand beside each other", self.files.len())?;
        }
        Ok(())
    }
}

impl File {
    fn summary(&self) -> String {
        let count = |what: &str, number: usize| {
            let plural = if number == 1 { "" } else { "s" };
            (number > 0).then(|| format!("{number} {what}{plural}"))
        };
        let found = [
            count("mistake", self.mistakes.len()),
            count("collision", self.collisions.len()),
            count("warning", self.warnings.len()),
        ];
        let found: Vec<_> = found.into_iter().flatten().collect();
        let mut text =
            if self.mistakes.is_empty() { "a valid configuration" } else { "not a valid configuration" }.to_owned();
        if !found.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(text, "; {}", found.join(", "));
        }
        text
    }
}
