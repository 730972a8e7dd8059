//! certgen beside `openssl genrsa 2048`, which does nothing but the work that takes the time. The time of an RSA key
//! scatters by 60 %, so everything is run many times in turn.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::mean::Mean;
use super::process::{Cost, How, mean, measure, measure_all};
use crate::{Failure, build, size, table};

/// Options of `cargo xtask bench certgen`.
#[derive(Args)]
pub(crate) struct Options {
    /// How often each is run, in turn.
    #[arg(long, default_value = "100")]
    runs: usize,
    /// How often 200 nodes are made.
    #[arg(long, default_value = "3")]
    runs_of_200: usize,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Something to measure: programs that are run one after the other in an empty directory.
struct Row {
    what: &'static str,
    /// What design §9 wants, as a ratio or in milliseconds.
    goal: &'static str,
    how: How,
    /// Whether it is one of those that are run only a few times.
    is_large: bool,
    /// What is run before and not measured.
    before: Option<Vec<OsString>>,
    commands: Vec<Vec<OsString>>,
    costs: Vec<Cost>,
    peak_kib: u64,
}

/// Builds, measures, prints.
pub(crate) fn run(root: &Path, options: &Options) -> Result<(), Failure> {
    let files = tempfile::tempdir().map_err(Failure::io("create a directory"))?;
    let built = build::static_binary_with(root, "certgen", "certgen", "dist-abort", size::WITHOUT_FEATURES)?;
    let plain = files.path().join("certgen-without-features");
    fs::copy(built, &plain).map_err(Failure::io("keep a program"))?;
    let certgen = build::static_binary(root, "certgen", "certgen", "dist-abort")?;
    let three = write_config(files.path(), 3)?;
    let two_hundred = write_config(files.path(), 200)?;
    let mut rows = rows(&certgen, &plain, &three, &two_hundred);
    for turn in 0..options.runs.max(options.runs_of_200) {
        for row in &mut rows {
            let wanted = if row.is_large { options.runs_of_200 } else { options.runs };
            if turn < wanted {
                row.costs.push(row.run(row.how)?);
            }
        }
    }
    for row in &mut rows {
        row.peak_kib = row.run(How::Memory)?.peak_kib;
    }
    let (sizes, plain_sizes) = (size::of(&certgen)?, size::of(&plain)?);
    if options.json {
        print(&as_json(&rows, sizes, plain_sizes));
    } else {
        eprint!("{}", as_table(&rows));
        eprintln!("certgen: {} bytes, {} compressed", sizes.0, sizes.1);
        eprintln!("without features: {} bytes, {} compressed", plain_sizes.0, plain_sizes.1);
        eprintln!("mean ± standard error of the mean");
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the figures are this program's data")]
fn print(text: &str) {
    println!("{text}");
}

fn rows(certgen: &Path, plain: &Path, three: &Path, two_hundred: &Path) -> Vec<Row> {
    let words = |program: &Path, arguments: &str| {
        let arguments = arguments.split(' ').map(OsString::from);
        [program.as_os_str().to_owned()].into_iter().chain(arguments).collect::<Vec<_>>()
    };
    let row = |what, goal, commands: Vec<Vec<OsString>>| Row {
        what,
        goal,
        how: How::Time,
        is_large: false,
        before: None,
        commands,
        costs: Vec::new(),
        peak_kib: 0,
    };
    let with_file = |file: &Path| {
        let mut words = words(certgen, "create-certs -config-file");
        words.push(file.into());
        words
    };
    let out = || vec![words(certgen, "--out .")];
    let as_in_a_task = || words(certgen, "--out . --ca-state . --dns-names node-1.db.internal,db.internal");
    let two_commands = |program: &Path| {
        vec![words(program, "create-ca"), words(program, "create-node -dns-names localhost -out node1")]
    };
    let mut rows = vec![
        row("openssl genrsa 2048", "", vec![words(Path::new("openssl"), "genrsa -out key 2048")]),
        row("certgen --out: P-256 CA, RSA node", "<= 0.35", out()),
        Row { how: How::TimeOnOneCore, ..row("the same on one core", "<= 0.5", out()) },
        row("certgen --out as in a task, first run", "<= 0.35", vec![as_in_a_task()]),
        Row {
            before: Some(as_in_a_task()),
            ..row("the same, run again: nothing is due", "< 5 ms", vec![as_in_a_task()])
        },
        row("certgen --out, built without features", "", vec![words(plain, "--out .")]),
        row("create-ca, create-node: two RSA keys", "", two_commands(certgen)),
        row("create-certs: CA and 3 nodes", "", vec![with_file(three)]),
        Row { is_large: true, ..row("create-certs: CA and 200 nodes", "<= 26", vec![with_file(two_hundred)]) },
        row("certgen --version", "< 5 ms", vec![words(certgen, "--version")]),
        row("the same, built without features", "< 5 ms", vec![words(plain, "--version")]),
    ];
    let peer = Path::new("es-gencert-cli");
    if std::process::Command::new(peer).arg("--version").output().is_ok() {
        rows.push(row("es-gencert-cli create-ca, create-node", "", two_commands(peer)));
    }
    rows
}

/// A file for `create-certs` with so many nodes.
fn write_config(directory: &Path, nodes: usize) -> Result<PathBuf, Failure> {
    let mut text = "certificates:\n  ca-certs:\n    - out: ca\n  node-certs:\n".to_owned();
    for node in 1..=nodes {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    - {{ out: node{node}, dns-names: node{node}.test }}");
    }
    let path = directory.join(format!("{nodes}.yml"));
    fs::write(&path, text).map_err(Failure::io("write a configuration"))?;
    Ok(path)
}

impl Row {
    fn run(&self, how: How) -> Result<Cost, Failure> {
        let directory = tempfile::tempdir().map_err(Failure::io("create a directory"))?;
        if let Some(before) = &self.before {
            measure(directory.path(), How::Time, before)?;
        }
        measure_all(directory.path(), how, &self.commands)
    }

    fn mean(&self) -> Mean {
        mean(&self.costs)
    }
}

fn as_table(rows: &[Row]) -> String {
    let title = ["", "ms", "ratio", "goal", "peak KiB", "runs"].map(str::to_owned).to_vec();
    let unit = rows[0].mean();
    let line = |row: &Row| {
        let (mean, ratio) = (row.mean(), row.mean().over(unit));
        vec![
            row.what.to_owned(),
            format!("{:.1} ± {:.1}", mean.value, mean.error),
            format!("{:.3} ± {:.3}", ratio.value, ratio.error),
            row.goal.to_owned(),
            row.peak_kib.to_string(),
            row.costs.len().to_string(),
        ]
    };
    table(&[title].into_iter().chain(rows.iter().map(line)).collect::<Vec<_>>())
}

fn as_json(rows: &[Row], (bytes, compressed): (usize, usize), plain: (usize, usize)) -> String {
    let unit = rows[0].mean();
    let measured = rows.iter().map(|row| {
        let (mean, ratio) = (row.mean(), row.mean().over(unit));
        json!({
            "what": row.what, "runs": row.costs.len(), "goal": row.goal, "peak_kib": row.peak_kib,
            "milliseconds": mean.value, "milliseconds_error": mean.error,
            "ratio": ratio.value, "ratio_error": ratio.error,
        })
    });
    let measured: Vec<_> = measured.collect();
    let without = json!({"bytes": plain.0, "bytes_compressed": plain.1});
    json!({
        "unit": rows[0].what, "rows": measured, "bytes": bytes, "bytes_compressed": compressed,
        "without_features": without,
    })
    .to_string()
}
