//! Reads a Rust file without compiling it: which of its crate's modules it names, and the
//! text that is left without its comments, strings and tests.

use super::tokens::{Token, is_word, tokens};

/// A path that starts with `crate`, `self` or `super`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    /// From the crate's root on.
    pub(super) path: Vec<String>,
    pub(super) line: usize,
}

/// What a file says of its crate, tests excepted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) imports: Vec<Import>,
    /// The modules inside this one, from the crate's root on, that are compiled for tests
    /// alone.
    pub(super) test_modules: Vec<Vec<String>>,
    /// The items that belong to tests, as ranges of offsets.
    tests: Vec<std::ops::Range<usize>>,
}

impl Source {
    /// Reads a file that is this module of its crate.
    pub(super) fn read(text: &str, module: &[String]) -> Self {
        let all = tokens(text);
        let mut source = Self::default();
        let mut kept = Vec::new();
        let mut next = 0;
        while let Some(token) = all.get(next) {
            if starts_test(&all, next) {
                let end = end_of_item(&all, next + CFG_TEST.len());
                let name = module_of(&all, next, end);
                source
                    .test_modules
                    .extend(name.map(|name| [module, &[name]].concat()));
                let last = all.get(end.saturating_sub(1));
                let end_at = last.map_or(text.len(), |last| last.at + last.text.len());
                source.tests.push(token.at..end_at);
                next = end;
            } else {
                kept.push(*token);
                next += 1;
            }
        }
        source.imports = imports(text, &kept, module);
        source
    }

    /// Whether the offset lies in a part that is compiled for tests alone.
    pub(super) fn is_test(&self, at: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&at))
    }
}

const CFG_TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];

fn is(tokens: &[Token], at: usize, text: &str) -> bool {
    tokens.get(at).is_some_and(|token| token.text == text)
}

fn starts_test(tokens: &[Token], at: usize) -> bool {
    (at..).zip(CFG_TEST).all(|(at, text)| is(tokens, at, text))
}

/// The name of the module that an item declares, where it does so in another file.
fn module_of(tokens: &[Token], start: usize, end: usize) -> Option<String> {
    let item = tokens.get(start..end)?;
    match item {
        [.., Token { text: "mod", .. }, name, Token { text: ";", .. }] => {
            Some(name.text.to_owned())
        }
        _ => None,
    }
}

/// What an item may start with, after its attributes and its visibility. Anything else
/// after an attribute is a field, a variant, an argument or an arm of a match.
const ITEMS: [&str; 16] = [
    "async",
    "const",
    "enum",
    "extern",
    "fn",
    "impl",
    "let",
    "macro_rules",
    "mod",
    "static",
    "struct",
    "trait",
    "type",
    "union",
    "unsafe",
    "use",
];

/// The place after the item: its semicolon, or the end of its body. A field and its like
/// end with their comma, or before the bracket that closes what they are in.
fn end_of_item(tokens: &[Token], start: usize) -> usize {
    let first = first_word(tokens, start);
    let is_item = ITEMS.contains(&first);
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" if depth == 0 => return at,
            "}" | ")" | "]" => {
                depth -= 1;
                if depth == 0 && token.text == "}" && first != "use" {
                    return at + 1 + usize::from(!is_item && is(tokens, at + 1, ","));
                }
            }
            ";" if depth == 0 => return at + 1,
            "," if depth == 0 && !is_item => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// The first word after attributes and visibility.
fn first_word<'a>(tokens: &[Token<'a>], start: usize) -> &'a str {
    let mut depth = 0_usize;
    for token in tokens.iter().skip(start) {
        match token.text {
            "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "#" | "pub" => {}
            word if depth == 0 => return word,
            _ => {}
        }
    }
    ""
}

fn imports(text: &str, tokens: &[Token], module: &[String]) -> Vec<Import> {
    let mut found = Vec::new();
    // The modules that stand in this file, each with the depth of its body.
    let mut inside: Vec<(String, usize)> = Vec::new();
    let mut depth = 0_usize;
    let mut next = 0;
    while let Some(token) = tokens.get(next) {
        let mut paths = Vec::new();
        let start = next;
        match token.text {
            "{" => depth += 1,
            "}" => {
                if inside.last().is_some_and(|(_, body)| *body == depth) {
                    inside.pop();
                }
                depth = depth.saturating_sub(1);
            }
            "mod" if is(tokens, next + 2, "{") => {
                let name = tokens.get(next + 1).map_or("", |name| name.text);
                inside.push((name.to_owned(), depth + 1));
            }
            // Not that of `impl Trait + use<T>`.
            "use" if !is(tokens, next + 1, "<") => {
                next += 1;
                tree(tokens, &mut next, Vec::new(), &mut paths);
                next = next.saturating_sub(1);
            }
            "crate" | "self" | "super" if is(tokens, next + 1, "::") => {
                let mut path = Vec::new();
                loop {
                    path.extend(tokens.get(next).map(|token| token.text));
                    if !(is(tokens, next + 1, "::") && tokens.get(next + 2).is_some_and(is_word)) {
                        break;
                    }
                    next += 2;
                }
                paths.push(path);
            }
            _ => {}
        }
        next += 1;
        let here = || module.iter().chain(inside.iter().map(|(name, _)| name));
        for path in paths {
            if let Some(path) = from_root(here().cloned().collect(), &path) {
                let at = tokens.get(start).map_or(0, |token| token.at);
                let line = line_of(text, at);
                found.push(Import { path, line });
            }
        }
    }
    found
}

/// The line of the offset, from 1 on.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|&byte| byte == b'\n').count()
}

/// The paths of an import: `a::{b, c::{d as e, *}}` is three of them.
fn tree<'a>(
    tokens: &[Token<'a>],
    next: &mut usize,
    stem: Vec<&'a str>,
    paths: &mut Vec<Vec<&'a str>>,
) {
    let mut path = stem;
    let mut is_whole = true;
    while let Some(token) = tokens.get(*next) {
        match token.text {
            "::" | "*" => {}
            "as" => *next += 1,
            "{" => {
                is_whole = false;
                *next += 1;
                while !["}", ";"].iter().any(|end| is(tokens, *next, end)) && *next < tokens.len() {
                    tree(tokens, next, path.clone(), paths);
                    if is(tokens, *next, ",") {
                        *next += 1;
                    }
                }
            }
            "," | "}" | ";" => break,
            word => path.push(word),
        }
        *next += 1;
    }
    if is_whole {
        paths.push(path);
    }
}

/// The path from the crate's root; None of another crate's.
fn from_root(here: Vec<String>, path: &[&str]) -> Option<Vec<String>> {
    let (first, rest) = path.split_first()?;
    let mut whole = match *first {
        "crate" => Vec::new(),
        "self" | "super" => here,
        _ => return None,
    };
    if *first == "super" {
        whole.pop();
    }
    for word in rest {
        match *word {
            "super" => drop(whole.pop()),
            "self" => {}
            word => whole.push(word.to_owned()),
        }
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, module: &str) -> Vec<String> {
        let module: Vec<String> = module.split("::").map(str::to_owned).collect();
        let source = Source::read(text, &module);
        let shown = |import: &Import| format!("{}:{}", import.line, import.path.join("::"));
        source.imports.iter().map(shown).collect()
    }

    #[test]
    fn every_form_of_an_import_is_read() {
        let text = "use std::fmt;
            pub(crate) use crate::a::{self, b::{C as D, *}, e};
            use super::{f, super::g};
            use self::h::I;
            fn x() -> impl crate::j::K + use<> { super::l::m(crate::n::o::<P>()) }
            mod inner { use super::q; }
            use super::r;";
        assert_eq!(
            read(text, "w::x"),
            [
                "2:a",
                "2:a::b::C",
                "2:a::b",
                "2:a::e",
                "3:w::f",
                "3:g",
                "4:w::x::h::I",
                "5:j::K",
                "5:w::l::m",
                "5:n::o",
                "6:w::x::q",
                "7:w::r"
            ]
        );
    }

    #[test]
    fn neither_comments_nor_strings_nor_tests_import() {
        let text = r##"// use crate::a;
            /* use crate::b; /* use crate::c; */ use crate::d; */
            const S: &str = "use crate::e; \" use crate::f;";
            const R: &[u8] = br#"use crate::g; " use crate::h;"#;
            const Q: (char, char, u8) = ('"', '\'', b'"');
            fn f<'a>(x: &'a str) {}
            #[cfg(test)]
            use crate::{i, j};
            #[cfg(test)]
            pub(crate) mod tests {
                use crate::k;
                fn g() { if true {} }
            }
            #[cfg(test)]
            mod testing;
            #[cfg(test)]
            fn only() -> [u8; 2] { crate::l::m() }
            use crate::z;"##;
        assert_eq!(read(text, "w"), ["18:z"]);
        let source = Source::read(text, &["w".to_owned()]);
        assert_eq!(source.test_modules, [["w", "testing"]]);
        let at = |part: &str| text.find(part).unwrap();
        assert!(source.is_test(at("use crate::k")));
        assert!(!source.is_test(at("use crate::z")));
    }

    #[test]
    fn what_belongs_to_tests_ends_where_it_ends() {
        for (text, imported) in [
            ("trait T {} use crate::{a};", "1:a"),
            ("macro_rules! m { () => {} } use crate::{a};", "1:a"),
            (
                "#[allow(unused)] pub(in crate::x) use crate::x::{y}; use crate::{a};",
                "1:a",
            ),
            (
                "fn f<A, B>() { crate::x::y() } fn g() { crate::a() }",
                "1:a",
            ),
            ("type T = [u8; 2]; use crate::{a};", "1:a"),
        ] {
            assert_eq!(
                read(&format!("#[cfg(test)] {text}"), "w"),
                [imported],
                "{text}"
            );
        }
        for text in [
            "struct S { #[cfg(test)] x: crate::x::T, y: crate::a } mod n {}",
            "struct S { y: crate::a, #[cfg(test)] pub(crate) x: crate::x::T } mod n {}",
            "fn f(#[cfg(test)] x: crate::x::T) -> crate::a {}",
            "fn f() { match 1 { #[cfg(test)] 1 => { crate::x::y() } _ => crate::a() } }",
            "fn f() { match 1 { #[cfg(test)] 1 => { crate::x::y() }, _ => crate::a() } }",
            "fn f() { #[cfg(test)] let x = crate::x::y(); crate::a() }",
        ] {
            let text = format!("{text} use self::b;");
            assert_eq!(read(&text, "w"), ["1:a", "1:w::b"], "{text}");
        }
    }
}
