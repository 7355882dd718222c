//! Times that are texts.

use jiff::{Timestamp, civil, fmt::strtime, tz::TimeZone};

use super::Micros;

impl Micros {
    /// A date-time of ISO 8601 or RFC 3339, with 0 to 9 fraction digits. A date-time
    /// without an offset is read in `zone`.
    ///
    /// The form that .NET used in JSON before ISO 8601, `/Date(1727782496000+0100)/`, is
    /// accepted too: milliseconds since 1970 UTC, whatever the offset.
    pub fn from_text(text: &str, zone: &TimeZone) -> Option<Self> {
        if let Some(ms) = text.strip_prefix("/Date(") {
            return from_net(ms.strip_suffix(")/")?);
        }
        let at = match text.parse::<Timestamp>() {
            Ok(at) => at,
            // An annotation such as [Europe/Lisbon] would be ignored silently.
            Err(_) if text.contains('[') => return None,
            Err(_) => zone
                .to_timestamp(text.parse::<civil::DateTime>().ok()?)
                .ok()?,
        };
        Self::new(at.as_microsecond())
    }

    /// A date-time in a strptime format; in `zone` if it names neither an offset nor a
    /// zone.
    pub fn from_format(format: &str, text: &str, zone: &TimeZone) -> Option<Self> {
        let read = strtime::parse(format, text).ok()?;
        let at = match read.to_timestamp() {
            Ok(at) => at,
            Err(_) if read.iana_time_zone().is_some() => read.to_zoned().ok()?.timestamp(),
            Err(_) => zone.to_timestamp(read.to_datetime().ok()?).ok()?,
        };
        Self::new(at.as_microsecond())
    }
}

fn from_net(ms: &str) -> Option<Micros> {
    let (ms, offset) = match ms.find(['+', '-']) {
        Some(at) => ms.split_at(at),
        None => (ms, ""),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let offset_fits = offset.is_empty() || offset.len() == 5 && digits(offset.get(1..)?);
    (offset_fits && digits(ms)).then_some(())?;
    Micros::from_ms(ms.parse().ok()?)
}

/// Whether [`Micros::from_format`] reads back what was written with this format: the day,
/// and the minute unless the format has no time of day. A format of twelve hours without
/// AM or PM, for example, fails.
pub fn is_format(format: &str) -> bool {
    let sample = civil::date(2024, 10, 21).at(13, 34, 56, 0);
    let minute = |at: civil::DateTime| {
        let at = at.to_zoned(TimeZone::UTC).ok()?;
        Some(at.timestamp().as_second() / 60)
    };
    let read = || {
        let written = strtime::format(format, &sample.to_zoned(TimeZone::UTC).ok()?).ok()?;
        let read = Micros::from_format(format, &written, &TimeZone::UTC)?;
        Some(read.get() / 60_000_000)
    };
    read().is_some_and(|read| [minute(sample), minute(sample.date().into())].contains(&Some(read)))
}

#[cfg(test)]
mod tests {
    use super::{super::zone, *};

    fn text(text: &str, zone_name: &str) -> Option<i64> {
        Micros::from_text(text, &zone(zone_name).unwrap()).map(Micros::get)
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
    fn the_offset_of_old_net_only_informs() {
        for (written, micros) in [
            ("/Date(1727782496123)/", Some(1_727_782_496_123_000)),
            ("/Date(1727782496123+0100)/", Some(1_727_782_496_123_000)),
            ("/Date(1727782496123-0530)/", Some(1_727_782_496_123_000)),
            ("/Date(0)/", Some(0)),
            ("/Date(1000)/", Some(1_000_000)),
            ("/Date(-62135596800000)/", None),
            ("/Date()/", None),
            ("/Date(+0100)/", None),
            ("/Date(1727782496123+1)/", None),
            ("/Date(1727782496123+01:0)/", None),
            ("/Date(1727782496123.5)/", None),
            ("/Date(1727782496123)", None),
            ("Date(1727782496123)", None),
        ] {
            assert_eq!(text(written, "Europe/Lisbon"), micros, "{written}");
        }
    }

    #[test]
    fn a_format_says_how_a_sender_writes() {
        let lisbon = zone("Europe/Lisbon").unwrap();
        let at = |format, text| Micros::from_format(format, text, &lisbon).map(Micros::get);
        let utc = Some(1_727_782_496_000_000);
        assert_eq!(at("%d/%m/%Y %H:%M:%S", "01/10/2024 12:34:56"), utc);
        assert_eq!(at("%Y%m%d%H%M%S", "20241001123456"), utc);
        assert_eq!(at("%d/%m/%Y %I:%M:%S %p", "01/10/2024 12:34:56 pm"), utc);
        assert_eq!(at("%d/%m/%Y %H:%M:%S %z", "01/10/2024 13:34:56 +0200"), utc);
        assert_eq!(
            at("%d/%m/%Y %T %Q", "01/10/2024 13:34:56 Europe/Paris"),
            utc
        );
        assert_eq!(
            at("%d/%m/%Y %T %Q", "01/10/2024 13:34:56 Europe/Pari"),
            None
        );
        assert_eq!(at("%d/%m/%Y %H:%M:%S", "2024-10-01 12:34:56"), None);
        assert_eq!(at("%d/%m/%Y", "31/12/1969"), None);
    }

    #[test]
    fn a_format_must_read_what_it_writes() {
        for good in [
            "%d/%m/%Y %H:%M:%S",
            "%m/%d/%Y %I:%M %p",
            "%Y-%m-%dT%H:%M:%S%.f",
            "%d.%m.%y %H:%M",
            "%d/%m/%Y",
            "%s",
            "%a, %d %b %Y %T %z",
        ] {
            assert!(is_format(good), "{good}");
        }
        for bad in [
            "",
            "dd/MM/yyyy HH:mm:ss",
            "%H:%M:%S",
            "%m/%Y",
            "%d/%m/%Y %I:%M",
            "%d/%m/%Y %",
            "%d/%m/%Y %!",
            "%d/%m/%Y %H:%M %Z",
        ] {
            assert!(!is_format(bad), "{bad}");
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
