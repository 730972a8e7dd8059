//! Users come, change and go. All of them are users of the run.

use serde_json::{Value, json};

use super::super::check::{Check, Scope};
use super::super::found::Found;
use super::super::suite::{Node, Suite, await_state};
use super::super::wire::{Broken, Login, Request};

pub(super) fn checks() -> Vec<Check> {
    let check = |id, what, source, run| Check::new(id, what, source, run).scope(Scope::Leader).consent();
    vec![
        check(
            "users.create",
            "create: 201 with Location; again, also with other groups, 201; other password 409",
            "observed §2, lines §B",
            create,
        ),
        check(
            "users.create-malformed",
            "create with a malformed body: 200, nothing happens",
            "observed §2, contract §1.5",
            create_malformed,
        )
        .contract_only(),
        check("users.create-type", "create without Content-Type: 415", "contract §1.2", create_type).contract_only(),
        check(
            "users.create-rights",
            "create anonymous or as ops: 401, nothing happens",
            "contract §1.1",
            create_rights,
        )
        .contract_only(),
        check("users.delete", "delete: 200, again 404, no login afterwards, create again 201", "observed §2", delete),
        check("users.disable", "disable: no login; enable: login at once", "observed §2, lines §B", disable),
        check(
            "users.switch-again",
            "disable and enable may be repeated; of an unknown user: 404",
            "contract §1.5",
            switch_again,
        )
        .contract_only(),
        check("users.update", "PUT replaces full name and groups", "contract §1.1", update).contract_only(),
        check(
            "users.update-without-groups",
            "PUT without groups: 200, and the user can still log in",
            "observed §2, lines §B",
            update_without_groups,
        ),
    ]
}

pub(super) fn create(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let user = suite.new_login();
    let location = format!("/users/{}", user.name);
    let names_user = |found: &str| found.starts_with("https://") && found.ends_with(&location);
    found
        .reply("create", &node.ask(&suite.creation(&user))?)
        .status(201)
        .header_is("Location", &format!("https://<base>{location}"), names_user)
        .update(&user.name, "Success");
    found.reply("create again", &node.ask(&suite.creation(&user))?).status(201).update(&user.name, "Success");
    let others = json!({"loginName": user.name, "fullName": "x", "groups": ["other"], "password": user.password});
    let request = Request::post("/users").by(&suite.admin).json(others.to_string());
    found.reply("create again with other groups", &node.ask(&request)?).status(201);
    found
        .reply("create with another password", &node.ask(&suite.creation(&user.with("another")))?)
        .status(409)
        .update(&user.name, "Conflict");
    let works = node.accepts(&user)?;
    found.holds("the first password", works, "accepted", "refused");
    let reply = node.ask(&Request::get("/users/$current").by(&user))?;
    found.reply("GET /users/$current as the user", &reply).status(200).json(&suite.line.reply(&format!(
        r#""data":{{"loginName":"{}","fullName":"Contract suite","groups":[],"dateLastUpdated":"<date>","disabled":false}},"success":true,"error":"Success""#,
        user.name
    )));
    Ok(())
}

fn exists(suite: &Suite, node: &Node, user: &Login) -> Result<bool, Broken> {
    let reply = node.ask(&Request::get(format!("/users/{}", user.name)).by(&suite.admin))?;
    Ok(reply.status == 200)
}

fn create_malformed(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let before = node.ask(&Request::get("/users").by(&suite.admin))?.text();
    for body in ["", "{\"loginName\":", "[]"] {
        let reply = node.ask(&Request::post("/users").by(&suite.admin).json(body))?;
        found.reply(format!("create with the body `{body}`"), &reply).hollow();
    }
    let after = node.ask(&Request::get("/users").by(&suite.admin))?.text();
    found.holds("the users", before == after, "unchanged", "changed");
    Ok(())
}

fn create_type(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let request = Request::post("/users").by(&suite.admin).body("{}");
    found.reply("create without Content-Type", &node.ask(&request)?).unsupported();
    Ok(())
}

fn create_rights(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let user = suite.new_login();
    let body = json!({"loginName": user.name, "fullName": "x", "groups": [], "password": user.password}).to_string();
    let request = Request::post("/users").json(body);
    found.reply("create anonymous", &node.ask(&request)?).not_authorised();
    found.reply("create as ops", &node.ask(&request.by(&suite.ops))?).not_authorised();
    found.holds("the user", !exists(suite, node, &user)?, "not there", "there");
    Ok(())
}

fn delete(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let user = suite.scratch(node)?;
    found.holds("a login before", node.accepts(&user)?, "accepted", "refused");
    let request = Request::new("DELETE", format!("/users/{}", user.name)).by(&suite.admin);
    found.reply("delete", &node.ask(&request)?).status(200).update(&user.name, "Success");
    found.reply("delete again", &node.ask(&request)?).status(404).update(&user.name, "NotFound");
    let refused = await_state(node, suite.line.flip_bound(), || node.accepts(&user).map(|accepted| !accepted))?;
    found.holds("a login afterwards", refused, "refused", "accepted");
    found.reply("GET /ping as the user", &node.ask(&Request::get("/ping").by(&user))?).bad_login();
    found.reply("create again", &node.ask(&suite.creation(&user))?).status(201);
    Ok(())
}

fn switch(suite: &Suite, user: &Login, command: &str) -> Request {
    Request::post(format!("/users/{}/command/{command}", user.name)).by(&suite.admin)
}

fn switch_again(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let (user, unknown) = (suite.scratch(node)?, suite.new_login());
    for command in ["disable", "disable", "enable", "enable"] {
        let reply = node.ask(&switch(suite, &user, command))?;
        found.reply(command, &reply).status(200).update(&user.name, "Success");
        let reply = node.ask(&switch(suite, &unknown, command))?;
        found.reply(format!("{command} of an unknown user"), &reply).status(404).update(&unknown.name, "NotFound");
    }
    Ok(())
}

fn disable(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let user = suite.scratch(node)?;
    found.holds("a login before", node.accepts(&user)?, "accepted", "refused");
    found.reply("disable", &node.ask(&switch(suite, &user, "disable"))?).status(200).update(&user.name, "Success");
    let refused = await_state(node, suite.line.flip_bound(), || node.accepts(&user).map(|accepted| !accepted))?;
    found.holds("a login while disabled", refused, "refused", "accepted");
    found.reply("GET /ping as the user", &node.ask(&Request::get("/ping").by(&user))?).bad_login();
    found.reply("enable", &node.ask(&switch(suite, &user, "enable"))?).status(200).update(&user.name, "Success");
    found.holds("a login right after", node.accepts(&user)?, "accepted", "refused");
    Ok(())
}

fn put(suite: &Suite, user: &Login, body: &Value) -> Request {
    Request::new("PUT", format!("/users/{}", user.name)).by(&suite.admin).json(body.to_string())
}

fn update(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let user = suite.scratch(node)?;
    let request = put(suite, &user, &json!({"fullName": "Another name", "groups": ["one", "two"]}));
    found.reply("PUT", &node.ask(&request)?).status(200).update(&user.name, "Success");
    let reply = node.ask(&Request::get("/users/$current").by(&user))?;
    found.reply("GET /users/$current as the user", &reply).status(200).json(&suite.line.reply(&format!(
        r#""data":{{"loginName":"{}","fullName":"Another name","groups":["one","two"],"dateLastUpdated":"<date>","disabled":false}},"success":true,"error":"Success""#,
        user.name
    )));
    let unknown = suite.new_login();
    let reply = node.ask(&put(suite, &unknown, &json!({"fullName": "x", "groups": []})))?;
    found.reply("PUT of an unknown user", &reply).status(404).update(&unknown.name, "NotFound");
    Ok(())
}

fn update_without_groups(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let user = suite.scratch(node)?;
    let reply = node.ask(&put(suite, &user, &json!({"fullName": "No groups"})))?;
    found.reply("PUT without groups", &reply).status(200).update(&user.name, "Success");
    found.holds("a login afterwards", node.accepts(&user)?, "accepted", "refused");
    let reply = node.ask(&Request::get("/users/$current").by(&user))?;
    found.reply("GET /users/$current as the user", &reply).status(200).json(&suite.line.reply(&format!(
        r#""data":{{"loginName":"{}","fullName":"No groups","groups":null,"dateLastUpdated":"<date>","disabled":false}},"success":true,"error":"Success""#,
        user.name
    )));
    Ok(())
}
