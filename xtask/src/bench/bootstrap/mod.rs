//! bootstrap beside a straightforward script that does the same with boto3 and requests: calls and time from a ready
//! server to a registered node, memory at rest, and what faults leave behind.

mod faults;
mod scene;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use testkit::programs::Programs;

use self::scene::{Running, Scene, Subject, Subjects, Way, memory};
use super::mean::Mean;
use crate::{Failure, build, provision, table};

/// Options of `cargo xtask bench bootstrap`.
#[derive(Args)]
pub(crate) struct Options {
    /// How often each is run, in turn.
    #[arg(long, default_value = "5")]
    runs: usize,
    /// Break a rotation at each of its calls instead, and count who is locked out.
    #[arg(long)]
    faults: bool,
    /// Measure this binary instead of building the static one of a release.
    #[arg(long, value_name = "FILE")]
    bootstrap: Option<PathBuf>,
    /// Run the script with this Python, which has boto3 and requests, instead of providing one.
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// A program at rest has done nothing for this long.
const REST: Duration = Duration::from_secs(2);

/// What is measured in turn: the program, how many nodes, and how the server's times are stretched.
struct Row {
    subject: Subject,
    nodes: usize,
    scale: f64,
    costs: Vec<Cost>,
}

/// What one run took.
struct Cost {
    milliseconds: f64,
    /// From the ready server on.
    aws_calls: usize,
    database_calls: usize,
    resident_kib: u64,
    anonymous_kib: u64,
}

/// Builds, measures, prints.
pub(crate) fn run(root: &Path, options: &Options) -> Result<(), Failure> {
    let directory = build::programs(root)?;
    let subjects = Subjects {
        programs: Programs::in_directory(directory),
        bootstrap: match &options.bootstrap {
            Some(binary) => binary.clone(),
            None => build::static_binary(root, "bootstrap", "bootstrap", "dist")?,
        },
        python: match &options.python {
            Some(python) => python.clone(),
            None => provision::python_with_boto3(root)?,
        },
        script: root.join("xtask/src/bench/bootstrap/baseline.py"),
    };
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::io("start the runtime"))?;
    if options.faults {
        let outcomes = runtime.block_on(faults::run(&subjects))?;
        if options.json {
            print(&faults::as_json(&outcomes).to_string());
        } else {
            eprint!("{}", faults::as_table(&outcomes));
        }
        return Ok(());
    }
    let mut rows = Vec::new();
    for (nodes, scale) in [(1, 1.0), (1, 0.1), (3, 1.0), (3, 0.1)] {
        for subject in [Subject::Bootstrap, Subject::Script] {
            rows.push(Row { subject, nodes, scale, costs: Vec::new() });
        }
    }
    for _ in 0..options.runs {
        for row in &mut rows {
            row.costs.push(runtime.block_on(measure(&subjects, row.subject, row.nodes, row.scale))?);
        }
    }
    if options.json {
        print(&as_json(&rows).to_string());
    } else {
        eprint!("{}", as_table(&rows));
        eprintln!(
            "ms: from ready servers to all nodes registered, mean ± standard error; calls: in that time; KiB: at rest"
        );
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the figures are this program's data")]
fn print(text: &str) {
    println!("{text}");
}

/// Servers and programs start together, as containers of a task do.
async fn measure(subjects: &Subjects, subject: Subject, nodes: usize, scale: f64) -> Result<Cost, Failure> {
    let mut scene = Scene::start(subjects, nodes, scale, &[]).await?;
    let mut programs = Vec::new();
    for node in 0..nodes {
        let (aws, server) = (scene.aws.endpoint(), scene.cluster.address(node).to_string());
        programs.push(scene.launch(subject, "run", &Way { node, aws: &aws, server: &server })?);
    }
    scene.cluster.wait_until_formed().await;
    let (ready, aws_before, database_before) = (Instant::now(), scene.aws.calls().len(), scene.requests());
    scene.wait_until_registered(&mut programs).await?;
    let milliseconds = ready.elapsed().as_secs_f64() * 1000.0;
    let (aws_calls, database_calls) = (scene.aws.calls().len() - aws_before, scene.requests() - database_before);
    tokio::time::sleep(REST).await;
    let (resident_kib, anonymous_kib) = largest_memory(&programs)?;
    Ok(Cost { milliseconds, aws_calls, database_calls, resident_kib, anonymous_kib })
}

fn largest_memory(programs: &[Running]) -> Result<(u64, u64), Failure> {
    let mut largest = (0, 0);
    for program in programs {
        largest = largest.max(memory(program.0.id())?);
    }
    Ok(largest)
}

impl Row {
    fn mean(&self, of: impl Fn(&Cost) -> f64) -> Mean {
        Mean::of(&self.costs.iter().map(of).collect::<Vec<_>>())
    }

    fn milliseconds(&self) -> Mean {
        self.mean(|cost| cost.milliseconds)
    }

    fn name(&self) -> &'static str {
        match self.subject {
            Subject::Bootstrap => "bootstrap",
            Subject::Script => "boto3 script",
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody makes 2^52 calls")]
fn means(row: &Row) -> [f64; 4] {
    [
        row.mean(|cost| cost.aws_calls as f64).value,
        row.mean(|cost| cost.database_calls as f64).value,
        row.mean(|cost| cost.resident_kib as f64).value,
        row.mean(|cost| cost.anonymous_kib as f64).value,
    ]
}

/// Each of bootstrap's rows is followed by the script's, which is its unit.
fn as_table(rows: &[Row]) -> String {
    let title = ["", "nodes", "server's times", "ms", "ratio", "AWS calls", "database calls", "resident", "anonymous"];
    let mut lines = vec![title.map(str::to_owned).to_vec()];
    for pair in rows.chunks(2) {
        for row in pair {
            let ratio = row.milliseconds().over(pair[pair.len() - 1].milliseconds());
            let [aws, database, resident, anonymous] = means(row);
            lines.push(vec![
                row.name().to_owned(),
                row.nodes.to_string(),
                format!("× {}", row.scale),
                format!("{:.0} ± {:.0}", row.milliseconds().value, row.milliseconds().error),
                format!("{:.2} ± {:.2}", ratio.value, ratio.error),
                format!("{aws:.0}"),
                format!("{database:.0}"),
                format!("{resident:.0} KiB"),
                format!("{anonymous:.0} KiB"),
            ]);
        }
    }
    table(&lines)
}

fn as_json(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        let ([aws, database, resident, anonymous], milliseconds) = (means(row), row.milliseconds());
        json!({
            "what": row.name(), "nodes": row.nodes, "time_scale": row.scale, "runs": row.costs.len(),
            "milliseconds": milliseconds.value, "milliseconds_error": milliseconds.error,
            "aws_calls": aws, "database_calls": database, "resident_kib": resident, "anonymous_kib": anonymous,
        })
    };
    json!({"rows": rows.iter().map(row).collect::<Vec<_>>()})
}
