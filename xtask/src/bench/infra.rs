//! `infra synth` beside an equivalent app of the AWS CDK, where npm is: the article, fifty of them, and the largest
//! deployment that there is.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use infra::{Assembly, Config, Deployment};
use serde_json::{Value, json};

use super::mean::Mean;
use super::process::{Cost, How, mean, measure, measure_all};
use crate::{Failure, build, provision, table};

/// Options of `cargo xtask bench infra`.
#[derive(Args)]
pub(crate) struct Options {
    /// How often each is run, in turn.
    #[arg(long, default_value = "10")]
    runs: usize,
    /// Do not measure the CDK, which npm would have to fetch.
    #[arg(long)]
    without_cdk: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// So many articles have about the resources of the largest set-up that was measured with the CDK.
const COPIES: usize = 50;
const APP: &str = include_str!("infra.js");
const ARTICLE: &str = include_str!("../../../crates/infra/examples/article.toml");

/// Something to measure: programs that are run one after the other in an empty directory.
struct Row {
    what: String,
    resources: usize,
    /// What design §9 wants, in milliseconds and MiB.
    goal: &'static str,
    commands: Vec<Vec<OsString>>,
    costs: Vec<Cost>,
    peak_kib: u64,
}

/// Builds, measures, prints.
pub(crate) fn run(root: &Path, options: &Options) -> Result<(), Failure> {
    let infra = build::static_binary(root, "infra", "infra", "dist")?;
    let files = tempfile::tempdir().map_err(Failure::io("create a directory"))?;
    let mut rows = ours(&infra, files.path())?;
    if options.without_cdk {
        eprintln!("the CDK is not measured");
    } else {
        match provision::cdk_library(root) {
            Ok(library) => rows.extend(cdk(&library, files.path())?),
            Err(failure) => eprintln!("the CDK is not measured: {}", failure.message),
        }
    }
    for _ in 0..options.runs.max(1) {
        for row in &mut rows {
            row.costs.push(row.run(How::Time)?);
        }
    }
    for row in &mut rows {
        row.peak_kib = row.run(How::Memory)?.peak_kib;
    }
    if options.json {
        print(&as_json(&rows));
    } else {
        eprint!("{}", as_table(&rows));
        eprintln!("mean ± standard error of the mean; ratios to the first row");
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the figures are this program's data")]
fn print(text: &str) {
    println!("{text}");
}

/// As an article of another name.
fn article(number: usize) -> String {
    ARTICLE.replace("name = \"article\"", &format!("name = \"article-{number}\""))
}

/// Seven nodes, forty users and everything that is made once for each.
fn largest() -> String {
    let mut text =
        "name = \"largest\"\n[cluster]\nnodes = 7\n[server]\nlog_volume = true\n[network]\negress = \"nat-per-zone\"\n\
                    [backup]\nenabled = true\n[credentials]\nkms_key = \"own\"\n"
            .to_owned();
    for user in 1..=40 {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "[[users]]\nlogin = \"user-{user}\"");
    }
    text
}

/// How many resources a configuration makes.
fn resources(text: &str) -> Result<usize, Failure> {
    let config = Config::parse(text).map_err(|errors| Failure::new(errors.to_string()))?;
    let assembly = Assembly::new(&Deployment::new(config)).map_err(|error| Failure::new(error.to_string()))?;
    let templates = assembly.files().filter_map(|(_, text)| serde_json::from_str::<Value>(text).ok());
    Ok(templates.filter_map(|template| Some(template["Resources"].as_object()?.len())).sum())
}

fn ours(infra: &Path, files: &Path) -> Result<Vec<Row>, Failure> {
    let write = |name: &str, text: &str| -> Result<PathBuf, Failure> {
        let path = files.join(name);
        fs::write(&path, text).map_err(Failure::io("write a configuration"))?;
        Ok(path)
    };
    let synth = |config: &Path, out: &str| -> Vec<OsString> {
        vec![infra.into(), "synth".into(), "--config".into(), config.into(), "--out".into(), out.into()]
    };
    let largest = largest();
    let mut many = Vec::new();
    for number in 0..COPIES {
        many.push(synth(&write(&format!("{number}.toml"), &article(number))?, &format!("{number}.out")));
    }
    let one = vec![many[0].clone()];
    let largest_config = write("largest.toml", &largest)?;
    let of_one = resources(&article(0))?;
    Ok(vec![
        row("infra synth, the article", of_one, "< 20 ms, < 20 MiB", one),
        row("infra synth, 7 nodes and 40 users", resources(&largest)?, "", vec![synth(&largest_config, "cdk.out")]),
        row(&format!("infra synth, {COPIES} articles, one process each"), of_one * COPIES, "< 200 ms", many),
    ])
}

fn cdk(library: &Path, files: &Path) -> Result<Vec<Row>, Failure> {
    let app = files.join("app.js");
    fs::write(&app, APP).map_err(Failure::io("write the app"))?;
    let command = |validation: bool, copies: usize| -> Vec<Vec<OsString>> {
        let mut modules = OsString::from("NODE_PATH=");
        modules.push(library.join("node_modules"));
        let settings =
            [format!("CDK_VALIDATION={validation}"), format!("COPIES={copies}"), "CDK_OUTDIR=cdk.out".to_owned()];
        let words = [OsString::from("env"), modules].into_iter().chain(settings.map(OsString::from));
        vec![words.chain(["node".into(), app.clone().into()]).collect()]
    };
    // One run that is not measured says how many resources there are.
    let directory = tempfile::tempdir().map_err(Failure::io("create a directory"))?;
    measure(directory.path(), How::Time, &command(false, 1)[0])?;
    let mut resources = 0;
    for entry in fs::read_dir(directory.path().join("cdk.out")).map_err(Failure::io("read what the CDK wrote"))? {
        let path = entry.map_err(Failure::io("read what the CDK wrote"))?.path();
        let text = fs::read_to_string(path).unwrap_or_default();
        let template = serde_json::from_str::<Value>(&text).unwrap_or_default();
        resources += template["Resources"].as_object().map_or(0, serde_json::Map::len);
    }
    Ok(vec![
        row("CDK, the article, without validation", resources, "", command(false, 1)),
        row("CDK, the article, as users run it", resources, "", command(true, 1)),
        row(&format!("CDK, {COPIES} articles, without validation"), resources * COPIES, "", command(false, COPIES)),
    ])
}

fn row(what: &str, resources: usize, goal: &'static str, commands: Vec<Vec<OsString>>) -> Row {
    Row { what: what.to_owned(), resources, goal, commands, costs: Vec::new(), peak_kib: 0 }
}

impl Row {
    fn run(&self, how: How) -> Result<Cost, Failure> {
        let directory = tempfile::tempdir().map_err(Failure::io("create a directory"))?;
        measure_all(directory.path(), how, &self.commands)
    }

    fn mean(&self) -> Mean {
        mean(&self.costs)
    }
}

fn as_table(rows: &[Row]) -> String {
    let title = ["", "resources", "ms", "ratio", "peak KiB", "goal", "runs"].map(str::to_owned).to_vec();
    let unit = rows[0].mean();
    let line = |row: &Row| {
        let (mean, ratio) = (row.mean(), row.mean().over(unit));
        vec![
            row.what.clone(),
            row.resources.to_string(),
            format!("{:.1} ± {:.1}", mean.value, mean.error),
            format!("{:.1} ± {:.1}", ratio.value, ratio.error),
            row.peak_kib.to_string(),
            row.goal.to_owned(),
            row.costs.len().to_string(),
        ]
    };
    table(&[title].into_iter().chain(rows.iter().map(line)).collect::<Vec<_>>())
}

fn as_json(rows: &[Row]) -> String {
    let unit = rows[0].mean();
    let measured = rows.iter().map(|row| {
        let (mean, ratio) = (row.mean(), row.mean().over(unit));
        json!({
            "what": row.what, "resources": row.resources, "runs": row.costs.len(), "goal": row.goal,
            "peak_kib": row.peak_kib, "milliseconds": mean.value, "milliseconds_error": mean.error,
            "ratio": ratio.value, "ratio_error": ratio.error,
        })
    });
    json!({"unit": rows[0].what, "rows": measured.collect::<Vec<_>>()}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_can_be_made() {
        assert!(resources(&article(49)).unwrap() > 40);
        assert!(resources(&largest()).unwrap() > 150);
    }
}
