//! The decision whether a stream may be opened: which source it is for, and whether its caller
//! has the source's authorization.

use std::sync::Arc;

use tidings_core::wire::Schema;
use tokio::time::timeout;
use tonic::Status;
use tracing::warn;

use super::{Push, Target, streams, streams::PushStreams, turns::Caller};
use crate::{
    admission::{budget::Spent, directory::Lookup},
    pipeline::headers::Headers,
    process::{
        drain::{Drain, InFlight},
        seldom::Seldom,
    },
    sources::{control::FindSource, source::Source},
    wire,
};

/// The line that Postgres could not be asked for the source of a push. Whoever makes a call is
/// not known then.
static UNFOUND: Seldom = Seldom::new();
/// The cause of a call that has no source's authorization.
pub(super) const UNAUTHORIZED: &str = "unauthorized";

/// The reason why a stream is not opened.
#[derive(Debug)]
pub(super) struct Denied {
    /// The word in the log and in the metric.
    pub(super) cause: &'static str,
    pub(super) status: Status,
    /// The source, where it was found.
    pub(super) source: Option<Arc<str>>,
}

impl Denied {
    fn new(cause: &'static str, status: Status) -> Self {
        Self {
            cause,
            status,
            source: None,
        }
    }
}

/// The parts that a stream needs, once it may be opened.
pub(super) struct Admitted {
    pub(super) source: Arc<str>,
    pub(super) schema: Arc<Schema>,
    pub(super) open: Open,
}

impl Push {
    pub(super) async fn admit(
        &self,
        target: &Target,
        headers: &Headers<'_>,
        caller: &Caller,
    ) -> Result<Admitted, Denied> {
        let source = match &target.source {
            Some(name) => self.named(name, headers, caller).await?,
            None => self.find(headers, &target.method, caller).await?,
        };
        let admitted = self.schema_of(&source, &target.method).and_then(|schema| {
            Ok(Admitted {
                source: source.name.clone(),
                schema,
                open: Open::new(&self.streams, &source.name, &self.drain)?,
            })
        });
        admitted.map_err(|denied| Denied {
            source: Some(source.name.clone()),
            ..denied
        })
    }

    /// The sources whose events arrive by this method.
    pub(super) fn sources_by(&self, method: &str) -> Vec<Arc<Source>> {
        let sources = self.directory.sources().unwrap_or_default();
        let by_method = sources
            .values()
            .filter(|source| source.served_provider().is_some() && source.is_called(method));
        by_method.cloned().collect()
    }

    /// The providers that may call this method: those of sources whose own schema has it,
    /// and then the one whose call it is by default.
    fn providers_by(&self, method: &str) -> Vec<&'static str> {
        let mut providers: Vec<&str> = Vec::new();
        let sources = self.directory.sources().unwrap_or_default();
        let is_own = |source: &&Arc<Source>| source.schema.is_some() && source.is_called(method);
        let own = sources.values().filter(is_own);
        let own = own.filter_map(|source| source.served_provider());
        let known = wire::served().filter(|(_, call)| call.method == method);
        for provider in own.chain(known.map(|(provider, _)| provider)) {
            if !providers.contains(&provider.name) {
                providers.push(provider.name);
            }
        }
        providers
    }

    fn schema_of(&self, source: &Source, method: &str) -> Result<Arc<Schema>, Denied> {
        let schema = source.spoken().map_err(|reason| {
            Denied::new("unusable_schema", Status::failed_precondition(reason))
        })?;
        if schema.path() != method {
            let status = Status::failed_precondition(format!(
                "the events of this source come by {}, not by {method}: see tidings.set_source_schema",
                schema.path()
            ));
            return Err(Denied::new("wrong_method", status));
        }
        Ok(schema)
    }

    /// The source that the path names, if the caller has its authorization. Each event is
    /// verified anyway, but an open stream counts towards a limit even before its first
    /// event.
    async fn named(
        &self,
        name: &str,
        headers: &Headers<'_>,
        caller: &Caller,
    ) -> Result<Arc<Source>, Denied> {
        match self.directory.find(name).await {
            Lookup::Known(source) => {
                let Some(provider) = source.served_provider() else {
                    return Err(Denied::new(
                        "takes_no_pushes",
                        Status::not_found("this source takes no gRPC pushes"),
                    ));
                };
                if !source.enabled {
                    return Err(Denied::new(
                        "disabled",
                        Status::unavailable("this source is disabled"),
                    ));
                }
                match self.ask(provider.name, Some(name), headers, caller).await? {
                    Some(_) => Ok(source),
                    None => Err(unauthorized("this source has another authorization")),
                }
            }
            Lookup::Unknown => Err(Denied::new(
                "unknown_source",
                Status::not_found("unknown source"),
            )),
            Lookup::Unread => Err(unread()),
        }
    }

    /// The source of this provider that accepts these headers: the one of this name, if there
    /// is a name.
    async fn ask(
        &self,
        provider: &'static str,
        name: Option<&str>,
        headers: &Headers<'_>,
        caller: &Caller,
    ) -> Result<Option<String>, Denied> {
        let asked = async {
            let turn = self.turns.turn(caller).await;
            let find = FindSource {
                provider,
                name: name.map(str::to_owned),
                headers: headers.to_json(),
                turn: turn.ok_or_else(|| {
                    let status = Status::unavailable("too many calls wait: try again");
                    Denied::new("too_many_calls", status)
                })?,
            };
            self.finder.send(find).await.map_err(|_| unread())
        };
        match timeout(self.pipeline.patience(), asked).await {
            Ok(Ok(Ok(found))) => Ok(found),
            Ok(Ok(Err(reason))) => {
                if let Some(suppressed) = UNFOUND.pass() {
                    warn!(reason, suppressed, "cannot find the source of a push");
                }
                Err(unread())
            }
            Ok(Err(denied)) => Err(denied),
            Err(_) => Err(unread()),
        }
    }

    /// The source that has this authorization, and among several the one whose events
    /// arrive by this method.
    async fn find(
        &self,
        headers: &Headers<'_>,
        method: &str,
        caller: &Caller,
    ) -> Result<Arc<Source>, Denied> {
        let mut accepting = None;
        for provider in self.providers_by(method) {
            accepting = self.ask(provider, None, headers, caller).await?;
            if accepting.is_some() {
                break;
            }
        }
        let Some(name) = accepting else {
            return Err(unauthorized("no enabled source has this authorization"));
        };
        let Lookup::Known(found) = self.directory.find(&name).await else {
            return Err(unread());
        };
        if found.is_called(method) {
            return Ok(found);
        }
        // The secret of that source is checked with every event, as if the path had named
        // it.
        let mut others = self.sources_by(method);
        others.retain(|source| source.enabled);
        match (others.pop(), others.is_empty()) {
            (Some(only), true) => Ok(only),
            _ => Ok(found),
        }
    }
}

fn unread() -> Denied {
    let status = Status::unavailable("the sources cannot be read: try again");
    Denied::new("sources_unread", status)
}

fn unauthorized(message: &str) -> Denied {
    Denied::new(UNAUTHORIZED, Status::unauthenticated(message))
}

/// Counts a stream as open, and in flight, until it is dropped.
#[derive(Debug)]
pub(super) struct Open {
    _place: streams::Place,
    _in_flight: InFlight,
}

impl Open {
    fn new(streams: &PushStreams, source: &Arc<str>, drain: &Drain) -> Result<Self, Denied> {
        let place = streams.enter(source).map_err(|spent| match spent {
            Spent::Share => Denied::new(
                "too_many_streams_of_source",
                Status::resource_exhausted("too many push streams of this source"),
            ),
            Spent::Budget => Denied::new(
                "too_many_streams",
                Status::resource_exhausted("too many push streams"),
            ),
        })?;
        Ok(Self {
            _place: place,
            _in_flight: drain.enter(),
        })
    }
}
