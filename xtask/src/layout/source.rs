//! Reads a Rust file without compiling it: which of its crate's modules it names, and the
//! text that is left without its comments, strings and tests.

/// One word or sign of Rust. Comments, strings and characters are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Token<'a> {
    text: &'a str,
    /// The offset in the file at which it starts.
    at: usize,
}

/// A path that starts with `crate`, `self` or `super`.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// The place after the item: its semicolon, or the end of its body.
fn end_of_item(tokens: &[Token], start: usize) -> usize {
    let is_import = tokens
        .get(start..)
        .into_iter()
        .flatten()
        .find(|token| ["use", "mod", "fn", "struct", "enum", "impl"].contains(&token.text))
        .is_some_and(|token| token.text == "use");
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && token.text == "}" && !is_import {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
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

fn is_word(token: &Token) -> bool {
    token.text.starts_with(starts_word)
}

fn starts_word(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..)
        && let Some(first) = rest.chars().next()
    {
        let (length, is_token) = match first {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), false),
            '/' if rest.starts_with("/*") => (comment(rest), false),
            '"' => (string(rest, 1), false),
            '\'' => quoted(rest),
            ':' if rest.starts_with("::") => (2, true),
            _ if starts_word(first) => match literal(rest) {
                Some(length) => (length, false),
                None => {
                    let end = rest.find(|c| !(starts_word(c) || c.is_numeric()));
                    (end.unwrap_or(rest.len()), true)
                }
            },
            _ => (first.len_utf8(), !first.is_whitespace()),
        };
        if is_token && let Some(text) = rest.get(..length) {
            tokens.push(Token { text, at });
        }
        at += length;
    }
    tokens
}

/// The length of a comment that may hold others.
fn comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = rest.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of a string with escapes, whose quote ends at `start`.
fn string(rest: &str, start: usize) -> usize {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip_while(|(at, _)| *at < start) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a character or of a lifetime's quote.
fn quoted(rest: &str) -> (usize, bool) {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let from = at + escaped.len_utf8();
            let end = rest.get(from..).and_then(|rest| rest.find('\''));
            (end.map_or(rest.len(), |end| from + end + 1), false)
        }
        (Some(_), Some((at, '\''))) => (at + 1, false),
        _ => (1, false),
    }
}

/// The length of a string that starts with letters: `r"..."`, `b"..."`, `br#"..."#`.
fn literal(rest: &str) -> Option<usize> {
    let letters = rest.find(|c| !matches!(c, 'b' | 'c' | 'r'))?;
    let (prefix, from) = rest.split_at_checked(letters)?;
    if !prefix.contains('r') {
        return match from.chars().next()? {
            '"' => Some(string(rest, letters + 1)),
            '\'' if prefix == "b" => Some(letters + quoted(from).0),
            _ => None,
        };
    }
    let marks = from.find(|c| c != '#')?;
    if !from.get(marks..)?.starts_with('"') {
        return None;
    }
    let end = format!("\"{}", "#".repeat(marks));
    let start = letters + marks + 1;
    let length = rest.get(start..)?.find(&end)?;
    Some(start + length + end.len())
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
}
