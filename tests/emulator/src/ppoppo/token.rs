//! Access tokens: who gets one, and how long it lives.
//!
//! A token ends with its time, or once so many events were streamed by it: the second is
//! what makes a run the same every time. Every other one ends its stream with
//! UNAUTHENTICATED; the rest let it end as if all were well, and refuse the next call.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tonic::Status;

use crate::{
    draw::Draw,
    faults::{Faults, Part},
};

/// Who may ask, and what is given.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) client: String,
    pub(crate) secret: String,
    pub(crate) lifetime: Duration,
    /// How many events are streamed by a token; no limit if absent.
    pub(crate) events: Option<u32>,
    /// The API's URL, byte for byte (RFC 8707).
    pub(crate) resource: String,
    /// The scope of every grant, whatever is asked for.
    pub(crate) scope: String,
}

/// The scope that reading needs.
const SCOPE: &str = "chat.read";

#[derive(Debug)]
pub(crate) struct Tokens {
    pub(super) terms: Terms,
    issued: Mutex<(Draw, HashMap<String, Arc<Token>>)>,
    faults: Arc<Faults>,
}

#[derive(Debug)]
pub(super) struct Token {
    ends_at: Instant,
    /// How many events may still be streamed by it.
    left: AtomicU32,
    /// Whether its end is an error of the stream.
    fails: bool,
}

impl Tokens {
    pub(crate) fn new(terms: Terms, draw: Draw, faults: Arc<Faults>) -> Arc<Self> {
        Arc::new(Self {
            terms,
            issued: Mutex::new((draw, HashMap::new())),
            faults,
        })
    }

    pub(super) fn issue(&self) -> String {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        let (draw, tokens) = &mut *issued;
        let text = format!("{}.{:016x}", tokens.len(), draw.bits());
        let token = Token {
            ends_at: Instant::now() + self.terms.lifetime,
            left: AtomicU32::new(self.terms.events.unwrap_or(u32::MAX)),
            fails: tokens.len().is_multiple_of(2),
        };
        tokens.insert(text.clone(), Arc::new(token));
        text
    }

    /// The token that a call shows.
    pub(super) fn admit(&self, shown: &str) -> Result<Arc<Token>, Status> {
        let issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(token) = issued.1.get(shown) else {
            return Err(Status::unauthenticated("not a token of ours"));
        };
        if token.is_over() {
            self.faults.happened(Part::TokenExpiredAtCall);
            return Err(expired());
        }
        if !self.terms.scope.split(' ').any(|scope| scope == SCOPE) {
            return Err(Status::permission_denied(format!("needs {SCOPE}")));
        }
        Ok(Arc::clone(token))
    }

    /// How a stream ends with its token: with a status, or as if it were none of that.
    pub(super) fn end(&self, token: &Token) -> Option<Status> {
        token.fails.then(|| {
            self.faults.happened(Part::TokenExpiredInStream);
            expired()
        })
    }
}

fn expired() -> Status {
    Status::unauthenticated("the token has expired")
}

impl Token {
    /// An event is to be streamed by it; false when it has ended.
    pub(super) fn spend(&self) -> bool {
        let spent = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        spent.is_ok() && Instant::now() < self.ends_at
    }

    /// Returns when its time is over.
    pub(super) async fn wait_end(&self) {
        tokio::time::sleep_until(self.ends_at).await;
    }

    fn is_over(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0 || Instant::now() >= self.ends_at
    }
}
