//! JSON text as a parameter of a statement.

use std::{
    error::Error,
    fmt::{self, Write as _},
};

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, accepts, to_sql_checked};

/// JSON text as a `jsonb` parameter, without parsing it here.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: fmt::Display + fmt::Debug> ToSql for Json<T> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        /// Version byte of the binary form of `jsonb`, before the text.
        const VERSION: u8 = 1;
        out.extend_from_slice(&[VERSION]);
        write!(out, "{}", self.0)?;
        Ok(IsNull::No)
    }

    accepts!(JSONB);
    to_sql_checked!();
}
