//! What is wrong with a command line, and the values that are good.

use std::env;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use certgen::MetadataUri;
use certgen::aws::endpoint_mistakes;

use super::args::{ALLOW_HTTP_ENDPOINT, AwsArgs, RunArgs, UserArgs};
use crate::ecs::Task;
use crate::ports::SecretId;
use crate::scavenge::Schedule;
use crate::settings::{TaskSource, Users};
use crate::user::{ADMIN, OPS, User, parse_users};

/// All that is wrong, so that one run tells everything.
pub(super) struct Mistakes(pub(super) Vec<String>);

impl Mistakes {
    /// What is wrong with the places where AWS would be asked.
    pub(super) fn in_environment(aws: &AwsArgs) -> Self {
        Self(endpoint_mistakes(env::vars_os(), aws.allow_http_endpoint, ALLOW_HTTP_ENDPOINT))
    }

    pub(super) fn check(&mut self, flag: &str, holds: bool, mistake: &str) -> bool {
        if !holds {
            self.0.push(format!("{flag}: {mistake}"));
        }
        holds
    }

    pub(super) fn parse<T: FromStr>(&mut self, flag: &str, text: &str, allowed: &str) -> Option<T> {
        let value = text.parse().ok();
        self.check(flag, value.is_some(), &format!("`{text}` is not {allowed}"));
        value
    }

    /// Who the task is, or where that can be learned.
    pub(super) fn task(
        &mut self,
        address: Option<String>,
        arn: Option<String>,
        uri: Option<String>,
    ) -> Option<TaskSource> {
        match (address, arn, uri) {
            (Some(address), Some(arn), _) => self
                .parse::<IpAddr>("--address", &address, "an IP address")
                .map(|address| TaskSource::Given(Task { arn, address })),
            (_, _, Some(uri)) => self.ecs("ECS_CONTAINER_METADATA_URI_V4", &uri).map(TaskSource::Metadata),
            (_, _, None) => {
                let missing =
                    "not given, and there is no ECS_CONTAINER_METADATA_URI_V4 to ask; give --address and --task-arn";
                self.check("--address", false, missing);
                None
            }
        }
    }

    pub(super) fn ecs(&mut self, name: &str, text: &str) -> Option<String> {
        let uri = text.parse::<MetadataUri>().map_err(|mistake| self.check(name, false, &mistake));
        Some(uri.ok()?.as_str().to_owned())
    }

    /// The other nodes that vote; none if nothing was given.
    pub(super) fn peers(&mut self, text: &str, others: Option<usize>) -> Vec<String> {
        if text.is_empty() {
            return Vec::new();
        }
        let names: Vec<_> = text.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
        let is_name = |name: &String| {
            let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
            !name.is_empty() && name.len() <= 253 && name.chars().all(allowed)
        };
        for (number, name) in names.iter().enumerate() {
            self.check("--peers", is_name(name), &format!("`{name}` is not a host name; ports are left out"));
            self.check("--peers", !names[..number].contains(name), &format!("`{name}` stands there twice"));
        }
        if let Some(others) = others {
            let mistake = format!("{} names; the other nodes of the cluster that vote are {others}", names.len());
            self.check("--peers", names.len() == others, &mistake);
        }
        names
    }

    /// What goes with users, or with TLS, does not go with a server that has neither.
    pub(super) fn insecure(&mut self, args: &RunArgs, server: Option<SocketAddr>, has_certificates: bool) {
        let UserArgs { admin_secret, ops_secret, users, users_file } = &args.users;
        let is_given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let given = [
            ("--admin-secret", is_given(admin_secret)),
            ("--ops-secret", is_given(ops_secret)),
            ("--users", is_given(users)),
            ("--users-file", users_file.is_some()),
            ("--rotate-every", is_given(&args.rotate_every)),
            ("--recover-with-node-certificate", args.recover_with_node_certificate),
            ("--scavenge-at", is_given(&args.scavenge_at)),
        ];
        for (flag, is_given) in given {
            self.check(flag, !is_given, "it does not go with --insecure: such a server has no users");
        }
        self.check("CERTGEN_*", !has_certificates, "they do not go with --insecure: such a server has no certificates");
        if let Some(server) = server {
            let mistake = format!("`{server}` is not an address of loopback, which --insecure needs");
            self.check("--server", server.ip().is_loopback(), &mistake);
        }
    }

    /// The built-in users and those of applications, each with a secret of its own. `None` only with a mistake.
    pub(super) fn users(&mut self, args: UserArgs) -> Option<Users> {
        let [admin_secret, ops_secret] = [("--admin-secret", args.admin_secret), ("--ops-secret", args.ops_secret)]
            .map(|(flag, secret)| {
                let secret = secret.filter(|secret| !secret.is_empty());
                self.check(flag, secret.is_some(), "not given; each of the built-in users needs a secret");
                secret
            });
        if admin_secret.is_some() && admin_secret == ops_secret {
            self.check("--ops-secret", false, "it is the secret of admin; each user needs one of its own");
        }
        let (flag, text) = match (args.users, args.users_file) {
            (Some(text), _) => ("--users", Ok(text)),
            (None, Some(file)) => (
                "--users-file",
                fs::read_to_string(&file).map_err(|error| format!("could not read `{}`: {error}", file.display())),
            ),
            (None, None) => ("--users", Ok(String::new())),
        };
        let parsed = match text {
            Ok(text) if text.is_empty() => Ok(Vec::new()),
            Ok(text) => parse_users(&text),
            Err(mistake) => Err(vec![mistake]),
        };
        let mut others = vec![User::built_in(OPS, SecretId(ops_secret?))];
        match parsed {
            Ok(users) => others.extend(users),
            Err(mistakes) => self.0.extend(mistakes.into_iter().map(|mistake| format!("{flag}: {mistake}"))),
        }
        let admin = User::built_in(ADMIN, SecretId(admin_secret?));
        for (number, user) in others.iter().enumerate().skip(1) {
            let is_taken = std::iter::once(&admin).chain(&others[..number]).any(|other| other.secret == user.secret);
            let mistake = format!("the secret of `{}` is another user's; each needs one of its own", user.login);
            self.check(flag, !is_taken, &mistake);
        }
        Some(Users { admin, others })
    }

    pub(super) fn scavenge(&mut self, args: &RunArgs) -> Option<(Schedule, Duration)> {
        let flag = "--scavenge-at";
        let window = self.duration("--scavenge-window", &args.scavenge_window);
        let text = args.scavenge_at.as_deref().filter(|text| !text.is_empty())?;
        let schedule: Option<Schedule> = self.parse(flag, text, "a time of UTC, for example 03:00 or Sun 03:00");
        let is_shorter = schedule.zip(window).is_none_or(|(schedule, window)| window < schedule.period());
        self.check("--scavenge-window", is_shorter, "it is not shorter than the time from one scavenge to the next");
        let is_remembered = args.status_file.is_some();
        self.check(flag, is_remembered, "it needs --status-file, where it is remembered that a scavenge was begun");
        schedule.zip(window)
    }

    pub(super) fn days(&mut self, flag: &str, text: &str) -> Option<Duration> {
        let unit = match text.chars().last() {
            Some('d') => 24,
            Some('h') => 1,
            _ => 0,
        };
        let count: Option<u32> = text.get(..text.len().saturating_sub(1)).and_then(|count| count.parse().ok());
        let value = count.map(|count| Duration::from_hours(u64::from(count) * unit));
        let value = value.filter(|value| (Duration::from_hours(1)..=Duration::from_hours(3650 * 24)).contains(value));
        self.check(flag, value.is_some(), &format!("`{text}` is not a time of 1h to 3650d, for example 12h, 30d"));
        value
    }

    pub(super) fn duration(&mut self, flag: &str, text: &str) -> Option<Duration> {
        let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
        let unit = match &text[digits.len()..] {
            "ms" => Some(Duration::from_millis(1)),
            "s" => Some(Duration::from_secs(1)),
            "m" => Some(Duration::from_mins(1)),
            "h" => Some(Duration::from_hours(1)),
            _ => None,
        };
        let value = digits.parse::<u32>().ok().zip(unit).map(|(count, unit)| unit * count);
        let value = value.filter(|value| !value.is_zero() && *value <= Duration::from_hours(7 * 24));
        self.check(
            flag,
            value.is_some(),
            &format!("`{text}` is not a time of 1ms to 168h, for example 500ms, 30s, 10m, 3h"),
        );
        value
    }
}
