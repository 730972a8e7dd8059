//! What differs between lines, reply by reply (lines §A, observed-25 §A, contract §0).

use testkit::database::Line;

use super::wire::{DEFAULT, JSON, OPS, Reply, Target, keys_at, ready_of, request};

use Line::{V21_10, V22_10, V23_10, V24_10, V25_0, V25_1, V26_1};

const PASSWORD: &str = "/users/ops/command/reset-password";

/// Values by line; what stands for a line holds until another one is named.
fn since<T: Copy>(line: Line, values: &[(Line, T)]) -> T {
    values.iter().rev().find(|(first, _)| *first <= line).unwrap().1
}

fn check(line: Line) {
    let node = ready_of(line, &[]);
    let at = Target::of(&node);
    at.wait_for_users();
    identity(line, &at);
    refusals(line, &at);
    users(line, &at);
    credentials(line, &at);
}

fn identity(line: Line, at: &Target) {
    let version = since(
        line,
        &[
            (V21_10, "21.10.11.0"),
            (V22_10, "22.10.5.0"),
            (V23_10, "23.10.6.0"),
            (V24_10, "24.10.4.0"),
            (V25_0, "25.0.1.0"),
            (V25_1, "25.1.4.0"),
            (V26_1, "26.1.0.0"),
        ],
    );
    let info = at.get("/info", None);
    assert!(info.body.contains(&format!("\"esVersion\": \"{version}\"")), "{line}: {}", info.body);
    let old: &[&str] = &["esVersion", "state", "features", "authentication"];
    let new: &[&str] = &["dbVersion", "esVersion", "state", "features", "authentication"];
    assert_eq!(info.keys(), since(line, &[(V21_10, old), (V25_0, new)]), "{line}");
    let properties = since(line, &[(V21_10, "\"properties\": null"), (V24_10, "\"properties\": []")]);
    assert!(info.body.contains(properties), "{line}: {}", info.body);

    let ping: &[(Line, &[&str])] =
        &[(V21_10, &["msgTypeId", "text"]), (V23_10, &["text", "msgTypeId", "label"]), (V24_10, &["text", "label"])];
    assert_eq!(at.get("/ping", None).keys(), since(line, ping), "{line}");

    let gossip = at.get("/gossip", None).body;
    let member = keys_at(&gossip, 6);
    let mut expected = "instanceId timeStamp state isAlive internalTcpIp internalTcpPort internalSecureTcpPort externalTcpIp externalTcpPort externalSecureTcpPort internalHttpEndPointIp internalHttpEndPointPort httpEndPointIp httpEndPointPort lastCommitPosition writerCheckpoint chaserCheckpoint epochPosition epochNumber epochId nodePriority isReadOnlyReplica esVersion".split(' ').collect::<Vec<_>>();
    expected.retain(|key| !key.starts_with("internalHttp") || line >= V24_10);
    expected.retain(|key| *key != "esVersion" || line >= V23_10);
    assert_eq!(member, expected, "{line}");
    assert_eq!(keys_at(&gossip, 2), ["members", "serverIp", "serverPort"]);

    let root = at.get("/", None);
    let page = since(line, &[(V21_10, "/web/index.html"), (V25_0, "/ui/cluster")]);
    assert_eq!((root.code(), root.body.as_str()), (302, "Moved"));
    assert!(root.header("Location").unwrap().ends_with(page), "{line}");
    assert_eq!(at.get("/", Some(("admin", "wrong"))).code(), 401);

    let health = |path: &str| at.get(path, None).code();
    assert_eq!(health("/health/live"), 204);
    assert_eq!(health("/health/live?liveCode=200"), since(line, &[(V21_10, 204), (V24_10, 200)]), "{line}");
    assert_eq!(health("/health/live?liveCode=abc"), 204);
    let with_wrong_login = at.get("/health/live", Some(("admin", "wrong"))).code();
    assert_eq!(with_wrong_login, since(line, &[(V21_10, 204), (V25_1, 401)]), "{line}");
}

fn refusals(line: Line, at: &Target) {
    let stats = at.get("/stats", None);
    assert_eq!(stats.code(), since(line, &[(V21_10, 200), (V23_10, 401)]), "{line}");
    assert_eq!(stats.header("WWW-Authenticate"), None);
    assert_eq!(at.get("/metrics", None).code(), since(line, &[(V21_10, 404), (V23_10, 401)]), "{line}");
    assert_eq!(at.get("/metrics", Some(OPS)).code(), since(line, &[(V21_10, 404), (V23_10, 200)]), "{line}");

    // Who refuses shows in the headers: methods (none, empty), and the others of CORS.
    let cors = |reply: &Reply| {
        (
            reply.header("Access-Control-Allow-Methods").map(str::to_owned),
            reply.header("Access-Control-Allow-Origin").is_some(),
        )
    };
    let unknown = at.get("/nowhere", None);
    assert_eq!((unknown.code(), unknown.body.as_str()), (404, ""));
    let bare = (None, false);
    let methods = (line <= V22_10).then(String::new);
    let by_bridge = (methods, true);
    let routed = matches!(line, V24_10 | V26_1);
    assert_eq!(cors(&unknown), if routed { bare } else { by_bridge.clone() }, "{line}");
    let no_type = at.ask(&request("POST", PASSWORD, Some(DEFAULT), &[], Some("{}")));
    assert_eq!(no_type.status, "415 Invalid or missing Content-Type");
    assert_eq!(cors(&no_type), by_bridge, "{line}");
    let picture = at.ask(&request("GET", "/info", None, &["Accept: image/png"], None));
    assert_eq!(picture.status, "406 Requested URI is not available in requested format");
    assert_eq!(cors(&picture), by_bridge, "{line}");

    let wrong_method = at.get(PASSWORD, Some(DEFAULT));
    assert_eq!(wrong_method.code(), 405);
    let (methods, allow) = if line == V24_10 { (None, Some("OPTIONS, POST")) } else { (Some("POST, OPTIONS"), None) };
    assert_eq!(
        (wrong_method.header("Access-Control-Allow-Methods"), wrong_method.header("Allow")),
        (methods, allow),
        "{line}"
    );
}

fn users(line: Line, at: &Target) {
    let tail: &[(Line, &[&str])] = &[(V21_10, &["msgTypeId"]), (V23_10, &["msgTypeId", "label"]), (V24_10, &["label"])];
    let with_tail = |keys: &[&'static str]| to_strings(&[keys, since(line, tail)].concat());
    let reset = at.reset(DEFAULT, "ops", "changeit");
    assert_eq!((reset.code(), reset.keys()), (200, with_tail(&["loginName", "success", "error"])), "{line}");
    let detail = with_tail(&["data", "success", "error"]);
    let current = at.get("/users/$current", Some(DEFAULT));
    assert_eq!(current.keys(), detail, "{line}");
    assert_eq!(at.get("/users/nobody", Some(DEFAULT)).keys(), detail, "{line}");
    assert_eq!(at.get("/admin/login", Some(DEFAULT)).keys(), with_tail(&["data", "success"]), "{line}");
    let full_name = since(line, &[(V21_10, "Event Store Administrator"), (V25_0, "KurrentDB Administrator")]);
    assert!(current.body.contains(full_name), "{line}: {}", current.body);

    let change = "{\"currentPassword\":\"wrong\",\"newPassword\":\"three\"}";
    let path = "/users/admin/command/change-password";
    let wrong = at.ask(&request("POST", path, Some(DEFAULT), &[JSON], Some(change)));
    let challenges: &[(Line, &[&str])] = &[
        (V21_10, &["BasicCustom realm=\"ES\""]),
        (V25_0, &["BasicCustom realm=\"Kurrent\"", "BasicCustom realm=\"ES\""]),
    ];
    assert_eq!((wrong.code(), wrong.all("WWW-Authenticate")), (401, since(line, challenges).to_vec()), "{line}");
    // A number is a password.
    let number = at.ask(&request("POST", PASSWORD, Some(DEFAULT), &[JSON], Some("{\"newPassword\":5,\"more\":1}")));
    assert_eq!(number.code(), 200);
    // Without groups a user can still log in.
    let user = "{\"loginName\":\"app\",\"fullName\":\"App\",\"groups\":[\"g\"],\"password\":\"pä$$wörd\"}";
    assert_eq!(at.ask(&request("POST", "/users/", Some(DEFAULT), &[JSON], Some(user))).code(), 201);
    let login = Some(("app", "pä$$wörd"));
    // On the oldest lines it can be set and not used.
    assert_eq!(at.get("/ping", login).code(), since(line, &[(V21_10, 401), (V23_10, 200)]), "{line}");
    assert_eq!(at.ask(&request("PUT", "/users/app", Some(DEFAULT), &[JSON], Some("{\"fullName\":\"A\"}"))).code(), 200);
    assert!(at.get("/users/app", Some(DEFAULT)).body.contains("\"groups\": null"));
    assert_eq!(at.get("/ping", login).code(), since(line, &[(V21_10, 401), (V23_10, 200)]), "{line}");
    let xml = at.ask(&request("GET", "/users/$current", Some(DEFAULT), &["Accept: text/xml"], None));
    assert_eq!((xml.code(), xml.body.as_str()), (200, ""));
}

fn to_strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn credentials(line: Line, at: &Target) {
    let with = |header: &str| at.ask(&request("GET", "/ping", None, &[header], None)).code();
    assert_eq!(with("Authorization: Basic ***"), since(line, &[(V21_10, 500), (V26_1, 200)]), "{line}");
    assert_eq!(with("Authorization: Bearer abc"), 200, "{line}");
    let bearer = at.ask(&request("GET", "/stats", None, &["Authorization: Bearer YWRtaW46Y2hhbmdlaXQ="], None));
    assert_eq!(bearer.code(), since(line, &[(V21_10, 200), (V23_10, 401), (V26_1, 200)]), "{line}");
}

#[test]
fn v21_10() {
    check(V21_10);
}

#[test]
fn v22_10() {
    check(V22_10);
}

#[test]
fn v23_10() {
    check(V23_10);
}

#[test]
fn v24_10() {
    check(V24_10);
}

#[test]
fn v25_0() {
    check(V25_0);
}

#[test]
fn v25_1() {
    check(V25_1);
}

#[test]
fn v26_1() {
    check(V26_1);
}
