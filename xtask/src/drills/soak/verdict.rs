//! Judges from samples whether a quantity grew, by a rule that is printed with the
//! result.

use super::sample::Sample;
use std::time::Duration;

/// What the rule allows beyond a quantity's floor, as a share of its median.
const SHARE: f64 = 0.05;

pub(super) const RULE: &str = "flat: the least-squares line rises by at most 5% of the median \
and the floor, from the end of the warm-up to the end";

/// A quantity that is measured; with a floor it is also judged.
#[derive(Clone, Copy)]
pub(super) struct Quantity {
    pub(super) name: &'static str,
    /// Noise that is no growth.
    pub(super) floor: Option<f64>,
    pub(super) of: fn(&Sample) -> f64,
}

const MIB: f64 = 1_048_576.0;

/// What is measured, in the order of the table. `rate` is in events a second.
pub(super) fn quantities(rate: u64) -> Vec<Quantity> {
    let quantity = |name, floor, of| Quantity { name, floor, of };
    // Events of two seconds may be in flight.
    let events = Some(2.0 * rate as f64);
    vec![
        quantity("worker RSS, MiB", Some(16.0), |s| {
            s.worker.resident as f64 / MIB
        }),
        // Providers keep as many connections open as they once needed concurrently.
        quantity("worker descriptors", Some(32.0), |s| {
            s.worker.descriptors as f64
        }),
        quantity("worker threads", Some(2.0), |s| s.worker.threads as f64),
        quantity("backends", Some(2.0), |s| s.backends as f64),
        quantity("oldest backend, MiB", Some(4.0), |s| s.backend as f64 / MIB),
        quantity("lag, events", events, |s| s.lag as f64),
        quantity("consumer behind, events", events, |s| s.behind as f64),
        quantity("spool, requests", Some(rate as f64 / 10.0), |s| {
            s.spool as f64
        }),
        quantity("partitions", Some(2.0), |s| s.partitions as f64),
        quantity("events/s", None, |s| s.rate),
        quantity("WAL, MiB", None, |s| s.wal as f64 / MIB),
        quantity("database, MiB", None, |s| s.database as f64 / MIB),
    ]
}

/// One quantity over the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Course {
    /// Median and greatest of the first quarter and the last.
    pub(super) first: (f64, f64),
    pub(super) last: (f64, f64),
    /// A least-squares line's, an hour.
    pub(super) slope: f64,
    /// `None` where it is not judged.
    pub(super) flat: Option<bool>,
}

impl Course {
    /// The verdict on the samples after the warm-up; `None` if there are fewer than four.
    pub(super) fn of(quantity: &Quantity, samples: &[Sample]) -> Option<Self> {
        let points: Vec<(f64, f64)> = samples
            .iter()
            .map(|sample| (hours(sample.at), (quantity.of)(sample)))
            .collect();
        let values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
        let quarter = values.len() / 4;
        let first = values.get(..quarter).filter(|part| !part.is_empty())?;
        let last = values.get(values.len() - quarter..)?;
        let slope = slope(&points)?;
        let span = points.last()?.0 - points.first()?.0;
        let allowed = |floor: f64| floor + SHARE * median(&values);
        Some(Self {
            first: (median(first), greatest(first)),
            last: (median(last), greatest(last)),
            slope,
            flat: quantity.floor.map(|floor| slope * span <= allowed(floor)),
        })
    }
}

fn hours(time: Duration) -> f64 {
    time.as_secs_f64() / 3600.0
}

fn greatest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::MIN, f64::max)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
    let half = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        (at(half.saturating_sub(1)) + at(half)) / 2.0
    } else {
        at(half)
    }
}

/// `None` where the points have one time alone.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x_mean, y_mean) = (mean(|p| p.0), mean(|p| p.1));
    let spread: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    let together: f64 = points
        .iter()
        .map(|(x, y)| (x - x_mean) * (y - y_mean))
        .sum();
    (spread > 0.0).then(|| together / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample every 10 s for an hour.
    fn hour(lag: impl Fn(u64) -> u64) -> Vec<Sample> {
        (0..=360)
            .map(|number| Sample {
                at: Duration::from_secs(number * 10),
                lag: lag(number),
                ..Sample::default()
            })
            .collect()
    }

    const LAG: Quantity = Quantity {
        name: "lag",
        floor: Some(10.0),
        of: |sample| sample.lag as f64,
    };

    #[test]
    fn growth_beyond_the_floor_is_not_flat() {
        // 1000 at first, 36 more at the end: 10 and 5% of about 1018 are allowed.
        let course = Course::of(&LAG, &hour(|n| 1000 + n / 10)).unwrap();
        assert_eq!(course.flat, Some(true));
        assert!((course.slope - 36.0).abs() < 1.0, "{course:?}");
        let course = Course::of(&LAG, &hour(|n| 1000 + n / 5)).unwrap();
        assert_eq!(course.flat, Some(false));
        assert_eq!(course.first, (1008.5, 1017.0));
        assert_eq!(course.last, (1063.0, 1072.0));
    }

    #[test]
    fn a_peak_and_a_fall_are_flat() {
        let peak = hour(|n| if n == 300 { 1500 } else { 1000 });
        assert_eq!(Course::of(&LAG, &peak).unwrap().flat, Some(true));
        let fall = Course::of(&LAG, &hour(|n| 1000 - n)).unwrap();
        assert_eq!(fall.flat, Some(true));
        assert!(fall.slope < 0.0);
    }

    #[test]
    fn too_few_samples_are_no_course() {
        let few: Vec<_> = hour(|_| 1).into_iter().take(3).collect();
        assert_eq!(Course::of(&LAG, &few), None);
    }

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }
}
