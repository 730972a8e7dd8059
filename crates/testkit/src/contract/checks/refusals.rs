//! The kinds of no: four 401s that mean different things, 405, 406, and `Authorization` headers that are none.

use super::super::check::{Check, Scope};
use super::super::found::{Found, Judge};
use super::super::line::Line;
use super::super::suite::{Node, Suite};
use super::super::wire::{Broken, Login, Request};

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::new(
            "refused.login",
            "wrong password or unknown user: 401 empty, X-Basic, on public paths too",
            "observed §2",
            wrong_login,
        ),
        Check::new(
            "refused.login-root",
            "wrong password on /: 401, X-Basic",
            "observed §2, observed-25 §B",
            wrong_login_at_root,
        ),
        Check::new(
            "refused.login-cors",
            "the 401 of a wrong login has no CORS headers",
            "contract §1.4",
            wrong_login_without_cors,
        )
        .contract_only(),
        Check::new(
            "refused.rights",
            "/users and /users/ops anonymous or as ops: 401 empty, no WWW-Authenticate",
            "observed §2",
            no_rights,
        )
        .scope(Scope::Leader),
        Check::new(
            "refused.current",
            "/users/$current and /admin/login anonymous: 401 empty, no WWW-Authenticate",
            "contract §1.1, §1.4",
            current_anonymous,
        )
        .contract_only(),
        Check::new(
            "refused.not-base64",
            "Basic that is not base64: 500 empty; from 26.1 on it counts as anonymous",
            "lines §A, observed-25 §B, contract §1.4",
            not_base64,
        )
        .watched_on(&[Line::V22_10, Line::V23_10, Line::V25_0]),
        Check::new(
            "refused.bearer",
            "Authorization: Bearer abc counts as anonymous",
            "observed-25 §B, contract §1.4",
            bearer,
        )
        .watched_on(&[Line::V25_0]),
        Check::new(
            "refused.not-basic",
            "basic in lower case, no colon, two headers: all count as anonymous",
            "contract §1.4",
            not_basic,
        )
        .contract_only(),
        Check::new(
            "refused.accept",
            "Accept: image/png: 406 with its reason, CORS methods by line",
            "observed §2, lines §A",
            accept,
        )
        .scope(Scope::Leader),
        Check::new(
            "refused.format",
            "?format=json beats Accept: image/png; an unknown format is 500",
            "contract §1.2",
            format_in_query,
        )
        .contract_only(),
        Check::new(
            "refused.method",
            "GET on reset-password: 405, its methods in a header that depends on the line",
            "observed §2, lines §A, observed-25 §A",
            method,
        )
        .scope(Scope::Leader),
    ]
}

fn wrong_logins(suite: &Suite) -> [Login; 3] {
    [
        suite.admin.with("surely-not-the-password"),
        suite.ops.with("surely-not-the-password"),
        Login::new("nobody-at-all", "changeit"),
    ]
}

fn wrong_login(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for login in wrong_logins(suite) {
        for path in ["/ping", "/info", "/gossip", "/users", "/users/$current", "/no/such/path"] {
            let reply = node.ask(&Request::get(path).by(&login))?;
            found.reply(format!("GET {path} as {} with a wrong password", login.name), &reply).bad_login();
        }
    }
    Ok(())
}

fn wrong_login_at_root(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for login in wrong_logins(suite) {
        let reply = node.ask(&Request::get("/").by(&login))?;
        found.reply(format!("GET / as {} with a wrong password", login.name), &reply).bad_login();
    }
    Ok(())
}

fn wrong_login_without_cors(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let [login, ..] = wrong_logins(suite);
    found
        .reply("GET /ping with a wrong password", &node.ask(&Request::get("/ping").by(&login))?)
        .bad_login()
        .without("Access-Control-Allow-Methods")
        .without("Access-Control-Allow-Origin")
        .without("Access-Control-Allow-Headers")
        .without("Access-Control-Expose-Headers");
    Ok(())
}

fn no_rights(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for path in ["/users", "/users/ops"] {
        let request = Request::get(path);
        found.reply(format!("GET {path} anonymous"), &node.ask(&request)?).not_authorised();
        found.reply(format!("GET {path} as ops"), &node.ask(&request.by(&suite.ops))?).not_authorised();
    }
    Ok(())
}

fn current_anonymous(_: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for path in ["/users/$current", "/admin/login"] {
        found.reply(format!("GET {path} anonymous"), &node.ask(&Request::get(path))?).not_authorised();
    }
    Ok(())
}

fn not_base64(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let reply = node.ask(&Request::get("/ping").authorization("what is not base64", "Basic !!!"))?;
    let judge = found.reply("GET /ping with `Basic !!!`", &reply);
    if suite.line >= Line::V26_1 {
        judge.status(200);
    } else {
        judge.status(500).empty();
    }
    Ok(())
}

fn bearer(_: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let reply = node.ask(&Request::get("/ping").authorization("a bearer", "Bearer abc"))?;
    found.reply("GET /ping with `Bearer abc`", &reply).status(200);
    Ok(())
}

fn not_basic(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let wrong = suite.admin.with("surely-not-the-password").basic();
    let lower_case = wrong.replacen("Basic", "basic", 1);
    // `admin` alone, in base64.
    for (kind, header) in [("a scheme in lower case", lower_case.as_str()), ("no colon", "Basic YWRtaW4=")] {
        let public = node.ask(&Request::get("/ping").authorization(kind, header))?;
        found.reply(format!("GET /ping with {kind}"), &public).status(200);
        let personal = node.ask(&Request::get("/users/$current").authorization(kind, header))?;
        found.reply(format!("GET /users/$current with {kind}"), &personal).not_authorised();
    }
    let twice = Request::get("/ping").authorization("two at once", &wrong).header("Authorization", &wrong);
    found.reply("GET /ping with two Authorization headers", &node.ask(&twice)?).status(200);
    Ok(())
}

fn accept(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let request = Request::get("/users/$current").by(&suite.ops).header("Accept", "image/png");
    let reply = node.ask(&request)?;
    let judge = found
        .reply("GET /users/$current with Accept: image/png", &reply)
        .status(406)
        .reason("Requested URI is not available in requested format");
    methods_of_a_refusal(suite.line, judge);
    Ok(())
}

fn format_in_query(_: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for (format, status) in [("json", 200), ("nonsense", 500)] {
        let path = format!("/info?format={format}");
        let reply = node.ask(&Request::get(&path).header("Accept", "image/png"))?;
        found.reply(format!("GET {path} with Accept: image/png"), &reply).status(status);
    }
    Ok(())
}

/// 404, 406 and 415 are made before a path's methods are looked up: 22.10 sends the header without a value (lines §A).
pub(super) fn methods_of_a_refusal(line: Line, judge: Judge<'_>) {
    match line {
        Line::V21_10 | Line::V22_10 => drop(judge.header("Access-Control-Allow-Methods", "")),
        Line::V23_10 => drop(judge.without("Access-Control-Allow-Methods")),
        _ => {}
    }
}

fn method(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let reply = node.ask(&Request::get("/users/ops/command/reset-password").by(&suite.admin))?;
    method_refused(suite.line, found.reply("GET on reset-password", &reply));
    Ok(())
}

/// On 24.10 routing refuses, elsewhere the API (observed §2, lines §A, observed-25 §A).
pub(super) fn method_refused(line: Line, judge: Judge<'_>) {
    let judge = judge.status(405).empty();
    if line == Line::V24_10 {
        judge.header("Allow", "OPTIONS, POST");
    } else {
        judge.header("Access-Control-Allow-Methods", "POST, OPTIONS").without("Allow");
    }
}
