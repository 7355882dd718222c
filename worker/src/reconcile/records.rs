//! What a reconciliation reads and writes in Postgres, beside ingest: the send requests to ask
//! about, and the gaps.

use std::{
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};
use tokio_postgres::{Row, types::Type};

use crate::{
    postgres::{
        ConnectError, Connector, Param, Session,
        failure::{Failure, Next, describe},
    },
    process::backoff::Backoff,
};

const SECRET: &str = "select tidings.stream_secret($1)";
const GAPS: &str = "select id, cause, reported_at from tidings.gap \
     where source = $1 and closed_at is null order by id";
const HAS_CLOSED: &str = "select exists (select from tidings.gap \
     where source = $1 and closed_by like 'reconcile:%' \
     and closed_at > pg_catalog.now() - pg_catalog.make_interval(secs => $2))";
const COUNT: &str = "select count(*) from tidings.requests_to_reconcile($1, $2, null, $3)";
const REQUESTS: &str = "select request_id, finals, unfinished \
     from tidings.requests_to_reconcile($1, $2, $3, $4)";
const FINALS: &str = "select tidings.request_finals($1, $2)";
/// A gap that was reported again since it was listed stays open, because the requests of that
/// time were not asked about.
const CLOSE: &str = "select tidings.close_gap($1, $2, $3)";

/// Number of requests in a page of the list.
const PAGE: i32 = 1000;
/// The cause of a gap in which the stream itself went on later than its cursor.
pub(crate) const CURSOR_EXPIRED: &str = "cursor_expired";
/// The causes of the gaps of streams.
const OF_STREAMS: [&str; 3] = [CURSOR_EXPIRED, "started_at_live_edge", "moved_by_hand"];

/// Number of attempts at a statement.
const ATTEMPTS: u32 = 6;
/// Pauses between them.
const LEAST_PAUSE: Duration = Duration::from_millis(250);
const GREATEST_PAUSE: Duration = Duration::from_secs(5);
/// Time for an answer beyond the server's own limit on a statement.
const ANSWER: Duration = Duration::from_secs(5);

/// An open gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) id: i64,
    pub(crate) cause: String,
    reported_at: SystemTime,
}

impl Gap {
    /// Whether all events of a send request may lie in the gap, so that nobody here knows the
    /// request.
    pub(crate) fn may_hide_requests(&self) -> bool {
        OF_STREAMS.contains(&self.cause.as_str())
    }
}

#[cfg(test)]
impl Gap {
    pub(crate) fn found(id: i64, cause: &str) -> Self {
        Self {
            id,
            cause: cause.to_owned(),
            reported_at: SystemTime::UNIX_EPOCH,
        }
    }
}

/// A send request to ask about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: String,
    /// Recipients with a final status, and those without one.
    pub(crate) finals: i64,
    pub(crate) unfinished: i64,
}

/// What a reconciliation asks of Postgres.
pub(crate) trait Records {
    /// The source's secret.
    async fn secret(&mut self) -> Result<Option<String>, String>;
    /// The gaps of the source that are open.
    async fn gaps(&mut self) -> Result<Vec<Gap>, String>;
    /// The next send requests to ask about, behind this one, by their ids; none at the end.
    async fn page(
        &mut self,
        since: Option<SystemTime>,
        after: Option<&str>,
    ) -> Result<Vec<Listed>, String>;
    /// Number of recipients of a send request that have a final status.
    async fn finals(&mut self, request: &str) -> Result<i64, String>;
    /// Whether a reconciliation has closed a gap of the source within this time.
    async fn has_closed(&mut self, within: Duration) -> Result<bool, String>;
    /// Closes a gap, unless it was reported again; whether this closed it.
    async fn close(&mut self, gap: &Gap, by: &str) -> Result<bool, String>;
}

/// The connection of all reconciliations of a process, open while one of them runs.
#[derive(Debug)]
pub(crate) struct Books {
    connector: Arc<Connector>,
    session: Mutex<Weak<Session>>,
}

impl Books {
    pub(crate) fn new(connector: Arc<Connector>) -> Self {
        Self {
            connector,
            session: Mutex::default(),
        }
    }

    async fn session(&self) -> Result<Arc<Session>, ConnectError> {
        let mut known = self.session.lock().await;
        if let Some(open) = known.upgrade().filter(|session| !session.is_closed()) {
            return Ok(open);
        }
        let session = Arc::new(self.connector.connect(|_| ()).await?);
        *known = Arc::downgrade(&session);
        Ok(session)
    }
}

/// The records of one source.
#[derive(Debug)]
pub(crate) struct OfSource {
    books: Arc<Books>,
    source: Arc<str>,
    session: Option<Arc<Session>>,
}

impl OfSource {
    pub(crate) fn new(books: Arc<Books>, source: Arc<str>) -> Self {
        Self {
            books,
            source,
            session: None,
        }
    }

    /// Gives the connection up, until there is something to do again.
    pub(crate) fn rest(&mut self) {
        self.session = None;
    }

    /// Number of send requests to ask about.
    pub(crate) async fn count(&mut self, since: Option<SystemTime>) -> Result<u64, String> {
        let source = self.source.clone();
        let params: [Param<'_>; 3] = [
            (&source.as_ref(), Type::TEXT),
            (&since, Type::TIMESTAMPTZ),
            (&i32::MAX, Type::INT4),
        ];
        let rows = self.query(COUNT, &params).await?;
        let count: i64 = first(&rows, |row| row.try_get(0))?.unwrap_or_default();
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// Runs a statement, again if its failure may pass. Each of them may be repeated.
    async fn query(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, String> {
        let limit = self.books.connector.statement_timeout() + ANSWER;
        let mut pauses = Backoff::between(LEAST_PAUSE, GREATEST_PAUSE);
        let mut last = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                sleep(pauses.pause().min(GREATEST_PAUSE)).await;
            }
            let session = match self.session.take().filter(|session| !session.is_closed()) {
                Some(session) => session,
                None => match self.books.session().await {
                    Ok(session) => session,
                    Err(ConnectError::Unreachable(reason)) => {
                        last = reason;
                        continue;
                    }
                    Err(ConnectError::Incompatible(reason)) => return Err(reason),
                },
            };
            match timeout(limit, session.query(sql, params)).await {
                Ok(Ok(rows)) => {
                    self.session = Some(session);
                    return Ok(rows);
                }
                Ok(Err(error)) => {
                    let failure = Failure::from(error);
                    if !matches!(failure.next, Next::Retry | Next::Reconnect) {
                        return Err(failure.reason.to_string());
                    }
                    last = failure.reason.to_string();
                }
                Err(_) => last = "Postgres does not answer".to_owned(),
            }
        }
        Err(last)
    }
}

impl Records for OfSource {
    async fn secret(&mut self) -> Result<Option<String>, String> {
        let source = self.source.clone();
        let rows = self
            .query(SECRET, &[(&source.as_ref(), Type::TEXT)])
            .await?;
        Ok(first(&rows, |row| row.try_get(0))?.flatten())
    }

    async fn gaps(&mut self) -> Result<Vec<Gap>, String> {
        let source = self.source.clone();
        let rows = self.query(GAPS, &[(&source.as_ref(), Type::TEXT)]).await?;
        each(&rows, |row| {
            Ok(Gap {
                id: row.try_get(0)?,
                cause: row.try_get(1)?,
                reported_at: row.try_get(2)?,
            })
        })
    }

    async fn page(
        &mut self,
        since: Option<SystemTime>,
        after: Option<&str>,
    ) -> Result<Vec<Listed>, String> {
        let source = self.source.clone();
        let params: [Param<'_>; 4] = [
            (&source.as_ref(), Type::TEXT),
            (&since, Type::TIMESTAMPTZ),
            (&after, Type::TEXT),
            (&PAGE, Type::INT4),
        ];
        let rows = self.query(REQUESTS, &params).await?;
        each(&rows, |row| {
            Ok(Listed {
                id: row.try_get(0)?,
                finals: row.try_get(1)?,
                unfinished: row.try_get(2)?,
            })
        })
    }

    async fn finals(&mut self, request: &str) -> Result<i64, String> {
        let source = self.source.clone();
        let params: [Param<'_>; 2] = [(&source.as_ref(), Type::TEXT), (&request, Type::TEXT)];
        let rows = self.query(FINALS, &params).await?;
        let finals: Option<Option<i64>> = first(&rows, |row| row.try_get(0))?;
        Ok(finals.flatten().unwrap_or_default())
    }

    async fn has_closed(&mut self, within: Duration) -> Result<bool, String> {
        let source = self.source.clone();
        let params: [Param<'_>; 2] = [
            (&source.as_ref(), Type::TEXT),
            (&within.as_secs_f64(), Type::FLOAT8),
        ];
        let rows = self.query(HAS_CLOSED, &params).await?;
        Ok(first(&rows, |row| row.try_get(0))?.unwrap_or_default())
    }

    async fn close(&mut self, gap: &Gap, by: &str) -> Result<bool, String> {
        let params: [Param<'_>; 3] = [
            (&gap.id, Type::INT8),
            (&by, Type::TEXT),
            (&gap.reported_at, Type::TIMESTAMPTZ),
        ];
        let rows = self.query(CLOSE, &params).await?;
        Ok(first(&rows, |row| row.try_get(0))?.unwrap_or_default())
    }
}

type Read<T> = Result<T, tokio_postgres::Error>;

fn first<T>(rows: &[Row], read: impl Fn(&Row) -> Read<T>) -> Result<Option<T>, String> {
    let read = rows.first().map(read).transpose();
    read.map_err(|error| describe(&error))
}

fn each<T>(rows: &[Row], read: impl Fn(&Row) -> Read<T>) -> Result<Vec<T>, String> {
    let read: Read<Vec<T>> = rows.iter().map(read).collect();
    read.map_err(|error| describe(&error))
}
