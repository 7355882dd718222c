//! What a failed statement means for its requests, and what happens next.

use std::sync::Arc;

use strum::EnumIter;
use tokio_postgres::error::SqlState;

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
pub(crate) enum Next {
    /// The same batch again on the same connection: it lost a race.
    Retry,
    /// The same batch again on a new connection.
    Reconnect,
    /// No connection can be opened: another lane may have one.
    Unconnected,
    /// One request may be the cause: the halves of the batch are tried until that request
    /// is alone and is declined.
    Isolate,
    /// The whole database may be the cause, or one request: an operator must act. The batch is
    /// halved too, and if a request fails alone, a probe tells which of the two it is.
    Refuse,
}

impl Next {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Reconnect => "reconnect",
            Self::Unconnected => "unconnected",
            Self::Isolate => "isolate",
            Self::Refuse => "refuse",
        }
    }
}

#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Failure {
    pub(crate) next: Next,
    pub(crate) reason: Arc<str>,
}

impl Failure {
    pub(crate) fn new(next: Next, reason: impl Into<Arc<str>>) -> Self {
        Self {
            next,
            reason: reason.into(),
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let next = match error.code() {
            Some(code) => classify(code),
            // The parameters could not be encoded, and the connection is unaffected.
            None if !error.is_closed() && is_conversion(&error) => Next::Isolate,
            None => Next::Reconnect,
        };
        Self::new(next, describe(&error))
    }
}

/// An error in one line: Postgres' own words with its SQLSTATE and detail, or the
/// client's with their cause.
pub(crate) fn describe(error: &tokio_postgres::Error) -> String {
    use std::error::Error;
    if let Some(error) = error.as_db_error() {
        // The detail of a violated constraint is the row, which contains the secrets of
        // the request.
        let constraint = error.code().code().starts_with("23");
        let detail = error.detail().filter(|_| !constraint);
        let detail = detail.map(|d| format!(": {d}")).unwrap_or_default();
        let pooler = matches!(error.code().code(), "26000" | "42P05");
        let detail = match pooler {
            true => {
                format!("{detail}; if a pooler in transaction mode is in between, set --pooled")
            }
            false => detail,
        };
        return format!("{}{detail} ({})", error.message(), error.code().code());
    }
    let text = error.to_string();
    match error.source().map(ToString::to_string) {
        Some(cause) if !text.contains(&cause) => format!("{text}: {cause}"),
        _ => text,
    }
}

fn is_conversion(error: &tokio_postgres::Error) -> bool {
    error.to_string().starts_with("error serializing parameter")
}

fn classify(code: &SqlState) -> Next {
    match code.code() {
        // A standby answers after a failover: the next connection may find the primary.
        "25006" => Next::Reconnect,
        // A pooled transaction was left open too long: its connection is gone.
        "25P03" => Next::Reconnect,
        // A race: others may be done by the next attempt.
        "40001" | "40P01" => Next::Retry,
        // The lock timeout and the statement timeout, which are no short waits: a lock on a row
        // that a trigger wants for one request, or on a table that all want; half of the batch
        // takes half as long.
        "55P03" | "57014" => Next::Refuse,
        // A cached plan outlived what it was made for; a new connection plans anew.
        "0A000" => Next::Reconnect,
        // A prepared statement is gone, or another client's: see `describe`.
        "26000" | "42P05" => Next::Reconnect,
        other => match other.get(..2) {
            // Connection, operator intervention (shutdown, crash, recovery).
            Some("08" | "57") => Next::Reconnect,
            // Memory, disk, connections: it may pass.
            Some("53") => Next::Retry,
            // A mode of the transaction, a missing object or right: the statement is always
            // the same, but what a trigger of the operator's does is not, and neither is
            // which rows a policy lets through.
            Some("25" | "28" | "3D" | "3F" | "42") => Next::Refuse,
            // An index, a constraint or a trigger of the operator's, or a bug: whatever it
            // is, it must not fail the requests beside it.
            _ => Next::Isolate,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_sorted_by_what_happens_next() {
        let cases = [
            ("22012", Next::Isolate),   // division by zero
            ("22P05", Next::Isolate),   // untranslatable character
            ("54000", Next::Isolate),   // program limit exceeded: too long for an index
            ("23514", Next::Isolate),   // check violation
            ("XX000", Next::Isolate),   // internal error
            ("P0001", Next::Isolate),   // raise
            ("57014", Next::Refuse),    // statement timeout
            ("40001", Next::Retry),     // serialization failure
            ("40P01", Next::Retry),     // deadlock
            ("55P03", Next::Refuse),    // lock timeout
            ("53100", Next::Retry),     // disk full
            ("53300", Next::Retry),     // too many connections
            ("57P01", Next::Reconnect), // administrator's shutdown
            ("57P03", Next::Reconnect), // starting up
            ("08006", Next::Reconnect), // connection failure
            ("25006", Next::Reconnect), // read-only: a standby
            ("25P03", Next::Reconnect), // idle in a transaction for too long
            ("0A000", Next::Reconnect), // cached plan
            ("26000", Next::Reconnect), // no such prepared statement
            ("42P05", Next::Reconnect), // a prepared statement of that name exists
            ("25001", Next::Refuse),    // not READ COMMITTED
            ("28P01", Next::Refuse),    // password
            ("42501", Next::Refuse),    // privilege, or row level security
            ("42703", Next::Refuse),    // no such column, in a trigger perhaps
            ("42883", Next::Refuse),    // no such function
            ("3F000", Next::Refuse),    // no such schema
        ];
        for (code, next) in cases {
            assert_eq!(classify(&SqlState::from_code(code)), next, "{code}");
        }
    }
}
