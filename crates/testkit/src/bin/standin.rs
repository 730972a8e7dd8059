//! The database stand-in as a program: reads `EVENTSTORE_*` like the server it stands in for.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use testkit::database::{Settings, run};

/// Stand-in for an EventStoreDB server in tests and in the demo. It is not EventStoreDB.
#[derive(Parser)]
struct Cli {
    /// Server line to behave like.
    #[arg(long, env = "STANDIN_LINE", default_value = "24.10")]
    line: Line,
    /// Stretches every time that the server has of its own: 1 is real, 0.1 ten times as fast.
    #[arg(long, env = "STANDIN_TIME_SCALE", default_value = "1")]
    time_scale: f64,
    /// File to which every request is noted, one JSON object a line.
    #[arg(long, env = "STANDIN_JOURNAL")]
    journal: Option<PathBuf>,
    /// The server's /tmp, where several stand-ins share a file system.
    #[arg(long, env = "STANDIN_TMP", default_value = "/tmp")]
    tmp: PathBuf,
    /// The first so many password resets are stored, not announced to the cache, and not answered.
    #[arg(long, env = "STANDIN_LOSE_RESET_REPLIES", default_value = "0")]
    lose_reset_replies: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Line {
    #[value(name = "24.10")]
    V24_10,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let Line::V24_10 = cli.line;
    let settings = Settings {
        time_scale: cli.time_scale,
        journal: cli.journal,
        tmp: cli.tmp,
        lose_reset_replies: cli.lose_reset_replies,
    };
    run(&settings, env::vars())
}
