//! A sender's events: it makes the next one when there is room for it on the wire, so
//! how many it made says how much was taken from it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
pub(super) struct Supply {
    name: String,
    /// More than this are taken only where nothing slows a sender down.
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    taken: usize,
    /// There are events up to this one.
    end: usize,
}

impl Supply {
    /// One event, to begin with.
    pub(super) fn new(name: impl Into<String>, most: usize) -> Arc<Self> {
        let state = Mutex::new(State { taken: 0, end: 1 });
        let name = name.into();
        Arc::new(Self { name, most, state })
    }

    /// From now on there is always a next event.
    pub(super) fn open(&self) {
        self.state().end = self.most;
    }

    /// There will be no more than were taken.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.end = state.taken;
    }

    /// Whether there is an event of that number, which is taken by this. It may have
    /// been before: a stream that is resumed begins in the middle.
    pub(super) fn take(&self, number: usize) -> bool {
        let mut state = self.state();
        let there = number < state.end;
        if there {
            state.taken = state.taken.max(number + 1);
        }
        there
    }

    pub(super) fn taken(&self) -> usize {
        self.state().taken
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.taken() >= self.most
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Supply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} events taken", self.name, self.taken())
    }
}
