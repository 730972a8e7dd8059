//! Replies of a single 24.10 node (observed §2).

use testkit::database::Line;

use super::wire::{DEFAULT, JSON, OPS, Target, ready_of, request};

/// observed §2, row by row.
#[test]
fn replies_byte_by_byte() {
    let node = ready_of(Line::V24_10, &[]);
    let at = Target::of(&node);
    let get = |path: &str, login: Option<(&str, &str)>| at.ask(&request("GET", path, login, &[], None));

    let info = get("/info", None);
    assert_eq!(info.status, "200 OK");
    assert_eq!(
        info.body,
        "{\n  \"esVersion\": \"24.10.4.0\",\n  \"state\": \"leader\",\n  \"features\": {\n    \"projections\": false,\n    \"userManagement\": true,\n    \"atomPub\": false\n  },\n  \"authentication\": {\n    \"type\": \"internal\",\n    \"properties\": []\n  }\n}"
    );
    assert_eq!(
        (info.header("Server"), info.header("Access-Control-Allow-Methods")),
        (Some("Kestrel"), Some("GET, OPTIONS"))
    );
    let ping = get("/ping", None);
    assert_eq!(ping.body, "{\n  \"text\": \"Ping request successfully handled\",\n  \"label\": \"Http\"\n}");
    let gossip = get("/gossip", None);
    assert_eq!(gossip.header("Cache-Control"), Some("max-age=0, no-cache, must-revalidate"));
    assert_eq!(gossip.header("Vary"), Some("Accept"));
    assert!(gossip.body.contains("\"state\": \"Leader\",\n      \"isAlive\": true"), "{}", gossip.body);

    for (path, login, status, challenge) in [
        ("/health/live", Some(("admin", "wrong")), "204 No Content", None),
        ("/health/live?liveCode=200", None, "200 OK", None),
        ("/stats", None, "401 Unauthorized", None),
        ("/metrics", None, "401 Unauthorized", None),
        ("/nowhere", None, "404 Not Found", None),
        ("/info", Some(("admin", "wrong")), "401 Unauthorized", Some("X-Basic realm=\"ESDB\"")),
        ("/info", Some(("nobody", "changeit")), "401 Unauthorized", Some("X-Basic realm=\"ESDB\"")),
        ("/users", None, "401 Unauthorized", None),
        ("/users", Some(OPS), "401 Unauthorized", None),
        ("/users/ops", Some(OPS), "401 Unauthorized", None),
    ] {
        let reply = get(path, login);
        assert_eq!((reply.status.as_str(), reply.body.as_str()), (status, ""), "{path} as {login:?}");
        assert_eq!(reply.header("WWW-Authenticate"), challenge, "{path} as {login:?}");
    }
    let root = get("/", None);
    assert_eq!((root.status.as_str(), root.body.as_str()), ("302 Found", "Moved"));
    assert!(root.header("Location").unwrap().ends_with("/web/index.html"));
    assert_eq!(at.ask(&request("HEAD", "/ping", None, &[], None)).status, "405 Method Not Allowed");
    assert_eq!(at.ask(&request("HEAD", "/health/live", None, &[], None)).status, "204 No Content");
    assert_eq!(at.ask(&request("POST", "/health/live", None, &[], Some(""))).status, "405 Method Not Allowed");
    let wrong_method = get("/users/ops/command/reset-password", Some(DEFAULT));
    assert_eq!(
        (wrong_method.status.as_str(), wrong_method.header("Allow")),
        ("405 Method Not Allowed", Some("OPTIONS, POST"))
    );

    let current = get("/users/$current", Some(OPS));
    assert!(current.body.starts_with("{\n  \"data\": {\n    \"loginName\": \"ops\",\n    \"fullName\": \"Event Store Operations\",\n    \"groups\": [\n      \"$ops\"\n    ],\n    \"dateLastUpdated\": \"20"), "{}", current.body);
    assert!(current.body.ends_with("+00:00\",\n    \"disabled\": false\n  },\n  \"success\": true,\n  \"error\": \"Success\",\n  \"label\": \"Other\"\n}"));
    assert_eq!(current.header("Access-Control-Allow-Methods"), Some("GET, PUT, DELETE, GET, OPTIONS"));
    let nobody = get("/users/nobody", Some(DEFAULT));
    assert_eq!(nobody.status, "404 Not Found");
    assert_eq!(
        nobody.body,
        "{\n  \"data\": null,\n  \"success\": false,\n  \"error\": \"NotFound\",\n  \"label\": \"Other\"\n}"
    );
    assert!(get("/admin/login", Some(DEFAULT)).body.contains("\"fullName\": \"admin\""));
    let no_base64 = at.ask(&request("GET", "/ping", None, &["Authorization: Basic ***"], None));
    assert_eq!(no_base64.status, "500 Internal Server Error");
}

#[test]
fn what_reset_password_answers() {
    let node = ready_of(Line::V24_10, &[]);
    let at = Target::of(&node);
    let path = "/users/ops/command/reset-password";
    let forbidden = at.reset(OPS, "ops", "two");
    assert_eq!((forbidden.status.as_str(), forbidden.header("WWW-Authenticate")), ("401 Unauthorized", None));
    let reply = at.reset(DEFAULT, "ops", "one");
    assert_eq!(reply.status, "200 OK");
    assert_eq!(
        reply.body,
        "{\n  \"loginName\": \"ops\",\n  \"success\": true,\n  \"error\": \"Success\",\n  \"label\": \"Other\"\n}"
    );
    assert_eq!(at.reset(DEFAULT, "ops", "one").status, "200 OK", "the same value again");
    let unknown = at.reset(DEFAULT, "none", "one");
    assert_eq!(unknown.status, "404 Not Found");
    assert!(unknown.body.contains("\"success\": false"));

    // The trap: an answer that looks like success, and nothing is changed.
    for body in ["", "not json", "[]"] {
        let reply = at.ask(&request("POST", path, Some(DEFAULT), &[JSON], Some(body)));
        assert_eq!(
            (reply.status.as_str(), reply.body.as_str(), reply.header("Content-Length")),
            ("200 OK", "", Some("0")),
            "{body}"
        );
    }
    for headers in [&[][..], &["Content-Type: application/xml"]] {
        let reply = at.ask(&request("POST", path, Some(DEFAULT), headers, Some("{}")));
        assert_eq!(reply.status, "415 Invalid or missing Content-Type");
    }
    let reply = at.ask(&request("POST", path, Some(DEFAULT), &[JSON, "Accept: image/png"], Some("{}")));
    assert_eq!(reply.status, "406 Requested URI is not available in requested format");

    let change = |current: &str| {
        let body = format!("{{\"currentPassword\":\"{current}\",\"newPassword\":\"three\"}}");
        at.ask(&request("POST", "/users/admin/command/change-password", Some(DEFAULT), &[JSON], Some(&body)))
    };
    let wrong = change("wrong");
    assert_eq!(
        (wrong.status.as_str(), wrong.header("WWW-Authenticate")),
        ("401 Unauthorized", Some("BasicCustom realm=\"ES\""))
    );
    assert!(wrong.body.contains("\"error\": \"Unauthorized\""));
    assert_eq!(change("changeit").status, "200 OK");
}

#[test]
fn users_come_and_go() {
    let node = ready_of(Line::V24_10, &[]);
    let at = Target::of(&node);
    let create = |password: &str| {
        let body =
            format!("{{\"loginName\":\"app\",\"fullName\":\"App\",\"groups\":[\"g\"],\"password\":\"{password}\"}}");
        at.ask(&request("POST", "/users/", Some(DEFAULT), &[JSON], Some(&body)))
    };
    let created = create("a:b");
    assert_eq!(created.status, "201 Created");
    assert!(created.header("Location").unwrap().ends_with("/users/app"));
    assert_eq!(create("a:b").status, "201 Created", "the same again");
    let conflict = create("other");
    assert_eq!(conflict.status, "409 Conflict");
    assert!(conflict.body.contains("\"error\": \"Conflict\""));
    let status = |login: (&str, &str)| at.ask(&request("GET", "/ping", Some(login), &[], None)).status;
    assert_eq!(status(("app", "a:b")), "200 OK");
    let delete = || at.ask(&request("DELETE", "/users/app", Some(DEFAULT), &[], None)).status;
    assert_eq!(delete(), "200 OK");
    assert_eq!(delete(), "404 Not Found");
    assert_eq!(create("new").status, "201 Created");
}
