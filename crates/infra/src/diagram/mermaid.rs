//! Mermaid's flowcharts as data. An id that is taken, an arrow to nowhere and a group without an end are bugs that nobody gets to
//! see as a picture; labels cannot end early.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The id of a box or group that was declared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(String);

impl Id {
    /// That of something that is declared somewhere in the chart.
    pub(super) fn of(id: &str) -> Self {
        Self(id.to_owned())
    }
}

/// How something is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Look {
    /// Of the deployment.
    New,
    /// There already: dashed.
    There,
    /// A container of the user's own.
    Users,
    /// Who is no part of the deployment: round.
    Outside,
}

pub(super) struct Chart {
    title: String,
    /// Declarations, line by line.
    lines: Vec<String>,
    arrows: Vec<String>,
    /// The ends of these.
    ends: BTreeSet<Id>,
    /// Groups that have not ended.
    open: usize,
    looks: BTreeMap<Look, Vec<String>>,
}

impl Chart {
    pub(super) fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            lines: Vec::new(),
            arrows: Vec::new(),
            ends: BTreeSet::new(),
            open: 0,
            looks: BTreeMap::new(),
        }
    }

    fn line(&mut self, text: impl AsRef<str>) {
        self.lines.push(format!("{:1$}{2}", "", 2 * (self.open + 1), text.as_ref()));
    }

    fn declared(&mut self, id: &str, look: Look) -> Id {
        assert!(!self.is_declared(id), "two of the id `{id}`");
        self.looks.entry(look).or_default().push(id.to_owned());
        Id::of(id)
    }

    fn is_declared(&self, id: &str) -> bool {
        self.looks.values().flatten().any(|declared| declared == id)
    }

    /// Begins a group, in which stands what is declared until its end.
    ///
    /// Of a title of two lines the second would lie below the first box.
    pub(super) fn begin(&mut self, id: &str, title: &str, look: Look) -> Id {
        self.line(format!("subgraph {id}[{}]", label(&[title])));
        self.open += 1;
        self.declared(id, look)
    }

    /// Has the group that was begun last put what has no arrows one below the other.
    pub(super) fn stack(&mut self) {
        self.line("direction LR");
    }

    /// Ends the group that was begun last.
    pub(super) fn end(&mut self) {
        self.open -= 1;
        self.line("end");
    }

    pub(super) fn add(&mut self, id: &str, lines: &[&str], look: Look) -> Id {
        let label = label(lines);
        self.line(if look == Look::Outside { format!("{id}([{label}])") } else { format!("{id}[{label}]") });
        self.declared(id, look)
    }

    pub(super) fn arrow(&mut self, from: &Id, to: &Id, says: &str) {
        self.connect(from, "-->", to, says);
    }

    /// One that is looked at rather than gone.
    pub(super) fn dotted(&mut self, from: &Id, to: &Id, says: &str) {
        self.connect(from, "-.->", to, says);
    }

    fn connect(&mut self, from: &Id, arrow: &str, to: &Id, says: &str) {
        let says = if says.is_empty() { String::new() } else { format!("|{}|", label(&[says])) };
        self.ends.extend([from.clone(), to.clone()]);
        self.arrows.push(format!("  {} {arrow}{says} {}", from.0, to.0));
    }

    /// The text.
    ///
    /// # Panics
    ///
    /// If an arrow has an end that is not declared, or a group no end; ids are written in our source.
    pub(super) fn write(mut self) -> String {
        assert_eq!(self.open, 0, "a group has no end");
        for Id(id) in &self.ends {
            assert!(self.is_declared(id), "nothing has the id `{id}`");
        }
        let mut text = format!("---\ntitle: {}\n---\nflowchart LR\n", self.title);
        let has_there = self.looks.contains_key(&Look::There);
        if has_there {
            self.add("legend", &["dashed: there already"], Look::There);
        }
        for line in self.lines.iter().chain(&self.arrows) {
            let _ = writeln!(text, "{line}");
        }
        for (look, class, style) in
            [(Look::There, "there", "stroke-dasharray: 6 4"), (Look::Users, "users", "stroke-width: 3px")]
        {
            if let Some(ids) = self.looks.get(&look) {
                let _ = writeln!(text, "  classDef {class} {style}\n  class {} {class}", ids.join(","));
            }
        }
        text
    }
}

/// A quoted text of several lines. Mermaid has entity codes for what would end it or mean something (Mermaid, "Flowcharts":
/// Entity codes to escape characters).
fn label(lines: &[&str]) -> String {
    let escape = |c: char| match c {
        '"' => "#quot;".to_owned(),
        '#' | '&' | '<' | '>' | '`' | '*' | '_' | '\\' | '~' | ';' => format!("#{};", u32::from(c)),
        c if c.is_control() => " ".to_owned(),
        c => c.to_string(),
    };
    let lines: Vec<String> = lines.iter().map(|line| line.chars().map(escape).collect()).collect();
    format!("\"{}\"", lines.join("<br>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "nothing has the id `b`")]
    fn an_arrow_to_nowhere_is_not_drawn() {
        let mut chart = Chart::new("a");
        let a = chart.add("a", &["a"], Look::New);
        chart.arrow(&a, &Id::of("b"), "");
        chart.write();
    }

    #[test]
    #[should_panic(expected = "two of the id `a`")]
    fn an_id_is_given_once() {
        let mut chart = Chart::new("a");
        chart.add("a", &["a"], Look::New);
        chart.begin("a", "another", Look::New);
    }

    #[test]
    fn nothing_in_a_label_ends_it_or_means_something() {
        let text = label(&["a \"b\" <c> & #d; `e`", "f]\n-->|g|"]);
        assert_eq!(text, "\"a #quot;b#quot; #60;c#62; #38; #35;d#59; #96;e#96;<br>f] --#62;|g|\"");
    }
}
