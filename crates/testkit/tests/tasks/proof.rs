//! What must hold when nothing is struck any more.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use infra::{Deployment, Node};
use serde_json::{Value, json};
use testkit::aws::{Aws, REGION};
use testkit::cluster::Cluster;
use testkit::consumer;
use testkit::programs::Programs;
use tokio::process::Command;
use tokio::time::timeout;

/// An operator's commands end by their own deadlines.
const COMMAND_WITHIN: Duration = Duration::from_mins(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const DEFAULT: &str = "changeit";
/// The password of users that a test writes.
const KEPT: &str = "kept";

/// Somebody with access to AWS and to the nodes.
pub(crate) struct Proof<'a> {
    deployment: &'a Deployment,
    aws: &'a Aws,
    service: String,
    programs: Programs,
}

impl<'a> Proof<'a> {
    pub(crate) fn of(deployment: &'a Deployment, aws: &'a Aws, cluster: &Cluster<'_>) -> Self {
        let service = cluster.deployed().client_service().to_owned();
        Self { deployment, aws, service, programs: Programs::beside_this_test() }
    }

    /// The first thing that is not in order.
    pub(crate) async fn finding(&self, cluster: &Cluster<'_>) -> Option<String> {
        let nodes = self.nodes(cluster);
        if let Some(finding) = self.registry(&nodes) {
            return Some(finding);
        }
        let document: Value = serde_json::from_str(&self.current(&self.deployment.ca_secret_name().unwrap())).unwrap();
        if document["phase"] != "steady" {
            return Some(format!("the authority is in {}", document["phase"]));
        }
        for login in self.deployment.logins() {
            if let Some(finding) = self.login(login, &nodes).await {
                return Some(format!("{login}: {finding}"));
            }
        }
        None
    }

    /// The nodes that are to have a task, and where their servers are.
    fn nodes(&self, cluster: &Cluster<'_>) -> Vec<(&'a Node, SocketAddr)> {
        let wanted = self.deployment.members().filter(|node| self.deployment.desired_count(node) > 0);
        wanted.map(|node| (node, cluster.address(node.name()))).collect()
    }

    /// Exactly the nodes that vote are registered, at the addresses of their tasks.
    fn registry(&self, nodes: &[(&Node, SocketAddr)]) -> Option<String> {
        let entries = self.aws.cloud_map(|cloud_map| cloud_map.instances(&self.service));
        let mut found: Vec<_> = entries
            .iter()
            .map(|entry| {
                let attribute = |name: &str| entry.attributes.get(name).map_or("", String::as_str);
                (entry.id.as_str(), format!("{}:{}", attribute("AWS_INSTANCE_IPV4"), attribute("AWS_INSTANCE_PORT")))
            })
            .collect();
        found.sort_unstable();
        let expected: Vec<_> = nodes
            .iter()
            .filter(|(node, _)| !node.is_read_only_replica())
            .map(|(node, address)| (node.name(), address.to_string()))
            .collect();
        (found != expected).then(|| format!("registered are {found:?} instead of {expected:?}"))
    }

    /// The current password, and no other, opens every node, whose certificate is by a root that the secret tells.
    async fn login(&self, login: &str, nodes: &[(&Node, SocketAddr)]) -> Option<String> {
        let name = self.deployment.secret_name(login);
        let versions = self.aws.secrets(|secrets| secrets.versions(&name));
        if versions.iter().any(|version| version.labels.iter().any(|label| label == "AWSPENDING")) {
            return Some("a version is pending".to_owned());
        }
        let secret: Value = serde_json::from_str(&self.current(&name)).unwrap();
        let text = |key: &str| secret[key].as_str().unwrap_or_default();
        for (node, address) in nodes {
            // Clients know a read-only replica by its own name alone.
            let host = if node.is_read_only_replica() { node.host() } else { text("host") };
            let name = node.name();
            for (password, expected) in [(text("password"), 200), (DEFAULT, 401)] {
                let login = Some((text("username"), password));
                let asked = consumer::get(*address, host, text("caCertificate"), "/ping", login);
                let answer = timeout(ANSWER_WITHIN, asked).await;
                let what = if password == DEFAULT { "the default" } else { "the stored password" };
                match answer {
                    Ok(Ok((status, _))) if status == expected => {}
                    Ok(Ok((status, _))) => return Some(format!("{name} answers {status} to {what}")),
                    Ok(Err(error)) => return Some(format!("{name} to {what}: {error}")),
                    Err(_) => return Some(format!("{name} does not answer to {what}")),
                }
            }
        }
        None
    }

    /// Writes a user to the database that nothing of ours knows.
    pub(crate) async fn write(&self, cluster: &Cluster<'_>, login: &str) {
        let secret: Value = serde_json::from_str(&self.current(&self.deployment.secret_name("admin"))).unwrap();
        let text = |key: &str| secret[key].as_str().unwrap();
        let (_, address) = self.nodes(cluster)[0];
        let user = json!({"loginName": login, "fullName": login, "groups": [], "password": KEPT});
        let (host, ca, admin) = (text("host"), text("caCertificate"), (text("username"), text("password")));
        let answer = consumer::post(address, host, ca, "/users", admin, &user).await.unwrap();
        assert_eq!(answer, 201, "{login}");
    }

    /// Whether every node has a user that was written.
    pub(crate) async fn still_there(&self, cluster: &Cluster<'_>, login: &str) {
        let secret: Value = serde_json::from_str(&self.current(&self.deployment.secret_name("admin"))).unwrap();
        let text = |key: &str| secret[key].as_str().unwrap();
        for (node, address) in self.nodes(cluster) {
            let answer =
                consumer::get(address, text("host"), text("caCertificate"), "/ping", Some((login, KEPT))).await;
            assert_eq!(answer.unwrap().0, 200, "{} has lost what was written", node.name());
        }
    }

    fn current(&self, secret: &str) -> String {
        self.aws.secrets(|secrets| secrets.current(secret)).unwrap_or_else(|| "{}".to_owned())
    }

    pub(crate) async fn rotate_passwords(&self) {
        let mut rotate = Command::new(self.programs.bootstrap());
        rotate.arg("rotate");
        let secret = |login| self.deployment.secret_name(login);
        rotate.args(["--admin-secret", &secret("admin"), "--ops-secret", &secret("ops")]);
        self.run(rotate).await;
    }

    pub(crate) async fn rotate_authority(&self) {
        let mut rotate = Command::new(self.programs.certgen());
        rotate.args(["ca", "rotate", "--secret", &self.deployment.ca_secret_name().unwrap()]);
        self.run(rotate).await;
    }

    /// Runs an operator's command beside the tasks. It may be refused, for example because something is under way.
    async fn run(&self, mut command: Command) {
        command.env_clear().kill_on_drop(true).stdout(Stdio::null()).stderr(Stdio::null());
        command.envs([("AWS_REGION", REGION), ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]);
        command.env("AWS_ENDPOINT_URL", self.aws.endpoint());
        command.env("BOOTSTRAP_ALLOW_HTTP_ENDPOINT", "true").env("CERTGEN_ALLOW_HTTP_ENDPOINT", "true");
        timeout(COMMAND_WITHIN, command.status()).await.unwrap().unwrap();
    }
}
