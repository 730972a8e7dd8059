//! The repositories of our own images, shared by all deployments of an account and region.

use serde_json::{Value, json};

use super::task::OWN_REPOSITORIES;
use crate::cfn::{Resource, Template};
use crate::model::{Encryption, Program};

/// The stack's name.
pub(crate) fn repositories_stack() -> String {
    format!("{OWN_REPOSITORIES}-Repositories")
}

/// Days after which an image that no tag names is deleted.
const UNTAGGED_DAYS: u32 = 14;

/// A repository for each program, kept when the stack goes: without its image no task starts anew.
pub(crate) fn repositories(encryption: &Encryption) -> Template {
    let mut template = Template::new("eventstore-fargate: repositories of certgen and bootstrap");
    for program in Program::ALL {
        let name = program.as_str();
        let id = match program {
            Program::Certgen => "CertgenRepository",
            Program::Bootstrap => "BootstrapRepository",
        };
        let properties = json!({
            "RepositoryName": format!("{OWN_REPOSITORIES}/{name}"),
            // What runs is what was reviewed: a tag never moves.
            "ImageTagMutability": "IMMUTABLE",
            "ImageScanningConfiguration": {"ScanOnPush": true},
            "EncryptionConfiguration": encrypted(encryption),
            "LifecyclePolicy": {"LifecyclePolicyText": lifecycle().to_string()},
            "Tags": [{"Key": "Name", "Value": format!("{OWN_REPOSITORIES}-{name}")}],
        });
        let repository = template.add(id, Resource::new("AWS::ECR::Repository", properties).retained());
        let uri = repository.attribute("RepositoryUri");
        let export = format!("{OWN_REPOSITORIES}:{id}Uri");
        template.export(&format!("{id}Uri"), format!("Where the image of {name} is pushed to"), uri, export);
    }
    template
}

/// By KMS in any case; the account's key for ECR costs nothing.
fn encrypted(encryption: &Encryption) -> Value {
    match encryption {
        Encryption::Existing(arn) => json!({"EncryptionType": "KMS", "KmsKey": arn.as_str()}),
        Encryption::Aws | Encryption::Own => json!({"EncryptionType": "KMS"}),
    }
}

/// An image with a tag stays, however old it is: some task may have to start from it tomorrow.
fn lifecycle() -> Value {
    json!({"rules": [{
        "rulePriority": 1,
        "description": "images that no tag names",
        "selection": {
            "tagStatus": "untagged",
            "countType": "sinceImagePushed",
            "countUnit": "days",
            "countNumber": UNTAGGED_DAYS,
        },
        "action": {"type": "expire"},
    }]})
}
