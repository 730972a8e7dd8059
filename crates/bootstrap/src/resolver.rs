//! Names of peers become addresses; the only file that names hickory. What the C library's resolver hides it tells: whether
//! there is no such name, or nobody knows.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// A silent name server costs this much twice: it is asked again once.
const TIMEOUT: Duration = Duration::from_secs(1);
const REPEATS: usize = 1;

/// Asks the system's name servers and hosts file, or one given name server.
#[derive(Clone)]
pub struct Resolver(Result<TokioResolver, String>);

impl Resolver {
    /// The name server at `dns`, or else what the system's configuration names. That a system has none is said only when
    /// a name is asked for: a single node has no peers.
    pub fn new(dns: Option<SocketAddr>) -> Self {
        Self(dns.map_or_else(system, at).map_err(|error| format!("no name server can be asked: {error}")))
    }

    /// Knows no name.
    pub(crate) fn nobody() -> Self {
        Self(Err("only the own node is asked".to_owned()))
    }

    /// Whether a name server said that `name` has no address. That nobody could be asked, or knew, is no such word.
    pub(crate) async fn lacks(&self, name: &str) -> bool {
        let Ok(resolver) = &self.0 else { return false };
        resolver.lookup_ip(complete(name)).await.is_err_and(|error| error.is_no_records_found())
    }

    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        let resolver = self.0.as_ref().map_err(Clone::clone)?;
        match resolver.lookup_ip(complete(name)).await {
            Ok(found) => Ok(found.iter().collect()),
            Err(error) if error.is_no_records_found() => Err(format!("`{name}` has no address")),
            Err(error) => Err(format!("`{name}` could not be resolved: {error}")),
        }
    }
}

/// A name with a dot is complete; search domains would only hide what the name server said about it.
fn complete(name: &str) -> String {
    if name.contains('.') && !name.ends_with('.') { format!("{name}.") } else { name.to_owned() }
}

fn at(server: SocketAddr) -> Result<TokioResolver, NetError> {
    let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
    (udp.port, tcp.port) = (server.port(), server.port());
    let server = NameServerConfig::new(server.ip(), true, vec![udp, tcp]);
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    limit(builder.options_mut());
    builder.options_mut().use_hosts_file = ResolveHosts::Never;
    builder.build()
}

fn system() -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_tokio()?;
    limit(builder.options_mut());
    builder.build()
}

fn limit(options: &mut ResolverOpts) {
    (options.timeout, options.attempts) = (TIMEOUT, REPEATS);
    // A node comes back under another address: every question is asked.
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv4Only;
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let found = resolver.addresses(name.as_str()).await?;
            let addresses: Addrs = Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use testkit::aws::Aws;
    use testkit::dns::{Disturbance, DnsServer};

    use super::*;

    #[tokio::test]
    async fn a_silent_name_server_is_not_waited_for() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let started = std::time::Instant::now();
        let said = Resolver::new(Some(silent.local_addr().unwrap())).addresses("node-1.db.internal").await.unwrap_err();
        assert!(said.starts_with("`node-1.db.internal` could not be resolved: "), "{said}");
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn only_a_name_servers_word_says_that_a_name_has_no_address() {
        let aws = Aws::start().await.unwrap();
        let service = aws.cloud_map(|cloud_map| cloud_map.create_service("db.internal", "node-1"));
        aws.cloud_map(|cloud_map| cloud_map.register(&service, "node-1", &[("AWS_INSTANCE_IPV4", "127.0.0.2")]));
        let dns = DnsServer::start(&aws).await.unwrap();
        let resolver = Resolver::new(Some(dns.address()));
        let name = "node-1.db.internal";
        assert!(!resolver.lacks(name).await);
        assert!(resolver.lacks("node-2.db.internal").await);
        for (disturbance, lacks) in
            [(Disturbance::NxDomain, true), (Disturbance::ServFail, false), (Disturbance::Silence, false)]
        {
            dns.disturb_all(disturbance);
            assert_eq!(resolver.lacks(name).await, lacks, "{disturbance:?}");
        }
        assert!(!resolver.lacks("node-1.elsewhere").await, "silence");
        dns.heal_all();
        assert!(!resolver.lacks("node-1.elsewhere").await, "refused");
        assert!(!Resolver::nobody().lacks(name).await);
    }

    #[tokio::test]
    async fn the_hosts_file_is_read_unless_a_name_server_is_given() {
        assert!(!Resolver::new(None).addresses("localhost").await.unwrap().is_empty());
    }
}
