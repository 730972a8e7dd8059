//! References to container images: what is allowed, and what in them ECR must be asked for.

use std::fmt;
use std::str::FromStr;

use crate::values::{RepositoryPrefix, ValueError};

/// An image with a tag, a digest or both: `registry/name:1.2.3`, `registry/name@sha256:…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageReference(String);

/// A repository in a private registry of ECR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EcrRepository<'a> {
    /// The account of the registry, 12 digits.
    pub(crate) account: &'a str,
    /// The region of the registry.
    pub(crate) region: &'a str,
    /// The name, which may contain slashes.
    pub(crate) name: &'a str,
}

impl ImageReference {
    /// For a text of ours.
    pub(crate) fn new_unchecked(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
        let (name, tag) = split_tag(rest);
        let good = text.len() <= 255
            && (tag.is_some() || digest.is_some())
            && is_name(name)
            && tag.is_none_or(is_tag)
            && digest.is_none_or(is_digest);
        if good {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "`{text}` is not an image with a tag or digest; allowed are for example registry/name:1.2.3 and registry/name@sha256:<64 hexadecimal digits>"
        ))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the same image for ever; a tag can be given to another one.
    pub(crate) fn has_digest(&self) -> bool {
        self.0.contains('@')
    }

    /// The repository, if it is in a private registry of ECR: `<account>.dkr.ecr.<region>.<suffix>/<name>` or, over
    /// IPv6 too, `<account>.dkr-ecr.<region>.<suffix>/<name>` (AWS, "Making requests to Amazon ECR registries").
    pub(crate) fn ecr_repository(&self) -> Option<EcrRepository<'_>> {
        let (host, path) = self.0.split_once('/')?;
        let (account, service) = host.split_once('.')?;
        let region = ["dkr.ecr.", "dkr-ecr."].iter().find_map(|prefix| service.strip_prefix(prefix))?;
        let region = region.split('.').next()?;
        let (name, _) = split_tag(path.split('@').next()?);
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        is_account.then_some(EcrRepository { account, region, name })
    }

    /// The prefix of the pull-through cache that the image is of.
    pub(crate) fn pulled_through<'a>(&self, prefixes: &'a [RepositoryPrefix]) -> Option<&'a RepositoryPrefix> {
        let name = self.ecr_repository()?.name;
        let below =
            |prefix: &&RepositoryPrefix| name.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.starts_with('/'));
        prefixes.iter().find(below)
    }
}

impl FromStr for ImageReference {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Self::parse(text).map_err(ValueError::new)
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Takes the tag off; a colon before the last slash belongs to the port of the registry.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

/// Components between slashes; the first may be the host of a registry, with a port.
fn is_name(name: &str) -> bool {
    let mut components = name.split('/').peekable();
    let mut first = true;
    while let Some(component) = components.next() {
        let host = first && components.peek().is_some();
        let allowed = |byte: u8| match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => true,
            b'A'..=b'Z' | b':' => host,
            _ => false,
        };
        let ends = [component.bytes().next(), component.bytes().last()];
        if !component.bytes().all(allowed) || !ends.iter().all(|end| end.is_some_and(|end| end.is_ascii_alphanumeric()))
        {
            return false;
        }
        first = false;
    }
    true
}

fn is_tag(tag: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=128).contains(&tag.len()) && tag.bytes().all(allowed) && !tag.starts_with(['.', '-'])
}

fn is_digest(digest: &str) -> bool {
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    digest.strip_prefix("sha256:").is_some_and(|hash| hash.len() == 64 && hash.bytes().all(hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> String {
        format!("sha256:{}", "0a".repeat(32))
    }

    #[test]
    fn an_image_has_a_tag_or_a_digest() {
        let digest = digest();
        for good in [
            "name:1",
            "docker.eventstore.com/eventstore/eventstoredb-ee:24.10",
            "Registry.example:5000/a/b_c:V1.2-x",
            &format!("name@{digest}"),
            &format!("registry/name:1@{digest}"),
        ] {
            assert!(ImageReference::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "name",
            "registry:5000/name",
            ":1",
            "a/:1",
            "/a:1",
            "a//b:1",
            "-a:1",
            "a:",
            "a:.1",
            "Name:1",
            "a b:1",
            "name@sha256:0",
            "name@md5:00",
            "a:b:c",
            "name:${Tag}",
            &format!("name:{}", "x".repeat(129)),
            &format!("name@{}", digest.to_uppercase()),
        ] {
            assert!(ImageReference::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_repository_of_ecr_is_known_by_its_host() {
        let digest = digest();
        for text in [
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mirror/server:24.10",
            "123456789012.dkr-ecr.eu-west-1.on.aws/mirror/server:24.10",
            &format!("123456789012.dkr.ecr.eu-west-1.amazonaws.com.cn/mirror/server@{digest}"),
        ] {
            let image = ImageReference::parse(text).unwrap();
            let expected = EcrRepository { account: "123456789012", region: "eu-west-1", name: "mirror/server" };
            assert_eq!(image.ecr_repository(), Some(expected), "{text}");
        }
        for text in
            ["name:1", "public.ecr.aws/a/b:1", "12.dkr.ecr.eu-west-1.amazonaws.com/a:1", "docker.io/dkr.ecr/a:1"]
        {
            assert_eq!(ImageReference::parse(text).unwrap().ecr_repository(), None, "{text}");
        }
    }
}
