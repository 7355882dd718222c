//! A connection that statements go through, each with the worker's limits.
//!
//! - A connection of its own is prepared once, by settings of its session.
//! - One that a pooler shares among its clients has no session: what is set there stays
//!   for strangers, and what is prepared there is not found again. Settings are then
//!   those of a transaction, and the statement goes between them and the commit, all in
//!   one round trip.
//! - Statements are never prepared by name. What they return are types that every server
//!   knows, so that no other statement is needed to ask for them.

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
    /// Begins a transaction, where each statement needs one.
    begin: Option<String>,
}

impl Session {
    /// A session of its own.
    pub(super) fn own(client: Client) -> Self {
        Self {
            client,
            begin: None,
        }
    }

    /// A shared one, where these settings (`SET LOCAL`) begin each transaction.
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

    /// For what is said to the session itself.
    pub(crate) async fn execute(&self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await
    }

    /// With more settings, of the kind that it began with.
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

    /// A statement's rows are read up to `ReadyForQuery`, which the server sends after its
    /// implicit commit: an error of the commit itself (a deferred constraint, a full disk)
    /// is seen there, although `CommandComplete` has gone before it.
    async fn committed<T>(
        &self,
        statement: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let Some(begin) = &self.begin else {
            return statement.await;
        };
        // Sent in this order, at once: nobody waits for an answer in between, and none of
        // them stays behind should whoever waits here give up. After an error the commit
        // is a rollback.
        let begun = self.client.batch_execute(begin);
        let committed = self.client.batch_execute("commit");
        let (begun, rows, committed) = join3(begun, statement, committed).await;
        begun?;
        let rows = rows?;
        committed?;
        Ok(rows)
    }
}
