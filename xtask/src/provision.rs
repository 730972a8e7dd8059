//! Provisions the pinned tools that tests need and a Rust machine does not have: under `target/tools`, once.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use testkit::tool::Tool;

use crate::{Failure, build};

/// Into one virtual environment: moto with what its server needs, and cfn-lint.
const PYTHON_PACKAGES: [&str; 4] = ["moto==5.2.5", "flask==3.1.3", "flask-cors==6.0.2", "cfn-lint==1.58.0"];
/// Into one of its own: it pins what the others need in other versions.
const CHECKOV_PACKAGES: [&str; 1] = ["checkov==3.3.30"];
const CDK_PACKAGE: &str = "aws-cdk@2.1148.1";
/// What apps of the CDK are written with; only measured.
const CDK_LIBRARY: [&str; 2] = ["aws-cdk-lib@2.276.0", "constructs@10.8.1"];

/// The tools that were found or made, and why the others were not.
pub(crate) struct Tools {
    /// With the path of each.
    pub(crate) found: Vec<(Tool, PathBuf)>,
    /// One line each.
    pub(crate) missing: Vec<String>,
}

/// Makes what can be made.
pub(crate) fn all(root: &Path) -> Tools {
    let tools = build::target(root).join("tools");
    let mut provisioned = Tools { found: Vec::new(), missing: Vec::new() };
    match python(&tools.join("python"), &PYTHON_PACKAGES) {
        Ok(environment) => {
            provisioned.found.push((Tool::MotoPython, environment.join("bin/python")));
            provisioned.found.push((Tool::CfnLint, environment.join("bin/cfn-lint")));
        }
        Err(failure) => provisioned.missing.push(format!("moto and cfn-lint: {}", failure.message)),
    }
    match python(&tools.join("checkov"), &CHECKOV_PACKAGES) {
        Ok(environment) => provisioned.found.push((Tool::Checkov, environment.join("bin/checkov"))),
        Err(failure) => provisioned.missing.push(format!("checkov: {}", failure.message)),
    }
    match cdk(&tools.join("cdk")) {
        Ok(cdk) => provisioned.found.push((Tool::Cdk, cdk)),
        Err(failure) => provisioned.missing.push(format!("the CDK command line: {}", failure.message)),
    }
    for (tool, name, package) in [
        (Tool::OpenSsl, "openssl", "openssl"),
        (Tool::Certtool, "certtool", "gnutls-bin"),
        (Tool::Go, "go", "golang-go"),
        (Tool::Unshare, "unshare", "util-linux"),
        (Tool::SetPriv, "setpriv", "util-linux"),
        (Tool::Docker, "docker", "docker.io"),
        (Tool::DockerCompose, "docker-compose", "docker-compose"),
    ] {
        match on_path(name) {
            Some(path) => provisioned.found.push((tool, path)),
            None => provisioned.missing.push(format!("{name}: not on PATH; install the package {package}")),
        }
    }
    // The virtual machine of guard's test on NFS.
    for (name, package) in
        [("qemu-system-x86_64", "qemu-system-x86"), ("busybox", "busybox-static"), ("ip", "iproute2")]
    {
        if on_path(name).is_none() {
            provisioned.missing.push(format!("{name}: not on PATH; install the package {package}"));
        }
    }
    let has_kernel = fs::read_dir("/boot").is_ok_and(|boot| {
        boot.flatten().any(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            name.starts_with("vmlinuz-") && name.ends_with("cloud-amd64")
        })
    });
    if !has_kernel {
        provisioned
            .missing
            .push("Debian's cloud kernel: not in /boot; install the package linux-image-cloud-amd64".to_owned());
    }
    provisioned
}

/// Python with boto3 and requests, which moto brings along.
pub(crate) fn python_with_boto3(root: &Path) -> Result<PathBuf, Failure> {
    Ok(python(&build::target(root).join("tools/python"), &PYTHON_PACKAGES)?.join("bin/python"))
}

fn python(environment: &Path, packages: &[&str]) -> Result<PathBuf, Failure> {
    once(environment, &packages.join("\n"), || {
        let python = on_path("python3").ok_or_else(|| Failure::new("python3 is not on PATH; install Python 3"))?;
        quietly(Command::new(python).args(["-m", "venv"]).arg(environment), "python3 -m venv")?;
        let mut pip = Command::new(environment.join("bin/python"));
        quietly(
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages),
            "pip install",
        )
    })
}

/// The directory with the CDK's library in `node_modules`.
pub(crate) fn cdk_library(root: &Path) -> Result<PathBuf, Failure> {
    let directory = build::target(root).join("tools/cdk-library");
    npm(&directory, &CDK_LIBRARY)?;
    Ok(directory)
}

fn cdk(directory: &Path) -> Result<PathBuf, Failure> {
    npm(directory, &[CDK_PACKAGE])?;
    Ok(directory.join("node_modules/.bin/cdk"))
}

fn npm(directory: &Path, packages: &[&str]) -> Result<(), Failure> {
    once(directory, &packages.join("\n"), || {
        let npm = on_path("npm").ok_or_else(|| Failure::new("npm is not on PATH; install nodejs and npm"))?;
        fs::create_dir_all(directory).map_err(Failure::io("create the directory for the CDK"))?;
        let mut npm = Command::new(npm);
        npm.args(["install", "--silent", "--no-save", "--no-package-lock", "--prefix"]).arg(directory).args(packages);
        quietly(&mut npm, "npm install")
    })?;
    Ok(())
}

/// Runs `make` unless it has succeeded before with the same `version`. An interrupted attempt is made anew.
fn once(directory: &Path, version: &str, make: impl FnOnce() -> Result<(), Failure>) -> Result<PathBuf, Failure> {
    let stamp = directory.join("provisioned");
    if fs::read_to_string(&stamp).is_ok_and(|made| made == version) {
        return Ok(directory.to_owned());
    }
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(Failure::io("remove the tools of an older version"))?;
    }
    eprintln!("xtask: provisioning {} ({})", directory.display(), version.replace('\n', ", "));
    make()?;
    fs::write(&stamp, version).map_err(Failure::io("note what was provisioned"))?;
    Ok(directory.to_owned())
}

fn quietly(command: &mut Command, name: &str) -> Result<(), Failure> {
    let output = command.stdin(Stdio::null()).output().map_err(Failure::io(&format!("run {name}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("{name} ended with {}: {}", output.status, said.trim())))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(OsStr::new(name))).find(|candidate| candidate.is_file())
}
