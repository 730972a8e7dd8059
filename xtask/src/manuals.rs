//! Manuals and completions of certgen, bootstrap and infra, from their own command lines. They are made here and not by the
//! programs: images hold nothing that only a workstation needs.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::{Generator, Shell, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::{Failure, build};

/// Options of `cargo xtask manuals`.
#[derive(Args)]
pub(crate) struct Options {
    /// The directory to write; not given, target/manuals.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// A program with a manual: its command line, and what else its pages say.
struct Program {
    name: &'static str,
    command: fn() -> Command,
    /// Variables that are no option's.
    environment: &'static [(&'static str, &'static str)],
    see_also: &'static str,
}

const OF_AWS: (&str, &str) = (
    "AWS_REGION, AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, AWS_ACCESS_KEY_ID and the others of the AWS SDKs",
    "Where AWS is asked, and with whose credentials; ECS sets them in a task.",
);

static PROGRAMS: [Program; 3] = [
    Program {
        name: "certgen",
        command: certgen::cli::command,
        environment: &[OF_AWS],
        see_also: "bootstrap(1), infra(1), docs/certificate-authority.md and docs/es-gencert-cli.md of the release",
    },
    Program {
        name: "bootstrap",
        command: bootstrap::cli::command,
        environment: &[
            OF_AWS,
            ("CERTGEN_*", "Of the init container: `bootstrap run` renews what that published; certgen(1) has them."),
        ],
        see_also: "certgen(1), infra(1), docs/status.md of the release",
    },
    Program {
        name: "infra",
        command: infra::cli::command,
        environment: &[],
        see_also: "certgen(1), bootstrap(1), README.md of the release",
    },
];

/// Writes all of them.
pub(crate) fn run(root: &Path, options: &Options) -> Result<(), Failure> {
    let out = options.out.clone().unwrap_or_else(|| build::target(root).join("manuals"));
    let files = files(root)?;
    for (name, text) in &files {
        let path = out.join(name);
        let directory = path.parent().unwrap_or(&out);
        fs::create_dir_all(directory).map_err(Failure::io(&format!("create {}", directory.display())))?;
        fs::write(&path, text).map_err(Failure::io(&format!("write {}", path.display())))?;
    }
    eprintln!("{0} files are in {1}; for example: man -l {1}/man/man1/certgen.1", files.len(), out.display());
    Ok(())
}

/// Their paths and texts.
pub(crate) fn files(root: &Path) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut files = Vec::new();
    for program in &PROGRAMS {
        let source = root.join("crates").join(program.name).join("src/lib.rs");
        let source = fs::read_to_string(&source).map_err(Failure::io(&format!("read {}", source.display())))?;
        let codes = exit_codes(&source);
        if codes.is_empty() {
            return Err(Failure::new(format!("crates/{}/src/lib.rs has no table of exit codes", program.name)));
        }
        let mut command = (program.command)().disable_help_subcommand(true);
        command.build();
        pages(program, &codes, &command, None, &mut files);
        for (shell, name) in [
            (Shell::Bash, format!("bash/{}", program.name)),
            (Shell::Zsh, Shell::Zsh.file_name(program.name).replacen('_', "zsh/_", 1)),
            (Shell::Fish, format!("fish/{}.fish", program.name)),
        ] {
            let mut script = Vec::new();
            generate(shell, &mut (program.command)(), program.name, &mut script);
            files.push((format!("completions/{name}"), script));
        }
    }
    files.sort();
    Ok(files)
}

/// Code and meaning, from the table in the documentation of a crate.
fn exit_codes(source: &str) -> Vec<(String, String)> {
    let documentation = source.lines().filter_map(|line| line.strip_prefix("//!"));
    let after = documentation.skip_while(|line| !line.trim().starts_with("# Exit codes"));
    let is_row = |line: &&str| line.starts_with(" |");
    let rows = after.skip_while(|line| !is_row(line)).take_while(is_row);
    let cells = rows.skip(2).filter_map(|row| {
        let (code, meaning) = row.trim().trim_matches('|').split_once(" | ")?;
        Some((code.trim().to_owned(), meaning.trim().to_owned()))
    });
    cells.collect()
}

/// The page of a command and those of all below it. `codes_said` is what a command above says of its exit codes.
fn pages(
    program: &Program,
    codes: &[(String, String)],
    command: &Command,
    codes_said: Option<&str>,
    files: &mut Vec<(String, Vec<u8>)>,
) {
    let (description, said) = description(command);
    let said = said.as_deref().or(codes_said);
    let page = page(program, codes, command, &description, said);
    let name = command.get_display_name().unwrap_or(program.name);
    files.push((format!("man/man1/{name}.1"), page.into_bytes()));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        pages(program, codes, below, said, files);
    }
}

const CODES: &str = "Exit codes: ";

/// What a command says of itself, and apart from it what it says of its exit codes.
fn description(command: &Command) -> (String, Option<String>) {
    let text = command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string).unwrap_or_default();
    let (codes, others): (Vec<_>, Vec<_>) = text.split("\n\n").partition(|paragraph| paragraph.contains(CODES));
    let mut others: Vec<_> = others.into_iter().map(str::to_owned).collect();
    let mut said = None;
    for paragraph in codes {
        let (before, of_codes) = paragraph.split_once(CODES).unwrap_or((paragraph, ""));
        if !before.is_empty() {
            others.push(before.trim().to_owned());
        }
        said = Some(of_codes.trim().to_owned());
    }
    (others.join("\n\n"), said)
}

fn page(
    program: &Program,
    codes: &[(String, String)],
    command: &Command,
    description: &str,
    said: Option<&str>,
) -> String {
    let version = command.get_version().unwrap_or(infra::VERSION);
    let manual = Man::new(command.clone().long_about(description.to_owned()))
        .source(format!("eventstore-fargate {version}"))
        .manual("eventstore-fargate");
    let mut page = Vec::new();
    let written =
        [Man::render_title, Man::render_name_section, Man::render_synopsis_section, Man::render_description_section]
            .into_iter()
            .chain(command.get_arguments().next().map(|_| Man::render_options_section as _))
            .chain(command.get_subcommands().next().map(|_| Man::render_subcommands_section as _))
            .try_for_each(|render: fn(&Man, &mut dyn std::io::Write) -> _| render(&manual, &mut page));
    written.expect("memory takes what is written to it");
    let mut ours = Roff::new();
    environment(&mut ours, program, command);
    ours.control("SH", ["EXIT STATUS"]);
    match said {
        Some(said) => {
            ours.text([roman(said)]);
        }
        None => {
            for (code, meaning) in codes {
                item(&mut ours, code, meaning);
            }
        }
    }
    ours.control("SH", ["SEE ALSO"]);
    let above = if command.get_name() == program.name { String::new() } else { format!("{}(1), ", program.name) };
    ours.text([roman(format!("{above}{}", program.see_also))]);
    let text = String::from_utf8_lossy(&page).into_owned();
    // Each part begins with the same definitions.
    let definitions = Roff::new().render();
    ascii(&format!("{definitions}{}{}", text.replace(&definitions, ""), ours.to_roff()))
}

/// Without characters that an old troff would take for several.
fn ascii(text: &str) -> String {
    let escaped = |character: char| match character {
        other if other.is_ascii() => other.to_string(),
        other => format!("\\[u{:04X}]", u32::from(other)),
    };
    text.chars().map(escaped).collect()
}

/// Variables of the options, and the program's others.
fn environment(page: &mut Roff, program: &Program, command: &Command) {
    let of_options = command.get_arguments().filter_map(|argument| {
        let variable = argument.get_env()?.to_str()?;
        // What stands without an option is called by its place.
        let shown = match (argument.get_long(), argument.get_value_names()) {
            (Some(long), _) => format!("--{long}"),
            (None, Some([name, ..])) => name.to_string(),
            (None, _) => argument.get_id().as_str().to_uppercase(),
        };
        Some((variable.to_owned(), format!("{shown}; the command line wins.")))
    });
    let variables: Vec<_> = of_options.collect();
    if variables.is_empty() && (program.environment.is_empty() || command.get_arguments().next().is_none()) {
        return;
    }
    page.control("SH", ["ENVIRONMENT"]);
    for (variable, meaning) in &variables {
        item(page, variable, meaning);
    }
    let asks_aws = command.get_arguments().any(|argument| argument.get_long() == Some("allow-http-endpoint"));
    for (variable, meaning) in program.environment.iter().filter(|_| asks_aws) {
        item(page, variable, meaning);
    }
}

fn item(page: &mut Roff, term: &str, meaning: &str) {
    page.control("TP", []);
    page.text([bold(term)]);
    page.text(inlines(meaning));
}

/// Text between backticks is set apart.
fn inlines(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    parts.map(|(index, part)| if index % 2 == 0 { roman(part) } else { italic(part) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_come_from_the_documentation() {
        let source = "//! A.\n//!\n//! # Exit codes of it\n//!\n//! Words.\n//!\n//! | code | meaning |\n//! |---|---|\n//! | 0 | `run`: well |\n\
                      //! | 126, 127 | not |\n//!\n//! | other | table |\nuse a;\n";
        let codes = exit_codes(source);
        let codes: Vec<_> = codes.iter().map(|(code, meaning)| (code.as_str(), meaning.as_str())).collect();
        assert_eq!(codes, [("0", "`run`: well"), ("126, 127", "not")]);
        assert_eq!(exit_codes("//! Nothing."), []);
    }

    #[test]
    fn what_is_said_of_exit_codes_stands_apart() {
        let command = Command::new("a").long_about("One.\n\nTwo. Exit codes: 0 well, 1 not.\n\nThree.");
        assert_eq!(description(&command), ("One.\n\nThree.\n\nTwo.".to_owned(), Some("0 well, 1 not.".to_owned())));
    }
}
