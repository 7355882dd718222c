//! The providers' clocks.

use jiff::{Timestamp, civil, tz::TimeZone};

/// Microseconds since 1970-01-01 UTC: what Postgres keeps of a time. Finer digits are
/// cut off, never rounded, so that a time reads the same whoever reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(i64);

/// Above this a number of seconds would lie in the year 5138: it is milliseconds.
const SECONDS_AT_MOST: i64 = 100_000_000_000;

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

    /// Seconds since 1970, or milliseconds where the number is above 1e11; both may
    /// have a fraction.
    pub fn from_epoch(number: &str) -> Option<Self> {
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole = i64::try_from(whole.parse::<u64>().ok()?).ok()?;
        if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let places = if whole > SECONDS_AT_MOST { 3 } else { 6 };
        let scale = 10i64.pow(places);
        let fraction: i64 = fraction
            .bytes()
            .chain(std::iter::repeat(b'0'))
            .take(places as usize)
            .fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        whole
            .checked_mul(scale)?
            .checked_add(fraction)
            .and_then(Self::new)
    }

    /// A date-time of ISO 8601 or RFC 3339, with 0 to 9 fraction digits. One without an
    /// offset is read in `zone`.
    pub fn from_text(text: &str, zone: &TimeZone) -> Option<Self> {
        let at = match text.parse::<Timestamp>() {
            Ok(at) => at,
            // An annotation such as [Europe/Lisbon] would be read over in silence.
            Err(_) if text.contains('[') => return None,
            Err(_) => zone
                .to_timestamp(text.parse::<civil::DateTime>().ok()?)
                .ok()?,
        };
        Self::new(at.as_microsecond())
    }
}

/// A time zone by its IANA name; none where there is no such zone.
pub fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str, zone_name: &str) -> Option<i64> {
        Micros::from_text(text, &zone(zone_name).unwrap()).map(Micros::get)
    }

    #[test]
    fn numbers_are_seconds_or_milliseconds() {
        let at = |number| Micros::from_epoch(number).map(Micros::get);
        assert_eq!(at("1723799271"), Some(1_723_799_271_000_000));
        assert_eq!(at("1723799271123"), Some(1_723_799_271_123_000));
        assert_eq!(at("1723799271.5"), Some(1_723_799_271_500_000));
        assert_eq!(at("1723799271123.4567"), Some(1_723_799_271_123_456));
        assert_eq!(at("100000000000"), Some(100_000_000_000_000_000));
        assert_eq!(at("100000000001"), Some(100_000_000_001_000));
        for wrong in [
            "",
            "-0.5",
            "-1",
            "1e9",
            "1.x",
            "99999999999999999999",
            "9223372036854775807",
            "abc",
        ] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_offset_wins_over_the_zone() {
        let utc = Some(1_727_782_496_000_000);
        assert_eq!(text("2024-10-01T11:34:56Z", "Europe/Lisbon"), utc);
        assert_eq!(text("2024-10-01T13:34:56+02:00", "Europe/Lisbon"), utc);
        assert_eq!(text("2024-10-01T12:34:56", "Europe/Lisbon"), utc);
        assert_eq!(text("2024-10-01 11:34:56", "UTC"), utc);
    }

    #[test]
    fn finer_digits_are_cut_off() {
        for digits in [
            "9",
            "99",
            "999",
            "9999",
            "99999",
            "999999",
            "9999999",
            "999999999",
        ] {
            let at = text(&format!("2024-10-01T11:34:56.{digits}Z"), "UTC").unwrap();
            let micros: String = digits.chars().chain("000000".chars()).take(6).collect();
            assert_eq!(at, 1_727_782_496_000_000 + micros.parse::<i64>().unwrap());
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in [
            "",
            "-0.5",
            "today",
            "2024-13-01T00:00:00Z",
            "2024-10-01T25:00:00",
            "1969-12-31T23:59:59Z",
            "2024-10-01T12:34:56[Europe/Lisbon]",
        ] {
            assert_eq!(text(wrong, "UTC"), None, "{wrong}");
        }
        assert!(zone("Europe/Lisboa").is_none());
    }
}
