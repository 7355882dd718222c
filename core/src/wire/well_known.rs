//! Protobuf's well-known types, in the form that protobuf's JSON gives them.
//!
//! A value that does not fit that form (a time out of range, an `Any` of a type that the
//! schema does not have) is written as a plain message, which loses nothing.

use prost_reflect::{DynamicMessage, ReflectMessage, Value, bytes::Bytes, prost_types::Timestamp};

use super::json::Writer;

/// 0001-01-01 and 9999-12-31, in seconds since 1970.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

impl Writer<'_> {
    /// Writes a message of a well-known type; `false` if it is not one, or not well.
    pub(super) fn well_known(&mut self, message: &DynamicMessage, depth: usize) -> bool {
        let descriptor = message.descriptor();
        let Some(name) = descriptor.full_name().strip_prefix("google.protobuf.") else {
            return false;
        };
        let most = match name {
            "Timestamp" | "Duration" | "Any" => 2,
            "Value" => u32::MAX,
            _ => 1,
        };
        // The message contains something that the form cannot represent.
        if message.unknown_fields().next().is_some()
            || message.extensions().next().is_some()
            || message.fields().any(|(field, _)| field.number() > most)
        {
            return false;
        }
        match name {
            "Timestamp" => self.timestamp(message).is_some(),
            "Duration" => self.duration(message).is_some(),
            "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value"
            | "UInt32Value" | "BoolValue" | "StringValue" | "BytesValue" => {
                self.wrapper(message, depth).is_some()
            }
            "Struct" => self.fields_of_struct(message, depth).is_some(),
            "ListValue" => self.items_of_list(message, depth).is_some(),
            "Value" => self.any_value(message, depth).is_some(),
            "Any" => self.any(message, depth).is_some(),
            _ => false,
        }
    }

    fn timestamp(&mut self, message: &DynamicMessage) -> Option<()> {
        let (seconds, nanos) = seconds_and_nanos(message)?;
        self.plain(rfc_3339(Timestamp { seconds, nanos })?);
        Some(())
    }

    fn duration(&mut self, message: &DynamicMessage) -> Option<()> {
        let (seconds, nanos) = seconds_and_nanos(message)?;
        let negative = seconds < 0 || nanos < 0;
        let opposed = (seconds < 0 && nanos > 0) || (seconds > 0 && nanos < 0);
        if opposed || nanos.unsigned_abs() >= 1_000_000_000 {
            return None;
        }
        let fraction = format!("{:09}", nanos.unsigned_abs());
        let text = format!(
            "{}{}.{fraction}",
            if negative { "-" } else { "" },
            seconds.unsigned_abs()
        );
        let text = text.trim_end_matches('0').trim_end_matches('.');
        self.plain(format!("{text}s"));
        Some(())
    }

    fn wrapper(&mut self, message: &DynamicMessage, depth: usize) -> Option<()> {
        let field = message.descriptor().get_field(1)?;
        let value = message.get_field(&field);
        if matches!(
            value.as_ref(),
            Value::Message(_) | Value::List(_) | Value::Map(_)
        ) {
            return None;
        }
        self.value(&value, &|| field.kind(), depth);
        Some(())
    }

    fn fields_of_struct(&mut self, message: &DynamicMessage, depth: usize) -> Option<()> {
        let field = message.descriptor().get_field(1)?;
        let value = message.get_field(&field);
        value.as_map()?;
        self.value(&value, &|| field.kind(), depth);
        Some(())
    }

    fn items_of_list(&mut self, message: &DynamicMessage, depth: usize) -> Option<()> {
        let field = message.descriptor().get_field(1)?;
        let value = message.get_field(&field);
        value.as_list()?;
        self.value(&value, &|| field.kind(), depth);
        Some(())
    }

    /// A `Value` is whichever of its kinds it has.
    fn any_value(&mut self, message: &DynamicMessage, depth: usize) -> Option<()> {
        let mut fields = message.fields();
        let Some((field, value)) = fields.next() else {
            self.plain(());
            return Some(());
        };
        if fields.next().is_some() {
            return None;
        }
        self.value(value, &|| field.kind(), depth);
        Some(())
    }

    fn any(&mut self, message: &DynamicMessage, depth: usize) -> Option<()> {
        let url = message.get_field_by_number(1)?;
        let url = url.as_str()?;
        let value = message.get_field_by_number(2)?;
        let bytes: &Bytes = value.as_bytes()?;
        let name = url.rsplit('/').next()?;
        let descriptor = message.descriptor();
        let inner = descriptor.parent_pool().get_message_by_name(name)?;
        let well_known = inner.package_name() == "google.protobuf";
        let inner = DynamicMessage::decode(inner, bytes.clone()).ok()?;
        let mut object = self.object();
        object.member("@type").plain(url);
        if well_known {
            object.member("value").message(&inner, depth - 1);
        } else {
            object.fields(&inner, depth - 1);
        }
        object.end();
        Some(())
    }
}

/// `None` if it is out of range.
pub(super) fn rfc_3339(time: Timestamp) -> Option<String> {
    let whole = SECONDS.contains(&time.seconds) && (0..1_000_000_000).contains(&time.nanos);
    whole.then(|| time.to_string())
}

fn seconds_and_nanos(message: &DynamicMessage) -> Option<(i64, i32)> {
    let seconds = message.get_field_by_number(1)?.as_i64()?;
    let nanos = message.get_field_by_number(2)?.as_i32()?;
    Some((seconds, nanos))
}
