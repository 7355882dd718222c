//! The fields of an item, each as the text that was received.

use std::{borrow::Cow, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::describe;
use crate::event::ItemError;

/// The fields of an item, each as the text that was received.
#[derive(Debug)]
pub struct Object<'a> {
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    pub fn parse(item: &'a str) -> Result<Self, ItemError> {
        serde_json::from_str(item).map_err(|_| ItemError::NotAnObject(describe(item)))
    }

    /// The value of a field, as JSON; `None` if the field is absent or null. If a field
    /// occurs twice, the last value that is not null counts.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.find(|field| field == name)
    }

    /// The same, whatever the case of the field's name; a field in the exact case takes
    /// precedence.
    pub fn get_any_case(&self, name: &str) -> Option<&'a str> {
        self.get(name)
            .or_else(|| self.find(|field| field.eq_ignore_ascii_case(name)))
    }

    /// The values of all fields, as JSON.
    pub fn values(&self) -> impl Iterator<Item = &'a str> {
        self.fields.iter().map(|(_, value)| value.get())
    }

    /// All fields, with their values as JSON.
    pub fn members(&self) -> impl Iterator<Item = (&str, &'a str)> {
        let fields = self.fields.iter();
        fields.map(|(name, value)| (name.as_ref(), value.get()))
    }

    fn find(&self, matches: impl Fn(&str) -> bool) -> Option<&'a str> {
        let named = self.fields.iter().rev().filter(|(field, _)| matches(field));
        named
            .map(|(_, value)| value.get())
            .find(|value| *value != "null")
    }

    /// The value of a field that is a string; a field of any other type counts as absent.
    pub fn string(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).and_then(unquote)
    }

    /// The value of a field as text: see [`text`].
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).and_then(text)
    }

    /// The value of a field without which the item is not an event.
    pub fn required_text(&self, name: &'static str) -> Result<Cow<'a, str>, ItemError> {
        required(name, self.get(name))
    }
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
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(literal).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut fields = Vec::with_capacity(16);
                while let Some((Name(name), value)) = map.next_entry()? {
                    fields.push((name, value));
                }
                Ok(Object { fields })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// The name of a field, borrowed if it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_they_come() {
        let object = Object::parse(
            r#"{"s":"x","n":12345678901234567890,"e":"","z":null,"q":"a\"b","o":{"a":1},
                "s":"last","Up":"y","up":null,"b":true}"#,
        )
        .unwrap();
        let text = |name| object.text(name).map(Cow::into_owned);
        assert_eq!(text("s").unwrap(), "last");
        assert_eq!(text("n").unwrap(), "12345678901234567890");
        assert_eq!(text("e"), None);
        assert_eq!(text("z"), None);
        assert_eq!(text("q").unwrap(), "a\"b");
        assert_eq!(text("b").unwrap(), "true");
        assert_eq!(text("o").unwrap(), r#"{"a":1}"#);
        assert_eq!(object.string("n"), None);
        assert_eq!(text("up"), None);
        assert_eq!(object.get_any_case("up"), Some(r#""y""#));
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
        assert!(Object::parse("[1]").is_err());
    }
}
