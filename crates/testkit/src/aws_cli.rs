//! Whether command lines of the AWS CLI say what AWS's services know, by botocore's models. Nothing is run, and nobody is asked.
//!
//! The CLI makes its commands of the same models: an operation's name and its members in kebab case. What it has on top of them
//! (`aws s3 cp`, `aws cloudformation deploy`, …) is listed in `aws_cli.py`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

const JUDGE: &str = include_str!("aws_cli.py");

/// What is wrong with which of `calls`, by its index. A call is the words after `aws`; a word with a `$` has a value that nobody
/// knows yet.
///
/// # Panics
///
/// If Python cannot be run or has no botocore.
pub fn judge(python: &Path, calls: &[Vec<String>]) -> Vec<(usize, String)> {
    let mut child = Command::new(python)
        .args(["-c", JUDGE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    stdin.write_all(&serde_json::to_vec(calls).expect("words are JSON")).expect("Python reads");
    drop(stdin);
    let output = child.wait_with_output().expect("Python ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the judge answers JSON")
}
