//! The members of an object, without a look at what their values hold.

use std::borrow::Cow;

use super::{
    object::{decoded, inside, text},
    scan::{self, Flaw, Nesting},
    string,
};
use crate::event::Pause;

/// The members of an object whose text starts with its brace.
pub(super) struct Members<'a> {
    body: &'a [u8],
    at: usize,
    pause: Pause,
    nesting: Nesting,
    is_first: bool,
}

/// One member.
pub(super) struct Member<'a> {
    pub(super) name: Cow<'a, str>,
    /// The first byte of the value.
    pub(super) start: usize,
    pub(super) value: &'a [u8],
}

impl<'a> Members<'a> {
    pub(super) fn new(body: &'a [u8], at: usize, pause: Pause) -> Self {
        Self {
            body,
            at,
            pause,
            nesting: Nesting::default(),
            is_first: true,
        }
    }

    /// The next member; `Ok(None)` at the end of the object.
    pub(super) fn next(&mut self) -> Result<Option<Member<'a>>, Flaw> {
        let body = self.body;
        let mut at = scan::blanks(body, self.at);
        let ends = match (self.is_first, body.get(at)) {
            (true, Some(b'{')) => {
                at = scan::blanks(body, at + 1);
                body.get(at) == Some(&b'}')
            }
            (false, Some(b',')) => {
                at = scan::blanks(body, at + 1);
                false
            }
            (false, Some(b'}')) => true,
            (_, _) => return Err(Flaw::new("expected `,` or `}`", at)),
        };
        if ends {
            self.at = at + 1;
            return Ok(None);
        }
        self.is_first = false;
        let name = scan::name_token(body, at)?;
        if name.special {
            string::has_nul(body, name)?;
        }
        let start = scan::colon(body, name.end)?;
        self.at = scan::value(body, start, &mut self.nesting, self.pause)?;
        let name = body.get(name.start..name.end).unwrap_or_default();
        let name = str::from_utf8(name).map_err(|_| Flaw::new("invalid unicode code point", at))?;
        Ok(Some(Member {
            name: decoded(inside(name)),
            start,
            value: body.get(start..self.at).unwrap_or_default(),
        }))
    }

    /// The byte after the object, once its end was reached.
    pub(super) fn end(&self) -> usize {
        self.at
    }
}

/// The string in a field of an object, whatever the other fields hold. As with
/// [`Object::get`](super::Object::get), the last value counts that is not null.
pub fn string_in<'a>(object: &'a str, field: &str) -> Option<Cow<'a, str>> {
    let mut members = Members::new(object.as_bytes(), 0, || {});
    let mut last = None;
    while let Some(member) = members.next().ok()? {
        if member.name == field && member.value != b"null" {
            last = object.get(member.start..member.start + member.value.len());
        }
    }
    last.filter(|value| value.starts_with('"'))
        .map(|value| text(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_beside_whatever_there_is() {
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        let object =
            format!(r#"{{"a":1e400, "b" : {deep}, "s": "x\"y", "s": null, "n": 1, "e": ""}}"#);
        assert_eq!(string_in(&object, "s").as_deref(), Some("x\"y"));
        assert_eq!(string_in(&object, "e").as_deref(), Some(""));
        for none in ["a", "b", "n", "z"] {
            assert_eq!(string_in(&object, none), None, "{none}");
        }
        for none in [
            "{}",
            "[]",
            "",
            "7",
            "{",
            r#"{"s":"x""#,
            r#"{"s" "x"}"#,
            r#"["s"]"#,
        ] {
            assert_eq!(string_in(none, "s"), None, "{none}");
        }
    }
}
