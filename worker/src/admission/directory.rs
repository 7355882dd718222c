//! The sources as the entrances see them: a lookup without a round trip, and one
//! question to Postgres for a name that nobody has heard of.

use std::{sync::Arc, time::Duration};

use actix::Recipient;
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep_until, timeout},
};

use crate::sources::{
    control::Refresh,
    source::{Database, Snapshot, Source, Sources},
};

/// Unknown names lead to a look at Postgres at most this often: names come from
/// outside, and each look is a query.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time limit for such a query.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub(crate) struct Directory {
    snapshot: watch::Receiver<Snapshot>,
    control: Recipient<Refresh>,
    /// The last query; the lock is held while a query runs.
    looked: Arc<Mutex<Option<Look>>>,
}

/// A query for a name that nobody has heard of.
#[derive(Clone, Copy, Debug)]
struct Look {
    began: Instant,
    /// Whether it came to its end. One that took too long, or whose request was dropped,
    /// tells nothing.
    is_answered: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Lookup {
    Known(Arc<Source>),
    Unknown,
    /// The sources have not been read yet; `/readyz` gives the reason.
    Unread,
}

impl Directory {
    pub(crate) fn new(snapshot: watch::Receiver<Snapshot>, control: Recipient<Refresh>) -> Self {
        Self {
            snapshot,
            control,
            looked: Arc::default(),
        }
    }

    pub(crate) fn database(&self) -> Database {
        self.snapshot.borrow().database.clone()
    }

    /// The sources as last read, if they have been read.
    pub(crate) fn sources(&self) -> Option<Arc<Sources>> {
        self.snapshot.borrow().sources.clone()
    }

    pub(crate) async fn find(&self, name: &str) -> Lookup {
        let lookup = self.peek(name);
        if lookup != Lookup::Unknown {
            return lookup;
        }
        // Only a query that began after the request can tell that a name is unknown,
        // because a provider may give its events up after that answer. One query serves
        // all requests that came before it.
        let asked = Instant::now();
        let mut last = self.looked.lock().await;
        let lookup = self.peek(name);
        if lookup != Lookup::Unknown {
            return lookup;
        }
        if last.is_none_or(|look| look.began <= asked) {
            if let Some(earlier) = *last {
                sleep_until(earlier.began + LOOK_EVERY).await;
            }
            let look = last.insert(Look {
                began: Instant::now(),
                is_answered: false,
            });
            let answer = timeout(LOOK_TIMEOUT, self.control.send(Refresh)).await;
            look.is_answered = matches!(answer, Ok(Ok(())));
        }
        let is_answered = last.is_some_and(|look| look.is_answered);
        match self.peek(name) {
            // The sources could not be queried.
            Lookup::Unknown if !is_answered || self.database() != Database::Up => Lookup::Unread,
            lookup => lookup,
        }
    }

    pub(crate) fn lists_none(&self) -> bool {
        self.snapshot.borrow().lists_none()
    }

    pub(crate) fn is_telling(&self) -> bool {
        self.snapshot.borrow().is_telling()
    }

    /// Looks a name up in the sources as last read, without a query.
    pub(crate) fn peek(&self, name: &str) -> Lookup {
        let snapshot = self.snapshot.borrow();
        match snapshot.addressed(name) {
            Some(source) => Lookup::Known(source.clone()),
            None if snapshot.sources.is_some() => Lookup::Unknown,
            None => Lookup::Unread,
        }
    }
}

#[cfg(test)]
pub(crate) mod fake {
    use std::{collections::HashMap, sync::Mutex};

    use actix::prelude::*;

    use super::*;

    /// Counts looks, and on the first finds the sources in `later`.
    pub(crate) struct Control {
        pub(crate) looks: Arc<Mutex<usize>>,
        pub(crate) later: Snapshot,
        pub(crate) snapshot: watch::Sender<Snapshot>,
    }

    impl Actor for Control {
        type Context = Context<Self>;
    }

    impl Handler<Refresh> for Control {
        type Result = ();

        fn handle(&mut self, _: Refresh, _: &mut Self::Context) {
            *self.looks.lock().unwrap() += 1;
            self.snapshot.send_replace(self.later.clone());
        }
    }

    pub(crate) fn source(name: &str, provider: &str) -> Source {
        Source {
            id: 1,
            name: name.into(),
            provider: provider.to_owned(),
            options: serde_json::json!({}),
            enabled: true,
            schema: None,
            former_names: Vec::new(),
        }
    }

    pub(crate) fn snapshot(sources: &[Source]) -> Snapshot {
        let by_name = sources
            .iter()
            .map(|s| (s.name.clone(), Arc::new(s.clone())));
        Snapshot {
            database: Database::Up,
            sources: Some(Arc::new(HashMap::from_iter(by_name))),
        }
    }

    /// A directory over `now`, whose next look finds `later`.
    pub(crate) fn directory(now: Snapshot, later: Snapshot) -> (Directory, Arc<Mutex<usize>>) {
        let (sender, receiver) = watch::channel(now);
        let looks = Arc::default();
        let control = Control {
            looks: Arc::clone(&looks),
            later,
            snapshot: sender,
        };
        let control = control.start().recipient();
        (Directory::new(receiver, control), looks)
    }
}

#[cfg(test)]
mod tests {
    use actix::prelude::*;

    use super::{
        fake::{directory, snapshot, source},
        *,
    };

    #[actix::test]
    async fn a_known_name_needs_no_look() {
        let known = source("sms", "arpoone");
        let (directory, looks) = directory(snapshot(std::slice::from_ref(&known)), snapshot(&[]));
        assert_eq!(directory.find("sms").await, Lookup::Known(known.into()));
        assert_eq!(*looks.lock().unwrap(), 0);
    }

    #[actix::test]
    async fn all_who_ask_at_once_wait_for_one_look() {
        let new = source("new", "arpoone");
        let (directory, looks) = directory(snapshot(&[]), snapshot(std::slice::from_ref(&new)));
        let (first, second) = tokio::join!(directory.find("new"), directory.find("new"));
        assert_eq!(first, Lookup::Known(new.clone().into()));
        assert_eq!(second, Lookup::Known(new.into()));
        assert_eq!(*looks.lock().unwrap(), 1);
    }

    #[actix::test]
    async fn looks_are_apart_and_no_answer_is_older_than_its_question() {
        tokio::time::pause();
        let (directory, looks) = directory(snapshot(&[]), snapshot(&[]));
        let start = Instant::now();
        for _ in 0..10 {
            assert_eq!(directory.find("absent").await, Lookup::Unknown);
        }
        assert_eq!(*looks.lock().unwrap(), 10);
        assert!(start.elapsed() >= LOOK_EVERY * 9);
    }

    /// Answers no look.
    struct Silent;

    impl Actor for Silent {
        type Context = Context<Self>;
    }

    impl Handler<Refresh> for Silent {
        type Result = ResponseFuture<()>;

        fn handle(&mut self, _: Refresh, _: &mut Self::Context) -> Self::Result {
            Box::pin(std::future::pending())
        }
    }

    #[actix::test]
    async fn a_look_that_is_not_answered_tells_nobody_that_a_name_is_unknown() {
        tokio::time::pause();
        let (_snapshot, receiver) = watch::channel(snapshot(&[]));
        let directory = Directory::new(receiver, Silent.start().recipient());
        let asking = [directory.find("new"), directory.find("new")];
        let answers = futures_util::future::join_all(asking).await;
        assert_eq!(answers, [Lookup::Unread, Lookup::Unread]);
        // Neither does one whose request was dropped.
        let dropped = timeout(LOOK_TIMEOUT / 2, directory.find("new"));
        let (dropped, after) = tokio::join!(dropped, directory.find("new"));
        assert!(dropped.is_err());
        assert_eq!(after, Lookup::Unread);
    }

    #[actix::test]
    async fn before_the_sources_are_read_no_name_is_unknown() {
        let (directory, looks) = directory(Snapshot::default(), snapshot(&[]));
        assert_eq!(directory.find("sms").await, Lookup::Unread);
        assert_eq!(*looks.lock().unwrap(), 0);
    }
}
