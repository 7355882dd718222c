//! The providers' clocks.
//!
//! No provider's page says all of how its times are written, so every form that cannot
//! be mistaken for another is read: numbers of any unit in use, by their size, and
//! date-times. Nothing passes through floating point, and finer digits than a
//! microsecond are cut off, never rounded: a time is part of an identity, and must read
//! the same whoever reads it.

mod epoch;
mod text;

use jiff::{Timestamp, tz::TimeZone};

pub use text::is_format;

/// Microseconds since 1970-01-01 UTC: what Postgres keeps of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(i64);

impl Micros {
    /// None before 1970 or after 9999, which no provider's event can be.
    pub fn new(micros: i64) -> Option<Self> {
        let end = Timestamp::MAX.as_microsecond();
        (0..=end).contains(&micros).then_some(Self(micros))
    }

    pub const fn get(self) -> i64 {
        self.0
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
        Self::from_epoch(text).or_else(|| Self::from_text(text, zone))
    }
}

/// A time zone by its IANA name; none where there is no such zone.
pub fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}
