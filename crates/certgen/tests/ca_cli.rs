//! `certgen ca` as an operator uses it: a whole rotation against the double, by what nodes register and secrets publish.
#![cfg(feature = "aws")]
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::process::Command;

use certgen::ca::{Document, roots_fingerprint};
use certgen::{NewAuthority, Root};
use serde_json::{Value, json};
use testkit::aws::{Aws, Refusal};
use time::OffsetDateTime;

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

async fn certgen(double: &Aws, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_certgen"));
    command.env_clear().env("AWS_ENDPOINT_URL", double.endpoint()).env("AWS_REGION", "eu-west-1");
    command.env("CERTGEN_ALLOW_HTTP_ENDPOINT", "true");
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let ran = Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
    assert!(!ran.stdout.contains("PRIVATE KEY") && !ran.stderr.contains("PRIVATE KEY"));
    ran
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_refused_but_where_it_is_allowed_by_name() {
    let double = Aws::start().await.unwrap();
    let out = tempfile::tempdir().unwrap();
    let out = out.path().to_str().unwrap();
    for arguments in [
        &["ca", "status", "--secret", "es/ca"][..],
        &["ca", "rotate", "--secret", "es/ca"],
        &["--out", out, "--ca-source", "secret", "--ca-secret", "es/ca"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_certgen"));
        command.env_clear().env("AWS_ENDPOINT_URL", double.endpoint()).env("AWS_REGION", "eu-west-1").args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        let expected = format!("error: AWS_ENDPOINT_URL: `{}` is not an https address", double.endpoint());
        assert!(said.starts_with(&expected) && said.contains("CERTGEN_ALLOW_HTTP_ENDPOINT=true"), "{said}");
    }
    assert!(double.calls().is_empty(), "{:?}", double.calls());
}

/// Root certificates and signer of the stored document, as a node that follows it has them.
fn stored(double: &Aws) -> (Vec<String>, String) {
    let text = double.secrets(|secrets| secrets.current("es/ca")).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let roots = value["roots"].as_array().unwrap().iter().map(|root| root.as_str().unwrap().to_owned()).collect();
    (roots, value["signing"]["cert"].as_str().unwrap().to_owned())
}

fn node_follows(double: &Aws, service: &str, node: &str) {
    let der = |pem: &String| pem::parse(pem).unwrap().into_contents();
    let (roots, signer) = stored(double);
    let roots: Vec<_> = roots.iter().map(der).collect();
    let roots = roots_fingerprint(roots.iter().map(Vec::as_slice));
    let signer = roots_fingerprint([der(&signer).as_slice()]);
    let attributes = [("AWS_INSTANCE_IPV4", "10.0.0.7"), ("ROOTS_SHA256", &roots), ("SIGNER_SHA256", &signer)];
    double.cloud_map(|cloud_map| cloud_map.register(service, node, &attributes));
}

fn user_follows(double: &Aws) {
    let (roots, _) = stored(double);
    let text = json!({"username": "admin", "password": "hunter2", "caCertificate": roots.concat()}).to_string();
    double.secrets(|secrets| secrets.put("es/admin", &text));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_rotates_the_authority() {
    let double = Aws::start().await.unwrap();
    let service = double.cloud_map(|cloud_map| cloud_map.create_service("db.internal", "es"));
    let document = Document::new(NewAuthority::default(), OffsetDateTime::now_utc()).unwrap();
    double.secrets(|secrets| {
        secrets.create("es/ca", Some(document.to_text().expose()));
        secrets.create("es/admin", Some(r#"{"username":"admin","password":"hunter2"}"#));
    });
    let place = ["--secret", "es/ca", "--service", &service, "--nodes", "2", "--user-secrets", "es/admin"];
    let ca = |command: &'static str, more: &'static [&'static str]| [&["ca", command], &place[..], more].concat();

    let steady = certgen(&double, &ca("rotate", &["--continue"])).await;
    assert_eq!((steady.code, steady.stderr.as_str()), (Some(0), ""));
    let begun = certgen(&double, &ca("rotate", &[])).await;
    assert_eq!(begun.code, Some(0), "{}", begun.stderr);
    assert!(begun.stderr.contains("from steady to trust-both"), "{}", begun.stderr);
    for (phase, next) in [("trust-both", "sign-new"), ("sign-new", "drop-old"), ("drop-old", "steady")] {
        node_follows(&double, &service, "node-1");
        let status: Value = serde_json::from_str(&certgen(&double, &ca("status", &["--json"])).await.stdout).unwrap();
        assert_eq!((&status["phase"], &status["next"]), (&json!(phase), &json!(next)));
        assert_eq!(status["roots"].as_array().unwrap().len(), if phase == "drop-old" { 1 } else { 2 });
        let blocked = certgen(&double, &ca("rotate", &[])).await;
        assert_eq!((blocked.code, blocked.stderr.as_str()), (Some(1), ""));
        let missing = if phase == "trust-both" { "1 of 2 nodes are registered" } else { "node-2 " };
        assert!(blocked.stdout.contains(missing), "{}", blocked.stdout);
        if phase != "sign-new" {
            assert!(blocked.stdout.contains("es/admin does not publish"), "{}", blocked.stdout);
        }
        node_follows(&double, &service, "node-2");
        user_follows(&double);
        let advanced = certgen(&double, &ca("rotate", &["--continue"])).await;
        assert_eq!(advanced.code, Some(0), "{} {}", advanced.stdout, advanced.stderr);
        assert!(advanced.stderr.contains(&format!("from {phase} to {next}")), "{}", advanced.stderr);
    }
    let (roots, signer) = stored(&double);
    assert_eq!(roots, std::slice::from_ref(&signer));
    assert_ne!(signer, document.signing_root().pem);
    assert!(Root::from_pem(signer.as_bytes()).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_has_its_code_and_hint() {
    let double = Aws::start().await.unwrap();
    double.secrets(|secrets| {
        secrets.create("es/empty", None);
        secrets.create("es/user", Some(r#"{"username":"admin","password":"hunter2"}"#));
    });
    let status = async |secret: &str| certgen(&double, &["ca", "status", "--secret", secret]).await;
    for (secret, told) in [
        ("es/absent", "holds no certificate authority yet"),
        ("es/empty", "holds no certificate authority yet"),
        ("es/user", "its value is the credentials of a user"),
    ] {
        let ran = status(secret).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(78), ""));
        assert!(ran.stderr.contains(told) && ran.stderr.contains(secret) && ran.stderr.contains("\nhint: "));
        assert!(!ran.stderr.contains("hunter2"));
    }
    double.refuse("GetSecretValue", Refusal::DENIED, 1);
    let denied = status("es/empty").await;
    assert_eq!(denied.code, Some(77));
    assert!(denied.stderr.contains("GetSecretValue: AccessDeniedException"), "{}", denied.stderr);
    assert_eq!(certgen(&double, &["ca", "rotate"]).await.code, Some(2));
    assert_eq!(certgen(&double, &["ca"]).await.code, Some(2));
}

#[test]
fn without_region_or_credentials_it_says_so_at_once() {
    for (name, told) in [("AWS_ACCESS_KEY_ID", "no region is set"), ("AWS_REGION", "no credentials")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_certgen"));
        command.env_clear().env(name, "x").env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", "/nonexistent");
        let output = command.args(["ca", "status", "--secret", "es/ca"]).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(told), "{stderr}");
        assert_eq!(output.status.code(), Some(if name == "AWS_REGION" { 77 } else { 78 }), "{stderr}");
    }
}
