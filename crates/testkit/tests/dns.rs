//! The name server, asked by the resolver that bootstrap uses.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use testkit::aws::{Aws, Lag};
use testkit::dns::{Disturbance, DnsServer};
use testkit::ecs::TaskIdentity;

const NODE: &str = "es-node-1.db.internal";

fn resolver(server: SocketAddr, mut connection: ConnectionConfig) -> TokioResolver {
    connection.port = server.port();
    let server = NameServerConfig::new(server.ip(), true, vec![connection]);
    let config = ResolverConfig::from_parts(None, vec![], vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let mut options = ResolverOpts::default();
    options.timeout = Duration::from_millis(300);
    options.attempts = 1;
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv4Only;
    options.use_hosts_file = ResolveHosts::Never;
    *builder.options_mut() = options;
    builder.build().unwrap()
}

struct World {
    aws: Aws,
    dns: DnsServer,
    resolver: TokioResolver,
}

impl World {
    async fn start() -> Self {
        let aws = Aws::start().await.unwrap();
        let dns = DnsServer::start(&aws).await.unwrap();
        let resolver = resolver(dns.address(), ConnectionConfig::udp());
        Self { aws, dns, resolver }
    }

    fn create(&self, name: &str) -> String {
        self.aws.cloud_map(|cloud_map| cloud_map.create_service("db.internal", name))
    }

    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, NetError> {
        Ok(self.resolver.lookup_ip(format!("{name}.")).await?.iter().collect())
    }
}

fn task(id: &str, address: &str) -> TaskIdentity {
    TaskIdentity {
        task_arn: format!("arn:aws:ecs:eu-west-1:123456789012:task/testkit/{id}"),
        family: "es-node-1".to_owned(),
        address: address.parse().unwrap(),
    }
}

fn code(error: &NetError) -> Option<ResponseCode> {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => Some(none.response_code),
        NetError::Dns(DnsError::ResponseCode(code)) => Some(*code),
        _ => None,
    }
}

#[tokio::test]
async fn a_name_comes_and_goes_with_its_task() {
    let world = World::start().await;
    let service = world.create("es-node-1");
    let absent = world.addresses(NODE).await.unwrap_err();
    assert!(absent.is_nx_domain(), "a service without an instance has no record: {absent}");
    let NetError::Dns(DnsError::NoRecordsFound(none)) = absent else { panic!("{absent}") };
    assert_eq!(none.negative_ttl, Some(5), "the SOA says how long that may be remembered");

    let (first, second) = (task("1", "127.0.0.2"), task("2", "127.0.0.3"));
    world.aws.cloud_map(|cloud_map| cloud_map.register_task(&service, &first));
    assert_eq!(world.addresses(NODE).await.unwrap(), [first.address]);
    world.aws.cloud_map(|cloud_map| cloud_map.register_task(&service, &second));
    assert_eq!(world.addresses("ES-Node-1.db.internal").await.unwrap(), [first.address, second.address]);
    world.aws.cloud_map(|cloud_map| cloud_map.deregister_task(&service, &first));
    assert_eq!(world.addresses(NODE).await.unwrap(), [second.address]);
    world.aws.cloud_map(|cloud_map| cloud_map.deregister_task(&service, &second));
    assert!(world.addresses(NODE).await.unwrap_err().is_nx_domain());

    let questions = world.dns.questions();
    assert!(questions.iter().all(|question| question.name == NODE && question.record_type == "A"), "{questions:?}");
    // A resolver that had to wait for the machine asks once more.
    assert!(questions.len() >= 5, "every look-up asks, nothing is remembered: {questions:?}");
    let mut answers: Vec<_> = questions.into_iter().filter_map(|question| question.answer).collect();
    answers.dedup();
    assert_eq!(answers, ["NXDomain", "NoError", "NXDomain"]);
}

#[tokio::test]
async fn what_is_there_without_an_address_is_not_what_is_not_there() {
    let world = World::start().await;
    let service = world.create("es-node-1");
    world.aws.cloud_map(|cloud_map| cloud_map.register_task(&service, &task("1", "127.0.0.2")));
    let other_type = world.resolver.lookup(format!("{NODE}."), RecordType::AAAA).await.unwrap_err();
    assert_eq!(code(&other_type), Some(ResponseCode::NoError), "{other_type}");
    let namespace = world.addresses("db.internal").await.unwrap_err();
    assert_eq!(code(&namespace), Some(ResponseCode::NoError), "{namespace}");
    let unknown = world.addresses("es-node-2.db.internal").await.unwrap_err();
    assert_eq!(code(&unknown), Some(ResponseCode::NXDomain), "{unknown}");
    let foreign = world.addresses("xdb.internal").await.unwrap_err();
    assert_eq!(code(&foreign), Some(ResponseCode::Refused), "{foreign}");
}

#[tokio::test]
async fn a_service_answers_with_eight_of_its_instances() {
    let world = World::start().await;
    let service = world.create("es");
    for number in 1..=9 {
        let address = format!("127.0.0.{number}");
        let attributes = [("AWS_INSTANCE_IPV4", address.as_str())];
        world.aws.cloud_map(|cloud_map| cloud_map.register(&service, &format!("node-{number}"), &attributes));
    }
    assert_eq!(world.addresses("es.db.internal").await.unwrap().len(), 8);
    let found = world.resolver.lookup("es.db.internal.", RecordType::A).await.unwrap();
    assert!(found.answers().iter().all(|record| record.ttl == 10), "{found:?}");
}

#[tokio::test]
async fn trouble_is_told_apart_and_ends() {
    let world = World::start().await;
    let service = world.create("es-node-1");
    world.aws.cloud_map(|cloud_map| cloud_map.register_task(&service, &task("1", "127.0.0.2")));
    world.dns.disturb(NODE, Disturbance::NxDomain);
    assert!(world.addresses(NODE).await.unwrap_err().is_nx_domain());
    world.dns.disturb(NODE, Disturbance::ServFail);
    let failed = world.addresses(NODE).await.unwrap_err();
    assert_eq!(code(&failed), Some(ResponseCode::ServFail), "{failed}");
    world.dns.disturb(NODE, Disturbance::Silence);
    let silent = world.addresses(NODE).await.unwrap_err();
    assert!(matches!(silent, NetError::Timeout), "{silent}");
    assert_eq!(world.dns.questions().last().unwrap().answer, None);

    world.dns.disturb_all(Disturbance::ServFail);
    world.dns.heal(NODE);
    assert_eq!(code(&world.addresses(NODE).await.unwrap_err()), Some(ResponseCode::ServFail));
    world.dns.heal_all();
    assert_eq!(world.addresses(NODE).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_registration_may_show_late() {
    let world = World::start().await;
    let service = world.create("es-node-1");
    world.aws.cloud_map(|cloud_map| cloud_map.set_read_lag(Lag::Reads(2)));
    world.aws.cloud_map(|cloud_map| cloud_map.register_task(&service, &task("1", "127.0.0.2")));
    assert!(world.addresses(NODE).await.unwrap_err().is_nx_domain());
    // It may have asked twice for that.
    if let Err(late) = world.addresses(NODE).await {
        assert!(late.is_nx_domain(), "{late}");
    }
    assert_eq!(world.addresses(NODE).await.unwrap().len(), 1);
    let answers: Vec<_> = world.dns.questions().into_iter().filter_map(|question| question.answer).collect();
    assert_eq!(answers[..3], ["NXDomain", "NXDomain", "NoError"]);
}

#[tokio::test]
async fn tcp_is_answered_too() {
    let world = World::start().await;
    let service = world.create("es-node-1");
    world.aws.cloud_map(|cloud_map| cloud_map.register_task(&service, &task("1", "127.0.0.2")));
    let resolver = resolver(world.dns.address(), ConnectionConfig::tcp());
    assert_eq!(resolver.lookup_ip(format!("{NODE}.")).await.unwrap().iter().count(), 1);
}
