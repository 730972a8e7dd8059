//! Names that AWS gave to what is there already.

use std::fmt;

/// A text of AWS's with its own form: the type, what it is called, an example, and the check.
macro_rules! names {
    ($($(#[$doc:meta])* $type:ident is $what:literal such as $example:literal if $check:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
            pub(crate) struct $type(String);

            impl $type {
                pub(crate) fn parse(text: &str) -> Result<Self, String> {
                    let good: fn(&str) -> bool = $check;
                    if good(text) {
                        return Ok(Self(text.to_owned()));
                    }
                    Err(format!(concat!("`{}` is not ", $what, "; allowed is for example ", $example), text))
                }

                pub(crate) fn as_str(&self) -> &str {
                    &self.0
                }
            }

            impl fmt::Display for $type {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(&self.0)
                }
            }
        )*

        #[cfg(test)]
        const EXAMPLES: &[(&str, fn(&str) -> bool)] =
            &[$(($example, |text| $type::parse(text).is_ok_and(|parsed| parsed.as_str() == text)),)*];
    };
}

names! {
    /// A VPC.
    VpcId is "the id of a VPC" such as "vpc-0123456789abcdef0" if |text| is_id("vpc", text);
    /// A subnet.
    SubnetId is "the id of a subnet" such as "subnet-0123456789abcdef0" if |text| is_id("subnet", text);
    /// A security group.
    SecurityGroupId is "the id of a security group" such as "sg-0123456789abcdef0" if |text| is_id("sg", text);
    /// A prefix list.
    PrefixListId is "the id of a prefix list" such as "pl-6da54004" if |text| is_id("pl", text);
    /// What the names of repositories of ECR begin with.
    RepositoryPrefix is "what a repository of ECR begins with" such as "docker-hub" if |text| {
        let known = |byte: u8| is_lower_alphanumeric(byte) || b"._/-".contains(&byte);
        let ends = [text.bytes().next(), text.bytes().last()];
        let parts = text.split(['.', '_', '/', '-']).all(|part| !part.is_empty());
        text.len() <= 30 && text.bytes().all(known) && ends.iter().all(Option::is_some) && parts
    };
    /// A file system of EFS.
    FileSystemId is "the id of a file system of EFS" such as "fs-0123456789abcdef0" if |text| is_id("fs", text);
    /// A namespace of Cloud Map.
    NamespaceId is "the id of a namespace of Cloud Map" such as "ns-0123456789abcdef" if |text| {
        let id = text.strip_prefix("ns-");
        id.is_some_and(|id| (1..=64).contains(&id.len()) && id.bytes().all(is_lower_alphanumeric))
    };
    /// A hosted zone of Route 53.
    HostedZoneId is "the id of a hosted zone of Route 53" such as "Z0123456789ABCDEFGHIJ" if |text| {
        let upper = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        text.starts_with('Z') && (2..=32).contains(&text.len()) && text.bytes().all(upper)
    };
    /// A secret, with the six characters that AWS appends to its name: only so it is one secret and no prefix.
    SecretArn is "the whole ARN of a secret" such as
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:orders/admin-AbCdEf" if |text| {
        let name = in_region(text, "secretsmanager").and_then(|rest| rest.strip_prefix("secret:"));
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte);
        let suffixed = |name: &str| {
            let (name, suffix) = name.rsplit_once('-')?;
            let good = !name.is_empty() && suffix.len() == 6 && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric());
            good.then_some(())
        };
        name.is_some_and(|name| name.len() <= 519 && name.bytes().all(known) && suffixed(name).is_some())
    };
    /// A key of KMS.
    KeyArn is "the ARN of a key of KMS" such as
        "arn:aws:kms:eu-west-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef" if |text| {
        let id = in_region(text, "kms").and_then(|rest| rest.strip_prefix("key/"));
        let known = |byte: u8| is_lower_alphanumeric(byte) || byte == b'-';
        id.is_some_and(|id| (36..=64).contains(&id.len()) && id.bytes().all(known))
    };
    /// A topic of SNS.
    TopicArn is "the ARN of a topic of SNS" such as "arn:aws:sns:eu-west-1:123456789012:operations" if |text| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        in_region(text, "sns").is_some_and(|name| (1..=256).contains(&name.len()) && name.bytes().all(known))
    };
    /// An address that is written to.
    EmailAddress is "an e-mail address" such as "operations@example.com" if |text| {
        let known = |byte: u8| byte.is_ascii_graphic() && byte != b'@';
        text.split_once('@').is_some_and(|(name, host)| {
            (1..=64).contains(&name.len()) && (1..=189).contains(&host.len()) && [name, host].iter().all(|part| part.bytes().all(known))
        })
    };
    /// A role of IAM.
    RoleArn is "the ARN of a role" such as "arn:aws:iam::123456789012:role/ecs-execution" if |text| {
        let role = arn(text, "iam").and_then(|(region, account, rest)| {
            (region.is_empty() && is_account(account)).then(|| rest.strip_prefix("role/"))?
        });
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=,.@-".contains(&byte);
        role.is_some_and(|role| {
            (1..=576).contains(&role.len()) && role.bytes().all(known) && !role.starts_with('/') && !role.ends_with('/')
        })
    };
    /// A vault of AWS Backup.
    VaultName is "the name of a backup vault" such as "Default" if |text| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        (2..=50).contains(&text.len()) && text.bytes().all(known)
    };
    /// A vault of AWS Backup, maybe in another region or account.
    VaultArn is "the ARN of a backup vault" such as
        "arn:aws:backup:eu-central-1:123456789012:backup-vault:orders-copies" if |text| {
        let name = in_region(text, "backup").and_then(|rest| rest.strip_prefix("backup-vault:"));
        name.is_some_and(|name| VaultName::parse(name).is_ok())
    };
    /// A recovery point of AWS Backup. That of an EFS file system is named by an id alone.
    RecoveryPointArn is "the ARN of a recovery point of a file system" such as
        "arn:aws:backup:eu-west-1:123456789012:recovery-point:1EB3B5E7-9EB0-435A-A80B-108B488B0D45" if |text| {
        let id = in_region(text, "backup").and_then(|rest| rest.strip_prefix("recovery-point:"));
        let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        id.is_some_and(|id| (1..=64).contains(&id.len()) && id.bytes().all(known))
    };
    /// A region.
    RegionName is "a region of AWS" such as "eu-central-1" if |text| {
        let parts: Vec<_> = text.split('-').collect();
        let known = |part: &&str| !part.is_empty() && part.bytes().all(is_lower_alphanumeric);
        (3..=4).contains(&parts.len())
            && text.len() <= 32
            && parts.iter().all(known)
            && parts.last().is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    };
}

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `<prefix>-` and 8 or 17 hexadecimal digits (AWS, "Amazon EC2 resource IDs").
fn is_id(prefix: &str, text: &str) -> bool {
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let id = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
    id.is_some_and(|id| [8, 17].contains(&id.len()) && id.bytes().all(hex))
}

/// Region, account and what follows of an ARN of a service.
fn arn<'a>(text: &'a str, service: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let mut parts = text.splitn(6, ':');
    let known = parts.next() == Some("arn")
        && parts.next().is_some_and(|partition| partition == "aws" || partition.starts_with("aws-"))
        && parts.next() == Some(service);
    known.then_some((parts.next()?, parts.next()?, parts.next()?))
}

fn in_region<'a>(text: &'a str, service: &str) -> Option<&'a str> {
    let (region, account, rest) = arn(text, service)?;
    let known = |byte: u8| is_lower_alphanumeric(byte) || byte == b'-';
    (!region.is_empty() && region.bytes().all(known) && is_account(account)).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_allowed_and_nothing_that_is_cut_off() {
        for (example, parse) in EXAMPLES {
            assert!(parse(example), "{example}");
            for bad in ["", " ", &format!("{example} "), &format!(" {example}"), &format!("{example}\u{e4}"), "a:b"] {
                assert!(!parse(bad), "`{bad}`");
            }
        }
    }

    #[test]
    fn an_id_has_its_kind_and_its_length() {
        for good in ["vpc-01234567", "vpc-0123456789abcdef0"] {
            assert!(VpcId::parse(good).is_ok(), "{good}");
        }
        for bad in ["subnet-01234567", "vpc-0123456", "vpc-0123456789abcdef01", "vpc-0123456G", "vpc01234567"] {
            assert!(VpcId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_arn_is_whole() {
        let partition = "arn:aws-us-gov:secretsmanager:us-gov-west-1:123456789012:secret:a-AbCdEf";
        assert!(SecretArn::parse(partition).is_ok());
        for bad in [
            "arn:aws:secretsmanager:eu-west-1:123456789012:secret:orders/admin",
            "arn:aws:secretsmanager:eu-west-1:123456789012:secret:-AbCdEf",
            "arn:aws:secretsmanager::123456789012:secret:a-AbCdEf",
            "arn:aws:secretsmanager:eu-west-1:1234:secret:a-AbCdEf",
            "arn:aws:kms:eu-west-1:123456789012:secret:a-AbCdEf",
        ] {
            assert!(SecretArn::parse(bad).is_err(), "{bad}");
        }
        assert!(KeyArn::parse("arn:aws:kms:eu-west-1:123456789012:alias/orders").is_err(), "roles are granted keys");
        assert!(RoleArn::parse("arn:aws:iam::123456789012:role/path/name").is_ok());
        assert!(RoleArn::parse("arn:aws:iam::123456789012:user/name").is_err());
    }
}
