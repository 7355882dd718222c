//! The time at which played events happened: drawn, never the wall clock's.

use std::time::Duration;

use jiff::Timestamp;

use crate::draw::Draw;

/// How much time a run's events are spread over, whatever their number. With the default
/// start it crosses a midnight (UTC).
const SPAN: Duration = Duration::from_secs(6 * 3600);

/// Moves forward with every event, by steps whose mean spreads them over [`SPAN`].
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    nanoseconds: i128,
    /// Twice the mean step, in microseconds.
    widest: u32,
}

impl Clock {
    pub(crate) fn new(from: Timestamp, events: u32) -> Self {
        let mean = SPAN.as_micros() / u128::from(events.max(1));
        Self {
            nanoseconds: from.as_nanosecond(),
            widest: u32::try_from(mean.saturating_mul(2)).unwrap_or(u32::MAX),
        }
    }

    /// The next event's time, in steps of 100 ns.
    pub(crate) fn tick(&mut self, draw: &mut Draw) -> Timestamp {
        let microseconds = draw.between(0, self.widest);
        let tenths = draw.between(0, 9);
        self.nanoseconds += i128::from(microseconds) * 1000 + i128::from(tenths) * 100;
        Timestamp::from_nanosecond(self.nanoseconds).unwrap_or(Timestamp::MAX)
    }
}

/// `at`, moved by this many seconds.
pub(crate) fn later(at: Timestamp, seconds: u32) -> Timestamp {
    let moved = at.as_nanosecond() + i128::from(seconds) * 1_000_000_000;
    Timestamp::from_nanosecond(moved).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Purpose;

    #[test]
    fn a_run_lasts_about_six_hours_whatever_its_size() {
        let from: Timestamp = "2026-11-01T21:00:00Z".parse().unwrap();
        for events in [10_000, 200_000] {
            let mut draw = Draw::new(1, Purpose::Arpoone);
            let mut clock = Clock::new(from, events);
            let mut last = from;
            for _ in 0..events {
                let at = clock.tick(&mut draw);
                assert!(at >= last);
                last = at;
            }
            let hours = last.duration_since(from).as_secs_f64() / 3600.0;
            assert!((5.8..6.2).contains(&hours), "{hours}");
        }
    }
}
