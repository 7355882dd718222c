//! Finds in a schema what a call needs, and advises what to do if it is missing.

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};

use super::{
    Call, SchemaError,
    envelope::{Fields, Shape},
    text::TextField,
};

/// The method of this path. The slash before it may be left out.
pub(super) fn find_method(
    pool: &DescriptorPool,
    path: &str,
) -> Result<MethodDescriptor, SchemaError> {
    let wanted = path.trim().strip_prefix('/').unwrap_or(path.trim());
    let parts = wanted.split_once('/');
    let Some((service, method)) = parts.filter(|_| !wanted.contains(char::is_control)) else {
        return Err(SchemaError::NotMethod(path.to_owned()));
    };
    let found = pool
        .get_service_by_name(service)
        .and_then(|service| service.methods().find(|m| m.name() == method));
    found.ok_or_else(|| {
        let all: Vec<String> = pool
            .services()
            .flat_map(|service| {
                let name = service.full_name().to_owned();
                let methods = service.methods();
                methods
                    .map(|method| format!("/{name}/{}", method.name()))
                    .collect::<Vec<_>>()
            })
            .collect();
        SchemaError::NoMethod {
            wanted: format!("/{wanted}"),
            found: if all.is_empty() {
                "it describes no service".to_owned()
            } else {
                format!("it has {}", shortened(&all))
            },
        }
    })
}

pub(super) fn field(
    message: &MessageDescriptor,
    name: &'static str,
) -> Result<FieldDescriptor, SchemaError> {
    message
        .get_field_by_name(name)
        .ok_or_else(|| missing(message, name, "", &["id", "key"]))
}

/// Whether this message has what an event needs, or a field beside its key may contain
/// it, as a message or as JSON.
pub(super) fn check_event(call: &Call, event: &MessageDescriptor) -> Result<(), SchemaError> {
    if event.get_field_by_name(call.needs).is_some() {
        return Ok(());
    }
    let may_hold = |field: &FieldDescriptor| match field.kind() {
        _ if field.is_list() || field.is_map() || field.name() == call.key_field() => false,
        Kind::Message(inner) => {
            matches!(
                inner.full_name(),
                "google.protobuf.Struct" | "google.protobuf.Value"
            ) || inner.get_field_by_name(call.needs).is_some()
                || TextField::new(field.clone()).is_ok()
        }
        kind => matches!(kind, Kind::String | Kind::Bytes),
    };
    if call.beside && event.fields().filter(may_hold).count() == 1 {
        return Ok(());
    }
    let words = ["type", "kind", "name", "what"];
    Err(missing(event, call.needs, call.key_field(), &words))
}

/// Finds the event in the messages of a call's stream: in the member of the frame that
/// contains it, or wherever its key is.
pub(super) fn locate_event(
    message: &MessageDescriptor,
    call: &Call,
) -> Result<(Shape, MessageDescriptor), SchemaError> {
    let key = call.key_field();
    let has_key = |message: &MessageDescriptor| message.get_field_by_name(key).is_some();
    let member = call.frame.filter(|_| !has_key(message));
    let member = member.and_then(|frame| message.get_field_by_name(frame.event));
    let member = member.and_then(|member| {
        let mut members =
            inner(message).filter(|(field, event)| *field == member && has_key(event));
        members.next()
    });
    match member {
        Some((field, event)) => Ok((Shape::Inside(Fields::new(field, Vec::new())), event)),
        None => locate(message, key),
    }
}

/// Finds the field `key` in `message`: in the message itself, in its only field whose
/// message has it, or in several fields of the same message type.
pub(super) fn locate(
    message: &MessageDescriptor,
    key: &'static str,
) -> Result<(Shape, MessageDescriptor), SchemaError> {
    if message.get_field_by_name(key).is_some() {
        return Ok((Shape::Itself, message.clone()));
    }
    let mut fitting = inner(message).filter(|(_, inner)| inner.get_field_by_name(key).is_some());
    let Some((field, event)) = fitting.next() else {
        return Err(missing(message, key, "", &["id", "key"]));
    };
    let (others, events): (Vec<_>, Vec<_>) = fitting.unzip();
    if events.iter().any(|other| *other != event) {
        return Err(ambiguous(message, key, &field, &others, &event));
    }
    Ok((Shape::Inside(Fields::new(field, others)), event))
}

/// Finds the field `key` in `message`, in one place only.
pub(super) fn locate_one(
    message: &MessageDescriptor,
    key: &'static str,
) -> Result<(Shape, MessageDescriptor), SchemaError> {
    let (shape, found) = locate(message, key)?;
    match &shape {
        Shape::Inside(fields) if !fields.others.is_empty() => {
            let (first, others) = (&fields.first, &fields.others);
            Err(ambiguous(message, key, first, others, &found))
        }
        _ => Ok((shape, found)),
    }
}

fn ambiguous(
    message: &MessageDescriptor,
    key: &'static str,
    first: &FieldDescriptor,
    others: &[FieldDescriptor],
    found: &MessageDescriptor,
) -> SchemaError {
    let others: Vec<String> = others.iter().map(|field| field.name().to_owned()).collect();
    SchemaError::Ambiguous {
        message: message.full_name().to_owned(),
        field: key,
        places: format!("{}, {}", first.name(), shortened(&others)),
        first: found.name().to_owned(),
    }
}

/// The fields that may wrap an event, with their messages.
fn inner(
    message: &MessageDescriptor,
) -> impl Iterator<Item = (FieldDescriptor, MessageDescriptor)> {
    message.fields().filter_map(|field| match field.kind() {
        Kind::Message(inner)
            if !field.is_map()
                && !field.is_group()
                && inner.package_name() != "google.protobuf" =>
        {
            Some((field, inner))
        }
        _ => None,
    })
}

/// Advice that names the existing fields and how to map one: `taken` has another role,
/// and `words` occur in names of fields that may have this role.
fn missing(
    message: &MessageDescriptor,
    name: &'static str,
    taken: &str,
    words: &[&str],
) -> SchemaError {
    let mut place = format!("the message {} has no", message.full_name());
    let mut of = message.clone();
    let mut inside = inner(message);
    if let (Some((field, only)), None) = (inside.next(), inside.next())
        && !message.fields().any(|field| TextField::new(field).is_ok())
    {
        place = format!(
            "neither the message {} nor {}, which is in its field {}, has a",
            message.full_name(),
            only.full_name(),
            field.name()
        );
        of = only;
    }
    let names: Vec<String> = of.fields().map(|field| field.name().to_owned()).collect();
    let first = names.iter().find(|name| *name != taken);
    let advice = if names.is_empty() {
        "it has no fields at all".to_owned()
    } else if first.is_none() {
        format!("it has no field beside {taken}")
    } else {
        let guess = of
            .fields()
            .filter(|field| {
                matches!(field.kind(), Kind::Enum(_)) || TextField::new(field.clone()).is_ok()
            })
            .map(|field| field.name().to_owned())
            .find(|name| name != taken && words.iter().any(|word| name.contains(word)))
            .or_else(|| first.cloned())
            .unwrap_or_default();
        format!(
            "the fields of {} are {}; if one of them plays that part, map it: \
             names => '{{\"{}.{guess}\": \"{name}\"}}'",
            of.name(),
            shortened(&names),
            of.name(),
        )
    };
    SchemaError::NoField {
        place,
        field: name,
        advice,
    }
}

fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let shown = names.iter().take(SHOWN).map(String::as_str);
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(", ..");
    }
    text
}
