//! Numbers by hand, and what is said of them.

use clap::Parser;
use serde_json::{Value, json};

use super::*;
use crate::config::Config;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    flags: Flags,
}

fn quantities(config: &str, arguments: &[&str], prices: Option<&str>) -> Quantities {
    let flags = Command::parse_from(["infra"].iter().chain(arguments)).flags;
    assert_eq!(mistakes(&flags, prices), [vec![], vec![]]);
    Quantities::new(&Deployment::new(Config::parse(config).unwrap()), &flags, prices).unwrap()
}

/// The amount of what has this price, all lines of it.
fn amounts(told: &Value, price_key: &str) -> Vec<String> {
    let all = told["quantities"].as_array().unwrap().iter();
    let found = all.filter(|quantity| quantity["price_key"] == price_key);
    found.map(|quantity| quantity["amount"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_cluster_by_hand() {
    let config = "name = \"orders\"\ncluster.nodes = 3\ncluster.read_only_replicas = 1\nserver.cpu = 512\nserver.memory = 4096\n\
                  data.throughput = \"provisioned\"\ndata.provisioned_mibps = 20\nlogs.retention_days = 365\n\
                  credentials.kms_key = \"own\"\n[[users]]\nlogin = \"app\"";
    let told = quantities(config, &["--assume", "data_gib=40", "--assume", "log_gib=2.5"], None).to_json();
    for (key, expected) in [
        ("fargate.vcpu_hour", vec!["1460"]),
        ("fargate.gib_hour", vec!["11680"]),
        ("efs.standard_gib_month", vec!["160"]),
        // 20 MiB/s less 160 × 50 KiB/s.
        ("efs.provisioned_mibps_month", vec!["12.1875"]),
        ("efs.elastic_read_gib", vec![]),
        // The whole of it once, and 34 days of 4 × 2 GiB more.
        ("backup.gib_month", vec!["432"]),
        ("vpc.nat_gateway_hour", vec!["730"]),
        ("vpc.public_ipv4_hour", vec!["730"]),
        // 4 × 2.5 GiB of logs; 16 starts and 30.41666… after backups, at 0.4 GiB.
        ("vpc.nat_gateway_gib", vec!["28.566667"]),
        ("secrets_manager.secret_month", vec!["4"]),
        // 4 nodes × 8760 polls × (2 × 3 users + 1), and two first passwords and the authority at each of 46.41666… starts.
        ("secrets_manager.calls_10000", vec!["245419.25"]),
        ("kms.key_month", vec!["1"]),
        ("kms.requests_10000", vec!["140299.25"]),
        ("cloud_map.instance_month", vec!["3"]),
        ("cloud_map.ecs_instance_month", vec!["4"]),
        ("route53.hosted_zone_month", vec!["1"]),
        // (10 + 0.2) × 12 months × 15 %.
        ("logs.stored_gib_month", vec!["18.36"]),
        // 13 + 4 × 25; and 3 × 4 + 3 + 3 users.
        ("cloudwatch.metric_month", vec!["113", "18"]),
        ("step_functions.transitions_1000", vec!["5961.666667"]),
        ("scheduler.invocations_million", vec!["60.833333"]),
    ] {
        assert_eq!(amounts(&told, key), expected, "{key}");
    }
    let parts = json!([{"of": "node", "count": 3, "each": "365"}, {"of": "replica", "count": 1, "each": "365"}]);
    assert_eq!(told["quantities"][0]["parts"], parts);
    let given: Vec<_> = told["assumptions"].as_array().unwrap().iter().filter(|one| one["default"] == false).collect();
    assert_eq!(given.iter().map(|one| &one["value"]).collect::<Vec<_>>(), ["40", "2.5"]);
}

/// Two of three nodes run, and nothing is stopped for a backup.
#[test]
fn a_cluster_that_grows_consumes_what_runs() {
    let told = quantities("name = \"orders\"\ncluster.nodes = 3\ncluster.grow_from = 1", &[], None).to_json();
    assert_eq!(amounts(&told, "fargate.vcpu_hour"), ["1460"]);
    assert!(amounts(&told, "step_functions.transitions_1000").is_empty());
    assert!(amounts(&told, "scheduler.invocations_million").is_empty());
    assert!(told["not_counted"].to_string().contains("1 node that will run when"), "{}", told["not_counted"]);
}

#[test]
fn everything_that_is_assumed_is_said_and_nothing_else() {
    let told = quantities("name = \"a\"", &[], None).to_json();
    let keys: Vec<_> = told["assumptions"].as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap()).collect();
    assert!(keys.contains(&"data_gib") && keys.contains(&"read_gib") && !keys.contains(&"infrequent_percent"));
    // What one says, the other says as well.
    let text = quantities("name = \"a\"", &[], None).to_string();
    for key in &keys {
        assert!(text.contains(&format!("  {key} ")) && text.matches(key).count() > 1, "{key}: {text}");
    }
    let moved =
        quantities("name = \"a\"\ndata.infrequent_access = \"30d\"", &["--assume", "infrequent_percent=25"], None);
    assert_eq!(amounts(&moved.to_json(), "efs.infrequent_gib_month"), ["25"]);
    assert_eq!(amounts(&moved.to_json(), "efs.standard_gib_month"), ["75"]);
    let unused = quantities("name = \"a\"", &["--assume", "infrequent_percent=25", "--assume", "log_gib=1"], None);
    assert_eq!(unused.unused(), ["infrequent_percent"]);
}

/// Each assumption moves some quantity of some deployment: none is asked for in vain.
#[test]
fn every_assumption_matters() {
    let everything = "name = \"a\"\ncluster.nodes = 3\nserver.line = \"24.10\"\nserver.log_volume = true\nimages.build = \"docker\"\n\
                      data.infrequent_access = \"30d\"\nlogs.kms_key = \"own\"\nalarms.emails = [\"a@example.com\"]\n";
    let closed = "name = \"a\"\ncluster.nodes = 3\nnetwork.egress = \"endpoints\"\nnetwork.s3_prefix_list = \"pl-6da54004\"\n\
                  images.server = \"123456789012.dkr.ecr.eu-west-1.amazonaws.com/es:1\"";
    for assumption in assume::ASSUMPTIONS {
        let moves = |config: &str| {
            let given = format!("{}=77", assumption.key);
            let before = quantities(config, &[], None).to_json();
            let after = quantities(config, &["--assume", &given], None).to_json();
            before["quantities"] != after["quantities"]
        };
        assert!(moves(everything) || moves(closed), "{}", assumption.key);
    }
}

#[test]
fn every_price_is_of_something() {
    let configs = [
        "name = \"a\"\ncluster.nodes = 3\nimages.build = \"docker\"\ndata.infrequent_access = \"30d\"\nlogs.kms_key = \"own\"\n\
         data.replicate_to = \"eu-central-1\"\nalarms.emails = [\"a@example.com\"]\n\
         backup.copy_to = \"arn:aws:backup:eu-central-1:123456789012:backup-vault:copies\"",
        "name = \"a\"\ndata.throughput = \"provisioned\"\ndata.provisioned_mibps = 1000",
        "name = \"a\"\ncluster.nodes = 3\nnetwork.egress = \"endpoints\"\nnetwork.s3_prefix_list = \"pl-6da54004\"\n\
         images.server = \"123456789012.dkr.ecr.eu-west-1.amazonaws.com/es:1\"",
    ];
    let told: Vec<_> = configs.iter().map(|config| quantities(config, &[], None).to_json()).collect();
    for unit in units::UNITS {
        // No deployment of ours asks for more than a task has.
        let is_there = unit.path() == "fargate.ephemeral_gib_hour"
            || told.iter().any(|told| !amounts(told, &unit.path()).is_empty());
        assert!(is_there, "{}", unit.path());
    }
}

#[test]
fn costs_add_up_and_a_missing_price_makes_the_total_incomplete() {
    let zero = units::UNITS.iter().map(|unit| format!("{} = 0\n", unit.path())).collect::<Vec<_>>().concat();
    let prices = zero
        .replace("vcpu_hour = 0", "vcpu_hour = 0.05")
        .replace("secret_month = 0", "secret_month = 0.105")
        .replace("calls_10000 = 0", "calls_10000 = 0.1")
        + "currency = \"Taler\"\n";
    let found = quantities("name = \"a\"", &[], Some(&prices));
    let told = found.to_json();
    // 730 × 0.05; 3 × 0.105 is 0.315, half up; 8760 × 5 and 3 at each of 4 starts, of 10 000.
    assert_eq!(amounts(&told, "secrets_manager.calls_10000"), ["43812"]);
    assert_eq!(
        (&told["total"], &told["complete"], &told["currency"]),
        (&json!("37.26"), &json!(true), &json!("Taler"))
    );
    let costs = told["quantities"].as_array().unwrap().iter().map(|one| one["cost"].as_str().unwrap());
    let hundredths: u64 = costs.map(|cost| cost.replace('.', "").parse::<u64>().unwrap()).sum();
    assert_eq!(hundredths, 3726, "what is printed adds up");
    assert!(found.to_string().contains("\nTotal: 37.26 Taler, by your prices\n"));

    let without = prices.replace("fargate.gib_hour = 0\n", "").replace("logs.ingested_gib = 0\n", "");
    let found = quantities("name = \"a\"", &[], Some(&without));
    assert_eq!(found.missing(), ["fargate.gib_hour", "logs.ingested_gib"]);
    let told = found.to_json();
    assert_eq!((&told["total"], &told["complete"]), (&json!("37.26"), &json!(false)));
    let text = found.to_string();
    assert!(text.contains("Incomplete total: 37.26 Taler") && text.contains("\n  logs.ingested_gib\n"), "{text}");
}

#[test]
fn wrong_assumptions_are_told_at_once() {
    let assume =
        ["data_gib", "dta_gib=1", "data_gib=-1", "log_gib=1", "log_gib=2", "infrequent_percent=101", "task_starts=1e3"];
    let arguments = assume.iter().flat_map(|assume| ["--assume", *assume]);
    let flags = Command::parse_from(["infra"].into_iter().chain(arguments)).flags;
    let [found, prices] = mistakes(&flags, None);
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    for (found, expected) in found.iter().zip([
        "--assume data_gib: it is not KEY=VALUE",
        "--assume dta_gib=1: it is not known; did you mean `data_gib`?",
        "--assume data_gib=-1: `-1` is not allowed",
        "--assume log_gib=2: `log_gib` is given twice",
        "--assume infrequent_percent=101: it is too much; allowed are 0 to 100",
        "--assume task_starts=1e3: `1e3` is not allowed",
    ]) {
        assert!(found.starts_with(expected), "{found}");
    }
    assert_eq!((found.len(), prices.len()), (6, 0), "{found:#?}");
}
