//! What we rely on in Secrets Manager (aws-contract §2.1, §2.2; numbers of §1.2).

use serde_json::json;

use super::client::{Check, Client, name, refused, refused_somehow, same, token};

/// S1: the compare-and-set of the rotation protocol.
pub(crate) async fn a_pending_version_never_changes(aws: Client) -> Check {
    let (secret, _) = aws.create("one").await;
    let slot = token();
    aws.put(&secret, &slot, "two", &["AWSPENDING"]).await.unwrap();
    let other = aws.put(&secret, &slot, "three", &["AWSPENDING"]).await;
    refused("other bytes", other, "ResourceExistsException")?;
    let read = aws.secrets("GetSecretValue", json!({"SecretId": secret, "VersionId": slot})).await.unwrap();
    same("the value", &read["SecretString"], &"two")
}

/// S2.
pub(crate) async fn no_other_version_changes_either(aws: Client) -> Check {
    let (secret, current) = aws.create("one").await;
    let (labelled, bare) = (token(), token());
    aws.put(&secret, &labelled, "two", &["OURS"]).await.unwrap();
    aws.put(&secret, &bare, "three", &["THEIRS"]).await.unwrap();
    aws.move_label(&secret, "THEIRS", None, Some(&bare)).await.unwrap();
    for (what, version) in [("current", current), ("custom label", labelled), ("no label", bare)] {
        let other = aws.put(&secret, &version, "other", &["AWSPENDING"]).await;
        refused(what, other, "ResourceExistsException")?;
    }
    Ok(())
}

pub(crate) async fn the_same_put_again_changes_nothing(aws: Client) -> Check {
    let (secret, first) = aws.create("one").await;
    let slot = token();
    aws.put(&secret, &slot, "two", &["AWSPENDING"]).await.unwrap();
    aws.move_label(&secret, "AWSPENDING", None, Some(&slot)).await.unwrap();
    aws.put(&secret, &slot, "two", &["AWSPENDING"]).await?;
    let labels = aws.labels(&secret, &slot).await.unwrap_or_default();
    same("its labels", &labels, &Vec::<String>::new())?;
    same("the other's labels", &aws.labels(&secret, &first).await, &Some(vec!["AWSCURRENT".to_owned()]))
}

/// 16 writers, one token: one of them wins, and everybody reads what it wrote.
pub(crate) async fn one_writer_wins(aws: Client) -> Check {
    let (secret, _) = aws.create("old").await;
    let slot = token();
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let (aws, secret, slot) = (aws.clone(), secret.clone(), slot.clone());
            tokio::spawn(async move {
                let text = format!("by {writer}");
                (text.clone(), aws.put(&secret, &slot, &text, &["AWSPENDING"]).await)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for writer in writers {
        match writer.await.unwrap() {
            (text, Ok(_)) => winners.push(text),
            (_, refusal) => refused("a loser", refusal, "ResourceExistsException")?,
        }
    }
    same("winners", &winners.len(), &1)?;
    let read = aws.secrets("GetSecretValue", json!({"SecretId": secret, "VersionId": slot})).await.unwrap();
    same("the value", &read["SecretString"], &winners[0].as_str())
}

/// S3.
pub(crate) async fn a_read_without_version_follows_the_label(aws: Client) -> Check {
    let (secret, first) = aws.create("one").await;
    let slot = token();
    aws.put(&secret, &slot, "two", &["AWSPENDING"]).await.unwrap();
    same("before", &aws.current(&secret).await.unwrap(), &"one")?;
    aws.move_label(&secret, "AWSCURRENT", Some(&slot), Some(&first)).await.unwrap();
    same("after", &aws.current(&secret).await.unwrap(), &"two")
}

/// The second compare-and-set of the rotation protocol.
pub(crate) async fn the_current_label_moves_from_its_holder_only(aws: Client) -> Check {
    let (secret, first) = aws.create("one").await;
    let slot = token();
    aws.put(&secret, &slot, "two", &["AWSPENDING"]).await.unwrap();
    let wrong = aws.move_label(&secret, "AWSCURRENT", Some(&slot), Some(&slot)).await;
    refused("from another", wrong, "InvalidParameterException")?;
    let unnamed = aws.move_label(&secret, "AWSCURRENT", Some(&slot), None).await;
    refused("from nobody", unnamed, "InvalidParameterException")?;
    aws.move_label(&secret, "AWSCURRENT", Some(&slot), Some(&first)).await?;
    let again = aws.move_label(&secret, "AWSCURRENT", Some(&slot), Some(&first)).await;
    refused("again", again, "InvalidParameterException")?;
    same("the loser", &aws.labels(&secret, &first).await, &Some(vec!["AWSPREVIOUS".to_owned()]))?;
    aws.move_label(&secret, "AWSPENDING", None, Some(&slot)).await?;
    same("the winner", &aws.labels(&secret, &slot).await, &Some(vec!["AWSCURRENT".to_owned()]))?;
    let gone = aws.move_label(&secret, "AWSPENDING", None, Some(&slot)).await;
    refused("a label that is not there", gone, "InvalidParameterException")
}

/// S4.
pub(crate) async fn any_label_moves_from_its_holder_only(aws: Client) -> Check {
    let (secret, first) = aws.create("one").await;
    let slot = token();
    aws.put(&secret, &slot, "two", &["AWSPENDING"]).await.unwrap();
    let unnamed = aws.move_label(&secret, "AWSPENDING", Some(&first), None).await;
    refused("from nobody", unnamed, "InvalidParameterException")?;
    same("the holder", &aws.labels(&secret, &slot).await, &Some(vec!["AWSPENDING".to_owned()]))
}

/// The trap of a random token: it takes the label of a rotation that is under way.
pub(crate) async fn a_put_takes_its_labels_away_from_others(aws: Client) -> Check {
    let (secret, _) = aws.create("one").await;
    let (slot, thief) = (token(), token());
    aws.put(&secret, &slot, "two", &["AWSPENDING"]).await.unwrap();
    aws.put(&secret, &thief, "three", &["AWSPENDING"]).await.unwrap();
    same("the thief", &aws.labels(&secret, &thief).await, &Some(vec!["AWSPENDING".to_owned()]))?;
    same("the robbed", &aws.labels(&secret, &slot).await.unwrap_or_default(), &Vec::<String>::new())
}

/// S5.
pub(crate) async fn a_new_current_version_leaves_other_labels_alone(aws: Client) -> Check {
    let (secret, first) = aws.create("one").await;
    aws.move_label(&secret, "OURS", Some(&first), None).await.unwrap();
    aws.put(&secret, &token(), "two", &["AWSCURRENT"]).await.unwrap();
    let labels = aws.labels(&secret, &first).await.unwrap_or_default();
    same("the old version", &labels, &["AWSPREVIOUS", "OURS"])
}

/// S6.
pub(crate) async fn a_secret_that_is_to_be_deleted_is_left_alone(aws: Client) -> Check {
    let (secret, first) = aws.create("one").await;
    aws.secrets("DeleteSecret", json!({"SecretId": secret})).await.unwrap();
    let marked = "InvalidRequestException";
    refused("put", aws.put(&secret, &token(), "two", &["AWSPENDING"]).await, marked)?;
    refused("label", aws.move_label(&secret, "OURS", Some(&first), None).await, marked)?;
    refused("read", aws.secrets("GetSecretValue", json!({"SecretId": secret})).await, marked)?;
    let described = aws.secrets("DescribeSecret", json!({"SecretId": secret})).await?;
    same("a date", &described["DeletedDate"].is_number(), &true)?;
    aws.secrets("RestoreSecret", json!({"SecretId": secret})).await?;
    same("restored", &aws.current(&secret).await?, &"one")
}

/// S7.
pub(crate) async fn the_name_of_a_secret_that_is_to_be_deleted_is_taken(aws: Client) -> Check {
    let (secret, _) = aws.create("one").await;
    aws.secrets("DeleteSecret", json!({"SecretId": secret})).await.unwrap();
    let input = json!({"Name": secret, "ClientRequestToken": token(), "SecretString": "two"});
    refused("create", aws.secrets("CreateSecret", input).await, "InvalidRequestException")
}

/// S8.
pub(crate) async fn values_have_a_largest_size(aws: Client) -> Check {
    let (secret, _) = aws.create("one").await;
    aws.put(&secret, &token(), &"x".repeat(65_536), &["AWSPENDING"]).await?;
    refused_somehow("65537 bytes", &aws.put(&secret, &token(), &"x".repeat(65_537), &["AWSPENDING"]).await)
}

/// S9.
pub(crate) async fn names_have_their_characters(aws: Client) -> Check {
    let input = |name: &str| json!({"Name": name, "ClientRequestToken": token(), "SecretString": "x"});
    aws.secrets("CreateSecret", input(&format!("a/b_c+d=e.f@{}", token()))).await?;
    refused_somehow("a blank", &aws.secrets("CreateSecret", input(&format!("a {}", token()))).await)
}

/// S10.
pub(crate) async fn only_labelled_versions_are_described(aws: Client) -> Check {
    let (secret, first) = aws.create("one").await;
    aws.put(&secret, &token(), "two", &["AWSCURRENT"]).await.unwrap();
    aws.put(&secret, &token(), "three", &["AWSCURRENT"]).await.unwrap();
    same("an old version", &aws.labels(&secret, &first).await, &None)
}

/// S20.
pub(crate) async fn deprecated_versions_are_listed_when_asked_for(aws: Client) -> Check {
    let (secret, first) = aws.create("one").await;
    let (second, third) = (token(), token());
    aws.put(&secret, &second, "two", &["AWSCURRENT"]).await.unwrap();
    aws.put(&secret, &third, "three", &["AWSCURRENT"]).await.unwrap();
    let mut all = listed(&aws, &secret, true).await;
    let mut wanted = [first, second.clone(), third.clone()];
    all.sort();
    wanted.sort();
    same("all", &all, &wanted)?;
    let read = aws.secrets("GetSecretValue", json!({"SecretId": secret, "VersionId": wanted[0]})).await?;
    same("a value", &read["SecretString"].is_string(), &true)?;
    let labelled = listed(&aws, &secret, false).await;
    same("without asking", &labelled.len(), &2)
}

async fn listed(aws: &Client, secret: &str, deprecated: bool) -> Vec<String> {
    let input = json!({"SecretId": secret, "IncludeDeprecated": deprecated});
    let output = aws.secrets("ListSecretVersionIds", input).await.unwrap();
    let versions = output["Versions"].as_array().unwrap();
    versions.iter().map(|version| version["VersionId"].as_str().unwrap().to_owned()).collect()
}

/// S11: an empty secret, as CloudFormation may leave one.
pub(crate) async fn the_first_value_is_current(aws: Client) -> Check {
    let (secret, first) = (name(), token());
    aws.secrets("CreateSecret", json!({"Name": secret, "ClientRequestToken": token()})).await.unwrap();
    let empty = aws.secrets("GetSecretValue", json!({"SecretId": secret})).await;
    refused("empty", empty, "ResourceNotFoundException")?;
    aws.put(&secret, &first, "first", &["AWSPENDING"]).await?;
    same("its labels", &aws.labels(&secret, &first).await.unwrap_or_default(), &["AWSCURRENT", "AWSPENDING"])?;
    same("its value", &aws.current(&secret).await?, &"first")
}

/// S14.
pub(crate) async fn a_rotation_needs_a_function(aws: Client) -> Check {
    let (secret, _) = aws.create("one").await;
    let input = json!({"SecretId": secret, "ClientRequestToken": token()});
    refused("rotate", aws.secrets("RotateSecret", input).await, "InvalidRequestException")
}

/// S16.
pub(crate) async fn there_are_not_more_than_a_hundred_young_versions(aws: Client) -> Check {
    let (secret, _) = aws.create("one").await;
    for _ in 1..100 {
        aws.put(&secret, &token(), "x", &["AWSPENDING"]).await?;
    }
    let more = aws.put(&secret, &token(), "x", &["AWSPENDING"]).await;
    refused("the 101st", more, "LimitExceededException")
}

/// S17.
pub(crate) async fn the_same_creation_again_is_no_error(aws: Client) -> Check {
    let (secret, first) = aws.create("one").await;
    let input = json!({"Name": secret, "ClientRequestToken": first, "SecretString": "one"});
    let again = aws.secrets("CreateSecret", input).await?;
    same("its version", &again["VersionId"], &first.as_str())
}

/// S18.
pub(crate) async fn another_creation_is_refused(aws: Client) -> Check {
    let (secret, first) = aws.create("one").await;
    for (what, token, text) in [("other bytes", first, "two"), ("other token", token(), "one")] {
        let input = json!({"Name": secret, "ClientRequestToken": token, "SecretString": text});
        refused(what, aws.secrets("CreateSecret", input).await, "ResourceExistsException")?;
    }
    same("the value", &aws.current(&secret).await?, &"one")
}

pub(crate) async fn a_deletion_by_force_never_misses_the_secret(aws: Client) -> Check {
    let by_force = |secret: &str| json!({"SecretId": secret, "ForceDeleteWithoutRecovery": true});
    aws.secrets("DeleteSecret", by_force(&name())).await?;
    let (secret, _) = aws.create("one").await;
    aws.secrets("DeleteSecret", by_force(&secret)).await?;
    let gone = aws.secrets("DescribeSecret", json!({"SecretId": secret})).await;
    refused("afterwards", gone, "ResourceNotFoundException")
}

pub(crate) async fn what_is_not_there_is_not_found(aws: Client) -> Check {
    let not_found = "ResourceNotFoundException";
    for operation in ["GetSecretValue", "DescribeSecret"] {
        refused(operation, aws.secrets(operation, json!({"SecretId": "test/missing"})).await, not_found)?;
    }
    refused("put", aws.put("test/missing", &token(), "x", &["AWSPENDING"]).await, not_found)?;
    let (secret, _) = aws.create("one").await;
    let version = aws.secrets("GetSecretValue", json!({"SecretId": secret, "VersionId": token()})).await;
    refused("version", version, not_found)?;
    let label = aws.secrets("GetSecretValue", json!({"SecretId": secret, "VersionStage": "AWSPENDING"})).await;
    refused("label", label, not_found)
}

pub(crate) async fn version_and_label_must_agree(aws: Client) -> Check {
    let (secret, first) = aws.create("one").await;
    let read = |label: &str| json!({"SecretId": secret, "VersionId": first, "VersionStage": label});
    aws.secrets("GetSecretValue", read("AWSCURRENT")).await?;
    refused("another label", aws.secrets("GetSecretValue", read("AWSPENDING")).await, "InvalidRequestException")
}

pub(crate) async fn secrets_are_known_by_their_arn(aws: Client) -> Check {
    let (secret, _) = aws.create("one").await;
    let described = aws.secrets("DescribeSecret", json!({"SecretId": secret})).await.unwrap();
    let arn = described["ARN"].as_str().unwrap();
    same("its end", &arn.rsplit_once('-').map(|(start, end)| (start.ends_with(&secret), end.len())), &Some((true, 6)))?;
    same("its value", &aws.current(arn).await?, &"one")
}

pub(crate) async fn tokens_have_their_length(aws: Client) -> Check {
    let (secret, _) = aws.create("one").await;
    refused("31", aws.put(&secret, &"x".repeat(31), "two", &["AWSPENDING"]).await, "InvalidParameterException")?;
    refused("65", aws.put(&secret, &"x".repeat(65), "two", &["AWSPENDING"]).await, "InvalidParameterException")
}
