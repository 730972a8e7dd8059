//! Every flag, its variable, and what is refused.

use std::time::Duration;

use clap::CommandFactory as _;

use super::*;

const GOOD: [(&str, &str); 9] = [
    ("--node-name", "node-1"),
    ("--health-file", "/run/task/bootstrap.json"),
    ("--server", "127.0.0.1:2113"),
    ("--admin-secret", "es/admin"),
    ("--ops-secret", "es/ops"),
    ("--cloud-map-service", "srv-1"),
    ("--client-host", "es.db.internal"),
    ("--address", "10.0.0.7"),
    ("--task-arn", "arn:aws:ecs:eu-west-1:1:task/x"),
];

fn parse(changes: &[(&str, &str)]) -> Result<RunSettings, Vec<String>> {
    parse_with(changes, &[])
}

fn parse_with(changes: &[(&str, &str)], switches: &[&'static str]) -> Result<RunSettings, Vec<String>> {
    let mut args = vec!["bootstrap", "run"];
    args.extend(switches);
    for (flag, value) in GOOD {
        let value = changes.iter().find(|(changed, _)| *changed == flag).map_or(value, |(_, value)| value);
        args.extend([flag, value]);
    }
    let added = changes.iter().filter(|(flag, _)| GOOD.iter().all(|(good, _)| good != flag));
    args.extend(added.flat_map(|(flag, value)| [*flag, *value]));
    match Cli::try_parse_from(args).unwrap().command {
        CliCommand::Run(args) => settings(*args),
        _ => unreachable!("`run` was given"),
    }
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let settings = parse(&[]).unwrap();
    assert_eq!(settings.client_port, 2113);
    assert_eq!(settings.server_name, "localhost");
    assert_eq!(settings.ready_timeout, Duration::from_hours(3));
    assert_eq!(settings.policy.timeout, Duration::from_mins(10));
    assert_eq!(settings.poll_interval, Duration::from_mins(5));
    assert_eq!(settings.registration_interval, Duration::from_secs(30));
    assert_eq!((settings.policy.rotate_every, settings.policy.recover_with_node_certificate), (None, false));
    assert_eq!((settings.scheme, settings.dns), (Scheme::Direct, None));
    assert_eq!((settings.emits_metrics, settings.metrics_address), (true, None));
}

#[test]
fn clients_of_a_cluster_discover_its_members() {
    assert_eq!(parse(&[("--cluster-size", "3")]).unwrap().scheme, Scheme::Discover);
}

#[test]
fn peers_are_the_names_of_all_other_nodes() {
    let peers = |size: &str, names: &str| parse(&[("--cluster-size", size), ("--peers", names)]);
    assert_eq!(peers("3", "n-2.db.internal,N-3.db.internal").unwrap().peers, ["n-2.db.internal", "n-3.db.internal"]);
    assert!(peers("3", "").unwrap().peers.is_empty());
    for (size, names, mistake) in [
        ("1", "n-2", "--peers: 1 names; the other nodes of the cluster that vote are 0"),
        ("3", "n-2", "--peers: 1 names; the other nodes of the cluster that vote are 2"),
        ("3", "n-2,n-2", "--peers: `n-2` stands there twice"),
        ("3", "n-2:2113,n-3", "--peers: `n-2:2113` is not a host name; ports are left out"),
        ("3", "n-2,", "--peers: `` is not a host name; ports are left out"),
    ] {
        assert_eq!(peers(size, names).unwrap_err(), [mistake], "{names}");
    }
}

/// `parse` gives what a secure node needs; an empty value is not given.
#[test]
fn an_insecure_server_has_no_users_no_certificates_and_nobody_on_the_way() {
    let nobody = [("--admin-secret", ""), ("--ops-secret", "")];
    let settings = parse_with(&nobody, &["--insecure"]).unwrap();
    assert!(settings.users.is_none());
    assert!(settings.to_string().contains("users=insecure"), "{settings}");
    let both = parse_with(&[("--server", "10.0.0.7:2113"), ("--rotate-every", "30d")], &["--insecure"]);
    let flags: Vec<_> = both.unwrap_err().iter().map(|mistake| mistake.split(':').next().unwrap().to_owned()).collect();
    assert_eq!(flags, ["--admin-secret", "--ops-secret", "--rotate-every", "--server"]);
    assert_eq!(parse(&nobody).unwrap_err().len(), 2, "nobody is insecure without saying so");
}

#[test]
fn a_read_only_replica_has_all_voters_as_peers_and_may_stay_unregistered() {
    let replica = |changes: &[(&str, &str)]| parse_with(changes, &["--read-only-replica"]);
    let peers = ("--peers", "n-1,n-2,n-3");
    let settings = replica(&[("--cluster-size", "3"), peers, ("--cloud-map-service", "")]).unwrap();
    assert_eq!((settings.peers.len(), settings.cloud_map_service), (3, None));
    let own = replica(&[("--cluster-size", "3"), peers]).unwrap().cloud_map_service;
    assert_eq!(own.as_deref(), Some("srv-1"));
    assert!(replica(&[]).unwrap_err()[0].starts_with("--read-only-replica: a single node has none"));
    let unregistered = parse(&[("--cloud-map-service", "")]).unwrap_err();
    assert_eq!(unregistered, ["--cloud-map-service: not given; only a read-only replica may be without"]);
}

#[test]
fn times_have_units_and_bounds() {
    assert_eq!(parse(&[("--ready-timeout", "500ms")]).unwrap().ready_timeout, Duration::from_millis(500));
    for bad in ["30", "0s", "1d", "-1s", "s", "169h", "99999999999s", "1.5h"] {
        let arg = format!("--ready-timeout={bad}");
        let mistakes = Mistakes(Vec::new()).duration("--ready-timeout", bad);
        assert_eq!(mistakes, None, "{arg}");
    }
}

#[test]
fn ages_are_given_in_hours_and_days() {
    let age = |text: &str| Mistakes(Vec::new()).days("--rotate-every", text);
    assert_eq!(age("30d"), Some(Duration::from_hours(720)));
    assert_eq!(age("1h"), Some(Duration::from_hours(1)));
    for bad in ["", "d", "0d", "30", "5m", "-1d", "4000d", "é"] {
        assert_eq!(age(bad), None, "{bad}");
    }
}

#[test]
fn application_users_come_after_ops_with_secrets_of_their_own() {
    let users = |text: &str| parse(&[("--users", text)]);
    let settings = users(r#"[{"login":"orders","secret":"es/orders","groups":[]}]"#).unwrap();
    assert_eq!(settings.logins(), "admin,ops,orders");
    let mistakes = users(r#"[{"login":"orders","secret":"es/ops","groups":[]}]"#).unwrap_err();
    assert!(mistakes[0].starts_with("--users: the secret of `orders` is another user's"), "{mistakes:?}");
    assert!(users("{").unwrap_err()[0].starts_with("--users: "));
}

#[test]
fn scavenges_need_a_time_a_window_that_ends_before_the_next_and_a_memory() {
    let scavenge = |at: &str, window: &str, file: &str| {
        let all = [("--scavenge-at", at), ("--scavenge-window", window), ("--status-file", file)];
        let settings = parse(if file.is_empty() { &all[..2] } else { &all });
        settings.map(|settings| settings.scavenge)
    };
    assert_eq!(parse(&[]).unwrap().scavenge, None);
    let schedule = "sun 03:00".parse().unwrap();
    assert_eq!(scavenge("Sun 03:00", "48h", "/s"), Ok(Some((schedule, Duration::from_hours(48)))));
    assert_eq!(scavenge("", "8h", "/s"), Ok(None));
    for (at, window, file, flag) in [
        ("03:00", "24h", "/s", "--scavenge-window: "),
        ("03:00", "8", "/s", "--scavenge-window: "),
        ("3:00", "8h", "/s", "--scavenge-at: `3:00` is not a time of UTC"),
        ("03:00", "8h", "", "--scavenge-at: it needs --status-file"),
    ] {
        let mistakes = scavenge(at, window, file).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].starts_with(flag), "{mistakes:?}");
    }
}

#[test]
fn only_known_users_are_rotated() {
    let rotate = |users: &[&str]| {
        let secrets = ["bootstrap", "rotate", "--admin-secret=a", "--ops-secret=o"];
        let args = secrets.into_iter().chain(users.iter().flat_map(|user| ["--user", *user]));
        match Cli::try_parse_from(args).unwrap().command {
            CliCommand::Rotate(args) => chosen(args),
            _ => unreachable!("`rotate` was given"),
        }
    };
    assert_eq!(rotate(&[]).unwrap().len(), 2);
    assert_eq!(rotate(&["ops"]).unwrap()[0].login, "ops");
    assert_eq!(rotate(&["op"]).unwrap_err(), ["--user: there is no `op`; known are admin, ops"]);
}

#[test]
fn the_status_is_looked_for_in_the_task_if_there_is_a_file_and_else_in_aws() {
    let status = |args: &[&str]| {
        let args = ["bootstrap", "status"].into_iter().chain(args.iter().copied());
        match Cli::try_parse_from(args).unwrap().command {
            CliCommand::Status(args) => place(args),
            _ => unreachable!("`status` was given"),
        }
    };
    let task = status(&["--status-file=/run/s.json", "--admin-secret=a", "--json"]).unwrap();
    assert!(task.json && matches!(task.place, StatusPlace::Task { .. }), "{task:?}");
    let aws = status(&["--admin-secret=a", "--ops-secret=o", "--cluster-size=3"]).unwrap();
    assert!(matches!(aws.place, StatusPlace::Aws { nodes: Some(3), ref users, .. } if users.len() == 2), "{aws:?}");
    let mistakes = status(&["--cluster-size=x"]).unwrap_err();
    let flags: Vec<_> = mistakes.iter().map(|mistake| mistake.split(':').next().unwrap()).collect();
    assert_eq!(flags, ["--status-file", "--cluster-size", "--admin-secret", "--ops-secret"]);
}

#[test]
fn every_mistake_is_told_in_one_run() {
    let mistakes = parse(&[
        ("--node-name", ""),
        ("--server", "localhost:2113"),
        ("--ops-secret", "es/admin"),
        ("--address", "here"),
        ("--client-port", "0"),
        ("--converge-timeout", "10"),
        ("--dns", "resolver"),
        ("--cluster-size", "8"),
        ("--metrics-address", "localhost:9113"),
        ("--scavenge-at", "3 o'clock"),
    ])
    .unwrap_err();
    let mut flags: Vec<_> = mistakes.iter().map(|mistake| mistake.split(':').next().unwrap()).collect();
    flags.sort_unstable();
    assert_eq!(
        flags,
        [
            "--address",
            "--client-port",
            "--cluster-size",
            "--converge-timeout",
            "--dns",
            "--metrics-address",
            "--node-name",
            "--ops-secret",
            "--scavenge-at",
            "--scavenge-at",
            "--server"
        ]
    );
}
