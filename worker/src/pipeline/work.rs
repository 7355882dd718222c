//! A batch on its way through the lanes.

use super::request::{Outcome, Request};

/// The requests of a batch, and the outcomes of those that have one.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) requests: Vec<Request>,
    pub(crate) outcomes: Vec<Option<Outcome>>,
}

impl Work {
    pub(crate) fn new(requests: Vec<Request>) -> Self {
        let outcomes = vec![None; requests.len()];
        Self { requests, outcomes }
    }

    /// The outcomes in order, if every request has one.
    pub(crate) fn complete(self) -> Result<Vec<Outcome>, Self> {
        if self.outcomes.iter().any(Option::is_none) {
            return Err(self);
        }
        Ok(self.outcomes.into_iter().flatten().collect())
    }
}
