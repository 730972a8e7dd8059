//! Who somebody is: `/users/$current`, `/admin/login`, and users as an administrator reads them.

use super::super::check::{Check, Scope};
use super::super::found::{Found, excerpt};
use super::super::line::Line;
use super::super::suite::{Node, Suite};
use super::super::wire::{Broken, Request};

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::new("login.ping", "GET /ping as admin and as ops: 200", "observed §1", ping),
        Check::new(
            "login.current",
            "GET /users/$current: keys in order, a date with +00:00",
            "observed §2, lines §A",
            current,
        )
        .scope(Scope::Leader),
        Check::new(
            "login.full-name",
            "full names of the built-in users are those of the line that made the database",
            "observed §2, observed-25 §A",
            full_name,
        )
        .scope(Scope::Leader),
        Check::new("login.charset", "replies are application/json; charset=utf-8", "contract §1.2", charset)
            .scope(Scope::Leader)
            .contract_only(),
        Check::new(
            "login.xml",
            "Accept: text/xml on /users/$current: 200 with an empty body",
            "lines §B, observed-25 §B",
            xml,
        )
        .scope(Scope::Leader)
        .watched_on(&[Line::V22_10, Line::V23_10, Line::V25_0]),
        Check::new(
            "login.admin",
            "GET /admin/login: data, success, label, and no error",
            "observed §2, lines §A",
            admin_login,
        ),
        Check::new(
            "users.unknown",
            "GET /users/nobody as admin: 404 with JSON NotFound",
            "observed §2, lines §A",
            unknown,
        )
        .scope(Scope::Leader),
        Check::new("users.one", "GET /users/ops as admin: no date, and links", "contract §1.3", one)
            .scope(Scope::Leader)
            .contract_only(),
        Check::new("users.list", "GET /users as admin: all of them with links, sorted by login", "contract §1.3", list)
            .scope(Scope::Leader)
            .contract_only(),
    ]
}

fn ping(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for login in [&suite.admin, &suite.ops] {
        let reply = node.ask(&Request::get("/ping").by(login))?;
        found.reply(format!("GET /ping as {}", login.name), &reply).status(200);
    }
    Ok(())
}

fn current(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for (login, group) in [(&suite.admin, "$admins"), (&suite.ops, "$ops")] {
        let name = &login.name;
        let reply = node.ask(&Request::get("/users/$current").by(login))?;
        let shape = suite.line.reply(&format!(
            r#""data":{{"loginName":"{name}","fullName":"<text>","groups":["{group}"],"dateLastUpdated":"<date>","disabled":false}},"success":true,"error":"Success""#
        ));
        found.reply(format!("GET /users/$current as {name}"), &reply).status(200).json(&shape);
    }
    Ok(())
}

/// A database keeps the names it was made with, also under a newer or an older line.
fn full_name(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for (login, role) in [(&suite.admin, "Administrator"), (&suite.ops, "Operations")] {
        let reply = node.ask(&Request::get("/users/$current").by(login))?;
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let name = body["data"]["fullName"].as_str().unwrap_or_default();
        let allowed = [format!("Event Store {role}"), format!("KurrentDB {role}")];
        let holds = allowed.iter().any(|allowed| allowed == name);
        found.holds(&format!("full name of {}", login.name), holds, allowed.join(" or "), name);
    }
    Ok(())
}

fn charset(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for path in ["/info", "/ping", "/users/$current"] {
        let reply = node.ask(&Request::get(path).by(&suite.ops))?;
        found.reply(format!("GET {path}"), &reply).header("Content-Type", "application/json; charset=utf-8");
    }
    Ok(())
}

fn xml(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let reply = node.ask(&Request::get("/users/$current").by(&suite.ops).header("Accept", "text/xml"))?;
    found.reply("GET /users/$current with Accept: text/xml", &reply).status(200).empty();
    Ok(())
}

fn admin_login(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for (login, group) in [(&suite.admin, "$admins"), (&suite.ops, "$ops")] {
        let name = &login.name;
        let reply = node.ask(&Request::get("/admin/login").by(login))?;
        let shape = suite.line.reply(&format!(
            r#""data":{{"loginName":"{name}","fullName":"{name}","groups":["{group}"],"dateLastUpdated":"<text>"}},"success":true"#
        ));
        found.reply(format!("GET /admin/login as {name}"), &reply).status(200).json(&shape);
    }
    Ok(())
}

fn unknown(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let path = format!("/users/{}", suite.new_login().name);
    let reply = node.ask(&Request::get(path).by(&suite.admin))?;
    found.reply("GET /users/<unknown> as admin", &reply).status(404).json(&suite.line.no_such_user());
    Ok(())
}

/// A user with links, as it stands in lists.
fn linked(login: &str, disabled: bool) -> String {
    let link = |rel: &str| format!(r#"{{"href":"<text>","rel":"{rel}"}}"#);
    let switch = if disabled { "enable" } else { "disable" };
    let links = ["reset-password", "change-password", "edit", "delete", switch].map(link).join(",");
    format!(
        r#"{{"loginName":"{login}","fullName":<scalar>,"groups":GROUPS,"dateLastUpdated":null,"disabled":{disabled},"links":[{links}]}}"#
    )
}

fn one(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let reply = node.ask(&Request::get("/users/ops").by(&suite.admin))?;
    let data = linked("ops", false).replace("GROUPS", r#"["$ops"]"#);
    let shape = suite.line.reply(&format!(r#""data":{data},"success":true,"error":"Success""#));
    found.reply("GET /users/ops as admin", &reply).status(200).json(&shape);
    Ok(())
}

fn list(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let reply = node.ask(&Request::get("/users").by(&suite.admin))?;
    let with_slash = node.ask(&Request::get("/users/").by(&suite.admin))?;
    found.reply("GET /users/ as admin", &with_slash).status(200).text(&reply.text());
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let users = body["data"].as_array().cloned().unwrap_or_default();
    let mut data = Vec::new();
    let mut names = Vec::new();
    for user in &users {
        let name = user["loginName"].as_str().unwrap_or_default();
        names.push(name);
        let is_disabled = user["disabled"].as_bool().unwrap_or_default();
        data.push(linked(name, is_disabled).replace("GROUPS", &user["groups"].to_string()));
    }
    let shape = suite.line.reply(&format!(r#""data":[{}],"success":true,"error":"Success""#, data.join(",")));
    found.reply("GET /users as admin", &reply).status(200).json(&shape);
    let has_both = names.contains(&"admin") && names.contains(&"ops");
    found.holds(
        "GET /users as admin",
        has_both && names.is_sorted(),
        "admin, ops and others, sorted",
        excerpt(&names.join(", ")),
    );
    Ok(())
}
