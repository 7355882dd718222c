//! Sources as Postgres lists them, each with its own schema if it has one.

use std::{collections::HashMap, fmt, sync::Arc};

use serde_json::Value;
use tidings_core::{
    Provider, provider,
    wire::{Call, Names, Question, Schema},
};

use crate::wire;

/// A row of `tidings.source`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Source {
    /// Another one of the same name, added after it was dropped, is another source.
    pub(crate) id: i32,
    pub(crate) name: Arc<str>,
    pub(crate) provider: String,
    pub(crate) options: Value,
    pub(crate) enabled: bool,
    /// Instead of the one that its provider's call has by default.
    pub(crate) schema: Option<OwnSchema>,
    /// Names that it had, and no other source has since. Requests under them are its own.
    pub(crate) former_names: Vec<Arc<str>>,
}

pub(crate) type Sources = HashMap<Arc<str>, Arc<Source>>;

impl Source {
    /// `None` if only a newer worker knows its provider.
    fn provider(&self) -> Option<&'static Provider> {
        provider::find(&self.provider)
    }

    pub(crate) fn is_dialed(&self) -> bool {
        self.provider().is_some_and(Provider::is_dialed)
    }

    /// Whether its provider sends an event again only after a 5xx.
    pub(crate) fn needs_5xx(&self) -> bool {
        self.provider()
            .is_some_and(|provider| provider.gives_up_after_4xx)
    }

    /// Whether its requests are signed, or may be, because only a newer worker knows its
    /// provider.
    pub(crate) fn signs_body(&self) -> bool {
        self.provider().is_none_or(Provider::signs_body)
    }

    /// Whether it accepts requests from some addresses alone.
    pub(crate) fn has_allowed_addresses(&self) -> bool {
        self.options.get("allow_from").is_some()
    }

    /// The call by which its events come, if they come by gRPC.
    pub(crate) fn call(&self) -> Option<&'static Call> {
        self.provider()?.call(&self.options)
    }

    /// Its provider, if that calls the worker by gRPC.
    pub(crate) fn served_provider(&self) -> Option<&'static Provider> {
        self.provider()
            .filter(|_| self.call().is_some_and(Call::is_served))
    }

    /// Whether its events come by the method of this path.
    pub(crate) fn is_called(&self, path: &str) -> bool {
        match &self.schema {
            Some(own) => own.is_called(path),
            None => self.call().is_some_and(|call| call.method == path),
        }
    }

    /// The schema that its events have by gRPC: its own, or that of its provider's call.
    pub(crate) fn spoken(&self) -> Result<Arc<Schema>, String> {
        if let Some(own) = &self.schema {
            return own.usable.as_ref().clone();
        }
        let call = self.call().ok_or_else(|| not_by_grpc(&self.provider))?;
        wire::schema(call).map_err(|error| error.to_string())
    }

    /// The question by which missing events of its stream are made up for, or why there is
    /// none.
    pub(crate) fn question(&self) -> Result<Arc<Question>, String> {
        let provider = &self.provider;
        let call = self
            .call()
            .filter(|_| self.is_dialed())
            .ok_or_else(|| format!("{provider} cannot be asked for events that are missing"))?;
        match wire::question(call) {
            Some(question) => question.map_err(|error| error.to_string()),
            None if call.stream.is_empty() => Err(format!(
                "{provider} cannot be asked for events that are missing"
            )),
            None => Err(format!(
                "{provider} cannot be asked for events that are missing in the stream {}",
                call.stream
            )),
        }
    }

    /// Whether the worker that follows its stream is to ask that question by itself.
    pub(crate) fn reconciles(&self) -> bool {
        self.options.get("reconcile").and_then(Value::as_bool) != Some(false)
    }

    /// Whether some worker follows its stream.
    pub(crate) fn is_followed(&self) -> bool {
        self.enabled && self.is_dialed()
    }
}

/// What is known of the database and its sources at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) database: Database,
    /// `None` until they have been read once. Afterwards the last ones read, also
    /// while Postgres is away: a short outage is ridden out, not answered at once.
    pub(crate) sources: Option<Arc<Sources>>,
}

impl Snapshot {
    /// The source to which requests under this name belong. `None` also if the sources have not
    /// been read yet.
    pub(crate) fn addressed(&self, name: &str) -> Option<&Arc<Source>> {
        let sources = self.sources.as_ref()?;
        let had_it = |source: &&Arc<Source>| source.former_names.iter().any(|had| **had == *name);
        sources.get(name).or_else(|| sources.values().find(had_it))
    }

    /// They were read, and there is none: perhaps those of a database that is being
    /// restored are still to come, so it says nothing of what a source's webhooks are worth.
    pub(crate) fn lists_none(&self) -> bool {
        self.sources
            .as_ref()
            .is_some_and(|sources| sources.is_empty())
    }

    /// Postgres is there and has sources: that it does not know one of them is worth
    /// something.
    pub(crate) fn is_telling(&self) -> bool {
        self.database == Database::Up && self.sources.is_some() && !self.lists_none()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Database {
    Up,
    Down(String),
}

impl Default for Database {
    fn default() -> Self {
        Self::Down("not connected yet".to_owned())
    }
}

/// A schema as `tidings.source_schema` has it.
#[derive(Clone, PartialEq)]
pub(crate) struct Described {
    pub(crate) method: String,
    pub(crate) descriptor_set: Vec<u8>,
    pub(crate) names: Value,
}

impl fmt::Debug for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Described")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// A source's own schema: what it was made of, and what became of it. It is parsed
/// once. One that cannot be used is kept as the reason why.
#[derive(Clone, Debug)]
pub(crate) struct OwnSchema {
    described: Arc<Described>,
    call: Option<&'static Call>,
    pub(crate) usable: Arc<Result<Arc<Schema>, String>>,
}

fn not_by_grpc(provider: &str) -> String {
    format!("the events of {provider} do not come by gRPC")
}

impl PartialEq for OwnSchema {
    fn eq(&self, other: &Self) -> bool {
        let is_same = Arc::ptr_eq(&self.described, &other.described);
        self.call == other.call && (is_same || self.described == other.described)
    }
}

impl OwnSchema {
    pub(crate) fn new(
        provider: &str,
        options: &Value,
        described: Described,
        before: Option<&Self>,
    ) -> Self {
        let call = provider::find(provider).and_then(|provider| provider.call(options));
        let is_same = |before: &&Self| before.call == call && *before.described == described;
        if let Some(before) = before.filter(is_same) {
            return before.clone();
        }
        let parsed = match call {
            Some(call) => parse(call, &described).map(Arc::new),
            None => Err(not_by_grpc(provider)),
        };
        Self {
            call,
            usable: Arc::new(parsed.map_err(|reason| {
                format!("its schema cannot be used: {reason} (see tidings.set_source_schema)")
            })),
            described: Arc::new(described),
        }
    }

    /// Whether this is its method's path, also while it cannot be used.
    pub(crate) fn is_called(&self, path: &str) -> bool {
        let bare = |path: &str| path.trim().trim_start_matches('/').to_owned();
        bare(&self.described.method) == bare(path)
    }
}

fn parse(call: &Call, described: &Described) -> Result<Schema, String> {
    let names: Names = serde_json::from_value(described.names.clone())
        .map_err(|_| "names is not an object of texts".to_owned())?;
    Schema::new(call, &described.descriptor_set, &described.method, &names)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const METHOD: &str = "/pcs.external.v1.MessageService/StreamSendRequestEvents";

    fn described(names: Value) -> Described {
        Described {
            method: METHOD.to_owned(),
            descriptor_set: tidings_proto::DESCRIPTOR_SET.to_vec(),
            names,
        }
    }

    #[test]
    fn an_unchanged_schema_is_not_parsed_again() {
        let schema = OwnSchema::new("ppoppo", &json!({}), described(json!({})), None);
        assert_eq!(schema.usable.as_ref().as_ref().unwrap().path(), METHOD);
        let same = OwnSchema::new("ppoppo", &json!({}), described(json!({})), Some(&schema));
        assert!(Arc::ptr_eq(&schema.usable, &same.usable));
        assert_eq!(schema, same);
        let names = json!({"occurred_at": "when"});
        let other = OwnSchema::new("ppoppo", &json!({}), described(names), Some(&schema));
        assert!(!Arc::ptr_eq(&schema.usable, &other.usable));
        assert_ne!(schema, other);
    }

    #[test]
    fn a_schema_that_cannot_be_used_says_why() {
        let why = |provider: &str, described| {
            let schema = OwnSchema::new(provider, &json!({}), described, None);
            schema.usable.as_ref().as_ref().unwrap_err().clone()
        };
        let names = why("ppoppo", described(json!({"nothing": "something"})));
        assert!(names.contains("nothing") && names.contains("set_source_schema"));
        assert!(why("ppoppo", described(json!([]))).contains("names"));
        assert!(why("arpoone", described(json!({}))).contains("gRPC"));
        let mut broken = described(json!({}));
        broken.descriptor_set = vec![0xff];
        assert!(why("ppoppo", broken).contains("cannot be read"));
    }
}
