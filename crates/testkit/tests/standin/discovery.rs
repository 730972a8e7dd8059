//! How members find each other: names that come late, by a file and by DNS (observed §1, contract §6).

use std::fs;

use rcgen::SanType;
use rcgen::string::Ia5String;
use testkit::aws::Aws;
use testkit::database::Line;
use testkit::dns::DnsServer;
use testkit::node::DatabaseCluster;
use testkit::node::pki::{Authority, pkcs1, rsa_key};

const SCALE: f64 = 0.05;

/// A cluster that has to ask a name server, which knows nothing yet.
async fn asking(aws: &Aws) -> (DatabaseCluster, DnsServer) {
    let dns = DnsServer::start(aws).await.unwrap();
    let mut cluster = DatabaseCluster::prepare(Line::V24_10, 3, SCALE);
    fs::write(cluster.hosts_file(), "").unwrap();
    cluster.argument(&format!("--dns={}", dns.address()));
    (cluster, dns)
}

/// Makes all members addresses of one name each, or of the name that is given.
fn register(aws: &Aws, cluster: &DatabaseCluster, name: Option<&str>) {
    for node in 0..cluster.size() {
        let own = cluster.name(node).split_once('.').unwrap().0;
        let address = cluster.address(node).ip().to_string();
        aws.cloud_map(|cloud_map| {
            let service = cloud_map.create_service("test", name.unwrap_or(own));
            cloud_map.register(&service, own, &[("AWS_INSTANCE_IPV4", &address)]);
        });
    }
}

#[tokio::test]
async fn seeds_without_an_address_are_asked_for_again() {
    let aws = Aws::start().await.unwrap();
    let (mut cluster, _dns) = asking(&aws).await;
    cluster.start_all();
    for node in 0..3 {
        cluster.wait_for_state(node, "unknown").await;
    }
    register(&aws, &cluster, None);
    cluster.wait_until_formed().await;
}

/// The name of the cluster must be in the certificates, for members are dialled by address (contract §4.3).
async fn discovers(names: &[&str]) -> DatabaseCluster {
    let aws = Aws::start().await.unwrap();
    let (mut cluster, _dns) = asking(&aws).await;
    let authority = Authority::p256("CA");
    for node in 0..3 {
        let certificate = authority.sign(rsa_key(), |params| {
            let names = [&["localhost", cluster.name(node)], names].concat();
            params.subject_alt_names =
                names.into_iter().map(|name| SanType::DnsName(Ia5String::try_from(name).unwrap())).collect();
        });
        cluster.give_files(node, &certificate.pem(), &pkcs1(rsa_key()), &authority.pem());
    }
    cluster.option("EVENTSTORE_DISCOVER_VIA_DNS", "true");
    cluster.option("EVENTSTORE_CLUSTER_DNS", "all.test");
    cluster.option("EVENTSTORE_CLUSTER_GOSSIP_PORT", &cluster.address(0).port().to_string());
    register(&aws, &cluster, Some("all"));
    register(&aws, &cluster, None);
    cluster.start_all();
    if names.is_empty() {
        for node in 0..3 {
            cluster.wait_for_state(node, "unknown").await;
        }
    } else {
        cluster.wait_until_formed().await;
    }
    cluster
}

#[tokio::test]
async fn one_name_stands_for_all_members() {
    discovers(&["all.test"]).await;
    let cluster = discovers(&[]).await;
    for node in 0..3 {
        assert!(cluster.log(node).contains("RemoteCertificateNameMismatch"), "{}", cluster.log(node));
    }
}
