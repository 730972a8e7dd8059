//! The program as its users meet it: exit codes, messages, and what is on the volume afterwards.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn certgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_certgen")).env_clear().args(arguments).output().unwrap()
}

fn volume() -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap().to_owned();
    (directory, path)
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The program ended with `code` and its last lines are the error and the hint, without anything else having been said.
#[track_caller]
fn refused(output: &Output, code: i32, error: &str, hint: &str) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.starts_with("error: ") && said.contains(error), "{said}");
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    assert!(said.lines().last().unwrap().starts_with("hint: ") && said.contains(hint), "{said}");
    assert!(output.stdout.is_empty());
}

#[test]
fn told_nothing_it_issues_for_loopback_and_says_what_the_ca_is_worth() {
    let (directory, out) = volume();
    let output = certgen(&["--out", &out]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("localhost, 127.0.0.1, ::1") && said.contains("signed by an ephemeral CA"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let mode = |name: &str| fs::metadata(directory.path().join(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("node.key"), mode("node.crt"), mode("ca/ca.crt")), (0o400, 0o444, 0o444));
    assert!(!directory.path().join("guard").exists(), "nothing is installed unless asked for");
}

#[test]
fn a_certificate_that_is_due_is_replaced_and_the_authority_kept() {
    let (directory, out) = volume();
    let (_state, state) = volume();
    let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
    assert!(certgen(&["--out", &out, "--ca-state", &state]).status.success());
    let first = (read("ca/ca.crt"), read("node.crt"));
    let output = certgen(&["--out", &out, "--ca-state", &state, "--validity", "90d"]);
    let said = stderr(&output);
    assert!(said.starts_with("certgen: due: the certificate was issued for 365d instead of 90d\n"), "{said}");
    assert!(said.contains("signed by the ephemeral CA kept in") && said.lines().count() == 2, "{said}");
    assert_eq!(read("ca/ca.crt"), first.0);
    assert_ne!(read("node.crt"), first.1);
    assert_eq!(fs::metadata(Path::new(&state).join("ca.pem")).unwrap().mode() & 0o7777, 0o400);
}

#[test]
fn a_guard_is_installed_executable() {
    let (directory, out) = volume();
    let (tools, _) = volume();
    let program = tools.path().join("guard");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    assert!(certgen(&["--out", &out, "--guard", program.to_str().unwrap()]).status.success());
    let installed = directory.path().join("guard");
    assert_eq!(fs::read(&installed).unwrap(), fs::read(&program).unwrap());
    assert_eq!(fs::metadata(&installed).unwrap().mode() & 0o7777, 0o555);
}

#[test]
fn a_missing_guard_is_named_before_anything_is_written() {
    let (directory, out) = volume();
    refused(&certgen(&["--out", &out, "--guard", "/nowhere/guard"]), 74, "`/nowhere/guard`", "--guard");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_missing_directory_is_not_created() {
    let (directory, out) = volume();
    let missing = format!("{out}/missing");
    refused(&certgen(&["--out", &missing]), 74, "does not exist", "mount the volume");
    assert!(!directory.path().join("missing").exists());
    let (_directory, out) = volume();
    refused(&certgen(&["--out", &out, "--ca-state", &missing]), 74, &missing, "mount the volume");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0, "nothing is published when the authority cannot be kept");
}

#[test]
fn a_file_instead_of_a_directory_is_refused() {
    refused(&certgen(&["--out", "/dev/null"]), 74, "not a directory", "name a directory");
}

/// Root may write anywhere, so the program runs as somebody else where this test runs as root; from a copy, because the
/// build directory may be closed to others.
#[test]
fn an_unwritable_directory_names_the_remedy_and_stays_empty() {
    let (directory, out) = volume();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o555)).unwrap();
    let (programs, _) = volume();
    fs::set_permissions(programs.path(), Permissions::from_mode(0o755)).unwrap();
    let copy = programs.path().join("certgen");
    fs::copy(env!("CARGO_BIN_EXE_certgen"), &copy).unwrap();
    let mut command = Command::new(copy);
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(1000);
    }
    let output = command.env_clear().args(["--out", &out]).output().unwrap();
    refused(&output, 77, "Permission denied", "VOLUME");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_foreign_file_is_named_and_left() {
    let (directory, out) = volume();
    fs::write(directory.path().join("node.key"), "mine").unwrap();
    refused(&certgen(&["--out", &out]), 77, "node.key` was not made by certgen", "move the file away");
    assert_eq!(fs::read_to_string(directory.path().join("node.key")).unwrap(), "mine");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_link_that_leads_elsewhere_is_foreign() {
    let (directory, out) = volume();
    symlink("/etc", directory.path().join("ca")).unwrap();
    refused(&certgen(&["--out", &out]), 77, "ca` was not made by certgen", "");
}

#[test]
fn a_damaged_authority_is_refused_and_nothing_is_published() {
    let (directory, out) = volume();
    let (state_directory, state) = volume();
    fs::write(state_directory.path().join("ca.pem"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    refused(&certgen(&["--out", &out, "--ca-state", &state]), 78, "damaged", "remove ca.pem");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn all_mistakes_of_a_command_line_are_told_in_one_run() {
    let (_directory, out) = volume();
    let output = certgen(&["--out", &out, "--dns-names", "a_b", "--validity", "90", "--ca-source", "vault"]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert_eq!(said.lines().count(), 3, "{said}");
    for part in ["--dns-names: `a_b`", "--validity: `90`", "--ca-source: `vault`"] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_missing_out_is_a_usage_error() {
    let output = certgen(&["--validity", "1d"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--out"));
    let configured =
        Command::new(env!("CARGO_BIN_EXE_certgen")).env_clear().env("CERTGEN_VALIDITY", "1d").output().unwrap();
    assert_eq!(configured.status.code(), Some(2), "a task definition that forgot CERTGEN_OUT is told so");
    assert!(stderr(&configured).contains("--out"));
}

#[test]
fn every_option_has_a_twin_in_the_environment() {
    let (directory, out) = volume();
    let output = Command::new(env!("CARGO_BIN_EXE_certgen"))
        .env_clear()
        .envs([("CERTGEN_OUT", out.as_str()), ("CERTGEN_DNS_NAMES", "node-1.test"), ("CERTGEN_CA_SOURCE", "ephemeral")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("localhost, node-1.test, 127.0.0.1"));
    assert!(directory.path().join("node.crt").exists());
}

/// The certificate of somebody else's authority that ends in 30 days, no program, and a volume that only another may write to.
#[test]
fn all_that_is_in_the_way_is_told_in_one_run() {
    let (directory, out) = volume();
    let (authority, ca) = volume();
    let now = time::OffsetDateTime::now_utc();
    let short = certgen::issue_authority("30d".parse().unwrap(), now).unwrap();
    fs::write(authority.path().join("ca.pem"), short.to_state().as_bytes()).unwrap();
    let files = [format!("--ca-certificate={ca}/ca.pem"), format!("--ca-key={ca}/ca.pem")];
    let run = |more: &[&str]| {
        let arguments = [&["--out", &out, "--ca-source=files", &files[0], &files[1]], more].concat();
        certgen(&arguments)
    };
    let output = run(&["--guard=/nowhere", "--owner=4000000000"]);
    let said = stderr(&output);
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    assert_eq!(output.status.code(), Some(74), "{said}");
    assert!(said.contains("could not read `/nowhere`") && said.contains("authority is valid until"), "{said}");
    assert_eq!(said.contains("error: --owner: `4000000000` is not who runs this"), !is_root, "{said}");
    assert_eq!(said.matches("error: ").count(), if is_root { 2 } else { 3 }, "{said}");
    assert_eq!(said.matches("hint: ").count(), said.matches("error: ").count(), "{said}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);

    // What is there is kept as long as nothing is due, and is not lost when something is and cannot be done.
    assert!(run(&["--validity=20d"]).status.success());
    let before = fs::read(directory.path().join("node.key")).unwrap();
    assert!(stderr(&run(&["--validity=20d"])).starts_with("certgen: kept"));
    refused(&run(&["--validity=40d"]), 78, "authority is valid until", "shorter --validity");
    assert_eq!(fs::read(directory.path().join("node.key")).unwrap(), before);
}

#[test]
fn a_clock_before_the_authority_begins_is_told_and_keeps_what_is_there() {
    let (directory, out) = volume();
    let (authority, ca) = volume();
    let later = time::OffsetDateTime::now_utc() + time::Duration::days(2);
    let future = certgen::issue_authority("30d".parse().unwrap(), later).unwrap();
    fs::write(authority.path().join("ca.pem"), future.to_state().as_bytes()).unwrap();
    assert!(certgen(&["--out", &out]).status.success());
    let before = fs::read(directory.path().join("node.key")).unwrap();
    let files = [format!("--ca-certificate={ca}/ca.pem"), format!("--ca-key={ca}/ca.pem")];
    let output = certgen(&["--out", &out, "--ca-source=files", &files[0], &files[1]]);
    refused(&output, 78, "is not valid before", "clock");
    let output = certgen(&["--out", &out, "--ca-state", &ca]);
    refused(&output, 78, "the stored certificate authority cannot sign now: the certificate is not valid", "clock");
    assert_eq!(fs::read(directory.path().join("node.key")).unwrap(), before);
}

#[test]
fn names_and_times_that_contradict_each_other_are_told_in_one_run() {
    let (directory, out) = volume();
    let names = "--dns-names=a.db,a.db,10.0.0.7,10.0.0.700,*.db,*.x.db";
    let output = certgen(&[
        "--out",
        &out,
        names,
        "--ip-addresses=node-1.db,0.0.0.0",
        "--validity=3650d",
        "--renew-before=3650d",
    ]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    for part in [
        "--dns-names: `10.0.0.7` is an IP address; give it with --ip-addresses",
        "--dns-names: `10.0.0.700` is neither",
        "--dns-names: `*.db` stands for no name",
        "--ip-addresses: `node-1.db` is not an IP address",
        "--ip-addresses: `0.0.0.0` is an address that nobody can dial",
        "--renew-before: `3650d` is not less than the validity",
        "--validity: `3650d` is longer than an authority made here is valid, 1825d",
    ] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    assert_eq!(said.lines().count(), 7, "{said}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}
