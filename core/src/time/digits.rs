//! Dates that are written in digits only.

use std::ops::Range;

use jiff::civil;

/// Whether these digits are a date of 1900 to 2099, with or without a time of day
/// (`20241001`, `202410011134`, `20241001113456`). Read as a number of seconds or
/// milliseconds, they would be a time long before or after the one that was meant.
pub fn is_date(text: &str) -> bool {
    let part = |range: Range<usize>| text.get(range)?.parse::<i8>().ok();
    let below = |range, end| part(range).is_some_and(|part| part < end);
    let date = || {
        let year = text.get(..4)?.parse().ok()?;
        civil::Date::new(year, part(4..6)?, part(6..8)?).ok()
    };
    text.bytes().all(|byte| byte.is_ascii_digit())
        && (text.starts_with("19") || text.starts_with("20"))
        && date().is_some()
        && match text.len() {
            8 => true,
            12 => below(8..10, 24) && below(10..12, 60),
            // A leap second counts as a second.
            14 => below(8..10, 24) && below(10..12, 60) && below(12..14, 61),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_told_from_numbers() {
        for date in [
            "20241001",
            "19991231",
            "20240229",
            "202410011134",
            "20241001113456",
            "20241001235960",
        ] {
            assert!(is_date(date), "{date}");
        }
        for number in [
            "",
            "2024",
            "20241301",
            "20230229",
            "21000101",
            "18991231",
            "2024100111",
            "202410012534",
            "202410011160",
            "20241001113461",
            "1727782496",
            "1727782496123",
            "2024-10-01",
            "20241001.5",
            "+2024101",
            "2024+1+1",
            "٢٠٢٤١٠٠١",
        ] {
            assert!(!is_date(number), "{number}");
        }
    }
}
