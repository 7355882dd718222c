//! `tidings.ingest_batch` on one connection, opened when it is first needed and
//! anew whenever it fails.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_postgres::types::Type;

use super::request::{Receipt, Request, Verdict};
use crate::{
    postgres::{
        ConnectError, Connector, Param, Session,
        failure::{Failure, Next},
        json::Json,
    },
    process::exit::{Code, Exit, Fatal},
};

const INGEST: &str = "select verdict, inserted, duplicate, rejected, detail \
     from tidings.ingest_batch($1, $2, $3) order by ordinal";

/// The probe, and a batch without requests, which needs the same rights as any.
const PROBE: &str = "select tidings.probe_ingest(), \
     (select count(*) from tidings.ingest_batch('{}', '{}', '{}'))";

/// Writes requests over a connection of its own.
pub(crate) trait Ingest: Unpin + 'static {
    /// Opens the connection, unless it is open.
    fn open(&mut self) -> impl Future<Output = Result<(), Failure>>;

    /// Writes a batch in one transaction: all of it, or an error for all of it.
    fn ingest(
        &mut self,
        requests: &[Request],
    ) -> impl Future<Output = Result<Vec<Receipt>, Failure>>;

    /// Does what ingest needs and leaves nothing, so that an error is the database's.
    fn probe(&mut self) -> impl Future<Output = Result<(), Failure>>;
}

/// A connection that is opened when it is needed.
#[derive(Debug)]
pub(crate) struct Lane {
    connector: Arc<Connector>,
    fatal: Fatal,
    session: Option<Session>,
    /// Statements in a row that had no answer.
    unanswered: u32,
}

/// What the server's own statement timeout leaves out: the way there and back, and a
/// commit, which waits for synchronous standbys however long they are away.
const ANSWER: Duration = Duration::from_secs(5);
/// So many times as long the next answer is waited for. What is given up may have left a
/// connection behind at the server, with a commit that waits for a standby: one more each
/// time, and with a limit to this that would in the end be all that the server has.
const LONGER: u32 = 4;

impl Lane {
    pub(crate) fn new(connector: Arc<Connector>, fatal: Fatal) -> Self {
        Self {
            connector,
            fatal,
            session: None,
            unanswered: 0,
        }
    }

    /// An open connection: the one that there is, or a new one.
    async fn session(&mut self) -> Result<Session, Failure> {
        if let Some(session) = self.session.take().filter(|session| !session.is_closed()) {
            return Ok(session);
        }
        let session = self.connector.connect(|_| ()).await;
        session.map_err(|error| match error {
            ConnectError::Unreachable(reason) => Failure::new(Next::Unconnected, reason),
            ConnectError::Incompatible(reason) => {
                self.fatal
                    .exit(Exit::new(Code::Incompatible, reason.clone()));
                Failure::new(Next::Unconnected, reason)
            }
        })
    }
}

impl Ingest for Lane {
    async fn open(&mut self) -> Result<(), Failure> {
        self.session = Some(self.session().await?);
        Ok(())
    }

    async fn ingest(&mut self, requests: &[Request]) -> Result<Vec<Receipt>, Failure> {
        let session = self.session().await?;
        // The server bounds the statement; this bounds a server that has vanished.
        let limit = limit(self.connector.statement_timeout(), self.unanswered);
        let result = match timeout(limit, ingest_batch(&session, requests)).await {
            Ok(result) => {
                self.unanswered = 0;
                result
            }
            Err(_) => {
                self.unanswered = self.unanswered.saturating_add(1);
                Err(Failure::new(Next::Reconnect, "Postgres does not answer"))
            }
        };
        // An error of the connection's own; what one request causes does not cost it.
        if !matches!(&result, Err(failure) if failure.next == Next::Reconnect) {
            self.session = Some(session);
        }
        result
    }

    async fn probe(&mut self) -> Result<(), Failure> {
        let session = self.session().await?;
        // Nothing is repeated that the server has begun, so that it need not be given longer
        // and longer; and nothing is stored until the next probe.
        let limit = limit(Duration::ZERO, self.unanswered.min(1));
        let Ok(probed) = timeout(limit, session.query(PROBE, &[])).await else {
            self.unanswered = self.unanswered.saturating_add(1);
            return Err(Failure::new(Next::Reconnect, "Postgres does not answer"));
        };
        probed?;
        self.unanswered = 0;
        // A failure may come from what the connection was opened with: its role, its version
        // of the extension. So only a success keeps it.
        self.session = Some(session);
        Ok(())
    }
}

/// How long to wait for an answer, after so many that did not come.
fn limit(statement_timeout: Duration, unanswered: u32) -> Duration {
    let limit = statement_timeout + ANSWER;
    limit.saturating_mul(LONGER.saturating_pow(unanswered))
}

async fn ingest_batch(session: &Session, requests: &[Request]) -> Result<Vec<Receipt>, Failure> {
    let sources: Vec<&str> = requests.iter().map(|r| r.source.as_ref()).collect();
    let bodies: Vec<&[u8]> = requests.iter().map(|r| r.body.as_ref()).collect();
    let headers: Vec<Json<_>> = requests.iter().map(|r| Json(&r.headers)).collect();
    let params: [Param<'_>; 3] = [
        (&sources, Type::TEXT_ARRAY),
        (&bodies, Type::BYTEA_ARRAY),
        (&headers, Type::JSONB_ARRAY),
    ];
    let rows = session.query_often(INGEST, &params).await?;
    rows.iter().map(receipt).collect()
}

fn receipt(row: &tokio_postgres::Row) -> Result<Receipt, Failure> {
    let word: &str = row.try_get(0)?;
    let verdict = Verdict::parse(word)
        .ok_or_else(|| Failure::new(Next::Refuse, format!("unknown verdict {word:?}")))?;
    let count = |column: usize| -> Result<u32, Failure> {
        let count: Option<i32> = row.try_get(column)?;
        Ok(count.unwrap_or(0).try_into().unwrap_or(0))
    };
    Ok(Receipt {
        verdict,
        inserted: count(1)?,
        duplicate: count(2)?,
        rejected: count(3)?,
        detail: row.try_get(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::documents::states;

    #[test]
    fn the_documents_state_when_a_connection_is_given_up() {
        let answer = ANSWER.as_secs();
        let help = format!("has not answered {answer} s later");
        states("worker/src/settings/database/mod.rs", &help);
        let page = format!("after `--statement-timeout` and {answer} s");
        states("docs/outages.md", &page);
    }

    #[test]
    fn in_a_week_a_commit_that_waits_is_given_up_eight_times() {
        let timeout = Duration::from_secs(15);
        let waits: Vec<u64> = (0..9).map(|n| limit(timeout, n).as_secs()).collect();
        assert_eq!(waits[..4], [20, 80, 320, 1280]);
        let week = 7 * 24 * 3600;
        assert!(waits[..8].iter().sum::<u64>() < week);
        assert!(waits.iter().sum::<u64>() > week);
        assert!(limit(timeout, u32::MAX) > limit(timeout, 8));
    }
}
