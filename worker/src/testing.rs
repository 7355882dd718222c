//! What tests of the entrances share: a pipeline without Postgres, and providers that
//! do as they are told.

pub(crate) mod chat;
pub(crate) mod endpoint;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::prelude::*;

use crate::{
    batcher::{Batcher, Pipeline},
    exit::Fatal,
    queue::BatchLimits,
    request::{Outcome, Request},
    store::Commit,
};

struct Lane {
    answer: fn(&Request) -> Outcome,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Actor for Lane {
    type Context = Context<Self>;
}

impl Handler<Commit> for Lane {
    type Result = Vec<Outcome>;

    fn handle(&mut self, commit: Commit, _: &mut Self::Context) -> Self::Result {
        let outcomes = commit.requests.iter().map(self.answer).collect();
        self.seen.lock().unwrap().extend(commit.requests);
        outcomes
    }
}

/// A pipeline that answers as told, and what it has been given.
pub(crate) fn pipeline(
    answer: fn(&Request) -> Outcome,
    patience: Duration,
) -> (Pipeline, Arc<Mutex<Vec<Request>>>) {
    let seen = Arc::default();
    let lane = Lane {
        answer,
        seen: Arc::clone(&seen),
    };
    let limits = BatchLimits {
        requests: 100,
        bytes: 1_000_000,
    };
    let (fatal, _) = Fatal::channel();
    let lanes = vec![lane.start().recipient()];
    let batcher = Batcher::spawn(limits, lanes, 100, fatal.vital("the batcher"));
    (Pipeline::new(batcher, patience), seen)
}
