//! gRPC pushes: a provider streams events to the worker, and every event gets a reply.
//!
//! - A reply is `Success` after the commit that contains its event; anything else is the
//!   reason why the sender should retry the event.
//! - Events are submitted in chunks, those that have a key as one array: see [`bodies`].
//! - The data of a stream that is in flight is bounded: its bytes hold a part of the
//!   budget from their arrival until their events are answered. Beyond that nothing is
//!   read, and HTTP/2 slows the sender down.
//! - A stream speaks its source's schema, as it was when the stream was opened: the
//!   source's own, or the one that its provider's call has by default.

mod bodies;
mod chunk;
mod sender;

use std::{net::SocketAddr, sync::Arc};

use actix::Recipient;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::HeaderMap;
use metrics::{counter, gauge};
use tidings_core::wire::Schema;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tonic::{Status, metadata::MetadataValue};
use tracing::{debug, warn};
use uuid::Uuid;

pub(crate) use self::chunk::{ChunkLimits, Received};
use self::{
    chunk::{gather, parts},
    sender::Sender,
};
use crate::{
    admission::{
        budget::Budget,
        directory::{Directory, Lookup},
    },
    inbound::refusal::{Named, RECEIPT, Refusals, Refused},
    pipeline::{batcher::Pipeline, headers::Headers},
    process::{
        drain::{Drain, InFlight},
        metric, receipt,
        seldom::Seldom,
    },
    sources::{control::FindSource, source::Source},
    wire,
};

/// The line that Postgres could not be asked for the source of a push. Whoever makes a call is
/// not known then.
static UNFOUND: Seldom = Seldom::new();
/// Limit on the chunks of one stream that are in flight.
const CHUNKS_IN_FLIGHT: usize = 4;

#[derive(Clone, Debug)]
pub(crate) struct Push {
    pub(crate) pipeline: Pipeline,
    pub(crate) directory: Directory,
    pub(crate) finder: Recipient<FindSource>,
    pub(crate) budget: Budget,
    pub(crate) drain: Drain,
    pub(crate) chunks: ChunkLimits,
    /// Limit on open streams.
    pub(crate) streams: Arc<Semaphore>,
    /// Limit on concurrent queries for the source of a stream, because anybody can call.
    pub(crate) questions: Arc<Semaphore>,
    pub(crate) refusals: Refusals,
}

/// Enough to keep a connection to Postgres busy, and few enough to leave time for others.
pub(crate) const QUESTIONS: usize = 32;

/// The parts of a call's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The source, if the path names one.
    pub(crate) source: Option<String>,
    /// `/package.Service/Method`
    pub(crate) method: String,
}

/// Why a stream is not opened.
#[derive(Debug)]
struct Denied {
    /// The word in the log and in the metric.
    cause: &'static str,
    status: Status,
    /// The source, where it was found.
    source: Option<Arc<str>>,
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

/// What a stream needs, once it may be opened.
struct Admitted {
    source: Arc<str>,
    schema: Arc<Schema>,
    open: Open,
}

impl Push {
    /// Opens a stream: finds its source, and returns the replies to its messages.
    pub(crate) async fn open<M>(
        self,
        target: &Target,
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
        messages: M,
    ) -> Result<impl Stream<Item = Result<Bytes, Status>> + Send + use<M>, Status>
    where
        M: Stream<Item = Result<Received, Status>> + Unpin + Send,
    {
        let pairs = headers.iter();
        let headers = Headers::fold(pairs.map(|(k, v)| (k.as_str(), v.as_bytes())));
        let admitted = self.admit(target, &headers).await;
        let Admitted {
            source,
            schema,
            open,
        } = admitted.map_err(|denied| self.deny(target, peer, denied))?;
        debug!(source = source.as_ref(), "a push stream is open");
        let parts = parts(messages, &schema);
        let sender = Arc::new(Sender {
            push: self,
            source,
            peer,
            schema,
            headers: headers.template(),
            _open: open,
        });
        let chunks = stream::unfold(Some(parts), {
            let (drain, limits) = (sender.push.drain.clone(), sender.push.chunks);
            move |parts| gather(parts, drain.clone(), limits)
        });
        // Each chunk is a task of its own, which ends in time even if nobody reads the
        // replies, because it holds a part of the shared budget.
        let settle = move |chunk| {
            let settled = tokio::spawn(sender.clone().settle(chunk));
            async move {
                let failed = |_| vec![Err(Status::internal("a part of the worker failed"))];
                settled.await.unwrap_or_else(failed)
            }
        };
        Ok(chunks
            .map(settle)
            .buffered(CHUNKS_IN_FLIGHT)
            .flat_map(stream::iter))
    }

    async fn admit(&self, target: &Target, headers: &Headers<'_>) -> Result<Admitted, Denied> {
        let source = match &target.source {
            Some(name) => self.named(name, headers).await?,
            None => self.find(headers, &target.method).await?,
        };
        let admitted = self.schema_of(&source, &target.method).and_then(|schema| {
            Ok(Admitted {
                source: source.name.clone(),
                schema,
                open: Open::new(&self.streams, &self.drain)?,
            })
        });
        admitted.map_err(|denied| Denied {
            source: Some(source.name.clone()),
            ..denied
        })
    }

    /// Counts and logs that a stream is not opened; the answer to its caller.
    fn deny(&self, target: &Target, peer: Option<SocketAddr>, denied: Denied) -> Status {
        let Denied {
            cause,
            status,
            source,
        } = denied;
        counter!(metric::PUSH_REFUSED, "reason" => cause).increment(1);
        let name = target.source.as_deref().unwrap_or_default();
        let known = source.or_else(|| match self.directory.peek(name) {
            Lookup::Known(source) if source.served_provider().is_some() => {
                Some(source.name.clone())
            }
            _ => None,
        });
        let receipt = receipt::id();
        self.refusals.tell(&Refused {
            what: "a push stream",
            receipt,
            source: match &known {
                Some(name) => Named::Configured(name),
                None => Named::Claimed(name),
            },
            peer,
            cause,
            reason: Some(status.message()),
        });
        receipted(status, receipt)
    }

    /// Whether this is the method of a provider's call, or of some source's own schema.
    pub(crate) fn takes(&self, method: &str) -> bool {
        wire::served().any(|(_, call)| call.method == method) || !self.sources_by(method).is_empty()
    }

    /// The sources whose events arrive by this method.
    fn sources_by(&self, method: &str) -> Vec<Arc<Source>> {
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
    async fn named(&self, name: &str, headers: &Headers<'_>) -> Result<Arc<Source>, Denied> {
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
                match self.ask(provider.name, Some(name), headers).await? {
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

    /// Which source of this provider accepts these headers: this one, if it is named.
    async fn ask(
        &self,
        provider: &'static str,
        name: Option<&str>,
        headers: &Headers<'_>,
    ) -> Result<Option<String>, Denied> {
        let asked = async {
            let turn = self.questions.clone().acquire_owned().await;
            let find = FindSource {
                provider,
                name: name.map(str::to_owned),
                headers: headers.to_json(),
                turn: turn.map_err(|_| unread())?,
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
    async fn find(&self, headers: &Headers<'_>, method: &str) -> Result<Arc<Source>, Denied> {
        let mut accepting = None;
        for provider in self.providers_by(method) {
            accepting = self.ask(provider, None, headers).await?;
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
    Denied::new("unauthorized", Status::unauthenticated(message))
}

/// The status with the receipt id in its metadata, as webhooks have it in a header.
fn receipted(mut status: Status, receipt: Uuid) -> Status {
    if let Ok(receipt) = MetadataValue::try_from(receipt.to_string()) {
        status.metadata_mut().insert(RECEIPT, receipt);
    }
    status
}

/// Counts a stream as open, and in flight, until it is dropped.
#[derive(Debug)]
struct Open {
    _place: OwnedSemaphorePermit,
    _in_flight: InFlight,
}

impl Open {
    fn new(streams: &Arc<Semaphore>, drain: &Drain) -> Result<Self, Denied> {
        let permit = streams.clone().try_acquire_owned();
        let permit = permit.map_err(|_| {
            let status = Status::resource_exhausted("too many push streams");
            Denied::new("too_many_streams", status)
        })?;
        gauge!(metric::PUSH_STREAMS).increment(1.0);
        Ok(Self {
            _place: permit,
            _in_flight: drain.enter(),
        })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        gauge!(metric::PUSH_STREAMS).decrement(1.0);
    }
}
