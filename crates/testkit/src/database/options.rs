//! The server's options, from `EVENTSTORE_*`. A name that the line does not know ends the server (observed §8).

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Options of 24.10 (contract §5.2), as the server normalises them: without prefix and underscores, in lower case.
const KNOWN_24_10: &str = "
    advertisehosttoclientas advertisehttpporttoclientas advertisenodeporttoclientas allowanonymousendpointaccess
    allowanonymousstreamaccess allowunknownoptions alwayskeepscavenged cachedchunks certificatefile certificatepassword
    certificateprivatekeyfile certificateprivatekeypassword certificatereservednodecommonname chunkinitialreadercount
    chunkscachesize clusterdns clustergossipport clustersize committimeoutms config db deadmemberremovalperiodsec
    defaultadminpassword defaultopspassword dev disableadminui disableclientauthekuvalidation disablefirstlevelhttpauthorization
    disablegossiponhttp disableinternaltcptls disablelogfile disablestatsonhttp discoverviadns enableatompuboverhttp
    enabletrustedauth enableunixsocket extip gossipalloweddifferencems gossipintervalms gossiponsinglenode gossipseed
    gossiptimeoutms httpport httpportadvertiseas index initializationthreads insecure inthostadvertiseas intip
    inttcpheartbeatinterval inttcpheartbeattimeout inttcpport inttcpportadvertiseas leaderelectiontimeoutms log
    logconsoleformat logfailedauthenticationattempts logfileinterval logfileretentioncount logfilesize loghttprequests
    loglevel maxtruncation memdb minflushdelayms nodehostadvertiseas nodeip nodeport nodeportadvertiseas nodepriority
    optimizeindexmerge overrideanonymousendpointaccessforgossip preparetimeoutms readerthreadscount readonlyreplica
    reducefilecachepressure removedevcerts replicationheartbeatinterval replicationheartbeattimeout
    replicationhostadvertiseas replicationip replicationport replicationtcpportadvertiseas runprojections skipdbverify
    skipindexverify startstandardprojections statsperiodsec streamexistencefiltersize streaminfocachecapacity
    telemetryoptout trustedrootcertificatespath unbuffered unsafeallowsurplusnodes unsafedisableflushtodisk whatif
    workerthreads writethrough writetimeoutms
";

/// What the stand-in does something with; the other options are accepted and have no effect.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) ip: String,
    pub(super) port: u16,
    pub(super) advertise_as: String,
    pub(super) db: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) private_key: PathBuf,
    pub(super) roots: PathBuf,
    pub(super) first_passwords: FirstPasswords,
}

/// The passwords of a new database.
#[derive(Clone)]
pub(super) struct FirstPasswords {
    pub(super) admin: String,
    pub(super) ops: String,
}

impl std::fmt::Debug for FirstPasswords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Options {
    /// Reads the environment.
    ///
    /// # Errors
    ///
    /// What the server prints before it exits with 1.
    pub(super) fn read(environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, Vec<String>> {
        let known: Vec<_> = KNOWN_24_10.split_whitespace().collect();
        let mut given = BTreeMap::new();
        let mut unknown = Vec::new();
        for (name, value) in environment {
            // The prefix counts in any case; a name with `__` belongs to a section and is never unknown (observed §8).
            let Some(option) =
                name.get(..11).filter(|prefix| prefix.eq_ignore_ascii_case("EVENTSTORE_")).map(|_| &name[11..])
            else {
                continue;
            };
            let normal = option.replace('_', "").to_ascii_lowercase();
            if option.contains("__") {
                continue;
            }
            if known.contains(&normal.as_str()) {
                given.insert(normal, value);
            } else {
                unknown.push(format!("The option {} is not a known option.", pascal_case(option)));
            }
        }
        let mut take = |name: &str| given.remove(name);
        if !unknown.is_empty() && take("allowunknownoptions").as_deref() != Some("true") {
            unknown.push("Found unknown options. To continue anyway, set AllowUnknownOptions to true.".to_owned());
            return Err(unknown);
        }
        if take("clustersize").is_some_and(|size| size != "1") {
            return Err(vec!["the stand-in is one node; ClusterSize must be 1".to_owned()]);
        }
        if take("insecure").as_deref() == Some("true") {
            return Err(vec!["the stand-in does not run insecure".to_owned()]);
        }
        let ip = take("nodeip").or_else(|| take("extip")).unwrap_or_else(|| "127.0.0.1".to_owned());
        let port = take("nodeport").or_else(|| take("httpport")).unwrap_or_else(|| "2113".to_owned());
        let file = |value: Option<String>| {
            value
                .map(PathBuf::from)
                .ok_or_else(|| vec!["A certificate is required unless insecure mode (--insecure) is set.".to_owned()])
        };
        Ok(Self {
            port: port.parse().map_err(|_| vec![format!("NodePort {port} is not a port.")])?,
            // Bound to all addresses a single node advertises the loopback address (contract §6).
            advertise_as: take("nodehostadvertiseas")
                .unwrap_or_else(|| if ip == "0.0.0.0" { "127.0.0.1".to_owned() } else { ip.clone() }),
            ip,
            db: take("db").unwrap_or_else(|| "/var/lib/eventstore".to_owned()).into(),
            certificate: file(take("certificatefile"))?,
            private_key: file(take("certificateprivatekeyfile"))?,
            roots: take("trustedrootcertificatespath").unwrap_or_else(|| "/etc/ssl/certs".to_owned()).into(),
            first_passwords: FirstPasswords {
                admin: take("defaultadminpassword").unwrap_or_else(|| "changeit".to_owned()),
                ops: take("defaultopspassword").unwrap_or_else(|| "changeit".to_owned()),
            },
        })
    }
}

fn pascal_case(option: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| {
            first.to_ascii_uppercase().to_string() + &letters.as_str().to_ascii_lowercase()
        })
    };
    option.split('_').map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[(&str, &str)]) -> Result<Options, Vec<String>> {
        let certificate = [("EVENTSTORE_CERTIFICATE_FILE", "c"), ("EVENTSTORE_CERTIFICATE_PRIVATE_KEY_FILE", "k")];
        Options::read(given.iter().chain(&certificate).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn what_a_real_server_refuses_is_refused() {
        for (name, shown) in [
            ("EVENTSTORE_MY_THING", "MyThing"),
            ("eventstore_bogus", "Bogus"),
            ("EVENTSTORE_EXT_HOST_ADVERTISE_AS", "ExtHostAdvertiseAs"),
            ("EVENTSTORE_PREPARE_COUNT", "PrepareCount"),
            ("EVENTSTORE_ENABLE_EXTERNAL_TCP", "EnableExternalTcp"),
        ] {
            let said = read(&[(name, "x")]).unwrap_err();
            assert_eq!(said[0], format!("The option {shown} is not a known option."));
            assert!(said[1].starts_with("Found unknown options."));
        }
    }

    #[test]
    fn what_a_real_server_accepts_is_accepted() {
        for name in ["EVENTSTORE_MY__THING", "KURRENTDB_NODE_PORT", "EVENTSTORE_EXT_IP", "PATH"] {
            assert!(read(&[(name, "127.0.0.1")]).is_ok(), "{name}");
        }
        assert_eq!(read(&[("EVENTSTORE_NODEPORT", "2114")]).unwrap().port, 2114);
        assert!(read(&[("EVENTSTORE_ALLOW_UNKNOWN_OPTIONS", "true"), ("EVENTSTORE_X", "1")]).is_ok());
    }
}
