//! The schema of the Python peer was written apart from ours, from the same facts. The two
//! must agree in every name, number and type; otherwise one of them has a slip.

use std::collections::BTreeMap;

use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet,
};

const PACKAGE: &str = "pcs.external.v1";

/// The names of the package, each with its meaning on the wire.
type Facts = BTreeMap<String, String>;

#[test]
fn the_peer_s_own_schema_says_the_same() {
    let ours = FileDescriptorSet::decode(tidings_proto::DESCRIPTOR_SET).unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/peer/proto");
    let theirs = protox::compile(["ppoppo.proto"], [folder]).unwrap();
    let (ours, theirs) = (facts(&ours), facts(&theirs));
    assert!(ours.len() > 70, "{ours:#?}");
    assert_eq!(ours, theirs);
}

fn facts(set: &FileDescriptorSet) -> Facts {
    let mut facts = Facts::new();
    for file in set.file.iter().filter(|file| file.package() == PACKAGE) {
        for message in &file.message_type {
            of_message(&mut facts, message);
        }
        for choice in &file.enum_type {
            of_enum(&mut facts, choice);
        }
        of_services(&mut facts, file);
    }
    facts
}

fn of_message(facts: &mut Facts, message: &DescriptorProto) {
    assert!(message.nested_type.is_empty() && message.enum_type.is_empty());
    for field in &message.field {
        let name = format!("{}.{}", message.name(), field.name());
        facts.insert(name, of_field(message, field));
    }
    let reserved = message.reserved_range.iter();
    let reserved: Vec<_> = reserved.map(|r| (r.start(), r.end())).collect();
    facts.insert(message.name().to_owned(), format!("reserved {reserved:?}"));
}

fn of_field(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    // An `optional` field is in a oneof of its own, which has no meaning on the wire.
    let choice = field.oneof_index.filter(|_| !field.proto3_optional());
    let choice = choice.and_then(|at| message.oneof_decl.get(usize::try_from(at).ok()?));
    format!(
        "{} {:?} {:?} {} optional {} in {:?}",
        field.number(),
        field.label(),
        field.r#type(),
        field.type_name(),
        field.proto3_optional(),
        choice.map(|choice| choice.name().to_owned()),
    )
}

fn of_enum(facts: &mut Facts, choice: &EnumDescriptorProto) {
    for value in &choice.value {
        let name = format!("{}.{}", choice.name(), value.name());
        facts.insert(name, value.number().to_string());
    }
    let reserved = choice.reserved_range.iter();
    let reserved: Vec<_> = reserved.map(|r| (r.start(), r.end())).collect();
    facts.insert(choice.name().to_owned(), format!("reserved {reserved:?}"));
}

fn of_services(facts: &mut Facts, file: &FileDescriptorProto) {
    for service in &file.service {
        for method in &service.method {
            let streams = (method.client_streaming(), method.server_streaming());
            facts.insert(
                format!("{}/{}", service.name(), method.name()),
                format!(
                    "{} {} {streams:?}",
                    method.input_type(),
                    method.output_type()
                ),
            );
        }
    }
}
