//! A message as JSON.
//!
//! Field names are those of the `.proto` file, enums are names (an unknown number stays a
//! number), 64-bit integers are numbers, bytes are base64, defaults are left out, and
//! numbers that JSON lacks are texts (`"NaN"`). The well-known types are as protobuf's
//! own JSON has them. What the schema does not know is under `@unknown` of the message
//! that has it, what lies too deep for a reader under `@encoded`: both in base64.

use std::collections::HashMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use prost_reflect::{DynamicMessage, Kind, MapKey, ReflectMessage, Value, prost::Message};
use serde::Serialize;

/// Limit on the nesting of objects and arrays. Parsers of JSON allow 128 levels, and the
/// text around this message takes some of them.
const MAX_DEPTH: usize = 100;

/// Appends a message to `out`, with the unknown fields of the message `around` it.
pub(super) fn write(message: &DynamicMessage, around: &[u8], out: &mut Vec<u8>) {
    let mut writer = Writer { out };
    let mut object = writer.object();
    object.fields(message, MAX_DEPTH);
    if !around.is_empty() {
        object.base64("@envelope", around);
    }
    object.end();
}

pub(super) struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

/// An object that is being written.
pub(super) struct Object<'w, 'o> {
    writer: &'w mut Writer<'o>,
    empty: bool,
}

impl<'o> Writer<'o> {
    /// A text, a number, a truth value or null.
    pub(super) fn plain(&mut self, value: impl Serialize) {
        // Writing these into memory cannot fail.
        let _ = serde_json::to_writer(&mut *self.out, &value);
    }

    pub(super) fn float(&mut self, value: f64) {
        if value.is_finite() {
            self.plain(value);
        } else if value.is_nan() {
            self.plain("NaN");
        } else if value > 0.0 {
            self.plain("Infinity");
        } else {
            self.plain("-Infinity");
        }
    }

    fn base64(&mut self, bytes: &[u8]) {
        self.out.push(b'"');
        self.out
            .extend_from_slice(BASE64_STANDARD.encode(bytes).as_bytes());
        self.out.push(b'"');
    }

    pub(super) fn object(&mut self) -> Object<'_, 'o> {
        self.out.push(b'{');
        Object {
            writer: self,
            empty: true,
        }
    }

    pub(super) fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        self.out.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            write(self, item);
        }
        self.out.push(b']');
    }

    /// `depth` is how many levels may still be opened.
    pub(super) fn message(&mut self, message: &DynamicMessage, depth: usize) {
        // A field may open a list or a map, and that one a message.
        if depth < 4 {
            let mut object = self.object();
            object.base64("@encoded", &message.encode_to_vec());
            object.end();
        } else if !self.well_known(message, depth) {
            let mut object = self.object();
            object.fields(message, depth);
            object.end();
        }
    }

    /// `kind` is computed only when it matters, because it is expensive.
    pub(super) fn value(&mut self, value: &Value, kind: &dyn Fn() -> Kind, depth: usize) {
        match value {
            Value::Bool(value) => self.plain(value),
            Value::I32(value) => self.plain(value),
            Value::I64(value) => self.plain(value),
            Value::U32(value) => self.plain(value),
            Value::U64(value) => self.plain(value),
            // The shortest form of the float: 0.1 rather than 0.10000000149011612, which
            // it would be as a double.
            Value::F32(value) if value.is_finite() => self.plain(value),
            Value::F32(value) => self.float(f64::from(*value)),
            Value::F64(value) => self.float(*value),
            Value::String(value) => self.plain(value.as_str()),
            Value::Bytes(value) => self.base64(value),
            Value::EnumNumber(number) => self.enumeration(*number, &kind()),
            Value::Message(message) => self.message(message, depth - 1),
            Value::List(values) => {
                self.list(values, |writer, value| writer.value(value, kind, depth - 1));
            }
            Value::Map(entries) => self.map(entries, &kind(), depth - 1),
        }
    }

    fn enumeration(&mut self, number: i32, kind: &Kind) {
        let of = kind.as_enum();
        let value = of.and_then(|of| of.get_value(number));
        match value {
            _ if of.is_some_and(|of| of.full_name() == "google.protobuf.NullValue") => {
                self.plain(());
            }
            Some(value) => self.plain(value.name()),
            None => self.plain(number),
        }
    }

    fn map(&mut self, entries: &HashMap<MapKey, Value>, kind: &Kind, depth: usize) {
        let entry = kind.as_message();
        let kind = entry
            .and_then(|entry| entry.get_field(2))
            .map_or(Kind::Bytes, |value| value.kind());
        // The order is fixed, so that the same event gives the same text.
        let mut entries: Vec<(String, &Value)> = entries
            .iter()
            .map(|(key, value)| (key_text(key), value))
            .collect();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut object = self.object();
        for (key, value) in entries {
            object.member(&key).value(value, &|| kind.clone(), depth);
        }
        object.end();
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

impl<'o> Object<'_, 'o> {
    /// Starts a member; its value is what is written next.
    pub(super) fn member(&mut self, name: &str) -> &mut Writer<'o> {
        if !self.empty {
            self.writer.out.push(b',');
        }
        self.empty = false;
        self.writer.plain(name);
        self.writer.out.push(b':');
        self.writer
    }

    pub(super) fn base64(&mut self, name: &str, bytes: &[u8]) {
        self.member(name).base64(bytes);
    }

    pub(super) fn fields(&mut self, message: &DynamicMessage, depth: usize) {
        for (field, value) in message.fields() {
            self.member(field.name())
                .value(value, &|| field.kind(), depth);
        }
        if message.descriptor().extensions().len() > 0 {
            for (extension, value) in message.extensions() {
                let name = format!("[{}]", extension.full_name());
                self.member(&name).value(value, &|| extension.kind(), depth);
            }
        }
        let mut unknown = Vec::new();
        for field in message.unknown_fields() {
            field.encode(&mut unknown);
        }
        if !unknown.is_empty() {
            self.base64("@unknown", &unknown);
        }
    }

    pub(super) fn end(self) {
        self.writer.out.push(b'}');
    }
}
