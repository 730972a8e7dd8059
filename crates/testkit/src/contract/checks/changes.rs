//! `change-password`: by the user alone. The built-in users are asked as, and never changed.

use serde_json::json;

use super::super::check::{Check, Scope};
use super::super::found::{Found, Judge};
use super::super::line::Line;
use super::super::suite::{Node, Suite, await_state, random_password};
use super::super::wire::{Broken, Login, Reply, Request};
use super::resets::{accepted, command};

/// A user's cached login outlives a reset by up to a second; an unlucky round sees none of that.
const ROUNDS: usize = 4;

pub(super) fn checks() -> Vec<Check> {
    let check = |id, what, source, run| Check::new(id, what, source, run).scope(Scope::Leader).consent();
    vec![
        check(
            "change.success",
            "change-password: 200 success; again, with what is the current no more, 401 with JSON",
            "observed §2, contract §1.5",
            change,
        )
        .contract_only(),
        check(
            "change.wrong",
            "wrong currentPassword: 401 with JSON, BasicCustom, twice from 25.0 on",
            "observed §2, observed-25 §A",
            wrong_current,
        ),
        check(
            "change.other",
            "change-password of ops as admin: 401 empty, nothing changed",
            "observed §2, lines §B",
            change_of_another,
        ),
        check(
            "change.stored",
            "currentPassword is compared with what is stored, not with the cache",
            "observed §4",
            stored_not_cached,
        ),
        check(
            "change.unauthenticated",
            "change-password anonymous or as another user: 401 empty",
            "contract §1.1",
            change_without_login,
        )
        .contract_only(),
    ]
}

fn change_to(user: &Login, current: &str, new: &str) -> Request {
    command(&user.name, "change-password").json(json!({"currentPassword": current, "newPassword": new}).to_string())
}

/// The refusal of a handler, which is not the refusal of a login (contract §1.4).
fn wrong_current_password(line: Line, judge: Judge<'_>, login: &str) {
    let judge = judge.status(401).update(login, "Unauthorized");
    if line >= Line::V25_0 {
        judge.headers("WWW-Authenticate", &[r#"BasicCustom realm="Kurrent""#, r#"BasicCustom realm="ES""#]);
    } else {
        judge.header("WWW-Authenticate", r#"BasicCustom realm="ES""#);
    }
}

fn change(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let user = suite.scratch(node)?;
    let new = user.with(&random_password());
    let request = change_to(&user, &user.password, &new.password);
    found.reply("change", &node.ask(&request.clone().by(&user))?).status(200).update(&user.name, "Success");
    let works = await_state(node, suite.line.flip_bound(), || node.accepts(&new))?;
    found.holds("the new password", works, "accepted", "refused");
    let again = node.ask(&request.by(&new))?;
    wrong_current_password(suite.line, found.reply("change with the password from before", &again), &user.name);
    Ok(())
}

fn wrong_current(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let user = suite.scratch(node)?;
    let reply = node.ask(&change_to(&user, "surely-not-the-password", &random_password()).by(&user))?;
    wrong_current_password(suite.line, found.reply("change with a wrong currentPassword", &reply), &user.name);
    accepted(node, &user, found, "the password from before")
}

/// Asks for the password that ops has already, so that nothing is changed even by a server that obeys.
fn change_of_another(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let request = change_to(&suite.ops, &suite.ops.password, &suite.ops.password).by(&suite.admin);
    found.reply("change-password of ops as admin", &node.ask(&request)?).not_authorised();
    accepted(node, &suite.ops, found, "the password of ops")
}

fn change_without_login(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let (user, other) = (suite.scratch(node)?, suite.scratch(node)?);
    let request = change_to(&user, &user.password, &random_password());
    found.reply("change-password anonymous", &node.ask(&request)?).not_authorised();
    found.reply("change-password as another user", &node.ask(&request.by(&other))?).not_authorised();
    accepted(node, &user, found, "the password from before")
}

/// While the cache still lets the old password in, the stored one is asked for.
fn stored_not_cached(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let mut user = suite.scratch(node)?;
    for _ in 0..ROUNDS {
        accepted(node, &user, found, "a login before")?;
        let stored = user.with(&random_password());
        found.reply("reset", &node.ask(&suite.reset(&user.name, &stored.password))?).status(200);
        let with_cached = node.ask(&change_to(&user, &user.password, &random_password()).by(&user))?;
        let with_stored = node.ask(&change_to(&user, &stored.password, &stored.password).by(&user))?;
        let is_over = |reply: &Reply| reply.all("WWW-Authenticate") == [r#"X-Basic realm="ESDB""#];
        if !is_over(&with_cached) && !is_over(&with_stored) {
            let judge = found.reply("currentPassword is what the cache has", &with_cached);
            wrong_current_password(suite.line, judge, &user.name);
            let judge = found.reply("currentPassword is what is stored", &with_stored);
            judge.status(200).update(&user.name, "Success");
            return Ok(());
        }
        let works = await_state(node, suite.line.flip_bound(), || node.accepts(&stored))?;
        found.holds("the new password", works, "accepted", "refused");
        user = stored;
    }
    found.difference("the old password right after a reset", "accepted in one of four rounds", "refused in all");
    Ok(())
}
