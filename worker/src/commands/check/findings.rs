//! Findings, and how they are shown: a line for each finding, with details below it.

use std::{fmt::Display, io::Write};

use serde::Serialize;

use crate::process::exit::Code;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Word {
    Ok,
    /// It works, but needs attention.
    Warn,
    Fail,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    #[serde(rename = "finding")]
    pub(super) word: Word,
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) details: Vec<String>,
    /// Exit code of the process if this fails.
    #[serde(skip)]
    code: Code,
}

impl Finding {
    fn new(word: Word, subject: impl Into<String>, text: impl Display) -> Self {
        Self {
            word,
            subject: subject.into(),
            text: shown(&text.to_string()),
            details: Vec::new(),
            code: Code::Findings,
        }
    }

    pub(super) fn ok(subject: impl Into<String>, text: impl Display) -> Self {
        Self::new(Word::Ok, subject, text)
    }

    pub(super) fn warn(subject: impl Into<String>, text: impl Display) -> Self {
        Self::new(Word::Warn, subject, text)
    }

    pub(super) fn fail(subject: impl Into<String>, text: impl Display) -> Self {
        Self::new(Word::Fail, subject, text)
    }

    pub(super) fn code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    pub(super) fn details(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.details.extend(details.into_iter().map(|d| shown(&d)));
        self
    }

    /// The finding as text for people.
    fn lines(&self) -> String {
        let word = match self.word {
            Word::Ok => "ok",
            Word::Warn => "warn",
            Word::Fail => "FAIL",
        };
        let mut lines = format!("{word:<4}  {:<24} {}", self.subject, self.text);
        for detail in &self.details {
            lines.push_str("\n          ");
            lines.push_str(detail);
        }
        lines
    }
}

/// Removes control characters, because the texts of servers and schemas must not control
/// a terminal.
fn shown(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.collect()
}

/// Prints findings, and computes the exit code.
#[derive(Debug)]
pub(super) struct Printer {
    json: bool,
    code: Code,
}

impl Printer {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            code: Code::Clean,
        }
    }

    pub(super) fn print(&mut self, finding: &Finding) {
        let json = || serde_json::to_string(finding).ok();
        let text = self.json.then(json).flatten();
        // If nobody reads stdout, the exit code still tells the result.
        let _ = writeln!(
            std::io::stdout(),
            "{}",
            text.unwrap_or_else(|| finding.lines())
        );
        // The first failure is the cause of those that follow.
        if finding.word == Word::Fail && self.code == Code::Clean {
            self.code = finding.code;
        }
    }

    pub(super) fn code(&self) -> Code {
        self.code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_with_its_details_below() {
        let finding = Finding::warn("source chat", "odd\u{1b}[2J\nwords")
            .details(["token: here".to_owned(), "cursor: there".to_owned()]);
        assert_eq!(
            finding.lines(),
            "warn  source chat              odd [2J words\n          token: here\n          cursor: there"
        );
        assert_eq!(
            serde_json::to_value(&finding).unwrap(),
            serde_json::json!({
                "finding": "warn", "subject": "source chat", "text": "odd [2J words",
                "details": ["token: here", "cursor: there"]
            })
        );
    }

    #[test]
    fn the_first_failure_gives_the_code_and_a_warning_none() {
        let mut printer = Printer::new(false);
        printer.print(&Finding::ok("a", ""));
        printer.print(&Finding::warn("b", ""));
        assert_eq!(printer.code(), Code::Clean);
        printer.print(&Finding::fail("c", "").code(Code::Unavailable));
        printer.print(&Finding::fail("d", ""));
        assert_eq!(printer.code(), Code::Unavailable);
    }
}
