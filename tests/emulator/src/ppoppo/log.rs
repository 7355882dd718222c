//! All entries so far, in the order in which they were made, and how many can be replayed.
//!
//! Some entries may come late: made by another host, they join the log only when a stream
//! resumes from a place behind them. Who resumes exactly there never sees them.

use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::watch;

use crate::{
    draw::Draw,
    faults::{Faults, Part},
    ledger::{Book, Entry, Sending},
    ulid,
};

/// One entry in so many comes late.
const LATE_EVERY: usize = 200;

/// The last entries come in time, so that a stream goes on after each late one.
const IN_TIME: usize = LATE_EVERY / 2;

/// An entry of a log.
pub(crate) trait Content: Clone + Debug + Send + Sync + 'static {
    /// The id, by which a stream is resumed; a ULID when the entry is made.
    fn id(&self) -> &str;

    /// Changes the entry into another form. Its id stays unique.
    fn disguise(&mut self, draw: &mut Draw);
}

/// What is kept in the log, in which form, and for how long.
#[derive(Debug, Default)]
pub(crate) struct Manner {
    /// Draws the forms, where they are liberal.
    pub(crate) forms: Option<Draw>,
    /// How many entries there will be, where some of them come late.
    pub(crate) late_of: Option<u32>,
    /// How many of the newest entries are replayed; all of them if absent.
    pub(crate) window: Option<u32>,
    pub(crate) faults: Arc<Faults>,
}

#[derive(Clone, Debug)]
pub(super) struct Logged<T> {
    pub(super) content: Arc<T>,
    /// The bits of the ULID that it was made with, whatever became of its id.
    pub(super) order: u128,
}

#[derive(Debug)]
struct Pages<T> {
    entries: Vec<Logged<T>>,
    forms: Option<Draw>,
    /// The order of the entries whose ids do not tell it.
    disguised: HashMap<String, u128>,
}

/// An entry's place in the log is its number in the book.
#[derive(Debug)]
pub(crate) struct Log<T> {
    pages: RwLock<Pages<T>>,
    book: Arc<Book>,
    window: usize,
    /// How many entries there are.
    length: watch::Sender<usize>,
    /// How many of them some stream has passed.
    passed: watch::Sender<usize>,
    /// How many of them a caller has confirmed by its cursor.
    confirmed: AtomicUsize,
    /// Whether a stream has begun.
    followed: watch::Sender<bool>,
    /// Before this place nothing comes late.
    timely_from: usize,
    /// Late entries before this place have come.
    come: AtomicUsize,
    faults: Arc<Faults>,
}

impl<T: Content> Log<T> {
    pub(crate) fn new(book: Arc<Book>, manner: Manner) -> Arc<Self> {
        let number = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let late_of = manner.late_of.map_or(0, number);
        Arc::new(Self {
            pages: RwLock::new(Pages {
                entries: Vec::new(),
                forms: manner.forms,
                disguised: HashMap::new(),
            }),
            book,
            window: manner.window.map_or(usize::MAX, number),
            length: watch::Sender::new(0),
            passed: watch::Sender::new(0),
            confirmed: AtomicUsize::new(0),
            followed: watch::Sender::new(false),
            timely_from: late_of.saturating_sub(IN_TIME),
            come: AtomicUsize::new(0),
            faults: manner.faults,
        })
    }

    /// Adds entries, whose ids must be ULIDs greater than all before.
    pub(super) fn append(&self, new: Vec<T>) {
        let mut pages = self.pages.write().unwrap_or_else(PoisonError::into_inner);
        let pages = &mut *pages;
        let mut lines = Vec::with_capacity(new.len());
        for mut content in new {
            let order = ulid::decode(content.id()).unwrap_or_default();
            if let Some(draw) = &mut pages.forms {
                content.disguise(draw);
            }
            if ulid::decode(content.id()).is_none() {
                pages.disguised.insert(content.id().to_owned(), order);
            }
            lines.push(Entry::once(content.id().to_owned()));
            let content = Arc::new(content);
            pages.entries.push(Logged { content, order });
        }
        self.book.open(lines);
        self.length.send_replace(pages.entries.len());
    }

    pub(super) fn get(&self, place: usize) -> Option<Logged<T>> {
        self.pages().entries.get(place).cloned()
    }

    /// The place in the order of entries that a cursor means, known or not.
    pub(super) fn order_of(&self, cursor: &str) -> Option<u128> {
        let known = self.pages().disguised.get(cursor).copied();
        known.or_else(|| ulid::decode(cursor))
    }

    /// The place of the first entry after this one, or where it will be.
    pub(super) fn place_after(&self, order: u128) -> usize {
        let pages = self.pages();
        pages.entries.partition_point(|entry| entry.order <= order)
    }

    /// Where the next entry will be.
    pub(super) fn live_edge(&self) -> usize {
        *self.length.borrow()
    }

    /// Whether the entry at this place can no longer be replayed.
    pub(super) fn has_dropped(&self, place: usize) -> bool {
        place < self.live_edge().saturating_sub(self.window)
    }

    /// The entry at this place is about to be sent. It is replayed to whoever resumes
    /// before it, so that it may not be missing in the end: sending is what commits a
    /// receiver to it, until [`Log::skip`].
    pub(super) fn send(&self, place: usize) {
        if let Ok(number) = u32::try_from(place) {
            self.book.emit(&[number], Sending::Own);
            self.book.acknowledge(&[number]);
        }
    }

    /// A caller's cursor says that it has every entry before this place.
    pub(super) fn confirm(&self, place: usize) {
        self.confirmed.fetch_max(place, Ordering::Relaxed);
    }

    /// A stream begins at this place. The ledger no longer demands the entries before it that
    /// no cursor has confirmed, because they may have been lost on the way.
    pub(super) fn skip(&self, place: usize) {
        let numbers: Vec<u32> = (self.confirmed.load(Ordering::Relaxed)..place)
            .filter_map(|place| u32::try_from(place).ok())
            .collect();
        self.book.absolve(&numbers);
    }

    /// A stream has sent or skipped every entry before this place.
    pub(super) fn pass(&self, place: usize) {
        self.passed.send_if_modified(|passed| {
            let further = place > *passed;
            if further {
                *passed = place;
            }
            further
        });
    }

    /// Whether the entry at this place has not come yet.
    pub(super) fn is_late(&self, place: usize) -> bool {
        self.comes_late(place) && place >= self.come.load(Ordering::Relaxed)
    }

    fn comes_late(&self, place: usize) -> bool {
        place < self.timely_from && place % LATE_EVERY == LATE_EVERY / 2
    }

    /// A stream begins: the late entries that streams have passed come now. A receiver is
    /// committed to them whether or not it looks back.
    pub(super) fn begin(&self) {
        let passed = *self.passed.borrow();
        let come = self.come.fetch_max(passed, Ordering::Relaxed);
        for place in (come..passed).filter(|&place| self.comes_late(place)) {
            self.send(place);
            self.faults.happened(Part::Disorder);
        }
        self.followed.send_replace(true);
    }

    /// To wait for entries.
    pub(super) fn watch_length(&self) -> watch::Receiver<usize> {
        self.length.subscribe()
    }

    /// Returns when the first stream begins. What happened before would reach nobody,
    /// since a stream without a cursor begins at the live edge.
    pub(super) async fn wait_followed(&self) {
        let mut followed = self.followed.subscribe();
        // The sender is ours: it cannot be gone.
        let _ = followed.wait_for(|followed| *followed).await;
    }

    /// Returns when streams have passed this many entries.
    pub(crate) async fn wait_passed(&self, entries: usize) {
        let mut passed = self.passed.subscribe();
        // The sender is ours: it cannot be gone.
        let _ = passed.wait_for(|passed| *passed >= entries).await;
    }

    fn pages(&self) -> RwLockReadGuard<'_, Pages<T>> {
        self.pages.read().unwrap_or_else(PoisonError::into_inner)
    }
}
