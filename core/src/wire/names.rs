//! A provider's names, mapped to ours in the descriptors themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use prost_reflect::{
    Kind, MessageDescriptor,
    prost_types::{
        DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FileDescriptorSet,
    },
};

use super::{Call, SchemaError};

/// The provider's names mapped to ours. A key is a field or an enum value, qualified as
/// far as necessary: `field`, `Message.field`, `package.Message.field`. The longest
/// matching key decides.
pub type Names = BTreeMap<String, String>;

/// Renames fields and values in `set`, and leaves enums one value for each number. Only
/// messages and enums that are reachable from `roots` are renamed, because others may
/// have fields of the same names.
pub(super) fn apply<'n>(
    set: &mut FileDescriptorSet,
    roots: [&MessageDescriptor; 2],
    names: &'n Names,
    call: &'n Call,
) -> Result<(), SchemaError> {
    for (from, to) in names {
        // The name must not look like a qualified name, nor break a message.
        let bad = |c: char| c == '.' || c.is_control();
        if to.is_empty() || to.len() > 200 || to.contains(bad) {
            return Err(SchemaError::NotName {
                from: from.clone(),
                to: to.clone(),
            });
        }
    }
    let mut renaming = Renaming {
        names,
        call,
        reached: reached(roots),
        used: HashSet::new(),
        targets: names.values().map(String::as_str).collect(),
    };
    for file in &mut set.file {
        let scope = file.package().to_owned();
        for message in &mut file.message_type {
            renaming.message(&scope, message)?;
        }
        for of in &mut file.enum_type {
            renaming.enumeration(&scope, of)?;
        }
    }
    match names
        .keys()
        .find(|key| !renaming.used.contains(key.as_str()))
    {
        Some(key) => Err(SchemaError::UnknownName(key.clone())),
        None => Ok(()),
    }
}

/// The full names of the messages and enums that are reachable from these, except the
/// well-known types.
fn reached(roots: [&MessageDescriptor; 2]) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut left: Vec<MessageDescriptor> = roots.into_iter().cloned().collect();
    while let Some(message) = left.pop() {
        if message.package_name() == "google.protobuf"
            || !reached.insert(message.full_name().to_owned())
        {
            continue;
        }
        let fields = message.fields().map(|field| field.kind());
        let extensions = message.extensions().map(|extension| extension.kind());
        for kind in fields.chain(extensions).collect::<Vec<_>>() {
            match kind {
                Kind::Message(message) => left.push(message),
                Kind::Enum(of) if of.package_name() != "google.protobuf" => {
                    reached.insert(of.full_name().to_owned());
                }
                _ => {}
            }
        }
    }
    reached
}

struct Renaming<'n> {
    names: &'n Names,
    call: &'n Call,
    reached: BTreeSet<String>,
    used: HashSet<&'n str>,
    targets: HashSet<&'n str>,
}

impl<'n> Renaming<'n> {
    fn message(&mut self, scope: &str, message: &mut DescriptorProto) -> Result<(), SchemaError> {
        let full = join(scope, message.name());
        let is_entry = message.options.as_ref().is_some_and(|o| o.map_entry());
        if self.reached.contains(&full) && !is_entry && !self.names.is_empty() {
            self.fields(&full, message)?;
        }
        for nested in &mut message.nested_type {
            self.message(&full, nested)?;
        }
        for of in &mut message.enum_type {
            self.enumeration(&full, of)?;
        }
        Ok(())
    }

    fn fields(&mut self, full: &str, message: &mut DescriptorProto) -> Result<(), SchemaError> {
        // The names are compared as the pool compares them, so that its own error never
        // occurs.
        let folded = |name: &str| name.replace('_', "").to_ascii_lowercase();
        let mut taken: HashMap<String, String> = HashMap::new();
        for field in &mut message.field {
            let theirs = field.name().to_owned();
            if let Some(ours) = self.find(&[join(full, &theirs)]) {
                field.name = Some(ours.to_owned());
                field.json_name = Some(ours.to_owned());
            }
            let key = folded(field.name());
            if let Some(first) = taken.insert(key, theirs.clone()) {
                return Err(SchemaError::SameName {
                    message: full.to_owned(),
                    name: field.name().to_owned(),
                    first,
                    second: theirs,
                });
            }
        }
        // A oneof shares its scope with the fields, and its name is never seen.
        let mut held: HashSet<String> = message.field.iter().map(|f| f.name().to_owned()).collect();
        for oneof in &mut message.oneof_decl {
            let mut name = oneof.name().to_owned();
            while !held.insert(name.clone()) {
                name.push('_');
            }
            oneof.name = Some(name);
        }
        Ok(())
    }

    fn enumeration(
        &mut self,
        scope: &str,
        of: &mut EnumDescriptorProto,
    ) -> Result<(), SchemaError> {
        let full = join(scope, of.name());
        let prefix = of.name().to_owned();
        let reached = self.reached.contains(&full);
        let mut taken: HashMap<String, String> = HashMap::new();
        let mut mapped = HashSet::new();
        for value in &mut of.value {
            let theirs = value.name().to_owned();
            // In protobuf, the scope of a value is that of its enum.
            let qualified = [join(&full, &theirs), join(scope, &theirs)];
            if !reached {
                // Another enum of that scope may have our name already.
                if self.targets.contains(theirs.as_str()) {
                    value.name = Some(format!("{prefix}_{theirs}"));
                }
                continue;
            }
            if let Some(ours) = self.find(&qualified) {
                value.name = Some(ours.to_owned());
                mapped.insert(ours);
            }
            if let Some(first) = taken.insert(value.name().to_owned(), theirs.clone()) {
                return Err(SchemaError::SameValue {
                    message: full,
                    name: value.name().to_owned(),
                    first,
                    second: theirs,
                });
            }
        }
        let call = self.call;
        keep_one(of, |name| (mapped.contains(name), call.knows(name)));
        Ok(())
    }

    /// Our name for the field or value with these full names. Every matching key counts
    /// as used, even if a longer one decides.
    fn find(&mut self, full: &[String]) -> Option<&'n str> {
        let mut best: Option<(&'n str, &'n str)> = None;
        for full in full {
            let starts = std::iter::once(0).chain(full.match_indices('.').map(|(i, _)| i + 1));
            for start in starts {
                let Some((key, ours)) = full.get(start..).and_then(|s| self.names.get_key_value(s))
                else {
                    continue;
                };
                self.used.insert(key);
                if best.is_none_or(|(held, _)| held.len() < key.len()) {
                    best = Some((key, ours));
                }
            }
        }
        best.map(|(_, ours)| ours)
    }
}

/// Leaves one value for each number, the first one of the highest rank, as it is not
/// specified which of several is written. It takes the place of the number's first one:
/// the first value of an enum has a meaning.
fn keep_one(of: &mut EnumDescriptorProto, rank: impl Fn(&str) -> (bool, bool)) {
    let mut places: HashMap<i32, usize> = HashMap::new();
    let mut kept: Vec<EnumValueDescriptorProto> = Vec::with_capacity(of.value.len());
    for value in of.value.drain(..) {
        let place = *places.entry(value.number()).or_insert(kept.len());
        match kept.get_mut(place) {
            Some(held) if rank(value.name()) > rank(held.name()) => *held = value,
            Some(_) => {}
            None => kept.push(value),
        }
    }
    of.value = kept;
}

fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() {
        name.to_owned()
    } else {
        format!("{scope}.{name}")
    }
}
