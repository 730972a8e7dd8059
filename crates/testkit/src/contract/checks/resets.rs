//! `reset-password`: by an administrator, of anybody. The built-in users are asked as, and never changed.

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use serde_json::json;
use uuid::Uuid;

use super::super::check::{Check, Scope};
use super::super::found::{Found, Judge};
use super::super::line::Line;
use super::super::suite::{Node, Suite, random_password};
use super::super::wire::{Answer, Broken, Login, Reply, Request};
use super::refusals::{method_refused, methods_of_a_refusal};

/// How many resets of one user were sent at once when it was watched.
const AT_ONCE: usize = 12;
const OLDER: &[Line] = &[Line::V22_10, Line::V23_10];

pub(super) fn checks() -> Vec<Check> {
    let check = |id, what, source, run| Check::new(id, what, source, run).scope(Scope::Leader).consent();
    vec![
        check(
            "reset.success",
            "reset-password: 200 success, the new password works; same value again the same 200",
            "observed §2",
            reset,
        ),
        check(
            "reset.nothing-done",
            "malformed, empty and [] bodies: 200, Content-Length 0, nothing changed",
            "observed §2, lines §B",
            nothing_done,
        ),
        check("reset.unknown", "reset of an unknown user: 404 with JSON NotFound", "observed §2", unknown),
        check("reset.rights", "reset as ops or anonymous: 401 empty, nothing changed", "observed §2, lines §B", rights),
        check("reset.login", "reset with a wrong admin password: 401 X-Basic", "observed §2", login),
        check(
            "reset.type",
            "no or other Content-Type: 415 with its reason, nothing changed",
            "observed §2, lines §A",
            content_type,
        ),
        check("reset.charset", "application/json; charset=utf-8 is taken", "contract §1.2", charset).contract_only(),
        check("reset.other-charset", "another charset: 415, nothing changed", "contract §1.2", other_charset)
            .contract_only(),
        check(
            "reset.accept",
            "Accept: image/png: 406 with its reason, nothing changed",
            "observed §2, lines §A",
            accept,
        ),
        check(
            "reset.method",
            "PUT on reset-password: 405, its methods in a header that depends on the line",
            "observed §2, lines §A, observed-25 §A",
            method,
        ),
        check("reset.number", "a number for a password is taken as its digits", "lines §B", number).watched_on(OLDER),
        check("reset.further-member", "a further JSON member is ignored", "lines §B", further_member).watched_on(OLDER),
        check("reset.odd", "'', a:b:c and 4,000 characters can be set and used", "observed §2, lines §B", odd),
        check(
            "reset.non-ascii",
            "a password beyond ASCII works as UTF-8; up to 22.10 it is set and never works",
            "observed §2, lines §A",
            non_ascii,
        ),
        check(
            "reset.chunked",
            "a chunked body on the leader is taken",
            "observed §4, lines §G, observed-25 §F",
            chunked,
        ),
        check(
            "reset.broken-chunks",
            "a body that is announced in chunks and has none: 200, Content-Length 0",
            "lines §G",
            broken_chunks,
        )
        .watched_on(OLDER),
        check(
            "reset.at-once",
            "12 resets at once: a mix of 200 and 409",
            "observed §2, lines §B, observed-25 §B",
            at_once,
        ),
        check(
            "reset.at-once-one",
            "of resets at once, what is stored was answered 200",
            "contract §1.5",
            stored_was_answered,
        )
        .contract_only(),
    ]
}

fn reset(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let user = suite.scratch(node)?;
    let new = user.with(&random_password());
    for of in ["reset", "reset to the same value again"] {
        found.reply(of, &node.ask(&suite.reset(&user.name, &new.password))?).status(200).update(&user.name, "Success");
    }
    accepted(node, &new, found, "the new password")?;
    found.holds("the old password", !node.accepts(&user)?, "refused", "accepted");
    Ok(())
}

pub(super) fn command(login: &str, command: &str) -> Request {
    Request::post(format!("/users/{login}/command/{command}"))
}

pub(super) fn accepted(node: &Node, login: &Login, found: &mut Found, of: &str) -> Result<(), Broken> {
    let works = node.accepts(login)?;
    found.holds(of, works, "accepted", "refused");
    Ok(())
}

/// Sends a reset that must come to nothing, and looks whether it did.
fn nothing_comes_of(
    suite: &Suite,
    node: &Node,
    found: &mut Found,
    of: &str,
    request: impl FnOnce(&str) -> Request,
    judge: impl FnOnce(Judge<'_>),
) -> Result<(), Broken> {
    let user = suite.scratch(node)?;
    judge(found.reply(of, &node.ask(&request(&user.name))?));
    accepted(node, &user, found, &format!("{of}: the password from before"))
}

fn new_password() -> String {
    json!({"newPassword": random_password()}).to_string()
}

fn nothing_done(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for body in ["", "{\"newPassword\":\"cut off", "not JSON", "[]"] {
        let request = |login: &str| command(login, "reset-password").by(&suite.admin).json(body);
        nothing_comes_of(suite, node, found, &format!("reset with the body `{body}`"), request, |judge| {
            drop(judge.hollow());
        })?;
    }
    Ok(())
}

fn unknown(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let nobody = suite.new_login();
    let reply = node.ask(&suite.reset(&nobody.name, &nobody.password))?;
    found.reply("reset of an unknown user", &reply).status(404).update(&nobody.name, "NotFound");
    Ok(())
}

fn rights(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let anonymous = |login: &str| command(login, "reset-password").json(new_password());
    let as_ops = |login: &str| anonymous(login).by(&suite.ops);
    nothing_comes_of(suite, node, found, "reset anonymous", anonymous, |judge| drop(judge.not_authorised()))?;
    nothing_comes_of(suite, node, found, "reset as ops", as_ops, |judge| drop(judge.not_authorised()))
}

fn login(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let stranger = suite.admin.with("surely-not-the-password");
    let request = |login: &str| command(login, "reset-password").by(&stranger).json(new_password());
    nothing_comes_of(suite, node, found, "reset with a wrong password", request, |judge| drop(judge.bad_login()))
}

fn content_type(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for kind in [None, Some("application/xml")] {
        let request = |login: &str| {
            let request = command(login, "reset-password").by(&suite.admin).body(new_password());
            kind.into_iter().fold(request, |request, kind| request.header("Content-Type", kind))
        };
        let of = format!("reset with Content-Type {}", kind.unwrap_or("absent"));
        nothing_comes_of(suite, node, found, &of, request, |judge| {
            methods_of_a_refusal(suite.line, judge.unsupported());
        })?;
    }
    Ok(())
}

/// A reset that must be done.
fn done(
    suite: &Suite,
    node: &Node,
    found: &mut Found,
    of: &str,
    request: impl FnOnce(&Login) -> Request,
) -> Result<(), Broken> {
    let user = suite.scratch(node)?;
    let new = user.with(&random_password());
    found.reply(of, &node.ask(&request(&new))?).status(200).update(&user.name, "Success");
    accepted(node, &new, found, &format!("{of}: the new password"))
}

fn charset(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    done(suite, node, found, "reset with a charset", |new| {
        command(&new.name, "reset-password")
            .by(&suite.admin)
            .header("Content-Type", "application/json; charset=utf-8")
            .body(json!({"newPassword": new.password}).to_string())
    })
}

fn other_charset(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let request = |login: &str| {
        let request = command(login, "reset-password").by(&suite.admin).body(new_password());
        request.header("Content-Type", "application/json; charset=iso-8859-1")
    };
    nothing_comes_of(suite, node, found, "reset in ISO-8859-1", request, |judge| drop(judge.unsupported()))
}

fn accept(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let request = |login: &str| suite.reset(login, &random_password()).header("Accept", "image/png");
    nothing_comes_of(suite, node, found, "reset with Accept: image/png", request, |judge| {
        let judge = judge.status(406).reason("Requested URI is not available in requested format");
        methods_of_a_refusal(suite.line, judge);
    })
}

fn method(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let request = |login: &str| {
        Request::new("PUT", format!("/users/{login}/command/reset-password")).by(&suite.admin).json(new_password())
    };
    nothing_comes_of(suite, node, found, "PUT on reset-password", request, |judge| method_refused(suite.line, judge))
}

fn number(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let user = suite.scratch(node)?;
    let (number, _, _, _) = Uuid::new_v4().as_fields();
    let request = command(&user.name, "reset-password").by(&suite.admin).json(format!("{{\"newPassword\":{number}}}"));
    found.reply("reset to a number", &node.ask(&request)?).status(200).update(&user.name, "Success");
    accepted(node, &user.with(&number.to_string()), found, "its digits as a password")
}

fn further_member(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    done(suite, node, found, "reset with a further member", |new| {
        let body = json!({"newPassword": new.password, "further": {"member": true}});
        command(&new.name, "reset-password").by(&suite.admin).json(body.to_string())
    })
}

fn odd(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let secret = random_password();
    let colons = format!("{secret}:b:c");
    let long = secret.repeat(4_000 / secret.len());
    for (kind, password) in [("''", ""), ("a:b:c", &colons), ("4,000 characters", &long)] {
        let user = suite.scratch(node)?;
        let of = format!("reset to {kind}");
        found.reply(&of, &node.ask(&suite.reset(&user.name, password))?).status(200).update(&user.name, "Success");
        accepted(node, &user.with(password), found, &of)?;
    }
    Ok(())
}

fn non_ascii(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let user = suite.scratch(node)?;
    let secret = random_password();
    let new = user.with(&format!("pä$$wörd{secret}"));
    let latin_1 = [b"p\xe4$$w\xf6rd", secret.as_bytes()].concat();
    found.reply("reset", &node.ask(&suite.reset(&user.name, &new.password))?).status(200).update(&user.name, "Success");
    let as_latin_1 = Request::get("/ping").authorization("the user in Latin-1", &new.encoded(&latin_1));
    found.reply("GET /ping in Latin-1", &node.ask(&as_latin_1)?).status(401);
    let as_utf_8 = node.ask(&Request::get("/ping").by(&new))?;
    let judge = found.reply("GET /ping in UTF-8", &as_utf_8);
    if suite.line.reads_utf8() {
        judge.status(200);
    } else {
        judge.bad_login();
    }
    Ok(())
}

fn chunked(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    done(suite, node, found, "reset in two chunks", |new| {
        let body = json!({"newPassword": new.password}).to_string();
        let (first, second) = body.split_at(8);
        command(&new.name, "reset-password").by(&suite.admin).chunks(&[first, second])
    })
}

fn broken_chunks(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let request = |login: &str| command(login, "reset-password").by(&suite.admin).broken_chunks(&new_password());
    nothing_comes_of(suite, node, found, "reset in chunks that are none", request, |judge| drop(judge.hollow()))
}

/// Resets of one user, sent at the same moment over connections that are open already; each with its status and body.
fn resets_at_once(suite: &Suite, node: &Node, user: &Login) -> Result<Vec<(Login, Reply)>, Broken> {
    let mut sent = Vec::new();
    for _ in 0..AT_ONCE {
        let new = user.with(&random_password());
        sent.push((suite.reset(&user.name, &new.password), new, node.open(&node.shared.trust.anonymous)?));
    }
    let barrier = Barrier::new(AT_ONCE);
    thread::scope(|scope| {
        let waiting: Vec<_> = sent
            .into_iter()
            .map(|(request, new, mut connection)| {
                let barrier = &barrier;
                scope.spawn(move || {
                    node.may_send(&request)?;
                    barrier.wait();
                    connection.send(&request);
                    let deadline = Instant::now() + node.shared.call_timeout;
                    match connection.receive(deadline, &node.shared.stop)? {
                        Answer::Reply(reply) => Ok((new, reply)),
                        other => Err(Broken::new(request.to_string(), other)),
                    }
                })
            })
            .collect();
        waiting.into_iter().map(|thread| thread.join().expect("it only sends and receives")).collect()
    })
}

fn at_once(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let user = suite.scratch(node)?;
    let replies = resets_at_once(suite, node, &user)?;
    for (_, reply) in &replies {
        let error = if reply.status == 200 { "Success" } else { "Conflict" };
        found.reply("one of 12 resets", reply).status_in(&[200, 409]).update(&user.name, error);
    }
    let done = replies.iter().filter(|(_, reply)| reply.status == 200).count();
    found.holds("12 resets at once", done > 0, "at least one 200", "none");
    Ok(())
}

fn stored_was_answered(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let user = suite.scratch(node)?;
    let mut working = Vec::new();
    for (new, reply) in resets_at_once(suite, node, &user)? {
        if node.accepts(&new)? {
            working.push(reply.status);
        }
    }
    found.holds("statuses of the passwords that work", working == [200], "[200]", format!("{working:?}"));
    Ok(())
}
