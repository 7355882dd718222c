//! The fields of an item, each as the text that was received.

use std::borrow::Cow;

use super::{
    string,
    tape::{Parts, Value},
};
use crate::event::ItemError;

/// The fields of an object, each as the text that was received.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a, 't>(Value<'a, 't>);

impl<'a, 't> Object<'a, 't> {
    pub(super) const fn of(value: Value<'a, 't>) -> Self {
        Self(value)
    }

    /// The value of a field, as JSON; `None` if the field is absent or null. If a field
    /// occurs twice, the last value that is not null counts.
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.value(name).map(Value::text)
    }

    /// The same, with what the value holds.
    pub fn value(self, name: &str) -> Option<Value<'a, 't>> {
        let mut last = None;
        for (field, value) in self.members() {
            if is_named(field, name, str::eq) && !is_null(value) {
                last = Some(value);
            }
        }
        last
    }

    /// The same, whatever the case of the field's name; a field in the exact case takes
    /// precedence.
    pub fn value_any_case(self, name: &str) -> Option<Value<'a, 't>> {
        let (mut exact, mut any) = (None, None);
        for (field, value) in self.members() {
            if is_named(field, name, str::eq_ignore_ascii_case) && !is_null(value) {
                any = Some(value);
                if is_named(field, name, str::eq) {
                    exact = any;
                }
            }
        }
        exact.or(any)
    }

    /// The value of a field whatever the case of its name, as JSON.
    pub fn get_any_case(self, name: &str) -> Option<&'a str> {
        self.value_any_case(name).map(Value::text)
    }

    /// The fields of a field that is an object.
    pub fn object(self, name: &str) -> Option<Self> {
        self.value(name)?.object()
    }

    /// The values of all fields.
    pub fn values(self) -> impl Iterator<Item = Value<'a, 't>> {
        self.members().map(|(_, value)| value)
    }

    /// All fields, with their values.
    pub(super) fn members(self) -> Members<'a, 't> {
        Members(self.0.parts())
    }

    /// The text around the object, in which its parts are.
    pub(super) fn around(self) -> &'a str {
        self.0.around()
    }

    /// A value in the same text, by its number.
    pub(super) fn numbered(self, at: usize) -> Value<'a, 't> {
        self.0.numbered(at)
    }

    /// The value of a field that is a string; a field of any other type counts as absent.
    pub fn string(self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).and_then(unquote)
    }

    /// The value of a field as text: see [`text`].
    pub fn text(self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).and_then(text)
    }

    /// The value of a field without which the item is not an event.
    pub fn required_text(self, name: &'static str) -> Result<Cow<'a, str>, ItemError> {
        required(name, self.get(name))
    }
}

#[inline]
fn is_null(value: Value<'_, '_>) -> bool {
    value.length() == 4 && value.text() == "null"
}

/// The members of an object, in the order of its text: the name and the value of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Members<'a, 't>(Parts<'a, 't>);

impl<'a, 't> Iterator for Members<'a, 't> {
    type Item = (Value<'a, 't>, Value<'a, 't>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.next()?, self.0.next()?))
    }
}

/// Whether a field has this name, by a comparison of texts of the same length.
#[inline]
fn is_named(field: Value<'_, '_>, name: &str, same: impl Fn(&str, &str) -> bool) -> bool {
    if field.is_escaped() {
        return same(&decoded(inside(field.text())), name);
    }
    field.length() == name.len() + 2 && same(inside(field.text()), name)
}

/// A value as text: a string without its quotes, anything else as it is written. An
/// empty string counts as absent.
///
/// No form is refused, because a merely informative field must not cause its event to be
/// rejected.
pub fn text(value: &str) -> Option<Cow<'_, str>> {
    unquote(value)
        .or(Some(Cow::Borrowed(value)))
        .filter(|text| !text.is_empty())
}

/// The value of a field that identifies an event: a string, a number or a boolean.
pub fn required<'a>(
    field: &'static str,
    value: Option<&'a str>,
) -> Result<Cow<'a, str>, ItemError> {
    let value = value.ok_or(ItemError::Missing(field))?;
    if value.starts_with(['{', '[']) {
        return Err(ItemError::Invalid {
            field,
            expected: "text",
        });
    }
    text(value).ok_or(ItemError::Missing(field))
}

/// The text of a JSON string, borrowed if it has no escapes.
fn unquote(literal: &str) -> Option<Cow<'_, str>> {
    literal.starts_with('"').then(|| decoded(inside(literal)))
}

/// A string without its quotes.
#[inline]
pub(super) fn inside(literal: &str) -> &str {
    let inside = literal.get(1..literal.len().saturating_sub(1));
    inside.unwrap_or_default()
}

/// The characters of a string without its quotes, borrowed if it has no escapes.
pub(super) fn decoded(inside: &str) -> Cow<'_, str> {
    if !inside.contains('\\') {
        return Cow::Borrowed(inside);
    }
    let mut characters = String::with_capacity(inside.len());
    string::decode(inside, &mut characters);
    Cow::Owned(characters)
}

#[cfg(test)]
mod tests {
    use super::{super::Tape, *};

    #[test]
    fn fields_are_read_as_they_come() {
        let json = r#"{"s":"x","n":12345678901234567890,"e":"","z":null,"q":"a\"b","o":{"a":1},
                "s":"last","Up":"y","up":null,"b":true,"\u0065sc":1,"in":{"x":{"y":2}}}"#;
        let tape = Tape::of(json, || {}).unwrap();
        let object = tape.value(json).object().unwrap();
        let text = |name| object.text(name).map(Cow::into_owned);
        assert_eq!(text("s").unwrap(), "last");
        assert_eq!(text("n").unwrap(), "12345678901234567890");
        assert_eq!(text("e"), None);
        assert_eq!(text("z"), None);
        assert_eq!(text("q").unwrap(), "a\"b");
        assert_eq!(text("b").unwrap(), "true");
        assert_eq!(text("o").unwrap(), r#"{"a":1}"#);
        assert_eq!(text("esc").unwrap(), "1");
        assert_eq!(object.string("n"), None);
        assert_eq!(text("up"), None);
        assert_eq!(object.get_any_case("up"), Some(r#""y""#));
        assert_eq!(object.get_any_case("ESC"), Some("1"));
        let inner = object.object("in").and_then(|inner| inner.object("x"));
        assert_eq!(inner.unwrap().get("y"), Some("2"));
        assert!(object.object("s").is_none());
        for missing in ["none", "z", "e"] {
            assert!(required("f", object.get(missing)).is_err());
        }
        assert_eq!(
            object.required_text("o"),
            Err(ItemError::Invalid {
                field: "o",
                expected: "text"
            })
        );
        let array = Tape::of("[1]", || {}).unwrap();
        assert!(array.value("[1]").object().is_none());
    }
}
