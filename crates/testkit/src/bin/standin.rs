//! The database stand-in as a program: reads `EVENTSTORE_*` and `KURRENTDB_*` like the server it stands in for.

use std::env;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use testkit::database::{Line, NameSources, Settings, run};

/// Stand-in for an EventStoreDB or KurrentDB server in tests and in the demo. It is neither.
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
    /// Where the server's default places are (etc/…, var/lib/…).
    #[arg(long, env = "STANDIN_ROOT", default_value = "/")]
    root: PathBuf,
    /// DNS server for the names of other nodes, instead of the system's.
    #[arg(long, env = "STANDIN_DNS", value_name = "ADDR:PORT")]
    dns: Option<SocketAddr>,
    /// Addresses of names, which are not looked up then.
    #[arg(long, env = "STANDIN_HOSTS", value_name = "NAME=ADDR", value_delimiter = ',', value_parser = parse_host)]
    hosts: Vec<(String, IpAddr)>,
    /// The same as a file with an address and a name on each line, which is read at every look-up.
    #[arg(long, env = "STANDIN_HOSTS_FILE")]
    hosts_file: Option<PathBuf>,
    /// The first so many password resets are stored, not announced to the caches, and not answered.
    #[arg(long, env = "STANDIN_LOSE_RESET_REPLIES", default_value = "0")]
    lose_reset_replies: usize,

    /// The first so many reloads are answered with 200 and keep the old certificates, as if the new ones could not be used.
    #[arg(long, env = "STANDIN_FAIL_RELOADS", default_value = "0")]
    fail_reloads: usize,
    /// Lose the first poll of the password notices: for 20 s no password change is noticed, as on 22.10 after a start.
    #[arg(long, env = "STANDIN_LOSE_FIRST_POLL")]
    lose_first_poll: bool,
    /// How long a node that follows takes to catch up, in seconds, stretched as all times are.
    #[arg(long, env = "STANDIN_CATCH_UP", default_value = "0")]
    catch_up: u32,
    /// How many seconds a scavenge takes, stretched like all other times.
    #[arg(long, env = "STANDIN_SCAVENGE_SECONDS", default_value = "10")]
    scavenge_seconds: u64,
    /// End with code 0 so often on a new data directory before staying.
    #[arg(long, env = "STANDIN_FIRST_BOOT_EXITS", default_value = "0")]
    first_boot_exits: u32,
}

fn parse_host(text: &str) -> Result<(String, IpAddr), String> {
    let (name, address) = text.split_once('=').ok_or("a name, =, and an address are needed")?;
    Ok((name.to_owned(), address.parse().map_err(|_| format!("{address} is not an address"))?))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let settings = Settings {
        line: cli.line,
        time_scale: cli.time_scale,
        journal: cli.journal,
        tmp: cli.tmp,
        root: cli.root,
        names: NameSources { hosts: cli.hosts, hosts_file: cli.hosts_file, dns: cli.dns },
        lose_reset_replies: cli.lose_reset_replies,
        fail_reloads: cli.fail_reloads,
        lose_first_poll: cli.lose_first_poll,
        scavenge_seconds: cli.scavenge_seconds,
        first_boot_exits: cli.first_boot_exits,
        catch_up: Duration::from_secs(cli.catch_up.into()),
    };
    run(&settings, env::vars())
}
