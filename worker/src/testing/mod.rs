//! What tests of the entrances share: a pipeline without Postgres, and providers that
//! do as they are told.

pub(crate) mod chat;
pub(crate) mod documents;
pub(crate) mod endpoint;

use std::{
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use actix::prelude::*;
use tracing::{Dispatch, Subscriber, subscriber::DefaultGuard};

use serde_json::Value;
use tidings_core::{
    provider,
    wire::{Call, Schema},
};

use crate::{
    pipeline::{
        batcher::{Batcher, Pipeline},
        queue::BatchLimits,
        request::{Outcome, Request},
        store::{Commit, Open, Settled},
        taking::Taking,
    },
    postgres::failure::Failure,
    process::exit::Fatal,
    wire,
};

/// The call by which the events of a provider come.
pub(crate) fn call(provider: &str) -> &'static Call {
    let provider = provider::find(provider).unwrap();
    provider.call(&Value::Null).unwrap()
}

/// The schema that it has by default.
pub(crate) fn schema(provider: &str) -> Arc<Schema> {
    wire::schema(call(provider)).unwrap()
}

/// Where the log of this thread goes meanwhile.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn listen(&self) -> DefaultGuard {
        let to = self.clone();
        let lines = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || to.clone());
        listen(lines.finish())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Sends the log of this thread to a subscriber meanwhile.
pub(crate) fn listen(to: impl Subscriber + Send + Sync) -> DefaultGuard {
    // As long as there is only one subscriber, a line that another thread reaches first,
    // without this one, counts as unwanted everywhere.
    static SECOND: LazyLock<Dispatch> =
        LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));
    LazyLock::force(&SECOND);
    tracing::subscriber::set_default(to)
}

struct Lane<F> {
    answer: F,
    takes: Duration,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl<F: Fn(&[Request]) -> Vec<Outcome> + Unpin + 'static> Actor for Lane<F> {
    type Context = Context<Self>;
}

impl<F: Fn(&[Request]) -> Vec<Outcome> + Unpin + 'static> Handler<Commit> for Lane<F> {
    type Result = AtomicResponse<Self, Settled>;

    fn handle(&mut self, commit: Commit, _: &mut Self::Context) -> Self::Result {
        let takes = self.takes;
        let work = async move {
            if takes > Duration::ZERO {
                tokio::time::sleep(takes).await;
            }
        };
        let answer = |(), lane: &mut Self, _: &mut Self::Context| {
            let requests = &commit.work.requests;
            let outcomes = (lane.answer)(requests);
            lane.seen.lock().unwrap().extend(requests.iter().cloned());
            Settled::whole(commit.work, outcomes)
        };
        AtomicResponse::new(Box::pin(work.into_actor(self).map(answer)))
    }
}

impl<F: Fn(&[Request]) -> Vec<Outcome> + Unpin + 'static> Handler<Open> for Lane<F> {
    type Result = Result<(), Failure>;

    fn handle(&mut self, _: Open, _: &mut Self::Context) -> Self::Result {
        Ok(())
    }
}

/// Patience of a pipeline in tests in real time, none of which waits for its end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A pipeline that answers as told, and what it has been given.
pub(crate) fn pipeline(
    answer: fn(&Request) -> Outcome,
    patience: Duration,
) -> (Pipeline, Arc<Mutex<Vec<Request>>>) {
    let all = move |requests: &[Request]| requests.iter().map(answer).collect();
    pipeline_of_batches(all, patience)
}

/// The same, with an answer for each batch.
pub(crate) fn pipeline_of_batches(
    answer: impl Fn(&[Request]) -> Vec<Outcome> + Unpin + 'static,
    patience: Duration,
) -> (Pipeline, Arc<Mutex<Vec<Request>>>) {
    slow_pipeline(answer, Duration::ZERO, patience)
}

/// The same, where each batch takes so long.
pub(crate) fn slow_pipeline(
    answer: impl Fn(&[Request]) -> Vec<Outcome> + Unpin + 'static,
    takes: Duration,
    patience: Duration,
) -> (Pipeline, Arc<Mutex<Vec<Request>>>) {
    let seen = Arc::default();
    let lane = Lane {
        answer,
        takes,
        seen: Arc::clone(&seen),
    };
    let limits = BatchLimits {
        requests: 100,
        bytes: 1_000_000,
    };
    let (fatal, _) = Fatal::channel();
    let lanes = vec![lane.start().into()];
    let vital = fatal.vital("the batcher");
    let thread = Arbiter::current();
    (
        Batcher::spawn(limits, lanes, patience, Taking::trusting(), vital, &thread),
        seen,
    )
}
