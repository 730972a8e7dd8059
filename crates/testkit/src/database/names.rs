//! Finds the addresses of names: in the list or file that was given, then by the DNS server that was given, else by the
//! system. Nothing is remembered; a node that comes back under another address is found there.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

/// Where names are looked up.
#[derive(Clone, Debug, Default)]
pub struct NameSources {
    /// Names with their addresses.
    pub hosts: Vec<(String, IpAddr)>,
    /// A file with an address and a name on each line; read at every look-up.
    pub hosts_file: Option<PathBuf>,
    /// A DNS server, instead of the system's.
    pub dns: Option<SocketAddr>,
}

/// The way from names to addresses.
#[derive(Debug)]
pub(super) struct Names {
    sources: NameSources,
    dns: Option<TokioResolver>,
}

impl Names {
    pub(super) fn new(sources: NameSources) -> io::Result<Self> {
        let dns = sources.dns.map(resolver_at).transpose()?;
        Ok(Self { sources, dns })
    }

    /// All addresses of a host.
    pub(super) async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let listed = self.listed(host);
        if !listed.is_empty() {
            return Ok(listed);
        }
        match &self.dns {
            // With the final dot no search domain is tried.
            Some(dns) => match dns.lookup_ip(format!("{host}.")).await {
                Ok(found) => Ok(found.iter().collect()),
                Err(error) => Err(io::Error::other(error.to_string())),
            },
            None => Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect()),
        }
    }

    fn listed(&self, host: &str) -> Vec<IpAddr> {
        let text = self.sources.hosts_file.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        let text = text.unwrap_or_default();
        let in_file = text.lines().filter_map(|line| line.split_once(' ')).filter(|(_, name)| name.trim() == host);
        let in_file = in_file.filter_map(|(address, _)| address.parse().ok());
        let given = self.sources.hosts.iter().filter(|(name, _)| name == host).map(|(_, address)| *address);
        given.chain(in_file).collect()
    }
}

fn resolver_at(server: SocketAddr) -> io::Result<TokioResolver> {
    let mut udp = ConnectionConfig::udp();
    udp.port = server.port();
    let mut tcp = ConnectionConfig::tcp();
    tcp.port = server.port();
    let server = NameServerConfig::new(server.ip(), true, vec![udp, tcp]);
    let config = ResolverConfig::from_parts(None, vec![], vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let mut options = ResolverOpts::default();
    options.timeout = Duration::from_secs(1);
    options.attempts = 1;
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv4Only;
    options.use_hosts_file = ResolveHosts::Never;
    *builder.options_mut() = options;
    builder.build().map_err(|error| io::Error::other(error.to_string()))
}
