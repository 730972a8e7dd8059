//! Which key of the configuration a refused change comes from.

use std::collections::{BTreeMap, BTreeSet};

use super::compare::{Change, What};
use super::snapshot::Snapshot;
use super::{Diff, Refusal};
use crate::config::Config;

/// Type, property (none if the resource goes), and the keys that say it.
type Row = (&'static str, Option<&'static str>, &'static [&'static str]);

const KEYS: &[Row] = &[
    ("AWS::EFS::FileSystem", None, &["data.file_system"]),
    ("AWS::EFS::FileSystem", Some("KmsKeyId"), &["data.kms_key"]),
    ("AWS::EFS::FileSystem", Some("PerformanceMode"), &["data.performance_mode"]),
    ("AWS::EFS::AccessPoint", None, &["cluster.nodes", "server.log_volume"]),
    ("AWS::EFS::AccessPoint", Some("RootDirectory"), &["data.root"]),
    ("AWS::EFS::AccessPoint", Some("FileSystemId"), &["data.file_system"]),
    ("AWS::EFS::MountTarget", None, &["network.zones", "network.subnets", "data.file_system"]),
    ("AWS::EFS::MountTarget", Some("SubnetId"), &["network.subnets", "network.vpc"]),
    (
        "AWS::SecretsManager::Secret",
        None,
        &[
            "credentials.admin_secret",
            "credentials.ops_secret",
            "certificates.ca",
            "certificates.ca_secret",
            "users",
            "server.insecure",
        ],
    ),
    ("AWS::SecretsManager::Secret", Some("Name"), &["name"]),
    ("AWS::KMS::Key", None, &["data.kms_key", "credentials.kms_key", "backup.kms_key", "logs.kms_key"]),
    ("AWS::Backup::BackupVault", None, &["backup.enabled", "backup.vault"]),
    ("AWS::Backup::BackupVault", Some("EncryptionKeyArn"), &["backup.kms_key"]),
    ("AWS::Backup::BackupVault", Some("BackupVaultName"), &["name"]),
    ("AWS::ServiceDiscovery::PrivateDnsNamespace", None, &["discovery.namespace_id"]),
    ("AWS::ServiceDiscovery::PrivateDnsNamespace", Some("Name"), &["namespace"]),
    ("AWS::ServiceDiscovery::PrivateDnsNamespace", Some("Vpc"), &["network.vpc"]),
    ("AWS::ServiceDiscovery::Service", Some("Name"), &["name"]),
    ("AWS::ServiceDiscovery::Service", Some("NamespaceId"), &["discovery.namespace_id"]),
    ("AWS::EC2::VPC", None, &["network.vpc"]),
    ("AWS::EC2::VPC", Some("CidrBlock"), &["network.cidr"]),
    ("AWS::EC2::Subnet", None, &["network.zones", "network.egress", "network.vpc"]),
    ("AWS::EC2::Subnet", Some("CidrBlock"), &["network.cidr", "network.zones"]),
    ("AWS::ECS::Service", Some("NetworkConfiguration"), &["network.subnets", "cluster.nodes"]),
    ("AWS::Logs::LogGroup", None, &["cluster.nodes"]),
];

/// The keys that a change most likely comes from, if only the templates are known.
pub(super) fn likely(change: &Change) -> Vec<String> {
    let says = |(kind, property, _): &&Row| {
        let matches = match property {
            None => change.what == What::Removed,
            Some(name) => change.properties.iter().any(|changed| {
                changed.because.is_none()
                    && changed
                        .path
                        .strip_prefix(name)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            }),
        };
        *kind == change.kind && matches
    };
    let keys = KEYS.iter().filter(says).flat_map(|(_, _, keys)| keys.iter());
    keys.map(|key| (*key).to_owned()).collect()
}

/// A configuration's text and what it says, by key.
fn leaves(text: &str) -> BTreeMap<Vec<String>, toml::Value> {
    fn walk(path: &[String], table: &toml::Table, found: &mut BTreeMap<Vec<String>, toml::Value>) {
        for (key, value) in table {
            let path: Vec<_> = path.iter().cloned().chain([key.clone()]).collect();
            match value {
                toml::Value::Table(inner) => walk(&path, inner, found),
                value => drop(found.insert(path, value.clone())),
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&[], &text.parse().unwrap_or_default(), &mut found);
    found
}

fn table(leaves: &BTreeMap<Vec<String>, toml::Value>) -> toml::Table {
    let mut root = toml::Table::new();
    for (path, value) in leaves {
        let Some((last, sections)) = path.split_last() else { continue };
        let mut table = &mut root;
        for section in sections {
            let inner = table.entry(section.clone()).or_insert_with(|| toml::Table::new().into());
            let toml::Value::Table(inner) = inner else { return root };
            table = inner;
        }
        table.insert(last.clone(), value.clone());
    }
    root
}

/// What is refused, by stack and name.
type Names = BTreeSet<(String, String)>;

/// Finds the causes by trying: of all that differs, the least that has to be taken back for a refused change not to happen.
pub(super) fn find(
    diff: &mut Diff,
    (old_text, new_text): (&str, &str),
    old: &Snapshot,
    synth: impl Fn(Config) -> Option<Snapshot>,
) {
    let (before, after) = (leaves(old_text), leaves(new_text));
    let all: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let differing: Vec<_> = all.into_iter().filter(|key| before.get(*key) != after.get(*key)).collect();
    let mut tried: BTreeMap<Vec<bool>, Option<Names>> = BTreeMap::new();
    let mut prevents = |taken_back: &[bool], refusal: &(String, String)| {
        let left = tried.entry(taken_back.to_vec()).or_insert_with(|| {
            let mut leaves = after.clone();
            for (key, _) in differing.iter().zip(taken_back).filter(|(_, taken)| **taken) {
                match before.get(*key) {
                    Some(value) => leaves.insert((*key).clone(), value.clone()),
                    None => leaves.remove(*key),
                };
            }
            // Some keys go together only: half of them is no configuration.
            let config = Config::parse(&toml::to_string(&table(&leaves)).ok()?).ok()?;
            Some(Diff::between(old, &synth(config)?).refused.iter().map(key_of).collect())
        });
        left.as_ref().is_some_and(|left| !left.contains(refusal))
    };
    for refusal in &mut diff.refused {
        let name = key_of(refusal);
        let alone = |index: usize| (0..differing.len()).map(|other| other == index).collect::<Vec<_>>();
        let mut taken_back =
            (0..differing.len()).map(alone).find(|alone| prevents(alone, &name)).unwrap_or_else(|| {
                let mut taken_back = vec![true; differing.len()];
                for index in 0..differing.len() {
                    taken_back[index] = false;
                    taken_back[index] = !prevents(&taken_back, &name);
                }
                taken_back
            });
        if !prevents(&taken_back, &name) {
            taken_back.clear();
        }
        let keys = differing.iter().zip(taken_back).filter(|(_, taken)| *taken).map(|(key, _)| key.join("."));
        let keys: Vec<_> = keys.collect();
        if !keys.is_empty() {
            refusal.keys = keys;
        }
    }
}

fn key_of(refusal: &Refusal) -> (String, String) {
    (refusal.stack.clone(), refusal.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::is_key;

    #[test]
    fn every_key_that_is_named_is_one() {
        for key in KEYS.iter().flat_map(|(_, _, keys)| keys.iter()) {
            assert!(is_key(key), "{key}");
        }
    }

    #[test]
    fn a_configuration_is_taken_apart_and_put_together_again() {
        let text = "name = \"a\"\n[server]\nport = 1\n[server.options]\nA = 1\n[[users]]\nlogin = \"x\"\n";
        let found = leaves(text);
        assert_eq!(found.len(), 4, "{found:?}");
        assert_eq!(table(&found), text.parse::<toml::Table>().unwrap());
    }
}
