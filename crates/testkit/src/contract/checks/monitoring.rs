//! What watches a server asks it: `/health/live`, `/stats`, `/metrics`.

use serde_json::Value;

use super::super::check::Check;
use super::super::found::{Found, excerpt};
use super::super::line::Line;
use super::super::suite::{Node, Suite};
use super::super::wire::{Broken, Login, Reply, Request};

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::new("health.ready", "GET and HEAD /health/live: 204 without a body", "observed §2", health),
        Check::new(
            "health.live-code",
            "?liveCode=200 is obeyed from 24.10 on, ignored before",
            "observed §2, lines §A",
            live_code,
        ),
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
    ]
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
