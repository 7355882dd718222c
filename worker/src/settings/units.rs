//! Sizes and durations in text form: `8MiB`, `20s`.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use jiff::{Span, SpanRelativeTo, Timestamp};

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes(pub(crate) u32);

impl Bytes {
    pub(crate) fn get(self) -> usize {
        self.0 as usize
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit());
        let (number, unit) = text.split_at(end.unwrap_or(text.len()));
        let factor: u64 = match unit.trim() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            other => return Err(format!("unknown unit {other:?}: use B, KiB, MiB or GiB")),
        };
        let number: u64 = number
            .parse()
            .map_err(|_| "not a size: write it like 8MiB".to_owned())?;
        number
            .checked_mul(factor)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| "too large: it must stay below 4GiB".to_owned())
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// Parses a duration such as `20s`, `500ms` or `2m`; not zero, at most a day.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| "not a duration: write it like 20s, 500ms or 2m".to_owned())?;
    let duration = Duration::try_from(parsed).unwrap_or_default();
    if duration.is_zero() || duration > Duration::from_secs(86_400) {
        return Err("a duration must be more than nothing and at most a day".to_owned());
    }
    Ok(duration)
}

/// Parses a time such as `2026-11-01T00:00:00Z`, or an interval such as `7d` or `36h` that
/// ends now.
pub(crate) fn since(text: &str) -> Result<SystemTime, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.into());
    }
    let span: Span = text.parse().map_err(|_| {
        "not a time or an interval: write it like 2026-11-01T00:00:00Z, or like 7d or 36h"
            .to_owned()
    })?;
    let interval = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok();
    let interval = interval.and_then(|interval| Duration::try_from(interval).ok());
    let interval = interval.filter(|interval| !interval.is_zero());
    interval
        .and_then(|interval| SystemTime::now().checked_sub(interval))
        .ok_or_else(|| {
            "an interval must be more than nothing, in days, hours, minutes or seconds".to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_or_an_interval_says_since_when() {
        let epoch = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(since("2026-11-01T00:00:00Z"), Ok(epoch(1_793_491_200)));
        assert_eq!(since("2026-11-01T02:00:00+02:00"), Ok(epoch(1_793_491_200)));
        for (text, seconds) in [
            ("7d", 7 * 86_400),
            ("36h", 36 * 3600),
            ("1w 2m", 7 * 86_400 + 120),
        ] {
            let ago = since(text).unwrap().elapsed().unwrap().as_secs();
            assert!((seconds..seconds + 60).contains(&ago), "{text}: {ago}");
        }
        for text in [
            "",
            "7",
            "0d",
            "-7d",
            "1 month",
            "yesterday",
            "2026-11-01",
            "2026-11-01T00:00:00",
            "999999y",
        ] {
            assert!(since(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [("0", 0), ("1B", 1), ("8MiB", 8 << 20), ("64 KiB", 64 << 10)] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in [
            "",
            "MiB",
            "8MB",
            "-1",
            "1.5MiB",
            "4GiB",
            "99999999999999999999",
        ] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
        for text in ["8MiB", "1GiB", "3KiB", "17B", "0B"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn durations_are_read() {
        for (text, millis) in [
            ("20s", 20_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1m 30s", 90_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "20", "0s", "-5s", "2 days", "forever"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
