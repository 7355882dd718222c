//! The providers' times.
//!
//! No provider documents completely how its times are written. Every unambiguous form is
//! therefore accepted: numbers of any common unit, by their size, and date-times. No
//! value passes through floating point, and digits finer than a microsecond are cut off,
//! never rounded, because a time is part of an identity and must always be read the same.

mod digits;
mod epoch;
mod text;

use jiff::{Timestamp, tz::TimeZone};

pub use self::{digits::is_date, text::is_format};

/// Microseconds since 1970-01-01 UTC, which is the precision of Postgres.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(i64);

impl Micros {
    /// `None` before 1970 or after 9999, because no provider's event can be of such a
    /// time.
    pub fn new(micros: i64) -> Option<Self> {
        let end = Timestamp::MAX.as_microsecond();
        (0..=end).contains(&micros).then_some(Self(micros))
    }

    pub const fn get(self) -> i64 {
        self.0
    }

    /// `None` for the start of 1970, which is the number 0 and means that a time was never set.
    pub fn if_set(self) -> Option<Self> {
        (self.0 != 0).then_some(self)
    }

    /// Whole milliseconds since 1970-01-01 UTC.
    pub const fn ms(self) -> u64 {
        self.0.unsigned_abs() / 1000
    }

    pub fn from_ms(ms: u64) -> Option<Self> {
        i64::try_from(ms)
            .ok()?
            .checked_mul(1000)
            .and_then(Self::new)
    }

    /// A number as [`Micros::from_epoch`] reads it, or a text as [`Micros::from_text`] does.
    pub fn from_any(text: &str, zone: &TimeZone) -> Option<Self> {
        // A digit and a hyphen after it are part of no number.
        let is_date = matches!(text.as_bytes().get(3..5), Some([b'0'..=b'9', b'-']));
        let number = if is_date {
            None
        } else {
            Self::from_epoch(text)
        };
        number.or_else(|| Self::from_text(text, zone))
    }
}

/// Whether this text means that a time was never set: the year 1 of .NET and Go, in some
/// order of day and month, or as a number; or the start of 1970 in whatever zone.
pub fn is_never(text: &str) -> bool {
    // The beginning of seconds and milliseconds.
    const SECONDS: &str = "-62135596800";
    const DATES: [&str; 4] = ["0001-01-01", "01/01/0001", "1/1/0001", "01.01.0001"];
    const STARTS: [&str; 4] = ["1970-01-01", "01/01/1970", "1/1/1970", "01.01.1970"];
    let has = |what: &&str| text.contains(what);
    // The year is looked for first, because nearly every text has another.
    has(&"0001") && DATES.iter().any(has)
        || has(&"1970") && STARTS.iter().any(has) && has(&"00:00:00")
        || text.contains('-') && has(&SECONDS)
}

/// A time zone by its IANA name; `None` if there is no such zone.
pub fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}
