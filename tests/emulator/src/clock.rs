//! The time at which played events happened: drawn, so that a run can be repeated. Only the
//! events of Ppoppo's streams have the present time, because a caller may make a cursor from
//! its own clock.

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

/// The time of a stream's events.
#[derive(Clone, Debug)]
pub(crate) enum Time {
    /// The present, each event a microsecond after the last one at least, also when the
    /// system's clock steps back.
    Present(Timestamp),
    #[cfg(test)]
    Drawn(Clock, Box<Draw>),
}

impl Time {
    pub(crate) fn present() -> Self {
        Self::Present(Timestamp::now())
    }

    /// The time of an event that happens now.
    pub(crate) fn tick(&mut self) -> Timestamp {
        match self {
            Self::Present(last) => {
                let next = Timestamp::from_nanosecond(last.as_nanosecond() + 1000);
                *last = next.unwrap_or(Timestamp::MAX).max(Timestamp::now());
                *last
            }
            #[cfg(test)]
            Self::Drawn(clock, draw) => clock.tick(draw),
        }
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

    #[test]
    fn the_present_goes_on_when_the_systems_clock_steps_back() {
        let before = Timestamp::now();
        let now = Time::present().tick();
        assert!(now > before && now <= later(Timestamp::now(), 1));
        let ahead = later(now, 3600);
        let mut time = Time::Present(ahead);
        let [one, two] = [(); 2].map(|()| time.tick());
        assert!(ahead < one && one < two && two < later(ahead, 1));
    }
}
