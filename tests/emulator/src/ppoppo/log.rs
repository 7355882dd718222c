//! Every event that happened so far, in the order in which they were made, kept for
//! replays.
//!
//! Some events may come late: made by another host, they join the log only when a stream
//! resumes from a place behind them. Who resumes exactly there never sees them.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use tidings_proto::ppoppo::SendRequestEvent;
use tokio::sync::watch;

use super::liberal;
use crate::{
    draw::Draw,
    faults::{Faults, Part},
    ledger::{Book, Entry, Sending},
    ulid,
};

/// One event in so many comes late.
const LATE_EVERY: usize = 200;

/// The last events come in time, so that a stream goes on after each late one.
const IN_TIME: usize = LATE_EVERY / 2;

/// What is kept in the log, and in which form.
#[derive(Debug, Default)]
pub(crate) struct Manner {
    /// Draws the forms, where they are liberal.
    pub(crate) forms: Option<Draw>,
    /// How many events there will be, where some of them come late.
    pub(crate) late_of: Option<u32>,
    pub(crate) faults: Arc<Faults>,
}

#[derive(Clone, Debug)]
pub(super) struct Logged {
    pub(super) event: Arc<SendRequestEvent>,
    /// The bits of the ULID that it was made with, whatever became of its id.
    pub(super) order: u128,
}

#[derive(Debug, Default)]
struct Pages {
    events: Vec<Logged>,
    forms: Option<Draw>,
    /// The order of the events whose ids do not tell it.
    disguised: HashMap<String, u128>,
}

/// An event's place in the log is its number in the book.
#[derive(Debug)]
pub(crate) struct Log {
    pages: RwLock<Pages>,
    book: Arc<Book>,
    /// How many events there are.
    length: watch::Sender<usize>,
    /// How many of them some stream has passed.
    passed: watch::Sender<usize>,
    /// Before this place nothing comes late.
    timely_from: usize,
    /// Late events before this place have come.
    come: AtomicUsize,
    faults: Arc<Faults>,
}

impl Log {
    pub(crate) fn new(book: Arc<Book>, manner: Manner) -> Arc<Self> {
        let late_of = manner
            .late_of
            .and_then(|events| usize::try_from(events).ok());
        Arc::new(Self {
            pages: RwLock::new(Pages {
                forms: manner.forms,
                ..Pages::default()
            }),
            book,
            length: watch::Sender::new(0),
            passed: watch::Sender::new(0),
            timely_from: late_of.unwrap_or_default().saturating_sub(IN_TIME),
            come: AtomicUsize::new(0),
            faults: manner.faults,
        })
    }

    /// Adds events, whose ids must be ULIDs greater than all before.
    pub(super) fn append(&self, new: Vec<SendRequestEvent>) {
        let mut pages = self.pages.write().unwrap_or_else(PoisonError::into_inner);
        let pages = &mut *pages;
        let mut entries = Vec::with_capacity(new.len());
        for made in new {
            let order = ulid::decode(&made.event_id).unwrap_or_default();
            let event = match &mut pages.forms {
                None => made,
                Some(draw) => liberal::disguise(made, draw),
            };
            if ulid::decode(&event.event_id).is_none() {
                pages.disguised.insert(event.event_id.clone(), order);
            }
            entries.push(Entry::once(event.event_id.clone()));
            let event = Arc::new(event);
            pages.events.push(Logged { event, order });
        }
        self.book.open(entries);
        self.length.send_replace(pages.events.len());
    }

    pub(super) fn get(&self, place: usize) -> Option<Logged> {
        let pages = self.pages.read().unwrap_or_else(PoisonError::into_inner);
        pages.events.get(place).cloned()
    }

    /// The place in the order of events that a cursor means, known or not.
    pub(super) fn order_of(&self, cursor: &str) -> Option<u128> {
        let pages = self.pages.read().unwrap_or_else(PoisonError::into_inner);
        let known = pages.disguised.get(cursor).copied();
        known.or_else(|| ulid::decode(cursor))
    }

    /// The place of the first event after this one, or where it will be.
    pub(super) fn place_after(&self, order: u128) -> usize {
        let pages = self.pages.read().unwrap_or_else(PoisonError::into_inner);
        pages.events.partition_point(|event| event.order <= order)
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

    /// Whether the event at this place has not come yet.
    pub(super) fn is_late(&self, place: usize) -> bool {
        self.comes_late(place) && place >= self.come.load(Ordering::Relaxed)
    }

    fn comes_late(&self, place: usize) -> bool {
        place < self.timely_from && place % LATE_EVERY == LATE_EVERY / 2
    }

    /// A stream begins: the late events that streams have passed come now. A receiver is
    /// committed to them whether or not it looks back.
    pub(super) fn let_late_come(&self) {
        let passed = *self.passed.borrow();
        let come = self.come.fetch_max(passed, Ordering::Relaxed);
        for place in (come..passed).filter(|&place| self.comes_late(place)) {
            self.send(place);
            self.faults.happened(Part::Disorder);
        }
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
