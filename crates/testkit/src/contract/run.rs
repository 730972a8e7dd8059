//! A run: reach the servers, make the checks, put everything back.

use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use rustls::pki_types::ServerName;
use tokio::signal::unix::{SignalKind, signal};

use super::check::{Backing, Check, Scope};
use super::checks;
use super::cli::{Server, Settings};
use super::found::Found;
use super::keeper::Keeper;
use super::report::{Outcome, Record, Report, list};
use super::suite::{Node, Shared, Suite};
use super::tls::Trust;
use super::wire::{Request, Stop};

const USAGE: u8 = 2;
const UNREACHABLE: u8 = 69;
const STOPPED: &str = "the run was told to stop";

/// Why a run did not begin.
struct Refusal {
    code: u8,
    lines: Vec<String>,
}

pub(super) fn list_checks(filter: &str, json: bool) -> ExitCode {
    list(&selected(filter), json);
    ExitCode::SUCCESS
}

fn selected(filter: &str) -> Vec<Check> {
    checks::all().into_iter().filter(|check| check.id.contains(filter)).collect()
}

pub(super) fn run(settings: Settings) -> ExitCode {
    let checks = selected(&settings.filter);
    let mut report = Report::new(settings.json);
    if checks.is_empty() {
        return refuse(&Refusal {
            code: USAGE,
            lines: vec![format!("--filter: no check is called `{}`", settings.filter)],
        });
    }
    let (mut suite, keeper) = match begin(settings) {
        Ok(begun) => begun,
        Err(refusal) => return refuse(&refusal),
    };
    for check in &checks {
        if check.scope != Scope::EachNode && suite.nodes.len() > 1 {
            suite.look_who_leads();
        }
        report.add(&make(check, &suite));
    }
    let is_restored = keeper.is_none_or(|keeper| {
        let record = put_back(&keeper, &suite);
        report.add(&record);
        record.outcome == Outcome::Ok
    });
    eprintln!("contract: line {}, {}", suite.line, report.summary());
    let stopped = suite.nodes.first().and_then(|node| node.shared.stop.signal());
    match stopped {
        Some(number) if is_restored => ExitCode::from(u8::try_from(128 + number).unwrap_or(u8::MAX)),
        _ if report.count(Outcome::Failed) + report.count(Outcome::Refuted) > 0 => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

fn refuse(refusal: &Refusal) -> ExitCode {
    for line in &refusal.lines {
        eprintln!("error: {line}");
    }
    ExitCode::from(refusal.code)
}

/// Everything that must hold before the first check.
fn begin(settings: Settings) -> Result<(Suite, Option<Keeper>), Refusal> {
    let refusal = |code, lines| Refusal { code, lines };
    let trust = Trust::new(settings.roots, settings.identity)
        .map_err(|error| refusal(USAGE, vec![format!("--node-certificate, --node-key: {error}")]))?;
    let shared = Arc::new(Shared {
        call_timeout: settings.call_timeout,
        consent: settings.consent,
        stop: Stop::default(),
        trust: Arc::new(trust),
    });
    watch_signals(&shared).map_err(|error| refusal(1, vec![format!("could not watch for signals: {error}")]))?;
    let mut nodes = Vec::new();
    let mut unreachable = Vec::new();
    for server in &settings.servers {
        match reach(server, &shared) {
            Ok(node) => nodes.push(node),
            Err(line) => unreachable.push(line),
        }
    }
    if !unreachable.is_empty() {
        return Err(refusal(UNREACHABLE, unreachable));
    }
    let mut refused = Vec::new();
    for (login, node) in
        [&settings.admin, &settings.ops].into_iter().flat_map(|login| nodes.iter().map(move |node| (login, node)))
    {
        let accepted = node
            .accepts(login)
            .map_err(|broken| refusal(UNREACHABLE, vec![format!("{}: {}", broken.what, broken.found)]))?;
        if !accepted {
            refused.push(format!("{} does not accept the given password of {}", node.authority, login.name));
        }
    }
    if !refused.is_empty() {
        return Err(refusal(USAGE, refused));
    }
    for node in &nodes {
        eprintln!("contract: {} at {} is {}", node.authority, node.address, node.state);
    }
    let suite = Suite::new(settings.line, nodes, settings.admin, settings.ops);
    if !settings.consent {
        return Ok((suite, None));
    }
    let (keeper, left) = Keeper::begin(&suite)
        .map_err(|broken| refusal(UNREACHABLE, vec![format!("{}: {}", broken.what, broken.found)]))?;
    if left > 0 {
        eprintln!("contract: removed {left} users that an earlier run had left");
    }
    Ok((suite, Some(keeper)))
}

/// Finds a server, and looks whether it is ready to be asked.
fn reach(server: &Server, shared: &Arc<Shared>) -> Result<Node, String> {
    let Server { host, port, address } = server;
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let address = match address {
        Some(address) => *address,
        None => resolve(host).map_err(|error| format!("https://{authority}: {error}"))?,
    };
    let address = SocketAddr::new(address, *port);
    let name = ServerName::try_from(host.clone()).map_err(|error| format!("https://{authority}: {error}"))?;
    let mut node = Node { authority, name, address, state: String::new(), shared: Arc::clone(shared) };
    let wrong = |broken: super::wire::Broken| format!("https://{host}:{port}: {}: {}", broken.what, broken.found);
    let health = node.ask(&Request::get("/health/live")).map_err(wrong)?;
    if !(200..300).contains(&health.status) {
        return Err(format!("https://{host}:{port}: not ready: /health/live answers {}", health.status));
    }
    node.state = node.state_now().map_err(wrong)?;
    Ok(node)
}

/// By hosts file and DNS. The C library's resolver loads parts of itself at run time, which a static program must not
/// count on where it is carried to.
fn resolve(host: &str) -> Result<IpAddr, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let found = runtime.block_on(async {
        let resolver = hickory_resolver::Resolver::builder_tokio()?.build()?;
        resolver.lookup_ip(host).await
    });
    let found = found.map_err(|error| error.to_string())?;
    found.iter().next().ok_or_else(|| "the name has no address".to_owned())
}

/// The first signal stops the run, which then puts everything back; further ones change nothing.
fn watch_signals(shared: &Arc<Shared>) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    let (ready, is_ready) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let watched = runtime.and_then(|runtime| {
            runtime.block_on(async {
                let mut interrupt = signal(SignalKind::interrupt())?;
                let mut terminate = signal(SignalKind::terminate())?;
                let mut hang_up = signal(SignalKind::hangup())?;
                // The other end waits for this.
                let _ = ready.send(Ok(()));
                loop {
                    let kind = tokio::select! {
                        _ = interrupt.recv() => SignalKind::interrupt(),
                        _ = terminate.recv() => SignalKind::terminate(),
                        _ = hang_up.recv() => SignalKind::hangup(),
                    };
                    shared.stop.by_signal(kind.as_raw_value());
                }
                #[expect(unreachable_code, reason = "it says what the block's question marks return")]
                Ok::<(), std::io::Error>(())
            })
        });
        if let Err(error) = watched {
            let _ = ready.send(Err(error));
        }
    });
    is_ready.recv().unwrap_or_else(|_| Err(std::io::Error::other("the watching thread ended")))
}

fn make(check: &Check, suite: &Suite) -> Record {
    let start = Instant::now();
    let backing = check.backing(suite.line);
    let mut record = Record {
        id: check.id,
        what: check.what,
        source: check.source,
        contract_only: backing == Backing::ContractOnly,
        outcome: Outcome::NotRun,
        reason: None,
        differences: Vec::new(),
        milliseconds: 0,
    };
    let is_stopped = || suite.nodes.iter().any(|node| node.shared.stop.signal().is_some());
    let stopped = is_stopped().then(|| STOPPED.to_owned());
    if let Some(reason) = stopped.or_else(|| check.obstacle(suite)) {
        record.reason = Some(reason);
        return record;
    }
    let mut found = Found::new(suite.line);
    let nodes = check.nodes(suite);
    let mut is_finished = true;
    for node in &nodes {
        found.at = (suite.nodes.len() > 1).then(|| node.authority.clone());
        // A check that panics is a finding about the check, and no reason to leave its users behind.
        match catch_unwind(AssertUnwindSafe(|| (check.run)(suite, node, &mut found))) {
            Ok(Ok(())) => {}
            Ok(Err(_)) if is_stopped() => is_finished = false,
            Ok(Err(broken)) => found.broken(&broken),
            Err(_) => found.difference("the check", "a verdict", "it panicked"),
        }
    }
    record.milliseconds = start.elapsed().as_millis();
    record.differences = found.differences;
    if !is_finished && record.differences.is_empty() {
        record.reason = Some(STOPPED.to_owned());
        return record;
    }
    record.outcome = match backing {
        _ if record.differences.is_empty() => Outcome::Ok,
        Backing::Watched => Outcome::Failed,
        Backing::ContractOnly => Outcome::Refuted,
    };
    record
}

fn put_back(keeper: &Keeper, suite: &Suite) -> Record {
    let start = Instant::now();
    let mut found = Found::new(suite.line);
    keeper.end(&mut found);
    Record {
        id: "run.restored",
        what: "users are as they were before the run, and ops has its password",
        source: "promise of this program",
        contract_only: false,
        outcome: if found.differences.is_empty() { Outcome::Ok } else { Outcome::Failed },
        reason: None,
        differences: found.differences,
        milliseconds: start.elapsed().as_millis(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::RootCertStore;

    use super::super::line::Line;
    use super::super::wire::{Broken, Login};
    use super::*;

    fn suite() -> Suite {
        let shared = Shared {
            call_timeout: Duration::from_secs(1),
            consent: false,
            stop: Stop::default(),
            trust: Arc::new(Trust::new(RootCertStore::empty(), None).unwrap()),
        };
        let node = Node {
            authority: "node-1:2113".to_owned(),
            name: ServerName::try_from("node-1").unwrap(),
            // Nobody is asked.
            address: "127.0.0.1:1".parse().unwrap(),
            state: "leader".to_owned(),
            shared: Arc::new(shared),
        };
        Suite::new(Line::V24_10, vec![node], Login::new("admin", "a"), Login::new("ops", "o"))
    }

    #[test]
    fn what_a_check_comes_to() {
        let differs: super::super::check::Run = |_, _, found| {
            found.difference("it", "this", "that");
            Ok(())
        };
        let rows: [(super::super::check::Run, Outcome, Outcome); 4] = [
            (|_, _, _| Ok(()), Outcome::Ok, Outcome::Ok),
            (differs, Outcome::Failed, Outcome::Refuted),
            (|_, _, _| Err(Broken::new("it", "no answer")), Outcome::Failed, Outcome::Refuted),
            (|_, _, _| panic!("a mistake in a check"), Outcome::Failed, Outcome::Refuted),
        ];
        for (run, watched, contract_only) in rows {
            let check = Check::new("a.b", "what", "observed §0", run);
            assert_eq!(make(&check, &suite()).outcome, watched);
            assert_eq!(make(&check.contract_only(), &suite()).outcome, contract_only);
        }
        let check = Check::new("a.b", "what", "observed §0", differs);
        let skipped = [check.clone().consent(), check.clone().node_certificate(), check.clone().scope(Scope::Cluster)];
        for check in [&skipped[..], &[check.on(|line| line > Line::V24_10)]].concat() {
            let record = make(&check, &suite());
            assert_eq!(record.outcome, Outcome::NotRun);
            assert!(record.reason.is_some());
        }
    }

    #[test]
    fn nothing_that_writes_is_sent_without_consent() {
        let suite = suite();
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let broken = suite.nodes[0].ask(&Request::new(method, "/users")).unwrap_err();
            assert!(broken.found.starts_with("not sent"), "{method}: {}", broken.found);
        }
    }
}
