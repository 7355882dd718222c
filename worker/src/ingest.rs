//! `tidings.ingest_batch` on one connection, opened when it is first needed and
//! anew whenever it fails.

use std::{error::Error, sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio_postgres::{
    Client, Statement,
    types::{IsNull, ToSql, Type, accepts, to_sql_checked},
};

use crate::{
    database::{ConnectError, Connector},
    exit::{Code, Exit, Fatal},
    failure::{Failure, Next},
    request::{Receipt, Request, Verdict},
};

const INGEST: &str = "select verdict, inserted, duplicate, rejected, detail \
     from tidings.ingest_batch($1, $2, $3) order by ordinal";

/// Writes a batch in one transaction: all of it, or an error for all of it.
pub(crate) trait Ingest: Unpin + 'static {
    fn ingest(
        &mut self,
        requests: &[Request],
    ) -> impl Future<Output = Result<Vec<Receipt>, Failure>>;
}

/// A connection with the statement prepared on it.
#[derive(Debug)]
pub(crate) struct Lane {
    connector: Arc<Connector>,
    fatal: Fatal,
    link: Option<Link>,
}

#[derive(Debug)]
struct Link {
    client: Client,
    ingest: Statement,
}

impl Lane {
    pub(crate) fn new(connector: Arc<Connector>, fatal: Fatal) -> Self {
        Self {
            connector,
            fatal,
            link: None,
        }
    }

    async fn open(&self) -> Result<Link, Failure> {
        let client = match self.connector.connect(|_| ()).await {
            Ok(client) => client,
            Err(ConnectError::Unreachable(reason)) => {
                return Err(Failure::new(Next::Reconnect, reason));
            }
            Err(ConnectError::Incompatible(reason)) => {
                self.fatal
                    .exit(Exit::new(Code::Incompatible, reason.clone()));
                return Err(Failure::new(Next::Refuse, reason));
            }
        };
        let ingest = client.prepare(INGEST).await?;
        Ok(Link { client, ingest })
    }
}

impl Ingest for Lane {
    async fn ingest(&mut self, requests: &[Request]) -> Result<Vec<Receipt>, Failure> {
        let link = match self.link.take() {
            Some(link) if !link.client.is_closed() => link,
            _ => self.open().await?,
        };
        // The server bounds the statement; this bounds a server that has vanished.
        let limit = self.connector.statement_timeout() + Duration::from_secs(5);
        let result = match tokio::time::timeout(limit, link.ingest_batch(requests)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::new(Next::Reconnect, "Postgres does not answer")),
        };
        // A refusal may come from what the connection was opened with: its role, its
        // version of the extension. So only these keep it.
        if matches!(
            &result,
            Ok(_)
                | Err(Failure {
                    next: Next::Retry | Next::Split | Next::Isolate,
                    ..
                })
        ) {
            self.link = Some(link);
        }
        result
    }
}

impl Link {
    /// One statement is one transaction. `query` reads up to `ReadyForQuery`, which
    /// the server sends after its implicit commit: an error of the commit itself (a
    /// deferred constraint, a full disk) is seen here, although `CommandComplete`
    /// has gone before it.
    async fn ingest_batch(&self, requests: &[Request]) -> Result<Vec<Receipt>, Failure> {
        let sources: Vec<&str> = requests.iter().map(|r| r.source.as_ref()).collect();
        let bodies: Vec<&[u8]> = requests.iter().map(|r| r.body.as_ref()).collect();
        let headers: Vec<Json<'_>> = requests.iter().map(|r| Json(&r.headers)).collect();
        let rows = self
            .client
            .query(&self.ingest, &[&sources, &bodies, &headers])
            .await?;
        rows.iter().map(receipt).collect()
    }
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

/// JSON text as a `jsonb` parameter, without parsing it here.
#[derive(Debug)]
pub(crate) struct Json<'a>(pub(crate) &'a str);

impl ToSql for Json<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        /// Of the binary form of `jsonb`: this byte, then the text.
        const VERSION: u8 = 1;
        out.extend_from_slice(&[VERSION]);
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    accepts!(JSONB);
    to_sql_checked!();
}
