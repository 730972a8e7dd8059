//! Leaves users as they were found: before a run it removes what an earlier one left, after it what this one made.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::found::Found;
use super::suite::{Node, POLL, SCRATCH, Shared, Suite, await_state};
use super::wire::{Broken, Login, Request, Stop};

/// How long it goes on trying: a leader may change, writes may conflict.
const PATIENCE: Duration = Duration::from_mins(1);

/// Knows how users were.
#[derive(Debug)]
pub(super) struct Keeper {
    nodes: Vec<Node>,
    admin: Login,
    ops: Login,
    flip_bound: Duration,
    before: Vec<Value>,
}

impl Keeper {
    /// Removes users of earlier runs and notes how things are. Gives how many were removed.
    pub(super) fn begin(suite: &Suite) -> Result<(Self, usize), Broken> {
        // It has to work when the run was told to stop.
        let unstoppable = |node: &Node| {
            let shared = &node.shared;
            let shared = Shared {
                call_timeout: shared.call_timeout,
                consent: shared.consent,
                stop: Stop::default(),
                trust: Arc::clone(&shared.trust),
            };
            Node { shared: Arc::new(shared), ..node.clone() }
        };
        let mut keeper = Self {
            nodes: suite.nodes.iter().map(unstoppable).collect(),
            admin: suite.admin.clone(),
            ops: suite.ops.clone(),
            flip_bound: suite.line.flip_bound(),
            before: Vec::new(),
        };
        let left = keeper.remove_scratch()?;
        keeper.before = keeper.users()?;
        Ok((keeper, left))
    }

    /// Puts everything back, and looks whether it is.
    pub(super) fn end(&self, found: &mut Found) {
        if let Err(broken) = self.remove_scratch() {
            found.broken(&broken);
        }
        if let Err(broken) = self.restore_ops(found) {
            found.broken(&broken);
        }
        match self.users() {
            Ok(after) if after == self.before => {}
            Ok(after) => found.difference("GET /users", shown(&self.before), shown(&after)),
            Err(broken) => found.broken(&broken),
        }
    }

    /// The leader now, or any server: followers pass changes on.
    fn server(&self) -> &Node {
        let leads = |node: &&Node| node.state_now().is_ok_and(|state| state == "leader");
        self.nodes.iter().find(leads).unwrap_or(&self.nodes[0])
    }

    /// The users as an administrator sees them, without links: those are named after whoever asks.
    fn users(&self) -> Result<Vec<Value>, Broken> {
        let request = Request::get("/users").by(&self.admin);
        let reply = self.server().ask(&request)?;
        let mut body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let Value::Array(mut users) = body["data"].take() else {
            return Err(Broken::new(request.to_string(), format!("{} without a list", reply.status)));
        };
        for user in users.iter_mut().filter_map(Value::as_object_mut) {
            user.remove("links");
        }
        Ok(users)
    }

    fn remove_scratch(&self) -> Result<usize, Broken> {
        let deadline = Instant::now() + PATIENCE;
        let mut removed = 0;
        loop {
            let round = self.remove_once();
            match round {
                Ok(0) => return Ok(removed),
                Ok(count) => removed += count,
                Err(broken) if Instant::now() >= deadline => return Err(broken),
                Err(_) => {}
            }
            if Instant::now() >= deadline {
                return Err(Broken::new("users of the run", "they do not go away"));
            }
            thread::sleep(POLL);
        }
    }

    fn remove_once(&self) -> Result<usize, Broken> {
        let users = self.users()?;
        let names = users.iter().filter_map(|user| user["loginName"].as_str());
        let scratch: Vec<_> = names.filter(|name| name.starts_with(SCRATCH)).collect();
        for name in &scratch {
            let request = Request::new("DELETE", format!("/users/{name}")).by(&self.admin);
            let reply = self.server().ask(&request)?;
            if !matches!(reply.status, 200 | 404) {
                return Err(Broken::new(request.to_string(), reply.status));
            }
        }
        Ok(scratch.len())
    }

    /// No check changes ops. A server that does what it must refuse could have.
    fn restore_ops(&self, found: &mut Found) -> Result<(), Broken> {
        let node = self.server();
        if node.accepts(&self.ops)? {
            return Ok(());
        }
        found.difference("the password of ops", "not changed by the run", "changed; it was set back");
        let body = serde_json::json!({"newPassword": self.ops.password}).to_string();
        let path = format!("/users/{}/command/reset-password", self.ops.name);
        let reply = node.ask(&Request::post(path).by(&self.admin).json(body))?;
        let works = await_state(node, self.flip_bound, || node.accepts(&self.ops))?;
        found.holds("the password of ops, set back", works, "accepted", format!("refused after {}", reply.status));
        Ok(())
    }
}

fn shown(users: &[Value]) -> String {
    users.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
