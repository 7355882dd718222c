//! The steps of `make test` and of `make lint`: each is run unless one that it needs has
//! failed, and the end names what did not pass.

use crate::failed::Failed;
use anyhow::{Result, bail};
use std::time::{Duration, Instant};
use tidings_harness::step::Missing;

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Skipped(String),
    /// The step failed; the names of the failed tests are added if they are known.
    Failed(Option<Failed>),
    NotRun,
}

#[derive(Debug)]
struct Done {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

/// The steps so far.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<Done>,
}

impl Steps {
    /// Runs the step, unless one that it needs has not passed.
    pub(crate) fn run(
        &mut self,
        name: &'static str,
        needs: &[&str],
        body: impl FnOnce() -> Result<()>,
    ) {
        let start = Instant::now();
        let outcome = if let Some(need) = needs.iter().find(|need| !self.passed(need)) {
            println!("\n=== {name}: not run, since {need} failed");
            Outcome::NotRun
        } else {
            println!("\n=== {name}");
            match body() {
                Ok(()) => Outcome::Passed,
                Err(error) => match error.downcast::<Missing>() {
                    Ok(missing) => {
                        println!("  SKIPPED: {missing}");
                        Outcome::Skipped(missing.to_string())
                    }
                    Err(error) => {
                        println!("  error: {error:#}");
                        Outcome::Failed(error.downcast::<Failed>().ok())
                    }
                },
            }
        };
        let took = start.elapsed();
        self.done.push(Done {
            name,
            outcome,
            took,
        });
    }

    pub(crate) fn passed(&self, name: &str) -> bool {
        self.done
            .iter()
            .any(|done| done.name == name && done.outcome == Outcome::Passed)
    }

    /// A line for each step.
    fn table(&self) -> String {
        let line = |done: &Done| {
            let (word, reason) = match &done.outcome {
                Outcome::Passed => ("passed", String::new()),
                Outcome::Skipped(reason) => ("SKIPPED", format!(": {reason}")),
                Outcome::Failed(None) => ("FAILED", String::new()),
                Outcome::Failed(Some(tests)) => ("FAILED", format!(": {tests}")),
                Outcome::NotRun => ("NOT RUN", String::new()),
            };
            let (seconds, name) = (done.took.as_secs_f64(), done.name);
            format!("  {word:<8} {seconds:>7.1} s  {name}{reason}\n")
        };
        self.done.iter().map(line).collect()
    }

    /// Prints a line for each step, and one over all of them.
    pub(crate) fn conclude(&self) -> Result<()> {
        print!("\n{}", self.table());
        println!("\n{}", self.conclusion()?);
        Ok(())
    }

    /// One line over all; unless every step passed or was skipped, an error that names
    /// those that did not, and the tests that failed in them.
    fn conclusion(&self) -> Result<String> {
        let all = self.done.len();
        let mut skipped = 0;
        let mut not_passed = Vec::new();
        for Done { name, outcome, .. } in &self.done {
            match outcome {
                Outcome::Passed => {}
                Outcome::Skipped(_) => skipped += 1,
                Outcome::Failed(None) => not_passed.push((*name).to_owned()),
                Outcome::Failed(Some(tests)) => not_passed.push(format!("{name} ({tests})")),
                Outcome::NotRun => not_passed.push(format!("{name} (not run)")),
            }
        }
        if !not_passed.is_empty() {
            let (count, names) = (not_passed.len(), not_passed.join("; "));
            bail!("{count} of {all} steps did not pass: {names}");
        }
        match skipped {
            0 => Ok(format!("all {all} steps passed")),
            _ => {
                let passed = all - skipped;
                Ok(format!("{passed} of {all} steps passed, {skipped} SKIPPED"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;
    use tidings_harness::python::Python;

    #[test]
    fn a_skipped_step_is_neither_passed_nor_a_failure() {
        let mut steps = Steps::default();
        steps.run("one", &[], || Ok(()));
        assert_eq!(steps.conclusion().unwrap(), "all 1 steps passed");
        steps.run("two", &[], || {
            Python::prepare_with("no-such-python").map(drop)
        });
        assert!(!steps.passed("two"));
        assert_eq!(
            steps.conclusion().unwrap(),
            "1 of 2 steps passed, 1 SKIPPED"
        );
        let table = steps.table();
        let line = table.lines().last().unwrap();
        assert!(line.starts_with("  SKIPPED "), "{line}");
        assert!(line.ends_with("two: no no-such-python in PATH"), "{line}");
    }

    #[test]
    fn a_failure_fails_the_whole_and_what_needs_it_is_not_run() {
        let mut steps = Steps::default();
        steps.run("one", &[], || bail!("as the test wants"));
        steps.run("two", &["one"], || panic!("it must not run"));
        let error = steps.conclusion().unwrap_err().to_string();
        assert_eq!(error, "2 of 2 steps did not pass: one; two (not run)");
    }

    #[test]
    fn the_last_line_names_the_tests_that_failed() {
        let mut steps = Steps::default();
        steps.run("one", &[], || Ok(()));
        steps.run("two", &[], || {
            let mut failed = Failed::default();
            failed.read("test a::b ... FAILED");
            failed.read("test c ... FAILED");
            Err(failed
                .explain(anyhow!("exit status: 101"))
                .context("in a folder"))
        });
        steps.run("three", &[], || bail!("as the test wants"));
        let error = steps.conclusion().unwrap_err().to_string();
        assert_eq!(error, "2 of 3 steps did not pass: two (a::b, c); three");
        assert!(steps.table().contains("two: a::b, c\n"));
    }
}
