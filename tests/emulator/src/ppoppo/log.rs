//! Every event that happened so far, in the order of its id, kept for replays.

use std::sync::{Arc, PoisonError, RwLock};

use tidings_proto::ppoppo::SendRequestEvent;
use tokio::sync::watch;

use crate::ledger::{Book, Entry, Sending};

/// An event's place in the log is its number in the book.
#[derive(Debug)]
pub(crate) struct Log {
    events: RwLock<Vec<Arc<SendRequestEvent>>>,
    book: Arc<Book>,
    /// How many events there are.
    length: watch::Sender<usize>,
    /// How many of them some stream has passed.
    passed: watch::Sender<usize>,
}

impl Log {
    pub(crate) fn new(book: Arc<Book>) -> Arc<Self> {
        Arc::new(Self {
            events: RwLock::default(),
            book,
            length: watch::Sender::new(0),
            passed: watch::Sender::new(0),
        })
    }

    /// Adds events, whose ids must be greater than all before.
    pub(super) fn append(&self, new: Vec<SendRequestEvent>) {
        let entry = |event: &SendRequestEvent| Entry::once(event.event_id.clone());
        self.book.open(new.iter().map(entry).collect());
        let mut events = self.events.write().unwrap_or_else(PoisonError::into_inner);
        events.extend(new.into_iter().map(Arc::new));
        self.length.send_replace(events.len());
    }

    pub(super) fn get(&self, place: usize) -> Option<Arc<SendRequestEvent>> {
        let events = self.events.read().unwrap_or_else(PoisonError::into_inner);
        events.get(place).map(Arc::clone)
    }

    /// The place of the first event after this one, or where it will be.
    pub(super) fn place_after(&self, event_id: &str) -> usize {
        let events = self.events.read().unwrap_or_else(PoisonError::into_inner);
        events.partition_point(|event| event.event_id.as_str() <= event_id)
    }

    /// The event at this place is about to be sent. The log outlives every stream and
    /// is replayed from wherever a caller resumes, so that nothing in it may be missing
    /// in the end: sending is what commits a receiver to it.
    pub(super) fn send(&self, place: usize) {
        if let Ok(number) = u32::try_from(place) {
            self.book.emit(&[number], Sending::Own);
            self.book.acknowledge(&[number]);
        }
    }

    /// A stream has sent or skipped every event before this place.
    pub(super) fn pass(&self, place: usize) {
        self.passed.send_if_modified(|passed| {
            let further = place > *passed;
            if further {
                *passed = place;
            }
            further
        });
    }

    /// To wait for events.
    pub(super) fn watch_length(&self) -> watch::Receiver<usize> {
        self.length.subscribe()
    }

    /// Returns when streams have passed this many events.
    pub(crate) async fn wait_passed(&self, events: usize) {
        let mut passed = self.passed.subscribe();
        // The sender is ours: it cannot be gone.
        let _ = passed.wait_for(|passed| *passed >= events).await;
    }
}
