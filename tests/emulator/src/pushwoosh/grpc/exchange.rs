//! One stream from its first event to its last answer.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use futures_util::{Stream, StreamExt as _, future, stream};
use tidings_proto::pushwoosh::{Event, EventStatus};
use tokio::{sync::oneshot, time::timeout};
use tonic::Status;

use super::{
    IDLE,
    peer::{Answers, Peer},
};
use crate::{
    faults::{Faults, Part},
    ledger::{Book, Sending},
    mix::Provider,
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
    peer: Peer,
    book: Arc<Book>,
    faults: Arc<Faults>,
}

impl Exchange {
    pub(super) fn new(peer: Peer, book: Arc<Book>, faults: Arc<Faults>) -> Self {
        Self { peer, book, faults }
    }

    /// Sends these on a stream of their own, and reads the answers.
    pub(super) async fn run(&self, parcels: Vec<Parcel>, closes_early: bool) -> Rest {
        // Dropped when all is answered, which ends the stream if it is still open.
        let (open, closed) = oneshot::channel::<()>();
        let hold = async move {
            if !closes_early {
                let _ = closed.await;
            }
            None
        };
        let events = self.emit(&parcels);
        let events = events.chain(stream::once(hold).filter_map(future::ready));
        let mut waiting = Waiting::new(parcels);
        // A broken stream needs no word of its own: what it left unanswered failed.
        if let Ok(Ok(answers)) = timeout(IDLE, self.peer.call(events)).await {
            let _ = self.read(answers, &mut waiting, open).await;
        }
        waiting.rest()
    }

    /// Sends these, and closes the connection when answers come, without having read any.
    pub(super) async fn lose(&self, parcels: Vec<Parcel>) -> Rest {
        let events = self.emit(&parcels).chain(stream::pending());
        if let Ok(Ok(mut answers)) = timeout(IDLE, self.peer.call_apart(events)).await
            && let Ok(Some(Ok(answer))) = timeout(IDLE, answers.next()).await
            && answer.status == SUCCESS
        {
            self.faults
                .happened(Part::LostAnswer(Provider::PushwooshGrpc));
        }
        Waiting::new(parcels).rest()
    }

    /// Each event, in the book just before it goes out.
    fn emit(&self, parcels: &[Parcel]) -> impl Stream<Item = Event> + Send + use<> {
        let book = Arc::clone(&self.book);
        let outgoing: Vec<_> = parcels
            .iter()
            .map(|parcel| (parcel.number, parcel.sending, parcel.event.clone()))
            .collect();
        stream::iter(outgoing).map(move |(number, sending, event)| {
            book.emit(&[number], sending);
            event
        })
    }

    async fn read(
        &self,
        mut answers: Answers,
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
            let Some(answer) = timeout(IDLE, answers.next()).await.map_err(idle)? else {
                drop(open);
                return Ok(());
            };
            let answer = answer?;
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
