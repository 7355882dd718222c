//! A connection that runs statements, each within the worker's limits.
//!
//! - A direct connection is prepared once, by settings of its session.
//! - A connection through a pooler has no session of its own: a setting would stay for
//!   other clients, and a prepared statement would not be found again. The settings are
//!   then those of a transaction, and the statement is sent between them and the commit,
//!   all in one round trip.
//! - Statements are never prepared by name. They return only types that every server
//!   knows, so that no further statement is needed to look up a type.

use futures_util::future::join3;
use tokio_postgres::{
    Client, Error, Row,
    types::{ToSql, Type},
};

/// A parameter, and its type.
pub(crate) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    /// The statement that begins a transaction, if each statement needs its own.
    begin: Option<String>,
}

impl Session {
    /// A session over a direct connection.
    pub(super) fn own(client: Client) -> Self {
        Self {
            client,
            begin: None,
        }
    }

    /// A session through a pooler, where these settings (`SET LOCAL`) begin each
    /// transaction.
    pub(super) fn shared(client: Client, settings: &str) -> Self {
        Self {
            client,
            begin: Some(format!("begin isolation level read committed; {settings}")),
        }
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.begin.is_some()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs a statement that concerns the session itself.
    pub(crate) async fn execute(&self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await
    }

    /// The session with further settings, of the same scope.
    pub(super) async fn with(mut self, settings: &str) -> Result<Self, Error> {
        match &mut self.begin {
            Some(begin) => {
                begin.push_str("; ");
                begin.push_str(settings);
            }
            None => self.execute(settings).await?,
        }
        Ok(self)
    }

    /// Runs one statement, in a transaction that has committed on return.
    pub(crate) async fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Error> {
        self.committed(self.client.query_typed(sql, params)).await
    }

    /// As [`Session::query`], for a statement that returns one row.
    pub(crate) async fn query_one(&self, sql: &str, params: &[Param<'_>]) -> Result<Row, Error> {
        let row = self.client.query_typed_one(sql, params);
        self.committed(row).await
    }

    /// As [`Session::query`], for a statement that returns at most one row.
    pub(crate) async fn query_opt(
        &self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Option<Row>, Error> {
        let row = self.client.query_typed_opt(sql, params);
        self.committed(row).await
    }

    /// Reads the rows of a statement up to `ReadyForQuery`, which the server sends after
    /// its implicit commit. An error of the commit itself (a deferred constraint, a full
    /// disk) is reported there, although `CommandComplete` was sent before it.
    async fn committed<T>(
        &self,
        statement: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let Some(begin) = &self.begin else {
            return statement.await;
        };
        // The messages are sent in this order without waiting for an answer in between,
        // so that none of them is left out if the caller gives up. After an error the
        // commit is a rollback.
        let begun = self.client.batch_execute(begin);
        let committed = self.client.batch_execute("commit");
        let (begun, rows, committed) = join3(begun, statement, committed).await;
        begun?;
        let rows = rows?;
        committed?;
        Ok(rows)
    }
}
