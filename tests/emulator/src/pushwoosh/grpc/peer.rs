//! Who is called: events go in, answers come out, whichever schema is spoken.

use std::pin::Pin;

use ::http::Uri;
use futures_util::{Stream, StreamExt as _, stream};
use tidings_proto::pushwoosh::{Event, EventStatus, event_streaming_client::EventStreamingClient};
use tonic::{
    Request, Status,
    metadata::AsciiMetadataValue,
    transport::{Channel, Endpoint},
};

use crate::{
    pushwoosh::variant::{self, hits},
    schema::Schema,
};

/// What a peer answers, one event after the other.
pub(super) type Answers = Pin<Box<dyn Stream<Item = Result<EventStatus, Status>> + Send>>;

/// How many events stand in one message of the variant, at most.
const BATCH: usize = 50;

#[derive(Debug)]
pub(super) struct Peer {
    endpoint: Endpoint,
    /// Connects when first used, and again whenever its connection is gone.
    channel: Channel,
    origin: Uri,
    authorization: AsciiMetadataValue,
    schema: Schema,
}

impl Peer {
    pub(super) fn new(
        endpoint: Endpoint,
        origin: Uri,
        authorization: AsciiMetadataValue,
        schema: Schema,
    ) -> Self {
        Self {
            channel: endpoint.connect_lazy(),
            endpoint,
            origin,
            authorization,
            schema,
        }
    }

    /// A call on the connection that all share.
    pub(super) async fn call(
        &self,
        events: impl Stream<Item = Event> + Send + 'static,
    ) -> Result<Answers, Status> {
        self.call_on(self.channel.clone(), events).await
    }

    /// A call on a connection of its own, which is gone with the answers.
    pub(super) async fn call_apart(
        &self,
        events: impl Stream<Item = Event> + Send + 'static,
    ) -> Result<Answers, Status> {
        self.call_on(self.endpoint.connect_lazy(), events).await
    }

    async fn call_on(
        &self,
        channel: Channel,
        events: impl Stream<Item = Event> + Send + 'static,
    ) -> Result<Answers, Status> {
        let origin = self.origin.clone();
        match self.schema {
            Schema::Documented => {
                let mut client = EventStreamingClient::with_origin(channel, origin);
                let answers = client.stream_events(self.request(events)).await?;
                Ok(Box::pin(answers.into_inner()))
            }
            Schema::Variant => {
                let mut client =
                    hits::hit_service_client::HitServiceClient::with_origin(channel, origin);
                let batches = events.ready_chunks(BATCH).enumerate().map(variant::batch);
                let answers = client.deliver_hits(self.request(batches)).await?;
                let answers = answers.into_inner().flat_map(|answer| {
                    stream::iter(match answer {
                        Ok(answer) => variant::answers(answer).map(Ok).collect(),
                        Err(status) => vec![Err(status)],
                    })
                });
                Ok(Box::pin(answers))
            }
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.authorization.clone());
        request
    }
}
