//! Which tests failed, as the drivers of tests print it: libtest, and Postgres's two.

use std::fmt;

/// More names than these only hide the first ones.
const MOST_NAMES: usize = 12;

/// The tests that failed, by their names: an error of the step that ran them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failed(Vec<String>);

impl Failed {
    /// Reads one line of a driver's output.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(name) = name(line) {
            self.0.push(name.to_owned());
        }
    }

    /// This as the reason of a driver's error, where the driver named tests.
    pub(crate) fn explain(self, error: anyhow::Error) -> anyhow::Error {
        if self.0.is_empty() {
            error
        } else {
            error.context(self)
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, more) = self.0.split_at(self.0.len().min(MOST_NAMES));
        f.write_str(&shown.join(", "))?;
        if !more.is_empty() {
            write!(f, " and {} more", more.len())?;
        }
        Ok(())
    }
}

/// The name of the test that this line says has failed.
fn name(line: &str) -> Option<&str> {
    // libtest: `test a::b ... FAILED`; Postgres until 15: `test a     ... FAILED   7 ms`.
    if let Some(rest) = line.strip_prefix("test ") {
        let (name, outcome) = rest.split_once(" ... ")?;
        return outcome.starts_with("FAILED").then_some(name.trim_end());
    }
    // Postgres from 16 on: `not ok 7     - a     7 ms`.
    let (_, rest) = line.strip_prefix("not ok ")?.split_once(" - ")?;
    rest.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn the_failed_tests_of_each_driver_are_named() {
        let mut failed = Failed::default();
        for line in [
            "running 2 tests",
            "test tests::a_version_is_read ... ok",
            "test tests::a_day_is_shown ... FAILED",
            "test skipped ... ignored",
            "test maintain                     ... FAILED     1033 ms",
            "test ulid                         ... ok           52 ms",
            "not ok 12    - maintain_now                              1033 ms",
            "ok 13        - ulid                                        52 ms",
            "# 1 of 13 tests failed.",
            "test result: FAILED. 1 passed; 1 failed",
        ] {
            failed.read(line);
        }
        assert_eq!(
            failed.to_string(),
            "tests::a_day_is_shown, maintain, maintain_now"
        );
    }

    #[test]
    fn many_are_counted() {
        let mut failed = Failed::default();
        for number in 1..=14 {
            failed.read(&format!("test t{number} ... FAILED"));
        }
        assert!(failed.to_string().ends_with("t11, t12 and 2 more"));
    }

    #[test]
    fn an_error_without_a_failed_test_stays_what_it_is() {
        let error = Failed::default().explain(anyhow!("it does not compile"));
        assert_eq!(format!("{error:#}"), "it does not compile");
    }
}
