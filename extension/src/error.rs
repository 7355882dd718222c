//! Errors as Postgres shows them: a SQLSTATE, a message, and a hint.

use pgrx::{PgSqlErrorCode, pg_sys::panic::ErrorReport};

/// An ERROR that a function returns rather than raises, so that nothing unwinds.
#[track_caller]
pub(crate) fn error(code: PgSqlErrorCode, message: impl Into<String>) -> ErrorReport {
    ErrorReport::new(code, message.into(), "tidings")
}

/// An error about a value that the caller passed and can correct.
#[track_caller]
pub(crate) fn invalid(message: impl Into<String>, hint: impl Into<String>) -> ErrorReport {
    error(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message).set_hint(hint)
}

/// Keeps Rust's backtraces out of errors, whatever `RUST_BACKTRACE` is where the server was
/// started. They are of no use in a DETAIL, and where memory is short there is none for them.
pub(crate) fn without_backtraces() {
    // SAFETY: a backend has one thread, in which the library is being loaded.
    unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") };
}
