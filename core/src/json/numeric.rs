//! A number of JSON as Postgres stores a `numeric` (`numeric.c`: `NumericShort`,
//! `NumericLong`), which no version has changed since 9.1.

use super::jsonb::varlena_header;

/// Decimal digits in one digit of a `numeric`.
const GROUP: i32 = 4;

const SHORT: u16 = 0x8000;
const SHORT_NEGATIVE: u16 = 0x2000;
const SHORT_SCALE_SHIFT: u16 = 7;
const SHORT_MAX_SCALE: u16 = 63;
const SHORT_WEIGHTS: std::ops::RangeInclusive<i16> = -64..=63;
const SHORT_WEIGHT_MASK: u16 = 0x7f;
const LONG_NEGATIVE: u16 = 0x4000;

/// Appends a number, whose grammar and size were checked, with its length before it.
pub(super) fn write(number: &[u8], out: &mut Vec<u8>) {
    let (negative, number) = match number.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, number),
    };
    let exponent_at = number.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let (mantissa, exponent) = number.split_at(exponent_at.unwrap_or(number.len()));
    let exponent = parse_exponent(exponent);
    let point = mantissa.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = mantissa.split_at(point.unwrap_or(mantissa.len()));
    let fraction = fraction.get(1..).unwrap_or_default();
    let length = |digits: &[u8]| i32::try_from(digits.len()).unwrap_or(i32::MAX);

    let zeros = |digits: &[u8]| digits.iter().take_while(|digit| **digit == b'0').count();
    let leading = match zeros(whole) {
        zeros_of_whole if zeros_of_whole == whole.len() => zeros_of_whole + zeros(fraction),
        zeros_of_whole => zeros_of_whole,
    };
    let trailing = |digits: &[u8]| {
        digits
            .iter()
            .rev()
            .take_while(|digit| **digit == b'0')
            .count()
    };
    let trailing = match trailing(fraction) {
        zeros_of_fraction if zeros_of_fraction == fraction.len() => {
            zeros_of_fraction + trailing(whole)
        }
        zeros_of_fraction => zeros_of_fraction,
    };
    let all = whole.len() + fraction.len();
    let significant = all.saturating_sub(trailing).saturating_sub(leading);
    let is_zero = leading == all;
    let digits = whole.iter().chain(fraction).skip(leading).take(significant);

    // The value is 0.d1d2d3.. times ten to the power of `places`.
    let places = length(whole) + exponent - i32::try_from(leading).unwrap_or(i32::MAX);
    let weight = (places + GROUP - 1).div_euclid(GROUP) - 1;
    let weight = if is_zero {
        0
    } else {
        i16::try_from(weight).unwrap_or(i16::MAX)
    };
    let negative = negative && !is_zero;
    let scale = u16::try_from((length(fraction) - exponent).max(0)).unwrap_or(u16::MAX);

    let start = out.len();
    out.extend(varlena_header(0));
    if scale <= SHORT_MAX_SCALE && SHORT_WEIGHTS.contains(&weight) {
        let sign = if negative { SHORT_NEGATIVE } else { 0 };
        let weight = weight.cast_unsigned() & SHORT_WEIGHT_MASK;
        out.extend((SHORT | sign | scale << SHORT_SCALE_SHIFT | weight).to_ne_bytes());
    } else {
        let sign = if negative { LONG_NEGATIVE } else { 0 };
        out.extend((sign | scale).to_ne_bytes());
        out.extend(weight.to_ne_bytes());
    }
    if !is_zero {
        // The first group begins with the zeros before the first digit.
        let mut filled = (i32::from(weight) + 1) * GROUP - places;
        let mut group = 0i16;
        for digit in digits {
            group = group * 10 + i16::from(digit - b'0');
            filled += 1;
            if filled == GROUP {
                out.extend(group.to_ne_bytes());
                (group, filled) = (0, 0);
            }
        }
        if filled > 0 {
            for _ in filled..GROUP {
                group *= 10;
            }
            out.extend(group.to_ne_bytes());
        }
    }
    let header = varlena_header(out.len() - start);
    if let Some(place) = out.get_mut(start..start + header.len()) {
        place.copy_from_slice(&header);
    }
}

/// The exponent, from its `e` on; 0 if there is none.
fn parse_exponent(exponent: &[u8]) -> i32 {
    let digits = exponent.iter().filter(|byte| byte.is_ascii_digit());
    let size = digits.fold(0i32, |size, digit| {
        size.saturating_mul(10)
            .saturating_add(i32::from(digit - b'0'))
    });
    if exponent.contains(&b'-') {
        -size
    } else {
        size
    }
}
