//! A foreign descriptor set: checked against limits, and reduced to what decoding needs.
//!
//! Options, reserved numbers and defaults do not affect how bytes become JSON, but the
//! pool interprets them. They are removed, and with them the parts of a descriptor set
//! that are costly or unsafe to interpret.

use std::collections::HashSet;

use prost::Message;
use prost_reflect::{
    DescriptorPool,
    prost_types::{
        DescriptorProto, EnumDescriptorProto, EnumOptions, FieldDescriptorProto, FieldOptions,
        FileDescriptorProto, FileDescriptorSet, MessageOptions,
        field_descriptor_proto::{Label, Type},
    },
};
use protox::file::{FileResolver, GoogleFileResolver};

use super::SchemaError;

/// Limit on an encoded descriptor set, in bytes.
const MAX_SET: usize = 4 << 20;
/// Limits on the files of a set and on the members of one definition, because some checks
/// of the pool take quadratic time.
const MAX_FILES: usize = 1_000;
const MAX_MEMBERS: usize = 5_000;

/// Reads an encoded set.
pub(super) fn read(bytes: &[u8]) -> Result<FileDescriptorSet, SchemaError> {
    if bytes.len() > MAX_SET {
        return Err(SchemaError::TooLarge(format!(
            "it has {} bytes, of at most {MAX_SET}",
            bytes.len()
        )));
    }
    let mut set =
        FileDescriptorSet::decode(bytes).map_err(|error| SchemaError::Set(error.to_string()))?;
    if set.file.is_empty() {
        return Err(SchemaError::Set("it holds no file".to_owned()));
    }
    within("files", set.file.len(), MAX_FILES)?;
    add_imports(&mut set)?;
    for file in &mut set.file {
        reduce_file(file)?;
    }
    Ok(set)
}

/// Adds protobuf's own files that are imported and missing; any other import must be in
/// the set.
fn add_imports(set: &mut FileDescriptorSet) -> Result<(), SchemaError> {
    let mut there: HashSet<String> = set.file.iter().map(|f| f.name().to_owned()).collect();
    let mut next = 0;
    while let Some(file) = set.file.get(next) {
        next += 1;
        for import in file.dependency.clone() {
            if !there.contains(&import) {
                let own = GoogleFileResolver::new().open_file(&import);
                let own = own.map_err(|_| SchemaError::NotIncluded(import.clone()))?;
                set.file.push(own.file_descriptor_proto().clone());
                there.insert(import);
            }
        }
    }
    Ok(())
}

pub(super) fn pool(set: FileDescriptorSet) -> Result<DescriptorPool, SchemaError> {
    DescriptorPool::from_file_descriptor_set(set)
        .map_err(|error| SchemaError::Set(error.to_string()))
}

fn within(what: &str, count: usize, limit: usize) -> Result<(), SchemaError> {
    if count > limit {
        return Err(SchemaError::TooLarge(format!(
            "{count} {what}, of at most {limit}"
        )));
    }
    Ok(())
}

/// Names are repeated in errors and become those of JSON: a compiler gives none with
/// control characters, and a byte of zero could not be told to anyone in Postgres.
fn printable<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(), SchemaError> {
    let refused = names
        .into_iter()
        .find(|name| name.contains(char::is_control));
    refused.map_or(Ok(()), |name| {
        Err(SchemaError::Set(format!("{name:?} is not a name")))
    })
}

fn reduce_file(file: &mut FileDescriptorProto) -> Result<(), SchemaError> {
    printable([file.name(), file.package(), file.syntax()])?;
    printable(file.dependency.iter().map(String::as_str))?;
    // The pool assumes these too.
    if let Some(syntax) = file.syntax.as_deref()
        && !matches!(syntax, "proto2" | "proto3")
    {
        return Err(SchemaError::Set(format!(
            "the file {:?} is written in {syntax}, and only proto2 and proto3 are read",
            file.name()
        )));
    }
    file.options = None;
    file.source_code_info = None;
    within("imports of a file", file.dependency.len(), MAX_FILES)?;
    within(
        "public imports of a file",
        file.public_dependency.len(),
        MAX_FILES,
    )?;
    for service in &mut file.service {
        printable([service.name()])?;
        service.options = None;
        for method in &mut service.method {
            printable([method.name(), method.input_type(), method.output_type()])?;
            method.options = None;
        }
    }
    file.extension.iter_mut().try_for_each(reduce_field)?;
    file.enum_type.iter_mut().try_for_each(reduce_enum)?;
    file.message_type.iter_mut().try_for_each(reduce_message)
}

/// The depth of nested messages is bounded by the decoder of the set.
fn reduce_message(message: &mut DescriptorProto) -> Result<(), SchemaError> {
    printable([message.name()])?;
    printable(message.oneof_decl.iter().map(|oneof| oneof.name()))?;
    within("fields of a message", message.field.len(), MAX_MEMBERS)?;
    within("oneofs of a message", message.oneof_decl.len(), MAX_MEMBERS)?;
    within(
        "extension ranges of a message",
        message.extension_range.len(),
        MAX_MEMBERS,
    )?;
    let is_entry = message.options.as_ref().is_some_and(|o| o.map_entry());
    message.options = is_entry.then(|| MessageOptions {
        map_entry: Some(true),
        ..MessageOptions::default()
    });
    if is_entry {
        check_entry(message)?;
    }
    message.reserved_range.clear();
    for range in &mut message.extension_range {
        range.options = None;
    }
    for oneof in &mut message.oneof_decl {
        oneof.options = None;
    }
    message.field.iter_mut().try_for_each(reduce_field)?;
    message.extension.iter_mut().try_for_each(reduce_field)?;
    message.enum_type.iter_mut().try_for_each(reduce_enum)?;
    message.nested_type.iter_mut().try_for_each(reduce_message)
}

fn reduce_enum(of: &mut EnumDescriptorProto) -> Result<(), SchemaError> {
    printable([of.name()])?;
    printable(of.value.iter().map(|value| value.name()))?;
    within("values of an enum", of.value.len(), MAX_MEMBERS)?;
    // If a number has two names, `names` leaves one.
    of.options = Some(EnumOptions {
        allow_alias: Some(true),
        ..EnumOptions::default()
    });
    of.reserved_range.clear();
    for value in &mut of.value {
        value.options = None;
    }
    Ok(())
}

fn reduce_field(field: &mut FieldDescriptorProto) -> Result<(), SchemaError> {
    printable([field.name(), field.type_name(), field.extendee()])?;
    let packed = field.options.as_ref().and_then(|options| options.packed);
    field.options = packed.map(|packed| FieldOptions {
        packed: Some(packed),
        ..FieldOptions::default()
    });
    field.default_value = None;
    // Unique as the name is; a JSON name of its own would be one more to collide.
    field.json_name = field.name.clone();
    Ok(())
}

/// The pool assumes that a map is defined as a compiler defines it.
fn check_entry(message: &DescriptorProto) -> Result<(), SchemaError> {
    let name = message.name();
    let refuse = || Err(SchemaError::Set(format!("{name} is not a map's entry")));
    let [first, second] = message.field.as_slice() else {
        return refuse();
    };
    let (key, value) = if first.number() == 1 {
        (first, second)
    } else {
        (second, first)
    };
    let may_be_key = !matches!(
        key.r#type(),
        Type::Double | Type::Float | Type::Bytes | Type::Enum | Type::Message | Type::Group
    );
    let plain = |field: &FieldDescriptorProto| {
        field.label() != Label::Repeated && field.oneof_index.is_none()
    };
    // A key with the name of a type would be resolved to that type.
    if key.number() != 1
        || value.number() != 2
        || !may_be_key
        || !key.type_name().is_empty()
        || !plain(key)
        || !plain(value)
    {
        return refuse();
    }
    Ok(())
}
