//! An image as an archive that engines load and tools push, made without an engine: an OCI image layout (OCI Image Format
//! Specification 1.1, image-layout.md) with the `manifest.json` of `docker save` beside, as newer engines write it too. Its
//! manifest's digest depends on nothing but what is in the image.

use std::collections::BTreeMap;
use std::io;

use serde_json::{Map, Value, json};

use super::archive::{self, Entries, Entry};
use super::sha256;
use crate::Failure;

/// What a Dockerfile's last stage says of the container, apart from its files.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    labels: BTreeMap<String, String>,
    volumes: Vec<String>,
    user: String,
    entrypoint: Vec<String>,
}

impl Settings {
    /// Reads what our Dockerfiles have.
    pub(crate) fn read(stage: &str) -> Result<Self, Failure> {
        let mut settings =
            Self { labels: BTreeMap::new(), volumes: Vec::new(), user: String::new(), entrypoint: Vec::new() };
        let wrong =
            |line: &str| Failure::new(format!("`{line}` of a Dockerfile: not understood by `cargo xtask dist`"));
        for line in stage.replace("\\\n", " ").lines().map(str::trim) {
            let list = |text: &str| serde_json::from_str::<Vec<String>>(text).map_err(|_| wrong(line));
            match line.split_once(' ').unwrap_or((line, "")) {
                ("" | "FROM" | "ADD" | "#", _) => {}
                ("LABEL", labels) => {
                    let mut rest = labels.trim();
                    while let Some((name, value)) = rest.split_once("=\"") {
                        let (value, after) = value.split_once('"').ok_or_else(|| wrong(line))?;
                        settings.labels.insert(name.to_owned(), value.to_owned());
                        rest = after.trim_start();
                    }
                    if !rest.is_empty() {
                        return Err(wrong(line));
                    }
                }
                ("VOLUME", volumes) => settings.volumes = list(volumes)?,
                ("ENTRYPOINT", entrypoint) => settings.entrypoint = list(entrypoint)?,
                ("USER", user) => user.clone_into(&mut settings.user),
                _ => return Err(wrong(line)),
            }
        }
        Ok(settings)
    }

    /// With a label more.
    pub(crate) fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }
}

/// An archive and the digest of the manifest in it, under which a registry knows the image.
#[derive(Debug)]
pub(crate) struct Archive {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: String,
}

/// Packs the image `name:version` of one layer.
pub(crate) fn pack(layer: &[u8], settings: &Settings, name: &str, version: &str) -> io::Result<Archive> {
    let compressed = archive::gzip(layer)?;
    let volumes: Map<_, _> = settings.volumes.iter().map(|volume| (volume.clone(), json!({}))).collect();
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": settings.user,
            "Entrypoint": settings.entrypoint,
            "Volumes": volumes,
            "Labels": settings.labels,
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(layer))]},
        "history": [{"created_by": "cargo xtask dist"}],
    });
    let mut entries = Entries::new();
    let config = blob(&mut entries, "application/vnd.oci.image.config.v1+json", text(&config));
    let layer = blob(&mut entries, "application/vnd.oci.image.layer.v1.tar+gzip", compressed);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layer],
    });
    let mut manifest = blob(&mut entries, "application/vnd.oci.image.manifest.v1+json", text(&manifest));
    let digest = manifest["digest"].as_str().unwrap_or_default().to_owned();
    manifest["annotations"] = json!({
        "org.opencontainers.image.ref.name": version,
        "io.containerd.image.name": format!("docker.io/{name}:{version}"),
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    let saved = json!([{"Config": path(&config), "RepoTags": [format!("{name}:{version}")], "Layers": [path(&layer)]}]);
    for (name, value) in
        [("index.json", index), ("manifest.json", saved), ("oci-layout", json!({"imageLayoutVersion": "1.0.0"}))]
    {
        entries.insert(name.to_owned(), Entry { bytes: text(&value), is_program: false });
    }
    Ok(Archive { bytes: archive::tar(&entries)?, digest })
}

/// Puts a blob into the layout and gives its descriptor.
fn blob(entries: &mut Entries, media_type: &str, bytes: Vec<u8>) -> Value {
    let descriptor =
        json!({"mediaType": media_type, "digest": format!("sha256:{}", sha256(&bytes)), "size": bytes.len()});
    entries.insert(path(&descriptor), Entry { bytes, is_program: false });
    descriptor
}

fn path(descriptor: &Value) -> String {
    format!("blobs/{}", descriptor["digest"].as_str().unwrap_or_default().replace(':', "/"))
}

/// Objects are sorted by key.
fn text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    const STAGE: &str = "FROM scratch\nLABEL a.title=\"x/y\" \\\n      b=\"TLS, and = more\"\nADD x.tar /\n# A comment.\n\
                         VOLUME [\"/certs\", \"/tmp\"]\nUSER 1000:1000\nENTRYPOINT [\"/certgen\"]\n";

    fn read(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(bytes).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), bytes);
        }
        files
    }

    #[test]
    fn a_dockerfile_is_understood_or_refused() {
        let settings = Settings::read(STAGE).unwrap();
        assert_eq!(settings.labels["b"], "TLS, and = more");
        assert_eq!(settings.volumes, ["/certs", "/tmp"]);
        assert_eq!(
            (settings.user.as_str(), settings.entrypoint.as_slice()),
            ("1000:1000", &["/certgen".to_owned()][..])
        );
        assert!(Settings::read("FROM scratch\nENV A=1\n").is_err());
        assert!(Settings::read("LABEL a=b\n").is_err());
    }

    /// What image-layout.md demands, and what `docker load` reads.
    #[test]
    fn every_descriptor_is_of_a_blob_that_is_there() {
        let settings = Settings::read(STAGE).unwrap();
        let archive = pack(b"layer", &settings, "eventstore-fargate/certgen", "1.0.0").unwrap();
        let files = read(&archive.bytes);
        let json = |name: &str| serde_json::from_slice::<Value>(&files[name]).unwrap();
        let follow = |descriptor: &Value| {
            let bytes = &files[&path(descriptor)];
            assert_eq!(descriptor["size"], bytes.len());
            assert_eq!(descriptor["digest"], format!("sha256:{}", sha256(bytes)));
            bytes
        };
        let index = json("index.json");
        assert_eq!(index["manifests"][0]["digest"], archive.digest.as_str());
        let manifest: Value = serde_json::from_slice(follow(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(follow(&manifest["config"])).unwrap();
        let mut layer = Vec::new();
        flate2::read::GzDecoder::new(follow(&manifest["layers"][0]).as_slice()).read_to_end(&mut layer).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", sha256(&layer)));
        assert_eq!(config["config"]["Volumes"], json!({"/certs": {}, "/tmp": {}}));
        let saved = json("manifest.json");
        assert_eq!(saved[0]["RepoTags"][0], "eventstore-fargate/certgen:1.0.0");
        assert_eq!(files[saved[0]["Config"].as_str().unwrap()], files[&path(&manifest["config"])]);
        assert!(files.contains_key(saved[0]["Layers"][0].as_str().unwrap()));
        // The name is no part of what the digest is of.
        let elsewhere = pack(b"layer", &settings, "other/certgen", "1.0.0").unwrap();
        assert_eq!(elsewhere.digest, archive.digest);
        assert_eq!(pack(b"layer", &settings, "eventstore-fargate/certgen", "1.0.0").unwrap().bytes, archive.bytes);
    }
}
