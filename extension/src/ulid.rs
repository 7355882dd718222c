//! `tidings.ulid`: 16 bytes with the layout of uuid, so that the server's own functions
//! compare, hash, sort and send it.

use std::{cell::RefCell, ffi::CStr, time::SystemTime};

use pgrx::{
    PgSqlErrorCode,
    callconv::{Arg, ArgAbi, BoxRet, FcInfo},
    datum::TimestampWithTimeZone,
    pg_sys::{self, panic::ErrorReport},
    prelude::*,
};
use tidings_core::ulid::{Generator, MAX_MS};

use crate::error::error;

/// Microseconds between 1970, where a ULID begins, and 2000, where a timestamptz does.
pub(crate) const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// A value of `tidings.ulid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ulid(pub(crate) tidings_core::Ulid);

pgrx::impl_sql_translatable!(Ulid, "ulid");

impl FromDatum for Ulid {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _: pg_sys::Oid,
    ) -> Option<Self> {
        // SAFETY: a datum of this type points at 16 bytes, aligned as char.
        (!is_null).then(|| unsafe {
            let bytes = datum.cast_mut_ptr::<[u8; 16]>().read_unaligned();
            Self(tidings_core::Ulid::from_bytes(bytes))
        })
    }
}

impl IntoDatum for Ulid {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        // SAFETY: palloc returns room for 16 bytes, or raises an ERROR.
        unsafe {
            let pointer = pg_sys::palloc(16).cast::<[u8; 16]>();
            pointer.write_unaligned(self.0.to_bytes());
            Some(pg_sys::Datum::from(pointer))
        }
    }

    fn type_oid() -> pg_sys::Oid {
        pgrx::regtypein("tidings.ulid")
    }
}

// SAFETY: both conversions are those of FromDatum and IntoDatum above.
unsafe impl<'fcx> ArgAbi<'fcx> for Ulid {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or(Self(tidings_core::Ulid::MIN))
    }
}

// SAFETY: as above.
unsafe impl BoxRet for Ulid {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> pgrx::datum::Datum<'fcx> {
        match self.into_datum() {
            Some(datum) => unsafe { fcinfo.return_raw_datum(datum) },
            None => fcinfo.return_null(),
        }
    }
}

#[pg_extern(sql = false)]
fn ulid_in(text: &CStr) -> Result<Ulid, ErrorReport> {
    let text = text.to_string_lossy();
    text.parse().map(Ulid).map_err(|reason| {
        // However long it is, the message needs no more memory than is surely there.
        let shown: String = text.chars().take(100).collect();
        error(
            PgSqlErrorCode::ERRCODE_INVALID_TEXT_REPRESENTATION,
            format!("invalid input syntax for type ulid: \"{shown}\""),
        )
        .set_detail(format!("{reason}."))
        .set_hint("A ULID is 26 characters of 0-9 and A-Z without I, L, O and U.")
    })
}

#[pg_extern(sql = false)]
fn ulid_from_bytea(bytes: &[u8]) -> Result<Ulid, ErrorReport> {
    bytes
        .try_into()
        .map(|bytes| Ulid(tidings_core::Ulid::from_bytes(bytes)))
        .map_err(|_| {
            error(
                PgSqlErrorCode::ERRCODE_INVALID_BINARY_REPRESENTATION,
                format!("a ulid has 16 bytes, not {}", bytes.len()),
            )
        })
}

#[pg_extern(sql = false)]
fn ulid_to_timestamptz(value: Ulid) -> Result<TimestampWithTimeZone, ErrorReport> {
    timestamptz(
        i64::try_from(value.0.ms())
            .unwrap_or(i64::MAX)
            .saturating_mul(1000),
    )
}

#[pg_extern(sql = false)]
fn ulid_at(at: TimestampWithTimeZone) -> Result<Ulid, ErrorReport> {
    let micros = i64::from(at).checked_add(POSTGRES_EPOCH);
    micros
        .and_then(|micros| u64::try_from(micros.div_euclid(1000)).ok())
        .and_then(tidings_core::Ulid::at)
        .map(Ulid)
        .ok_or_else(|| {
            error(
                PgSqlErrorCode::ERRCODE_DATETIME_FIELD_OVERFLOW,
                "timestamp out of range for type ulid",
            )
            .set_hint("A ULID holds the times from 1970-01-01 to 10889-08-02, in milliseconds.")
        })
}

#[pg_extern(sql = false)]
fn gen_ulid() -> Result<Ulid, ErrorReport> {
    thread_local! {
        static GENERATOR: RefCell<Generator> = const { RefCell::new(Generator::new()) };
    }
    let random = random()?;
    GENERATOR
        .with_borrow_mut(|generator| generator.next(clock_ms(), random))
        .map(Ulid)
        .map_err(|reason| {
            error(
                PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                reason.to_string(),
            )
            .set_hint("Try again in the next millisecond.")
        })
}

#[pg_extern(sql = false)]
fn clock() -> i64 {
    i64::try_from(clock_ms()).unwrap_or(i64::MAX)
}

#[pg_extern(sql = false)]
fn ulid_smaller(a: Ulid, b: Ulid) -> Ulid {
    a.min(b)
}

#[pg_extern(sql = false)]
fn ulid_larger(a: Ulid, b: Ulid) -> Ulid {
    a.max(b)
}

/// A timestamptz from microseconds since 1970.
pub(crate) fn timestamptz(micros: i64) -> Result<TimestampWithTimeZone, ErrorReport> {
    TimestampWithTimeZone::try_from(micros.saturating_sub(POSTGRES_EPOCH)).map_err(|_| {
        error(
            PgSqlErrorCode::ERRCODE_DATETIME_FIELD_OVERFLOW,
            "timestamp out of range",
        )
    })
}

/// Milliseconds since 1970-01-01 UTC, by the operating system's clock.
pub(crate) fn clock_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis())
        .unwrap_or(MAX_MS)
        .min(MAX_MS)
}

/// Random bytes from the server's strong source, fetched many at a time, because fetching
/// them costs a call into the operating system.
struct Pool {
    bytes: [u8; Self::SIZE],
    /// Number of the bytes that were given out.
    used: usize,
    /// The process that fetched them: a child must not give out those of its parent.
    pid: i32,
}

impl Pool {
    const SIZE: usize = 1000;

    const fn new() -> Self {
        Self {
            bytes: [0; Self::SIZE],
            used: Self::SIZE,
            pid: 0,
        }
    }

    fn take(&mut self) -> Result<[u8; 10], ErrorReport> {
        // SAFETY: reading a global that is set when the process starts.
        let pid = unsafe { pg_sys::MyProcPid };
        if self.pid != pid || self.used >= Self::SIZE {
            // SAFETY: the pointer and the length are those of `bytes`.
            if !unsafe { pg_sys::pg_strong_random(self.bytes.as_mut_ptr().cast(), Self::SIZE) } {
                return Err(error(
                    PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                    "could not generate random values",
                ));
            }
            (self.pid, self.used) = (pid, 0);
        }
        let taken = self.bytes.iter_mut().skip(self.used);
        let mut ten = [0; 10];
        for (to, from) in ten.iter_mut().zip(taken) {
            // No byte stays in memory after it was given out.
            *to = std::mem::take(from);
        }
        self.used += ten.len();
        Ok(ten)
    }
}

/// Ten random bytes.
pub(crate) fn random() -> Result<[u8; 10], ErrorReport> {
    thread_local! {
        static POOL: RefCell<Pool> = const { RefCell::new(Pool::new()) };
    }
    POOL.with_borrow_mut(Pool::take)
}
