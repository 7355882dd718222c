//! The server's log after the run: errors by SQLSTATE, and effects that no statement may
//! have.

use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use tidings_harness::table;

const CRASHES: [&str; 4] = [
    "was terminated by signal",
    "PANIC:  ",
    "TRAP: ",
    "panicked at",
];
/// SQLSTATE of a panic in the library, and of the server's own internal errors.
const INTERNAL: &str = "XX000";
/// Limit on the statement that is shown with a finding, in lines.
const MOST_LINES: usize = 60;

#[derive(Debug, Default)]
pub(super) struct Said {
    /// By SQLSTATE, with one of its messages.
    by_state: BTreeMap<String, (u64, String)>,
    pub(super) findings: Vec<String>,
}

pub(super) fn read(log: &Path) -> Result<Said> {
    let file = File::open(log).with_context(|| format!("cannot read {}", log.display()))?;
    let mut said = Said::default();
    let mut error: Option<(String, String)> = None;
    // Of the last finding.
    let mut statement_lines = 0;
    for line in BufReader::new(file).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if statement_lines > 0
            && !line.contains("ERROR:  ")
            && let Some(finding) = said.findings.last_mut()
        {
            finding.push('\n');
            finding.push_str(&line);
            statement_lines -= 1;
        } else {
            statement_lines = 0;
        }
        if CRASHES.iter().any(|crash| line.contains(crash)) {
            said.findings.push(line.clone().into_owned());
        }
        if let Some((_, told)) = line.split_once("ERROR:  ") {
            let (state, message) = told.split_once(": ").unwrap_or((told, ""));
            let (count, _) = said
                .by_state
                .entry(state.to_owned())
                .or_insert_with(|| (0, message.chars().take(70).collect()));
            *count += 1;
            error = Some((state.to_owned(), message.to_owned()));
        } else if let Some((_, place)) = line.split_once("LOCATION:  ")
            && let Some((state, message)) = error.take()
            && state == INTERNAL
            && place.contains(".rs")
        {
            said.findings.push(format!("{message}, at {place}"));
            statement_lines = MOST_LINES;
        }
    }
    Ok(said)
}

impl Said {
    pub(super) fn errors(&self) -> u64 {
        self.by_state.values().map(|(count, _)| count).sum()
    }

    pub(super) fn rendered(&self) -> String {
        let mut states: Vec<_> = self.by_state.iter().collect();
        states.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        let rows: Vec<Vec<String>> = states
            .into_iter()
            .map(|(state, (count, message))| {
                vec![state.clone(), table::number(*count), message.clone()]
            })
            .collect();
        table::render(&["state", "errors", "such as"], &rows, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_and_a_crash_are_findings_and_errors_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let text = "\
2026 [1]  ERROR:  22P02: invalid input syntax\n\
2026 [1]  LOCATION:  ulid_in, ulid.rs:12\n\
2026 [1]  ERROR:  XX000: could not find pathkey item to sort\n\
2026 [1]  LOCATION:  make_sort, createplan.c:6000\n\
2026 [1]  ERROR:  XX000: index out of bounds\n\
2026 [1]  LOCATION:  normalize, core/src/x.rs:3\n\
2026 [1]  LOG:  server process (PID 7) was terminated by signal 11: Segmentation fault\n";
        std::fs::write(&log, text).unwrap();
        let said = read(&log).unwrap();
        assert_eq!(said.errors(), 3);
        assert_eq!(said.findings.len(), 2, "{:?}", said.findings);
    }
}
