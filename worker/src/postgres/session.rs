//! A connection that runs statements, each within the worker's limits.
//!
//! - A direct connection is prepared once, by settings of its session.
//! - A connection through a pooler has no session of its own: a setting would stay for
//!   other clients, and a prepared statement would not be found again. The settings are
//!   then those of a transaction, and the statement is sent between them and the commit,
//!   all in one round trip.
//! - Only a direct connection prepares statements by name, and only those that run again
//!   and again. All others are parsed each time, in one round trip.
//! - Statements return only types that every server knows, so that no further statement is
//!   needed to look up a type.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures_util::{TryStreamExt, future::join3};
use tokio_postgres::{
    Client, Error, Row, Statement,
    types::{ToSql, Type},
};

/// A parameter, and its type.
pub(crate) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

pub(crate) struct Session {
    client: Client,
    /// The statement that begins a transaction, if each statement needs its own.
    begin: Option<String>,
    /// The statements that are prepared.
    prepared: Mutex<HashMap<&'static str, Statement>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// A session over a direct connection.
    pub(super) fn own(client: Client) -> Self {
        Self {
            client,
            begin: None,
            prepared: Mutex::default(),
        }
    }

    /// A session through a pooler, where these settings (`SET LOCAL`) begin each
    /// transaction.
    pub(super) fn shared(client: Client, settings: &str) -> Self {
        Self {
            client,
            begin: Some(format!("begin isolation level read committed; {settings}")),
            prepared: Mutex::default(),
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

    /// The same as [`Session::query`], for a statement that runs again and again: a direct connection
    /// prepares it once.
    pub(crate) async fn query_often(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Error> {
        if self.is_shared() {
            return self.query(sql, params).await;
        }
        let statement = self.prepared().get(sql).cloned();
        let statement = match statement {
            Some(statement) => statement,
            None => {
                let types: Vec<Type> = params.iter().map(|(_, of)| of.clone()).collect();
                let statement = self.client.prepare_typed(sql, &types).await?;
                self.prepared().insert(sql, statement.clone());
                statement
            }
        };
        let params = params.iter().map(|(value, _)| *value as &dyn ToSql);
        let rows = self.client.query_raw(&statement, params).await?;
        rows.try_collect().await
    }

    fn prepared(&self) -> MutexGuard<'_, HashMap<&'static str, Statement>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
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
