//! Reads YAML with a parser that is not ours.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value, json};

/// The only document of a text, without aliases and tags. What stands without quotes has the type that YAML 1.2 gives it.
pub(crate) fn read(text: &str) -> Value {
    let mut events = Parser::new_from_str(text).map(|event| event.unwrap().0);
    assert!(matches!(events.next(), Some(Event::StreamStart)));
    assert!(matches!(events.next(), Some(Event::DocumentStart(_))));
    let event = events.next().unwrap();
    let value = node(event, &mut events);
    assert!(matches!(events.next(), Some(Event::DocumentEnd)));
    assert!(matches!(events.next(), Some(Event::StreamEnd)));
    value
}

fn node<'a>(event: Event<'a>, events: &mut impl Iterator<Item = Event<'a>>) -> Value {
    match event {
        Event::Scalar(text, style, ..) => scalar(&text, style),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            loop {
                match events.next().unwrap() {
                    Event::SequenceEnd => return Value::Array(items),
                    event => items.push(node(event, events)),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut members = Map::new();
            loop {
                match events.next().unwrap() {
                    Event::MappingEnd => return Value::Object(members),
                    event => {
                        let Value::String(key) = node(event, events) else { panic!("a key that is no text") };
                        let event = events.next().unwrap();
                        let value = node(event, events);
                        assert!(members.insert(key.clone(), value).is_none(), "`{key}` twice");
                    }
                }
            }
        }
        other => panic!("{other:?}"),
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    match text {
        _ if style != ScalarStyle::Plain => json!(text),
        "true" => json!(true),
        "false" => json!(false),
        "null" | "~" | "" => Value::Null,
        text => text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number)),
    }
}
