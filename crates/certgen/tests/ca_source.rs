//! `certgen --out --ca-source secret`: tasks that start together share one authority, and publish all of its roots.
#![cfg(feature = "aws")]
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use certgen::ca::{Document, SecretText, TrustedRoot};
use certgen::{CaKeyAlgorithm, NewAuthority, Validity};
use common::TwoNodes;
use testkit::aws::{Aws, Refusal};
use time::OffsetDateTime;

fn certgen(endpoint: &str, out: &Path, secret: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_certgen"));
    command.env_clear().env("AWS_ENDPOINT_URL", endpoint).env("AWS_REGION", "eu-west-1");
    command.env("CERTGEN_ALLOW_HTTP_ENDPOINT", "true");
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    command.arg("--out").arg(out).args(["--dns-names", "node.test", "--ca-source", "secret", "--ca-secret", secret]);
    command.args(more);
    command
}

async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn told(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!text.contains("PRIVATE KEY") && !text.contains("hunter2"), "{text}");
    text
}

fn stored(double: &Aws, secret: &str) -> Document {
    let text = double.secrets(|secrets| secrets.current(secret)).unwrap();
    Document::from_text(&SecretText::from(text)).unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_start_together_trust_each_other() {
    let double = Aws::start().await.unwrap();
    double.secrets(|secrets| secrets.create("es/empty", None));
    for secret in ["es/absent", "es/empty"] {
        let directories: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
        let endpoint = double.endpoint();
        let runs: Vec<_> = directories
            .iter()
            .map(|directory| tokio::spawn(run(certgen(&endpoint, directory.path(), secret, &[]))))
            .collect();
        for run in runs {
            let output = run.await.unwrap();
            assert!(output.status.success(), "{}", told(&output));
            assert!(told(&output).contains(&format!("signed by the CA in the secret {secret}")));
        }
        for other in &directories[1..] {
            TwoNodes::of(directories[0].path(), other.path()).shake_hands("node.test").unwrap();
            TwoNodes::of(other.path(), directories[0].path()).shake_hands("node.test").unwrap();
        }
        assert_eq!(double.secrets(|secrets| secrets.versions(secret)).len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_root_of_the_document_gets_a_file() {
    let double = Aws::start().await.unwrap();
    let now = OffsetDateTime::now_utc();
    let document = Document::new(NewAuthority::default(), now).unwrap().trusting_a_new_root(Validity::AUTHORITY, now);
    let document = document.unwrap();
    double.secrets(|secrets| secrets.create("es/ca", Some(document.to_text().expose())));
    let directory = tempfile::tempdir().unwrap();
    let output = run(certgen(&double.endpoint(), directory.path(), "es/ca", &[])).await;
    assert!(output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("rotation in phase trust-both"));
    let files = fs::read_dir(directory.path().join("ca")).unwrap().map(|file| file.unwrap().path());
    let mut published: Vec<_> = files.map(|file| fs::read_to_string(file).unwrap()).collect();
    let mut wanted: Vec<_> = document.roots().iter().map(|root| root.pem.clone()).collect();
    published.sort();
    wanted.sort();
    assert_eq!(published, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_leaves_the_volume_as_it_was() {
    let double = Aws::start().await.unwrap();
    double.secrets(|secrets| {
        secrets.create("es/empty", None);
        secrets.create("es/user", Some(r#"{"username":"admin","password":"hunter2"}"#));
    });
    let directory = tempfile::tempdir().unwrap();
    let output = run(certgen(&double.endpoint(), directory.path(), "es/user", &[])).await;
    assert_eq!(output.status.code(), Some(78));
    assert!(told(&output).contains("`es/user`: the secret cannot be used: its value is the credentials of a user"));

    double.refuse("GetSecretValue", Refusal::DENIED, 1);
    let output = run(certgen(&double.endpoint(), directory.path(), "es/empty", &[])).await;
    assert_eq!(output.status.code(), Some(77));
    assert!(told(&output).contains("hint: allow the role secretsmanager:DescribeSecret"));

    let output = run(certgen(&double.endpoint(), directory.path(), "es/empty", &["--dry-run"])).await;
    assert!(output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("would issue"));
    assert!(double.secrets(|secrets| secrets.versions("es/empty").is_empty()), "a dry run writes nothing");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// Whoever chose RSA, for consumers that know nothing else, has RSA after a rotation as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_root_has_the_kind_of_key_that_was_asked_for_first() {
    let double = Aws::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    for (secret, algorithm) in [("es/rsa", CaKeyAlgorithm::Rsa2048), ("es/ec", CaKeyAlgorithm::P256)] {
        let asked = ["--ca-key-algorithm", &algorithm.to_string()];
        let output = run(certgen(&double.endpoint(), directory.path(), secret, &asked)).await;
        assert!(output.status.success(), "{}", told(&output));
        let document = stored(&double, secret);
        let rotated = document.trusting_a_new_root(Validity::AUTHORITY, OffsetDateTime::now_utc()).unwrap();
        let kinds: Vec<_> = rotated.roots().iter().map(TrustedRoot::key_algorithm).collect();
        assert_eq!(kinds, [algorithm, algorithm]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn run_again_it_keeps_the_certificate_until_another_root_signs() {
    let double = Aws::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let again = async || {
        let output = run(certgen(&double.endpoint(), directory.path(), "es/ca", &[])).await;
        assert!(output.status.success(), "{}", told(&output));
        told(&output)
    };
    assert!(again().await.contains("issued a certificate"));
    assert!(again().await.contains("kept the certificate"));
    let store = |document: &Document| double.secrets(|secrets| secrets.put("es/ca", document.to_text().expose()));
    let both = stored(&double, "es/ca").trusting_a_new_root(Validity::AUTHORITY, OffsetDateTime::now_utc()).unwrap();
    store(&both);
    assert!(again().await.contains("the trusted roots differ"));
    assert!(again().await.contains("kept the certificate"));
    store(&both.advanced().unwrap());
    let told = again().await;
    assert!(told.contains("another authority signed the certificate"), "{told}");
    assert!(again().await.contains("kept the certificate"));
}
