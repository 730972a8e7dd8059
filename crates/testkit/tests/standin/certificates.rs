//! What becomes of a server with good and bad certificates, as processes (observed §7).

use std::fs;
use std::process::Command;

use testkit::database::Line;
use testkit::node::DatabaseNode;
use testkit::programs::Programs;

use super::wire::ready_of;

/// observed §7: a server with files it cannot use exits with 1 and says why.
#[test]
fn unusable_certificates_end_it() {
    let node = ready_of(Line::V24_10, &[]);
    let certs = node.certs();
    let other = DatabaseNode::start("node-2.test", 0.1);
    let scratch = tempfile::tempdir().unwrap();
    let key = fs::read_to_string(certs.join("node.key")).unwrap();
    let blank_line = scratch.path().join("blank.key");
    fs::write(&blank_line, format!("{key}\n")).unwrap();
    let bag = scratch.path().join("bag.key");
    fs::write(&bag, format!("Bag Attributes\n{key}")).unwrap();
    let empty = scratch.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let leaf_as_root = scratch.path().join("leaf");
    fs::create_dir(&leaf_as_root).unwrap();
    fs::copy(certs.join("node.crt"), leaf_as_root.join("node.crt")).unwrap();
    let (good_key, good_roots) = (certs.join("node.key"), certs.join("ca"));
    for (key, roots, said) in [
        (&blank_line, &good_roots, "not a valid Base-64 string"),
        (&bag, &good_roots, "not a valid Base-64 string"),
        (&other.certs().join("node.key"), &good_roots, "does not match the public key"),
        (&good_key, &empty, "No trusted root certificate files were loaded"),
        (&good_key, &leaf_as_root, "not self-signed"),
    ] {
        let output = Command::new(Programs::beside_this_test().standin())
            .env_clear()
            .arg("--tmp")
            .arg(scratch.path())
            .env("EVENTSTORE_DB", scratch.path().join("data"))
            .env("EVENTSTORE_CERTIFICATE_FILE", certs.join("node.crt"))
            .env("EVENTSTORE_CERTIFICATE_PRIVATE_KEY_FILE", key)
            .env("EVENTSTORE_TRUSTED_ROOT_CERTIFICATES_PATH", roots)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("not EventStoreDB") && stderr.contains(said), "{stderr}");
    }
}
