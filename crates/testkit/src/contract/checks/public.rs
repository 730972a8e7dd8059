//! What a server tells anybody of itself: `/info`, `/ping`, `/gossip`.

use serde_json::Value;

use super::super::check::Check;
use super::super::found::{Found, excerpt};
use super::super::line::Line;
use super::super::suite::{Node, Suite};
use super::super::wire::{Broken, Reply, Request};

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
    let starts = reply.body.iter().take(2).collect::<Vec<_>>();
    found.holds("its body", starts == [&0x1f, &0x8b], "gzip, which starts with [31, 139]", format!("{starts:?}"));
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
    let members = members(&node.ask(&Request::get("/gossip"))?);
    found.holds("GET /gossip", !members.is_empty(), "members", "none");
    for member in members {
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
