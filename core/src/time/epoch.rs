//! Times that are numbers, whose unit is recognized by their size.

use std::iter;

use super::Micros;

/// Above this, a number of seconds would lie in the year 5138, so that the unit is
/// milliseconds.
const SECONDS_AT_MOST: u128 = 100_000_000_000;

/// Above this, a number of milliseconds would lie in the year 5138, so that the unit is
/// microseconds.
const MILLISECONDS_AT_MOST: u128 = 100_000_000_000_000;

/// The year 1970 in ticks of .NET, which are units of 100 ns since the year 1. No number
/// of microseconds before the year 9999 is as large.
const TICKS_OF_1970: u128 = 621_355_968_000_000_000;

/// From here on the unit is nanoseconds (2001-09-09); in ticks the number would be the
/// year 3169.
const NANOSECONDS_FROM: u128 = 1_000_000_000_000_000_000;

impl Micros {
    /// A decimal number of units since 1970. The size of the number decides the unit:
    /// seconds up to 1e11, milliseconds up to 1e14, then microseconds, ticks of .NET from
    /// 621355968000000000 on, nanoseconds from 1e18 on.
    ///
    /// The number may have a fraction, and an exponent as Java prints one
    /// (`1.723799271E9`).
    pub fn from_epoch(number: &str) -> Option<Self> {
        let millionths = millionths(number)?;
        let whole = millionths / 1_000_000;
        let micros = if whole <= SECONDS_AT_MOST {
            millionths
        } else if whole <= MILLISECONDS_AT_MOST {
            millionths / 1000
        } else if whole < TICKS_OF_1970 {
            whole
        } else if whole < NANOSECONDS_FROM {
            (whole - TICKS_OF_1970) / 10
        } else {
            whole / 1000
        };
        i64::try_from(micros).ok().and_then(Self::new)
    }
}

/// A non-negative decimal number, times a million; finer digits are cut off.
fn millionths(number: &str) -> Option<u128> {
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        // Two digits of an exponent are enough, and bound the work.
        Some((mantissa, exponent)) => (mantissa, isize::from(exponent.parse::<i8>().ok()?)),
        None => (number, 0),
    };
    let mantissa = mantissa.strip_prefix('+').unwrap_or(mantissa);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = whole.bytes().chain(fraction.bytes());
    if whole.is_empty() || !digits.clone().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let places = isize::try_from(whole.len()).ok()? + exponent + 6;
    digits
        .by_ref()
        .chain(iter::repeat(b'0'))
        .take(usize::try_from(places).unwrap_or(0))
        .try_fold(0u128, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u128::from(digit - b'0'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: &str) -> Option<i64> {
        Micros::from_epoch(number).map(Micros::get)
    }

    #[test]
    fn numbers_are_seconds_or_milliseconds() {
        assert_eq!(at("1723799271"), Some(1_723_799_271_000_000));
        assert_eq!(at("1723799271123"), Some(1_723_799_271_123_000));
        assert_eq!(at("1723799271.5"), Some(1_723_799_271_500_000));
        assert_eq!(at("1723799271123.4567"), Some(1_723_799_271_123_456));
        assert_eq!(at("100000000000"), Some(100_000_000_000_000_000));
        assert_eq!(at("100000000000.9"), Some(100_000_000_000_900_000));
        assert_eq!(at("100000000001"), Some(100_000_000_001_000));
        assert_eq!(at("100000000000000"), Some(100_000_000_000_000_000));
    }

    #[test]
    fn larger_numbers_are_finer_units() {
        assert_eq!(at("1723799271123456"), Some(1_723_799_271_123_456));
        assert_eq!(at("1723799271123456.9"), Some(1_723_799_271_123_456));
        assert_eq!(at("1723799271123456789"), Some(1_723_799_271_123_456));
        assert_eq!(at("100000000000001"), Some(100_000_000_000_001));
        assert_eq!(at("1000000000000000000"), Some(1_000_000_000_000_000));
        assert_eq!(at("621355968000000000"), Some(0));
        assert_eq!(at("638633792961234567"), Some(1_727_782_496_123_456));
        assert_eq!(at("253402300800000000"), None);
        assert_eq!(at("621355967999999999"), None);
    }

    /// Digits that a double would lose are kept.
    #[test]
    fn exponents_shift_the_point_and_nothing_else() {
        for (number, micros) in [
            ("1.723799271E9", 1_723_799_271_000_000),
            ("1.723799271123E12", 1_723_799_271_123_000),
            ("1.723799271123456789e+18", 1_723_799_271_123_456),
            ("1723799271000e-3", 1_723_799_271_000_000),
            ("17237992711234567E-7", 1_723_799_271_123_456),
            ("0.001723799271e12", 1_723_799_271_000_000),
            ("1e9", 1_000_000_000_000_000),
            ("0e0", 0),
            ("1e-99", 0),
        ] {
            assert_eq!(at(number), Some(micros), "{number}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in [
            "",
            "-0.5",
            "-1",
            "+-1",
            ".5",
            "1.x",
            "1.-5",
            "e9",
            "1e",
            "1e9.5",
            "1e99",
            "1e999999999",
            "0x10",
            "1 ",
            "١",
            "999999999999999999999999",
            "99999999999999999999999999999999999999999999",
            "NaN",
            "Infinity",
            "abc",
        ] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
        assert_eq!(at(&format!("{}1", "0".repeat(100_000))), Some(1_000_000));
        assert_eq!(at(&format!("1.{}", "9".repeat(100_000))), Some(1_999_999));
    }
}
