//! Finds the system tools that some tests need, and notes which tests could not run without them.
//!
//! `cargo xtask test` provisions what it can, tells the tests where it is through `TESTKIT_<TOOL>`, and prints every
//! test that is named in `TESTKIT_NOT_RUN`. With `TESTKIT_REQUIRE_ALL=1`, as in CI, a missing tool fails the test.

use std::env;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

/// A program that is not part of a Rust tool chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Python of the virtual environment that holds the pinned moto.
    MotoPython,
    /// `cfn-lint` of the same virtual environment.
    CfnLint,
    /// `checkov` of a virtual environment of its own: it pins what others do not.
    Checkov,
    /// The AWS CDK command line.
    Cdk,
    /// The `openssl` command line.
    OpenSsl,
    /// `certtool` of GnuTLS.
    Certtool,
    /// The `go` command, for programs of its standard library alone.
    Go,
    /// `unshare` of util-linux.
    Unshare,
    /// `setpriv` of util-linux.
    SetPriv,
    /// The `docker` command; [`find_engine`] looks whether an engine answers it.
    Docker,
    /// Docker compose, the program of its own or the plugin.
    DockerCompose,
}

impl Tool {
    /// The variable in which `cargo xtask test` hands over the tool's path.
    pub fn variable(self) -> &'static str {
        match self {
            Tool::MotoPython => "TESTKIT_MOTO_PYTHON",
            Tool::CfnLint => "TESTKIT_CFN_LINT",
            Tool::Checkov => "TESTKIT_CHECKOV",
            Tool::Cdk => "TESTKIT_CDK",
            Tool::OpenSsl => "TESTKIT_OPENSSL",
            Tool::Certtool => "TESTKIT_CERTTOOL",
            Tool::Go => "TESTKIT_GO",
            Tool::Unshare => "TESTKIT_UNSHARE",
            Tool::SetPriv => "TESTKIT_SETPRIV",
            Tool::Docker => "TESTKIT_DOCKER",
            Tool::DockerCompose => "TESTKIT_DOCKER_COMPOSE",
        }
    }

    /// The name under which the tool is looked for on `PATH`. The tools of the virtual environment are pinned, so a
    /// copy that happens to be on `PATH` is not taken for them.
    fn on_path(self) -> Option<&'static str> {
        match self {
            Tool::OpenSsl => Some("openssl"),
            Tool::Certtool => Some("certtool"),
            Tool::Go => Some("go"),
            Tool::Unshare => Some("unshare"),
            Tool::SetPriv => Some("setpriv"),
            Tool::Docker => Some("docker"),
            Tool::DockerCompose => Some("docker-compose"),
            Tool::MotoPython | Tool::CfnLint | Tool::Checkov | Tool::Cdk => None,
        }
    }
}

/// The tool's path, or `None` after noting that `test` was not run for want of it.
///
/// # Panics
///
/// If the tool is missing and `TESTKIT_REQUIRE_ALL` is `1`.
pub fn find(tool: Tool, test: &str) -> Option<PathBuf> {
    let given = env::var_os(tool.variable()).filter(|path| !path.is_empty()).map(PathBuf::from);
    let found = given.or_else(|| {
        let name = tool.on_path()?;
        env::split_paths(&env::var_os("PATH")?).map(|directory| directory.join(name)).find(|path| path.is_file())
    });
    if found.is_none() {
        note_not_run(&format!("{test}: needs {tool:?} ({})", tool.variable()));
    }
    found
}

/// `unshare`, if whoever runs this may be anybody and mount anything, as root may outside of most containers; or `None` after
/// noting that `test` was not run for want of that.
///
/// # Panics
///
/// If it is missing or not permitted, and `TESTKIT_REQUIRE_ALL` is `1`.
pub fn find_as_root(test: &str) -> Option<PathBuf> {
    let unshare = find(Tool::Unshare, test)?;
    let tried = Command::new(&unshare).args(["--mount", "--", "sh", "-c", "exit $(id -u)"]).output();
    if tried.is_ok_and(|tried| tried.status.success()) {
        return Some(unshare);
    }
    note_not_run(&format!("{test}: needs to be root and to mount file systems"));
    None
}

/// Whether a Docker engine answers that has the images of `cargo xtask images`; else notes that `test` was not run for want of
/// one.
///
/// # Panics
///
/// If there is none and `TESTKIT_REQUIRE_ALL` is `1`.
pub fn find_engine(test: &str) -> bool {
    let Some(docker) = find(Tool::Docker, test) else { return false };
    let image = format!("eventstore-fargate/aws-double:{}", infra::VERSION);
    let asked = Command::new(docker).args(["image", "inspect", "--format", "{{.Id}}", &image]).output();
    if asked.is_ok_and(|asked| asked.status.success()) {
        return true;
    }
    note_not_run(&format!("{test}: needs a Docker engine with the images of `cargo xtask images`"));
    false
}

fn note_not_run(line: &str) {
    assert!(env::var_os("TESTKIT_REQUIRE_ALL").is_none_or(|all| all != "1"), "{line}");
    eprintln!("not run: {line}");
    if let Some(list) = env::var_os("TESTKIT_NOT_RUN") {
        let mut list = OpenOptions::new().create(true).append(true).open(list).expect("open the list of tests not run");
        writeln!(list, "{line}").expect("note a test that was not run");
    }
}
