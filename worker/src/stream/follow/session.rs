//! One connection of a stream, from dialing to its end.

use std::{cell::RefCell, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, TryFutureExt, stream::LocalBoxStream};
use h2::Reason;
use tidings_core::wire::{Notice, Start};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tonic::Status;
use tracing::{info, warn};

use super::{Following, Plan, stopped};
use crate::{
    dial::{
        self, DialError,
        connection::{Connection, Over},
        status::{self, Asked, Meaning},
        token::TokenError,
    },
    pipeline::{
        headers::Headers,
        request::{Receipt, Request, Verdict},
    },
    process::receipt,
    stream::{
        desk::Resume,
        gap::{self, Gap},
        gather::{Gathered, Work},
        pump::{End, pump},
        report::State,
        retry::Cause,
    },
};

/// Some servers accept a call only together with its first message. If there is no
/// refusal for this time, the call counts as accepted.
const QUIET: Duration = Duration::from_secs(2);
/// Longest time between two pings, however often the server sends ENHANCE_YOUR_CALM.
const LONGEST_KEEPALIVE: Duration = Duration::from_secs(2 * 3600);

/// Why a connection ended: the cause and a text.
type Ended = (Cause, String);

/// How a connection, or an attempt at one, ended.
pub(super) struct Session {
    /// Why the session ended; `None` if it was stopped.
    pub(super) ended: Option<Ended>,
    /// Messages that arrived, including signs of life: the server was there, and had
    /// accepted the token.
    pub(super) frames: u64,
    /// Events that were read and committed, including rejected ones.
    pub(super) events: usize,
    /// Events that are stored now, which alone count as progress.
    pub(super) stored: u64,
    /// The error of one of the other events.
    pub(super) detail: Option<String>,
    pub(super) open: Option<Instant>,
    /// The cursor and token of the session, if they were known.
    pub(super) resume: Option<Resume>,
    /// Whether the provider has said that the cursor has expired.
    pub(super) expired: bool,
    /// Whether the cursor that had expired was an earlier one than the stored one, so that
    /// nothing was read.
    went_back_too_far: bool,
}

impl Session {
    /// The reason why none of its events could be stored, if that is so.
    pub(super) fn nothing_stored(&self) -> Option<String> {
        let detail = match &self.detail {
            Some(detail) => format!(": {detail}"),
            None => String::new(),
        };
        (self.events > 0 && self.stored == 0).then(|| {
            format!(
                "none of its {} events could be stored{detail}; \
                 the provider's schema may differ: tidings-worker check",
                self.events
            )
        })
    }

    fn committed(&mut self, events: usize, receipt: Receipt) {
        self.events += events;
        self.stored += u64::from(receipt.inserted) + u64::from(receipt.duplicate);
        self.detail = self.detail.take().or(receipt.detail);
    }
}

/// A stream that the server has accepted, or has not refused.
struct Open {
    messages: LocalBoxStream<'static, Result<Bytes, Status>>,
    connection: Connection,
    /// Whether a cursor was sent.
    resumed: bool,
    /// The gap before its first event.
    gap: Option<Gap>,
}

/// Why something that a stream brought was not committed.
pub(super) enum Uncommitted {
    Failed(String),
    /// The cursor that has expired is an earlier one than the stored one.
    NotStored,
}

impl Following<'_> {
    pub(super) async fn session(&mut self, stop: &watch::Receiver<bool>) -> Session {
        let session = self.connection(stop).await;
        if !session.went_back_too_far {
            return session;
        }
        // The stored cursor comes next, at once.
        self.connection(stop).await
    }

    async fn connection(&mut self, stop: &watch::Receiver<bool>) -> Session {
        self.follower.reporter.set(State::Connecting);
        let mut session = Session {
            ended: None,
            frames: 0,
            events: 0,
            stored: 0,
            detail: None,
            open: None,
            resume: None,
            expired: false,
            went_back_too_far: false,
        };
        let opened = tokio::select! {
            opened = self.open(&mut session.resume) => opened,
            () = stopped(stop) => return session,
        };
        let mut open = match opened {
            Ok(open) => open,
            Err(ended) => {
                session.ended = Some(ended);
                return session;
            }
        };
        info!(source = self.source(), "the stream is open");
        self.follower.reporter.set(State::Connected);
        session.open = Some(Instant::now());

        let mut gathered = Gathered::new(self.follower.limits);
        if let Some(gap) = open.gap.take() {
            gathered.push_gap(gap);
        }
        let session = RefCell::new(session);
        let following = &*self;
        let commit = |work| following.commit(work, &session);
        let end = pump(
            &mut open.messages,
            gathered,
            |message, gathered| {
                session.borrow_mut().frames += 1;
                following.decode(message, gathered);
            },
            commit,
            self.plan.dial.idle_limit,
            stopped(stop),
        )
        .await;
        let mut session = session.into_inner();
        session.ended = match end {
            End::Stopped => None,
            End::Clean => Some((Cause::Clean, String::new())),
            End::Idle => Some((Cause::Idle, String::new())),
            End::Uncommitted(Uncommitted::Failed(reason)) => Some((Cause::Passing(None), reason)),
            End::Uncommitted(Uncommitted::NotStored) => {
                self.overlap.expired();
                session.went_back_too_far = true;
                let reason = "a cursor that the overlap led to has expired";
                Some((Cause::Passing(None), reason.to_owned()))
            }
            End::Failed(status) => Some(
                self.judge(&status, open.resumed, &mut open.connection)
                    .await,
            ),
        };
        session
    }

    /// Opens a stream, and sets `found` to its cursor and token as soon as they are
    /// known.
    async fn open(&mut self, found: &mut Option<Resume>) -> Result<Open, Ended> {
        let passing = |reason| (Cause::Passing(None), reason);
        let lasting = |reason| (Cause::Lasting, reason);
        let resume = self.ask().await.map_err(passing)?;
        *found = Some(resume.clone());
        let (token, renewed) = self.tokens.get(resume.secret).await.map_err(|error| {
            let cause = match error {
                TokenError::Missing(_) | TokenError::Lasting(_) => Cause::Lasting,
                TokenError::Refused(_) => Cause::Unauthenticated,
                TokenError::Passing(_) => Cause::Passing(None),
            };
            (cause, self.tokens.redact(&error.to_string()))
        })?;
        if renewed {
            self.retry.renewed();
        }
        // What happens from now on must not be lost, even if no event comes through.
        let edge = Gap::now(gap::Cause::StartedAtLiveEdge, None, self.plan.dial.start);
        let cursor = self.overlap.cursor(resume.cursor);
        let Plan { dial, schema } = self.plan;
        let message = dial.message(schema, cursor.as_deref()).map_err(lasting)?;
        let (path, request) =
            dial::request(dial, schema.path(), &token, message).map_err(lasting)?;
        let connection = dial::connect(dial, self.keepalive).await;
        let mut connection = connection.map_err(|error| match error {
            DialError::Passing(reason) => passing(reason),
            DialError::Lasting(reason) => lasting(reason),
        })?;
        let largest = self.follower.limits.message;
        let (requests, origin) = (connection.requests(), dial.origin.clone());
        let mut call = Box::pin(dial::call(requests, origin, path, request, largest));
        let resumed = cursor.is_some();
        let called = tokio::select! {
            called = &mut call => Some(called),
            () = sleep(QUIET) => None,
        };
        let messages = match called {
            Some(Ok(messages)) => messages.boxed_local(),
            Some(Err(status)) => return Err(self.judge(&status, resumed, &mut connection).await),
            None => call.try_flatten_stream().boxed_local(),
        };
        Ok(Open {
            messages,
            connection,
            resumed,
            gap: Some(edge).filter(|_| !resumed && dial.start == Start::LiveEdge),
        })
    }

    /// The cause that a status means, with a text.
    async fn judge(
        &mut self,
        status: &Status,
        resumed: bool,
        connection: &mut Connection,
    ) -> Ended {
        let line = status::line(status);
        let asked = Asked {
            source: self.source(),
            resumed,
            filters: self.plan.dial.filterable,
            method: self.plan.schema.path(),
            endpoint: self.plan.dial.default_endpoint,
        };
        let (cause, reason) = match status::meaning(status, &asked) {
            Meaning::Unauthenticated => {
                let advice = match &self.plan.dial.oauth {
                    Some(oauth) => status::of_another_client(oauth),
                    None => "give the source another token: tidings.rotate_secret, or what token_env or token_file names".to_owned(),
                };
                (Cause::Unauthenticated, format!("{line}; {advice}"))
            }
            Meaning::Lasting(advice) => (Cause::Lasting, format!("{line}; {advice}")),
            Meaning::Occupied(advice) => (Cause::Occupied, format!("{line}; {advice}")),
            Meaning::Passing(hint) => (Cause::Passing(hint), line),
            Meaning::Cut => {
                // A connection on which a call was cancelled may go on.
                let over = if status::is_broken(status) {
                    connection.over().await
                } else {
                    None
                };
                (Cause::Cut, self.cut(status, over))
            }
        };
        (cause, self.tokens.redact(&reason))
    }

    /// The reason why a connection broke. If the server sent ENHANCE_YOUR_CALM, the worker pings
    /// less often.
    fn cut(&mut self, status: &Status, over: Option<Over>) -> String {
        match (over, self.keepalive) {
            (Some(Over::Closed(Some(Reason::ENHANCE_YOUR_CALM))), Some(keepalive)) => {
                let longer = (keepalive * 2).min(LONGEST_KEEPALIVE);
                self.keepalive = Some(longer);
                let seconds = longer.as_secs();
                format!(
                    "the server sent GOAWAY ENHANCE_YOUR_CALM (too many pings); keepalive raised to {seconds} s"
                )
            }
            (Some(Over::Closed(Some(reason))), _) => {
                let description = reason.description();
                format!("the connection broke: the server sent GOAWAY: {description}")
            }
            (Some(Over::Unanswered), _) => {
                "the connection broke: the server does not answer pings".to_owned()
            }
            (Some(Over::Ours(error)), _) => {
                format!("the connection broke: {}", status::ended_here(error))
            }
            _ => format!("the connection broke: {}", status::broken(status)),
        }
    }

    fn decode(&self, message: Bytes, gathered: &mut Gathered) {
        let source = self.source();
        match self.plan.schema.notice(&message) {
            Some(Notice::CursorExpired(detail)) => {
                let detail = (!detail.is_empty()).then(|| format!("the provider says: {detail}"));
                let (cause, start) = (gap::Cause::CursorExpired, self.plan.dial.start);
                gathered.push_gap(Gap::now(cause, detail, start));
            }
            Some(Notice::Unread(members)) => {
                warn!(
                    source,
                    members, "a message has no event, and is not understood"
                );
            }
            None => {}
        }
        for event in self.plan.schema.events(message) {
            if let Some(reason) = &event.error {
                warn!(
                    source,
                    reason, "an event cannot be decoded; it is kept as rejected"
                );
            }
            gathered.push(&event.json);
        }
    }

    async fn commit(&self, work: Work, session: &RefCell<Session>) -> Result<(), Uncommitted> {
        let (array, events) = match work {
            Work::Events(array, events) => (array, events),
            Work::Gap(gap) => return self.report_gap(gap, session).await,
        };
        let receipt = self.store(array).await.map_err(Uncommitted::Failed)?;
        if receipt.inserted > 0 || receipt.duplicate > 0 {
            self.follower.reporter.progress();
        }
        session.borrow_mut().committed(events, receipt);
        Ok(())
    }

    async fn store(&self, array: Bytes) -> Result<Receipt, String> {
        let mut headers = Headers::default();
        headers.set_lease_epoch(self.follower.epoch);
        let request = Request {
            source: self.follower.source.clone(),
            body: array,
            headers: headers.template().with_receipt(receipt::id()),
        };
        let outcome = self.follower.pipeline.submit(vec![request]).await.pop();
        match outcome {
            Some(Ok(receipt)) if receipt.verdict == Verdict::Accepted => Ok(receipt),
            Some(Ok(receipt)) => {
                let detail = receipt.detail.map(|d| format!(": {d}")).unwrap_or_default();
                Err(format!(
                    "its events are {}{detail}",
                    receipt.verdict.as_str()
                ))
            }
            Some(Err(refusal)) => Err(refusal.to_string()),
            None => Err("no outcome".to_owned()),
        }
    }
}
