//! What the sources of the programs say: every text in them, and every message to which a remedy belongs.
//!
//! A remedy is what a method `hint` gives, what stands in a field `hint`, or what is handed to `mistake`; and every warning and error
//! that bootstrap logs, for nobody stands beside it. Whatever else prints a hint is a finding: this would not see it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{
    Arm, Attribute, Expr, ExprCall, ExprMethodCall, ExprStruct, ImplItemFn, Item, ItemImpl, Lit, LitStr, Local, Macro,
    Pat,
};

use crate::markdown::{files, root};

/// A message to which a remedy belongs. Its text has `…` where something is filled in.
#[derive(Debug)]
pub(crate) struct Message {
    /// The file, and the type and variant if it has one.
    pub(crate) place: String,
    pub(crate) text: String,
}

/// What was found in one crate.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// Every text, with `…` where something is filled in.
    pub(crate) texts: Vec<String>,
    pub(crate) messages: Vec<Message>,
    /// What this cannot judge.
    pub(crate) findings: Vec<String>,
}

/// Reads the sources of a crate.
pub(crate) fn read(name: &str) -> Sources {
    let directory = root().join("crates").join(name).join("src");
    let is_source = |path: &Path| {
        let is_of_tests = path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("tests"));
        path.extension().is_some_and(|extension| extension == "rs") && !is_of_tests
    };
    let within = |path: &Path| path.strip_prefix(&directory).unwrap().to_owned();
    let paths = files(&directory).into_iter().filter(|path| is_source(&within(path)));
    let place = |path: &Path| format!("{name}/{}", within(path).display());
    of(paths.map(|path| (place(&path), fs::read_to_string(path).unwrap())), name == "bootstrap")
}

/// What is in files, given by name and text.
pub(crate) fn of(files: impl Iterator<Item = (String, String)>, is_log_read: bool) -> Sources {
    let files: Vec<_> = files.map(|(place, text)| (place, syn::parse_file(&text).unwrap())).collect();
    let mut errors = Errors::default();
    for (place, file) in &files {
        errors.place.clone_from(place);
        errors.visit_file(file);
    }
    let mut reader =
        Reader { errors, place: String::new(), is_log_read, of: None, text: None, found: Sources::default() };
    for (place, file) in &files {
        reader.place.clone_from(place);
        reader.visit_file(file);
    }
    reader.found
}

/// A format string with `…` for everything that is filled in.
fn skeleton(format: &str) -> String {
    let mut text = String::new();
    let mut rest = format.replace("{{", "\u{1}").replace("}}", "\u{2}");
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        text.push('…');
        rest = after.split_once('}').map(|(_, rest)| rest).unwrap_or_default().to_owned();
    }
    text.push_str(&rest);
    text.replace('\u{1}', "{").replace('\u{2}', "}")
}

fn is_of_tests(attributes: &[Attribute]) -> bool {
    let is_test = |attribute: &Attribute| attribute.parse_args::<syn::Ident>().is_ok_and(|ident| ident == "test");
    attributes.iter().any(|attribute| attribute.path().is_ident("cfg") && is_test(attribute))
}

/// The first text of a macro that no `=` stands before: its format.
fn format_of(body: &Macro) -> Option<String> {
    let mut is_value = false;
    for token in body.tokens.clone() {
        if let Some(text) = text_of(&token)
            && !is_value
        {
            return Some(skeleton(&text));
        }
        is_value = token.to_string() == "=";
    }
    None
}

fn text_of(token: &impl ToString) -> Option<String> {
    syn::parse_str::<LitStr>(&token.to_string()).ok().map(|text| text.value())
}

/// The first text in an expression.
fn text_in(expression: &Expr) -> Option<String> {
    struct First(Option<String>);
    impl Visit<'_> for First {
        fn visit_lit_str(&mut self, text: &LitStr) {
            self.0.get_or_insert_with(|| skeleton(&text.value()));
        }
        fn visit_macro(&mut self, body: &Macro) {
            if self.0.is_none() {
                self.0 = format_of(body);
            }
        }
    }
    let mut first = First(None);
    first.visit_expr(expression);
    first.0
}

fn is_none(expression: &Expr) -> bool {
    matches!(expression, Expr::Path(path) if path.path.is_ident("None"))
}

/// Whether another error is asked: `source.hint()`, also in `Some(…)` and with `.map(…)` after it.
fn is_delegated(expression: &Expr) -> bool {
    match expression {
        Expr::MethodCall(call) => call.method == "hint" || (call.method == "map" && is_delegated(&call.receiver)),
        Expr::Call(call) => {
            matches!(&*call.func, Expr::Path(path) if path.path.is_ident("Some")) && call.args.iter().all(is_delegated)
        }
        _ => false,
    }
}

/// What errors say: by file, type and variant; of types that are one message the variant is empty.
#[derive(Default)]
struct Errors {
    place: String,
    of: HashMap<(String, String, String), String>,
}

impl Errors {
    fn note(&mut self, name: &str, variant: &str, text: String) {
        let key = (self.place.clone(), name.to_owned(), variant.to_owned());
        self.of.entry(key).or_insert(text);
    }

    /// In the same file, or in the only one that has such a type.
    fn find(&self, place: &str, name: &str, variant: &str) -> Option<String> {
        let key = (place.to_owned(), name.to_owned(), variant.to_owned());
        let elsewhere = || {
            let mut found = self.of.iter().filter(|((_, of, its), _)| of == name && its == variant);
            found.next().filter(|_| found.next().is_none())
        };
        self.of.get(&key).or_else(|| elsewhere().map(|(_, text)| text)).cloned()
    }
}

fn error_attribute(attributes: &[Attribute]) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.path().is_ident("error"))?;
    let list = attribute.meta.require_list().ok()?;
    list.tokens.clone().into_iter().next().and_then(|token| text_of(&token)).map(|text| skeleton(&text))
}

impl<'a> Visit<'a> for Errors {
    fn visit_item_enum(&mut self, item: &'a syn::ItemEnum) {
        for variant in &item.variants {
            if let Some(text) = error_attribute(&variant.attrs) {
                self.note(&item.ident.to_string(), &variant.ident.to_string(), text);
            }
        }
    }

    fn visit_item_struct(&mut self, item: &'a syn::ItemStruct) {
        if let Some(text) = error_attribute(&item.attrs) {
            self.note(&item.ident.to_string(), "", text);
        }
    }

    fn visit_item_impl(&mut self, item: &'a ItemImpl) {
        let is_display =
            item.trait_.as_ref().is_some_and(|(_, path, _)| path.segments.last().unwrap().ident == "Display");
        let method = item.items.iter().find_map(|item| match item {
            syn::ImplItem::Fn(method) if is_display => Some(method),
            _ => None,
        });
        if let (Some(method), Some(name)) = (method, type_name(item))
            && let [syn::Stmt::Expr(expression, None)] = &method.block.stmts[..]
        {
            if let Expr::Match(body) = expression {
                // A message for each variant.
                for arm in &body.arms {
                    let Some(text) = text_in(&arm.body) else { continue };
                    for (_, variant) in variants(&arm.pat).0 {
                        self.note(&name, &variant, text.clone());
                    }
                }
            } else if let Some(text) = text_in(expression) {
                self.note(&name, "", text);
            }
        }
    }
}

fn type_name(item: &ItemImpl) -> Option<String> {
    match &*item.self_ty {
        syn::Type::Path(path) => Some(path.path.segments.last()?.ident.to_string()),
        _ => None,
    }
}

/// Every `Type::Variant` of a pattern, and whether it takes whatever is left.
fn variants(pattern: &Pat) -> (Vec<(String, String)>, bool) {
    #[derive(Default)]
    struct Paths(Vec<(String, String)>);
    impl Visit<'_> for Paths {
        fn visit_path(&mut self, path: &syn::Path) {
            let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            if let [.., name, variant] = &names[..] {
                self.0.push((name.clone(), variant.clone()));
            }
        }
    }
    let mut paths = Paths::default();
    paths.visit_pat(pattern);
    (paths.0, matches!(pattern, Pat::Wild(_) | Pat::Ident(_)))
}

struct Reader {
    errors: Errors,
    place: String,
    is_log_read: bool,
    /// The type whose methods are read.
    of: Option<String>,
    /// What `text` was last made of.
    text: Option<String>,
    found: Sources,
}

impl Reader {
    fn message(&mut self, of: &str, text: Option<String>) {
        let place = format!("{}: {of}", self.place);
        match text {
            Some(text) => self.found.messages.push(Message { place, text }),
            None => self.found.findings.push(format!("{place} has a remedy, and its message is not to be seen here")),
        }
    }

    fn hints(&mut self, name: &str, method: &ImplItemFn) {
        let arms = match method.block.stmts.last() {
            Some(syn::Stmt::Expr(Expr::Match(body), None)) if matches!(&*body.expr, Expr::Path(path) if path.path.is_ident("self")) => {
                &body.arms[..]
            }
            _ => {
                let text = self.errors.find(&self.place, name, "");
                return self.message(name, text);
            }
        };
        let is_given = |arm: &&Arm| !is_none(&arm.body) && !is_delegated(&arm.body);
        for arm in arms.iter().filter(is_given) {
            let (variants, is_rest) = variants(&arm.pat);
            if is_rest || variants.is_empty() {
                self.message(&format!("{name}: an arm of `hint` that names no variant"), None);
            }
            for (of, variant) in variants {
                let of = if of == "Self" { name.to_owned() } else { of };
                // A kind inside of an error is no error: it has no message of its own.
                let text = self.errors.find(&self.place, &of, &variant);
                if text.is_some() || of == name {
                    self.message(&format!("{of}::{variant}"), text);
                }
            }
        }
    }
}

impl<'a> Visit<'a> for Reader {
    fn visit_item(&mut self, item: &'a Item) {
        let is_left_out = match item {
            Item::Mod(item) => is_of_tests(&item.attrs),
            Item::Fn(item) => is_of_tests(&item.attrs),
            Item::Impl(item) => is_of_tests(&item.attrs),
            _ => false,
        };
        if !is_left_out {
            visit::visit_item(self, item);
        }
    }

    fn visit_attribute(&mut self, attribute: &'a Attribute) {
        if attribute.path().is_ident("error")
            && let Some(text) = error_attribute(std::slice::from_ref(attribute))
        {
            self.found.texts.push(text);
        }
    }

    fn visit_item_impl(&mut self, item: &'a ItemImpl) {
        let before = std::mem::replace(&mut self.of, type_name(item));
        visit::visit_item_impl(self, item);
        self.of = before;
    }

    fn visit_impl_item_fn(&mut self, method: &'a ImplItemFn) {
        if method.sig.ident == "hint"
            && let Some(name) = self.of.clone()
        {
            self.hints(&name, method);
        }
        visit::visit_impl_item_fn(self, method);
    }

    fn visit_lit_str(&mut self, text: &'a LitStr) {
        self.found.texts.push(skeleton(&text.value()));
    }

    fn visit_local(&mut self, local: &'a Local) {
        visit::visit_local(self, local);
        if let (Pat::Ident(name), Some(init)) = (&local.pat, &local.init)
            && name.ident == "text"
        {
            self.text = text_in(&init.expr);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'a ExprMethodCall) {
        visit::visit_expr_method_call(self, call);
        if call.method == "mistake"
            && let [_, text, remedy] = &call.args.iter().collect::<Vec<_>>()[..]
            && !is_none(remedy)
        {
            let text = text_in(text).or_else(|| self.text.clone());
            self.message("mistake", text);
        }
    }

    fn visit_expr_struct(&mut self, literal: &'a ExprStruct) {
        visit::visit_expr_struct(self, literal);
        let field = |wanted: &str| {
            literal.fields.iter().find(|field| matches!(&field.member, syn::Member::Named(name) if name == wanted))
        };
        let is_given = |field: &&syn::FieldValue| {
            field.colon_token.is_some() && !is_none(&field.expr) && !is_delegated(&field.expr)
        };
        if let Some(_remedy) = field("hint").filter(is_given) {
            let text = field("text").and_then(|field| text_in(&field.expr)).or_else(|| self.text.clone());
            self.message("a struct with a field `hint`", text);
        }
    }

    fn visit_expr_call(&mut self, call: &'a ExprCall) {
        visit::visit_expr_call(self, call);
        let text = |at: usize| match call.args.iter().nth(at) {
            Some(Expr::Lit(literal)) => match &literal.lit {
                Lit::Str(text) => Some(skeleton(&text.value())),
                _ => None,
            },
            _ => None,
        };
        let name = match &*call.func {
            Expr::Path(path) => path.path.segments.last().unwrap().ident.to_string(),
            _ => return,
        };
        if text(0).is_some_and(|text| text == "hint") && text(1).is_some() {
            self.found.findings.push(format!("{}: `{name}` prints a hint that no error gives", self.place));
        }
        if self.is_log_read && name == "tell" && text(0).is_some() {
            self.message("tell", text(0));
        }
    }

    fn visit_macro(&mut self, body: &'a Macro) {
        let name = body.path.segments.last().unwrap().ident.to_string();
        let format = format_of(body);
        // What is inside of the macro's arguments is mostly expressions.
        if let Ok(arguments) =
            body.parse_body_with(syn::punctuated::Punctuated::<Expr, syn::Token![,]>::parse_terminated)
        {
            for argument in &arguments {
                self.visit_expr(argument);
            }
        } else if let Some(text) = &format {
            self.found.texts.push(text.clone());
        }
        if format.as_ref().is_some_and(|text| text.starts_with("hint: ") && text != "hint: …") {
            self.found.findings.push(format!("{}: `{name}!` prints a hint that no error gives", self.place));
        }
        if self.is_log_read && ["warn", "error"].contains(&name.as_str()) {
            self.message(&format!("{name}!"), format);
        }
    }
}

#[test]
fn a_message_with_a_remedy_is_found_wherever_it_is_given() {
    let text = r#"
        #[derive(thiserror::Error)]
        enum Wrong {
            #[error("one {0} and `{path}` in {{braces}}")]
            One { path: String },
            #[error("two")]
            Two,
            #[error("three")]
            Three(Inner),
            #[error("four")]
            Four(Inner),
        }
        #[derive(thiserror::Error)]
        enum Inner {
            #[error("within")]
            Within,
        }
        impl Wrong {
            fn hint(&self) -> Option<&'static str> {
                match self {
                    Self::One { .. } => Some("help"),
                    Self::Three(Inner::Within) if odd() => { Some("help") }
                    Self::Four(source) => source.hint(),
                    Self::Two | Self::Three(_) => None,
                }
            }
        }
        struct Plain(io::Error);
        impl Plain {
            fn hint(&self) -> Option<&'static str> {
                (self.0.kind() == Kind::Gone).then_some("help")
            }
        }
        impl fmt::Display for Plain {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "plain: {}", self.0) }
        }
        fn work(&mut self) -> Mistake {
            let text = format!("given {a} away");
            self.mistake(1, &text, Some("help"));
            self.mistake(1, &text, None);
            warn!(node = self.node, label = "no", "logged {it}");
            tell("told", &error);
            Mistake { text: format!("made {b}"), hint: Some("help") }
        }
        fn print() {
            eprintln!("hint: {hint}");
            eprintln!("hint: do something");
            complain("hint", "do something");
        }
        #[cfg(test)]
        mod tests { fn f() { eprintln!("hint: x"); } }
    "#;
    let found = of([("x.rs".to_owned(), text.to_owned())].into_iter(), true);
    let messages: Vec<_> = found.messages.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(
        messages,
        ["one … and `…` in {braces}", "three", "within", "plain: …", "given … away", "logged …", "told", "made …"]
    );
    assert_eq!(found.findings.len(), 2, "{:?}", found.findings);
    let unseen = "impl Wrong { fn hint(&self) -> Option<&str> { match self { _ => Some(\"help\") } } }";
    assert_eq!(of([("x.rs".to_owned(), unseen.to_owned())].into_iter(), false).findings.len(), 1);
}
