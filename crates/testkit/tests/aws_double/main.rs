//! What we rely on in AWS, asserted against the double and against moto behind its launcher; where moto is wrong, it is
//! listed here.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod client;
mod cloud_map_rules;
mod double;
mod secrets_rules;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use client::{Check, Client};
use testkit::aws::Aws;
use testkit::moto::Moto;
use tokio::task::JoinSet;

type Rule = fn(Client) -> Pin<Box<dyn Future<Output = Check> + Send>>;

/// How moto 5.2.5 behind the launcher keeps a rule.
#[derive(Clone, Copy)]
enum Of {
    /// By itself.
    Moto,
    /// Because the launcher mends it.
    Launcher,
    /// Not. This is what a check sees; a moto that is mended is noticed.
    Aws(&'static str),
}

/// The numbers are those of aws-contract §1.2 and §3.4; S20 and D13 continue them.
struct Entry {
    number: Option<&'static str>,
    name: &'static str,
    of: Of,
    rule: Rule,
}

macro_rules! rules {
    ($($number:expr, $of:expr, $module:ident::$rule:ident;)*) => {
        vec![$(Entry {
            number: $number,
            name: concat!(stringify!($module), "::", stringify!($rule)),
            of: $of,
            rule: |client| Box::pin($module::$rule(client)),
        }),*]
    };
}

fn rules() -> Vec<Entry> {
    use Of::{Launcher, Moto as Itself};
    rules! {
        Some("S1"), Launcher, secrets_rules::a_pending_version_never_changes;
        Some("S2"), Itself, secrets_rules::no_other_version_changes_either;
        Some("S3"), Launcher, secrets_rules::a_read_without_version_follows_the_label;
        Some("S4"), Launcher, secrets_rules::any_label_moves_from_its_holder_only;
        Some("S5"), Of::Aws("the old version: [\"AWSPREVIOUS\"]"),
            secrets_rules::a_new_current_version_leaves_other_labels_alone;
        Some("S6"), Launcher, secrets_rules::a_secret_that_is_to_be_deleted_is_left_alone;
        Some("S7"), Of::Aws("create: ResourceExistsException"),
            secrets_rules::the_name_of_a_secret_that_is_to_be_deleted_is_taken;
        Some("S8"), Launcher, secrets_rules::values_have_a_largest_size;
        Some("S9"), Of::Aws("a blank: accepted"), secrets_rules::names_have_their_characters;
        Some("S10"), Of::Aws("an old version: Some([])"), secrets_rules::only_labelled_versions_are_described;
        Some("S11"), Itself, secrets_rules::the_first_value_is_current;
        Some("S14"), Of::Aws("rotate: accepted"), secrets_rules::a_rotation_needs_a_function;
        Some("S16"), Of::Aws("the 101st: accepted"), secrets_rules::there_are_not_more_than_a_hundred_young_versions;
        Some("S17"), Itself, secrets_rules::the_same_creation_again_is_no_error;
        Some("S18"), Itself, secrets_rules::another_creation_is_refused;
        Some("S20"), Of::Aws("without asking: 3"), secrets_rules::deprecated_versions_are_listed_when_asked_for;
        None, Itself, secrets_rules::the_same_put_again_changes_nothing;
        None, Launcher, secrets_rules::one_writer_wins;
        None, Itself, secrets_rules::the_current_label_moves_from_its_holder_only;
        None, Itself, secrets_rules::a_put_takes_its_labels_away_from_others;
        None, Itself, secrets_rules::a_deletion_by_force_never_misses_the_secret;
        None, Itself, secrets_rules::what_is_not_there_is_not_found;
        None, Itself, secrets_rules::version_and_label_must_agree;
        None, Itself, secrets_rules::secrets_are_known_by_their_arn;
        None, Itself, secrets_rules::tokens_have_their_length;
        Some("D1"), Launcher, cloud_map_rules::registering_again_replaces;
        Some("D2"), Of::Aws("at first: false"), cloud_map_rules::a_registration_takes_its_time;
        Some("D3"), Of::Aws("afterwards: Err(\"OperationNotFound\")"), cloud_map_rules::operations_are_kept;
        Some("D4"), Of::Aws("an id: accepted"), cloud_map_rules::instances_are_checked;
        Some("D6"), Of::Aws("the same name: accepted"), cloud_map_rules::services_are_checked;
        Some("D7"), Of::Aws("another name: Err(\"ConflictingDomainExists\")"),
            cloud_map_rules::a_network_has_several_namespaces;
        Some("D8"), Of::Aws("a service: accepted"), cloud_map_rules::what_is_in_use_is_not_deleted;
        Some("D13"), Of::Aws("the operation: false"), cloud_map_rules::a_repeated_request_is_not_executed_twice;
        None, Itself, cloud_map_rules::what_is_not_there_is_not_found;
        None, Itself, cloud_map_rules::all_entries_are_listed_with_their_attributes;
    }
}

/// Differences that no rule shows, because neither our programs nor our stacks can meet them over this interface.
const NOT_SHOWN: [(&str, &str); 9] = [
    ("S12", "neither has keys: KmsKeyId is taken as it comes"),
    ("S13", "resource policies are CloudFormation's"),
    ("S15", "replicas are read-only for us"),
    ("S19", "nobody creates a secret whose name was just deleted by force"),
    ("D5", "our services have no custom health checks"),
    ("D9", "nobody filters lists"),
    ("D10", "DNS is tests/dns.rs"),
    ("D11", "the double is late on demand only"),
    ("D12", "nobody calls DiscoverInstances with the SDK"),
];

#[test]
fn every_known_difference_is_listed_once() {
    let mut listed = BTreeMap::new();
    let shown = rules().into_iter().filter_map(|entry| entry.number);
    for number in shown.chain(NOT_SHOWN.iter().map(|(number, _)| *number)) {
        *listed.entry(number.to_owned()).or_insert(0) += 1;
    }
    let known = (1..=20).map(|number| format!("S{number}")).chain((1..=13).map(|number| format!("D{number}")));
    assert_eq!(listed, known.map(|number| (number, 1)).collect());
}

#[tokio::test]
async fn the_double_keeps_every_rule() {
    let mut rounds = JoinSet::new();
    for Entry { number, name, rule, .. } in rules() {
        rounds.spawn(async move {
            let double = Aws::start().await.unwrap();
            if number == Some("D2") {
                // It must not be over before it is looked at.
                double.set_operation_time(Duration::from_secs(1));
            }
            (name, rule(Client::new(double.endpoint())).await)
        });
    }
    while let Some(round) = rounds.join_next().await {
        let (name, check) = round.unwrap();
        assert_eq!(check, Ok(()), "{name}");
    }
}

#[tokio::test]
async fn moto_behind_its_launcher_keeps_all_but_the_listed_rules() {
    let Some(moto) = Moto::start("moto_behind_its_launcher_keeps_all_but_the_listed_rules") else { return };
    let mut wrong = Vec::new();
    // One after the other: D3 disturbs whoever waits for an operation.
    for Entry { number, name, of, rule } in rules() {
        let check = rule(Client::new(moto.endpoint())).await;
        let wanted = match of {
            Of::Moto | Of::Launcher => Ok(()),
            Of::Aws(seen) => Err(seen.to_owned()),
        };
        if check != wanted {
            let number = number.unwrap_or_default();
            wrong.push(format!("{number} {name}: {check:?} instead of {wanted:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
