//! The Markdown files of the repository, and what can be checked of them, each with its line.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// The directory of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Every file below `directory` that is part of the repository.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_made = name.starts_with('.') || ["target", "node_modules", "cdk.out"].contains(&name.as_str());
        if is_made {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A document.
#[derive(Debug)]
pub(crate) struct Page {
    /// Seen from the root of the repository.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Something of a page.
#[derive(Debug)]
pub(crate) struct At<T> {
    pub(crate) line: usize,
    pub(crate) what: T,
}

/// A fenced block. Its line is that of its first line of text.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) language: String,
    pub(crate) text: String,
}

/// Every Markdown file of the repository.
pub(crate) fn pages() -> Vec<Page> {
    let root = root();
    let is_page = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    let page = |path: PathBuf| Page {
        path: path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(),
        text: fs::read_to_string(path).unwrap(),
    };
    files(&root).into_iter().filter(is_page).map(page).collect()
}

impl Page {
    pub(crate) fn read(path: &str) -> Self {
        let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path: path.to_owned(), text }
    }

    fn events(&self) -> impl Iterator<Item = (Event<'_>, usize)> {
        let options = Options::ENABLE_TABLES;
        Parser::new_ext(&self.text, options).into_offset_iter().map(|(event, range)| (event, self.line(range.start)))
    }

    fn line(&self, offset: usize) -> usize {
        self.text[..offset].matches('\n').count() + 1
    }

    /// Where something is, for a finding.
    pub(crate) fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.path)
    }

    pub(crate) fn blocks(&self) -> Vec<At<Block>> {
        let mut blocks: Vec<At<Block>> = Vec::new();
        let mut is_open = false;
        for (event, line) in self.events() {
            match event {
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                    let what = Block { language: language.to_string(), text: String::new() };
                    blocks.push(At { line: line + 1, what });
                    is_open = true;
                }
                Event::End(TagEnd::CodeBlock) => is_open = false,
                Event::Text(text) if is_open => blocks.last_mut().unwrap().what.text.push_str(&text),
                _ => {}
            }
        }
        blocks
    }

    /// Code in running text, tables and headings.
    pub(crate) fn spans(&self) -> Vec<At<String>> {
        let span = |(event, line)| match event {
            Event::Code(text) => Some(At { line, what: text.split_whitespace().collect::<Vec<_>>().join(" ") }),
            _ => None,
        };
        self.events().filter_map(span).collect()
    }

    /// Where links and images lead.
    pub(crate) fn links(&self) -> Vec<At<String>> {
        let link = |(event, line)| match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                Some(At { line, what: dest_url.to_string() })
            }
            _ => None,
        };
        self.events().filter_map(link).collect()
    }

    /// What stands after `#` in links to headings, as GitHub makes it of them.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut anchors = Vec::new();
        let mut heading: Option<String> = None;
        for (event, _) in self.events() {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::Text(text) | Event::Code(text) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                Event::End(TagEnd::Heading(_)) => {
                    let slug = slug(&heading.take().unwrap());
                    let count = seen.entry(slug.clone()).or_default();
                    anchors.push(if *count == 0 { slug } else { format!("{slug}-{count}") });
                    *count += 1;
                }
                _ => {}
            }
        }
        anchors
    }

    /// The rows of tables without their heads: for each cell its text as it is written.
    pub(crate) fn rows(&self) -> Vec<At<Vec<String>>> {
        let mut rows: Vec<At<Vec<String>>> = Vec::new();
        for (event, range) in Parser::new_ext(&self.text, Options::ENABLE_TABLES).into_offset_iter() {
            match event {
                Event::Start(Tag::TableRow) => rows.push(At { line: self.line(range.start), what: Vec::new() }),
                Event::Start(Tag::TableHead) => rows.push(At { line: 0, what: Vec::new() }),
                Event::Start(Tag::TableCell) => rows.last_mut().unwrap().what.push(self.text[range].to_owned()),
                _ => {}
            }
        }
        rows.retain(|row| row.line != 0);
        rows
    }
}

fn slug(heading: &str) -> String {
    let kept = |character: &char| character.is_alphanumeric() || [' ', '-', '_'].contains(character);
    heading
        .to_lowercase()
        .chars()
        .filter(kept)
        .map(|character| if character == ' ' { '-' } else { character })
        .collect()
}

#[test]
fn a_page_is_read_with_its_lines() {
    let text = "# A `b`, c\n\n## Same\n\n## Same\n\n- item `code\n  on` [x](y.md#z)\n\n  ```sh\n  echo\n  ```\n\n\
                | a | b |\n|---|---|\n| `1 \\| 2` | [3](4) |\n";
    let page = Page { path: "x.md".to_owned(), text: text.to_owned() };
    assert_eq!(page.anchors(), ["a-b-c", "same", "same-1"]);
    let [block] = &page.blocks()[..] else { panic!("one block") };
    assert_eq!((block.line, block.what.text.as_str(), block.what.language.as_str()), (11, "echo\n", "sh"));
    let spans: Vec<_> = page.spans().into_iter().map(|span| (span.line, span.what)).collect();
    let expected = [(1, "b"), (7, "code on"), (16, "1 | 2")].map(|(line, text)| (line, text.to_owned()));
    assert_eq!(spans, expected);
    let links: Vec<_> = page.links().into_iter().map(|link| (link.line, link.what)).collect();
    assert_eq!(links, [(8, "y.md#z".to_owned()), (16, "4".to_owned())]);
    let [row] = &page.rows()[..] else { panic!("one row") };
    assert_eq!((row.line, row.what.len(), row.what[1].trim()), (16, 2, "[3](4)"));
}
