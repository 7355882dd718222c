//! gRPC pushes: a provider streams events to the worker, and every event gets a reply.
//!
//! - A reply is `Success` after the commit that contains its event; anything else is the
//!   reason why the sender should retry the event.
//! - Events are submitted in chunks, those that have a key as one array: see [`bodies`].
//! - The data of a stream that is in flight is bounded: its bytes hold a part of the
//!   budget from their arrival until their replies are on their way. Beyond that nothing is
//!   read, and HTTP/2 slows the sender down. Each source has a share of that part, and of
//!   the streams, so that one whose clients send halves or read nothing keeps no other out.
//! - A stream speaks its source's schema, as it was when the stream was opened: the
//!   source's own, or the one that its provider's call has by default.

mod admit;
mod bodies;
mod chunk;
mod replies;
mod sender;
mod streams;
mod turns;

use std::{net::SocketAddr, sync::Arc};

use actix::Recipient;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderValue};
use metrics::counter;
use tonic::{Status, metadata::MetadataValue};
use tracing::debug;
use uuid::Uuid;

#[cfg(test)]
pub(crate) use self::replies::KEY;
use self::{
    admit::{Admitted, Denied, UNAUTHORIZED},
    chunk::{gather, parts},
    replies::Replies,
    turns::Caller,
};
pub(crate) use self::{
    chunk::{ChunkLimits, Received},
    sender::Sender,
    streams::PushStreams,
    turns::Turns,
};
use crate::{
    admission::{
        budget::Budget,
        directory::{Directory, Lookup},
    },
    inbound::{
        peer::{Peer, Proxies},
        refusal::{Named, RECEIPT, Refusals, Refused},
    },
    pipeline::{batcher::Pipeline, headers::Headers},
    process::{drain::Drain, metric, receipt},
    sources::control::FindSource,
    wire,
};

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
    pub(crate) streams: PushStreams,
    /// Limit on concurrent queries for the source of a stream.
    pub(crate) turns: Turns,
    pub(crate) refusals: Refusals,
    pub(crate) proxies: Proxies,
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

/// Outcomes of a chunk, in the words of the metric.
pub(crate) const OUTCOMES: [&str; 2] = [COMMITTED, REFUSED];
const COMMITTED: &str = "committed";
const REFUSED: &str = "refused";

/// The words for why a stream is not opened, which are the reasons in the metric.
pub(crate) const CAUSES: [&str; 10] = [
    "disabled",
    "sources_unread",
    "takes_no_pushes",
    "too_many_calls",
    "too_many_streams",
    "too_many_streams_of_source",
    "unauthorized",
    "unknown_source",
    "unusable_schema",
    "wrong_method",
];

/// An open stream.
pub(crate) struct Opened<R> {
    pub(crate) sender: Arc<Sender>,
    /// The replies to its messages, which are made as they are read.
    pub(crate) replies: R,
}

impl Push {
    /// Opens a stream: finds its source, and reads nothing before that.
    pub(crate) async fn open<M>(
        self,
        target: &Target,
        headers: &HeaderMap,
        connection: Option<SocketAddr>,
        messages: M,
    ) -> Result<Opened<impl Stream<Item = Result<Bytes, Status>> + Send + use<M>>, Status>
    where
        M: Stream<Item = Result<Received, Status>> + Unpin + Send,
    {
        let authorization = headers.get(http::header::AUTHORIZATION);
        let caller = Caller::new(target, authorization.map(HeaderValue::as_bytes));
        let lines = |name: &'static str| {
            let values = headers.get_all(name).iter();
            values.map(HeaderValue::as_bytes)
        };
        let peer = connection.map(|connection| self.proxies.sender(connection, lines));
        let pairs = headers.iter();
        let mut headers = Headers::fold(pairs.map(|(k, v)| (k.as_str(), v.as_bytes())));
        if let Some(peer) = peer {
            headers.set_peer_address(peer.address);
        }
        let admitted = self.admit(target, &headers, &caller).await;
        match &admitted {
            Ok(_) => self.turns.note(caller, true),
            Err(denied) if denied.cause == UNAUTHORIZED => self.turns.note(caller, false),
            Err(_) => {}
        }
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
        let settle = {
            let sender = sender.clone();
            move |chunk| {
                let settled = tokio::spawn(sender.clone().settle(chunk));
                async move { settled.await.unwrap_or_else(|_| Replies::failed()) }
            }
        };
        // The replies of a chunk are made one after the other, as they are read.
        let replies = chunks
            .map(settle)
            .buffered(CHUNKS_IN_FLIGHT)
            .flat_map(stream::iter);
        Ok(Opened { sender, replies })
    }

    /// Counts and logs that a stream is not opened; the answer to its caller.
    fn deny(&self, target: &Target, peer: Option<Peer>, denied: Denied) -> Status {
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
}

/// The status with the receipt id in its metadata, as webhooks have it in a header.
fn receipted(mut status: Status, receipt: Uuid) -> Status {
    if let Ok(receipt) = MetadataValue::try_from(receipt.to_string()) {
        status.metadata_mut().insert(RECEIPT, receipt);
    }
    status
}
