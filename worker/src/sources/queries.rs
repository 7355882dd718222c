//! The statements of the control connection: which sources there are and which gaps they
//! have, where and with what a stream is resumed, how a stream is doing, and who holds which
//! lease.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio_postgres::{error::SqlState, types::Type};
use uuid::Uuid;

use super::{
    lag::Lag,
    lease::Holding,
    loss::{NewGap, Unwritten},
    refused::KeepRefusal,
    source::{Described, OwnSchema, Source, Sources},
};
use crate::{
    postgres::{
        Param, Session,
        failure::{Failure, Next, describe},
        json::Json,
    },
    stream::{
        desk::{ReportGap, Resume},
        report::{self, Report},
    },
};

const SOURCES: &str = "select s.name, s.provider, s.options, s.enabled, c.method, c.descriptor_set, c.names, s.id, \
       array(select f.name from tidings.former_name f where f.source_id = s.id) \
     from tidings.source s left join tidings.source_schema c on c.source_id = s.id";
const REPORT: &str = "select tidings.report_stream($1, $2, $3, $4, $5, $6, $7)";
const RESUME: &str = "select tidings.stream_cursor($1), tidings.stream_secret($1)";
const REPORT_GAP: &str =
    "select tidings.report_gap($1, $2, detail => $3, resume_after => $4, lease_epoch => $5)";
const OPEN_GAPS: &str = "select s.name, (select count(*) from tidings.gap g where g.source_id = s.id and g.closed_at is null) \
     from tidings.source s";
const LAG: &str =
    "select consumer, events, extract(epoch from age)::float8 from tidings._worker_lag()";
const HOLD: &str = "select source, epoch, extract(epoch from wait)::float8 \
     from tidings.hold_streams($1, $2, $3, pg_catalog.make_interval(secs => $4))";
const RELEASE: &str = "select tidings.release_streams($1)";
const ACCEPTS: &str = "select case when tidings.verify($1, '', $2) then $1 end";
const WAKE: &str = "select tidings.wake()";
/// A tick, unless the horizon is less than a second old; and a wake-up after it.
const TICK: &str = "select tidings.tick(), tidings.wake() \
     where tidings.log_horizon() < tidings.ulid_at(pg_catalog.clock_timestamp() - interval '1 s')";
const FIND: &str = "select tidings.find_source($1, $2)";
const KEEP_REFUSAL: &str = "select tidings.report_refusal($1, $2, $3, $4, $5, $6)";
/// A gap, unless its requests were not the source's, or it is known.
const WRITE_GAP: &str = "select case \
     when $6 is not null and (tidings._addressed($1)).provider <> $6 then null \
     when $7 is not null and not tidings.verify($1, '', $7) then null \
     when $8 and exists (select from tidings.gap g \
       where g.source_id = (tidings._addressed($1)).id and g.cause = $2 and g.detail = $5 and g.from_at is not distinct from $3) then null \
     else tidings.report_gap($1, $2, from_at => $3, to_at => $4, detail => $5) end";

/// Time for an answer, which takes milliseconds. This limit detects a connection that has
/// fallen silent. It is well below the time of a drain, because everything else waits for
/// the answer, also the end of the streams.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The control connection, shared: queries on it are pipelined.
#[derive(Clone, Debug)]
pub(crate) struct Queries(Arc<Session>);

/// Why a question about leases, or a wake-up, has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unheld {
    /// The connection is of no use any more.
    Lost(String),
    /// Postgres refuses this question, and answers others.
    Refused(String),
}

impl Queries {
    pub(crate) fn new(session: Session) -> Self {
        Self(Arc::new(session))
    }

    /// Hears of changed sources, where that can be had: a notification is told to a
    /// session.
    pub(crate) async fn listen(&self) -> Result<(), String> {
        if self.0.is_shared() {
            return Ok(());
        }
        bounded(self.0.execute("listen tidings_source")).await
    }

    /// All sources. A schema that is the same as `before` is not parsed again.
    pub(crate) async fn sources(&self, before: Option<&Sources>) -> Result<Vec<Source>, String> {
        let rows = bounded(self.0.query(SOURCES, &[])).await?;
        let source = |row: &tokio_postgres::Row| {
            let (name, provider): (&str, String) = (row.try_get(0)?, row.try_get(1)?);
            let options = row.try_get(2)?;
            let schema = match row.try_get(4)? {
                Some(method) => {
                    let described = Described {
                        method,
                        descriptor_set: row.try_get(5)?,
                        names: row.try_get(6)?,
                    };
                    let before = before.and_then(|sources| sources.get(name));
                    let before = before.and_then(|source| source.schema.as_ref());
                    Some(OwnSchema::new(&provider, &options, described, before))
                }
                None => None,
            };
            Ok(Source {
                id: row.try_get(7)?,
                name: name.into(),
                provider,
                options,
                enabled: row.try_get(3)?,
                schema,
                former_names: row
                    .try_get::<_, Vec<&str>>(8)?
                    .into_iter()
                    .map(Arc::from)
                    .collect(),
            })
        };
        let sources: Result<Vec<_>, tokio_postgres::Error> = rows.iter().map(source).collect();
        sources.map_err(|error| describe(&error))
    }

    pub(crate) async fn resume(&self, source: &str) -> Result<Resume, String> {
        let row = bounded(self.0.query_one(RESUME, &[(&source, Type::TEXT)])).await?;
        let read = || {
            Ok::<_, tokio_postgres::Error>(Resume {
                cursor: row.try_get(0)?,
                secret: row.try_get(1)?,
            })
        };
        read().map_err(|error| describe(&error))
    }

    /// Says how a stream is doing.
    pub(crate) async fn report(&self, report: &Report) -> Result<(), String> {
        let Report { source, status } = report;
        let failures = i32::try_from(status.failures).unwrap_or(i32::MAX);
        let params: [Param<'_>; 7] = [
            (&source.as_ref(), Type::TEXT),
            (&status.state.as_str(), Type::TEXT),
            (&report::worker(), Type::TEXT),
            (&failures, Type::INT4),
            (&status.last_error, Type::TEXT),
            (&status.next_try, Type::TIMESTAMPTZ),
            (&status.last_error_at, Type::TIMESTAMPTZ),
        ];
        bounded(self.0.query(REPORT, &params)).await.map(|_| ())
    }

    /// Writes a gap of a stream, and returns its id; `None` if another worker has the stream
    /// since.
    pub(crate) async fn report_gap(&self, report: &ReportGap) -> Result<Option<i64>, String> {
        let ReportGap { source, epoch, gap } = report;
        let params: [Param<'_>; 5] = [
            (&source.as_ref(), Type::TEXT),
            (&gap.cause.as_str(), Type::TEXT),
            (&gap.detail, Type::TEXT),
            (&gap.resume_after, Type::TEXT),
            (epoch, Type::INT8),
        ];
        let row = bounded(self.0.query_one(REPORT_GAP, &params)).await?;
        row.try_get(0).map_err(|error| describe(&error))
    }

    /// Number of open gaps of each source.
    pub(crate) async fn open_gaps(&self) -> Result<HashMap<Arc<str>, i64>, String> {
        let rows = bounded(self.0.query(OPEN_GAPS, &[])).await?;
        let gaps = |row: &tokio_postgres::Row| {
            let name: &str = row.try_get(0)?;
            Ok((Arc::from(name), row.try_get(1)?))
        };
        let gaps: Result<_, tokio_postgres::Error> = rows.iter().map(gaps).collect();
        gaps.map_err(|error| describe(&error))
    }

    /// The lag of the log's horizon and of the consumers.
    pub(super) async fn lag(&self) -> Result<Lag, String> {
        let rows = bounded(self.0.query(LAG, &[])).await?;
        let mut lag = Lag::default();
        let mut read = || {
            for row in &rows {
                let age: Option<f64> = row.try_get(2)?;
                match row.try_get::<_, Option<String>>(0)? {
                    None => lag.horizon = age,
                    Some(consumer) => {
                        let events: Option<i32> = row.try_get(1)?;
                        let behind = events.map(|events| (events, age.unwrap_or_default()));
                        lag.consumers.insert(consumer, behind);
                    }
                }
            }
            Ok::<_, tokio_postgres::Error>(())
        };
        read().map_err(|error| describe(&error))?;
        Ok(lag)
    }

    /// Takes or keeps the streams of these sources, as far as no other worker has them.
    /// Also says whether a failure is that of the connection.
    pub(crate) async fn hold(
        &self,
        holder: Uuid,
        sources: &[&str],
        lease: Duration,
    ) -> Result<HashMap<Arc<str>, Holding>, Unheld> {
        let params: [Param<'_>; 4] = [
            (&holder, Type::UUID),
            (&report::worker(), Type::TEXT),
            (&sources, Type::TEXT_ARRAY),
            (&lease.as_secs_f64(), Type::FLOAT8),
        ];
        // Later than that, others may have the streams.
        let rows = within(lease.min(TIMEOUT), self.0.query(HOLD, &params)).await;
        let rows = rows.map_err(|reason| self.unheld(reason))?;
        let holding = |row: &tokio_postgres::Row| {
            let source: &str = row.try_get(0)?;
            let wait: f64 = row.try_get(2)?;
            let holding = match row.try_get(1)? {
                Some(epoch) => Holding::Ours { epoch },
                None => Holding::Others {
                    // Rows are others' words: no negative or endless time.
                    left: Duration::try_from_secs_f64(wait).unwrap_or(lease),
                },
            };
            Ok((Arc::from(source), holding))
        };
        let held: Result<_, tokio_postgres::Error> = rows.iter().map(holding).collect();
        held.map_err(|error| Unheld::Refused(describe(&error)))
    }

    fn unheld(&self, failure: Unanswered) -> Unheld {
        match failure {
            Unanswered::Refused(error) if !self.0.is_closed() => {
                let failure = Failure::from(error);
                let reason = failure.reason.to_string();
                match failure.next {
                    Next::Reconnect => Unheld::Lost(reason),
                    _ => Unheld::Refused(reason),
                }
            }
            other => Unheld::Lost(other.to_string()),
        }
    }

    /// Lets others take what this worker held.
    pub(crate) async fn release(&self, holder: Uuid) -> Result<(), String> {
        let params: [Param<'_>; 1] = [(&holder, Type::UUID)];
        bounded(self.0.query(RELEASE, &params)).await.map(|_| ())
    }

    /// Writes a gap, and returns its id.
    pub(crate) async fn write_gap(&self, gap: &NewGap) -> Result<Option<i64>, Unwritten> {
        let headers = gap.headers.as_deref().map(Json);
        let params: [Param<'_>; 8] = [
            (&gap.source, Type::TEXT),
            (&gap.cause, Type::TEXT),
            (&gap.from, Type::TIMESTAMPTZ),
            (&gap.to, Type::TIMESTAMPTZ),
            (&gap.detail, Type::TEXT),
            (&gap.provider, Type::TEXT),
            (&headers, Type::JSONB),
            (&gap.once, Type::BOOL),
        ];
        let row = within(TIMEOUT, self.0.query_one(WRITE_GAP, &params)).await;
        let row = row.map_err(|unanswered| self.unwritten(unanswered))?;
        row.try_get(0)
            .map_err(|error| Unwritten::Refused(describe(&error)))
    }

    /// Keeps a refused request in `tidings.rejected`.
    pub(crate) async fn keep_refusal(&self, refusal: &KeepRefusal) -> Result<(), Unwritten> {
        let body: &[u8] = &refusal.body;
        let params: [Param<'_>; 6] = [
            (&refusal.source.as_ref(), Type::TEXT),
            (&refusal.received, Type::TIMESTAMPTZ),
            (&refusal.reason, Type::TEXT),
            (&Json(&refusal.headers), Type::JSONB),
            (&body, Type::BYTEA),
            (&refusal.bytes, Type::INT8),
        ];
        let kept = within(TIMEOUT, self.0.query(KEEP_REFUSAL, &params)).await;
        kept.map(|_| ())
            .map_err(|unanswered| self.unwritten(unanswered))
    }

    fn unwritten(&self, unanswered: Unanswered) -> Unwritten {
        match unanswered {
            Unanswered::Refused(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => {
                Unwritten::NoSource
            }
            unanswered => match self.unheld(unanswered) {
                Unheld::Lost(reason) => Unwritten::Away(reason),
                Unheld::Refused(reason) => Unwritten::Refused(reason),
            },
        }
    }

    /// The source, if these headers (a JSON object) are what it demands, without regard to
    /// a body.
    pub(crate) async fn accepts(
        &self,
        source: &str,
        headers: &str,
    ) -> Result<Option<String>, String> {
        let params: [Param<'_>; 2] = [(&source, Type::TEXT), (&Json(headers), Type::JSONB)];
        let row = bounded(self.0.query_one(ACCEPTS, &params)).await?;
        row.try_get(0).map_err(|error| describe(&error))
    }

    /// Notifies those who wait for events.
    pub(crate) async fn wake(&self) -> Result<(), Unheld> {
        self.run(WAKE).await
    }

    /// Raises the horizon of an idle log.
    pub(crate) async fn tick(&self) -> Result<(), Unheld> {
        self.run(TICK).await
    }

    async fn run(&self, sql: &'static str) -> Result<(), Unheld> {
        let done = within(TIMEOUT, self.0.query_often(sql, &[])).await;
        done.map(|_| ()).map_err(|reason| self.unheld(reason))
    }

    /// The enabled source of `provider` that these headers (a JSON object) belong to.
    pub(crate) async fn find(
        &self,
        provider: &str,
        headers: &str,
    ) -> Result<Option<String>, String> {
        let params: [Param<'_>; 2] = [(&provider, Type::TEXT), (&Json(headers), Type::JSONB)];
        let row = bounded(self.0.query_one(FIND, &params)).await?;
        row.try_get(0).map_err(|error| describe(&error))
    }
}

async fn bounded<T>(
    query: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, String> {
    let answer = within(TIMEOUT, query).await;
    answer.map_err(|unanswered| unanswered.to_string())
}

#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("{}", describe(.0))]
    Refused(tokio_postgres::Error),
    #[error("Postgres does not answer")]
    Late,
}

async fn within<T>(
    limit: Duration,
    query: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Unanswered> {
    match tokio::time::timeout(limit, query).await {
        Ok(result) => result.map_err(Unanswered::Refused),
        Err(_) => Err(Unanswered::Late),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    #[test]
    fn the_page_of_the_outages_states_when_the_connection_is_given_up() {
        let words = format!("after {} s the connection over which", TIMEOUT.as_secs());
        crate::testing::documents::states("docs/outages.md", &words);
    }

    #[tokio::test(start_paused = true)]
    async fn a_postgres_that_has_vanished_does_not_hold_up_a_drain() {
        let started = Instant::now();
        let read = bounded(std::future::pending::<Result<(), _>>());
        // What a drain has unless it is told otherwise.
        let read = timeout(Duration::from_secs(25), read).await;
        assert_eq!(read, Ok(Err("Postgres does not answer".to_owned())));
        assert!(started.elapsed() <= Duration::from_secs(10));
    }
}
