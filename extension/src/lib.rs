//! `CREATE EXTENSION tidings`: a thin shell that gives Postgres what `tidings-core` knows.
//!
//! Rust computes rows, SQL stores rows: the tables, the writing and the reading are in
//! `sql/`, in the order of `sql/install.sql`. SQL declares the functions of this library
//! too, each beside its comment (hence `sql = false`), under the symbol that pgrx gives a
//! function `f`: `f_wrapper`. A test compares the declarations with the library.
//!
//! SQL that was released goes on to call the symbols that it names. So a function whose
//! arguments or columns change gets another name here, and the old one stays.
//!
//! # Layout
//!
//! - [`ulid`]: the type, its text form, and the functions over it
//! - [`compare`]: how its values are compared, without pgrx's guard
//! - [`send`]: its output functions, without pgrx's guard either
//! - [`signature`]: HMAC-SHA1, and a source's policy
//! - [`normalize`]: a body becomes rows
//! - [`record`]: the greater of two records
//! - [`older`]: what SQL of earlier versions calls
//! - [`source`]: the providers, and what is checked when a source is added
//! - [`schema`]: what is checked when a source gets a schema of its own
//! - [`access`]: the conditions under which a transaction can use the log
//! - [`head`]: the greatest position that is committed
//! - [`log`]: the announcements and the ids of the log
//! - [`lock`]: the locks by which they are announced
//! - [`consumer`]: the session's last polled id, and its start
//! - [`memory`]: what is asked for before it is allocated
//! - [`error`]: SQLSTATE, message, detail and hint

mod access;
mod compare;
mod consumer;
mod error;
mod head;
mod lock;
mod log;
mod memory;
mod normalize;
mod older;
mod record;
mod schema;
mod send;
mod signature;
mod source;
mod ulid;

use pgrx::prelude::*;

::pgrx::pg_module_magic!(name, version);

/// Called when the library is loaded.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    error::without_backtraces();
    log::register_settings();
}
