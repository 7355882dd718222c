//! One stream from its first event to its last answer.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use ::http::Uri;
use futures_util::{StreamExt as _, future, stream};
use tidings_proto::pushwoosh::{EventStatus, event_streaming_client::EventStreamingClient};
use tokio::{sync::oneshot, time::timeout};
use tonic::{Request, Status, Streaming, metadata::AsciiMetadataValue, transport::Channel};

use super::IDLE;
use crate::{
    ledger::{Book, Sending},
    pushwoosh::chunk::Parcel,
};

/// What the page has a receiver answer; anything else is a failure.
const SUCCESS: &str = "Success";

/// What a stream leaves over for later ones.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// Answered, and sent again all the same.
    pub(super) repeated: Vec<Parcel>,
    /// Not answered, or not with success.
    pub(super) failed: Vec<Parcel>,
}

#[derive(Debug)]
pub(super) struct Exchange {
    client: EventStreamingClient<Channel>,
    authorization: AsciiMetadataValue,
    book: Arc<Book>,
}

impl Exchange {
    pub(super) fn new(
        channel: Channel,
        origin: Uri,
        authorization: AsciiMetadataValue,
        book: Arc<Book>,
    ) -> Self {
        Self {
            client: EventStreamingClient::with_origin(channel, origin),
            authorization,
            book,
        }
    }

    /// Sends these on a stream of their own, and reads the answers.
    pub(super) async fn run(&self, parcels: Vec<Parcel>, closes_early: bool) -> Rest {
        let book = Arc::clone(&self.book);
        let outgoing: Vec<_> = parcels
            .iter()
            .map(|parcel| (parcel.number, parcel.sending, parcel.event.clone()))
            .collect();
        let events = stream::iter(outgoing).map(move |(number, sending, event)| {
            book.emit(&[number], sending);
            event
        });
        // Dropped when all is answered, which ends the stream if it is still open.
        let (open, closed) = oneshot::channel::<()>();
        let hold = async move {
            if !closes_early {
                let _ = closed.await;
            }
            None
        };
        let events = events.chain(stream::once(hold).filter_map(future::ready));
        let mut request = Request::new(events);
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.authorization.clone());
        let mut waiting = Waiting::new(parcels);
        // A broken stream needs no word of its own: what it left unanswered failed.
        if let Ok(Ok(answers)) = timeout(IDLE, self.client.clone().stream_events(request)).await {
            let _ = self.read(answers.into_inner(), &mut waiting, open).await;
        }
        waiting.rest()
    }

    async fn read(
        &self,
        mut answers: Streaming<EventStatus>,
        waiting: &mut Waiting,
        open: oneshot::Sender<()>,
    ) -> Result<(), Status> {
        let mut open = Some(open);
        loop {
            if waiting.is_over() {
                // Closed by us, if it was not yet: the receiver then ends its half.
                open = None;
            }
            let idle = |_| Status::deadline_exceeded("no answer");
            let Some(answer) = timeout(IDLE, answers.message()).await.map_err(idle)?? else {
                drop(open);
                return Ok(());
            };
            if let Some(number) = waiting.answer(&answer) {
                self.book.acknowledge(&[number]);
            }
        }
    }
}

/// The events of a stream that have no answer yet.
struct Waiting {
    unanswered: HashMap<String, Parcel>,
    rest: Rest,
}

impl Waiting {
    fn new(parcels: Vec<Parcel>) -> Self {
        let by_uuid = |parcel: Parcel| (parcel.event.uuid.clone(), parcel);
        Self {
            unanswered: parcels.into_iter().map(by_uuid).collect(),
            rest: Rest::default(),
        }
    }

    fn is_over(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// Gives the number of the event that succeeded, if this answer is one's.
    fn answer(&mut self, answer: &EventStatus) -> Option<u32> {
        let Entry::Occupied(found) = self.unanswered.entry(answer.uuid.clone()) else {
            return None;
        };
        let mut parcel = found.remove();
        if answer.status != SUCCESS {
            self.rest.failed.push(retried(parcel));
            return None;
        }
        let number = parcel.number;
        if parcel.again {
            parcel.again = false;
            parcel.sending = Sending::Own;
            self.rest.repeated.push(parcel);
        }
        Some(number)
    }

    fn rest(mut self) -> Rest {
        let mut broken: Vec<Parcel> = self.unanswered.into_values().map(retried).collect();
        // A map has no order of its own.
        broken.sort_unstable_by_key(|parcel| parcel.number);
        self.rest.failed.extend(broken);
        self.rest
    }
}

fn retried(mut parcel: Parcel) -> Parcel {
    parcel.sending = Sending::Retry;
    parcel
}
