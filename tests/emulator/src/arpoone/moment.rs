//! The shapes in which a `ReportDateTime` is written.
//!
//! The page says `<datetime>` and no more. The fields look like .NET's, whose formatters
//! write 0 to 7 fraction digits, with or without an offset. A report keeps its shape.

use jiff::{Timestamp, tz::Offset};

use crate::draw::Draw;

/// Without an offset the time is UTC: a source's default.
pub(super) fn write(at: Timestamp, draw: &mut Draw) -> String {
    let digits = draw.between(0, 7) as usize;
    let offset = match draw.between(0, 3) {
        0 => return format!("{:.digits$}", Offset::UTC.to_datetime(at)),
        1 => return format!("{at:.digits$}"),
        2 => 0,
        _ => i8::try_from(draw.between(0, 24)).unwrap_or(0) - 12,
    };
    let local = Offset::from_hours(offset)
        .unwrap_or(Offset::UTC)
        .to_datetime(at);
    let sign = if offset < 0 { '-' } else { '+' };
    format!("{local:.digits$}{sign}{:02}:00", offset.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::draw::Purpose;

    #[test]
    fn every_shape_is_the_same_moment() {
        let at: Timestamp = "2026-11-01T23:30:05.1234567Z".parse().unwrap();
        let mut draw = Draw::new(1, Purpose::Arpoone);
        let texts: HashSet<String> = (0..2000).map(|_| write(at, &mut draw)).collect();
        for text in &texts {
            let bare = !text.ends_with('Z') && !text.get(19..).unwrap().contains(['+', '-']);
            let whole = if bare {
                format!("{text}Z")
            } else {
                text.clone()
            };
            let read: Timestamp = whole.parse().unwrap();
            assert_eq!(read.as_second(), at.as_second(), "{text}");
        }
        for shape in [
            "2026-11-01T23:30:05",
            "2026-11-01T23:30:05.1234567",
            "2026-11-01T23:30:05.1234567Z",
            "2026-11-01T23:30:05.123+00:00",
            "2026-11-02T01:30:05+02:00",
            "2026-11-01T18:30:05.1-05:00",
        ] {
            assert!(texts.contains(shape), "{shape}");
        }
    }
}
