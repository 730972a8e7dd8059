//! Several servers: who leads, what followers pass on, and what they do not.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::check::{Check, Scope};
use super::super::found::Found;
use super::super::line::Line;
use super::super::suite::{Node, Suite, await_state, random_password};
use super::super::wire::{Broken, Login, Reply, Request};
use super::identity::with_certificate;

/// Users and gossip spread within a second; a busy machine gets more.
const SPREAD: Duration = Duration::from_secs(10);

pub(super) fn checks() -> Vec<Check> {
    let follower = |id, what, source, run| Check::new(id, what, source, run).scope(Scope::EachFollower).consent();
    vec![
        Check::new(
            "cluster.leader",
            "/info: exactly one of the servers is the leader, the others follow",
            "contract §3.2",
            one_leader,
        )
        .scope(Scope::Cluster)
        .contract_only(),
        Check::new(
            "cluster.gossip",
            "/gossip: every server shows the same members, and one living leader",
            "contract §3.2",
            gossip,
        )
        .scope(Scope::Cluster)
        .contract_only(),
        Check::new("cluster.spread", "a user created on the leader works on all servers", "observed §4", spread)
            .scope(Scope::Cluster)
            .consent(),
        follower(
            "follower.create",
            "create through a follower: 201, Location names the follower, login everywhere",
            "observed §4, lines §G",
            create,
        )
        .watched_on(&[Line::V22_10, Line::V23_10]),
        follower(
            "follower.reset",
            "reset through a follower: relayed, application/json without charset, done",
            "observed §4, lines §G, observed-25 §F",
            reset,
        ),
        follower(
            "follower.malformed",
            "malformed reset through a follower: 200, Content-Length 0, nothing changed",
            "lines §G, observed-25 §F",
            malformed,
        )
        .watched_on(&[Line::V22_10, Line::V23_10, Line::V25_0]),
        follower(
            "follower.chunked",
            "chunked reset through a follower: 500 with its reason, nothing changed",
            "observed §4, lines §G, observed-25 §F",
            chunked,
        ),
        follower(
            "follower.current",
            "after a reset, /users/$current through a follower needs both caches",
            "observed §4, lines §C",
            current,
        ),
        Check::new(
            "follower.no-redirect",
            "a follower answers for the leader, also when the leader is required: no redirect",
            "contract §1.6",
            no_redirect,
        )
        .scope(Scope::EachFollower)
        .contract_only(),
        Check::new(
            "follower.certificate",
            "a node certificate is not passed on: /users through a follower 401 empty",
            "observed §4, lines §B",
            certificate,
        )
        .scope(Scope::EachFollower)
        .node_certificate(),
        follower(
            "follower.certificate-reset",
            "reset by node certificate through a follower: 401 empty, nothing changed",
            "observed §4, observed-25 §D",
            certificate_reset,
        )
        .node_certificate(),
    ]
}

fn one_leader(suite: &Suite, _: &Node, found: &mut Found) -> Result<(), Broken> {
    let mut states = Vec::new();
    for node in &suite.nodes {
        states.push(node.state_now()?);
    }
    let leaders = states.iter().filter(|state| *state == "leader").count();
    let rest = ["leader", "follower", "readonlyreplica"];
    let holds = leaders == 1 && states.iter().all(|state| rest.contains(&state.as_str()));
    found.holds("the states in /info", holds, "one leader and followers", states.join(", "));
    Ok(())
}

fn field(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap_or_default().to_owned()
}

/// Who is there, and who leads, as one server sees it.
fn view(node: &Node) -> Result<(BTreeSet<String>, Vec<String>), Broken> {
    let reply = node.ask(&Request::get("/gossip"))?;
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let living: Vec<_> =
        body["members"].as_array().into_iter().flatten().filter(|member| member["isAlive"] == true).collect();
    let endpoint = |member: &&Value| format!("{}:{}", field(member, "httpEndPointIp"), member["httpEndPointPort"]);
    let leaders = living.iter().filter(|member| member["state"] == "Leader").map(endpoint).collect();
    Ok((living.iter().map(endpoint).collect(), leaders))
}

fn gossip(suite: &Suite, leader: &Node, found: &mut Found) -> Result<(), Broken> {
    let mut views = Vec::new();
    let agree = await_state(leader, SPREAD, || {
        views = suite.nodes.iter().map(view).collect::<Result<_, _>>()?;
        let (members, leaders) = &views[0];
        Ok(views.iter().all(|view| *view == views[0]) && members.len() >= suite.nodes.len() && leaders.len() == 1)
    })?;
    found.holds("living members and leaders", agree, "the same everywhere, and one leader", format!("{views:?}"));
    Ok(())
}

fn works_everywhere(suite: &Suite, user: &Login, found: &mut Found) -> Result<(), Broken> {
    for node in &suite.nodes {
        let works = await_state(node, SPREAD.max(suite.line.flip_bound()), || node.accepts(user))?;
        found.holds(&format!("a login on {}", node.authority), works, "accepted", "refused");
    }
    Ok(())
}

fn spread(suite: &Suite, leader: &Node, found: &mut Found) -> Result<(), Broken> {
    let user = suite.new_login();
    let reply = leader.ask(&suite.creation_at("/users/", &user))?;
    found.reply("POST /users/", &reply).status(201);
    works_everywhere(suite, &user, found)
}

/// A follower is called what it was asked as, or what it advertises.
fn own_names(node: &Node) -> Result<[String; 2], Broken> {
    let body: Value = serde_json::from_slice(&node.ask(&Request::get("/gossip"))?.body).unwrap_or_default();
    Ok([node.authority.clone(), format!("{}:{}", field(&body, "serverIp"), body["serverPort"])])
}

fn create(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let user = suite.new_login();
    let names = own_names(node)?;
    let allowed = names.map(|name| format!("https://{name}/users/{}", user.name));
    found
        .reply("create through a follower", &node.ask(&suite.creation(&user))?)
        .status(201)
        .header_is("Location", &allowed.join(" or "), |location| allowed.iter().any(|allowed| allowed == location))
        .update(&user.name, "Success");
    works_everywhere(suite, &user, found)
}

fn reset(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let user = suite.scratch(node)?;
    let new = user.with(&random_password());
    found
        .reply("reset through a follower", &node.ask(&suite.reset(&user.name, &new.password))?)
        .status(200)
        .header("Content-Type", "application/json")
        .update(&user.name, "Success");
    works_everywhere(suite, &new, found)
}

/// Nothing was changed: the leader, which knows of no login of this user, asks its storage.
fn unchanged(suite: &Suite, user: &Login, found: &mut Found) -> Result<(), Broken> {
    if let Some(leader) = suite.leader() {
        let works = leader.accepts(user)?;
        found.holds("the password from before", works, "accepted", "refused");
    }
    Ok(())
}

fn malformed(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let user = suite.scratch(node)?;
    let path = format!("/users/{}/command/reset-password", user.name);
    let reply = node.ask(&Request::post(path).by(&suite.admin).json("{\"newPassword\":"))?;
    found.reply("malformed reset through a follower", &reply).hollow();
    unchanged(suite, &user, found)
}

fn chunked(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for count in [1, 2] {
        let user = suite.scratch(node)?;
        let body = json!({"newPassword": random_password()}).to_string();
        let (first, second) = body.split_at(8);
        let chunks = if count == 1 { vec![body.as_str()] } else { vec![first, second] };
        let path = format!("/users/{}/command/reset-password", user.name);
        let reply = node.ask(&Request::post(path).by(&suite.admin).chunks(&chunks))?;
        found
            .reply(format!("reset in {count} chunks through a follower"), &reply)
            .status(500)
            .reason("Error while forwarding request");
        unchanged(suite, &user, found)?;
    }
    Ok(())
}

/// The follower judges first, then the leader; each by its own cache.
fn current(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let user = suite.scratch(node)?;
    let bound = SPREAD.max(suite.line.flip_bound());
    let status = |login: &Login| node.ask(&Request::get("/users/$current").by(login)).map(|reply: Reply| reply.status);
    let warm = await_state(node, bound, || Ok(status(&user)? == 200))?;
    found.holds("/users/$current before", warm, "200", "another status");
    let Some(leader) = suite.leader() else { return Ok(()) };
    let new = user.with(&random_password());
    found.reply("reset on the leader", &leader.ask(&suite.reset(&user.name, &new.password))?).status(200);
    let mut seen = BTreeSet::new();
    let flipped = await_state(node, bound, || {
        let status = status(&new)?;
        seen.insert(status);
        Ok(status == 200)
    })?;
    found.holds("/users/$current with the new password", flipped, format!("200 within {bound:?}"), format!("{seen:?}"));
    found.holds("until then", seen.is_subset(&BTreeSet::from([200, 401])), "401", format!("{seen:?}"));
    let old = status(&user)?;
    found.holds("/users/$current with the old password", old == 401, "401", old.to_string());
    Ok(())
}

fn no_redirect(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let Some(leader) = suite.leader() else { return Ok(()) };
    let request = Request::get("/users/$current").by(&suite.ops);
    let by_leader = leader.ask(&request)?;
    for request in [request.clone(), request.header("ES-RequireLeader", "true")] {
        let reply = node.ask(&request)?;
        found.reply("GET /users/$current through a follower", &reply).status(200).text(&by_leader.text());
    }
    Ok(())
}

fn certificate(_: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let reply = node.ask_over(with_certificate(node)?, &Request::get("/users"))?;
    found.reply("GET /users by certificate through a follower", &reply).status(401).empty();
    Ok(())
}

fn certificate_reset(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let user = suite.scratch(node)?;
    let request = Request::post(format!("/users/{}/command/reset-password", user.name))
        .json(json!({"newPassword": random_password()}).to_string());
    let reply = node.ask_over(with_certificate(node)?, &request)?;
    found.reply("reset by certificate through a follower", &reply).status(401).empty();
    unchanged(suite, &user, found)
}
