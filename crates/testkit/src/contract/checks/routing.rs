//! Paths, methods and what browsers are told: `/`, unknown paths, HEAD, OPTIONS, CORS.

use super::super::check::Check;
use super::super::found::{Found, Judge};
use super::super::line::Line;
use super::super::suite::{Node, Suite};
use super::super::wire::{Broken, Request};

pub(super) fn checks() -> Vec<Check> {
    vec![
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
            cors.into_iter().fold(judge, Judge::without);
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
