//! Days, zones and locales other than this machine's, under which the SQL tests must come
//! out as they do today. A seed draws them, in any year the same ones.

use crate::draw::Draw;
use anyhow::{Context as _, Result};
use jiff::civil::{DateTime, date};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use tidings_harness::faketime;

const YEARS: std::ops::RangeInclusive<i16> = 2027..=2036;
/// The sessions' zones: the first and the last on Earth, with halves and quarters of an
/// hour, with summer time on either half of it.
const ZONES: [&str; 7] = [
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
    "Asia/Kathmandu",
    "America/St_Johns",
    "Europe/Lisbon",
    "Australia/Lord_Howe",
    "UTC",
];
const DATE_STYLES: [&str; 4] = ["ISO, YMD", "German, DMY", "SQL, DMY", "Postgres, MDY"];
/// Languages of ICU that sort in an order of their own.
const LANGUAGES: [&str; 5] = ["cs", "da", "en-US", "lt", "pt-PT"];
const DAY: u64 = 24 * 60 * 60;
/// Long enough to start a server, and short enough for the tests to see midnight.
const BEFORE_MIDNIGHT: std::ops::RangeInclusive<u64> = 5..=30;

/// A moment, and what a machine elsewhere would be set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Day {
    /// At which the server starts; from there on its clock runs.
    pub(crate) at: Timestamp,
    pub(crate) zone: &'static str,
    pub(crate) date_style: &'static str,
    /// The language by whose rules the database sorts, where the server has ICU.
    pub(crate) language: &'static str,
}

impl Day {
    /// A day near the end of a year, and one near a leap day.
    pub(crate) fn draw(seed: u64) -> [Self; 2] {
        let mut draw = Draw::new(seed);
        let year = one_year(&mut draw, |_| true);
        let first = Self::from(&mut draw, date(year, 12, 28).at(0, 0, 0, 0), 7);
        let year = one_year(&mut draw, |year| date(year, 1, 1).in_leap_year());
        let second = Self::from(&mut draw, date(year, 2, 27).at(0, 0, 0, 0), 4);
        [first, second]
    }

    /// The seed draws all but the moment.
    pub(crate) fn at(at: Timestamp, seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        Self {
            at,
            zone: one_of(&mut draw, &ZONES),
            date_style: one_of(&mut draw, &DATE_STYLES),
            language: one_of(&mut draw, &LANGUAGES),
        }
    }

    /// One of so many days from this one on: at any time, right after midnight, or so
    /// that midnight comes while tests run.
    fn from(draw: &mut Draw, first: DateTime, days: u64) -> Self {
        let second = match draw.between(1, 3) {
            1 => draw.between(0, DAY - 1),
            2 => 0,
            _ => DAY - draw.between(*BEFORE_MIDNIGHT.start(), *BEFORE_MIDNIGHT.end()),
        };
        let seconds = draw.between(0, days - 1) * DAY + second;
        let span = Span::new().seconds(i64::try_from(seconds).unwrap_or_default());
        let at = TimeZone::UTC
            .to_timestamp(first.saturating_add(span))
            .unwrap_or_default();
        Self::at(at, draw.between(0, u64::MAX - 1))
    }

    /// The variables under which a server has this day's clock.
    pub(crate) fn environment(&self, library: &Path) -> Vec<(&'static str, OsString)> {
        // In whole seconds, so that the clock starts at the moment or less than one after it.
        let shift = self.at.as_second() - Timestamp::now().as_second();
        let shift = OsString::from(format!("{shift:+}s"));
        let mut variables = faketime::environment(library, ("FAKETIME", shift));
        variables.push(("TZ", self.zone.into()));
        variables
    }

    /// What a test driver is to put before each program that it runs, so that the
    /// program's sessions have this zone and style, and not the driver's.
    pub(crate) fn launcher(&self) -> String {
        format!("env PGTZ={} PGDATESTYLE='{}'", self.zone, self.date_style)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weekday = self.at.to_zoned(TimeZone::UTC).weekday();
        write!(
            f,
            "{weekday:?} {}, zone {}, DateStyle {}, language {}",
            self.at, self.zone, self.date_style, self.language
        )
    }
}

/// A seed that nobody chose.
pub(crate) fn any_seed() -> Result<u64> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?;
    // Short enough to be typed.
    Ok(u64::from(since.subsec_nanos()) % 1_000_000)
}

fn one_year(draw: &mut Draw, is_one: impl Fn(i16) -> bool) -> i16 {
    let years: Vec<i16> = YEARS.filter(|&year| is_one(year)).collect();
    draw.pick(&years).unwrap_or(*YEARS.start())
}

fn one_of(draw: &mut Draw, of: &[&'static str]) -> &'static str {
    draw.pick(of).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_draws_a_day_near_a_years_end_and_one_near_a_leap_day() {
        let mut years = BTreeSet::new();
        let mut leap_days = 0;
        for seed in 0..1000 {
            let days = Day::draw(seed);
            assert_eq!(days, Day::draw(seed));
            let [end, leap] = days.map(|day| day.at.to_zoned(TimeZone::UTC).datetime());
            let (month, day) = (end.month(), end.day());
            assert!(matches!((month, day), (12, 28..) | (1, ..=3)), "{end}");
            let (month, day) = (leap.month(), leap.day());
            assert!(matches!((month, day), (2, 27..) | (3, 1)), "{leap}");
            assert!(leap.date().in_leap_year(), "{leap}");
            leap_days += u32::from(day == 29);
            years.insert(end.year());
        }
        assert!(leap_days > 100, "{leap_days} of 1000");
        assert!(years.len() >= 10, "{years:?}");
    }

    #[test]
    fn a_day_is_shown_with_all_that_it_changes() {
        let day = Day::at("2028-02-29T23:59:50Z".parse().unwrap(), 1);
        let shown = day.to_string();
        assert!(shown.starts_with("Tuesday 2028-02-29T23:59:50Z, zone "));
        for part in [day.zone, day.date_style, day.language] {
            assert!(shown.contains(part), "{shown}");
        }
    }
}
