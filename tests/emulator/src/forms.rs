//! How freely payloads are written.
//!
//! `documented` writes what each provider's page shows. `liberal` draws among every form
//! that a page leaves open or that a sibling of it shows. What an event's key in the
//! ledger is made of is kept in every form.

use clap::ValueEnum;
use serde_json::json;

use crate::draw::Draw;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Forms {
    Documented,
    Liberal,
}

/// A JSON object written member by member: numbers keep the notation they are given, and
/// members their order.
#[derive(Debug, Default)]
pub(crate) struct Object {
    text: String,
}

impl Object {
    /// `value` is JSON.
    pub(crate) fn member(&mut self, name: &str, value: &str) {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        self.text.push_str(&quoted(name));
        self.text.push(':');
        self.text.push_str(value);
    }

    pub(crate) fn write(mut self) -> String {
        if self.text.is_empty() {
            self.text.push('{');
        }
        self.text.push('}');
        self.text
    }
}

/// A text as JSON.
pub(crate) fn quoted(text: &str) -> String {
    json!(text).to_string()
}

/// A number, bare or as a text.
pub(crate) fn number(digits: &str, draw: &mut Draw) -> String {
    if draw.chance(0.5) {
        quoted(digits)
    } else {
        digits.to_owned()
    }
}

/// A member that says nothing: left out or null.
pub(crate) fn nothing(draw: &mut Draw) -> Option<String> {
    draw.chance(0.5).then(|| "null".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_notation() {
        let mut object = Object::default();
        object.member("b", "1.5e9");
        object.member("a", &quoted("x\"y"));
        assert_eq!(object.write(), r#"{"b":1.5e9,"a":"x\"y"}"#);
        assert_eq!(Object::default().write(), "{}");
    }
}
