//! The first document of a YAML text as a tree in which every value knows its line. The only file that names the parser.
//!
//! Scalars stay text: what `007` is depends on whether a number or a name is wanted there (contract §5.1).

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

/// No list of certificates nests deeper; the limit keeps a hostile file from exhausting the stack.
const DEPTH: usize = 64;

/// A value and the line it begins on.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) value: Value,
}

/// What a node holds. Aliases share what they name.
#[derive(Debug)]
pub(crate) enum Value {
    /// `plain`: written without quotes, so that it may be a number, a boolean or null.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Rc<Node>>),
    Map(Vec<Pair>),
}

/// A key and its value.
pub(crate) type Pair = (Rc<Node>, Rc<Node>);

impl Node {
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What it is, for a message.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }
}

/// Why a text is not YAML that can be used, and where.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub(crate) struct NotYaml {
    line: usize,
    reason: String,
}

/// The first document; `None` if there is none.
pub(crate) fn parse(text: &str) -> Result<Option<Rc<Node>>, NotYaml> {
    let mut composer = Composer::default();
    for event in Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        let (event, span) =
            event.map_err(|error| NotYaml { line: error.marker().line(), reason: error.info().to_owned() })?;
        if matches!(event, Event::DocumentEnd) {
            break;
        }
        composer.take(event, span)?;
    }
    Ok(composer.root)
}

/// A list or mapping whose end was not seen yet.
struct Open {
    line: usize,
    anchor: usize,
    children: Vec<Rc<Node>>,
    is_map: bool,
}

#[derive(Default)]
struct Composer {
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
}

impl Composer {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), NotYaml> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = match tag.as_deref() {
                    None => style == ScalarStyle::Plain,
                    Some(tag) => is_core(tag, &["int", "float", "bool", "null"]),
                };
                let value = Value::Scalar { text: text.into_owned(), plain };
                self.add(Rc::new(Node { line, value }), anchor);
            }
            Event::SequenceStart(anchor, _) => self.begin(line, anchor, false)?,
            Event::MappingStart(anchor, _) => self.begin(line, anchor, true)?,
            Event::SequenceEnd | Event::MappingEnd => self.end()?,
            Event::Alias(id) => match self.anchors.get(&id) {
                Some(node) => self.add(Rc::clone(node), 0),
                None => return Err(NotYaml { line, reason: "an alias inside of what it names".to_owned() }),
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn begin(&mut self, line: usize, anchor: usize, is_map: bool) -> Result<(), NotYaml> {
        if self.open.len() == DEPTH {
            return Err(NotYaml { line, reason: format!("nested deeper than {DEPTH} levels") });
        }
        self.open.push(Open { line, anchor, children: Vec::new(), is_map });
        Ok(())
    }

    fn end(&mut self) -> Result<(), NotYaml> {
        let Some(Open { line, anchor, children, is_map }) = self.open.pop() else { return Ok(()) };
        let value = if is_map { Value::Map(pairs(children)?) } else { Value::List(children) };
        self.add(Rc::new(Node { line, value }), anchor);
        Ok(())
    }

    fn add(&mut self, node: Rc<Node>, anchor: usize) {
        // The parser numbers anchors from 1.
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        match self.open.last_mut() {
            Some(open) => open.children.push(node),
            None => self.root = Some(node),
        }
    }
}

fn is_core(tag: &Tag, suffixes: &[&str]) -> bool {
    tag.is_yaml_core_schema() && suffixes.contains(&tag.suffix.as_str())
}

/// Keys with their values, those that `<<` merges in last, where they give way to those that are written out.
fn pairs(children: Vec<Rc<Node>>) -> Result<Vec<Pair>, NotYaml> {
    let mut pairs: Vec<Pair> = Vec::new();
    let mut merged = Vec::new();
    let mut children = children.into_iter();
    while let (Some(key), Some(value)) = (children.next(), children.next()) {
        if matches!(&key.value, Value::Scalar { text, plain: true } if text == "<<") {
            merged.push(value);
        } else if let Some((first, _)) =
            pairs.iter().find(|(earlier, _)| key.scalar().is_some() && earlier.scalar() == key.scalar())
        {
            let reason = format!("`{}` is there twice, first in line {}", key.scalar().unwrap_or_default(), first.line);
            return Err(NotYaml { line: key.line, reason });
        } else {
            pairs.push((key, value));
        }
    }
    for source in merged {
        let maps = match &source.value {
            Value::List(maps) => maps.as_slice(),
            _ => std::slice::from_ref(&source),
        };
        for map in maps {
            let Value::Map(more) = &map.value else {
                return Err(NotYaml { line: source.line, reason: "`<<` merges mappings, and this is none".to_owned() });
            };
            for (key, value) in more {
                if pairs.iter().all(|(earlier, _)| earlier.scalar() != key.scalar()) {
                    pairs.push((Rc::clone(key), Rc::clone(value)));
                }
            }
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree on one line; quoted scalars in quotes.
    fn shown(text: &str) -> String {
        fn show(node: &Node) -> String {
            match &node.value {
                Value::Scalar { text, plain: true } => text.clone(),
                Value::Scalar { text, plain: false } => format!("{text:?}"),
                Value::List(items) => {
                    format!("[{}]", items.iter().map(|item| show(item)).collect::<Vec<_>>().join(","))
                }
                Value::Map(pairs) => {
                    let pairs: Vec<_> =
                        pairs.iter().map(|(key, value)| format!("{}:{}", show(key), show(value))).collect();
                    format!("{{{}}}", pairs.join(","))
                }
            }
        }
        parse(text).unwrap().map_or_else(|| "nothing".to_owned(), |root| show(&root))
    }

    #[test]
    fn values_keep_their_text_and_whether_they_were_quoted() {
        for (text, tree) in [
            ("", "nothing"),
            ("# only a comment\n", "nothing"),
            ("a: 007\nb: '7'\nc: [x, \"y z\"]\n", "{a:007,b:\"7\",c:[x,\"y z\"]}"),
            ("\u{feff}a: 1\r\nb: 2\r\n", "{a:1,b:2}"),
            ("{\"a\": [1, null]}", "{\"a\":[1,null]}"),
            ("a: !!int \"3\"\nb: !!str 3\n", "{a:3,b:\"3\"}"),
            ("a: 1\n---\nb: [\n", "{a:1}"),
            ("a: &x [1]\nb: *x\n", "{a:[1],b:[1]}"),
            ("d: &d {p: 1, q: 2}\ne: {<<: *d, q: 3}\n", "{d:{p:1,q:2},e:{q:3,p:1}}"),
            ("d: &d {p: 1}\nf: &f {p: 2, r: 3}\ne: {<<: [*d, *f]}\n", "{d:{p:1},f:{p:2,r:3},e:{p:1,r:3}}"),
        ] {
            assert_eq!(shown(text), tree, "{text}");
        }
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_its_line() {
        let deep = "[".repeat(DEPTH + 1);
        for (text, line, reason) in [
            ("a: b\nc:\n\t- d\n", 3, ""),
            ("a: [1\nb: 2\n", 2, ""),
            ("a: 1\nb: *x\n", 2, "unknown anchor"),
            ("a: 1\na: 2\n", 2, "`a` is there twice, first in line 1"),
            ("a: &x\n  - *x\n", 2, "alias inside"),
            ("a: {<<: 1}\n", 1, "merges mappings"),
            (&deep, 1, "nested deeper"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.reason.contains(reason), "{text}: {error}");
            assert_eq!(error.line, line, "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_odd(text in "[ \\n\\-:{}\\[\\],&*!|>'\"#%a-c<~0]{0,60}") {
            let _ = parse(&text);
        }
    }

    /// Each level names the one before twice; nothing is copied.
    #[test]
    fn a_bomb_of_aliases_stays_small() {
        let levels = (1..60).map(|level| format!("l{level}: &l{level} [*l{0}, *l{0}]\n", level - 1));
        let text: String = std::iter::once("l0: &l0 [x, x]\n".to_owned()).chain(levels).collect();
        assert!(parse(&text).is_ok());
    }
}
