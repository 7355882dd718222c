//! A row of the table: contenders that do the same work in turn, and the marks to reach.

use crate::figures::Figures;
use crate::lab::Lab;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A row: data, and a function that sets the stage for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// The word after ONLY=.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Description of what is measured and how, as Markdown.
    pub(crate) about: &'static str,
    /// Unit that the figures "a second", CPU and WAL count.
    pub(crate) unit: &'static str,
    pub(crate) contenders: &'static [&'static str],
    pub(crate) marks: &'static [Mark],
    pub(crate) set: fn(&Lab) -> Result<Box<dyn Contest>>,
}

/// A stage on which contenders take their turns.
pub(crate) trait Contest {
    /// One round of this contender; fails unless all of its work was done.
    fn play(&mut self, contender: &str) -> Result<Figures>;
}

/// A bound that a figure or a ratio is to reach.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) what: &'static str,
    pub(crate) test: Test<'static>,
    pub(crate) bound: Bound,
}

/// A figure of a contender, or its ratio to that of another one in the same round.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Test<'a> {
    Value {
        quantity: &'a str,
        of: &'a str,
    },
    Ratio {
        quantity: &'a str,
        of: &'a str,
        to: &'a str,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// A figure that is stated and not judged.
    Stated,
}

impl Bound {
    pub(crate) fn is_met(self, value: f64) -> Option<bool> {
        match self {
            Self::AtLeast(bound) => Some(value >= bound),
            Self::AtMost(bound) => Some(value <= bound),
            Self::Stated => None,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "at least {bound}"),
            Self::AtMost(bound) => write!(f, "at most {bound}"),
            Self::Stated => f.write_str("stated"),
        }
    }
}

/// A mark on the ratio of two contenders' figures.
pub(crate) const fn ratio(
    what: &'static str,
    quantity: &'static str,
    of: &'static str,
    to: &'static str,
    bound: Bound,
) -> Mark {
    let test = Test::Ratio { quantity, of, to };
    Mark { what, test, bound }
}

/// A mark on a figure itself.
pub(crate) const fn value(
    what: &'static str,
    quantity: &'static str,
    of: &'static str,
    bound: Bound,
) -> Mark {
    let test = Test::Value { quantity, of };
    Mark { what, test, bound }
}

/// A contender's figures, one set a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Played {
    pub(crate) contender: String,
    pub(crate) rounds: Vec<Figures>,
    /// Why it did not take part, or why it was stopped.
    pub(crate) absent: Option<String>,
}

impl Played {
    /// This quantity, one value a round.
    pub(crate) fn values(&self, quantity: &str) -> Vec<f64> {
        self.rounds
            .iter()
            .filter_map(|figures| figures.get(quantity))
            .collect()
    }
}

/// The values of a test, one a round.
pub(crate) fn values(test: Test<'_>, played: &[Played]) -> Vec<f64> {
    let of = |name: &str, quantity: &str| {
        let found = played.iter().find(|played| played.contender == name);
        found.map_or(Vec::new(), |played| played.values(quantity))
    };
    match test {
        Test::Value { quantity, of: name } => of(name, quantity),
        Test::Ratio {
            quantity,
            of: name,
            to,
        } => {
            let (above, below) = (of(name, quantity), of(to, quantity));
            above
                .iter()
                .zip(below)
                .map(|(above, below)| above / below)
                .collect()
        }
    }
}

/// The order of the contenders in a round: rotated by one from round to round, so that none
/// is always first.
pub(crate) fn order(contenders: usize, round: usize) -> Vec<usize> {
    (0..contenders)
        .map(|at| (at + round) % contenders)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(contender: &str, rates: &[f64]) -> Played {
        let rounds = rates
            .iter()
            .map(|&rate| Figures::default().with("rate", rate));
        Played {
            contender: contender.to_owned(),
            rounds: rounds.collect(),
            absent: None,
        }
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        let all = [played("a", &[10.0, 30.0]), played("b", &[20.0, 10.0])];
        let mark = ratio("a to b", "rate", "a", "b", Bound::AtLeast(1.0));
        assert_eq!(values(mark.test, &all), [0.5, 3.0]);
        assert!(values(value("", "rate", "c", Bound::Stated).test, &all).is_empty());
    }

    #[test]
    fn each_contender_is_first_once() {
        assert_eq!(order(3, 0), [0, 1, 2]);
        assert_eq!(order(3, 1), [1, 2, 0]);
        assert_eq!(order(3, 5), [2, 0, 1]);
    }

    #[test]
    fn bounds_are_inclusive() {
        assert_eq!(Bound::AtLeast(1.5).is_met(1.5), Some(true));
        assert_eq!(Bound::AtMost(10.0).is_met(10.1), Some(false));
        assert_eq!(Bound::Stated.is_met(1.0), None);
    }
}
