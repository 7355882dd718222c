//! The figures of one round of one contender: a number for each quantity.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tidings_harness::table::number;

/// Figures by the key of their quantity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Figures(BTreeMap<String, f64>);

impl Figures {
    pub(crate) fn set(&mut self, quantity: &str, value: f64) {
        self.0.insert(quantity.to_owned(), value);
    }

    /// The figures with one more.
    pub(crate) fn with(mut self, quantity: &str, value: f64) -> Self {
        self.set(quantity, value);
        self
    }

    pub(crate) fn get(&self, quantity: &str) -> Option<f64> {
        self.0.get(quantity).copied()
    }

    /// The figures of these quantities alone.
    pub(crate) fn only(mut self, quantities: &[&str]) -> Self {
        self.0.retain(|key, _| quantities.contains(&key.as_str()));
        self
    }
}

/// A quantity, and how it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantity {
    pub(crate) key: &'static str,
    pub(crate) heading: &'static str,
    write: fn(f64) -> String,
}

impl Quantity {
    pub(crate) fn write(&self, value: f64) -> String {
        (self.write)(value)
    }
}

/// All quantities, in the order of their columns.
pub(crate) const QUANTITIES: &[Quantity] = &[
    q("rate", "a second", whole),
    q("seconds", "seconds", precise),
    q("normalize_s", "`normalize` alone, seconds", precise),
    q("commit", "one commit, ms", precise),
    q("page", "a page of 1000, ms", precise),
    q("empty", "nothing new, ms", precise),
    q("cold", "first commit of a session, ms", precise),
    q("locks", "locks of an ingest transaction", whole),
    q("p50", "p50, ms", precise),
    q("p99", "p99, ms", precise),
    q("mib", "peak, MiB", precise),
    q("mib_away", "peak with Postgres away, MiB", precise),
    q("ns", "ns a call", whole),
    q("pg_us", "CPU of Postgres, us", precise),
    q("pg_cores", "cores of Postgres", precise),
    q("proc_us", "CPU of the process beside it, us", precise),
    q("proc_cores", "its cores", precise),
    q("load_us", "CPU of the load, us", precise),
    q("wal", "WAL, bytes", whole),
];

const fn q(key: &'static str, heading: &'static str, write: fn(f64) -> String) -> Quantity {
    Quantity {
        key,
        heading,
        write,
    }
}

fn whole(value: f64) -> String {
    number(value.max(0.0).round() as u64)
}

/// Three significant digits.
pub(crate) fn precise(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => whole(value),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_matter() {
        assert_eq!(precise(1234.5), "1,235");
        assert_eq!(precise(12.345), "12.3");
        assert_eq!(precise(1.2345), "1.23");
        assert_eq!(precise(0.01234), "0.012");
        assert_eq!(whole(9_596.7), "9,597");
    }

    #[test]
    fn each_key_is_one_quantity() {
        for (at, quantity) in QUANTITIES.iter().enumerate() {
            let first = QUANTITIES
                .iter()
                .position(|other| other.key == quantity.key);
            assert_eq!(first, Some(at), "{}", quantity.key);
        }
    }
}
