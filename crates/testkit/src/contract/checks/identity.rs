//! The node's own certificate, shown by a client, makes it the user `system`.

use std::sync::Arc;

use rustls::ClientConfig;

use super::super::check::{Check, Scope};
use super::super::found::Found;
use super::super::line::Line;
use super::super::suite::{Node, Suite, await_state, random_password};
use super::super::wire::{Broken, Request};

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::new("certificate.users", "node certificate: /users 200, /users/$current 404", "observed §2", users)
            .scope(Scope::Leader)
            .node_certificate(),
        Check::new(
            "certificate.login",
            "node certificate: /admin/login is system, in system and $admins",
            "observed §2, observed-25 §D",
            login,
        )
        .scope(Scope::Leader)
        .node_certificate(),
        Check::new(
            "certificate.login-follower",
            "node certificate: a follower answers /admin/login itself, as system",
            "observed-25 §D, contract §1.6",
            login,
        )
        .scope(Scope::EachFollower)
        .watched_on(&[Line::V25_0])
        .node_certificate(),
        Check::new(
            "certificate.basic",
            "a wrong Basic header beside a node certificate: 401",
            "observed §2",
            wrong_basic,
        )
        .scope(Scope::Leader)
        .node_certificate(),
        Check::new(
            "certificate.reset",
            "node certificate on the leader: reset-password 200, and it is done",
            "observed §2",
            reset,
        )
        .scope(Scope::Leader)
        .node_certificate()
        .consent(),
    ]
}

/// The configuration with the node certificate; the check is not made without one.
pub(super) fn with_certificate(node: &Node) -> Result<&Arc<ClientConfig>, Broken> {
    node.shared.trust.node.as_ref().ok_or_else(|| Broken::new("the node certificate", "not given"))
}

fn users(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let tls = with_certificate(node)?;
    found.reply("GET /users by certificate", &node.ask_over(tls, &Request::get("/users"))?).status(200);
    let reply = node.ask_over(tls, &Request::get("/users/$current"))?;
    found.reply("GET /users/$current by certificate", &reply).status(404).json(&suite.line.no_such_user());
    Ok(())
}

fn login(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let reply = node.ask_over(with_certificate(node)?, &Request::get("/admin/login"))?;
    let shape = suite.line.reply(
        r#""data":{"loginName":"system","fullName":<scalar>,"groups":["system","$admins"],"dateLastUpdated":<scalar>},"success":true"#,
    );
    found.reply("GET /admin/login by certificate", &reply).status(200).json(&shape);
    Ok(())
}

fn wrong_basic(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let request = Request::get("/users").by(&suite.admin.with("surely-not-the-password"));
    let reply = node.ask_over(with_certificate(node)?, &request)?;
    found.reply("GET /users by certificate with a wrong Basic header", &reply).bad_login();
    Ok(())
}

fn reset(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let user = suite.scratch(node)?;
    let new = user.with(&random_password());
    let request = Request::post(format!("/users/{}/command/reset-password", user.name))
        .json(serde_json::json!({"newPassword": new.password}).to_string());
    let reply = node.ask_over(with_certificate(node)?, &request)?;
    found.reply("reset-password by certificate", &reply).status(200).update(&user.name, "Success");
    let works = await_state(node, suite.line.flip_bound(), || node.accepts(&new))?;
    found.holds("the new password", works, "accepted", "refused");
    Ok(())
}
