//! What anybody may ask: `/info`, `/ping`, `/gossip`, `/health/live`, statistics, `/`.

use serde_json::Value;

use super::super::check::Check;
use super::super::found::{Found, excerpt};
use super::super::line::Line;
use super::super::suite::{Node, Suite};
use super::super::wire::{Broken, Login, Reply, Request};

const CODES: &[Line] = &[Line::V22_10, Line::V23_10, Line::V24_10, Line::V25_0];

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::new(
            "info.body",
            "GET /info: keys in order, properties null or [] by line",
            "observed §2, lines §A, observed-25 §A",
            info,
        ),
        Check::new(
            "info.version",
            "esVersion is of the line that the server is said to be",
            "lines §A, observed-25 §A",
            version,
        ),
        Check::new("info.options", "GET /info/options: 401 anonymous, a list for ops", "contract §3.2", options)
            .contract_only(),
        Check::new("ping.body", "GET /ping: text, with msgTypeId or label by line", "observed §2, lines §A", ping),
        Check::new("ping.gzip", "Accept-Encoding: gzip compresses the reply", "contract §1.2", gzip).contract_only(),
        Check::new(
            "gossip.headers",
            "GET /gossip is not to be cached and varies by Accept",
            "observed §2",
            gossip_headers,
        ),
        Check::new(
            "gossip.body",
            "GET /gossip: keys in order by line, states capitalised",
            "observed §2, lines §A",
            gossip,
        ),
        Check::new(
            "gossip.secure",
            "a secure node has internalTcpPort 0 and a secure port",
            "contract §3.2",
            gossip_secure,
        )
        .contract_only(),
        Check::new("server.kestrel", "replies of controllers have Server: Kestrel", "observed §2", kestrel),
        Check::new("health.ready", "GET and HEAD /health/live: 204 without a body", "observed §2", health),
        Check::new(
            "health.live-code",
            "?liveCode=200 is obeyed from 24.10 on, ignored before",
            "observed §2, lines §A",
            live_code,
        )
        .watched_on(CODES),
        Check::new("health.live-codes", "?liveCode=299: 299, ?liveCode=abc: 204", "observed-25 §B", live_codes)
            .on(|line| line >= Line::V24_10)
            .watched_on(&[Line::V25_0]),
        Check::new(
            "health.credentials",
            "/health/live ignores wrong credentials",
            "observed §2, observed-25 §B",
            health_credentials,
        )
        .on(|line| line <= Line::V25_0),
        Check::new(
            "health.authenticates",
            "/health/live authenticates first: wrong credentials 401",
            "contract §3.1",
            health_authenticates,
        )
        .on(|line| line >= Line::V25_1)
        .contract_only(),
        Check::new("health.post", "POST /health/live: 405 empty", "observed §2", health_post).consent(),
        Check::new(
            "stats.anonymous",
            "/stats anonymous: 401, or 200 with the full body up to 22.10",
            "observed §2, lines §A",
            stats_anonymous,
        ),
        Check::new(
            "stats.login",
            "/stats with any login: 200 with a body",
            "observed-25 §B, contract §3.2",
            stats_login,
        )
        .watched_on(&[Line::V25_0]),
        Check::new("metrics.absent", "/metrics: 404, also with a login", "lines §A", metrics_absent)
            .on(|line| line <= Line::V22_10),
        Check::new("metrics.anonymous", "/metrics anonymous: 401 empty", "observed §2, lines §A", metrics_anonymous)
            .on(|line| line >= Line::V23_10),
        Check::new("metrics.login", "/metrics with any login: 200", "lines §A", metrics_login)
            .on(|line| line >= Line::V23_10)
            .watched_on(&[Line::V23_10]),
        Check::new(
            "metrics.names",
            "metrics are called kurrentdb_* from 25.0 on, eventstore_* before",
            "observed-25 §A, contract §3.2",
            metrics_names,
        )
        .on(|line| line >= Line::V23_10)
        .watched_on(&[Line::V25_0]),
        Check::new(
            "root.redirect",
            "GET /: 302 to the user interface, body Moved",
            "observed §2, observed-25 §A",
            root,
        ),
        Check::new(
            "root.any-agent",
            "the 302 of / does not depend on the agent or on credentials",
            "observed-25 §B",
            root_agents,
        )
        .on(|line| line >= Line::V25_0)
        .watched_on(&[Line::V25_0]),
        Check::new(
            "root.old-interface",
            "/web: 302 to /web/index.html, which is there",
            "observed-25 §A",
            old_interface,
        )
        .on(|line| line == Line::V25_0),
        Check::new(
            "unknown.path",
            "an unknown path: 404 empty, CORS headers by line",
            "observed §2, lines §A, observed-25 §A",
            unknown_path,
        ),
        Check::new("head.ping", "HEAD /ping: 405 empty", "observed §2", head),
        Check::new("options.current", "OPTIONS: 200 with the methods of the path", "contract §1.4", options_request)
            .contract_only(),
        Check::new(
            "cors.methods",
            "controllers list the methods of their path, then OPTIONS",
            "observed §2",
            cors_methods,
        ),
        Check::new(
            "cors.kurrent",
            "CORS lists have the Kurrent-* names before the ES-* names",
            "observed-25 §A",
            cors_kurrent,
        )
        .on(|line| line >= Line::V25_0),
        Check::new(
            "cors.eventstore",
            "CORS lists have the ES-* names, and any origin",
            "contract §1.3",
            cors_eventstore,
        )
        .on(|line| line < Line::V25_0)
        .contract_only(),
    ]
}

fn info(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let reply = node.ask(&Request::get("/info"))?;
    let database = if suite.line >= Line::V25_0 { r#""dbVersion":"<text>","# } else { "" };
    let properties = if suite.line >= Line::V24_10 { "[]" } else { "null" };
    let shape = format!(
        r#"{{{database}"esVersion":"<text>","state":"<text>","features":{{"projections":<bool>,"userManagement":true,"atomPub":<bool>}},"authentication":{{"type":"internal","properties":{properties}}}}}"#
    );
    let state = field(&reply, "state");
    let lower = !state.is_empty() && state.chars().all(|letter| letter.is_ascii_lowercase());
    found.reply("GET /info", &reply).status(200).json(&shape);
    found.holds("GET /info: state", lower, "in lower case", &state);
    if suite.line >= Line::V25_0 {
        let (database, server) = (field(&reply, "dbVersion"), field(&reply, "esVersion"));
        found.holds("GET /info: dbVersion", database == server, format!("esVersion `{server}`"), database);
    }
    Ok(())
}

fn field(reply: &Reply, name: &str) -> String {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    body[name].as_str().unwrap_or_default().to_owned()
}

fn version(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let version = field(&node.ask(&Request::get("/info"))?, "esVersion");
    let expected = suite.line.version();
    found.holds("GET /info: esVersion", version.starts_with(expected), format!("{expected}…"), version);
    Ok(())
}

fn options(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let request = Request::get("/info/options");
    found.reply("GET /info/options anonymous", &node.ask(&request)?).not_authorised();
    let reply = node.ask(&request.by(&suite.ops))?;
    found.reply("GET /info/options as ops", &reply).status(200);
    let options: Vec<Value> = serde_json::from_slice(&reply.body).unwrap_or_default();
    let wanted = ["name", "description", "group", "value"];
    let complete = |option: &Value| wanted.iter().all(|key| option.get(key).is_some());
    let holds = !options.is_empty() && options.iter().all(complete);
    found.holds("GET /info/options as ops", holds, format!("a list of {wanted:?}"), excerpt(&reply.text()));
    Ok(())
}

fn ping(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let shape = match suite.line {
        Line::V21_10 | Line::V22_10 => r#"{"msgTypeId":<number>,"text":"Ping request successfully handled"}"#,
        Line::V23_10 => r#"{"text":"Ping request successfully handled","msgTypeId":<number>,"label":"Http"}"#,
        _ => r#"{"text":"Ping request successfully handled","label":"Http"}"#,
    };
    found.reply("GET /ping", &node.ask(&Request::get("/ping"))?).status(200).json(shape);
    Ok(())
}

fn gzip(_: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let reply = node.ask(&Request::get("/ping").header("Accept-Encoding", "gzip"))?;
    found.reply("GET /ping with Accept-Encoding: gzip", &reply).status(200).header("Content-Encoding", "gzip");
    let starts = reply.body.iter().take(2).map(|byte| format!("{byte:02x}")).collect::<String>();
    found.holds("its body", starts == "1f8b", "gzip, which starts with 1f8b", starts);
    Ok(())
}

fn gossip_headers(_: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    found
        .reply("GET /gossip", &node.ask(&Request::get("/gossip"))?)
        .status(200)
        .header("Cache-Control", "max-age=0, no-cache, must-revalidate")
        .header("Vary", "Accept");
    Ok(())
}

fn members(reply: &Reply) -> Vec<Value> {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    body["members"].as_array().cloned().unwrap_or_default()
}

fn gossip(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let reply = node.ask(&Request::get("/gossip"))?;
    let members = members(&reply);
    let mut keys =
        "instanceId timeStamp state isAlive internalTcpIp internalTcpPort internalSecureTcpPort externalTcpIp \
                    externalTcpPort externalSecureTcpPort"
            .to_owned();
    if suite.line >= Line::V24_10 {
        keys += " internalHttpEndPointIp internalHttpEndPointPort";
    }
    keys += " httpEndPointIp httpEndPointPort lastCommitPosition writerCheckpoint chaserCheckpoint epochPosition \
             epochNumber epochId nodePriority isReadOnlyReplica";
    if suite.line >= Line::V23_10 {
        keys += " esVersion";
    }
    let hole = |key: &str| match key {
        "isAlive" | "isReadOnlyReplica" => "<bool>",
        _ => "<scalar>",
    };
    let member = keys.split_whitespace().map(|key| format!(r#""{key}":{}"#, hole(key))).collect::<Vec<_>>().join(",");
    let list = vec![format!("{{{member}}}"); members.len().max(1)].join(",");
    let shape = format!(r#"{{"members":[{list}],"serverIp":"<text>","serverPort":<number>}}"#);
    found.reply("GET /gossip", &reply).status(200).json(&shape);
    for member in &members {
        let (state, alive) = (member["state"].as_str().unwrap_or_default(), &member["isAlive"]);
        let capital = state.starts_with(|first: char| first.is_ascii_uppercase());
        found.holds("GET /gossip: state", capital, "capitalised", state);
        let dead_is_unknown = *alive == Value::Bool(true) || state == "Unknown";
        found.holds("GET /gossip: a dead member", dead_is_unknown, "Unknown", state);
    }
    Ok(())
}

fn gossip_secure(_: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for member in members(&node.ask(&Request::get("/gossip"))?) {
        let ports = (member["internalTcpPort"].as_i64(), member["internalSecureTcpPort"].as_i64());
        let holds = ports.0 == Some(0) && ports.1.is_some_and(|port| port > 0);
        found.holds("internalTcpPort and internalSecureTcpPort", holds, "0 and a port", format!("{ports:?}"));
    }
    Ok(())
}

fn kestrel(_: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for path in ["/info", "/ping", "/gossip"] {
        found.reply(format!("GET {path}"), &node.ask(&Request::get(path))?).header("Server", "Kestrel");
    }
    Ok(())
}

fn health(_: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for method in ["GET", "HEAD"] {
        let reply = node.ask(&Request::new(method, "/health/live"))?;
        found.reply(format!("{method} /health/live"), &reply).status(204).empty();
    }
    Ok(())
}

fn live_code(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let expected = if suite.line >= Line::V24_10 { 200 } else { 204 };
    let reply = node.ask(&Request::get("/health/live?liveCode=200"))?;
    found.reply("GET /health/live?liveCode=200", &reply).status(expected).empty();
    Ok(())
}

fn live_codes(_: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for (query, expected) in [("liveCode=299", 299), ("liveCode=abc", 204)] {
        let path = format!("/health/live?{query}");
        found.reply(format!("GET {path}"), &node.ask(&Request::get(path))?).status(expected);
    }
    Ok(())
}

fn strangers(suite: &Suite) -> [Login; 2] {
    [suite.admin.with("surely-not-the-password"), Login::new("nobody-at-all", "changeit")]
}

fn health_credentials(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for login in strangers(suite) {
        let reply = node.ask(&Request::get("/health/live").by(&login))?;
        found.reply(format!("GET /health/live as {} with a wrong password", login.name), &reply).status(204).empty();
    }
    Ok(())
}

fn health_authenticates(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for login in strangers(suite) {
        let reply = node.ask(&Request::get("/health/live").by(&login))?;
        found.reply(format!("GET /health/live as {} with a wrong password", login.name), &reply).bad_login();
    }
    Ok(())
}

fn health_post(_: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    found.reply("POST /health/live", &node.ask(&Request::post("/health/live"))?).status(405).empty();
    Ok(())
}

/// "The full body" is an object with something in it.
fn full_body(of: &str, reply: &Reply, found: &mut Found) {
    found.reply(of, reply).status(200);
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let holds = body.as_object().is_some_and(|body| !body.is_empty());
    found.holds(of, holds, "a JSON object with members", excerpt(&reply.text()));
}

fn stats_anonymous(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let reply = node.ask(&Request::get("/stats"))?;
    if suite.line <= Line::V22_10 {
        full_body("GET /stats anonymous", &reply, found);
    } else {
        found.reply("GET /stats anonymous", &reply).not_authorised();
    }
    Ok(())
}

fn stats_login(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    full_body("GET /stats as ops", &node.ask(&Request::get("/stats").by(&suite.ops))?, found);
    Ok(())
}

fn metrics_absent(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let request = Request::get("/metrics");
    found.reply("GET /metrics anonymous", &node.ask(&request)?).status(404);
    found.reply("GET /metrics as admin", &node.ask(&request.by(&suite.admin))?).status(404);
    Ok(())
}

fn metrics_anonymous(_: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    found.reply("GET /metrics anonymous", &node.ask(&Request::get("/metrics"))?).not_authorised();
    Ok(())
}

fn metrics_login(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for login in [&suite.admin, &suite.ops] {
        let reply = node.ask(&Request::get("/metrics").by(login))?;
        found.reply(format!("GET /metrics as {}", login.name), &reply).status(200);
    }
    Ok(())
}

/// 41 of 42 names were of the product, the other of its runtime; none was of the other product.
fn metrics_names(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let text = node.ask(&Request::get("/metrics").by(&suite.ops))?.text();
    let (own, other) = ("kurrentdb_", "eventstore_");
    let (own, other) = if suite.line >= Line::V25_0 { (own, other) } else { (other, own) };
    let starts = |prefix: &str| text.lines().filter(|line| line.starts_with(prefix)).count();
    let (ours, others) = (starts(own), starts(other));
    let shown = format!("{ours} of {own}*, {others} of {other}*");
    found.holds(
        "GET /metrics as ops",
        ours > 0 && others == 0,
        format!("samples of {own}* and none of {other}*"),
        shown,
    );
    Ok(())
}

/// Where `/` leads to. 25.0 was seen; of later lines it is known that the new interface is under `/ui`.
fn leads_to_interface(line: Line, location: &str) -> bool {
    let path = location.strip_prefix("https://").and_then(|rest| rest.split_once('/')).map(|(_, path)| path);
    match line {
        Line::V25_0 => path == Some("ui/cluster"),
        line if line > Line::V25_0 => path.is_some_and(|path| path == "ui" || path.starts_with("ui/")),
        _ => path == Some("web/index.html"),
    }
}

fn interface(line: Line) -> &'static str {
    match line {
        Line::V25_0 => "https://<host>/ui/cluster",
        line if line > Line::V25_0 => "https://<host>/ui…",
        _ => "https://<host>/web/index.html",
    }
}

fn root(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let line = suite.line;
    found
        .reply("GET /", &node.ask(&Request::get("/"))?)
        .status(302)
        .header_is("Location", interface(line), |location| leads_to_interface(line, location))
        .text("Moved");
    Ok(())
}

fn root_agents(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for agent in ["curl/8", "Foo/1", "Mozilla/5.0"] {
        let reply = node.ask(&Request::get("/").header("User-Agent", agent))?;
        found.reply(format!("GET / by {agent}"), &reply).status(302);
    }
    found.reply("GET / as ops", &node.ask(&Request::get("/").by(&suite.ops))?).status(302);
    Ok(())
}

fn old_interface(_: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let is_index = |location: &str| location.ends_with("/web/index.html");
    found.reply("GET /web", &node.ask(&Request::get("/web"))?).status(302).header_is(
        "Location",
        "…/web/index.html",
        is_index,
    );
    found.reply("GET /web/index.html", &node.ask(&Request::get("/web/index.html"))?).status(200);
    Ok(())
}

fn unknown_path(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let reply = node.ask(&Request::get("/no/such/path"))?;
    let judge = found.reply("GET /no/such/path", &reply).status(404).empty();
    let cors = ["Access-Control-Allow-Origin", "Access-Control-Allow-Headers", "Access-Control-Expose-Headers"];
    match suite.line {
        Line::V21_10 | Line::V22_10 => drop(judge.header("Access-Control-Allow-Methods", "")),
        Line::V23_10 => drop(judge.without("Access-Control-Allow-Methods")),
        Line::V25_0 | Line::V25_1 => {
            let judge = judge.without("Access-Control-Allow-Methods");
            cors.into_iter().fold(judge, |judge, name| judge.header_is(name, "one value", |_| true));
        }
        // Routing answers here, and not the API.
        Line::V24_10 | Line::V26_1 => {
            let judge = judge.without("Access-Control-Allow-Methods");
            cors.into_iter().fold(judge, |judge, name| judge.without(name));
        }
    }
    Ok(())
}

fn head(_: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    found.reply("HEAD /ping", &node.ask(&Request::new("HEAD", "/ping"))?).status(405).empty();
    Ok(())
}

fn options_request(_: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let reply = node.ask(&Request::new("OPTIONS", "/users/$current"))?;
    found
        .reply("OPTIONS /users/$current", &reply)
        .status(200)
        .empty()
        .header("Access-Control-Allow-Methods", "GET, PUT, DELETE, GET, OPTIONS");
    Ok(())
}

fn cors_methods(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for (path, methods) in
        [("/info", "GET, OPTIONS"), ("/ping", "GET, OPTIONS"), ("/users/$current", "GET, PUT, DELETE, GET, OPTIONS")]
    {
        let reply = node.ask(&Request::get(path).by(&suite.ops))?;
        found.reply(format!("GET {path} as ops"), &reply).status(200).header("Access-Control-Allow-Methods", methods);
    }
    Ok(())
}

fn names(list: &str) -> Vec<&str> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect()
}

fn cors_kurrent(_: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let kurrent_first = |list: &str| {
        let names = names(list);
        let last_kurrent = names.iter().rposition(|name| name.starts_with("Kurrent-"));
        let first_es = names.iter().position(|name| name.starts_with("ES-"));
        last_kurrent.zip(first_es).is_some_and(|(kurrent, es)| kurrent < es)
    };
    found
        .reply("GET /info", &node.ask(&Request::get("/info"))?)
        .header_is("Access-Control-Allow-Headers", "Kurrent-* names before ES-* names", kurrent_first)
        // With a trailing comma.
        .header(
            "Access-Control-Expose-Headers",
            "Location, Kurrent-Position, Kurrent-CurrentVersion, ES-Position, ES-CurrentVersion,",
        );
    Ok(())
}

fn cors_eventstore(_: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let wanted = ["Authorization", "ES-LongPoll", "ES-ExpectedVersion", "ES-RequireMaster", "ES-RequireLeader"];
    // In this order, with others between them.
    let has_all = |list: &str| {
        let mut found = names(list).into_iter();
        wanted.iter().all(|wanted| found.any(|name| name == *wanted))
    };
    let exposed = ["Location", "ES-Position", "ES-CurrentVersion"];
    found
        .reply("GET /info", &node.ask(&Request::get("/info"))?)
        .header("Access-Control-Allow-Origin", "*")
        .header_is("Access-Control-Allow-Headers", &format!("among others {wanted:?}"), has_all)
        .header_is("Access-Control-Expose-Headers", &format!("{exposed:?}"), |list| names(list) == exposed);
    Ok(())
}
