//! What is printed for people who ask, and for those who typed nothing that can be done.

use clap::{Arg, ArgAction};

use super::flags::{Command, Takes};

/// For a command line without command, or with an unknown one.
pub(crate) fn usage() -> String {
    format!(
        "usage: certgen COMMAND [FLAGS]\n       certgen --out DIR [OPTIONS]\n\n{}\n`certgen --help` tells more.\n",
        commands()
    )
}

/// The commands, one a line.
pub(crate) fn commands() -> String {
    let lines = Command::ALL.map(|command| format!("  {:<13} {}\n", command.name(), command.synopsis()));
    format!("Commands, with the flags of es-gencert-cli (`certgen COMMAND --help` lists them):\n{}", lines.concat())
}

/// The flags of a command.
pub(crate) fn of(command: Command) -> String {
    let flags = command.flags().iter().map(|flag| {
        let value = match flag.takes {
            Takes::Text => " VALUE",
            Takes::Days => " DAYS",
            Takes::Nothing => "",
        };
        format!("  -{}{value}\n        {} [default: {}]\n", flag.name, flag.help, flag.default)
    });
    format!(
        "{}\n\nusage: certgen {} [FLAGS]\n\nFlags, with one hyphen or two:\n{}",
        command.synopsis(),
        command.name(),
        flags.collect::<String>()
    )
}

/// The same as clap would know it.
pub(super) fn command_line(command: Command) -> clap::Command {
    let flags = command.flags().iter().map(|flag| {
        let arg = Arg::new(flag.name).long(flag.name).help(format!("{} [default: {}]", flag.help, flag.default));
        match flag.takes {
            Takes::Text => arg.value_name("VALUE"),
            Takes::Days => arg.value_name("DAYS"),
            Takes::Nothing => arg.action(ArgAction::SetTrue),
        }
    });
    let synopsis = command.synopsis();
    let more = "Flags and files are those of es-gencert-cli; a flag may have one hyphen or two.\n\nExit codes: 0 made, or \
                told what would be made, 1 for everything that goes wrong.";
    clap::Command::new(command.name()).about(synopsis).long_about(format!("{synopsis}.\n\n{more}")).args(flags)
}
