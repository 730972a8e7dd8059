//! Scavenges over HTTP, as the server's source has them (contract only).

use serde_json::{Value, json};
use testkit::database::Line;

use super::wire::{DEFAULT, Target, ready_of, request};

#[test]
fn a_scavenge_is_begun_shown_not_begun_twice_and_stopped() {
    let node = ready_of(Line::V24_10, &["--scavenge-seconds=1000000"]);
    let at = Target::of(&node);
    let ask = |method: &str, path: &str, login| {
        let reply = at.ask(&request(method, path, login, &[], (method == "POST").then_some("")));
        (reply.code(), reply.body)
    };
    let ops = Some(("ops", DEFAULT.1));
    let read = |path: &str| serde_json::from_str::<Value>(&ask("GET", path, ops).1).unwrap();
    assert_eq!(read("/admin/scavenge/current"), json!({"scavengeId": "", "scavengeLink": ""}));
    assert_eq!(read("/admin/scavenge/last")["scavengeResult"], "Unknown");
    assert_eq!(ask("POST", "/admin/scavenge", None).0, 401, "not for everybody");
    for wrong in ["threads=0", "startFromChunk=-1", "threshold=x", "throttlePercent=0", "throttlePercent=50&threads=2"]
    {
        assert_eq!(ask("POST", &format!("/admin/scavenge?{wrong}"), ops).0, 400, "{wrong}");
    }

    let (code, body) = ask("POST", "/admin/scavenge?threads=1&startFromChunk=0", ops);
    let id = serde_json::from_str::<Value>(&body).unwrap()["scavengeId"].as_str().unwrap().to_owned();
    assert_eq!((code, id.len()), (200, 36));
    let current = json!({"scavengeId": id, "scavengeLink": format!("/admin/scavenge/{id}")});
    assert_eq!(read("/admin/scavenge/current"), current);
    assert_eq!(read("/admin/scavenge/last")["scavengeResult"], "InProgress");
    assert_eq!(ask("POST", "/admin/scavenge", ops), (400, "Scavenge is already running".to_owned()));

    assert_eq!(ask("DELETE", "/admin/scavenge/another", ops).0, 404);
    assert_eq!(ask("DELETE", &format!("/admin/scavenge/{id}"), ops), (200, format!("\"{id}\"")));
    assert_eq!(ask("DELETE", "/admin/scavenge/current", ops).0, 404, "none runs");
    assert_eq!(read("/admin/scavenge/current")["scavengeId"], "");
    assert_eq!(read("/admin/scavenge/last")["scavengeResult"], "Stopped");
    assert_eq!(ask("POST", "/admin/scavenge", ops).0, 200, "and the next one");
}

#[test]
fn a_scavenge_ends_by_itself() {
    let node = ready_of(Line::V23_10, &["--scavenge-seconds=0"]);
    let at = Target::of(&node);
    let ops = Some(("ops", DEFAULT.1));
    assert_eq!(at.ask(&request("POST", "/admin/scavenge", ops, &[], Some(""))).code(), 200);
    let last = at.get("/admin/scavenge/last", ops).body;
    assert_eq!(serde_json::from_str::<Value>(&last).unwrap()["scavengeResult"], "Success");
}
