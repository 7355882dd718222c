//! The statement that sets a schema, and the names that have to be mapped before it can
//! be used.

use std::fmt::Write;

use prost::Message;
use prost_reflect::prost_types::FileDescriptorSet;
use tidings_core::wire::Schema;

use super::{Answer, Failed, Wish, failed};
use crate::{
    commands::{
        check::quoted,
        reflect::{self, Method},
    },
    process::exit::Code,
};

/// Limit on the names that are shown.
const SHOWN: usize = 40;

pub(super) fn statement(
    wish: &Wish<'_>,
    set: &FileDescriptorSet,
    method: &Method,
    note: String,
) -> Result<Answer, Failed> {
    // The statement is printed unchanged, and such characters could control a terminal.
    if !method.path.bytes().all(|b| b.is_ascii_graphic()) {
        let path = &method.path;
        return Err(failed(format!(
            "the server's name of the method is not one: {path:?}; see whether it is the provider's"
        )));
    }
    let encoded = set.encode_to_vec();
    let usable = Schema::new(wish.call, &encoded, &method.path, &wish.names);
    let mut notes = vec![note];
    let code = match usable {
        Ok(_) => {
            notes.push("it can be used as it is below".to_owned());
            Code::Clean
        }
        Err(error) => {
            notes.push(format!("it cannot be used as it is: {error}"));
            Code::Findings
        }
    };
    let (ours, theirs) = unmapped(wish, set, method);
    if !ours.is_empty() {
        let ours = ours.join(", ");
        notes.push(format!(
            "names that are known here, and that it does not have: {ours}"
        ));
        if !theirs.is_empty() {
            let theirs = theirs.join(", ");
            notes.push(format!("names that it has instead: {theirs}"));
        }
        notes.push(format!(
            "map them by names => '{{\"its name\": \"the name here\", ..}}'; --names tries that: tidings-worker schema {} --names '{{..}}'",
            wish.source
        ));
    }
    let mut hex = String::with_capacity(encoded.len() * 2);
    for byte in &encoded {
        // Writing into a text does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    let names = serde_json::to_string(&wish.names).unwrap_or_else(|_| "{}".to_owned());
    let sql = format!(
        "select tidings.set_source_schema('{}', method => '{}', names => '{}', descriptor_set => '\\x{hex}');",
        quoted(wish.source),
        quoted(&method.path),
        quoted(&names),
    );
    if sql.chars().any(char::is_control) {
        let text = "a control character is in the name of the source or in --names: no statement can be printed with it";
        return Err(failed(text));
    }
    Ok(Answer { sql, notes, code })
}

/// The documented names that `method` lacks even with `names`, and its own names that are
/// unknown here.
fn unmapped(
    wish: &Wish<'_>,
    set: &FileDescriptorSet,
    method: &Method,
) -> (Vec<String>, Vec<String>) {
    let documented = wish.call.proto.compile().unwrap_or_default();
    let documented = FileDescriptorSet::decode(documented.as_slice()).unwrap_or_default();
    let event = wish.call.frame.map(|frame| frame.event);
    let ours = reflect::names(&documented, wish.call.method, event);
    let theirs = reflect::names(set, &method.path, None);
    let known = |name: &str| {
        ours.values.contains(name) || ours.fields.iter().any(|(_, field)| field == name)
    };
    let mapped = |key: &str| wish.names.contains_key(key);
    // A key may be qualified further than here; the name is then listed unnecessarily.
    let left = |message: &str, field: &str| {
        !known(field) && !mapped(field) && !mapped(&format!("{message}.{field}"))
    };
    let fields = theirs
        .fields
        .iter()
        .filter(|(message, field)| left(message, field));
    let fields = fields.map(|(message, field)| format!("{message}.{field}"));
    let values = theirs
        .values
        .iter()
        .filter(|name| !known(name) && !mapped(name));
    let instead = fields.chain(values.cloned()).take(SHOWN).collect();

    let has_field = |name: &&String| {
        theirs.fields.iter().any(|(_, field)| field == *name)
            || wish.names.values().any(|to| to == *name)
    };
    // A value may have the prefix of its enum or not.
    let has_value = |name: &&String| {
        let mut values = theirs.values.iter().chain(wish.names.values());
        values.any(|value| name.ends_with(value) || value.ends_with(name.as_str()))
    };
    let is_understood = |name: &&String| {
        let mut understood = wish.call.values.iter();
        understood.any(|value| name.ends_with(value))
    };
    let fields = ours.fields.iter().map(|(_, field)| field);
    let fields = fields.filter(|name| !has_field(name));
    let values = ours.values.iter().filter(is_understood);
    let values = values.filter(|name| !has_value(name));
    let mut missing: Vec<String> = fields.chain(values).cloned().collect();
    missing.sort();
    missing.dedup();
    (missing, instead)
}
