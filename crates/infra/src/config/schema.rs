//! The JSON Schema of `eventstore.toml`, made from the table of keys. What belongs together or contradicts is the
//! parser's to find.

use serde_json::{Map, Value, json};

use super::table::{Given, Integers, Key, Kind, ROOT, Sample, Table, Text, Values};
use super::tags::MOST_TAGS;
use crate::server::{KNOWN, Use};

/// JSON Schema 2020-12 of a configuration, for editors and for whoever writes one by program.
pub fn schema() -> Value {
    let mut schema = table(&ROOT);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("eventstore.toml");
    schema
}

fn table(table: &Table) -> Value {
    let known = table.keys.iter().filter(|key| !matches!(key.kind, Kind::Refused));
    let properties: Map<_, _> = known.map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<_> =
        table.keys.iter().filter(|key| matches!(key.given, Given::Always(_))).map(|key| key.name).collect();
    let mut schema = json!({"type": "object", "additionalProperties": false, "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    describe(&mut schema, table.doc);
    schema
}

fn describe(schema: &mut Value, doc: &str) {
    if !doc.is_empty() {
        schema["description"] = json!(doc.replace('\n', " "));
    }
}

fn property(key: &Key) -> Value {
    let mut schema = match &key.kind {
        Kind::Text(allowed) => text(allowed),
        Kind::Integer(Integers::OneOf(allowed)) => json!({"type": "integer", "enum": allowed}),
        Kind::Integer(Integers::Between(least, most)) => json!({"type": "integer", "minimum": least, "maximum": most}),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Texts(allowed) => json!({"type": "array", "uniqueItems": true, "items": text(allowed)}),
        Kind::Section(inner) => table(inner),
        Kind::Sections(inner) => json!({"type": "array", "items": table(inner)}),
        Kind::Tags => json!({
            "type": "object",
            "maxProperties": MOST_TAGS,
            "propertyNames": {"minLength": 1, "maxLength": 128},
            "additionalProperties": {"type": ["string", "integer", "boolean"], "maxLength": 256},
        }),
        Kind::Options => options(),
        Kind::Arguments => json!({"type": "array", "items": {"type": "string"}}),
        Kind::Map(names, values) => {
            let values = match values {
                Values::Settings => json!({"type": ["string", "integer", "boolean"]}),
                Values::Texts(allowed) => text(allowed),
            };
            let names = json!({"pattern": format!("^(?:{names})$")});
            json!({"type": "object", "propertyNames": names, "additionalProperties": values})
        }
        // It is not in the schema.
        Kind::Refused => json!(false),
    };
    describe(&mut schema, key.doc);
    match &key.given {
        Given::Or(default) => schema["default"] = sample(default),
        Given::Always(example) | Given::Maybe(example) => schema["examples"] = json!([sample(example)]),
        Given::Nested => {}
    }
    schema
}

fn text(allowed: &Text) -> Value {
    match allowed {
        Text::OneOf(words) => json!({"type": "string", "enum": words}),
        Text::Like(pattern) => json!({"type": "string", "pattern": format!("^(?:{pattern})$")}),
    }
}

fn sample(sample: &Sample) -> Value {
    match sample {
        Sample::Text(text) => json!(text),
        Sample::Integer(number) => json!(number),
        Sample::Flag(flag) => json!(flag),
        Sample::Texts(texts) => json!(texts),
        Sample::Toml(_) => json!(sample.to_value()),
    }
}

/// The options that some line knows and that may be set.
fn options() -> Value {
    let properties: Map<_, _> = KNOWN
        .iter()
        .filter_map(|known| {
            let schema = match known.usage {
                Use::Refused(_) => return None,
                Use::Flag => json!({"enum": [true, false, "true", "false"]}),
                Use::Number => json!({"type": ["integer", "string"], "minimum": -1, "pattern": r"^(?:-1|[0-9]+)$"}),
                Use::Choice(words) => json!({"type": "string", "enum": words}),
            };
            Some((known.name.to_owned(), schema))
        })
        .collect();
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}
