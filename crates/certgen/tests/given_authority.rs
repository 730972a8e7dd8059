//! `--ca-source files`: authorities made by others and by certgen itself sign nodes that trust each other; whatever cannot is
//! refused by its reason, and nothing is written.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{TwoNodes, openssl};
use tempfile::TempDir;
use testkit::tool::{self, Tool};

/// A directory with authorities made by OpenSSL.
struct Authorities {
    openssl: PathBuf,
    directory: TempDir,
}

impl Authorities {
    /// `None` after noting that `test` cannot run without OpenSSL.
    fn new(test: &str) -> Option<Self> {
        Some(Self { openssl: tool::find(Tool::OpenSsl, test)?, directory: tempfile::tempdir().unwrap() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run(&self, arguments: &str) -> String {
        openssl(&self.openssl, self.directory.path(), &arguments.split_whitespace().collect::<Vec<_>>())
    }

    /// Writes `<name>.key` and `<name>.crt`. The extensions are lines of an OpenSSL configuration.
    fn make(&self, name: &str, key: &str, subject: &str, extensions: &str) {
        self.run(&format!("genpkey {key} -out {name}.key"));
        self.certify(name, subject, extensions, "-days 3650");
    }

    fn certify(&self, name: &str, subject: &str, extensions: &str, validity: &str) {
        let subject = subject.replace(' ', "_");
        let config = format!(
            "[req]\ndistinguished_name = dn\nstring_mask = default\n[dn]\n[ext]\nsubjectKeyIdentifier = hash\n{extensions}\n"
        );
        fs::write(self.path(&format!("{name}.cnf")), config).unwrap();
        self.run(&format!("req -new -config {name}.cnf -key {name}.key -subj {subject} -out {name}.csr"));
        self.run(&format!(
            "x509 -req -in {name}.csr -signkey {name}.key -extfile {name}.cnf -extensions ext {validity} -out {name}.crt"
        ));
    }

    /// One that certgen takes, for tests that spoil it.
    fn good(&self) {
        self.make("ca", P256, "/CN=CA", AUTHORITY);
    }

    fn issue(&self, certificate: &str, key: &str, out: &Path) -> Output {
        certgen(&self.path(certificate), &self.path(key), out)
    }

    /// certgen ends with `code`, says one error that names the file and the reason, gives a hint, and writes nothing.
    #[track_caller]
    fn refused(&self, certificate: &str, key: &str, code: i32, file: &str, reason: &str) {
        let out = tempfile::tempdir().unwrap();
        let output = self.issue(certificate, key, out.path());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert_eq!(said.lines().count(), 2, "{said}");
        assert!(said.starts_with("error: ") && said.contains("\nhint: "), "{said}");
        assert!(said.contains(self.path(file).to_str().unwrap()) && said.contains(reason), "{said}");
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0, "something was written");
    }
}

const RSA: &str = "-algorithm RSA -pkeyopt rsa_keygen_bits:2048";
const P256: &str = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";
const AUTHORITY: &str = "basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign";

fn command(certificate: &Path, key: &Path, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_certgen"));
    command.env_clear().args(["--ca-source", "files", "--dns-names", "node-1.test", "--ca-certificate"]);
    command.arg(certificate).arg("--ca-key").arg(key).arg("--out").arg(out);
    command
}

fn certgen(certificate: &Path, key: &Path, out: &Path) -> Output {
    command(certificate, key, out).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Two nodes of one authority: OpenSSL and rustls accept them, each other, and nobody finds more than the root.
fn signs_two_nodes(authorities: &Authorities, certificate: &str, key: &str) {
    let nodes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for node in &nodes {
        let output = authorities.issue(certificate, key, node.path());
        assert!(output.status.success(), "{certificate} {key}: {}", stderr(&output));
        let origin = format!("signed by the CA in {}", authorities.path(certificate).display());
        assert!(stderr(&output).contains(&origin), "{}", stderr(&output));
        for purpose in ["sslserver", "sslclient"] {
            let verify = ["verify", "-CAfile", "ca/ca.crt", "-purpose", purpose, "node.crt"];
            openssl(&authorities.openssl, node.path(), &verify);
        }
        let root = fs::read_to_string(node.path().join("ca/ca.crt")).unwrap();
        assert!(root.starts_with("-----BEGIN CERTIFICATE-----\n"), "a server ends itself on text before it: {root}");
        assert!(root.ends_with("-----END CERTIFICATE-----\n") && root.matches("-----").count() == 4, "{root}");
        let fingerprint = |path: &str| authorities.run(&format!("x509 -noout -fingerprint -sha256 -in {path}"));
        let published = node.path().join("ca/ca.crt");
        assert_eq!(fingerprint(published.to_str().unwrap()), fingerprint(certificate), "another root is published");
    }
    TwoNodes::of(nodes[0].path(), nodes[1].path()).shake_hands("node-1.test").unwrap();
    TwoNodes::of(nodes[1].path(), nodes[0].path()).shake_hands("node-1.test").unwrap();
}

#[test]
fn every_form_of_a_key_signs() {
    let Some(authorities) = Authorities::new("every_form_of_a_key_signs") else { return };
    let kinds = [("rsa", RSA), ("p256", P256), ("p384", "-algorithm EC -pkeyopt ec_paramgen_curve:P-384")];
    for (name, key) in kinds {
        authorities.make(name, key, "/CN=CA", AUTHORITY);
        let pkcs8 = fs::read_to_string(authorities.path(&format!("{name}.key"))).unwrap();
        assert!(pkcs8.starts_with("-----BEGIN PRIVATE KEY-----"), "PKCS#8");
        authorities.run(&format!("pkey -in {name}.key -traditional -out {name}.old"));
        let old = fs::read_to_string(authorities.path(&format!("{name}.old"))).unwrap();
        assert!(old.contains(if name == "rsa" { "BEGIN RSA PRIVATE KEY" } else { "BEGIN EC PRIVATE KEY" }));
        signs_two_nodes(&authorities, &format!("{name}.crt"), &format!("{name}.key"));
        signs_two_nodes(&authorities, &format!("{name}.crt"), &format!("{name}.old"));
    }
}

/// `openssl ecparam -genkey` writes the curve before the key, `openssl x509 -text` a text before the certificate, some
/// people all into one file, and others on Windows.
#[test]
fn what_surrounds_certificate_and_key_is_left_out() {
    let Some(authorities) = Authorities::new("what_surrounds_certificate_and_key_is_left_out") else { return };
    authorities.run("ecparam -name prime256v1 -genkey -out ca.key");
    let key = fs::read_to_string(authorities.path("ca.key")).unwrap();
    assert!(key.starts_with("-----BEGIN EC PARAMETERS-----"));
    authorities.certify("ca", "/CN=CA", AUTHORITY, "-days 3650");
    authorities.run("x509 -in ca.crt -text -out text.crt");
    let text = fs::read_to_string(authorities.path("text.crt")).unwrap();
    fs::write(authorities.path("both.pem"), format!("{key}\n{text}").replace('\n', "\r\n")).unwrap();
    signs_two_nodes(&authorities, "text.crt", "ca.key");
    signs_two_nodes(&authorities, "both.pem", "both.pem");
}

/// The shape of es-gencert-cli: PKCS#1, printable strings, a path length, a key identifier of 32 bytes
/// (es-gencert-cli-contract §7).
#[test]
fn the_authority_of_es_gencert_cli_signs() {
    let Some(authorities) = Authorities::new("the_authority_of_es_gencert_cli_signs") else { return };
    authorities.run(&format!("genpkey {RSA} -out ca.key"));
    let identifier = "00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF";
    let config = format!(
        "[req]\ndistinguished_name = dn\nstring_mask = default\nprompt = no\n[dn]\nC = UK\nO = Event Store Ltd\n\
         CN = EventStoreDB CA 1f2e\n[ext]\nbasicConstraints = critical, CA:TRUE, pathlen:2\n\
         keyUsage = critical, keyCertSign, cRLSign\nsubjectKeyIdentifier = {identifier}\n"
    );
    fs::write(authorities.path("ca.cnf"), config).unwrap();
    authorities.run("req -x509 -config ca.cnf -extensions ext -key ca.key -days 1825 -out ca.crt");
    authorities.run("pkey -in ca.key -traditional -out pkcs1.key");
    let text = authorities.run("x509 -in ca.crt -noout -subject -nameopt show_type");
    assert!(text.contains("PRINTABLESTRING:Event Store Ltd"), "{text}");
    signs_two_nodes(&authorities, "ca.crt", "pkcs1.key");
}

/// What `openssl req -x509` makes without being told more: no key usage at all.
#[test]
fn the_default_authority_of_openssl_signs() {
    let Some(authorities) = Authorities::new("the_default_authority_of_openssl_signs") else { return };
    authorities
        .run("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 3650 -subj /O=Örders/CN=CA -utf8");
    signs_two_nodes(&authorities, "ca.crt", "ca.key");
}

/// The file in which an ephemeral authority is kept holds both.
#[test]
fn the_authority_of_certgen_signs() {
    let Some(authorities) = Authorities::new("the_authority_of_certgen_signs") else { return };
    let (out, state) = (tempfile::tempdir().unwrap(), authorities.directory.path());
    let mut certgen = Command::new(env!("CARGO_BIN_EXE_certgen"));
    let made = certgen.env_clear().arg("--out").arg(out.path()).arg("--ca-state").arg(state).output().unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    signs_two_nodes(&authorities, "ca.pem", "ca.pem");
}

#[test]
fn a_key_that_cannot_sign_is_refused() {
    let Some(authorities) = Authorities::new("a_key_that_cannot_sign_is_refused") else { return };
    authorities.good();
    let run = |arguments: &str| authorities.run(arguments);
    let refused = |key: &str, reason: &str| authorities.refused("ca.crt", key, 78, key, reason);

    run("pkcs8 -topk8 -in ca.key -passout pass:secret -out encrypted.key");
    refused("encrypted.key", "the private key is encrypted");
    run("ec -in ca.key -aes128 -passout pass:secret -out old-encrypted.key");
    refused("old-encrypted.key", "the private key is encrypted");
    run(&format!("genpkey {P256} -out other.key"));
    refused("other.key", "the private key belongs to another certificate");
    run(&format!("genpkey {RSA} -out rsa.key"));
    refused("rsa.key", "the private key belongs to another certificate");
    refused("ca.crt", "it holds no private key");
    run("pkey -in ca.key -outform DER -out der.key");
    refused("der.key", "it holds no private key");
    let key = fs::read_to_string(authorities.path("ca.key")).unwrap();
    fs::write(authorities.path("two.key"), key.repeat(2)).unwrap();
    refused("two.key", "it holds 2 private keys");
    fs::write(authorities.path("torn.key"), &key[..key.len() / 2]).unwrap();
    refused("torn.key", "it holds no private key");

    for (name, kind) in [
        ("ed25519", "-algorithm ed25519"),
        ("p521", "-algorithm EC -pkeyopt ec_paramgen_curve:P-521"),
        ("rsa1024", "-algorithm RSA -pkeyopt rsa_keygen_bits:1024"),
    ] {
        authorities.make(name, kind, "/CN=CA", AUTHORITY);
        let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
        authorities.refused(
            &certificate,
            &key,
            78,
            &key,
            "allowed are RSA of 2048 to 8192 bits and EC on P-256 or P-384",
        );
    }
}

#[test]
fn a_certificate_that_is_no_root_is_refused() {
    let Some(authorities) = Authorities::new("a_certificate_that_is_no_root_is_refused") else { return };
    let refused = |name: &str, reason: &str| {
        let certificate = format!("{name}.crt");
        authorities.refused(&certificate, "ca.key", 78, &certificate, reason);
    };
    authorities.good();
    let other = |name: &str, subject: &str, extensions: &str| {
        fs::copy(authorities.path("ca.key"), authorities.path(&format!("{name}.key"))).unwrap();
        authorities.certify(name, subject, extensions, "-days 3650");
    };
    other("leaf", "/CN=CA", "basicConstraints = CA:FALSE");
    refused("leaf", "do not say CA:TRUE");
    other("none", "/CN=CA", "extendedKeyUsage = serverAuth");
    refused("none", "do not say CA:TRUE");
    other("usage", "/CN=CA", "basicConstraints = critical, CA:TRUE\nkeyUsage = critical, digitalSignature");
    refused("usage", "lacks keyCertSign");
    other("twice", "/DC=internal/DC=example/CN=CA", AUTHORITY);
    refused("twice", "subject has an attribute twice");
    other("group", "/O=a+CN=CA", AUTHORITY);
    refused("group", "subject has a group of attributes");

    authorities.run("req -new -key ca.key -config ca.cnf -subj /CN=intermediate -out intermediate.csr");
    authorities.run(
        "x509 -req -in intermediate.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile ca.cnf -extensions ext -days 3650 -out intermediate.crt",
    );
    refused("intermediate", "not self-signed");
    let pem = |name: &str| fs::read_to_string(authorities.path(&format!("{name}.crt"))).unwrap();
    fs::write(authorities.path("chain.crt"), pem("intermediate") + &pem("ca")).unwrap();
    refused("chain", "it holds 2 certificates");
    authorities.run("x509 -in ca.crt -outform DER -out der.crt");
    refused("der", "it holds no certificate");
    fs::write(authorities.path("broken.crt"), pem("ca").replacen("\nMII", "\nMIA", 1)).unwrap();
    refused("broken", "the certificate does not parse");
}

#[test]
fn an_authority_whose_time_is_not_now_is_refused() {
    let Some(authorities) = Authorities::new("an_authority_whose_time_is_not_now_is_refused") else { return };
    authorities.run(&format!("genpkey {P256} -out ca.key"));
    let config = format!(
        "[ca]\ndefault_ca = d\n[d]\ndatabase = index\nserial = serial\nnew_certs_dir = .\ndefault_md = sha256\npolicy = p\n\
         unique_subject = no\n[p]\ncommonName = supplied\n[req]\ndistinguished_name = dn\n[dn]\n[ext]\n{AUTHORITY}\n"
    );
    for (name, content) in [("ca.cnf", config.as_str()), ("index", ""), ("serial", "01")] {
        fs::write(authorities.path(name), content).unwrap();
    }
    authorities.run("req -new -config ca.cnf -key ca.key -subj /CN=CA -out ca.csr");
    let times = [
        ("over", "20000101000000Z", "20010101000000Z", "has expired at 2001-01-01"),
        ("future", "20900101000000Z", "20950101000000Z", "is not valid before 2090-01-01"),
    ];
    for (name, from, until, reason) in times {
        authorities.run(&format!(
            "ca -batch -config ca.cnf -selfsign -in ca.csr -keyfile ca.key -extensions ext -startdate {from} -enddate {until} -out {name}.crt"
        ));
        let certificate = format!("{name}.crt");
        authorities.refused(&certificate, "ca.key", 78, &certificate, reason);
    }
}

#[test]
fn a_node_that_would_outlive_its_authority_is_refused() {
    let Some(authorities) = Authorities::new("a_node_that_would_outlive_its_authority_is_refused") else { return };
    authorities.run(&format!("genpkey {P256} -out ca.key"));
    authorities.certify("ca", "/CN=CA", AUTHORITY, "-days 30");
    let out = tempfile::tempdir().unwrap();
    let output = authorities.issue("ca.crt", "ca.key", out.path());
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("the certificate authority is valid until") && said.contains("--validity"), "{said}");
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
    let mut shorter = command(&authorities.path("ca.crt"), &authorities.path("ca.key"), out.path());
    assert!(shorter.args(["--validity", "29d"]).output().unwrap().status.success());
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let Some(authorities) = Authorities::new("a_file_that_cannot_be_read_is_named") else { return };
    authorities.good();
    authorities.refused(
        "missing",
        "ca.key",
        74,
        "missing",
        "the certificate of the certificate authority: No such file",
    );
    authorities.refused("ca.crt", "missing", 74, "missing", "the key of the certificate authority: No such file");
    fs::create_dir(authorities.path("directory")).unwrap();
    authorities.refused("ca.crt", "directory", 74, "directory", "Is a directory");
}

/// Root may read anything, so the program runs as somebody else where this test runs as root.
#[test]
fn a_key_of_somebody_else_names_the_remedy() {
    let Some(authorities) = Authorities::new("a_key_of_somebody_else_names_the_remedy") else { return };
    authorities.good();
    let out = tempfile::tempdir().unwrap();
    for directory in [authorities.directory.path(), out.path()] {
        fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(authorities.path("ca.key"), Permissions::from_mode(0o000)).unwrap();
    let copy = authorities.path("certgen");
    fs::copy(env!("CARGO_BIN_EXE_certgen"), &copy).unwrap();
    let given = command(&authorities.path("ca.crt"), &authorities.path("ca.key"), out.path());
    let mut command = Command::new(copy);
    command.env_clear().args(given.get_args());
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(1000);
    }
    let output = command.output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(77), "{said}");
    assert!(said.contains("ca.key`, the key of") && said.contains("Permission denied"), "{said}");
    assert!(said.contains("hint: let the uid"), "{said}");
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
}

#[test]
fn contradictions_are_told_together() {
    let out = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], flags: &[&str]| {
        let mut certgen = Command::new(env!("CARGO_BIN_EXE_certgen"));
        let output = certgen.env_clear().arg("--out").arg(out.path()).args(arguments).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        let told: Vec<_> = said.lines().map(|line| line["error: ".len()..].split(':').next().unwrap()).collect();
        assert_eq!(told, flags, "{said}");
    };
    refused(&["--ca-source=files", "--ca-state=/s"], &["--ca-certificate", "--ca-key", "--ca-state"]);
    refused(&["--ca-certificate=/c", "--ca-key=/k", "--key-size=1"], &["--key-size", "--ca-certificate", "--ca-key"]);
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
}

#[test]
fn the_environment_names_the_files_too() {
    let Some(authorities) = Authorities::new("the_environment_names_the_files_too") else { return };
    authorities.good();
    let out = tempfile::tempdir().unwrap();
    let mut certgen = Command::new(env!("CARGO_BIN_EXE_certgen"));
    certgen.env_clear().env("CERTGEN_OUT", out.path()).env("CERTGEN_CA_SOURCE", "files");
    certgen.env("CERTGEN_CA_CERTIFICATE", authorities.path("ca.crt")).env("CERTGEN_CA_KEY", authorities.path("ca.key"));
    let output = certgen.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    openssl(&authorities.openssl, out.path(), &["verify", "-CAfile", "ca/ca.crt", "node.crt"]);
}
