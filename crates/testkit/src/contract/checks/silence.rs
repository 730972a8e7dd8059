//! Requests that the server cannot finish get no answer; there are no time-outs (observed §3).

use std::time::{Duration, Instant};

use super::super::check::{Check, Scope};
use super::super::found::Found;
use super::super::line::Line;
use super::super::suite::{Node, Suite, await_state, pause};
use super::super::wire::{Answer, Broken, Connection, Login, Request};

/// After 10 s a request may be given up; one that nobody follows is not.
const SILENCE: Duration = Duration::from_secs(12);
/// Later requests that brought the 408 were one to seven. A request is cleared by a later one on the same worker, and
/// nobody promised how many workers there are.
const LATER: usize = 20;
const BETWEEN: Duration = Duration::from_millis(300);
const LOOK: Duration = Duration::from_millis(50);

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::new(
            "silence.unfinished",
            "reset with {} or null: no answer; later requests bring a 408 with its reason; nothing changed",
            "observed §3, lines §B, observed-25 §B",
            unfinished,
        )
        .scope(Scope::Leader)
        .consent(),
        Check::new(
            "silence.follower",
            "the same through a follower, with later requests to the follower",
            "lines §B",
            unfinished,
        )
        .scope(Scope::EachFollower)
        .watched_on(&[Line::V22_10, Line::V23_10])
        .consent(),
    ]
}

struct Waiting {
    body: &'static str,
    user: Login,
    connection: Connection,
    answer: Option<Answer>,
}

impl Waiting {
    /// Looks for an answer without waiting long.
    fn look(&mut self, node: &Node, patience: Duration) -> Result<(), Broken> {
        if self.answer.is_none() {
            match self.connection.receive(Instant::now() + patience, &node.shared.stop)? {
                Answer::Silent => {}
                answer => self.answer = Some(answer),
            }
        }
        Ok(())
    }
}

fn unfinished(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let mut waiting = Vec::new();
    for body in ["{}", r#"{"newPassword":null}"#] {
        let user = suite.scratch(node)?;
        let request = Request::post(format!("/users/{}/command/reset-password", user.name)).by(&suite.admin).json(body);
        node.may_send(&request)?;
        let mut connection = node.open(&node.shared.trust.anonymous)?;
        connection.send(&request);
        waiting.push(Waiting { body, user, connection, answer: None });
    }
    let deadline = Instant::now() + SILENCE;
    while Instant::now() < deadline && waiting.iter().any(|waiting| waiting.answer.is_none()) {
        for waiting in &mut waiting {
            waiting.look(node, LOOK)?;
        }
    }
    for waiting in &mut waiting {
        let of = format!("reset with the body `{}`, while nobody else asks", waiting.body);
        let (silent, shown) = (waiting.answer.is_none(), waiting.answer.as_ref().map(ToString::to_string));
        found.holds(&of, silent, format!("no answer for {SILENCE:?}"), shown.unwrap_or_default());
    }
    for _ in 0..LATER {
        if waiting.iter().all(|waiting| waiting.answer.is_some()) {
            break;
        }
        node.ask(&Request::get("/ping"))?;
        pause(node, BETWEEN)?;
        for waiting in &mut waiting {
            waiting.look(node, LOOK)?;
        }
    }
    for Waiting { body, user, answer, .. } in waiting {
        let of = format!("reset with the body `{body}`, after later requests");
        match answer {
            Some(Answer::Reply(reply)) => {
                let judge = found.reply(&of, &reply).status(408);
                judge.reason("Server was unable to handle request in time").empty();
            }
            Some(other) => found.difference(&of, "408", other.to_string()),
            None => found.difference(&of, format!("408 after at most {LATER} of them"), "no answer"),
        }
        let works = await_state(node, suite.line.flip_bound(), || node.accepts(&user))?;
        found.holds("the password from before", works, "accepted", "refused");
    }
    Ok(())
}
