//! Differences between a method in two schemas, by names and numbers.
//!
//! The comparison works on descriptors without linking them. Missing types are left out,
//! and no foreign descriptor set can make it fail.

use std::collections::{BTreeSet, HashMap, HashSet};

use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

use super::methods;

/// What `theirs` has for the method of this path and `ours` lacks or defines differently,
/// in words. What only `ours` has does no harm. `None` if the method is not in both.
pub(crate) fn differences(
    ours: &FileDescriptorSet,
    theirs: &FileDescriptorSet,
    path: &str,
) -> Option<Vec<String>> {
    let find = |set| methods(set).into_iter().find(|method| method.path == path);
    let (our_method, their_method) = (find(ours)?, find(theirs)?);
    let mut comparison = Comparison {
        ours: Types::of(ours),
        theirs: Types::of(theirs),
        found: Vec::new(),
    };
    let mut seen = HashSet::new();
    if their_method.is_stream != our_method.is_stream {
        let text = format!("{path} does not stream as it does here");
        comparison.found.push(text);
    }
    let mut left = vec![
        (our_method.input, their_method.input),
        (our_method.output, their_method.output),
    ];
    while let Some((ours, theirs)) = left.pop() {
        if theirs.starts_with(WELL_KNOWN) || !seen.insert((ours.clone(), theirs.clone())) {
            continue;
        }
        comparison.messages(&ours, &theirs, &mut left);
        comparison.enums(&ours, &theirs);
    }
    Some(comparison.found)
}

/// The names that a method's messages have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// The fields with their message, as keys of `names`.
    pub(crate) fields: BTreeSet<(String, String)>,
    pub(crate) values: BTreeSet<String>,
}

/// The names of the method of this path. If its responses are frames, `event` is the member
/// that holds the event, and only the names of the event are meant.
pub(crate) fn names(set: &FileDescriptorSet, path: &str, event: Option<&str>) -> Names {
    let types = Types::of(set);
    let method = methods(set).into_iter().find(|method| method.path == path);
    let framed = |output: &String| {
        let mut fields = types.messages.get(output)?.field.iter();
        let member = fields.find(|field| Some(field.name()) == event)?;
        member.type_name.clone()
    };
    let mut left: Vec<String> = method.map_or_else(Vec::new, |m| {
        let output = framed(&m.output).unwrap_or(m.output);
        vec![m.input, output]
    });
    let mut seen = HashSet::new();
    let mut names = Names::default();
    while let Some(name) = left.pop() {
        if name.starts_with(WELL_KNOWN) || !seen.insert(name.clone()) {
            continue;
        }
        if let Some(of) = types.enums.get(&name) {
            let values = of.value.iter().map(|value| value.name().to_owned());
            names.values.extend(values);
        }
        if let Some(message) = types.messages.get(&name) {
            for field in &message.field {
                let key = (message.name().to_owned(), field.name().to_owned());
                names.fields.insert(key);
                left.extend(field.type_name.clone());
            }
        }
    }
    names
}

/// Prefix of the well-known types, which are never renamed.
const WELL_KNOWN: &str = ".google.protobuf.";

/// The types of a set by their full names, with a dot before them.
struct Types<'a> {
    messages: HashMap<String, &'a DescriptorProto>,
    enums: HashMap<String, &'a EnumDescriptorProto>,
}

impl<'a> Types<'a> {
    fn of(set: &'a FileDescriptorSet) -> Self {
        let mut types = Self {
            messages: HashMap::new(),
            enums: HashMap::new(),
        };
        let mut left = Vec::new();
        for file in &set.file {
            let scope = match file.package() {
                "" => String::new(),
                package => format!(".{package}"),
            };
            types.add_enums(&scope, &file.enum_type);
            left.extend(file.message_type.iter().map(|m| (scope.clone(), m)));
        }
        while let Some((scope, message)) = left.pop() {
            let full = format!("{scope}.{}", message.name());
            types.add_enums(&full, &message.enum_type);
            left.extend(message.nested_type.iter().map(|m| (full.clone(), m)));
            types.messages.insert(full, message);
        }
        types
    }

    fn add_enums(&mut self, scope: &str, enums: &'a [EnumDescriptorProto]) {
        let named = enums
            .iter()
            .map(|of| (format!("{scope}.{}", of.name()), of));
        self.enums.extend(named);
    }
}

struct Comparison<'a> {
    ours: Types<'a>,
    theirs: Types<'a>,
    found: Vec<String>,
}

impl Comparison<'_> {
    fn messages(&mut self, ours: &str, theirs: &str, left: &mut Vec<(String, String)>) {
        let (Some(our), Some(their)) = (
            self.ours.messages.get(ours),
            self.theirs.messages.get(theirs),
        ) else {
            return;
        };
        for field in &their.field {
            let place = format!("{}.{}", their.name(), field.name());
            let number = field.number();
            let Some(ours) = our.field.iter().find(|f| f.number() == number) else {
                let text = format!("{place} (field {number}) is not known here");
                self.found.push(text);
                continue;
            };
            if ours.name() != field.name() {
                let text = format!("{place} (field {number}) is {} here", ours.name());
                self.found.push(text);
                continue;
            }
            let (here, there) = (kind(ours), kind(field));
            if here != there {
                self.found
                    .push(format!("{place} is {there}, and {here} here"));
                continue;
            }
            left.push((ours.type_name().to_owned(), field.type_name().to_owned()));
        }
    }

    fn enums(&mut self, ours: &str, theirs: &str) {
        let (Some(our), Some(their)) = (self.ours.enums.get(ours), self.theirs.enums.get(theirs))
        else {
            return;
        };
        for value in &their.value {
            let (name, number) = (value.name(), value.number());
            let mut here = our.value.iter().filter(|v| v.number() == number);
            let text = match here.next() {
                None => format!("{name} = {number} is not known here"),
                Some(known) if known.name() != name => {
                    format!("{name} = {number} is {} here", known.name())
                }
                Some(_) => continue,
            };
            self.found.push(text);
        }
    }
}

/// The wire type of a field, in words. The name of a message does not matter, except for
/// a well-known type, where it decides how the value is converted.
fn kind(field: &FieldDescriptorProto) -> String {
    let name = match field.r#type() {
        Type::Message if field.type_name().starts_with(WELL_KNOWN) => {
            field.type_name().trim_start_matches('.').to_owned()
        }
        other => {
            let name = other.as_str_name().trim_start_matches("TYPE_");
            name.to_ascii_lowercase()
        }
    };
    match field.label() {
        Label::Repeated => format!("repeated {name}"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use tidings_core::wire::compile;

    use super::*;

    const OURS: &str = r#"syntax = "proto3"; package p;
        service S { rpc Follow(Ask) returns (stream Event); rpc Other(Ask) returns (Event); }
        message Ask { optional string after = 1; }
        message Event { string id = 1; Kind kind = 2; Who who = 3; string at = 4; string only_ours = 9;
          message Who { string number = 1; Event inner = 2; } }
        enum Kind { NONE = 0; SENT = 1; LOST = 2; }"#;

    fn set(text: &str) -> FileDescriptorSet {
        FileDescriptorSet::decode(compile(text).unwrap().as_slice()).unwrap()
    }

    fn changed(changes: &[(&str, &str)]) -> Option<Vec<String>> {
        let mut theirs = OURS.to_owned();
        for (from, to) in changes {
            assert!(theirs.contains(from), "{from}");
            theirs = theirs.replace(from, to);
        }
        let mut found = differences(&set(OURS), &set(&theirs), "/p.S/Follow")?;
        found.sort();
        Some(found)
    }

    #[test]
    fn what_is_there_only_here_is_no_difference() {
        assert_eq!(changed(&[]).unwrap(), [""; 0]);
        assert_eq!(changed(&[(" string only_ours = 9;", "")]).unwrap(), [""; 0]);
        assert_eq!(changed(&[("Who", "Whom")]).unwrap(), [""; 0]);
    }

    #[test]
    fn differences_are_told_in_words() {
        for (from, to, expected) in [
            ("SENT = 1", "SENT = 5", "SENT = 5 is not known here"),
            ("SENT", "DONE", "DONE = 1 is SENT here"),
            (
                "string number",
                "int64 number",
                "Who.number is int64, and string here",
            ),
            (
                "string number = 1",
                "string number = 7",
                "Who.number (field 7) is not known here",
            ),
            ("string id", "string key", "Event.key (field 1) is id here"),
            (
                "string at",
                "repeated string at",
                "Event.at is repeated string, and string here",
            ),
            (
                "optional string after",
                "bytes after",
                "Ask.after is bytes, and string here",
            ),
            (
                "(stream Event)",
                "(Event)",
                "/p.S/Follow does not stream as it does here",
            ),
        ] {
            assert_eq!(changed(&[(from, to)]).unwrap(), [expected]);
        }
        assert_eq!(changed(&[("package p", "package q")]), None);
    }

    #[test]
    fn a_time_that_is_a_message_there_is_a_difference() {
        let theirs = format!("{OURS} message At {{ int64 seconds = 1; }}");
        let theirs = theirs.replace("string at = 4", "At at = 4");
        let found = differences(&set(OURS), &set(&theirs), "/p.S/Follow").unwrap();
        assert_eq!(found, ["Event.at is message, and string here"]);
    }

    #[test]
    fn names_are_those_that_the_method_leads_to() {
        let text = format!("{OURS} message Apart {{ string nothing = 1; }}");
        let names = names(&set(&text), "/p.S/Follow", None);
        let fields: Vec<String> = names
            .fields
            .iter()
            .map(|(m, f)| format!("{m}.{f}"))
            .collect();
        assert_eq!(
            fields,
            [
                "Ask.after",
                "Event.at",
                "Event.id",
                "Event.kind",
                "Event.only_ours",
                "Event.who",
                "Who.inner",
                "Who.number"
            ]
        );
        assert_eq!(Vec::from_iter(names.values), ["LOST", "NONE", "SENT"]);
    }
}
