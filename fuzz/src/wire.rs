//! gRPC messages: whatever a schema says and whatever a message holds, the schema is
//! used or says why not, every event becomes one JSON object that normalization reads
//! as one item, and nothing of a message that cannot be decoded is lost.
//!
//! An input begins with a byte that says what it is:
//!
//! - `t`: names as JSON, 0xFF, the text of a `.proto` file, 0xFF, a message
//! - `s`: names as JSON, 0xFF, two bytes of length, a descriptor set, a message
//! - `q`: a [question](crate::question) and its answer
//! - anything else: a message, of one of the schemas below

use std::sync::LazyLock;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use serde_json::Value;
use tidings_core::{
    Settings,
    provider::{self, Provider},
    wire::{Bytes, Call, Decoded, Names, Notice, Reply, Role, Schema, SchemaError, compile},
};

use crate::readable;

/// How many methods of a descriptor set are looked at.
const METHODS: usize = 4;

/// The longest text of a notice, in characters.
const LONGEST_NOTICE: usize = 500;

/// A schema, and the provider whose call it is.
struct Known {
    provider: &'static str,
    call: &'static Call,
    schema: Schema,
}

impl Known {
    fn new(provider: &'static str, proto: &str, names: &str) -> Self {
        let names = serde_json::from_str(names).unwrap_or_default();
        let Ok(set) = compile(proto) else {
            unreachable!("the schema is compiled")
        };
        let mut schemas = methods(&set).into_iter().filter_map(|method| {
            let mut of_provider = calls().filter(|(name, _)| *name == provider);
            of_provider.find_map(|(_, call)| {
                let schema = Schema::new(call, &set, &method, &names).ok()?;
                Some((call, schema))
            })
        });
        let Some((call, schema)) = schemas.next() else {
            unreachable!("the schema of {provider} can be used")
        };
        Self {
            provider,
            call,
            schema,
        }
    }

    fn ours((provider, call): (&'static str, &'static Call)) -> Self {
        let Ok(schema) = Schema::of(call) else {
            unreachable!("the schema of {provider} can be used")
        };
        Self {
            provider,
            call,
            schema,
        }
    }
}

/// The providers whose events come by gRPC, with each of their calls.
fn calls() -> impl Iterator<Item = (&'static str, &'static Call)> {
    let providers = provider::ALL.into_iter();
    providers.flat_map(|provider| provider.calls.iter().map(|call| (provider.name, call)))
}

/// Ours, other names and numbers for the same, and one with everything.
static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    macro_rules! known {
        ($provider:literal, $proto:literal, $names:expr) => {
            Known::new($provider, include_str!($proto), $names)
        };
    }
    let others = [
        known!(
            "ppoppo",
            "../../core/testdata/wire/ppoppo_variant.proto",
            include_str!("../../core/testdata/wire/ppoppo_names.json")
        ),
        known!(
            "pushwoosh",
            "../../core/testdata/wire/pushwoosh_variant.proto",
            include_str!("../../core/testdata/wire/pushwoosh_names.json")
        ),
        known!("pushwoosh", "everything.proto", "{}"),
    ];
    calls().map(Known::ours).chain(others).collect()
});

pub fn check(data: &[u8]) {
    match data {
        [b't', data @ ..] => {
            let [names, proto, message] = crate::parts(data);
            text(
                &String::from_utf8_lossy(proto),
                &self::names(names),
                message,
            );
        }
        [b's', data @ ..] => {
            let [names, rest] = crate::parts(data);
            if let Some((length, rest)) = rest.split_first_chunk() {
                let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
                let (set, message) = rest.split_at(length);
                self::set(set, &self::names(names), message);
            }
        }
        [b'q', data @ ..] => crate::question::check(data),
        [which, data @ ..] => {
            let known = usize::from(*which) % KNOWN.len();
            if let Some(Known {
                provider,
                call,
                schema,
            }) = KNOWN.get(known)
            {
                message(provider, call, schema, data);
            }
        }
        [] => {}
    }
}

fn names(json: &[u8]) -> Names {
    serde_json::from_slice(json).unwrap_or_default()
}

fn text(proto: &str, names: &Names, message: &[u8]) {
    match compile(proto) {
        Ok(compiled) => {
            assert_eq!(compile(proto).as_ref(), Ok(&compiled));
            set(&compiled, names, message);
        }
        Err(error) => readable(&error.to_string()),
    }
}

fn set(set: &[u8], names: &Names, message: &[u8]) {
    for method in methods(set) {
        for (provider, call) in calls() {
            match Schema::new(call, set, &method, names) {
                Ok(schema) => {
                    let path = format!("/{}/", schema.service());
                    assert!(schema.path().starts_with(&path), "{path}");
                    let again = Schema::new(call, set, schema.path(), names);
                    assert!(again.is_ok(), "a schema's own path leads to it");
                    self::message(provider, call, &schema, message);
                }
                Err(error) => refused(&error),
            }
        }
    }
}

fn refused(error: &SchemaError) {
    readable(&error.to_string());
}

/// The paths of a set's methods, and of one that it does not have.
fn methods(set: &[u8]) -> Vec<String> {
    let set = FileDescriptorSet::decode(set).unwrap_or_default();
    let mut paths = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let package = file.package();
            let dot = if package.is_empty() { "" } else { "." };
            let service_name = service.name();
            let methods = service.method.iter();
            paths.extend(
                methods.map(|method| format!("{package}{dot}{service_name}/{}", method.name())),
            );
        }
    }
    paths.truncate(METHODS);
    paths.push("a.B/C".to_owned());
    paths
}

fn message(provider: &str, call: &Call, schema: &Schema, message: &[u8]) {
    let message = Bytes::copy_from_slice(message);
    let events: Vec<Decoded> = schema.events(message.clone()).collect();
    let again = schema.events(message.clone()).map(|event| event.json);
    assert!(
        events
            .iter()
            .map(|event| &event.json)
            .eq(&again.collect::<Vec<_>>()),
        "decoding depends on nothing else"
    );
    let undecoded: usize = events
        .iter()
        .map(|event| self::event(event, &message))
        .sum();
    assert!(undecoded <= message.len());
    let notice = schema.notice(&message);
    assert_eq!(notice, schema.notice(&message));
    if let Some(Notice::CursorExpired(said) | Notice::Unread(said)) = &notice {
        assert!(call.frame.is_some() && said.chars().count() <= LONGEST_NOTICE);
    }
    answered(call, schema, &events);
    normalized(provider, &events);
}

/// How many bytes were kept instead of being decoded.
fn event(event: &Decoded, message: &Bytes) -> usize {
    let Ok(Value::Object(fields)) = serde_json::from_slice(&event.json) else {
        unreachable!("{} is no object", String::from_utf8_lossy(&event.json))
    };
    let Some(error) = &event.error else {
        assert!(event.key.is_some(), "an event is answered");
        return 0;
    };
    readable(error);
    assert_eq!(fields.get("@error"), Some(&Value::from(error.as_str())));
    let evidence = fields.get("@undecodable").and_then(Value::as_str);
    let Ok(evidence) = BASE64_STANDARD.decode(evidence.unwrap_or("-")) else {
        unreachable!("what cannot be decoded is kept")
    };
    // An event may have come in several parts, which are put together.
    let mut came = message.iter();
    assert!(
        evidence.iter().all(|byte| came.any(|came| came == byte)),
        "the evidence is what came"
    );
    evidence.len()
}

/// Whatever its key, an event is answered; a stream is resumed from whatever cursor.
fn answered(call: &Call, schema: &Schema, events: &[Decoded]) {
    let keys = events.iter().filter_map(|event| event.key.as_ref());
    if let Role::Dialed {
        cursor, filters, ..
    } = call.role
    {
        for key in keys {
            let from = String::from_utf8_lossy(key.as_bytes());
            assert!(schema.request(&[(cursor, &from)]).is_ok());
            for filter in filters {
                // Another schema may lack the filter.
                let asked = schema.request(&[(cursor, &from), (filter, &from), (filter, &from)]);
                if let Err(error) = asked {
                    readable(&error);
                }
            }
        }
        return;
    }
    for refused in [None, Some("try again")] {
        let replies: Vec<Reply<'_>> = keys.clone().map(|key| Reply { key, refused }).collect();
        let messages = schema.replies(&replies);
        assert!(messages.len() <= replies.len());
        assert_eq!(messages.is_empty(), replies.is_empty());
        let sent: usize = messages.iter().map(Bytes::len).sum();
        let keys: usize = replies.iter().map(|reply| reply.key.as_bytes().len()).sum();
        assert!(sent >= keys, "every reply carries its key");
    }
}

/// Each event is one item of the body that it becomes; what could not be decoded ends
/// as rejected, with its evidence.
fn normalized(provider: &str, events: &[Decoded]) {
    let json = events.iter().map(|event| event.json.as_slice());
    let body = [&b"["[..], &json.collect::<Vec<_>>().join(&b','), b"]"].concat();
    let items = provider::find(provider)
        .map(|provider: &'static Provider| provider.normalize("s", &Settings::default(), &body));
    let Some(Ok(items)) = items else {
        unreachable!("events are a body of {provider}")
    };
    assert_eq!(items.len(), events.len());
    for (item, event) in items.iter().zip(events) {
        assert_eq!(item.bytes, event.json);
        assert!(item.event.is_err() || event.error.is_none());
        if let Ok(read) = &item.event {
            crate::event::check(read);
        }
    }
}
