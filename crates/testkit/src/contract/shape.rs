//! Bodies byte by byte: the documents give JSON in one line with holes, the server indents it by two spaces.

/// Whether a text may stand in a hole.
type Fill = fn(&str) -> bool;

/// What may stand where a document leaves a hole.
const HOLES: [(&str, Fill); 5] = [
    ("<text>", |found| !found.contains('"')),
    ("<number>", |found| found.parse::<i64>().is_ok()),
    ("<bool>", |found| matches!(found, "true" | "false")),
    ("<scalar>", is_scalar),
    ("<date>", is_date),
];

fn is_scalar(found: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(found).is_ok_and(|value| !value.is_array() && !value.is_object())
}

/// ISO 8601 with an offset, as in `2026-01-31T12:00:00.0000000+00:00`.
fn is_date(found: &str) -> bool {
    use time::format_description::well_known::Rfc3339;
    found.ends_with("+00:00") && time::OffsetDateTime::parse(found, &Rfc3339).is_ok()
}

/// Whether a body is `shape`, with holes filled.
///
/// # Errors
///
/// The first line of the body that is not as expected: expected and found.
pub(super) fn compare(shape: &str, body: &str) -> Result<(), (String, String)> {
    let expected = indent(shape);
    let (mut wanted, mut found) = (expected.split('\n'), body.split('\n'));
    let mut number = 0;
    loop {
        number += 1;
        match (wanted.next(), found.next()) {
            (None, None) => return Ok(()),
            (Some(wanted), Some(found)) if fits(wanted, found) => {}
            (wanted, found) => {
                let line = |line: Option<&str>| {
                    line.map_or_else(|| format!("no line {number}"), |line| format!("line {number} `{line}`"))
                };
                return Err((line(wanted), line(found)));
            }
        }
    }
}

fn fits(wanted: &str, found: &str) -> bool {
    let hole = HOLES.iter().find_map(|(hole, fill)| wanted.split_once(hole).map(|around| (around, fill)));
    let Some(((before, after), fill)) = hole else { return wanted == found };
    found.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).is_some_and(fill)
}

/// Indents JSON in one line, without spaces outside texts, as the server does.
fn indent(shape: &str) -> String {
    let mut out = String::new();
    let mut depth = 0_usize;
    let mut in_text = false;
    let mut letters = shape.chars().peekable();
    let new_line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    };
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                in_text = !in_text;
                out.push(letter);
            }
            _ if in_text => out.push(letter),
            '{' | '[' => {
                out.push(letter);
                if let Some(close) = letters.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(letter);
            }
            ',' => {
                out.push(letter);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: &str = r#"{"name":"<text>","list":["a"],"none":[],"at":"<date>","id":<number>,"any":<scalar>}"#;
    const GOOD: &str = "{\n  \"name\": \"x\",\n  \"list\": [\n    \"a\"\n  ],\n  \"none\": [],\n  \
                        \"at\": \"2026-01-31T12:00:00.1+00:00\",\n  \"id\": 7,\n  \"any\": null\n}";

    #[test]
    fn a_body_as_the_server_writes_it_fits() {
        assert_eq!(compare(SHAPE, GOOD), Ok(()));
    }

    #[test]
    fn anything_else_does_not() {
        for (from, to, line) in [
            ("  \"name\"", "\"name\"", "line 2"),
            ("\"name\": ", "\"name\":", "line 2"),
            ("\"x\",", "\"x\"y\",", "line 2"),
            ("\"id\": 7", "\"id\": \"7\"", "line 8"),
            ("null\n}", "[]\n}", "line 9"),
            ("+00:00", "Z", "line 7"),
            ("null\n}", "null\n}\n", "no line 11"),
            ("\n}", "", "line 10"),
        ] {
            let body = GOOD.replacen(from, to, 1);
            assert_ne!(body, GOOD, "{from}");
            let (wanted, found) = compare(SHAPE, &body).unwrap_err();
            assert!(wanted.starts_with(line), "{from} -> {to}: {wanted} / {found}");
        }
    }
}
