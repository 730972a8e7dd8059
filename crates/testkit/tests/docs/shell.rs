//! Shell text of documents as simple commands, also those inside of `$(…)`, pipes, loops and conditions. Nothing is expanded or run;
//! whether it is shell at all, `sh -n` says.

/// A word as the shell would have it after taking quotes off; expansions stay as they are written, `$(…)` as `$()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) is_quoted: bool,
}

/// One program with its arguments, or assignments alone. The definition of a function `f` is an assignment to `f()`, and what it does
/// are commands like others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Simple {
    /// The line on which it begins.
    pub(crate) line: usize,
    pub(crate) assignments: Vec<(String, Word)>,
    pub(crate) words: Vec<Word>,
}

/// All simple commands of `text`, whose first line is `line`.
///
/// # Errors
///
/// The line of what cannot be read, and what it is.
pub(crate) fn read(text: &str, line: usize) -> Result<Vec<Simple>, (usize, String)> {
    let characters = text.chars().collect();
    let mut reader = Reader { characters, at: 0, line, heredocs: Vec::new(), found: Vec::new() };
    reader.list(None)?;
    reader.found.sort_by_key(|simple| simple.line);
    Ok(reader.found)
}

/// Words before a command that are none of it.
const RESERVED: [&str; 13] =
    ["if", "then", "elif", "else", "fi", "while", "until", "do", "done", "{", "}", "!", "time"];

struct Reader {
    characters: Vec<char>,
    at: usize,
    line: usize,
    /// Ends of here-documents that begin after this line.
    heredocs: Vec<String>,
    found: Vec<Simple>,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn looks_at(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(offset, wanted)| self.characters.get(self.at + offset) == Some(&wanted))
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        self.line += usize::from(next == '\n');
        Some(next)
    }

    fn mistake<T>(&self, text: &str) -> Result<T, (usize, String)> {
        Err((self.line, text.to_owned()))
    }

    /// Reads up to `end`, or to the end of the text.
    fn list(&mut self, end: Option<char>) -> Result<(), (usize, String)> {
        let mut simple = Simple::default();
        loop {
            let Some(next) = self.peek() else {
                self.finish(&mut simple);
                return if end.is_none() { Ok(()) } else { self.mistake("a `(` is not closed") };
            };
            match next {
                ')' if end == Some(')') => {
                    self.next();
                    self.finish(&mut simple);
                    return Ok(());
                }
                ')' => return self.mistake("a `)` too many; `case` is not read here"),
                '(' if simple.words.is_empty() => {
                    self.next();
                    self.list(Some(')'))?;
                }
                '(' if self.looks_at("()") && simple.words.len() == 1 && !simple.words[0].is_quoted => {
                    self.at += 2;
                    let name = std::mem::take(&mut simple.words).remove(0);
                    let nothing = Word { text: String::new(), is_quoted: false };
                    simple.assignments.push((format!("{}()", name.text), nothing));
                    self.finish(&mut simple);
                }
                '(' => return self.mistake("a `(` where none can be"),
                '\n' => {
                    self.next();
                    self.finish(&mut simple);
                    self.skip_heredocs()?;
                }
                ';' | '|' | '&' => {
                    self.next();
                    self.finish(&mut simple);
                }
                '#' => {
                    while self.peek().is_some_and(|character| character != '\n') {
                        self.next();
                    }
                }
                '\\' if self.looks_at("\\\n") => {
                    self.next();
                    self.next();
                }
                '<' | '>' => self.redirection()?,
                _ if next.is_whitespace() => {
                    self.next();
                }
                _ => self.part(&mut simple)?,
            }
        }
    }

    /// A word of a command, or an assignment before it.
    fn part(&mut self, simple: &mut Simple) -> Result<(), (usize, String)> {
        let line = self.line;
        let word = self.word()?;
        let is_descriptor = !word.is_quoted
            && word.text.bytes().all(|byte| byte.is_ascii_digit())
            && self.peek().is_some_and(|next| ['<', '>'].contains(&next));
        if is_descriptor {
            return Ok(());
        }
        if simple.words.is_empty() && simple.assignments.is_empty() {
            if !word.is_quoted && RESERVED.contains(&word.text.as_str()) {
                return Ok(());
            }
            simple.line = line;
        }
        let assignment = word.text.split_once('=').filter(|(name, _)| is_name(name) && simple.words.is_empty());
        match assignment {
            Some((name, value)) => {
                let value = Word { text: value.to_owned(), is_quoted: word.is_quoted };
                simple.assignments.push((name.to_owned(), value));
            }
            None => simple.words.push(word),
        }
        Ok(())
    }

    fn finish(&mut self, simple: &mut Simple) {
        let simple = std::mem::take(simple);
        // What a loop goes over is no command.
        let is_loop = simple.words.first().is_some_and(|word| word.text == "for");
        if !is_loop && (!simple.words.is_empty() || !simple.assignments.is_empty()) {
            self.found.push(simple);
        }
    }

    fn redirection(&mut self) -> Result<(), (usize, String)> {
        let is_input = self.peek() == Some('<');
        let is_heredoc = self.looks_at("<<");
        let is_placeholder = is_input && self.characters.get(self.at + 1).is_some_and(char::is_ascii_alphabetic);
        while self.peek().is_some_and(|next| ['<', '>', '&', '-'].contains(&next)) {
            self.next();
        }
        while self.peek() == Some(' ') {
            self.next();
        }
        let target = self.word()?.text;
        if target.is_empty() {
            return self.mistake("a redirection to nothing");
        }
        if is_placeholder && self.peek() == Some('>') {
            return self.mistake("`<…>` is a redirection in a shell; write a variable");
        }
        if is_heredoc {
            self.heredocs.push(target);
        }
        Ok(())
    }

    fn skip_heredocs(&mut self) -> Result<(), (usize, String)> {
        for end in std::mem::take(&mut self.heredocs) {
            loop {
                let start = self.at;
                while self.peek().is_some_and(|next| next != '\n') {
                    self.next();
                }
                let line: String = self.characters[start..self.at].iter().collect();
                if self.next().is_none() && line.trim_start_matches('\t') != end {
                    return self.mistake("a here-document does not end");
                }
                if line.trim_start_matches('\t') == end {
                    break;
                }
            }
        }
        Ok(())
    }

    fn word(&mut self) -> Result<Word, (usize, String)> {
        let mut word = Word { text: String::new(), is_quoted: false };
        while let Some(next) = self.peek() {
            match next {
                '\'' => {
                    word.is_quoted = true;
                    self.next();
                    loop {
                        match self.next() {
                            Some('\'') => break,
                            Some(character) => word.text.push(character),
                            None => return self.mistake("a `'` is not closed"),
                        }
                    }
                }
                '"' => {
                    word.is_quoted = true;
                    self.next();
                    self.double_quoted(&mut word.text)?;
                }
                '\\' => {
                    self.next();
                    match self.next() {
                        Some('\n') | None => {}
                        Some(character) => word.text.push(character),
                    }
                }
                '$' | '`' => self.expansion(&mut word.text)?,
                ';' | '|' | '&' | '<' | '>' | '(' | ')' => break,
                _ if next.is_whitespace() => break,
                _ => {
                    self.next();
                    word.text.push(next);
                }
            }
        }
        Ok(word)
    }

    fn double_quoted(&mut self, text: &mut String) -> Result<(), (usize, String)> {
        while let Some(next) = self.peek() {
            match next {
                '"' => {
                    self.next();
                    return Ok(());
                }
                '$' | '`' => self.expansion(text)?,
                '\\' => {
                    self.next();
                    match self.next() {
                        Some('\n') | None => {}
                        Some(character @ ('"' | '\\' | '$' | '`')) => text.push(character),
                        Some(character) => text.extend(['\\', character]),
                    }
                }
                _ => {
                    self.next();
                    text.push(next);
                }
            }
        }
        self.mistake("a `\"` is not closed")
    }

    fn expansion(&mut self, text: &mut String) -> Result<(), (usize, String)> {
        if self.looks_at("`") {
            return self.mistake("backticks; write `$(…)`");
        }
        let (open, close) = match (self.looks_at("$(("), self.looks_at("$("), self.looks_at("${")) {
            (true, ..) => ("$((", "))"),
            (_, true, _) => {
                self.at += 2;
                text.push_str("$()");
                return self.list(Some(')'));
            }
            (.., true) => ("${", "}"),
            _ => ("$", ""),
        };
        self.at += open.len();
        text.push_str(open);
        while !close.is_empty() && !self.looks_at(close) {
            match self.next() {
                Some(character) => text.push(character),
                None => return self.mistake(&format!("a `{open}` is not closed")),
            }
        }
        self.at += close.len();
        text.push_str(close);
        Ok(())
    }
}

/// Whether a variable can be called so.
fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

#[test]
fn commands_are_found_wherever_a_shell_would_run_one() {
    let text = "\
# a comment
ARN=$(aws ecs list-tasks \\
  --query 'taskArns[0]') # another
if [ -n \"$(infra schema)\" ]; then A=1 certgen --out 'a b' 2>/dev/null | jq . > x && rm x; fi
cat > file <<'END'
  aws nonsense
END
for node in 1 2; do (cd dir; echo \"$node ${node}# $((1 + 2))\"); done
value() { infra schema; }
";
    let found = read(text, 10).unwrap();
    let shown: Vec<String> = found
        .iter()
        .map(|simple| {
            let words: Vec<_> = simple.words.iter().map(|word| word.text.as_str()).collect();
            format!("{}: {}", simple.line, words.join(" "))
        })
        .collect();
    let expected = [
        "11: ",
        "11: aws ecs list-tasks --query taskArns[0]",
        "13: infra schema",
        "13: [ -n $() ]",
        "13: certgen --out a b",
        "13: jq .",
        "13: rm x",
        "14: cat",
        "17: cd dir",
        "17: echo $node ${node}# $((1 + 2))",
        "18: ",
        "18: infra schema",
    ];
    let mut sorted = shown.clone();
    sorted.sort();
    let mut wanted = expected.map(str::to_owned).to_vec();
    wanted.sort();
    assert_eq!(sorted, wanted);
    let [.., (name, value)] =
        &found.iter().find(|simple| simple.line == 11 && simple.words.is_empty()).unwrap().assignments[..]
    else {
        panic!("no assignment");
    };
    assert_eq!((name.as_str(), value.text.as_str()), ("ARN", "$()"));
}

#[test]
fn what_is_no_shell_is_told_with_its_line() {
    for (text, line) in [
        ("echo\necho \"open", 2),
        ("echo `date`", 1),
        ("echo <name>-stack", 1),
        ("echo $(date", 1),
        ("cat <<END\nbody\n", 3),
        ("echo f() { x; }", 1),
    ] {
        assert_eq!(read(text, 1).unwrap_err().0, line, "{text}");
    }
}
